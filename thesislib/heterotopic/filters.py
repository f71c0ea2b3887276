"""The Filter: what stands between the shared map and the self-supervised feature (thesis, tables 5.1 to 5.3).

The classifier pools the shared map as it is. Self-supervision pools what the Filter makes of it, so that the two
need not agree on which parts of an image matter (section 5.3.2.1). The layers are not known to us: three presets
are at hand, of which the first is the default.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

PRESETS = ("residual block", "private stage", "plain convolutions")
BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


@dataclass(frozen=True)
class LastStage:
    """The end of a residual network, which is all that a Filter depends on.

    Attributes
    ----------
    block : str
        ``"basic"`` or ``"bottleneck"``.
    before, channels : int
        Channels of the maps that enter and leave the stage.
    blocks : int
    size : int
        Side of the map that leaves; the one that enters is twice as large.
    """

    block: str
    before: int
    channels: int
    blocks: int
    size: int

    def __post_init__(self) -> None:
        if self.block not in BLOCKS:
            raise ValueError(f"block = {self.block!r} is not one of {', '.join(BLOCKS)}")
        numbers = (self.before, self.channels, self.blocks, self.size)
        if min(numbers) < 1 or self.channels % BLOCKS[self.block].expansion:
            raise ValueError(
                f"{self} is no stage; expected positive numbers, channels a multiple of the block's"
            )


LAST_STAGES: dict[str, LastStage] = {
    "ResNet-32": LastStage("basic", 32, 64, 5, 8),
    "ResNet-10": LastStage("basic", 256, 512, 1, 7),
    "ResNet-50": LastStage("bottleneck", 1024, 2048, 3, 7),
    "ResNet-152": LastStage("bottleneck", 1024, 2048, 3, 7),
}
"""Of the thesis's backbones, at 32 pixels (ResNet-32) and 224 (the others)."""


def make_filter(preset: str, stage: LastStage) -> nn.Sequential:
    """A Filter with fresh weights, drawn from PyTorch's global generator.

    Parameters
    ----------
    preset : str
        ``"residual block"``: one block of the backbone's own kind after its last stage, stride 1.
        ``"private stage"``: a last stage of its own, fed with the map *before* the backbone's last stage, which
        the classifier then keeps for itself. Its first shortcut is torchvision's, a 1 × 1 convolution with batch
        normalisation; that of the CIFAR networks has no parameters (option A), so on ResNet-32 the private stage
        has 353,664 of them where the backbone's own has 351,488. ``"plain convolutions"``: as the first, without a
        shortcut.
    stage : LastStage

    Returns
    -------
    Sequential
        From maps (n, channels, size, size), or of the private stage (n, before, 2 size, 2 size), to maps
        (n, channels, size, size).

    Raises
    ------
    ValueError
        On an unknown preset.
    """
    makers = {"residual block": _residual, "private stage": _private, "plain convolutions": _plain}
    if preset not in makers:
        raise ValueError(f"filter = {preset!r} is not one of {', '.join(PRESETS)}")
    made = nn.Sequential(*makers[preset](stage))
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return made


def _residual(stage: LastStage) -> list[nn.Module]:
    block = BLOCKS[stage.block]
    return [block(stage.channels, stage.channels // block.expansion)]


def _private(stage: LastStage) -> list[nn.Module]:
    block = BLOCKS[stage.block]
    shortcut = nn.Sequential(
        nn.Conv2d(stage.before, stage.channels, 1, 2, bias=False), nn.BatchNorm2d(stage.channels)
    )
    planes = stage.channels // block.expansion
    first = block(stage.before, planes, 2, shortcut)
    return [first, *(block(stage.channels, planes) for _ in range(stage.blocks - 1))]


def _plain(stage: LastStage) -> list[nn.Module]:
    n, narrow = stage.channels, stage.channels // BLOCKS[stage.block].expansion
    if stage.block == "basic":
        return [*_convolution(n, n, 3), *_convolution(n, n, 3)]
    return [*_convolution(n, narrow, 1), *_convolution(narrow, narrow, 3), *_convolution(narrow, n, 1)]


def _convolution(n: int, m: int, kernel: int) -> list[nn.Module]:
    return [
        nn.Conv2d(n, m, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(m),
        nn.ReLU(inplace=True),
    ]
