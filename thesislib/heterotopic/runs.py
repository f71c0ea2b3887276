"""The pool of trainings: each is made once, kept on disk, and measured for whatever artefact asks.

Weights and measurements are kept apart: whoever has the measurements needs no weights, and no GPU if they were
made on one.

Thesis, section 5.4.

``dataset`` is a set's name or path and ``training`` describes a training on it; ``model`` is a network, ``size``
the side of its images, ``labels`` are classes of images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from thesislib.heterotopic.ensemble import HeterotopicEnsemble, cut
from thesislib.heterotopic.filters import LastStage, make_filter
from thesislib.heterotopic.joint import fit_joint
from thesislib.heterotopic.views import StrongView
from thesislib.longtail import (
    CropFlip,
    balanced_softmax_loss,
    class_accuracies,
    crt,
    expected_calibration_error,
    log_prior,
    reliability,
)
from thesislib.longtail.images import images_of
from thesislib.longtail.machine import made_on
from thesislib.memo import memoised, unfinished
from thesislib.models.residual import cifar_resnet
from thesislib.recipe import Recipe
from thesislib.training import fit, predict, seeded

BINS = (10, 15, 20)


@dataclass(frozen=True, kw_only=True)
class SelfSupervision:
    """What is attached to a classifier.

    Attributes
    ----------
    ssl : str
        A key of :data:`thesislib.heterotopic.self_supervision.METHODS`.
    options : tuple of (name, value)
        Of the method.
    filter : str
        A preset, or empty: self-supervision shares the classifier's space.
    bound : str or None
        A key of :data:`thesislib.heterotopic.mutual_information.BOUNDS`.
    lam, eta : float
    dim : int
    view : StrongView
    before : Recipe or None
        Variant (i): of self-supervision alone, before the classifier is trained without it.
    """

    ssl: str
    options: tuple[tuple[str, float], ...]
    filter: str
    bound: str | None
    lam: float
    eta: float
    dim: int
    view: StrongView
    before: Recipe | None = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a network is trained from.

    Attributes
    ----------
    ratio : float or None
        Imbalance ratio; None: the data set's own.
    depth, widths : int, tuple of int
        Of the CIFAR residual network.
    recipe : Recipe
    pad : int
    flip : bool
    attached : SelfSupervision or None
        None is the base: cross-entropy alone.
    loss : str
        Of classification: ``"CE"`` or ``"Balanced softmax"``.
    seed : int
    device, precision : str
    """

    ratio: float | None
    depth: int
    widths: tuple[int, ...]
    recipe: Recipe
    pad: int
    flip: bool
    attached: SelfSupervision | None = None
    loss: str = "CE"
    seed: int
    device: str = "cpu"
    precision: str = "float32"


def fresh(dataset: str, training: Training) -> nn.Sequential:
    """The untrained classifier."""
    data = images_of(dataset, training.ratio)
    classes, channels = len(data["counts"]), data["train"].shape[1]
    return seeded(training.seed, lambda: cifar_resnet(training.depth, classes, channels, training.widths))


def ensemble(model: nn.Sequential, attached: SelfSupervision, *, size: int, seed: int) -> HeterotopicEnsemble:
    """A classifier with self-supervision around its own modules.

    Weights of what is attached come from a stream of their own: the classifier's depend on `seed` alone.
    """
    body, last, head = cut(model, size)
    channels, before = head[-1].in_features, _channels(body)
    private = attached.filter == "private stage"
    stage = LastStage("basic", before, channels, len(last), -(-size // 4))

    def make() -> HeterotopicEnsemble:
        return HeterotopicEnsemble(
            body if private else nn.Sequential(*body, *last),
            head[-1],
            filter=make_filter(attached.filter, stage) if attached.filter else nn.Identity(),
            channels=channels,
            stage=last if private else None,
            ssl=attached.ssl,
            bound=attached.bound,
            lam=attached.lam,
            eta=attached.eta,
            dim=attached.dim,
            **dict(attached.options),
        )

    return seeded(int(np.random.SeedSequence([seed, 5]).generate_state(1)[0]), make)


def network(dataset: str, training: Training) -> nn.Sequential:
    """The trained classifier in evaluation mode, without anything of self-supervision, on the CPU."""
    model = fresh(dataset, training)
    model.load_state_dict(trained(dataset, training)["weights"])
    return model.eval()


@memoised(data="dataset")
def trained(dataset: str, training: Training) -> dict:
    """Train a network.

    Returns
    -------
    dict
        ``weights`` (a state dict of the classifier alone, on the CPU), ``branch`` (of trunk, Filter and MLP, None
        without any), ``history`` (columns of the training's frame; of variant (i) the classifier's), ``spread`` (of
        the specific feature at the end, of variant (i) that of its first stage; 0 without one).
    """
    model, attached = fresh(dataset, training), training.attached
    train, options = _data_and_options(dataset, training)
    weak, joint, first = CropFlip(training.pad, training.flip), None, None
    if attached is not None and attached.before is None:
        joint = ensemble(model, attached, size=train[0].shape[-1], seed=training.seed)
        options["loss"] = _loss(dataset, training)
        history = fit_joint(joint, train, training.recipe, weak=weak, strong=attached.view, **options)
    else:
        if attached is not None:
            first = pretrained(dataset, training)
            model.load_state_dict(first["weights"])
        history = fit(model, train, training.recipe, augment=weak, loss=_loss(dataset, training), **options)
    kept = _kept(model, joint, history)
    return kept if first is None else kept | {"spread": first["spread"]}


@memoised(data="dataset")
def pretrained(dataset: str, training: Training) -> dict:
    """Self-supervision alone, by the recipe of ``attached.before``; both views are strong.

    Returns
    -------
    dict
        As of :func:`trained`, of this stage alone; the linear layer is as it was drawn.
    """
    model, attached = fresh(dataset, training), training.attached
    train, options = _data_and_options(dataset, training)
    joint = ensemble(model, attached, size=train[0].shape[-1], seed=training.seed)
    view = attached.view
    history = fit_joint(joint, train, attached.before, weak=view, strong=view, supervised=False, **options)
    return _kept(model, joint, history)


@memoised(data="dataset")
def measured(dataset: str, training: Training, finish: Recipe | None = None) -> dict:
    """A trained network on the test images.

    Parameters
    ----------
    finish : Recipe, optional
        Of cRT: a new classifier on the frozen features, trained with class-aware sampling.

    Returns
    -------
    dict
        ``by class``: accuracy of each class, list. ``ECE``: by number of bins. ``reliability``: mean confidence, gap
        and share of 15 bins. ``history``, ``spread``: of :func:`trained`. ``made on``: device, precision and library.
    """
    data, made = images_of(dataset, training.ratio), trained(dataset, training)
    model = network(dataset, training).to(training.device)
    if finish is not None:
        train, options = _data_and_options(dataset, training)
        model = crt(model, train, finish, augment=CropFlip(training.pad, training.flip), **options)
    logits, labels = predict(model, data["test"], precision=training.precision).cpu(), data["test_labels"]
    return {
        "by class": class_accuracies(logits.argmax(1), labels, len(data["counts"])).tolist(),
        "ECE": {bins: expected_calibration_error(logits, labels, bins) for bins in BINS},
        "reliability": [values.tolist() for values in reliability(logits, labels)],
        "history": made["history"],
        "spread": made["spread"],
        "made on": made_on(training.device, training.precision),
    }


@memoised(data="dataset")
def features(dataset: str, training: Training, count: int) -> np.ndarray:
    """The pooled features of some test images, float16, shape (count, channels), in the order of :func:`in_turn`."""
    data = images_of(dataset, training.ratio)
    model = network(dataset, training).to(training.device)
    chosen = in_turn(data["test_labels"], count)
    return (
        predict(model[:-1], data["test"][chosen], precision=training.precision)
        .cpu()
        .numpy()
        .astype(np.float16)
    )


def in_turn(labels: Tensor, count: int) -> Tensor:
    """Numbers of `count` images: the first of each class, then the second of each, and so on.

    Raises
    ------
    ValueError
        If there are not so many.
    """
    if count > len(labels):
        raise ValueError(f"{count} images of {len(labels)}; expected no more than there are")
    rank = torch.empty_like(labels)
    for k in labels.unique():
        rank[labels == k] = torch.arange(int((labels == k).sum()))
    return torch.argsort(rank * (int(labels.max()) + 1) + labels)[:count]


def _channels(body: nn.Module) -> int:
    """Channels of the map that a body makes: those of its last normalisation."""
    return [m.num_features for m in body.modules() if isinstance(m, nn.BatchNorm2d)][-1]


def _data_and_options(dataset: str, training: Training) -> tuple[tuple[Tensor, Tensor], dict]:
    data = images_of(dataset, training.ratio)
    how = {"device": training.device, "precision": training.precision, "seed": training.seed}
    how["checkpoint"] = unfinished()
    return (data["train"], data["train_labels"]), how


def _loss(dataset: str, training: Training) -> Callable[[Tensor, Tensor, int], Tensor] | None:
    if training.loss == "CE":
        return None
    prior = log_prior(images_of(dataset, training.ratio)["counts"].tolist(), training.device)
    return lambda logits, labels, epoch: balanced_softmax_loss(logits, labels, prior)


def _kept(model: nn.Module, joint: nn.Module | None, history: pd.DataFrame) -> dict:
    return {
        "weights": _on_cpu(model),
        "branch": None if joint is None else _on_cpu(joint.branch),
        "history": history.to_dict("list"),
        "spread": 0.0 if joint is None else float(history["spread"].iloc[-1]),
    }


def _on_cpu(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in model.state_dict().items()}
