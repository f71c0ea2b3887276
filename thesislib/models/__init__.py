"""The networks the thesis names, by name and at any size.

>>> from thesislib.models import make_model
>>> victim = make_model("Net4", classes=10, channels=1, size=28)
>>> sum(p.numel() for p in victim.parameters())
281290

Thesis, sections 2.4.1, 3.4.1 and 4.5.1.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from thesislib.models.cifar import VGG11, VGG13, VGG16, VGG19, GoogLeNet, ResNet18, ResNet34
from thesislib.models.mnist import LeNet5, Net1, Net2, Net3, Net4, Net5, Net6

__all__ = ["MODELS", "make_model"]

_ALL = (LeNet5, Net1, Net2, Net3, Net4, Net5, Net6)
_ALL += (ResNet18, ResNet34, VGG11, VGG13, VGG16, VGG19, GoogLeNet)
MODELS: dict[str, Callable[..., nn.Module]] = {make.__name__: make for make in _ALL}
"""Constructors by the thesis's names."""


def make_model(name: str, *, classes: int, channels: int, size: int, width: float = 1.0) -> nn.Module:
    """A network with fresh weights, drawn from PyTorch's global generator.

    :func:`thesislib.training.seeded` makes them depend on a seed alone.

    Parameters
    ----------
    name : str
        A key of :data:`MODELS`.
    classes : int
        Logits that it makes of an image.
    channels, size : int
        Of the images, which are square.
    width : float
        Multiplier of the numbers of channels and hidden units, of which four at least are left; 1 by default.

    Returns
    -------
    Module
        From images in [0, 1], shape (n, channels, size, size), to logits, shape (n, classes).

    Raises
    ------
    ValueError
        On an unknown name, with the known ones; on numbers that make no network, or a size too small for it.
    """
    if name not in MODELS:
        raise ValueError(f"model = {name!r} is not one of {', '.join(MODELS)}")
    for what, value, least in (("classes", classes, 2), ("channels", channels, 1), ("size", size, 1)):
        if value < least:
            raise ValueError(f"{what} = {value!r}; {name} needs at least {least}")
    return MODELS[name](classes, channels, size, width)
