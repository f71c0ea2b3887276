"""Class-balanced re-weighting (Cui et al. 2019) (thesis, section 4.5.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def class_balanced_weights(counts: Sequence[int], beta: float = 0.9999) -> Tensor:
    r"""Weights :math:`w_c = (1-\beta)/(1-\beta^{n_c})`, scaled so that they sum to the number of classes.

    Parameters
    ----------
    counts : sequence of int, shape (classes,)
    beta : float
        0 to below 1. 0 gives equal weights, towards 1 they go to inverse frequency.

    Returns
    -------
    Tensor of float32, shape (classes,)

    Raises
    ------
    ValueError
        If `beta` is out of range or a class has no image.
    """
    n = torch.as_tensor(counts, dtype=torch.double)
    if not 0 <= beta < 1 or n.min() < 1:
        raise ValueError(
            f"beta = {beta!r} with least count {n.min().item():g}; expected 0 <= beta < 1, counts >= 1"
        )
    weights = (1 - beta) / (1 - beta**n)
    return (weights * len(n) / weights.sum()).float()


def class_balanced_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy, divided by the weights of the batch as the released code (LDAM-DRW) does.

    Parameters
    ----------
    logits : Tensor, shape (n, classes)
    labels : Tensor of int64, shape (n,)
    weights : Tensor, shape (classes,)
        As :func:`class_balanced_weights` gives them.
    """
    return F.cross_entropy(logits, labels, weight=weights.to(logits))
