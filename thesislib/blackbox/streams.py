"""A random stream for each image, so that an image's attack is the same alone and in any batch.

Thesis, sections 2.3.1 and 3.3.1: what is drawn there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Streams:
    """Independent generators, one an image, that depend on the seed and the image's number only.

    Parameters
    ----------
    seed : int
        Root of all streams.
    ids : sequence of int
        Number of each image in its data set.
    device : torch.device
        Where the numbers are put; they are drawn on the CPU, so every device sees the same.
    dtype : torch.dtype
        Of the floating-point draws.
    """

    def __init__(self, seed: int, ids: Sequence[int], *, device: torch.device, dtype: torch.dtype) -> None:
        self.generators = [torch.Generator().manual_seed(_state(seed, number)) for number in ids]
        self.device, self.dtype = device, dtype

    def normal(self, rows: Tensor, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers, shape ``(len(rows), *shape)``."""
        return self._stack(rows, lambda g: torch.randn(*shape, generator=g, dtype=self.dtype), shape)

    def directions(self, rows: Tensor, count: int, size: int) -> Tensor:
        """Uniform directions: vectors of unit length, shape (len(rows), count, size)."""
        drawn = self.normal(rows, (count, size))
        return drawn / drawn.norm(dim=2, keepdim=True)

    def coordinates(self, rows: Tensor, size: int, count: int) -> Tensor:
        """``count`` of ``size`` coordinates without replacement, int64, shape (len(rows), count)."""
        return self._stack(rows, lambda g: torch.randperm(size, generator=g)[:count], (count,), torch.int64)

    def choices(self, rows: Tensor, size: int, count: int) -> Tensor:
        """``count`` numbers below ``size`` with replacement, int64, shape (len(rows), count)."""
        return self._stack(rows, lambda g: torch.randint(size, (count,), generator=g), (count,), torch.int64)

    def _stack(self, rows: Tensor, draw, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        drawn = [draw(self.generators[row]) for row in rows.tolist()]
        if not drawn:
            return torch.empty(0, *shape, dtype=dtype or self.dtype, device=self.device)
        return torch.stack(drawn).to(self.device)


def _state(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)
