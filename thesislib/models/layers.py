"""Arithmetic of layers that the networks share.

``name`` is the network's, for the error; ``channels`` and ``size`` are the images'.

Thesis, section 2.4.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


def widths(width: float, *full: int) -> list[int]:
    """Numbers of channels or units at a `width`: a share of `full`, rounded, and four at least.

    Raises
    ------
    ValueError
        If `width` is not positive and finite.
    """
    if not 0 < width < math.inf:
        raise ValueError(f"width = {width!r}; expected a positive multiplier of the number of channels")
    return [max(4, round(width * n)) for n in full]


def made_of(name: str, body: Sequence[nn.Module], channels: int, size: int) -> tuple[int, ...]:
    """The shape of what `body` makes of one image.

    Raises
    ------
    ValueError
        If a layer is larger than what the layers before leave of the image.
    """
    layers = nn.Sequential(*body).eval()  # dropout would draw from the global generator
    try:
        with torch.no_grad():
            made = layers(torch.zeros(1, channels, size, size))
    except RuntimeError as error:
        raise ValueError(f"size = {size} is too small for {name}: its layers use the image up") from error
    finally:
        layers.train()
    return tuple(made.shape[1:])
