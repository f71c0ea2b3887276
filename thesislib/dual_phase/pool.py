"""Which training and which finish a method is, on a data set of this run (thesis, section 4.5.1).

``settings`` are those of the run, ``dataset`` is one of its sets, ``seed`` an inner seed; ``how`` are options of
:func:`case`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from thesislib.datasets.longtail import TAILS
from thesislib.dual_phase.columns import Column
from thesislib.dual_phase.method import PhaseTwo
from thesislib.dual_phase.runs import LOSSES, Finish, Training, measured
from thesislib.dual_phase.settings import RATIOS, Settings
from thesislib.longtail import shot_groups
from thesislib.longtail.images import images_of
from thesislib.recipe import Recipe

MEASURES = ["accuracy", "made on"]


def case(
    settings: Settings,
    dataset: str,
    method: str,
    seed: int,
    *,
    ratio: float | None = None,
    epochs: int | None = None,
    more_than: float | None = None,
    candidate: str = "",
    **changes: Any,
) -> tuple[Training, Finish]:
    """The training and the finish that make up a method.

    Parameters
    ----------
    method : str
        Of :data:`thesislib.dual_phase.settings.METHODS`, or ``"Model-head"``, or ``"Linear probe"`` (of the joint
        model), or ``"Head probe"``.
    ratio : float, optional
        None: the data set's main one.
    epochs : int, optional
        None: the equal schedule.
    more_than : float, optional
        The disentanglement point of the dual-phase method; None: that between Many and Medium, 0: K = C.
    candidate : str
        ``"lr=0.1"`` or ``"tau=0.5"``: that of the second stage, in place of the column's; ``"lr=0.1, balanced"``:
        of phase II, with classes drawn equally often.
    **changes
        Fields of :class:`PhaseTwo`.

    Raises
    ------
    ValueError
        On an unknown method, a candidate of another kind, or a change that the method has no use for.
    """
    split = method in ("Dual-phase", "Joint, same phase II")
    idle = [*changes] if not split else []
    if more_than is not None and not (split or method in ("Model-head", "Head probe")):
        idle.append("more_than")
    if idle:
        raise ValueError(f"{', '.join(idle)}: {method} has no use for it")
    column = settings.column(dataset, epochs)
    main = ratio in (None, RATIOS[dataset])
    equal = epochs in (None, settings.column(dataset).recipe.epochs)
    measures = main and equal and dataset == settings.dataset[0]
    joint = Training(
        dataset=dataset,
        ratio=None if main else ratio,
        depth=column.depth,
        widths=column.widths,
        recipe=column.recipe,
        reweight_from=column.reweight_from,
        pad=column.pad,
        flip=column.flip,
        # Tables and figures share the joint model, so it is always the one whose angles are measured.
        angles=column.angles if measures else 0,
        seed=seed,
        device=settings.device,
        precision=settings.precision,
    )
    head = replace(joint, more_than=TAILS[dataset].many if more_than is None else more_than, angles=0)
    second = replace(column.control if more_than == 0 else column.phase_two, **changes)
    same = replace(column.same, **changes)
    training, finish = _of(method, column, joint, head, second, same)
    return training, _with(finish, candidate) if candidate else finish


def _of(
    method: str, column: Column, joint: Training, head: Training, second: PhaseTwo, same: PhaseTwo
) -> tuple[Training, Finish]:
    match method:
        case "CE":
            return joint, Finish()
        case "CE, longer":
            return replace(joint, recipe=_longer(joint, second), angles=0), Finish()
        case _ if method in LOSSES:
            return replace(joint, loss=method, angles=0), Finish()
        case "NCM":
            return joint, Finish(kind=method)
        case "tau-norm":
            return joint, Finish(kind=method, tau=column.tau)
        case "Logit adjustment":
            return joint, Finish(kind=method, tau=column.adjust)
        case "cRT":
            return joint, Finish(kind=method, recipe=column.crt)
        case "LWS":
            return joint, Finish(kind=method, recipe=column.lws)
        case "Linear probe":
            return joint, Finish(kind=method, recipe=column.crt)
        case "Head probe":
            return head, Finish(kind="Linear probe", recipe=column.crt)
        case "Model-head":
            return head, Finish()
        case "Joint, then phase II":
            return joint, Finish(kind="Phase II", phase_two=column.control)
        case "Joint, same phase II":
            return joint, Finish(kind="Phase II", phase_two=same, more_than=head.more_than)
        case "Dual-phase, herding":
            return head, Finish(kind="Phase II", phase_two=column.herded)
        case "Dual-phase":
            return (joint if head.more_than == 0 else head), Finish(kind="Phase II", phase_two=second)
    raise ValueError(f"method = {method!r} is unknown")


def _with(finish: Finish, candidate: str) -> Finish:
    pair, *sampling = candidate.split(", ")
    name, _, text = pair.partition("=")
    value, how = float(text), finish.phase_two
    if name == "tau" and finish.kind in ("tau-norm", "Logit adjustment") and not sampling:
        return replace(finish, tau=value)
    if name == "lr" and how is not None and sampling in ([], ["balanced"]):
        recipe = replace(how.recipe, lr=value)
        return replace(finish, phase_two=replace(how, recipe=recipe, balanced=bool(sampling)))
    if name == "lr" and finish.recipe is not None and not sampling:
        return replace(finish, recipe=replace(finish.recipe, lr=value))
    raise ValueError(f"candidate = {candidate!r} is none of a method whose finish is {finish.kind}")


def found(settings: Settings, dataset: str, method: str, seed: int, **how: Any) -> dict:
    """What was measured of a method; arguments as for :func:`case`."""
    return measured(dataset, *case(settings, dataset, method, seed, **how))


def by_shot(settings: Settings, dataset: str, method: str, seed: int, **how: Any) -> pd.DataFrame:
    """Accuracy in percent by group of classes, and over all: columns ``shot``, ``accuracy``, ``made on``."""
    result = found(settings, dataset, method, seed, **how)
    accuracies, ratio = np.array(result["by class"]), how.get("ratio")
    ratio = None if ratio in (None, RATIOS[dataset]) else ratio
    tail, counts = TAILS[dataset], images_of(dataset, ratio)["counts"].tolist()
    groups = shot_groups(counts, tail.many, tail.few) | {"All": np.ones(len(counts), bool)}
    rows = [(shot, 100 * accuracies[group].mean()) for shot, group in groups.items()]
    return pd.DataFrame(rows, columns=["shot", "accuracy"]).assign(**{"made on": result["made on"]})


def _longer(joint: Training, second: PhaseTwo) -> Recipe:
    """The joint recipe with the iterations of phase II added: its schedule is stretched."""
    recipe, images = joint.recipe, len(images_of(joint.dataset, joint.ratio)["train_labels"])
    epochs = recipe.epochs + round(second.length * second.recipe.epochs / images)
    milestones = tuple(m * epochs / recipe.epochs for m in recipe.milestones)
    return replace(recipe, epochs=epochs, milestones=milestones)
