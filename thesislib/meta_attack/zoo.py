"""ZOO: zeroth-order optimisation by coordinate-wise Adam (Chen et al. 2017; thesis, section 2.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Attempt, Goal, Victim
from thesislib.blackbox.attempt import admitted, iterations, positive_fields, share_fields, whole_fields
from thesislib.blackbox.differences import probe
from thesislib.blackbox.variables import VARIABLES


@dataclass(frozen=True)
class ZOO:
    """Minimise ``||x - x0||^2 + c * hinge`` along random coordinates of the perturbation.

    One step costs 2q + 1 queries: symmetric differences along q coordinates, and the check of the new image.
    Stops at the first success.

    The original's coarser attack space and importance sampling, for images of ImageNet's size, are left out: pixels
    are probed at random at any size.

    Attributes
    ----------
    lr : float
        Step of Adam, in units of the variable.
    c : float
        Weight of the hinge; the released comparison fixes 0.5 and searches none.
    q : int
        Coordinates a step (128 in the paper).
    h : float
        Half the distance of the two probes.
    beta1, beta2 : float
        Decay of Adam's averages; each coordinate counts its own steps.
    max_steps : int, optional
        None: until the budget is spent; 3,000 where the victim has none.
    variable : {"pixels", "tanh"}
        Where the perturbation lives: pixels for MNIST, tanh for colour images.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    >>> images = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> goal = Goal(model(images).argmax(1))
    >>> result = ZOO(q=4, lr=0.1, max_steps=5)(Victim(model, budget=100), images, goal)
    >>> bool((result.queries <= 1 + 5 * 9).all())
    True
    """

    lr: float = 0.01
    c: float = 0.5
    q: int = 128
    h: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    max_steps: int | None = None
    variable: str = "pixels"

    def __post_init__(self) -> None:
        positive_fields(self, "lr", "c")
        positive_fields(self, "h", probing=True)
        share_fields(self, "beta1", "beta2")
        whole_fields(self, 1, "q")
        whole_fields(self, 0, "max_steps")
        if self.variable not in VARIABLES:
            raise ValueError(f"variable = {self.variable!r}, expected one of {', '.join(VARIABLES)}")

    def __call__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        *,
        seed: int = 0,
        ids: Sequence[int] | None = None,
    ) -> AttackResult:
        """Attack; arguments and errors as :class:`~thesislib.blackbox.attempt.Attempt` has them.

        Raises
        ------
        ValueError
            Also if an image has fewer than q numbers.
        """
        images = admitted(victim, images, goal)
        size = images[:1].numel()
        if len(images) and self.q > size:
            raise ValueError(f"q = {self.q} coordinates, but an image has {size}")
        run = Attempt(victim, images, goal, seed=seed, ids=ids, cost=2 * self.q + 1)
        space = VARIABLES[self.variable]
        flat, delta = images.flatten(1), torch.zeros_like(images).flatten(1)
        mean, square, count = (torch.zeros_like(delta) for _ in range(3))
        for step in iterations(self.max_steps, victim, 3000):
            live = run.affordable(2 * self.q + 1)
            if not len(live):
                break
            index = run.streams.coordinates(live, size, self.q)
            here, clean = delta[live].gather(1, index), flat[live].gather(1, index)
            sides = torch.stack((here + self.h, here - self.h), dim=2)
            places = space.image(clean[:, :, None], sides)
            current = space.image(images[live], delta[live].view(-1, *images.shape[1:]))
            hinge = probe(run.ask, current, live, index, places)
            # Only one pixel of a probe differs from the rest, so its square is all of the L2 term's difference.
            value = (places - clean[:, :, None]) ** 2 + self.c * hinge
            slope = ((value[:, :, 0] - value[:, :, 1]) / (2 * self.h)).to(delta.dtype)
            at = (live[:, None], index)
            count[at] += 1
            mean[at] = self.beta1 * mean[at] + (1 - self.beta1) * slope
            square[at] = self.beta2 * square[at] + (1 - self.beta2) * slope**2
            unbiased = mean[at] / (1 - self.beta1 ** count[at])
            scale = (square[at] / (1 - self.beta2 ** count[at])).sqrt() + 1e-8
            delta[at] -= self.lr * unbiased / scale
            moved = space.project(images[live], delta[live].view(-1, *images.shape[1:]))
            delta[live] = moved.flatten(1)
            run.check(space.image(images[live], moved), step)
        return run.result()
