"""The networks of the thesis's MNIST experiments: LeNet5 and Net1 to Net6, valid convolutions throughout.

Net4 is the victim, the others are sources of the meta attacker. Each function makes a network from images in
[0, 1], shape (n, channels, size, size), to logits, shape (n, classes). Its arguments are

- ``classes``, ``channels`` and ``size`` of the images: 10, 1 and 28 are MNIST's;
- ``width``, a multiplier of channels and hidden units, of which at least four are left. With 1 the networks
  are the thesis's, with less they are small victims for small pictures.

A size that the layers would use up raises a ``ValueError``. Dropout is off in evaluation; in the released
code it stays on in Net5 and Net6, so that these answer at random when attacked.

Layers as in the released code; Net2 to Net5 are models A to D of Tramèr et al. (2018), Net6 is that of
Carlini and Wagner (2017).

Thesis, section 2.4.1.
"""

from __future__ import annotations

from torch import nn

from thesislib.models.layers import made_of, widths


def LeNet5(classes: int = 10, channels: int = 1, size: int = 28, width: float = 1.0) -> nn.Sequential:
    """LeNet-5 with ReLU and maximum pooling; a source model."""
    a, b, c, d = widths(width, 6, 16, 120, 84)
    body = (
        *(nn.Conv2d(channels, a, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(a, b, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    )
    (n,) = made_of("LeNet5", body, channels, size)
    return nn.Sequential(*body, nn.Linear(n, c), nn.ReLU(), nn.Linear(c, d), nn.ReLU(), nn.Linear(d, classes))


def Net1(classes: int = 10, channels: int = 1, size: int = 28, width: float = 1.0) -> nn.Sequential:
    """Two convolutions with pooling, one hidden layer; a source model."""
    a, b, c = widths(width, 20, 50, 500)
    body = (
        *(nn.Conv2d(channels, a, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(a, b, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    )
    (n,) = made_of("Net1", body, channels, size)
    return nn.Sequential(*body, nn.Linear(n, c), nn.ReLU(), nn.Linear(c, classes))


def Net2(classes: int = 10, channels: int = 1, size: int = 28, width: float = 1.0) -> nn.Sequential:
    """Two convolutions without pooling, dropout; a source model."""
    a, b, c = widths(width, 64, 64, 128)
    body = (
        nn.Conv2d(channels, a, 5),
        nn.ReLU(),
        nn.Conv2d(a, b, 5),
        nn.ReLU(),
        nn.Dropout(0.25),
        nn.Flatten(),
    )
    (n,) = made_of("Net2", body, channels, size)
    return nn.Sequential(*body, nn.Linear(n, c), nn.ReLU(), nn.Dropout(0.5), nn.Linear(c, classes))


def Net3(classes: int = 10, channels: int = 1, size: int = 28, width: float = 1.0) -> nn.Sequential:
    """Three wide convolutions between dropouts; a source model."""
    a, b, c = widths(width, 64, 128, 128)
    body = (
        nn.Dropout(0.2),
        *(nn.Conv2d(channels, a, 8), nn.ReLU()),
        *(nn.Conv2d(a, b, 6), nn.ReLU()),
        *(nn.Conv2d(b, c, 5), nn.ReLU()),
        *(nn.Dropout(0.5), nn.Flatten()),
    )
    (n,) = made_of("Net3", body, channels, size)
    return nn.Sequential(*body, nn.Linear(n, classes))


def Net4(classes: int = 10, channels: int = 1, size: int = 28, width: float = 1.0) -> nn.Sequential:
    """The victim."""
    a, b, c = widths(width, 128, 64, 128)
    body = (
        *(nn.Conv2d(channels, a, 3), nn.Tanh(), nn.MaxPool2d(2)),
        *(nn.Conv2d(a, b, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten()),
    )
    (n,) = made_of("Net4", body, channels, size)
    return nn.Sequential(*body, nn.Linear(n, c), nn.ReLU(), nn.Linear(c, classes))


def Net5(classes: int = 10, channels: int = 1, size: int = 28, width: float = 1.0) -> nn.Sequential:
    """A source model."""
    (a,) = widths(width, 300)
    layers: list[nn.Module] = [nn.Flatten()]
    (n,) = made_of("Net5", layers, channels, size)
    for activation in (nn.Tanh, nn.Tanh, nn.ReLU, nn.ReLU):
        layers += [nn.Linear(n, a), activation(), nn.Dropout(0.5)]
        n = a
    return nn.Sequential(*layers, nn.Linear(a, classes))


def Net6(classes: int = 10, channels: int = 1, size: int = 28, width: float = 1.0) -> nn.Sequential:
    """The network of Carlini and Wagner; a source model."""
    a, b, c = widths(width, 32, 64, 200)
    body = (
        *(nn.Conv2d(channels, a, 3), nn.ReLU(), nn.Conv2d(a, a, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(a, b, 3), nn.ReLU(), nn.Conv2d(b, b, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
    )
    (n,) = made_of("Net6", body, channels, size)
    head = (nn.Linear(n, c), nn.ReLU(), nn.Dropout(0.5), nn.Linear(c, c), nn.ReLU(), nn.Linear(c, classes))
    return nn.Sequential(*body, *head)
