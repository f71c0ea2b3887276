"""Label-distribution-aware margins with deferred re-weighting: LDAM-DRW (Cao et al. 2019) (thesis, section 4.5.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from thesislib.longtail.class_balanced import class_balanced_weights
from thesislib.longtail.shots import training_counts


def ldam_margins(counts: Sequence[int], largest: float = 0.5) -> Tensor:
    r"""Margins :math:`\Delta_c \propto n_c^{-1/4}`, the rarest class's being `largest`; shape (classes,).

    Parameters
    ----------
    counts : sequence of int, shape (classes,)
        Training images of each class.
    largest : float

    Raises
    ------
    ValueError
        If there is no class, or one that has no image.
    """
    margins = training_counts(counts) ** -0.25
    return (largest * margins / margins.max()).float()


class LDAM:
    r"""The loss :math:`\mathrm{CE}(s\,(\cos\theta - \Delta_y e_y))` on cosine logits, re-weighted late.

    Give it as ``loss`` to :func:`thesislib.training.fit`, with a model whose classifier is
    :class:`~thesislib.longtail.cosine.CosineClassifier` of scale 1.

    Parameters
    ----------
    counts : sequence of int
    reweight_from : int, optional
        Epoch from which class-balanced weights apply (DRW: 160 of 200); None: never.
    largest : float
        Margin of the rarest class.
    scale : float
    beta : float
        Of the weights.

    Raises
    ------
    ValueError
        As :func:`ldam_margins` and :func:`~thesislib.longtail.class_balanced.class_balanced_weights`; when called,
        if the cosines are not of as many classes as the counts.
    """

    def __init__(
        self,
        counts: Sequence[int],
        reweight_from: int | None = None,
        largest: float = 0.5,
        scale: float = 30.0,
        beta: float = 0.9999,
    ) -> None:
        self.margins, self.weights = ldam_margins(counts, largest), class_balanced_weights(counts, beta)
        self.reweight_from, self.scale = reweight_from, scale

    def __call__(self, cosines: Tensor, labels: Tensor, epoch: int = 0) -> Tensor:
        classes = len(self.margins)
        if cosines.shape[1:] != (classes,):  # margins of more would do until the weights come in
            found = f"cosines of shape {tuple(cosines.shape)}"
            raise ValueError(f"{found} with counts of {classes} classes; expected (n, {classes})")
        if self.margins.device != cosines.device:  # once, at the first batch
            self.margins, self.weights = self.margins.to(cosines.device), self.weights.to(cosines.device)
        margins, weights = self.margins.to(cosines.dtype), self.weights.to(cosines.dtype)
        margin = torch.zeros_like(cosines).scatter(1, labels[:, None], margins[labels][:, None])
        late = self.reweight_from is not None and epoch >= self.reweight_from
        return F.cross_entropy(self.scale * (cosines - margin), labels, weight=weights if late else None)
