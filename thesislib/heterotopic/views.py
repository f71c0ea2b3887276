"""The self-supervised view of a batch: crop, colours, blur, drawn anew for each image, on the images' device.

MoCo v2's augmentation, in few tensor operations. Two simplifications: the colour changes of an image make one
affine map of its pixels, clipped once at the end in place of after each change; hue turns about the grey axis,
which is the linear form of a shift of HSV's hue.

Thesis, section 5.3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

GREY = (0.299, 0.587, 0.114)
ROUNDING = 1e-5  # of images that are views themselves


@dataclass(frozen=True)
class StrongView:
    """A random view, called as ``view(images, generator)``.

    Attributes
    ----------
    smallest : float
        Share of the image's area that a crop has at least.
    jitter : float
        Brightness, contrast and saturation are multiplied by 1 - jitter to 1 + jitter.
    hue : float
        Turns of the colour circle, at most, either way.
    grey, blur : float
        Probabilities; the blur has a standard deviation of 0.1 to 2 pixels and reaches one pixel.
    flip : bool
        Whether a mirror image is still an image of the same kind.
    """

    smallest: float = 0.08
    jitter: float = 0.4
    hue: float = 0.1
    grey: float = 0.2
    blur: float = 0.5
    flip: bool = True

    def __post_init__(self) -> None:
        for name in ("smallest", "jitter", "hue", "grey", "blur"):
            low = 1e-6 if name == "smallest" else 0
            if not low <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)!r}; expected a share, 0 to 1")

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """One view of each image.

        Parameters
        ----------
        images : Tensor, shape (n, channels, height, width)
            uint8, or floating point in [0, 1]; grey (one channel) or RGB. Normalisation comes afterwards, in
            the model.
        generator : torch.Generator
            On the CPU, so that the draws are the same everywhere.

        Returns
        -------
        Tensor
            Same shape, floating point, in [0, 1].

        Raises
        ------
        ValueError
            If floating-point images on the CPU reach beyond [0, 1], which the view would clip. On a GPU nobody
            looks: every step would wait for it.
        """
        _check_range(images)
        images = images / 255 if images.dtype == torch.uint8 else images
        drawn = torch.rand(13, len(images), generator=generator)
        u = drawn.to(images.device, images.dtype, non_blocking=True)  # nobody waits for it
        images = self._cropped(images, u[:5])
        images = self._coloured(images, u[5:11])
        return self._blurred(images, u[11:])

    def _cropped(self, images: Tensor, u: Tensor) -> Tensor:
        area = self.smallest + (1 - self.smallest) * u[0]
        ratio = ((2 * u[1] - 1) * math.log(4 / 3)).exp().sqrt()
        width, height = (area.sqrt() * ratio).clamp(max=1), (area.sqrt() / ratio).clamp(max=1)
        x, y = (2 * u[2] - 1) * (1 - width), (2 * u[3] - 1) * (1 - height)
        if self.flip:
            width = torch.where(u[4] < 0.5, -width, width)
        zero = torch.zeros_like(x)
        corners = torch.stack([width, zero, x, zero, height, y], 1).view(-1, 2, 3)
        grid = F.affine_grid(corners, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    def _coloured(self, images: Tensor, u: Tensor) -> Tensor:
        brightness, contrast, saturation = 1 + self.jitter * (2 * u[:3] - 1)
        jittered = u[4] < 0.8
        brightness, contrast, saturation = (
            torch.where(jittered, factor, 1.0) for factor in (brightness, contrast, saturation)
        )
        if images.shape[1] == 3:
            angle = torch.where(jittered, 2 * math.pi * self.hue * (2 * u[3] - 1), 0.0)
            saturation = torch.where(u[5] < self.grey, 0.0, saturation)
            images = torch.einsum("nij,njhw->nihw", _colour_map(saturation, angle), images)
            weights = torch.tensor(GREY, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
            mean = (images * weights).sum(1, keepdim=True).mean((-2, -1), keepdim=True)
        else:
            mean = images.mean((-2, -1), keepdim=True)
        contrast, brightness = contrast.view(-1, 1, 1, 1), brightness.view(-1, 1, 1, 1)
        return (brightness * (mean + contrast * (images - mean))).clamp(0, 1)

    def _blurred(self, images: Tensor, u: Tensor) -> Tensor:
        side = torch.exp(-0.5 / (0.1 + 1.9 * u[0]).square())
        side = torch.where(u[1] < self.blur, side / (1 + 2 * side), 0.0).view(-1, 1, 1, 1)
        padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
        rows = (1 - 2 * side) * padded[:, :, 1:-1] + side * (padded[:, :, :-2] + padded[:, :, 2:])
        return (1 - 2 * side) * rows[..., 1:-1] + side * (rows[..., :-2] + rows[..., 2:])


def _check_range(images: Tensor) -> None:
    if not images.is_floating_point() or images.device.type != "cpu" or not images.numel():
        return
    low, high = (value.item() for value in images.aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # so put, NaN is refused too
        raise ValueError(
            f"images reach from {low:g} to {high:g}; expected [0, 1], or uint8: "
            "normalise after the view, in the model"
        )


def _colour_map(saturation: Tensor, angle: Tensor) -> Tensor:
    """Matrices, shape (n, 3, 3), that keep grey as it is, and scale and turn what departs from it."""
    options = {"device": angle.device, "dtype": angle.dtype}
    towards_grey = torch.tensor(GREY, **options).expand(3, 3)  # each channel becomes the luma
    axis = torch.full((3, 3), 1 / 3, **options)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], **options) / math.sqrt(3)
    eye = torch.eye(3, **options)
    c, s, k = (value.view(-1, 1, 1) for value in (angle.cos(), angle.sin(), saturation))
    turned = c * eye + (1 - c) * axis + s * cross  # Rodrigues' rotation about (1, 1, 1)
    return towards_grey + k * (turned - towards_grey)
