"""The networks of the thesis's CIFAR and tiny-ImageNet experiments: ResNet, VGG and GoogLeNet, small.

Each function makes a network from images in [0, 1], shape (n, channels, size, size), to logits, shape
(n, classes). ``width`` multiplies the numbers of channels, of which at least four are left. At 32 pixels and
width 1 these are the usual CIFAR versions, at 64 pixels the tiny-ImageNet versions of the released code.
Other sizes from 8 pixels on follow the same rules, which each function states; smaller ones raise a
``ValueError``.

All but the last layer, ``model[:-1]``, makes the features. Initial weights are PyTorch's own defaults.

Thesis, section 2.4.1.

All take the number of ``classes``, ``channels`` of the images and their side ``size`` in pixels, and a ``width``,
multiplier of channels; ``blocks`` are those of each stage, ``depth`` counts layers, ``kernel`` is a side, ``bias``
a flag.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from thesislib.models.layers import made_of, widths

VGG_STAGES = {
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    13: ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}
# Channels of an inception block: 1 × 1; 3 × 3 and its reduction before; 5 × 5 likewise; after the pooling.
INCEPTION_STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def ResNet18(classes: int = 10, channels: int = 3, size: int = 32, width: float = 1.0) -> nn.Sequential:
    """Four stages of two basic blocks; see :func:`resnet`."""
    return resnet((2, 2, 2, 2), classes, channels, size, width)


def ResNet34(classes: int = 10, channels: int = 3, size: int = 32, width: float = 1.0) -> nn.Sequential:
    """Four stages of three, four, six and three basic blocks; see :func:`resnet`."""
    return resnet((3, 4, 6, 3), classes, channels, size, width)


def VGG11(classes: int = 10, channels: int = 3, size: int = 32, width: float = 1.0) -> nn.Sequential:
    """Eight convolutions and one layer fully connected; see :func:`vgg`."""
    return vgg(11, classes, channels, size, width)


def VGG13(classes: int = 10, channels: int = 3, size: int = 32, width: float = 1.0) -> nn.Sequential:
    """Ten convolutions and one layer fully connected; see :func:`vgg`."""
    return vgg(13, classes, channels, size, width)


def VGG16(classes: int = 10, channels: int = 3, size: int = 32, width: float = 1.0) -> nn.Sequential:
    """Thirteen convolutions and one layer fully connected; see :func:`vgg`."""
    return vgg(16, classes, channels, size, width)


def VGG19(classes: int = 10, channels: int = 3, size: int = 32, width: float = 1.0) -> nn.Sequential:
    """Sixteen convolutions and one layer fully connected; see :func:`vgg`."""
    return vgg(19, classes, channels, size, width)


def resnet(blocks: tuple[int, ...], classes: int, channels: int, size: int, width: float) -> nn.Sequential:
    """A residual network whose stem does not shrink the image.

    Stages of 64, 128, 256, 512 channels have strides 1, 2, 2, 2. Then 4 × 4 averages: one at 32 pixels, 2 × 2
    of them at 64, one over whatever is left below 32. From 64 pixels on, a 3 × 3 maximum of stride 1 follows
    the stem, as the tiny-ImageNet networks have it.
    """
    n, *planes = widths(width, 64, 64, 128, 256, 512)
    body: list[nn.Module] = [*convolution(channels, n, bias=False)]
    if size >= 64:
        body.append(nn.MaxPool2d(3, stride=1, padding=1))
    for stage, (count, m) in enumerate(zip(blocks, planes, strict=True)):
        for block in range(count):
            stride = 2 if stage and not block else 1
            body.append(BasicBlock(n, m, stride, _shortcut(n, m, stride)))
            n = m
    return _classifier("a ResNet", body, 4, classes, channels, size)


def vgg(depth: int, classes: int, channels: int, size: int, width: float) -> nn.Sequential:
    """Five stages of 3 × 3 convolutions with batch normalisation, each halving the image; one linear layer.

    A single pixel is not halved: below 32 pixels the last stages keep it. At 64 pixels 2 × 2 are left, and
    the linear layer sees them all.
    """
    body: list[nn.Module] = []
    n, side = channels, size
    for stage in VGG_STAGES[depth]:
        for m in widths(width, *stage):
            body += convolution(n, m)
            n = m
        if side > 1:
            body.append(nn.MaxPool2d(2))
        side //= 2
    return _classifier(f"VGG{depth}", body, 1, classes, channels, size)


def GoogLeNet(classes: int = 10, channels: int = 3, size: int = 32, width: float = 1.0) -> nn.Sequential:
    """Nine inception blocks behind one convolution, the image halved after the second and the seventh.

    Then 8 × 8 averages: one at 32 pixels, 2 × 2 of them at 64, one over whatever is left below 32.
    """
    (n,) = widths(width, 192)
    body: list[nn.Module] = [*convolution(channels, n)]
    for k, stage in enumerate(INCEPTION_STAGES):
        if k:
            body.append(nn.MaxPool2d(3, stride=2, padding=1))
        for numbers in stage:
            block = Inception(n, *widths(width, *numbers))
            body.append(block)
            n = block.channels
    return _classifier("GoogLeNet", body, 8, classes, channels, size)


class Inception(nn.Module):
    """Four branches side by side; the 5 × 5 convolution is two of 3 × 3, as in the usual CIFAR version.

    Attributes
    ----------
    channels : int
        That it makes.
    """

    def __init__(
        self, n: int, one: int, before3: int, three: int, before5: int, five: int, pool: int
    ) -> None:
        super().__init__()
        self.channels = one + three + five + pool
        self.branches = nn.ModuleList(
            [
                nn.Sequential(*convolution(n, one, 1)),
                nn.Sequential(*convolution(n, before3, 1), *convolution(before3, three)),
                nn.Sequential(
                    *convolution(n, before5, 1), *convolution(before5, five), *convolution(five, five)
                ),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *convolution(n, pool, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def convolution(n: int, m: int, kernel: int = 3, bias: bool = True) -> list[nn.Module]:
    """A convolution from `n` to `m` channels that keeps the image's size, normalised and rectified."""
    layer = nn.Conv2d(n, m, kernel, padding=kernel // 2, bias=bias)
    return [layer, nn.BatchNorm2d(m), nn.ReLU(inplace=True)]


def _shortcut(n: int, m: int, stride: int) -> nn.Sequential | None:
    if n == m and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(n, m, 1, stride, bias=False), nn.BatchNorm2d(m))


def _classifier(
    name: str, body: list[nn.Module], window: int, classes: int, channels: int, size: int
) -> nn.Sequential:
    """`body`, averages over windows (the whole image if it is smaller), and a linear layer."""
    if size < 8:
        raise ValueError(f"size = {size} is too small for {name}; expected 8 pixels or more")
    n, side, _ = made_of(name, body, channels, size)
    kept = max(1, side // window)
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(kept), nn.Flatten(), nn.Linear(n * kept**2, classes))
