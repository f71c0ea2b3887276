"""Which pixels a feature depends on, so that "looks at other parts of the image" can be measured (figure 5.1).

Thesis, section 5.1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def sensitivity(
    feature: Callable[[Tensor], Tensor], images: Tensor, *, probes: int = 16, seed: int = 0
) -> Tensor:
    """How far each pixel moves the feature: the norm of the Jacobian's columns, estimated.

    For random signs v, the gradient of ``v · f(x)`` in a pixel has the squared norm of that pixel's column of the
    Jacobian as the expectation of its square (Hutchinson's estimate).

    Parameters
    ----------
    feature : callable
        Images to features, shape (n, dim), each image by itself: a network in evaluation mode.
    images : Tensor, shape (n, channels, height, width)
    probes : int
        Random directions.
    seed : int

    Returns
    -------
    Tensor, shape (n, height, width)
        0 or more.

    Raises
    ------
    ValueError
        If the feature passes no gradient on to its images.
    """
    images = images.detach().requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(images[:, 0])
    made = passed_on(feature(images))
    for probe in range(probes):
        signs = 2.0 * torch.randint(2, made.shape, generator=generator) - 1
        (gradient,) = torch.autograd.grad(made, images, signs.to(made), retain_graph=probe + 1 < probes)
        total += gradient.square().sum(1)
    return (total / probes).sqrt()


def passed_on(made: Tensor) -> Tensor:
    """A feature, if a gradient can go back from it to its images.

    Parameters
    ----------
    made : Tensor
        Of images that need a gradient.

    Raises
    ------
    ValueError
        If none can.
    """
    if not made.requires_grad:
        raise ValueError(
            "the feature passes no gradient on to its images; leave out torch.no_grad and detach()"
        )
    return made


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of two maps of each image: 1 if both look at the same pixels with the same weights, shape (n,)."""
    return torch.cosine_similarity(first.flatten(1), second.flatten(1))
