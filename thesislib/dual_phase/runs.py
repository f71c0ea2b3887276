"""The pool of trainings: each is made once, kept on disk, and measured for whatever artefact asks.

A training's weights and its measurements are kept apart: whoever has the measurements needs no weights, and no
GPU if they were made on one.

Thesis, section 4.5.1.

``training`` describes a training, ``dataset`` is the name or path of its data, ``device`` where it was made.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from thesislib.datasets.longtail import TAILS
from thesislib.dual_phase.gradient_distortion import GradientAngles, backbone_parameters
from thesislib.dual_phase.method import PhaseTwo, head_images, phase_one, phase_two
from thesislib.longtail import (
    LDAM,
    CosineClassifier,
    CropFlip,
    Frozen,
    adjusted_logits,
    balanced_softmax_loss,
    class_accuracies,
    class_balanced_loss,
    class_balanced_weights,
    crt,
    expected_calibration_error,
    focal_loss,
    head_classes,
    log_prior,
    lws,
    ncm,
    tau_norm,
)
from thesislib.longtail.images import images_of
from thesislib.longtail.machine import made_on
from thesislib.memo import memoised, unfinished
from thesislib.models.residual import cifar_resnet
from thesislib.recipe import Recipe
from thesislib.training import fit, predict, seeded

LOSSES = ("CE", "Focal", "CB", "LDAM-DRW", "Balanced softmax")


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a network is trained from.

    Attributes
    ----------
    dataset : str
    ratio : float or None
        Imbalance ratio; None: the data set's own.
    depth, widths : int, tuple of int
        Of :func:`thesislib.models.residual.cifar_resnet`.
    recipe : Recipe
    loss : str
        One of :data:`LOSSES`.
    more_than : float or None
        Phase I: classes with more than so many training images alone; None: all classes.
    reweight_from : float
    pad : int
    flip : bool
    angles : int
        Steps between measurements of the gradients' angles; 0: none.
    seed : int
    device, precision : str

    Raises
    ------
    ValueError
        If another loss than cross-entropy is given to phase I or to a training whose angles are measured.
    """

    dataset: str
    ratio: float | None
    depth: int
    widths: tuple[int, ...]
    recipe: Recipe
    loss: str = "CE"
    more_than: float | None = None
    reweight_from: float = 0.8
    pad: int
    flip: bool
    angles: int = 0
    seed: int
    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.loss != "CE" and (self.angles or self.more_than is not None):
            raise ValueError(
                f"loss = {self.loss!r} with angles = {self.angles}, more_than = {self.more_than}; angles are "
                "measured of cross-entropy, which phase I has too"
            )


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What is done with a trained network before it is measured.

    Attributes
    ----------
    kind : str
        ``"none"``, ``"NCM"``, ``"tau-norm"``, ``"Logit adjustment"``, ``"cRT"``, ``"LWS"``, ``"Linear probe"`` (on
        head classes) or ``"Phase II"``.
    recipe : Recipe, optional
        Of cRT, LWS and the probe.
    tau : float
        Of tau-norm and logit adjustment.
    phase_two : PhaseTwo, optional
    more_than : float, optional
        Classes with more than so many training images are phase II's head; None: those of the training.
    """

    kind: str = "none"
    recipe: Recipe | None = None
    tau: float = 1.0
    phase_two: PhaseTwo | None = field(default=None)
    more_than: float | None = None


def head_of(training: Training) -> np.ndarray:
    """The classes that a training is about, largest first."""
    counts = images_of(training.dataset, training.ratio)["counts"]
    more_than = -1 if training.more_than is None else training.more_than
    return head_classes(counts.tolist(), more_than)


def fresh(training: Training) -> nn.Sequential:
    """The untrained network."""
    data, classes = images_of(training.dataset, training.ratio), len(head_of(training))

    def make() -> nn.Sequential:
        model = cifar_resnet(training.depth, classes, data["train"].shape[1], training.widths)
        if training.loss == "LDAM-DRW":
            model[-1] = CosineClassifier(model[-1].in_features, classes)
        return model

    return seeded(training.seed, make)


def network(training: Training) -> nn.Sequential:
    """The trained network in evaluation mode, on its device."""
    model = fresh(training)
    model.load_state_dict(trained(training.dataset, training)["weights"])
    return model.to(training.device).eval().to(memory_format=torch.channels_last)


@memoised(data="dataset")
def trained(dataset: str, training: Training) -> dict:
    """Train a network.

    Returns
    -------
    dict
        ``weights`` (a state dict on the CPU), ``history`` (columns of :func:`thesislib.training.fit`), ``angles``
        (:meth:`GradientAngles.rows`; empty where none were measured).
    """
    data, model = images_of(dataset, training.ratio), fresh(training)
    train = data["train"], data["train_labels"]
    options = {
        "augment": CropFlip(training.pad, training.flip),
        "device": training.device,
        "precision": training.precision,
        "seed": training.seed,
        "checkpoint": unfinished(),
    }
    angles = None
    if training.more_than is not None:
        # As many iterations as the joint model has, or the two could not be compared.
        length = len(train[1])
        history = phase_one(model, train, head_of(training), training.recipe, length, **options)
    else:
        if training.angles:
            angles = _angle_meter(model, training, data["counts"])
        loss = angles or _loss(training, data["counts"])
        history = fit(model, train, training.recipe, loss=loss, **options)
    weights = {name: value.cpu() for name, value in model.state_dict().items()}
    rows = angles.rows() if angles else {}
    return {"weights": weights, "history": history.to_dict("list"), "angles": rows}


@memoised(data="dataset")
def measured(dataset: str, training: Training, finish: Finish) -> dict:
    """A finished network on the test images.

    Returns
    -------
    dict
        ``by class``: accuracy of each class, list; of a head model, of the head classes in their order.
        ``restricted``: the same with the largest logit looked for among the head's alone. ``head as tail``: share
        of head test images taken for a tail class. ``ECE``. ``norms``: lengths of the classifier's rows, where it
        has any. ``angles``, ``loss`` (of the last epoch of the base training). ``made on``: device and library.
    """
    data = images_of(dataset, training.ratio)
    model = finished(training, finish)
    images, labels = data["test"], data["test_labels"]
    head = head_classes(data["counts"].tolist(), TAILS[dataset].many)
    classes = len(data["counts"])
    about = head if finish.kind == "Linear probe" else head_of(training)
    if finish.kind != "Phase II" and len(about) < classes:
        images, labels = head_images((images, labels), about)
        classes = len(about)
        head = np.flatnonzero(np.isin(about, head))  # places along the head model's logits
    logits = predict(model, images, precision=training.precision).cpu()
    if training.loss == "LDAM-DRW" and finish.kind == "none":
        logits = 30 * logits  # the scale of its loss
    if finish.kind == "Logit adjustment":
        logits = adjusted_logits(logits, log_prior(data["counts"]), finish.tau)
    predicted = logits.argmax(1)
    of_head = torch.isin(labels, torch.from_numpy(head))
    places = torch.from_numpy(np.asarray(head))
    among_head = places[logits[:, places].argmax(1)]
    restricted = class_accuracies(among_head[of_head], labels[of_head], classes)
    norms = getattr(model[-1], "weight", None)
    base = trained(dataset, training)
    return {
        "by class": class_accuracies(predicted, labels, classes).tolist(),
        "restricted": restricted[head].tolist(),
        "head as tail": 1 - torch.isin(predicted[of_head], places).double().mean().item(),
        "ECE": expected_calibration_error(logits, labels),
        "norms": [] if norms is None or norms.dim() != 2 else norms.detach().norm(dim=1).tolist(),
        "angles": base["angles"],
        "made on": made_on(training.device, training.precision),
    }


def finished(training: Training, finish: Finish) -> nn.Sequential:
    """The network that a finish makes of a trained one."""
    data, model = images_of(training.dataset, training.ratio), network(training)
    train = data["train"], data["train_labels"]
    where = {"device": training.device, "precision": training.precision}
    options = {**where, "augment": CropFlip(training.pad, training.flip), "seed": training.seed}
    options["checkpoint"] = unfinished()
    match finish.kind:
        case "none" | "Logit adjustment":
            return model
        case "NCM":
            return ncm(model, train, **where)
        case "tau-norm":
            return tau_norm(model, finish.tau)
        case "cRT":
            return crt(model, train, finish.recipe, **options)
        case "LWS":
            return lws(model, train, finish.recipe, **options)
        case "Phase II":
            head = head_of(training)
            if finish.more_than is not None:
                head = head_classes(data["counts"].tolist(), finish.more_than)
            if len(head) == len(data["counts"]):  # a model of every class has its logits in their order
                head = np.sort(head)
            return phase_two(model, train, head, finish.phase_two, **options)
        case "Linear probe":
            head = head_classes(data["counts"].tolist(), TAILS[training.dataset].many)
            size = model[-1].in_features
            probe = nn.Sequential(
                Frozen(model[:-1]), seeded(training.seed, lambda: nn.Linear(size, len(head)))
            )
            fit(probe, head_images(train, head), finish.recipe, **options)
            return probe
    raise ValueError(f"finish {finish.kind!r} is unknown")


def _angle_meter(model: nn.Sequential, training: Training, counts: Tensor) -> GradientAngles:
    head = counts > TAILS[training.dataset].many
    return GradientAngles(backbone_parameters(model), head, training.angles)


def _loss(training: Training, counts: Tensor):
    device = training.device
    match training.loss:
        case "CE":
            return None
        case "Focal":
            return lambda logits, labels, epoch: focal_loss(logits, labels)
        case "CB":
            weights = class_balanced_weights(counts).to(device)
            return lambda logits, labels, epoch: class_balanced_loss(logits, labels, weights=weights)
        case "Balanced softmax":
            prior = log_prior(counts, device)
            return lambda logits, labels, epoch: balanced_softmax_loss(logits, labels, prior)
        case "LDAM-DRW":
            return LDAM(counts, round(training.reweight_from * training.recipe.epochs))
    raise ValueError(f"loss = {training.loss!r} is not one of {', '.join(LOSSES)}")
