"""Where the perturbation lives: in pixels, clipped, or in the space of an inverse tanh, unbounded.

Thesis, section 2.4.1.

``clean`` are the images, in [0, 1]; ``delta`` is of their shape.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Variable(Protocol):
    """What an attack moves: a perturbation ``delta`` of the image's shape, zero at the start."""

    def image(self, clean: Tensor, delta: Tensor) -> Tensor:
        """The image in [0, 1] that ``delta`` stands for; broadcasts over leading axes."""

    def project(self, clean: Tensor, delta: Tensor) -> Tensor:
        """``delta`` brought back to where its image is valid."""


class Pixels:
    """Additive perturbation, clipped so that the image stays in [0, 1] (MNIST in the released code)."""

    def image(self, clean: Tensor, delta: Tensor) -> Tensor:
        """As :meth:`Variable.image`."""
        return (clean + delta).clamp(0, 1)

    def project(self, clean: Tensor, delta: Tensor) -> Tensor:
        """As :meth:`Variable.project`."""
        return (clean + delta).clamp(0, 1) - clean


class Tanh:
    """Additive perturbation of ``arctanh(2x - 1)`` (colour images in the released code; Carlini and Wagner).

    Pixels at 0 or 1 have next to no slope and practically stay where they are.
    """

    shrink = 1 - 1e-6  # keeps arctanh finite

    def image(self, clean: Tensor, delta: Tensor) -> Tensor:
        """As :meth:`Variable.image`."""
        return (torch.tanh(torch.atanh((2 * clean - 1) * self.shrink) + delta) + 1) / 2

    def project(self, clean: Tensor, delta: Tensor) -> Tensor:
        """As :meth:`Variable.project`."""
        return delta


VARIABLES: dict[str, Variable] = {"pixels": Pixels(), "tanh": Tanh()}
