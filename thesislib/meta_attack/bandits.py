"""Bandits with priors over time and data, L2 version (Ilyas et al. 2019; thesis, section 2.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from thesislib.blackbox import AttackResult, Attempt, Goal, Victim
from thesislib.blackbox.attempt import admitted, iterations, positive_fields, whole_fields
from thesislib.blackbox.goals import cross_entropy


@dataclass(frozen=True)
class Bandits:
    """Follow a guess of the gradient that is carried from step to step and corrected by two probes each.

    The guess lives on a coarser grid (the data prior) and is improved by bandit gradient ascent (the time
    prior); the image follows it inside an L2 ball. A step costs 3 queries: two probes, clipped to [0, 1], and
    the check. Stops at the first success.

    Attributes
    ----------
    eps : float
        Radius of the L2 ball around the clean image (5.0 on ImageNet in the released code).
    image_lr : float
        Length of the image's step (0.5 there).
    prior_lr : float
        Step of the guess.
    exploration : float
        Length, on average, of the random change of the guess that the two probes compare.
    fd_eta : float
        Length of the probes' step in the image.
    tile : int, optional
        Side of the grid, enlarged by nearest pixels (50 for 299 and 224 pixels there); None: a quarter of the
        image's side for colour, half for grey images.
    max_steps : int, optional
        None: until the budget is spent; 10,000, as released, where the victim has none.
    """

    eps: float = 2.0
    image_lr: float = 0.05
    prior_lr: float = 0.1
    exploration: float = 0.01
    fd_eta: float = 0.01
    tile: int | None = None
    max_steps: int | None = None

    def __post_init__(self) -> None:
        positive_fields(self, "eps", "image_lr", "prior_lr", "exploration")
        positive_fields(self, "fd_eta", probing=True)
        whole_fields(self, 1, "tile")
        whole_fields(self, 0, "max_steps")

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
            Also if the grid is finer than the image.
        """
        images = admitted(victim, images, goal)
        grid = self._grid(images)
        run = Attempt(victim, images, goal, seed=seed, ids=ids, cost=3, objective=cross_entropy)
        current = images.clone()
        guess = torch.zeros(len(images), *grid, dtype=images.dtype, device=images.device)
        for step in iterations(self.max_steps, victim, 10_000):
            live = run.affordable(3)
            if not len(live):
                break
            guess[live] = self.improved(run, guess[live], current[live], live)
            moved = current[live] - self.image_lr * self._unit(self._enlarged(guess[live], images))
            current[live] = self._inside(images[live], moved)
            run.check(current[live], step)
        return run.result()

    def improved(self, run: Attempt, guess: Tensor, current: Tensor, live: Tensor) -> Tensor:
        """The guess of the gradient after two probes; both of shape (len(live), channels, tile, tile).

        Parameters
        ----------
        run : Attempt
        guess : Tensor, shape (len(live), channels, tile, tile)
        current : Tensor
            The images of `live` as they are now.
        live : Tensor of int64
        """
        change = self.exploration * run.streams.normal(live, guess.shape[1:]) / guess[0].numel() ** 0.5
        probes = [
            (current + self.fd_eta * self._unit(self._enlarged(q, current))).clamp(0, 1)
            for q in (guess + change, guess - change)
        ]
        loss = run.ask(torch.stack(probes, dim=1).flatten(0, 1), live.repeat_interleave(2)).view(-1, 2)
        rise = (loss[:, 0] - loss[:, 1]) / (self.fd_eta * self.exploration)
        return guess + self.prior_lr * rise.to(guess.dtype).view(-1, 1, 1, 1) * change

    def _grid(self, images: Tensor) -> tuple[int, int, int]:
        if images.ndim != 4:
            raise ValueError(
                f"images have shape {tuple(images.shape)}, expected (n, channels, height, width)"
            )
        channels, height, width = images.shape[1:]
        tile = self.tile or max(1, min(height, width) // (2 if channels == 1 else 4))
        if tile > min(height, width):
            raise ValueError(f"tile = {tile}, but images are {height} x {width}")
        return channels, tile, tile

    @staticmethod
    def _enlarged(guess: Tensor, images: Tensor) -> Tensor:
        return F.interpolate(guess, images.shape[2:])

    @staticmethod
    def _unit(vectors: Tensor) -> Tensor:
        tiny = torch.finfo(vectors.dtype).tiny  # a flat loss leaves the first guess at zero
        return vectors / vectors.flatten(1).norm(dim=1).clamp(min=tiny).view(-1, 1, 1, 1)

    def _inside(self, clean: Tensor, images: Tensor) -> Tensor:
        """The images brought into the ball and into [0, 1]; clipping brings them nearer still."""
        change = images - clean
        length = change.flatten(1).norm(dim=1).clamp(min=self.eps).view(-1, 1, 1, 1)
        return (clean + change * (self.eps / length)).clamp(0, 1)
