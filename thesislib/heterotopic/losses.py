"""Losses of self-supervision, each a mean over the batch (thesis, section 5.3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(z: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """MoCo's loss: find one's own key among it and the queue.

    ``-log( exp(z·k/T) / (exp(z·k/T) + sum_j exp(z·q_j/T)) )`` (He et al., CVPR 2020, eq. 1).

    Parameters
    ----------
    z, keys : Tensor, shape (n, dim)
        Rows of unit length; row i of both is of the same image.
    queue : Tensor, shape (m, dim)
        Keys of other images.
    temperature : float
        T, positive.

    Raises
    ------
    ValueError
        If T is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature = {temperature!r}; expected a positive number")
    own = (z * keys).sum(1, keepdim=True)
    logits = torch.cat([own, z @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(z), dtype=torch.int64, device=z.device))


def negative_cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """SimSiam's loss of one direction, the target held fixed: ``-cos(p, stopgrad(z))``.

    Chen and He, CVPR 2021, eq. 1. Shapes (n, dim), rows of any length but 0; from -1 to 1.

    Parameters
    ----------
    predicted, target : Tensor, shape (n, d)
    """
    return -F.cosine_similarity(predicted, target.detach(), dim=1).mean()


def barlow_twins(first: Tensor, second: Tensor, off_diagonal: float = 0.005) -> Tensor:
    """Cross-correlation of two views towards the identity (Zbontar et al., ICML 2021, eq. 1 and 2).

    ``sum_i (1 - C_ii)^2 + off_diagonal * sum_{i != j} C_ij^2``, each dimension of both standardised over the batch.

    Parameters
    ----------
    first, second : Tensor, shape (n, dim)
        At least two rows.
    off_diagonal : float
        Weight of what two dimensions share; the default is the paper's.
    """
    a, b = (_standardised(u) for u in (first, second))
    correlation = a.T @ b / len(a)
    own = torch.diagonal(correlation)
    return (1 - own).square().sum() + off_diagonal * (correlation.square().sum() - own.square().sum())


def rotated(images: Tensor) -> tuple[Tensor, Tensor]:
    """One rotated copy of each image and its number of quarter turns (Gidaris et al., ICLR 2018).

    Turns are dealt round in the order of the batch, which has to be random: each is as frequent as any other.

    Parameters
    ----------
    images : Tensor, shape (n, channels, size, size)

    Returns
    -------
    images : Tensor
        Same shape; first those not turned, then those turned once, and so on.
    turns : Tensor of int64, shape (n,)

    Raises
    ------
    ValueError
        If they are not square.
    """
    if images.dim() != 4 or images.shape[-1] != images.shape[-2]:
        raise ValueError(
            f"images of shape {tuple(images.shape)} cannot be turned; expected (n, c, size, size)"
        )
    parts = [images[k::4].rot90(k, (-2, -1)) for k in range(4)]
    turns = [torch.full((len(part),), k, device=images.device) for k, part in enumerate(parts)]
    return torch.cat(parts), torch.cat(turns)


def _standardised(u: Tensor) -> Tensor:
    u = u - u.mean(0)
    return u / (u.square().mean(0) + 1e-5).sqrt()
