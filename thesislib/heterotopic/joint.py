"""The joint training: two views of a batch, the joint loss, and a watch over the representation.

Thesis, section 5.3.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from thesislib.augment import crop, flip
from thesislib.heterotopic.ensemble import HeterotopicEnsemble
from thesislib.heterotopic.self_supervision import CollapseWarning
from thesislib.prediction import ready
from thesislib.recipe import Recipe
from thesislib.training import fit

COLLAPSED = 0.05
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
    **options: Any,
) -> pd.DataFrame:
    """Train an ensemble in place; data, recipe and options as for :func:`thesislib.training.fit`.

    Parameters
    ----------
    model : HeterotopicEnsemble
    strong : callable
        The self-supervised view, :class:`thesislib.heterotopic.views.StrongView` say.
    weak : callable, optional
        The view that is classified; the recipe's crop and flip by default.
    supervised : bool
        False trains by self-supervision alone: labels have no part in the loss then.

    Returns
    -------
    DataFrame
        One row an epoch, as ``fit`` gives it, with the means of ``ssl_loss``, ``mi_loss`` and ``spread``.

    Raises
    ------
    ValueError
        If a queue holds as many keys as there are images, or a step would see a single image.

    Warns
    -----
    CollapseWarning
        At the end, if the specific feature's spread has fallen below 0.05: it is the same for all images.
    """
    n = len(train[1])
    queue = getattr(model.method, "queue", None)
    if queue is not None and len(queue.keys) >= n:
        held = len(queue.keys)
        raise ValueError(
            f"a queue of {held} keys with {n} images; an image would meet its own keys, give less than {n}"
        )
    if min(recipe.batch, n) < 2:
        raise ValueError(
            f"batch = {recipe.batch} of {n} images; self-supervision contrasts images, give 2 or more"
        )
    sums: list[Tensor] = []

    def loss(logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
        terms, model.terms = model.terms, None
        sums.append(torch.stack(terms).detach())
        added = model.weighted(terms)
        return F.cross_entropy(logits, labels) + added if supervised else added

    def watch(_: nn.Module, row: dict[str, float]) -> dict[str, float]:
        means = torch.stack(sums).double().mean(0).tolist()
        sums.clear()
        return dict(zip(("ssl_loss", "mi_loss", "spread"), means, strict=True))

    views = Views(weak or weak_view(recipe), strong if model.method.two_views else None, model)
    history = fit(model, train, recipe, loss=loss, augment=views, on_epoch=watch, **options)
    if (last := history["spread"].iloc[-1]) < COLLAPSED:
        warnings.warn(
            f"the representation has collapsed: spread {last:.3g} of 1; lower lr, or take a method with negatives",
            CollapseWarning,
            stacklevel=2,
        )
    return history
