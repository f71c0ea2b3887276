"""Many-, medium- and few-shot classes: the groups by which long-tailed results are read.

Thesis, sections 4.5.1 and 5.4.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SHOTS = ("Many", "Medium", "Few")


def shot_groups(counts: Sequence[int], many: int = 100, few: int = 20) -> dict[str, np.ndarray]:
    """Classes of each group by their training images.

    Many has more than `many`, Few fewer than `few`, Medium the rest: the strict rule of the released code of
    Liu et al. 2019 and Kang et al. 2020. Groups may be empty (CIFAR-LT of ratio 20 has no Few).

    Parameters
    ----------
    counts : sequence of int, shape (classes,)
    many, few : int

    Returns
    -------
    dict of str to array of bool, shape (classes,)
        ``"Many"``, ``"Medium"``, ``"Few"``; every class is in one of them.

    Raises
    ------
    ValueError
        If `few` exceeds ``many + 1`` or a count is not 1 or more.
    """
    n = np.asarray(counts)
    if n.ndim != 1 or not len(n) or not n.min() >= 1:  # NaN is not
        low = n.min() if n.size else "none"
        raise ValueError(f"counts of shape {n.shape} with least {low}; expected one a class, each at least 1")
    if few > many + 1:
        raise ValueError(f"few = {few} and many = {many} overlap; expected few <= many + 1")
    return dict(zip(SHOTS, (n > many, (n >= few) & (n <= many), n < few), strict=True))


def training_counts(counts: Sequence[int]) -> Tensor:
    """Training images of each class, float64, shape (classes,): what priors, weights and margins are made of.

    Parameters
    ----------
    counts : sequence of int, shape (classes,)

    Raises
    ------
    ValueError
        If there is no class, or one that has no image.
    """
    n = torch.as_tensor(counts, dtype=torch.double)
    if n.dim() != 1 or not len(n):
        raise ValueError(f"counts of shape {tuple(n.shape)}; expected one a class, for at least one class")
    if (bad := (~((n >= 1) & n.isfinite())).nonzero()[:, 0]).numel():  # NaN compares as false
        k = bad[0].item()
        raise ValueError(f"class {k} has {n[k].item():g} training images; expected at least 1 of each class")
    return n


def head_classes(counts: Sequence[int], more_than: float) -> np.ndarray:
    """Numbers of the classes with more than so many training images, largest first, ties by number.

    Raises
    ------
    ValueError
        If there is no class, or none has.

    Parameters
    ----------
    counts : sequence of int, shape (classes,)
    more_than : float

    Returns
    -------
    array of int64

    Examples
    --------
    >>> head_classes([5, 300, 120, 120], more_than=100).tolist()
    [1, 2, 3]
    """
    n = np.asarray(counts)
    if n.ndim != 1 or not len(n):
        raise ValueError(f"counts of shape {n.shape}; expected one a class, for at least one class")
    order = np.lexsort((np.arange(len(n)), -n))
    head = order[n[order] > more_than]
    if not len(head):
        raise ValueError(f"no class has more than {more_than:g} training images; the largest has {n.max()}")
    return head
