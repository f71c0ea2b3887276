"""The cosine classifier, which sees directions only (thesis, section 4.5.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CosineClassifier(nn.Module):
    r"""Logits :math:`s \cos(w_c, x)`, without bias.

    Parameters
    ----------
    in_features, out_features : int
    scale : float
        :math:`s`; 1 for :class:`~thesislib.longtail.ldam.LDAM`, which scales by itself.
    """

    def __init__(self, in_features: int, out_features: int, scale: float = 1.0) -> None:
        super().__init__()
        self.in_features, self.out_features, self.scale = in_features, out_features, scale
        # Of length 1, as LDAM's released layer: logits know directions only, but a step turns a short vector further.
        rows = torch.empty(out_features, in_features).uniform_(-1, 1)
        self.weight = nn.Parameter(F.normalize(rows, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # scaled by 30, a cosine in bf16 is off by a tenth
            return self.scale * F.linear(
                F.normalize(x.to(self.weight.dtype), dim=1), F.normalize(self.weight, dim=1)
            )
