"""Probes and finite differences along single pixels of many images at once (thesis, section 2.3.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Ask = Callable[[Tensor, Tensor], Tensor]
BLOCK = 1 << 23  # numbers in the probes held in memory at once: 32 MB of float32


def probe(ask: Ask, images: Tensor, owner: Tensor, index: Tensor, places: Tensor) -> Tensor:
    """Losses of images with one pixel replaced.

    Parameters
    ----------
    ask : callable
        Query images and owners to losses, :meth:`thesislib.blackbox.attempt.Attempt.ask`.
    images : Tensor, shape (n, ...)
    owner : Tensor of int64, shape (n,)
        Number of the attacked image behind each.
    index : Tensor of int64, shape (n, q)
        Flat indices of the pixels.
    places : Tensor, shape (n, q, sides)
        Values they take, one query each.

    Returns
    -------
    Tensor of float64, shape (n, q, sides)
    """
    flat, (q, sides) = images.flatten(1), places.shape[1:]
    losses = [torch.empty(0, dtype=torch.float64, device=images.device)]
    for rows in torch.arange(len(flat), device=flat.device).split(
        max(1, BLOCK // (q * sides * flat.shape[1]))
    ):
        probes = flat[rows].repeat_interleave(q * sides, dim=0)
        which = index[rows].repeat_interleave(sides, dim=1).reshape(-1, 1)
        probes.scatter_(1, which, places[rows].reshape(-1, 1))
        losses.append(ask(probes.view(-1, *images.shape[1:]), owner[rows].repeat_interleave(q * sides)))
    return torch.cat(losses).view(places.shape)


def slopes(
    ask: Ask, images: Tensor, owner: Tensor, index: Tensor, *, h: float, base: Tensor | None
) -> Tensor:
    """Slope of the loss along pixels, shape (n, q).

    A probe that would leave [0, 1] is placed on the other side (one-sided) or at the border (symmetric), and
    the slope is taken over the distance as it is.

    Parameters
    ----------
    ask, images, owner, index
        As for :func:`probe`; images have values in [0, 1].
    h : float
        Step.
    base : Tensor, shape (n,), or None
        Losses at `images`: differences are one-sided and cost q queries an image. Without it they are
        symmetric and cost 2q.

    Raises
    ------
    ValueError
        If `h` is so small that a probe is the image itself. Nothing is asked then.
    """
    here = images.flatten(1).gather(1, index)
    if base is None:
        places = torch.stack(((here + h).clamp(max=1), (here - h).clamp(min=0)), dim=2)
        apart = _apart(places[:, :, 0], places[:, :, 1], h)
        found = probe(ask, images, owner, index, places)
        return (found[:, :, 0] - found[:, :, 1]) / apart
    places = torch.where(here + h <= 1, here + h, here - h)
    apart = _apart(places, here, h)
    found = probe(ask, images, owner, index, places[:, :, None])
    return (found[:, :, 0] - base[:, None]) / apart


def _apart(one: Tensor, other: Tensor, h: float) -> Tensor:
    """Distance of two probes, which the slope is taken over."""
    apart = one - other
    if not apart.all():
        raise ValueError(f"h = {h}: the difference vanishes beside pixels of {one.dtype}; take a larger step")
    return apart
