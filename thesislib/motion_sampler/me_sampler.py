"""The motion-excited sampler attack (thesis, section 3.3; released code of Zhang et al., ECCV 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Attempt, Goal, Victim
from thesislib.blackbox.attempt import iterations, numbers, positive_fields, whole_fields
from thesislib.motion_sampler.losses import loss_of
from thesislib.motion_sampler.prior import (
    admitted_clips,
    kept,
    query_length,
    sign_step,
    two_point,
)
from thesislib.motion_sampler.sampler import Maps, Motion, NoiseSampler


@dataclass(frozen=True, eq=False)
class MESampler:
    """Estimate the gradient along noise that moves as the clip does, and carry the estimate along as a prior.

    With pattern ``r`` and prior ``g`` an iteration asks two queries and improves the prior,

        ``D = (l(x + eps * w+/|w+|) - l(x + eps * w-/|w-|)) / (eps * delta)``,  ``w± = g ± delta * r``,
        ``g <- g + prior_lr * D * r``,

    then moves the clip, ``x <- x - step * sign(g)``, inside the bound, and checks it: 3 queries. Norms are per
    frame. Defaults are the released code's. A success in iteration k has cost ``1 + 3k`` queries, the clean
    clip among them; the released code charges ``3(k + 1)``, since it checks one iteration later.

    Attributes
    ----------
    maps : sequence or mapping of Tensor, optional
        Motion maps of each clip by its number, integers, shape (maps, height, width, 2), x first. None only
        for a sampler without motion.
    noise : NoiseSampler
        How noise is read through them.
    loss : str
        A key of :data:`thesislib.motion_sampler.losses.LOSSES`.
    kappa : float
        L-infinity bound, pixels in [0, 1].
    step : float
        Of the clip.
    eps : float, optional
        L2 length of a query's change, in each frame; None: 0.1 scaled to the frame's size.
    delta : float
        Exploration.
    prior_lr : float
    max_steps : int, optional
        None: until the budget is spent; 20,000, as released, where the victim has none.
    watch : callable, optional
        Called as ``watch(step, rows, pattern, prior, clips)`` after each iteration, before its check: for looking
        on, never for steering.
    """

    maps: Maps | None = None
    noise: NoiseSampler = field(default_factory=NoiseSampler)
    loss: str = "second_probability"
    kappa: float = 0.03
    step: float = 0.025
    eps: float | None = None
    delta: float = 0.1
    prior_lr: float = 0.1
    max_steps: int | None = None
    watch: Callable[[int, Tensor, Tensor, Tensor, Tensor], None] | None = None

    def __post_init__(self) -> None:
        positive_fields(self, "kappa", "step", "eps", "delta", "prior_lr")
        whole_fields(self, 0, "max_steps")
        loss_of(self.loss)
        if not isinstance(self.noise, NoiseSampler):
            raise ValueError(f"noise = {self.noise!r}; expected a NoiseSampler, NoiseSampler('look-up') say")
        if self.maps is None and self.noise.needs_maps:
            raise ValueError(f"sampler = {self.noise.sampler!r} reads motion maps, but maps is None")

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
            Also if a clip has no motion map, or one of another shape.
        """
        images = admitted_clips(victim, images, goal)
        ids = numbers(ids, len(images))
        motion = Motion(self.maps, ids, images) if self.noise.needs_maps else None
        run = Attempt(victim, images, goal, seed=seed, ids=ids, cost=3, objective=loss_of(self.loss))
        rows = run.live
        clean, current = images[rows], images[rows]
        shape = (images.shape[1], self.noise.frames(images), *images.shape[3:])
        prior = images.new_zeros(len(rows), *shape)
        for count in iterations(self.max_steps, victim, 20_000):
            live = run.affordable(3)
            if not len(live):
                break
            clean, current, prior = kept(rows, live, clean, current, prior)
            rows = live
            pattern = self.noise.draw(run.streams, live, motion, images, count - 1)
            prior = self.improved(run, current, prior, pattern, live)
            current = sign_step(clean, current, prior, step=self.step, kappa=self.kappa)
            if self.watch is not None:
                self.watch(count, live, pattern, prior, current)
            run.check(current, count)
        return run.result()

    def improved(self, run: Attempt, current: Tensor, prior: Tensor, pattern: Tensor, live: Tensor) -> Tensor:
        """The prior after two queries along a pattern, both of shape (len(live), channels, 1 or frames, h, w).

        Parameters
        ----------
        run : Attempt
        current : Tensor, shape (len(live), channels, frames, h, w)
        prior, pattern : Tensor
        live : Tensor of int64
            Clips under attack.
        """
        length = query_length(self.eps, current)
        rise = two_point(run, current, prior, self.delta * pattern, live, length=length)
        slope = (rise / (length * self.delta)).to(prior.dtype).view(-1, 1, 1, 1, 1)
        return torch.addcmul(prior, pattern, self.prior_lr * slope)
