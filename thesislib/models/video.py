"""The thesis's video classifiers: I3D, an inflated ResNet-50, and TSN2D, a ResNet-50 on single frames.

Both take clips in [0, 1], shape (n, 3, frames, height, width), to logits, shape (n, classes); normalisation
is inside. At width 1 they are the published networks. The ``small_`` ones are of the same construction, with
one block a stage, fewer channels and strides for clips of 8 frames and 32 pixels.

Layouts: I3D as in GluonCV's ``i3d_resnet50_v1`` (inflated convolutions of Carreau and Zisserman 2017 on the
ResNet of He et al. 2016), TSN2D as in its ``resnet50_v1b`` models (Wang et al. 2016). Parameter names are
torchvision's, so that its ResNet-50 weights load into :class:`ResNet`, and inflate into :class:`I3D`.

Thesis, section 3.4.1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from thesislib.models.layers import widths

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INFLATED = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))
"""Blocks of I3D-ResNet50 whose first convolution sees three frames."""


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 and 1 × 1 convolution and a shortcut, in two or three dimensions.

    Parameters
    ----------
    dims : int
        2, or 3 with convolutions over time.
    inputs, planes : int
        Channels; the block makes ``4 * planes``.
    stride : int
        In space, of the 3 × 3 convolution.
    time : int
        Frames that the first convolution sees, 1 or 3.
    """

    def __init__(self, dims: int, inputs: int, planes: int, stride: int, time: int = 1) -> None:
        super().__init__()
        norm = nn.BatchNorm2d if dims == 2 else nn.BatchNorm3d
        self.conv1, self.bn1 = _conv(dims, inputs, planes, 1, time=time), norm(planes)
        self.conv2, self.bn2 = _conv(dims, planes, planes, 3, stride), norm(planes)
        self.conv3, self.bn3 = _conv(dims, planes, 4 * planes, 1), norm(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != 4 * planes:
            self.downsample = nn.Sequential(_conv(dims, inputs, 4 * planes, 1, stride), norm(4 * planes))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """A bottleneck ResNet on images, or on clips as I3D.

    Parameters
    ----------
    classes, channels : int
    blocks : tuple of int
        Blocks of the four stages.
    width : float
        Multiplier of channels.
    inflated : tuple of tuple of int, optional
        Which blocks see three frames, a 0 or 1 each: makes the network one of clips.
    stem : tuple of (frames, size)
        Kernel of the first convolution; images use the size only.
    strides : tuple of (int, int)
        Strides over time of the first convolution and of the pooling after it.
    dropout : float
        Before the last layer.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        *,
        blocks: tuple[int, ...] = (3, 4, 6, 3),
        width: float = 1.0,
        inflated: tuple[tuple[int, ...], ...] | None = None,
        stem: tuple[int, int] = (5, 7),
        strides: tuple[int, int] = (2, 2),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes = {classes}; a classifier needs at least 2")
        first, *planes = widths(width, 64, 64, 128, 256, 512)
        self.dims = dims = 2 if inflated is None else 3
        self.conv1 = _conv(dims, channels, first, stem[1], 2, time=stem[0], slide=strides[0])
        self.bn1 = nn.BatchNorm2d(first) if dims == 2 else nn.BatchNorm3d(first)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = (
            nn.MaxPool2d(3, 2, 1) if dims == 2 else nn.MaxPool3d((1, 3, 3), (strides[1], 2, 2), (0, 1, 1))
        )
        inputs = first
        for stage, (count, p) in enumerate(zip(blocks, planes, strict=True)):
            times = [1] * count if inflated is None else [1 + 2 * flag for flag in inflated[stage]]
            made = []
            for k, time in enumerate(times):
                made.append(Bottleneck(dims, inputs, p, 2 if stage and not k else 1, time))
                inputs = 4 * p
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
        self.dropout, self.fc = nn.Dropout(dropout), nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """Pooled features, shape (n, width of the last stage); input already normalised.

        Parameters
        ----------
        x : Tensor
            Images, or clips.
        """
        x = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        if self.dims == 3 and x.shape[2] > 1:
            x = nn.functional.max_pool3d(x, (2, 1, 1))
        x = self.layer4(self.layer3(self.layer2(x)))
        return x.flatten(2).mean(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.features(x)))


class I3D(nn.Module):
    """Normalisation and an inflated ResNet; see :func:`i3d` and :func:`small_i3d`."""

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        self.net = net
        _constants(self)

    def forward(self, clips: Tensor) -> Tensor:
        _check(clips)
        return self.net((clips - self.mean[:, None]) / self.std[:, None])


class TSN2D(nn.Module):
    """Features of each frame, averaged over the clip (segment consensus), then one linear layer."""

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        self.net = net
        _constants(self)

    def forward(self, clips: Tensor) -> Tensor:
        _check(clips)
        frames = clips.movedim(2, 1).flatten(0, 1)
        frames = ((frames - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        each = self.net.features(frames).view(len(clips), clips.shape[2], -1)
        return self.net.fc(self.net.dropout(each.mean(1)))


class MotionStream(nn.Module):
    """A ResNet on stacked optical flow (Simonyan and Zisserman 2014), the second stream of Table 3.6.

    Takes flow in [0, 1] with 0.5 for no motion, shape (n, 2 * (frames - 1), height, width).
    """

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, flow: Tensor) -> Tensor:
        return self.net((flow - 0.5) / 0.25)


def i3d(classes: int) -> I3D:
    """I3D-ResNet50 of the published layout: 32 frames of 224 or 256 pixels; 28.0 million weights with 400 classes."""
    return I3D(ResNet(classes, inflated=INFLATED))


def tsn2d(classes: int) -> TSN2D:
    """TSN on a ResNet-50: any number of frames of 224 or 256 pixels."""
    return TSN2D(ResNet(classes))


def small_i3d(classes: int, width: float = 0.125) -> I3D:
    """I3D for 8 frames of 32 pixels: one block a stage, every first convolution but the last stage's inflated."""
    flags = ((1,), (1,), (1,), (0,))
    net = ResNet(
        classes, blocks=(1,) * 4, width=width, inflated=flags, stem=(3, 5), strides=(1, 1), dropout=0.2
    )
    return I3D(net)


def small_tsn2d(classes: int, width: float = 0.125) -> TSN2D:
    """TSN2D for frames of 32 pixels: one block a stage."""
    return TSN2D(ResNet(classes, blocks=(1,) * 4, width=width, stem=(1, 5), dropout=0.2))


def small_motion_stream(classes: int, frames: int, width: float = 0.125) -> MotionStream:
    """The motion stream for the flow of `frames` frames of 32 pixels."""
    net = ResNet(classes, 2 * (frames - 1), blocks=(1,) * 4, width=width, stem=(1, 5), dropout=0.2)
    return MotionStream(net)


VIDEO_MODELS = {"I3D": i3d, "TSN2D": tsn2d, "small I3D": small_i3d, "small TSN2D": small_tsn2d}
"""Constructors by the thesis's names; each takes the number of classes."""


def inflate(weights: Mapping[str, Tensor], net: ResNet) -> None:
    """Load the weights of an image network into its inflated twin, in place.

    A kernel over k frames is the image kernel repeated k times and divided by k, so that a clip of equal
    frames has the image's features wherever no padding is seen.

    Parameters
    ----------
    weights : mapping
        Of torchvision's ResNet-50, or of a :class:`ResNet` of the same blocks and width. Its last layer is left
        out if its number of classes is another.
    net : ResNet
        One of clips.

    Raises
    ------
    ValueError
        If a weight is missing or has a shape that does not inflate.
    """
    own, made = net.state_dict(), {}
    for name, mine in own.items():
        if name.startswith("fc.") and name in weights and weights[name].shape != mine.shape:
            made[name] = mine
            continue
        if name not in weights and name.endswith("num_batches_tracked"):  # older files have none
            made[name] = mine
            continue
        if name not in weights:
            raise ValueError(f"the image network has no {name}")
        value = weights[name]
        if mine.dim() == 5 and value.dim() == 4:
            value = value[:, :, None].repeat(1, 1, mine.shape[2], 1, 1) / mine.shape[2]
        if value.shape != mine.shape:
            raise ValueError(
                f"{name} has shape {tuple(weights[name].shape)}; it does not inflate to {tuple(mine.shape)}"
            )
        made[name] = value
    net.load_state_dict(made)


def _conv(
    dims: int, inputs: int, outputs: int, size: int, stride: int = 1, *, time: int = 1, slide: int = 1
) -> nn.Conv2d | nn.Conv3d:
    """A convolution without bias that keeps the place: padding is half the kernel."""
    if dims == 2:
        return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    padding = (time // 2, size // 2, size // 2)
    return nn.Conv3d(inputs, outputs, (time, size, size), (slide, stride, stride), padding, bias=False)


def _constants(module: nn.Module) -> None:
    for name, values in (("mean", MEAN), ("std", STD)):
        module.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)


def _check(clips: Tensor) -> None:
    if clips.dim() != 5 or clips.shape[1] != 3:
        raise ValueError(f"clips have shape {tuple(clips.shape)}, expected (n, 3, frames, height, width)")
