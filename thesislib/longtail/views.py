"""Random views of a batch in one gather: the ``augment`` of :func:`thesislib.training.fit` on an accelerator.

Thesis, section 4.5.1.
"""

from __future__ import annotations

import math

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


class ResizedCropFlip:
    """A random part of each image, resized, and a random left-right flip: ImageNet's augmentation on a batch.

    The part covers 8 to 100 % of the image, its sides are 3 to 4 at most; as torchvision's, but that a part that
    does not fit is shrunk and not drawn again.

    Parameters
    ----------
    side : int
        Of the views, in pixels.
    """

    def __init__(self, side: int = 224) -> None:
        self.side = side

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Views of images, shape (n, channels, side, side), of their type: uint8, or floating point."""
        n = len(images)
        area, ratio, right, down, mirrored = torch.rand(5, n, generator=generator)
        root = (0.08 + 0.92 * area).sqrt()
        aspect = (math.log(3 / 4) + ratio * 2 * math.log(4 / 3)).div(2).exp()
        width, height = (root * aspect).clamp(max=1), (root / aspect).clamp(max=1)
        theta = torch.zeros(n, 2, 3)
        theta[:, 0, 0] = width * torch.where(mirrored < 0.5, -1.0, 1.0)
        theta[:, 1, 1] = height
        theta[:, 0, 2], theta[:, 1, 2] = (1 - width) * (2 * right - 1), (1 - height) * (2 * down - 1)
        theta = theta.to(images.device, non_blocking=True)
        grid = F.affine_grid(theta, [n, images.shape[1], self.side, self.side], align_corners=False)
        views = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
        return (views.round() if images.dtype == torch.uint8 else views).to(images.dtype)
