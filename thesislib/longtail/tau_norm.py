"""Classifiers whose weights are brought towards one length: tau-normalisation (Kang et al. 2020).

Thesis, section 4.5.2.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from thesislib.longtail.frozen import classifier_of, with_classifier


def tau_norm(model: nn.Sequential, tau: float) -> nn.Sequential:
    r"""A model with the classifier :math:`w_c / \lVert w_c \rVert^\tau`, **without bias**.

    The features are shared with the model, not copied, and stay in its mode.

    Parameters
    ----------
    model : Sequential
        Trained; ``model[-1]`` is its linear classifier.
    tau : float
        0 leaves the weights, 1 makes them all of length 1. Published: the best of 0, 0.1, ..., 2 on validation data.

    Raises
    ------
    ValueError
        If the model is no ``Sequential`` that ends in a linear layer, one of its rows of weights is zero, or tau is
        not finite.
    """
    if not math.isfinite(tau):
        raise ValueError(f"tau = {tau!r}; expected a finite power, 0 to 2 in the published grid")
    head = classifier_of(model, (nn.Linear,))
    weight = head.weight.detach()
    norms = weight.norm(dim=1, keepdim=True)
    if not (norms > 0).all():
        raise ValueError(f"class {int(norms.argmin())} has weights of length 0, which cannot be normalised")
    like = {"device": weight.device, "dtype": weight.dtype}
    scaled = nn.Linear(head.in_features, head.out_features, bias=False, **like)
    with torch.no_grad():
        scaled.weight.copy_(weight / norms**tau)
    return with_classifier(model, scaled)
