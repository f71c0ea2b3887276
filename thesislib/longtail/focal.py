"""Focal loss (Lin et al. 2017) (thesis, section 4.5.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_loss(
    logits: Tensor, labels: Tensor, *, gamma: float = 1.0, weights: Tensor | None = None
) -> Tensor:
    r"""Mean of :math:`(1-p_y)^\gamma \cdot -\log p_y`.

    Parameters
    ----------
    logits : Tensor, shape (n, classes)
    labels : Tensor of int64, shape (n,)
    gamma : float
        0 or more; 0 is cross-entropy. 1 is what the long-tailed literature uses (LDAM, class-balanced loss).
    weights : Tensor, shape (classes,), optional
        Factors by class (those of :func:`~thesislib.longtail.class_balanced.class_balanced_weights` make
        class-balanced focal loss); the mean is over images, not over weights.

    Raises
    ------
    ValueError
        If `gamma` is negative, or the weights are not one for each class.
    IndexError
        Of PyTorch, as of its cross-entropy, if a label is of no class. Its -100, a label to leave out, has a loss of 0
        here and stays in the mean: leave such images out yourself.
    """
    if not gamma >= 0:
        raise ValueError(f"gamma = {gamma!r}; expected 0 or more")
    if weights is not None and weights.shape != logits.shape[1:]:
        raise ValueError(
            f"weights of shape {tuple(weights.shape)} with logits of shape {tuple(logits.shape)}; expected (classes,)"
        )
    log_p = -F.nll_loss(F.log_softmax(logits, 1), labels, reduction="none")
    rest = 1 - log_p.exp()
    if 0 < gamma < 1:  # whose slope at 0 is infinite, and times a log p of 0 NaN; the limit is 0
        rest = rest.clamp(min=torch.finfo(rest.dtype).tiny)
    loss = -(rest**gamma) * log_p
    return (loss if weights is None else loss * weights.to(loss)[labels]).mean()
