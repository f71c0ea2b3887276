r"""Dual-phase modelling (thesis 4.4): head classes first, then all of them, without forgetting.

Phase I trains on head classes only, so that no tail gradient disturbs it. From its features the exemplar bank is
selected. Phase II sees the bank's images and all tail images, and minimises

.. math:: \mathrm{CE}(z, y) + \lambda\, L_{\mathrm{MR}}(\phi_{\mathrm{old}}(x), \phi(x)),
          \qquad z = [W_H \phi(x);\, W_T \phi(x)].

The thesis's text was not available: sections, captions and the abstract give the skeleton, and each choice that
they leave open is an argument here.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thesislib.checkpoints import joined_facts, weights_print
from thesislib.dual_phase.exemplar_bank import RULES, Bank, exemplar_bank
from thesislib.dual_phase.memory_retentive import LOSSES, memory_retentive_loss
from thesislib.longtail.balanced_softmax import balanced_softmax_loss, log_prior
from thesislib.longtail.frozen import Frozen, classifier_of, images_by_class
from thesislib.longtail.samplers import class_aware_sampler, passes_sampler
from thesislib.prediction import predict
from thesislib.recipe import Recipe
from thesislib.training import fit, seeded

TAIL_ROWS = ("fresh", "imprinted")


@dataclass(frozen=True, kw_only=True)
class PhaseTwo:
    """What phase II is made from, apart from the model of phase I and the images.

    Attributes
    ----------
    recipe : Recipe
        Its epochs are of `length` images each, whatever the bank's size.
    length : int
    balanced : bool
        Whether classes are drawn equally often, or images.
    bank : int
        Exemplars of a head class; 0: none, phase II sees the tail alone.
    rule : str
        How they are selected, a key of :data:`thesislib.dual_phase.exemplar_bank.RULES`.
    retention : float
        :math:`\\lambda`; 0 leaves the memory-retentive loss out.
    form : str
        Of that loss, a key of :data:`thesislib.dual_phase.memory_retentive.LOSSES`.
    temperature : float
    tail_rows : str
        What the classifier's rows of the tail start from: ``"fresh"``, PyTorch's own; ``"imprinted"``, the class mean
        of phase I's features, as long as a row of the head is on average, with the head's mean bias.
    frozen_statistics : bool
        Whether batch norm goes on using the statistics of phase I, in training too.
    balanced_softmax : bool
        Whether the classification loss is balanced softmax with the counts of what phase II sees, in place of
        cross-entropy; meant for images drawn as they come.

    Raises
    ------
    ValueError
        If a value is impossible.
    """

    recipe: Recipe
    length: int
    balanced: bool = False
    bank: int = 20
    rule: str = "alternating"
    retention: float = 1.0
    form: str = "cross-graph"
    temperature: float = 0.1
    tail_rows: str = "fresh"
    frozen_statistics: bool = False
    balanced_softmax: bool = False

    def __post_init__(self) -> None:
        rules = {
            "recipe": (isinstance(self.recipe, Recipe), "a thesislib.recipe.Recipe"),
            "length": (
                isinstance(self.length, Integral) and self.length >= 1,
                "a whole number of images, 1 or more",
            ),
            "bank": (
                isinstance(self.bank, Integral) and self.bank >= 0,
                "a whole number of exemplars a class, 0 or more",
            ),
            "rule": (self.rule in RULES, f"one of {', '.join(RULES)}"),
            "retention": (
                isinstance(self.retention, Real) and 0 <= self.retention < float("inf"),
                "lambda, 0 or more",
            ),
            "form": (self.form in LOSSES, f"one of {', '.join(LOSSES)}"),
            "temperature": (isinstance(self.temperature, Real) and self.temperature > 0, "a positive number"),
            "tail_rows": (self.tail_rows in TAIL_ROWS, f"one of {', '.join(TAIL_ROWS)}"),
        }
        for name, (good, expected) in rules.items():
            if not good:
                raise ValueError(f"{name} = {getattr(self, name)!r}; expected {expected}")


def phase_one(
    model: nn.Sequential,
    train: tuple[Tensor, Tensor],
    head: Sequence[int],
    recipe: Recipe,
    length: int | None = None,
    **options: Any,
) -> Any:
    """Train a model on head classes alone, in place.

    Parameters
    ----------
    model : Sequential
        From images to ``len(head)`` logits.
    train : (images, labels)
        Of all classes.
    head : sequence of int
        The head classes; logit j is for ``head[j]``.
    recipe : Recipe
    length : int, optional
        Images an epoch: that of the joint model, for as many iterations; None: the head's own images once.
    **options
        Of :func:`thesislib.training.fit`.

    Returns
    -------
    DataFrame
        The history of :func:`thesislib.training.fit`.

    Raises
    ------
    ValueError
        If data or head are as :func:`head_images` refuses them, or the model has logits for other classes too.
    TypeError
        If images or labels are no tensors, or labels no int64.
    """
    images, labels = head_images(train, head)
    last = model[-1] if isinstance(model, nn.Sequential) else None
    logits = getattr(last, "out_features", len(head))
    if logits != len(head):
        raise ValueError(f"the model has {logits} logits; expected {len(head)}, one for each head class")
    sampler = None if length is None else passes_sampler(len(labels), length)
    facts = joined_facts({"head": [int(k) for k in head], "length": length}, options.pop("facts", None))
    return fit(model, (images, labels), recipe, sampler=sampler, facts=facts, **options)


def head_images(data: tuple[Tensor, Tensor], head: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The images of head classes, with labels that count along `head`.

    Parameters
    ----------
    data : (images, labels)
    head : sequence of int
        Classes, each named once.

    Raises
    ------
    ValueError
        If `head` is empty, a mask, repeats a class or names one without images; if a label is negative, or there is not
        one for each image.
    TypeError
        If images or labels are no tensors, or labels no int64.
    """
    images, labels = data
    classes = torch.tensor(_checked_head(data, head))
    known, place = classes.sort()
    nearest = torch.searchsorted(known, labels.cpu()).clamp(max=len(known) - 1)
    kept = known[nearest] == labels.cpu()
    return images[kept.to(images.device)], place[nearest[kept]]


def _checked_head(data: tuple[Tensor, Tensor], head: Sequence[int]) -> list[int]:
    """The head as plain numbers, each of a class that has images."""
    for name, part in zip(("images", "labels"), data, strict=True):
        if not isinstance(part, Tensor):
            raise TypeError(
                f"{name} are {type(part).__name__}, expected a tensor; torch.from_numpy makes one of an array"
            )
    images, labels = data
    if labels.dtype != torch.int64:
        raise TypeError(f"labels are {labels.dtype}, expected torch.int64")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"{len(images)} images and labels of shape {tuple(labels.shape)}; expected one each")
    if torch.as_tensor([*head]).dtype == torch.bool:
        raise ValueError(
            "head is a mask; expected the classes' numbers, which torch.as_tensor(mask).nonzero().flatten() has"
        )
    classes = [int(k) for k in head]
    if not classes or len(set(classes)) < len(classes) or classes != [float(k) for k in head]:
        raise ValueError(f"head = {list(head)}; expected one class or more, whole numbers, none twice")
    if not len(labels) or labels.min() < 0:
        raise ValueError(
            f"{len(labels)} labels, the least {labels.min() if len(labels) else 'none'}; expected 0 or more"
        )
    present = set(labels.unique().tolist())
    if absent := [k for k in classes if k not in present]:
        raise ValueError(f"class {absent[0]} is head and has no image")
    return classes


def complete(model: nn.Sequential, head: Sequence[int], classes: int, seed: int) -> nn.Sequential:
    """The model of phase I with new rows for the tail classes: :math:`[W_H; W_T]`, in the order of the classes.

    New rows are PyTorch's own fresh ones. The features are shared with the given model, not copied.

    Parameters
    ----------
    model : Sequential
        On head classes.
    head : sequence of int
        Class of each of its logits.
    classes : int
        All of them.
    seed : int
        Of the new rows.

    Raises
    ------
    ValueError
        If `head` does not name a class for each logit, each once and of those there are.
    """
    known = model[-1]
    named = {int(k) for k in head}
    if torch.as_tensor([*head]).dtype == torch.bool or not len(named) == len(head) == known.out_features:
        raise ValueError(f"head = {[*head]}; expected {known.out_features} classes, one for each logit")
    if min(named) < 0 or max(named) >= classes:
        raise ValueError(
            f"head reaches from {min(named)} to {max(named)}; expected classes 0 to {classes - 1}"
        )
    device = known.weight.device
    whole = seeded(seed, lambda: nn.Linear(known.in_features, classes)).to(known.weight)
    rows = torch.as_tensor([int(k) for k in head], device=device)
    with torch.no_grad():
        whole.weight[rows], whole.bias[rows] = known.weight, known.bias
    return nn.Sequential(*model[:-1], whole)


def imprint(model: nn.Sequential, train: tuple[Tensor, Tensor], head: Sequence[int], **options: Any) -> None:
    """Set the classifier's rows of the tail, in place, to their classes' mean features (Qi et al. 2018).

    Each is as long as the head's rows are on average, and has their mean bias.

    Parameters
    ----------
    model : Sequential
        As :func:`complete` returns it.
    train : (images, labels)
    head : sequence of int
    **options
        Of :func:`thesislib.prediction.predict`.

    Raises
    ------
    ValueError
        If data or head are as :func:`head_images` refuses them, or a tail class has no image.
    TypeError
        As :func:`head_images`.
    """
    images, labels = train
    last, known = model[-1], _checked_head(train, head)
    images_by_class(labels, last.out_features)
    _moved(model, options)
    tail = [k for k in range(last.out_features) if k not in set(known)]
    mine = torch.isin(labels.cpu(), torch.tensor(tail, dtype=torch.int64)).nonzero()[:, 0]
    features = predict(model[:-1], images[mine.to(images.device)], **options)
    labels = labels.cpu()[mine].to(features.device)
    with torch.no_grad():
        length = last.weight[known].norm(dim=1).mean()
        for k in tail:
            last.weight[k] = length * F.normalize(features[labels == k].mean(0), dim=0)
        last.bias[tail] = last.bias[known].mean()


def select_bank(
    model: nn.Sequential,
    train: tuple[Tensor, Tensor],
    head: Sequence[int],
    size: int,
    rule: str = "alternating",
    *,
    seed: int = 0,
    **options: Any,
) -> Bank:
    """The bank of a model's own features; ``indices`` are places in `train`.

    Parameters
    ----------
    model : Sequential
        Of phase I.
    train : (images, labels)
        Of all classes.
    head : sequence of int
    size : int
        Exemplars of a class.
    rule : str
        A key of :data:`thesislib.dual_phase.exemplar_bank.RULES`.
    seed : int
    **options
        Of :func:`thesislib.prediction.predict`.

    Raises
    ------
    ValueError
        If data or head are as :func:`head_images` refuses them; else as
        :func:`~thesislib.dual_phase.exemplar_bank.exemplar_bank`.
    TypeError
        As :func:`head_images`.
    """
    mine = torch.isin(train[1].cpu(), torch.tensor(_checked_head(train, head))).nonzero()[:, 0]
    _moved(model, options)
    images = train[0][mine.to(train[0].device)]
    bank = exemplar_bank(predict(model[:-1], images, **options), train[1].cpu()[mine], size, rule, seed=seed)
    selected = [mine[s] for s in bank.selected]
    return dataclasses.replace(bank, indices=mine[bank.indices], selected=selected)


def _moved(model: nn.Sequential, options: dict[str, Any]) -> None:
    """To the device of a prediction, as a whole: `predict` would take the shared features alone."""
    if (device := options.get("device")) is not None:
        model.to(device)


class Retentive(nn.Module):
    """A model that remembers, while it is trained, what its past self makes of the same images.

    Attributes
    ----------
    model : Sequential
        The current one.
    old : Frozen or None
        The features of phase I; None if nobody asks for them.
    seen : tuple of Tensor, shape (n, d)
        Old and new features of the last batch in training mode.
    frozen_statistics : bool
        Whether batch norm stays in evaluation mode.
    """

    def __init__(
        self, model: nn.Sequential, *, remembers: bool = True, frozen_statistics: bool = False
    ) -> None:
        super().__init__()
        self.model, self.old = model, Frozen(model[:-1]) if remembers else None
        self.seen: tuple[Tensor, Tensor] | None = None
        self.frozen_statistics = frozen_statistics

    def train(self, mode: bool = True) -> Retentive:
        super().train(mode)
        if self.frozen_statistics:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        features = self.model[:-1](images)
        if self.training and self.old is not None:
            self.seen = self.old(images), features
        return self.model[-1](features)


def phase_two(
    model: nn.Sequential,
    train: tuple[Tensor, Tensor],
    head: Sequence[int],
    how: PhaseTwo,
    *,
    classes: int | None = None,
    seed: int = 0,
    precision: str = "float32",
    **options: Any,
) -> nn.Sequential:
    """Bring the tail classes in.

    Parameters
    ----------
    model : Sequential
        Of phase I, on `head`, or a joint one with a logit for each class, whose rows are kept; moved to the device,
        left as it is otherwise. What needs no gradient in it stays as it is in phase II.
    train : (images, labels)
        Of all classes.
    head : sequence of int
        The classes that the bank is for. If that is every class, there is no tail, and this is fine-tuning on the
        bank; the model's logits, and so the head, are then in the order of the classes.
    how : PhaseTwo
    classes : int, optional
        How many there are; None: as many as the highest label tells, so that a last class without images goes unseen.
    seed : int
    precision : str
    **options
        Of :func:`thesislib.training.fit`, but `loss` and `sampler`.

    Returns
    -------
    Sequential
        From images to logits of all classes, in evaluation mode.

    Raises
    ------
    ValueError
        If there is neither bank nor tail; if data or head are as :func:`head_images` refuses them, the head is every
        class in another order than the logits', or a tail class has no image, of `classes` or below the highest label;
        if the model does not end in a linear layer with a bias, for the head or all of them.
    TypeError
        If data are no tensors, labels no int64, or `options` hold `loss` or `sampler`, which are phase II's own.
    FloatingPointError
        If the loss ceases to be finite.
    """
    images, labels = train
    head = _checked_head(train, head)
    if classifier_of(model, (nn.Linear,)).bias is None:
        raise ValueError("the last layer has no bias; phase II extends rows and biases")
    known, most = model[-1].out_features, int(labels.max()) + 1
    classes = most if classes is None else classes
    if most > classes:
        raise ValueError(f"a label is {most - 1}; expected less than {classes}, the number of classes")
    present = set(labels.unique().tolist())
    empty = next((k for k in range(classes) if k not in present), None)
    if empty is not None:
        raise ValueError(
            f"class {empty} has no image to learn it from; drop it, and count the labels without it"
        )
    if known not in (len(head), classes):
        raise ValueError(
            f"the model has {known} logits; expected {len(head)}, for the head, or {classes}, for all classes"
        )
    if len(head) == classes and head != sorted(head):
        raise ValueError(
            f"head = [{head[0]}, {head[1]}, ...] is every class, not in the order of the logits; give range({classes})"
        )
    if taken := sorted({"loss", "sampler"} & options.keys()):
        raise TypeError(f"{', '.join(taken)}: phase II has its own, see PhaseTwo")
    device = options.get("device", next(model.parameters()).device)
    model.to(device)
    chosen = ~torch.isin(labels.cpu(), torch.as_tensor(head))
    if how.bank:
        bank = select_bank(model, train, head, how.bank, how.rule, seed=seed, precision=precision)
        chosen[bank.indices] = True
    if not chosen.any():
        raise ValueError("phase II has no image: the head is every class and the bank is empty")
    kept = chosen.nonzero()[:, 0].to(images.device)
    # A model that knows every class counts them as they are, whatever the order of the head.
    whole = model if known == classes else complete(model, head, classes, seed)
    if known != classes and how.tail_rows == "imprinted":
        imprint(whole, train, head, precision=precision)
    start = copy.deepcopy(whole)
    learner = start
    if how.retention or how.frozen_statistics:
        learner = Retentive(start, remembers=how.retention > 0, frozen_statistics=how.frozen_statistics)
    data = images[kept], labels[kept.to(labels.device)]
    classify = F.cross_entropy
    if how.balanced_softmax:
        prior = log_prior(torch.bincount(data[1].cpu(), minlength=classes), device)
        classify = functools.partial(balanced_softmax_loss, prior=prior)

    def loss(logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        found = classify(logits, labels)
        if not how.retention:
            return found
        seen, learner.seen = learner.seen, None  # or its graph would stay, and a copy of the model be refused
        old, new = (part.float() for part in seen)
        return found + how.retention * memory_retentive_loss(old, new, how.form, how.temperature)

    sampler = passes_sampler(len(kept), how.length)
    if how.balanced:
        sampler = class_aware_sampler(data[1], how.length)
    facts = {name: value for name, value in vars(how).items() if name != "recipe"}
    facts = joined_facts(facts | {"head": head, "base": weights_print(model)}, options.pop("facts", None))
    try:
        fit(learner, data, how.recipe, loss=loss, sampler=sampler, seed=seed, precision=precision, facts=facts,
            **{"device": device} | options)  # fmt: skip
    except FloatingPointError as error:
        forget = f"retention = {how.retention:g}, {how.form}, temperature = {how.temperature:g}"
        raise FloatingPointError(
            f"phase II, {forget}: {error}" + "; or lower retention" * (how.retention > 0)
        ) from None
    return start
