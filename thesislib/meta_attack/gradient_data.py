"""Gradient maps of source models: what the meta attacker learns from (thesis, section 2.3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thesislib.blackbox import Goal, Victim
from thesislib.blackbox.attempt import admitted, admitted_images
from thesislib.blackbox.differences import slopes
from thesislib.blackbox.goals import hinge
from thesislib.blackbox.victim import as_scores, evaluating, is_whole


def white_box(model: nn.Module, images: Tensor, goal: Goal, *, chunk: int = 64) -> Tensor:
    """Gradients of the hinge with respect to the images, by automatic differentiation.

    Parameters
    ----------
    model : torch.nn.Module
        Images to logits; used in evaluation mode, its modes and gradients are left as they were.
    images : Tensor of float32 or float64, shape (n, channels, height, width)
        Values in [0, 1].
    goal : Goal
        For n images; the thesis trains on untargeted ones.
    chunk : int
        Images at once.

    Returns
    -------
    Tensor, shape of `images`
        Zero where the goal is reached already: the hinge is flat there.

    Raises
    ------
    ValueError
        If images, goals or `chunk` are not as described, or the model has not the goal's classes, fails on the first
        images, or returns probabilities or what is not finite.
    """
    images = admitted_images(images, goal)
    if not (is_whole(chunk) and chunk >= 1):
        raise ValueError(f"chunk = {chunk!r}, expected at least 1 image, a whole number")
    if len(
        images
    ):  # a victim's checks of its first answer: two softmaxes, say, have other gradients than one
        first = images[:chunk]
        Victim(model).open(first).ask(first, torch.arange(len(first), device=first.device))
    parts = []
    with evaluating(model), torch.enable_grad():  # whatever the caller has switched off
        for rows in torch.arange(len(images), device=images.device).split(chunk):
            batch = images[rows].clone().requires_grad_()
            scores = as_scores(model(batch), batch)
            goal.check_classes(scores.shape[1])
            loss = hinge(scores.log_softmax(1), goal[rows]).sum()
            parts.append(torch.autograd.grad(loss, batch)[0])
    return torch.cat(parts) if parts else torch.empty_like(images)


def estimated(victim: Victim, images: Tensor, goal: Goal, *, h: float = 1e-4) -> Tensor:
    """The same by symmetric differences along every pixel: two queries a pixel, no access to the model.

    Parameters, result and errors as for :func:`white_box`, with a
    :class:`~thesislib.blackbox.victim.Victim` in place of the model (thesis, section 2.4.5). `h`, the step of the
    differences, is above 0.
    """
    images = admitted(victim, images, goal)
    if not h > 0:
        raise ValueError(f"h = {h}, expected more than 0")
    if not len(images):
        return torch.empty_like(images)
    meter = victim.open(images)

    def ask(queries: Tensor, owner: Tensor) -> Tensor:
        logp = meter.ask(queries, owner)
        goal.check_classes(logp.shape[1])
        return hinge(logp, goal[owner])

    owner = torch.arange(len(images), device=images.device)
    every = torch.arange(images[:1].numel(), device=images.device).repeat(len(images), 1)
    return slopes(ask, images, owner, every, h=h, base=None).to(images.dtype).view(images.shape)


def standardised(maps: Tensor) -> Tensor:
    """Each map divided by its own standard deviation over all pixels and channels; the mean stays.

    A map of zeros stays zero. Shape (n, ...) to the same shape.
    """
    deviation = maps.flatten(1).std(dim=1) + 1e-23
    return maps / deviation.view(-1, *[1] * (maps.ndim - 1))
