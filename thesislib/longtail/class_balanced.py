"""Class-balanced re-weighting (Cui et al. 2019) (thesis, section 4.5.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from thesislib.longtail.shots import training_counts


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
        If `beta` is out of range, there is no class, or one that has no image.
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta = {beta!r}; expected 0 <= beta < 1")
    n = training_counts(counts)
    weights = (1 - beta) / (1 - beta**n)
    return (weights * len(n) / weights.sum()).float()


def class_balanced_loss(logits: Tensor, labels: Tensor, *, weights: Tensor) -> Tensor:
    """Weighted cross-entropy, divided by the weights of the batch as the released code (LDAM-DRW) does.

    Parameters
    ----------
    logits : Tensor, shape (n, classes)
    labels : Tensor of int64, shape (n,)
    weights : Tensor, shape (classes,)
        As :func:`class_balanced_weights` gives them.
    """
    return F.cross_entropy(logits, labels, weight=weights.to(logits))
