"""Gradient maps of source models: what the meta attacker learns from (thesis, section 2.3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thesislib.blackbox import Goal, Victim
from thesislib.blackbox.differences import slopes
from thesislib.blackbox.goals import hinge


def white_box(model: nn.Module, images: Tensor, goal: Goal, *, chunk: int = 64) -> Tensor:
    """Gradients of the hinge with respect to the images, by automatic differentiation.

    Parameters
    ----------
    model : torch.nn.Module
        Images to logits; used in evaluation mode, its modes and gradients are left as they were.
    images : Tensor, shape (n, channels, height, width)
    goal : Goal
        For n images; the thesis trains on untargeted ones.
    chunk : int
        Images at once.

    Returns
    -------
    Tensor, shape of `images`
        Zero where the goal is reached already: the hinge is flat there.
    """
    was_training = [m for m in model.modules() if m.training]
    model.eval()
    parts = []
    for rows in torch.arange(len(images), device=images.device).split(chunk):
        batch = images[rows].clone().requires_grad_()
        loss = hinge(model(batch).log_softmax(1), goal[rows]).sum()
        parts.append(torch.autograd.grad(loss, batch)[0])
    for module in was_training:
        module.training = True
    return torch.cat(parts) if parts else torch.empty_like(images)


def estimated(victim: Victim, images: Tensor, goal: Goal, *, h: float = 1e-4) -> Tensor:
    """The same by symmetric differences along every pixel: two queries a pixel, no access to the model.

    Parameters and result as for :func:`white_box`, with a :class:`~thesislib.blackbox.victim.Victim` in place
    of the model (thesis, section 2.4.5).
    """
    if not len(images):
        return torch.empty_like(images)
    meter = victim.open(images)

    def ask(queries: Tensor, owner: Tensor) -> Tensor:
        return hinge(meter.ask(queries, owner), goal[owner])

    owner = torch.arange(len(images), device=images.device)
    every = torch.arange(images[:1].numel(), device=images.device).repeat(len(images), 1)
    return slopes(ask, images, owner, every, h=h, base=None).to(images.dtype).view(images.shape)


def standardised(maps: Tensor) -> Tensor:
    """Each map divided by its own standard deviation over all pixels and channels; the mean stays.

    A map of zeros stays zero. Shape (n, ...) to the same shape.
    """
    deviation = maps.flatten(1).std(dim=1) + 1e-23
    return maps / deviation.view(-1, *[1] * (maps.ndim - 1))
