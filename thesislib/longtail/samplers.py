"""Which images an epoch consists of: the ``sampler`` of :func:`thesislib.training.fit` (thesis, section 4.5.1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor


def class_aware_sampler(labels: Tensor, length: int | None = None) -> Callable[[int, Generator], Tensor]:
    """Classes are drawn uniformly, then an image of the class: every class is seen equally often on average.

    Within a class, images come in a random order and none comes twice before all have come once.

    Parameters
    ----------
    labels : Tensor of int64, shape (n,)
        Of the training images; classes need not be consecutive.
    length : int, optional
        Indices an epoch; by default n.

    Returns
    -------
    callable
        ``sampler(epoch, generator)`` to int64 indices, shape (length,).

    Raises
    ------
    ValueError
        If there are no labels, or an epoch has no index.
    """
    labels = torch.as_tensor(labels).cpu()
    if not len(labels):
        raise ValueError("no labels to sample from")
    if length is not None and length < 1:
        raise ValueError(
            f"length = {length}; expected 1 or more indices an epoch, or None for as many as labels"
        )
    classes, place = labels.unique(return_inverse=True)
    members = _places(place, len(classes))
    length = len(labels) if length is None else length

    def sample(epoch: int, generator: Generator) -> Tensor:
        # As equal as can be in every run of len(classes), and so over the epoch.
        rounds = -(-length // len(classes))
        order = torch.cat([torch.randperm(len(classes), generator=generator) for _ in range(rounds)])[:length]
        drawn = torch.empty(length, dtype=torch.int64)
        for images, places in zip(members, _places(order, len(classes)), strict=True):
            passes = -(-len(places) // len(images))
            shuffled = [images[torch.randperm(len(images), generator=generator)] for _ in range(passes)]
            drawn[places] = torch.cat(shuffled)[: len(places)] if passes else images[:0]
        return drawn

    return sample


def _places(of: Tensor, classes: int) -> tuple[Tensor, ...]:
    """Where each class stands, in order; one sort, since a search for each of thousands of classes takes a minute."""
    return torch.argsort(of, stable=True).split(torch.bincount(of, minlength=classes).tolist())


def passes_sampler(count: int, length: int) -> Callable[[int, Generator], Tensor]:
    """Passes over all images, each in a new random order, cut to a given length.

    An epoch then has as many steps as one wishes, whatever the number of images.

    Parameters
    ----------
    count : int
        Training images.
    length : int
        Indices an epoch.

    Returns
    -------
    callable
        As of :func:`class_aware_sampler`.

    Raises
    ------
    ValueError
        If one of them is below 1.
    """
    if count < 1 or length < 1:
        raise ValueError(f"{length} of {count} images; expected at least 1 of at least 1")
    passes = -(-length // count)

    def sample(epoch: int, generator: Generator) -> Tensor:
        return torch.cat([torch.randperm(count, generator=generator) for _ in range(passes)])[:length]

    return sample
