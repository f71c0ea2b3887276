"""Augmentation of a whole batch at once: every image its own draw, all images in a few tensor operations.

An augmentation is a function ``(images, generator) -> images``; :func:`thesislib.training.fit` takes any such
function, and a recipe's ``pad`` and ``flip`` name the two below.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def crop(images: Tensor, pad: int, generator: Generator) -> Tensor:
    """Shift each image at random: a window of its own size out of the image padded with zeros.

    Parameters
    ----------
    images : Tensor, shape (n, ..., height, width)
        Of any type. Frames of a clip, between the first axis and the last two, move together.
    pad : int
        Rows and columns of zeros on each side, so that shifts reach from ``-pad`` to ``pad``.
    generator : torch.Generator
        On the CPU, whatever device the images are on: the same draws everywhere.

    Returns
    -------
    Tensor
        Same shape and type; four-dimensional images lie channels-last.

    Raises
    ------
    ValueError
        If `pad` is negative or the images have no height and width.
    """
    if pad < 0 or images.dim() < 3:
        raise ValueError(
            f"pad = {pad} with images of shape {tuple(images.shape)}; expected pad >= 0 and (n, ..., h, w)"
        )
    n, (height, width) = len(images), images.shape[-2:]
    corner = torch.randint(2 * pad + 1, (2, n, 1, 1), generator=generator).to(images.device)
    image = torch.arange(n, device=images.device).view(-1, 1, 1)
    rows = corner[0] + torch.arange(height, device=images.device).view(1, -1, 1)
    columns = corner[1] + torch.arange(width, device=images.device).view(1, 1, -1)
    padded = F.pad(images, (pad, pad, pad, pad)).movedim((-2, -1), (1, 2))
    return padded[image, rows, columns].movedim((1, 2), (-2, -1))


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left to right with probability one half.

    Parameters
    ----------
    images : Tensor, shape (n, ..., height, width)
        Of any type.
    generator : torch.Generator
        On the CPU. One in the same state chooses the same images again, which undoes the flip.

    Returns
    -------
    Tensor
        Same shape and type.
    """
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(chosen.view(-1, *[1] * (images.dim() - 1)).to(images.device), images.flip(-1), images)
