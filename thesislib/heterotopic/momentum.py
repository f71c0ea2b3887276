"""MoCo's two memories: a slow copy of the encoder and a queue of its keys (He et al., CVPR 2020).

Thesis, section 5.3.3.
"""

from __future__ import annotations

import copy
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MomentumEncoder(nn.Module):
    """A copy of an encoder that follows it: ``theta' <- m theta' + (1 - m) theta``.

    Only parameters follow. Batch statistics are the copy's own, as in the released MoCo.

    Parameters
    ----------
    encoder : Module
        Copied as it is; not kept.
    momentum : float
        m, from 0 to below 1.

    Raises
    ------
    ValueError
        On a momentum out of range; by :meth:`follow`, if the encoder is of another architecture.
    """

    def __init__(self, encoder: nn.Module, momentum: float) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum = {momentum!r}; expected 0 to below 1")
        self.momentum = momentum
        self.copy = copy.deepcopy(encoder).requires_grad_(False)

    @torch.no_grad()
    def follow(self, encoder: nn.Module) -> None:
        """One step towards the encoder's present weights."""
        mine, theirs = list(self.copy.parameters()), list(encoder.parameters())
        if [p.shape for p in mine] != [p.shape for p in theirs]:
            raise ValueError("the encoder to follow is of another architecture than the one copied")
        torch._foreach_lerp_(mine, theirs, 1 - self.momentum)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """What the copy makes of images; no gradient."""
        return self.copy(images)


class Queue(nn.Module):
    """The last keys, first in, first out. It starts with random directions, which are negatives like any other.

    Parameters
    ----------
    size, dim : int
        Keys it holds, and their length.

    Attributes
    ----------
    keys : Tensor, shape (size, dim)
        Rows of unit length.

    Raises
    ------
    ValueError
        If a number is not whole and positive.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if not all(isinstance(number, Integral) and number > 0 for number in (size, dim)):
            raise ValueError(f"a queue of {size!r} keys of length {dim!r}; expected positive whole numbers")
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("next", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Replace the oldest keys; of more keys than there is room for, the last stay.

        Parameters
        ----------
        keys : Tensor, shape (n, dim)
            Rows of unit length.
        """
        size = len(self.keys)
        places = (self.next + torch.arange(len(keys), device=keys.device)) % size  # stays on the device
        last = slice(max(0, len(keys) - size), None)
        self.keys[places[last]] = keys[last].to(self.keys.dtype)
        self.next.copy_((self.next + len(keys)) % size)

    def extra_repr(self) -> str:
        return f"size={len(self.keys)}, dim={self.keys.shape[1]}"
