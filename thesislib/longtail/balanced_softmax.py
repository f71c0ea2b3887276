"""Balanced softmax (Ren et al. 2020) and logit adjustment (Menon et al. 2021) (thesis, section 4.5.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from thesislib.longtail.shots import training_counts


def log_prior(counts: Sequence[int], device: str | torch.device | None = None) -> Tensor:
    """Logarithm of each class's share of the training images, float32, shape (classes,).

    Raises
    ------
    ValueError
        If there is no class, or one that has no image.

    Parameters
    ----------
    counts : sequence of int, shape (classes,)
        Training images of each class.
    device : device, optional
    """
    n = training_counts(counts)
    return (n / n.sum()).log().float().to(device)


def balanced_softmax_loss(logits: Tensor, labels: Tensor, prior: Tensor, tau: float = 1.0) -> Tensor:
    r"""Cross-entropy of :math:`z + \tau \log \pi`: the softmax of the training distribution.

    With ``tau = 1`` this is balanced softmax, since :math:`\log n` and :math:`\log \pi` differ by a constant;
    with another value the loss of logit adjustment. At test time the logits are used as they are.

    Parameters
    ----------
    logits : Tensor, shape (n, classes)
    labels : Tensor of int64, shape (n,)
    prior : Tensor, shape (classes,)
        As :func:`log_prior` gives it.
    tau : float

    Raises
    ------
    ValueError
        If the prior is not one of the logits' classes. Labels are PyTorch's to check: to look at them would have
        every training step wait for the device.
    """
    return F.cross_entropy(logits + tau * _checked(prior, logits).to(logits.device), labels)


def adjusted_logits(logits: Tensor, prior: Tensor, tau: float = 1.0) -> Tensor:
    r"""Post-hoc logit adjustment of a model trained by cross-entropy: :math:`z - \tau \log \pi`.

    Parameters
    ----------
    logits : Tensor, shape (n, classes)
    prior : Tensor, shape (classes,)
        As :func:`log_prior` gives it.
    tau : float

    Returns
    -------
    Tensor, shape (n, classes)

    Raises
    ------
    ValueError
        If the prior is not one of the logits' classes.

    Examples
    --------
    >>> prior = log_prior([90, 10])
    >>> adjusted_logits(torch.tensor([[1.0, 0.0]]), prior).argmax(1)
    tensor([1])
    """
    return logits - tau * _checked(prior, logits).to(logits)


def _checked(prior: Tensor, logits: Tensor) -> Tensor:
    """The prior, if it is one of the logits' classes; that of one class would be spread over all."""
    if isinstance(prior, Tensor) and prior.shape == logits.shape[1:]:
        return prior
    found = f"prior of shape {tuple(prior.shape)}" if isinstance(prior, Tensor) else f"prior {prior!r}"
    raise ValueError(
        f"{found} with logits of shape {tuple(logits.shape)}; expected (classes,) and (n, classes)"
    )
