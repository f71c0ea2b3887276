"""E-Bandits: bandits with priors over time and data, extended to clips (Ilyas et al. 2019; thesis, section 3.4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from thesislib.blackbox import AttackResult, Attempt, Goal, Victim
from thesislib.blackbox.attempt import iterations, positive_fields, whole_fields
from thesislib.motion_sampler.losses import loss_of
from thesislib.motion_sampler.prior import (
    admitted_clips,
    kept,
    query_length,
    sign_step,
    two_point,
)


@dataclass(frozen=True)
class EBandits:
    """The L-infinity bandits on clips: a coarse prior in [-1, 1], moved by exponentiated gradients.

    The prior lives on tiles, enlarged by nearest pixels (data prior), and is carried from iteration to
    iteration (time prior). Queries' changes are scaled frame by frame as the motion-excited sampler's are, and
    an iteration costs as much: two probes and a check, 3 queries.

    Attributes
    ----------
    tile : int
        Side of the grid of tiles (50 for 224 to 299 pixels in the released code).
    shared : bool
        Whether all frames share one prior; else each has its own. How the thesis extended the prior to clips
        is not known.
    exponentiated : bool
        Prior step: exponentiated gradients (released L-infinity setting) or a plain one (released L2 setting).
    exploration, prior_lr : float
        Released L-infinity setting: 1.0 and 100.
    eps, loss, kappa, max_steps
        As for :class:`~thesislib.motion_sampler.me_sampler.MESampler`.
    step : float
        Of the clip.
    """

    tile: int = 8
    shared: bool = False
    exponentiated: bool = True
    exploration: float = 1.0
    prior_lr: float = 100.0
    eps: float | None = None
    loss: str = "second_probability"
    kappa: float = 0.03
    step: float = 0.01
    max_steps: int | None = None

    def __post_init__(self) -> None:
        positive_fields(self, "exploration", "prior_lr", "eps", "kappa", "step")
        whole_fields(self, 1, "tile")
        whole_fields(self, 0, "max_steps")
        loss_of(self.loss)

    def __call__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        *,
        seed: int = 0,
        ids: Sequence[int] | None = None,
    ) -> AttackResult:
        """Attack clips, shape (n, channels, frames, height, width); errors as
        :class:`~thesislib.blackbox.attempt.Attempt` has them.

        Raises
        ------
        ValueError
            Also if the grid is finer than a frame.
        """
        images = admitted_clips(victim, images, goal)
        if self.tile > min(images.shape[3:]):
            raise ValueError(f"tile = {self.tile}, but frames are {images.shape[3]} x {images.shape[4]}")
        run = Attempt(victim, images, goal, seed=seed, ids=ids, cost=3, objective=loss_of(self.loss))
        rows = run.live
        clean, current = images[rows], images[rows]
        shape = (images.shape[1], 1 if self.shared else images.shape[2], self.tile, self.tile)
        prior = images.new_zeros(len(rows), *shape)
        for count in iterations(self.max_steps, victim, 20_000):
            live = run.affordable(3)
            if not len(live):
                break
            clean, current, prior = kept(rows, live, clean, current, prior)
            rows = live
            prior = self.improved(run, current, prior, live)
            direction = self._enlarged(prior, images)
            current = sign_step(clean, current, direction, step=self.step, kappa=self.kappa)
            run.check(current, count)
        return run.result()

    def improved(self, run: Attempt, current: Tensor, prior: Tensor, live: Tensor) -> Tensor:
        """The prior after two queries, shape (len(live), channels, 1 or frames, tile, tile).

        Parameters
        ----------
        run : Attempt
        current, prior : Tensor
            Clips and priors of `live`.
        live : Tensor of int64
        """
        length = query_length(self.eps, current)
        change = self.exploration * run.streams.normal(live, prior.shape[1:]) / prior[0].numel() ** 0.5
        large = (self._enlarged(part, current) for part in (prior, change))
        rise = two_point(run, current, *large, live, length=length)
        slope = (rise / (length * self.exploration)).to(prior.dtype).view(-1, 1, 1, 1, 1) * change
        if not self.exponentiated:
            return prior + self.prior_lr * slope
        # p <- p e^(lr s) / (p e^(lr s) + (1 - p) e^(-lr s)) with p = (prior + 1) / 2, which is this:
        inner = prior.clamp(-1 + 1e-6, 1 - 1e-6)
        return torch.tanh(torch.atanh(inner) + self.prior_lr * slope)

    @staticmethod
    def _enlarged(prior: Tensor, clips: Tensor) -> Tensor:
        size = (prior.shape[2], *clips.shape[3:])
        return F.interpolate(prior, size)
