"""From a chapter's settings to its trainings: what each method's name means, and what it scored.

Thesis, section 5.4.

``settings`` are those of the run, ``dataset`` is one of its sets, ``seed`` an inner seed, ``changes`` are fields of the
training, ``by_class`` accuracies of the classes.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from thesislib.datasets.longtail import TAILS
from thesislib.heterotopic.columns import THRESHOLDS
from thesislib.heterotopic.runs import SelfSupervision, Training, measured
from thesislib.heterotopic.settings import (
    BASE,
    BEFORE,
    GENERIC,
    OURS,
    OURS_CRT,
    SHARED,
    Settings,
)
from thesislib.longtail import SHOTS, balanced_accuracy, shot_groups
from thesislib.longtail.images import images_of
from thesislib.recipe import Recipe

PLAIN = (BASE, "cRT", "Balanced softmax")
FINISHED = ("cRT", OURS_CRT)


def case(
    settings: Settings,
    dataset: str,
    method: str,
    seed: int,
    *,
    ratio: float | None = None,
    rate: float | None = None,
    **changes: Any,
) -> tuple[Training, Recipe | None]:
    """What a method is on a data set: its training, and the recipe of cRT if the classifier is fine-tuned.

    Parameters
    ----------
    settings : Settings
    dataset : str
    method : str
        One of ``METHODS`` or ``VARIANTS`` of the settings.
    seed : int
    ratio : float, optional
        Imbalance ratio; None: the data set's own. Recipe and weights are the data set's at any.
    rate : float, optional
        Of self-supervision alone, way (i)'s first stage; None: the column's.
    **changes
        Fields of :class:`SelfSupervision` to change; options and weight follow the method of ``ssl``. What a
        variant does without stays away.
    """
    column = settings.column(dataset)
    training = Training(
        ratio=None if ratio == TAILS[dataset].ratio else ratio,  # or the same training would have two names
        depth=column.depth,
        widths=column.widths,
        recipe=column.recipe,
        pad=column.pad,
        flip=column.flip,
        loss="Balanced softmax" if method == "Balanced softmax" else "CE",
        seed=seed,
        device=settings.device,
        precision=settings.precision,
    )
    finish = column.crt if method in FINISHED else None
    if method in PLAIN:
        return training, finish
    ssl = changes.get("ssl", settings.ssl)
    attached = SelfSupervision(
        ssl=ssl,
        options=dict(column.options).get(ssl, ()),
        filter=settings.filter,
        bound=settings.bound,
        lam=settings.weight(dataset, method, ssl),
        eta=column.eta if settings.eta is None else settings.eta,
        dim=column.dim,
        view=column.view,
    )
    # What a variant does without goes last: nothing may bring it back.
    lacks: dict[str, Any] = {
        BEFORE: {
            "filter": "",
            "bound": None,
            "lam": 1.0,
            "eta": 0.0,
            "before": column.alone if rate is None else replace(column.alone, lr=rate),
        },
        SHARED: {"filter": "", "bound": None, "eta": 0.0},
        GENERIC: {"bound": None, "eta": 0.0},
        OURS: {},
        OURS_CRT: {},
    }[method]
    return replace(training, attached=replace(attached, **changes | lacks)), finish


def found(settings: Settings, dataset: str, method: str, seed: int, **changes: Any) -> dict:
    """Measurements of a method, see :func:`thesislib.heterotopic.runs.measured`; arguments as for :func:`case`."""
    training, finish = case(settings, dataset, method, seed, **changes)
    return measured(dataset, training, finish)


def by_shot(dataset: str, by_class: list[float], ratio: float | None = None) -> dict[str, float]:
    """Accuracy in percent of Many, Medium and Few classes and of all; NaN of a group without a class.

    Parameters
    ----------
    dataset : str
    by_class : list of float
    ratio : float, optional
        Imbalance ratio; None: the data set's own.
    """
    tail, counts = TAILS[dataset], images_of(dataset, ratio)["counts"].tolist()
    groups = shot_groups(counts, *THRESHOLDS.get(dataset, (tail.many, tail.few)))
    accuracies = np.array(by_class)
    rows = {name: 100 * balanced_accuracy(accuracies, groups[name]) for name in SHOTS}
    return rows | {"All": 100 * balanced_accuracy(accuracies)}


def information(dataset: str, training: Training, history: dict[str, list[float]]) -> float:
    """What the constraint's bound says of the information that generic and specific feature share, in nats.

    Of the whole feature, in the last epoch. The Gaussian bound says how much better its decoder is than the best one
    that ignores the generic feature, dimension by dimension; InfoNCE is a lower bound, CLUB an upper one once its
    decoder fits. At or below 0 the first two say nothing. 0 where there is no constraint and nothing is measured.

    Parameters
    ----------
    dataset : str
    training : Training
    history : dict
        Of :func:`thesislib.heterotopic.runs.trained`.
    """
    attached = training.attached
    if attached is None or attached.bound is None:
        return 0.0
    loss = history["mi_loss"][-1]
    if attached.bound == "InfoNCE":
        n = len(images_of(dataset, training.ratio)["train_labels"])
        return math.log(n / math.ceil(n / training.recipe.batch)) - loss
    return attached.dim * (loss if attached.bound == "CLUB" else history["mi_constant"][-1] - loss)
