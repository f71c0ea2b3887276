"""The residual networks of the long-tailed chapters: those of CIFAR, and ImageNet's of torchvision's blocks.

Every function makes a network from images in [0, 1], shape (n, channels, size, size), to logits, shape
(n, classes). ``model[:-1]`` makes the features, ``model[-1]`` is the classifier.

>>> model = ResNet32(classes=100)
>>> sum(p.numel() for p in model.parameters()), model[-1].in_features
(470004, 64)

Thesis, sections 4.5.1 and 5.4.1.

All take the number of ``classes`` and ``channels`` of the images; ``block`` is torchvision's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet as imagenet

CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Of CIFAR-10, which the long-tailed literature uses for CIFAR-100 as well."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Subtracts a mean and divides by a standard deviation, channel by channel."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class PlainBlock(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut without parameters (He et al. 2016, option A).

    Where the block halves the image, the shortcut takes every second pixel; new channels are zero, half of
    them before and half behind the old ones.
    """

    def __init__(self, n: int, m: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n, m, 3, stride, 1, bias=False), nn.BatchNorm2d(m)
        self.conv2, self.bn2 = nn.Conv2d(m, m, 3, 1, 1, bias=False), nn.BatchNorm2d(m)
        self.stride, self.before, self.behind = stride, (m - n) // 2, m - n - (m - n) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.before or self.behind:
            x = F.pad(x, (0, 0, 0, 0, self.before, self.behind))
        return F.relu(y + x, inplace=True)


def cifar_resnet(
    depth: int, classes: int, channels: int = 3, widths: tuple[int, ...] = (16, 32, 64)
) -> nn.Sequential:
    """A CIFAR residual network: a 3 × 3 convolution, three stages of equal blocks, one global average.

    Parameters
    ----------
    depth : int
        ``6 n + 2`` for ``n`` blocks a stage: 32 for ResNet-32.
    classes, channels : int
    widths : tuple of int
        Channels of the stages, whose strides are 1, 2, 2.

    Returns
    -------
    Sequential
        Weights of convolutions and classifier are Kaiming-normal, as in the long-tailed literature (LDAM, BBN).

    Raises
    ------
    ValueError
        If the depth is none of 8, 14, 20, ...
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"depth = {depth} is none of 8, 14, 20, 26, 32, ... (6 n + 2)")
    normal = (
        Normalise(CIFAR_MEAN, CIFAR_STD)
        if channels == 3
        else Normalise((0.5,) * channels, (0.25,) * channels)
    )
    n = widths[0]
    body: list[nn.Module] = [
        normal,
        nn.Conv2d(channels, n, 3, 1, 1, bias=False),
        nn.BatchNorm2d(n),
        nn.ReLU(),
    ]
    for stage, m in enumerate(widths):
        for block in range(blocks):
            body.append(PlainBlock(n, m, 2 if stage and not block else 1))
            n = m
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, classes))
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return model


def ResNet32(classes: int = 100, channels: int = 3) -> nn.Sequential:
    """Five blocks a stage, 0.46 million parameters, features of 64 numbers."""
    return cifar_resnet(32, classes, channels)


def imagenet_resnet(
    block: type[nn.Module], blocks: tuple[int, ...], classes: int, **options: int
) -> nn.Sequential:
    """An ImageNet residual network of torchvision's blocks, from images in [0, 1] of 224 pixels.

    `options` are torchvision's (``groups``, ``width_per_group``). Weights are torchvision's initial ones;
    :func:`load_torchvision` puts pre-trained ones in. The first module normalises with ImageNet's constants; others go
    in its place, ``model[0] = Normalise(mean, std)``.
    """
    net = imagenet.ResNet(block, list(blocks), num_classes=classes, **options)
    stem = (net.conv1, net.bn1, net.relu, net.maxpool)
    stages = (net.layer1, net.layer2, net.layer3, net.layer4)
    return nn.Sequential(
        Normalise(IMAGENET_MEAN, IMAGENET_STD), *stem, *stages, net.avgpool, nn.Flatten(), net.fc
    )


def ResNet10(classes: int = 1000) -> nn.Sequential:
    """One basic block a stage, features of 512 numbers (Liu et al. 2019)."""
    return imagenet_resnet(imagenet.BasicBlock, (1, 1, 1, 1), classes)


def ResNet50(classes: int = 1000) -> nn.Sequential:
    """Bottlenecks 3, 4, 6, 3; features of 2048 numbers."""
    return imagenet_resnet(imagenet.Bottleneck, (3, 4, 6, 3), classes)


def ResNet152(classes: int = 365) -> nn.Sequential:
    """Bottlenecks 3, 8, 36, 3; features of 2048 numbers. Places-LT starts from ImageNet weights."""
    return imagenet_resnet(imagenet.Bottleneck, (3, 8, 36, 3), classes)


def ResNeXt50(classes: int = 1000) -> nn.Sequential:
    """ResNet-50 with 32 groups of 4 channels."""
    return imagenet_resnet(imagenet.Bottleneck, (3, 4, 6, 3), classes, groups=32, width_per_group=4)


def load_torchvision(model: nn.Sequential, state: dict[str, Tensor]) -> None:
    """Put torchvision's weights of the same architecture into a network's features; the classifier stays.

    Raises
    ------
    ValueError
        If a weight is missing or has another shape.
    """
    # conv1, bn1, relu, maxpool, layer1 ... layer4 are model[1] ... model[8].
    places = {"conv1": 1, "bn1": 2, "layer1": 5, "layer2": 6, "layer3": 7, "layer4": 8}
    features = {}
    for name, value in state.items():
        head, _, rest = name.partition(".")
        if head in places and not rest.endswith(
            "num_batches_tracked"
        ):  # older files have none, and nothing needs it
            features[f"{places[head]}.{rest}"] = value
    own = {
        k: v.shape
        for k, v in model[:-1].state_dict().items()
        if not k.startswith("0.") and not k.endswith("num_batches_tracked")
    }
    if odd := sorted(
        k for k in own.keys() | features.keys() if own.get(k) != getattr(features.get(k), "shape", None)
    ):
        raise ValueError(f"these weights are of another architecture: {odd[0]} differs")
    model[:-1].load_state_dict(features, strict=False)
