"""The joint training: two views of a batch, the joint loss, and a watch over the representation.

Thesis, section 5.3.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from thesislib.augment import crop, flip
from thesislib.checkpoints import joined_facts
from thesislib.heterotopic.ensemble import HeterotopicEnsemble
from thesislib.heterotopic.self_supervision import CollapseWarning
from thesislib.prediction import ready
from thesislib.recipe import Recipe
from thesislib.training import fit

COLLAPSED = 0.05
"""Share of the first epoch's spread that says so."""
ALL_THE_SAME = 1e-3
"""A spread that says so whatever it was at first: an untrained network of 8 dimensions may have 0.03."""
NARROW = 0.0025
"""Share of the dimensions that there is room for beside the first: where less is in use, that says so. Of 121 SimSiam
at lambda = 50 and a rate of 0.3 ended in 1.27 on digits, sound trainings of two views in 1.5 and more."""
View = Callable[[Tensor, Generator], Tensor]


class Views:
    """Two views of each image, one after the other in the channels' axis.

    The first view takes the draws that a plain training would take, and no more. The second has a stream of its
    own, started anew whenever the given generator is one of another seed, so that a self-supervision of weight 0
    leaves the classifier's training as it is, bit for bit, and a training continued after any epoch goes on as
    if it had never stopped.

    Parameters
    ----------
    weak, strong : callable
        ``view(images, generator)`` of the images as given to the training.
    model : Module
        Whose type and device the images take.
    """

    def __init__(self, weak: View, strong: View | None, model: nn.Module) -> None:
        self.weak, self.strong, self.model = weak, strong, model
        self._of, self._own = -1, Generator()

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Views of shape (n, 2 channels, height, width), or (n, channels, …) without a strong one."""
        first = ready(self.weak(images, generator), self.model)
        if self.strong is None:
            return first
        if generator.initial_seed() != self._of:  # a new epoch's
            self._of = generator.initial_seed()
            self._own.manual_seed(self._of ^ 0x5E1F)
        return torch.cat([first, ready(self.strong(images, self._own), self.model)], 1)


def weak_view(recipe: Recipe) -> View:
    """A recipe's crop and flip."""

    def view(images: Tensor, generator: Generator) -> Tensor:
        images = crop(images, recipe.pad, generator) if recipe.pad else images
        return flip(images, generator) if recipe.flip else images

    return view


def fit_joint(
    model: HeterotopicEnsemble,
    train: tuple[Tensor, Tensor],
    recipe: Recipe,
    *,
    strong: View,
    weak: View | None = None,
    supervised: bool = True,
    loss: Callable[[Tensor, Tensor, int], Tensor] | None = None,
    on_epoch: Callable[[nn.Module, dict[str, float]], Mapping[str, float] | None] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Train an ensemble in place; data, recipe and options as for :func:`thesislib.training.fit`.

    Several processes may share the steps, as there. Spread and losses of self-supervision are then those of the
    first process's part, and so are the warnings: frames of the others lack these columns.

    Parameters
    ----------
    model : HeterotopicEnsemble
    strong : callable
        The self-supervised view, :class:`thesislib.heterotopic.views.StrongView` say. Rotation, which turns the weak
        one, takes none: None will do.
    weak : callable, optional
        The view that is classified; the recipe's crop and flip by default.
    supervised : bool
        False trains by self-supervision alone: labels have no part in the loss then.
    loss : callable, optional
        Of classification, in place of cross-entropy: ``loss(logits, labels, epoch)``, a mean over the batch.
    on_epoch : callable, optional
        As for ``fit``; `row` has the columns of self-supervision already.
    **options
        Further ones of ``fit``, but `augment`. `facts` are joined by the weights, method, options and bound and by
        views that are dataclasses, so that a checkpoint is continued with the loss it was begun with; of `loss`, and
        of views that are plain functions, nothing is known.

    Returns
    -------
    DataFrame
        One row an epoch, as ``fit`` gives it, with the means of ``ssl_loss``, ``mi_loss``, ``spread``,
        ``mi_constant`` and ``dimensions`` (:func:`~thesislib.heterotopic.self_supervision.spread`,
        :func:`~thesislib.heterotopic.mutual_information.constant_loss` and
        :func:`~thesislib.heterotopic.self_supervision.dimensions` of the specific feature).

    Raises
    ------
    ValueError
        If a queue holds as many keys as there are images, a step would see a single image (with a sampler, whose
        steps are not known beforehand, in that step), `loss` is given where labels have no part, or the
        checkpoint is of another joint loss.
    TypeError
        If the model is no ensemble, a method of two views has no `strong`, or `augment` is given: the views are made of
        `weak` and `strong`.

    Warns
    -----
    CollapseWarning
        At the end, with spread and dimensions, if the specific feature has become nearly the same for all images: its
        spread is below a twentieth of the first epoch's, or below 0.001. Or if it varies along little more than a
        line: beyond the first dimension in less than 0.25 % of those that there is room for, the smaller of `dim` and
        the smallest step's images less 1. (Of rotation, in less than 0.0025: the images measured are upright, one of
        its four answers, and the task itself draws them together.) Or if what enters a batch normalisation at the end
        of the MLP, which keeps spread and dimensions up, varies less than its ``eps``.
    """
    if not isinstance(model, HeterotopicEnsemble):
        raise TypeError(
            f"model is {type(model).__name__}; expected HeterotopicEnsemble(trunk, classifier, ...)"
        )
    if "augment" in options:
        raise TypeError("augment has no place in a joint training, give its views as weak and strong")
    if loss is not None and not supervised:
        raise ValueError(
            "a loss of labels with supervised = False, where they have no part; give one of the two"
        )
    if model.method.two_views and not callable(strong):
        ssl = model.facts["ssl"]
        raise TypeError(f"strong = {strong!r}, but {ssl} has a second view; give one, StrongView() say")
    n = len(train[1])
    rank, size = _process()
    least = _least(n, recipe.batch, size, sampled=options.get("sampler") is not None)
    if least < 2:
        among = f" in one of {size} processes" if size > 1 else ""
        raise ValueError(
            f"batch = {recipe.batch} of {n} images makes a step of {least}{among}; "
            "self-supervision contrasts images, give a batch that leaves 2 or more"
        )
    queue = getattr(model.method, "queue", None)
    if queue is not None and len(queue.keys) >= n:
        held = len(queue.keys)
        raise ValueError(
            f"a queue of {held} keys with {n} images; every image would meet its own old key, give less than {n}"
        )
    sums: list[Tensor] = []
    widths: list[Tensor] = []

    def joint_loss(logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        terms, model.terms = model.terms, None
        if rank == 0:  # the others have no `watch` that would take them
            sums.append(torch.stack(terms[:4]).detach())
            widths.append(terms.dimensions)
        added = model.weighted(terms)
        if not supervised:
            # Processes that share a step wait for a gradient of every weight, be it 0.
            return added + 0 * logits.sum() if size > 1 else added
        return (F.cross_entropy(logits, labels) if loss is None else loss(logits, labels, epoch)) + added

    def watch(_: nn.Module, row: dict[str, float]) -> dict[str, float]:
        means = torch.stack(sums).double().mean(0).tolist()
        found = dict(zip(("ssl_loss", "mi_loss", "spread", "mi_constant"), means, strict=True))
        found["dimensions"] = torch.stack(widths).mean().item()
        sums.clear()
        widths.clear()
        return found | dict((on_epoch(model, row | found) if on_epoch else None) or {})

    facts = {"supervised": supervised, "lam": model.lam, "eta": model.eta} | model.facts
    for name, view in (("strong", strong), ("weak", weak)):
        if isinstance(view, type):
            raise TypeError(f"{name} is a class; {view.__name__}() makes a view of it")
        facts[name] = asdict(view) if is_dataclass(view) else None
    options["facts"] = joined_facts(facts, options.get("facts"))
    views = Views(weak or weak_view(recipe), strong if model.method.two_views else None, model)
    history = fit(model, train, recipe, loss=joint_loss, augment=views, on_epoch=watch, **options)
    if rank == 0 and (signs := _collapse(model, history, least)):
        advice = "lower lr or lam" + (", or take a method with negatives" if queue is None else "")
        warnings.warn(f"the representation has collapsed: {signs}; {advice}", CollapseWarning, stacklevel=2)
    return history


def _process() -> tuple[int, int]:
    """Number of this process, and of all that train together, as ``fit`` takes them from ``torchrun``."""
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def _least(n: int, batch: int, size: int, *, sampled: bool) -> int:
    """Images that a process sees in its smallest step; of a sampler's epochs, in a whole one."""
    return (batch if sampled and n > 1 else n // max(1, -(-n // batch))) // size


def _collapse(model: HeterotopicEnsemble, history: pd.DataFrame, least: int) -> str | None:
    """What the specific feature measures, if that shows that it has collapsed."""
    norm, first, last = model.branch.mlp[-1], history.iloc[0], history.iloc[-1]
    dim = norm.num_features if isinstance(norm, nn.BatchNorm1d) else norm.out_features
    room = min(least - 1, dim)
    enough = 1 + NARROW * (room - 1 if model.method.two_views else 1)
    # Of two images, or in one dimension, whatever varies lies on a line.
    narrow = room > 1 and last["dimensions"] < enough
    found = f"spread {last['spread']:.3g} of 1, {last['dimensions']:.3g} of {dim} dimensions"
    if isinstance(norm, nn.BatchNorm1d):
        entering = norm.running_var.mean().item()
        found += f", variance {entering:.3g} before its normalisation"
        return found if narrow or entering < norm.eps else None
    same = last["spread"] < max(ALL_THE_SAME, COLLAPSED * first["spread"])
    return found if narrow or same else None
