"""What a feature still knows of its image: the image that an untrained network makes to match it.

Deep image prior (Ulyanov et al., CVPR 2018; for features of self-supervision Zhao et al., ICLR 2021): weights of
a generator G, fed with fixed noise, are fitted so that the features of its output are those of the image,
``min_w || phi(G_w(noise)) - phi(x) ||^2``. No image but x is involved: what the feature does not tell, the
generator's structure fills in. The thesis shows it for pooled features of a classifier and of self-supervision,
and for the latter after its MLP (figure 5.1).

Thesis, section 5.3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from thesislib.heterotopic.attention import passed_on

DEPTH = 32  # channels of the noise
SKIP = 4


class Generator(nn.Module):
    """An hourglass with skips: each scale halves the map, each way up doubles it and mixes in its skip.

    Parameters
    ----------
    channels : int
        Of the image.
    widths : tuple of int
        Channels of each scale; the released code has 16, 32, 64, 128, 128, 128 at 256 pixels.
    kernels : tuple of int
        Odd, as many.

    Raises
    ------
    ValueError
        If there are not as many kernels as widths, or none, or one is even.
    """

    def __init__(
        self,
        channels: int,
        widths: tuple[int, ...] = (16, 32, 64, 128),
        kernels: tuple[int, ...] = (5, 5, 3, 3),
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(kernels) or any(k % 2 == 0 for k in kernels):
            raise ValueError(f"widths {widths} with kernels {kernels}; expected as many, one or more, odd")
        before = (DEPTH, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(*_layer(n, m, k), nn.AvgPool2d(2), *_layer(m, m, k))
            for n, m, k in zip(before, widths, kernels, strict=True)
        )
        self.skip = nn.ModuleList(nn.Sequential(*_layer(n, SKIP, 1)) for n in before)
        below = (*widths[1:], widths[-1])
        self.up = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(SKIP + n), *_layer(SKIP + n, m, k), *_layer(m, m, 1))
            for n, m, k in zip(below, widths, kernels, strict=True)
        )
        self.image = nn.Conv2d(widths[0], channels, 1)

    def forward(self, noise: Tensor) -> Tensor:
        """Noise of shape (n, 32, side, side), side a multiple of 2 to the number of scales; images in [0, 1]."""
        skips, maps = [], noise
        for down, skip in zip(self.down, self.skip, strict=True):
            skips.append(skip(maps))
            maps = down(maps)
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            maps = up(torch.cat([skip, F.interpolate(maps, scale_factor=2.0)], 1))
        return self.image(maps).sigmoid()


def invert(
    feature: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    steps: int = 1500,
    lr: float = 1e-3,
    widths: tuple[int, ...] = (16, 32, 64, 128),
    kernels: tuple[int, ...] = (5, 5, 3, 3),
    seed: int = 0,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """The image that has the features of `image`, as far as a deep image prior finds it.

    Parameters
    ----------
    feature : callable
        Images in [0, 1], shape (n, channels, size, size), to features, shape (n, …); a module in evaluation mode,
        whose weights and gradients stay as they are.
    image : Tensor, shape (channels, size, size)
        In [0, 1].
    steps, lr : int, float
        Of Adam on the generator's weights.
    widths, kernels
        As for :class:`Generator`.
    seed : int
        Of the weights and the noise.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    found : Tensor, shape (channels, size, size)
    errors : Tensor, shape (steps,)
        Mean squared difference of the features at each step, relative to their mean square.

    Raises
    ------
    ValueError
        If the image has not this shape, lies outside [0, 1], or its features are all 0 or not finite; if `steps` is
        below 1, or the feature passes no gradient on to its images.
    """
    if steps < 1:
        raise ValueError(f"steps = {steps}; expected 1 or more")
    if image.dim() != 3 or image.shape[-1] != image.shape[-2] or not 0 <= image.min() <= image.max() <= 1:
        raise ValueError(
            f"image of shape {tuple(image.shape)}; expected (channels, size, size), values in [0, 1]"
        )
    size, unit = image.shape[-1], 2 ** len(widths)
    side = max(2, -(-size // unit)) * unit  # a single pixel at the bottom could not be normalised
    with torch.no_grad():
        target = feature(image[None])
    scale = target.square().mean()
    if not math.isfinite(scale):
        odd = "NaN" if target.isnan().any() else "infinite, or too large to square"
        raise ValueError(
            f"features of the image are {odd}; expected finite ones, look at the feature's network"
        )
    if not scale > 0:
        raise ValueError("the features of the image are all 0; there is nothing to match")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(len(image), widths, kernels).to(image)
        noise = (0.1 * torch.rand(1, DEPTH, side, side)).to(image)
    weights = list(generator.parameters())
    optimiser = torch.optim.Adam(weights, lr)
    errors = []
    for _ in tqdm(range(steps), desc="inversion", leave=False, disable=not progress):
        made = generator(noise)[..., :size, :size]
        error = (passed_on(feature(made)) - target).square().mean() / scale
        # Not backward(), which would leave gradients in the feature's network, too.
        for weight, gradient in zip(weights, torch.autograd.grad(error, weights), strict=True):
            weight.grad = gradient
        optimiser.step()
        errors.append(error.detach())
    with torch.no_grad():
        found = generator(noise)[0, :, :size, :size]
    return found, torch.stack(errors)


def psnr(found: Tensor, image: Tensor) -> float:
    """Peak signal-to-noise ratio of two images in [0, 1], in dB.

    Parameters
    ----------
    found, image : Tensor
        In [0, 1], of one shape.
    """
    return float(-10 * torch.log10((found - image).square().mean()))


def _layer(n: int, m: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(n, m, kernel, padding=kernel // 2), nn.BatchNorm2d(m), nn.LeakyReLU(0.2)]
