"""Random views of a batch in one gather: the ``augment`` of :func:`thesislib.training.fit` on an accelerator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


class CropFlip:
    """Random crop out of the zero-padded image, and a random left-right flip.

    The random numbers are drawn on the CPU in one tensor and go to the images' device without anybody waiting
    for it: a step of a small network is shorter than such a wait.

    Parameters
    ----------
    pad : int
        Pixels of padding; 0: no crop.
    flip : bool
        Characters must not be mirrored.
    """

    def __init__(self, pad: int, flip: bool) -> None:
        self.pad, self.flip = pad, flip

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Views of images of shape (n, channels, height, width), of the same shape and type."""
        n, _, height, width = images.shape
        drawn = torch.stack(
            [
                torch.randint(2 * self.pad + 1, (n,), generator=generator),
                torch.randint(2 * self.pad + 1, (n,), generator=generator),
                torch.randint(1 + self.flip, (n,), generator=generator),
            ]
        )
        down, right, mirrored = drawn.to(images.device, non_blocking=True)[:, :, None]
        rows = down + torch.arange(height, device=images.device)
        columns = torch.arange(width, device=images.device)
        columns = right + torch.where(mirrored > 0, width - 1 - columns, columns)
        padded = F.pad(images, (self.pad,) * 4).permute(0, 2, 3, 1)
        image = torch.arange(n, device=images.device)[:, None, None]
        return padded[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
