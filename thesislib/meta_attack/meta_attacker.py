"""The meta attacker: a convolutional auto-encoder from images to gradient maps (thesis, Table 2.1).

Thesis, section 2.3.2.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from thesislib.blackbox.victim import is_whole
from thesislib.models.layers import widths

# Kind, output channels, kernel, stride, padding, as the released code has them.
GREY = (
    ("conv", 16, 3, 1, 1),
    ("conv", 32, 4, 2, 1),
    ("conv", 64, 4, 2, 1),
    ("conv", 64, 4, 2, 1),
    ("convt", 32, 3, 2, 0),  # 3 to 7: MNIST's odd size
    ("convt", 16, 4, 2, 1),
    ("convt", 8, 4, 2, 1),
    ("convt", 1, 3, 1, 1),
)
COLOUR = (
    ("conv", 32, 3, 1, 1),
    ("conv", 64, 4, 2, 1),
    ("conv", 128, 4, 2, 1),
    ("conv", 256, 4, 2, 1),
    ("convt", 128, 4, 2, 1),
    ("convt", 64, 4, 2, 1),
    ("convt", 32, 4, 2, 1),
    ("convt", 3, 3, 1, 1),
)


class MetaAttacker(nn.Module):
    """Images, shape (n, channels, size, size) in [0, 1], to gradient maps of the same shape.

    Eight layers; convolution, ReLU, batch normalisation in this order, the last layer linear. The released
    networks always normalise by the statistics of the batch, at attack time by those of the single image:
    ``statistics="batch"``.

    Parameters
    ----------
    channels : {1, 3}
        Grey: 136,081 parameters at full width, sizes 20, 28, 36, ... (4 more than a multiple of 8). Colour:
        1,380,099 parameters, sizes 16, 24, 32, ...
    size : int
        Side of the images.
    width : float
        Share of the hidden channels, 1 in the thesis; less for small pictures on a laptop.
    statistics : {"batch", "running"}
        What evaluation normalises by.

    Raises
    ------
    ValueError
        If an argument is not as described, or images of another shape, or weights of another meta attacker are
        passed.
    """

    def __init__(self, channels: int, size: int, *, width: float = 1.0, statistics: str = "batch") -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"channels = {channels}, expected 1 or 3")
        rest = 4 if channels == 1 else 0
        if (
            not is_whole(size) or size % 8 != rest or size < 16
        ):  # smaller ones end in a single pixel, which has no statistics
            kind = "grey" if channels == 1 else "colour"
            sizes = ", ".join(str(16 + rest + 8 * k) for k in range(4))
            raise ValueError(f"size = {size!r}: the {kind} meta attacker takes images of {sizes}, ... pixels")
        if statistics not in ("batch", "running"):
            raise ValueError(f"statistics = {statistics!r}, expected 'batch' or 'running'")
        self.channels, self.size, self.width, self.statistics = channels, size, width, statistics
        table = GREY if channels == 1 else COLOUR
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        before = channels
        for number, (kind, out, kernel, stride, padding) in enumerate(table):
            last = number == len(table) - 1
            after = channels if last else widths(width, out)[0]
            make = nn.Conv2d if kind == "conv" else nn.ConvTranspose2d
            layer = make(before, after, kernel, stride, padding)
            nn.init.kaiming_normal_(layer.weight)  # a transposed kernel counts output channels as its fan-in
            nn.init.zeros_(layer.bias)
            self.layers.append(layer)
            if not last:
                self.norms.append(nn.BatchNorm2d(after, track_running_stats=statistics == "running"))
            before = after

    def forward(self, images: Tensor) -> Tensor:
        expected = (self.channels, self.size, self.size)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise ValueError(f"this meta attacker takes images of shape (n, {expected[0]}, {self.size}, {self.size}), "
                             f"not {tuple(images.shape)}")  # fmt: skip
        for layer, norm in zip(self.layers, self.norms, strict=False):
            images = norm(torch.relu(layer(images)))
        return self.layers[-1](images)

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False):
        """As :meth:`torch.nn.Module.load_state_dict`; weights of another meta attacker are refused by what differs.

        Parameters
        ----------
        state_dict : mapping of str to Tensor
            Of a meta attacker of any size.
        strict, assign : bool
            As for the method named.

        Raises
        ------
        ValueError
            If channels, hidden channels (`width`) or, when strict, statistics are others than here.
        """
        try:
            given, here = _outline(state_dict), _outline(self.state_dict())
        except (KeyError, AttributeError, TypeError, IndexError):
            raise ValueError(
                "these are no weights of a meta attacker, which are layers.0.weight and so on; give its state_dict()"
            ) from None
        other = [name for name in given if given[name] != here[name] and (strict or name != "statistics")]
        if other:
            faults = " and ".join(f"{name} = {given[name]}, here {here[name]}" for name in other)
            raise ValueError(
                f"weights of another meta attacker: {faults}; make this one as that one was made"
            )
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def resized(self, size: int) -> MetaAttacker:
        """The same weights for images of another size: the network is convolutional throughout."""
        other = MetaAttacker(self.channels, size, width=self.width, statistics=self.statistics)
        other.load_state_dict(self.state_dict())
        return other

    def table(self) -> list[dict]:
        """One row a layer: ``layer``, ``kind``, ``in``, ``out``, ``kernel``, ``stride``, ``padding``, ``size``,
        ``parameters`` (of the layer and its normalisation), read off the modules."""
        rows, shape = [], torch.zeros(1, self.channels, self.size, self.size)
        for number, layer in enumerate(self.layers, 1):
            shape = layer(shape)
            mine = [layer, *self.norms[number - 1 : number]]
            rows.append(
                {
                    "layer": number,
                    "kind": "Conv" if isinstance(layer, nn.Conv2d) else "Convt",
                    "in": layer.in_channels,
                    "out": layer.out_channels,
                    "kernel": layer.kernel_size[0],
                    "stride": layer.stride[0],
                    "padding": layer.padding[0],
                    "size": shape.shape[-1],
                    "parameters": sum(p.numel() for m in mine for p in m.parameters()),
                }
            )
        return rows


def _outline(weights: Mapping[str, Tensor]) -> dict[str, object]:
    """What tells one meta attacker's weights from another's."""
    return {
        "channels": weights["layers.0.weight"].shape[1],
        "hidden channels": [len(weights[f"layers.{k}.bias"]) for k in range(len(GREY) - 1)],
        "statistics": "running" if any(name.endswith("running_mean") for name in weights) else "batch",
    }
