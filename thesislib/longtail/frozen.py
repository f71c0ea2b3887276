"""Features that stay as they are while a classifier is trained on them (thesis, section 4.4.3)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """A copy of a module in evaluation mode for good: no gradient, no new batch-norm statistics.

    A frozen module must not only need no gradient: in training mode its running statistics would still move.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)
