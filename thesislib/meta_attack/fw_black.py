"""FW-black: zeroth-order Frank-Wolfe inside a ball (Chen et al. 2020; thesis, section 2.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Attempt, Goal, Victim
from thesislib.blackbox.attempt import admitted, iterations, positive_fields, share_fields, whole_fields
from thesislib.blackbox.goals import Objective, cross_entropy


@dataclass(frozen=True)
class FWBlack:
    """Move towards the point of a ball that the averaged gradient estimate favours most.

    The gradient is estimated by pairs of opposite probes, clipped to [0, 1]. A step costs 2 * directions + 1
    queries, the last for the check. Stops at the first success.

    Attributes
    ----------
    eps : float
        Radius of the ball around the clean image, in its norm; no perturbation is larger.
    norm : {"l2", "linf"}
    directions : int
        Gaussian directions a step (25 in the released code, 50 queries).
    smoothing : float
        Factor of the Gaussian vectors that are added and subtracted.
    momentum : float
        Share of the old average in the new one.
    lr : float
        Share of the way to the favoured point; after k plateaus divided by the root of 1 + k.
    plateau, tolerance : int, float
        A plateau: in so many steps the loss fell by less than this share of its size.
    objective : callable
        Loss to minimise, one of :mod:`~thesislib.blackbox.goals`.
    max_steps : int, optional
        None: until the budget is spent; 1,000, as released, where the victim has none.
    """

    eps: float = 2.0
    norm: str = "l2"
    directions: int = 25
    smoothing: float = 0.01
    momentum: float = 0.99
    lr: float = 0.2
    plateau: int = 5
    tolerance: float = 1e-3
    objective: Objective = cross_entropy
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if self.norm not in ("l2", "linf"):
            raise ValueError(f"norm = {self.norm!r}, expected 'l2' or 'linf'")
        positive_fields(self, "eps", "lr")
        positive_fields(self, "smoothing", probing=True)
        share_fields(self, "momentum")
        whole_fields(self, 1, "directions", "plateau")
        whole_fields(self, 0, "max_steps")
        if self.lr > 1:
            raise ValueError(f"lr = {self.lr}, expected within (0, 1]")
        if not callable(self.objective):
            raise ValueError(f"objective = {self.objective!r}, expected a loss, goals.cross_entropy say")

    def __call__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        *,
        seed: int = 0,
        ids: Sequence[int] | None = None,
    ) -> AttackResult:
        """Attack; arguments and errors as :class:`~thesislib.blackbox.attempt.Attempt` has them."""
        images, cost = admitted(victim, images, goal), 2 * self.directions + 1
        run = Attempt(victim, images, goal, seed=seed, ids=ids, cost=cost, objective=self.objective)
        current, average = images.clone(), torch.zeros_like(images)
        drops = torch.zeros_like(run.loss)
        past = run.loss.clone()
        for step in iterations(self.max_steps, victim, 1000):
            live = run.affordable(cost)
            if not len(live):
                break
            slope = self._slope(run, current[live], live)
            # The oracle sees a direction only, so the average needs no correction for starting at zero.
            average[live] = self.momentum * average[live] + (1 - self.momentum) * slope
            favoured = images[live] - self.eps * self._unit(average[live])
            rate = self._per_image(self.lr / (1 + drops[live]).sqrt(), images)
            current[live] = (current[live] + rate * (favoured - current[live])).clamp(0, 1)
            run.check(current[live], step)
            if step % self.plateau == 0:
                drops[live] += past[live] - run.loss[live] < self.tolerance * past[live].abs()
                past[live] = run.loss[live]
        return run.result()

    def _slope(self, run: Attempt, current: Tensor, live: Tensor) -> Tensor:
        """Estimated gradients, shape of `current`.

        Of a pixel at 0 or 1 only one of two opposite moves is seen, and its slope comes out half as large; to
        double it costs more queries than it saves.
        """
        shape = (self.directions, *current.shape[1:])
        drawn = run.streams.normal(live, shape)
        above = (current[:, None] + self.smoothing * drawn).clamp(0, 1)
        below = (current[:, None] - self.smoothing * drawn).clamp(0, 1)
        probes = torch.stack((above, below), dim=2).flatten(0, 2)
        loss = run.ask(probes, live.repeat_interleave(2 * self.directions)).view(-1, self.directions, 2)
        change = self._per_image(loss[:, :, 0] - loss[:, :, 1], drawn)
        return (change * drawn).mean(1) / (2 * self.smoothing)

    def _unit(self, average: Tensor) -> Tensor:
        """The direction in which the unit ball reaches farthest along `average`."""
        if self.norm == "linf":
            return average.sign()
        length = average.flatten(1).norm(dim=1).clamp(min=torch.finfo(average.dtype).tiny)
        return average / self._per_image(length, average)

    @staticmethod
    def _per_image(values: Tensor, like: Tensor) -> Tensor:
        return values.to(like.dtype).view(*values.shape, *[1] * (like.ndim - values.ndim))
