"""E-NES: natural evolution strategies, extended from images to clips (Ilyas et al. 2018; thesis, section 3.4.2).

``run`` keeps the attack's books, ``live`` are the numbers of the clips under attack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Attempt, Goal, Victim
from thesislib.blackbox.attempt import iterations, positive_fields, whole_fields
from thesislib.motion_sampler.losses import loss_of
from thesislib.motion_sampler.prior import admitted_clips, kept, sign_step

TOGETHER = 64  # pairs of queries sent at once; few clips left still fill a batch


@dataclass(frozen=True)
class ENES:
    """Estimate the gradient afresh in each iteration from antithetic pairs of random directions.

    ``sum_s (l(x + c u_s) - l(x - c u_s)) / c * u_s`` with ``u ~ N(0, 1/d)`` over the whole clip, each frame its
    own; then a sign step and a check: ``2 * samples + 1`` queries. Lengths as in the bandits' code, whose
    authors' NES is the usual one; how many samples the thesis takes is not known.

    Attributes
    ----------
    samples : int
        Pairs an iteration.
    fd_eta : float
        ``c``, about the L2 length of a query's change in the whole clip.
    loss, kappa, step
        As for :class:`~thesislib.motion_sampler.me_sampler.MESampler`.
    max_steps : int, optional
        None: until the budget is spent; 20,000 where the victim has none.
    """

    samples: int = 50
    fd_eta: float = 0.1
    loss: str = "second_probability"
    kappa: float = 0.03
    step: float = 0.01
    max_steps: int | None = None

    def __post_init__(self) -> None:
        positive_fields(self, "fd_eta", "kappa", "step")
        whole_fields(self, 1, "samples")
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
        :class:`~thesislib.blackbox.attempt.Attempt` has them."""
        images = admitted_clips(victim, images, goal)
        cost = 2 * self.samples + 1
        run = Attempt(victim, images, goal, seed=seed, ids=ids, cost=cost, objective=loss_of(self.loss))
        rows = run.live
        clean, current = images[rows], images[rows]
        for count in iterations(self.max_steps, victim, 20_000):
            live = run.affordable(cost)
            if not len(live):
                break
            clean, current = kept(rows, live, clean, current)
            rows = live
            slope = self.estimate(run, current, live)
            current = sign_step(clean, current, slope, step=self.step, kappa=self.kappa)
            run.check(current, count)
        return run.result()

    def estimate(self, run: Attempt, current: Tensor, live: Tensor) -> Tensor:
        """Estimate of the gradient at `current`, of its shape, up to scale.

        Parameters
        ----------
        run : Attempt
        current : Tensor, shape (len(live), channels, frames, h, w)
        live : Tensor of int64
        """
        total = torch.zeros_like(current)
        left = self.samples
        while left:
            part = min(left, max(1, TOGETHER // len(live)))
            drawn = [run.streams.normal(live, current.shape[1:]) for _ in range(part)]
            change = torch.stack(drawn, dim=1) / current[0].numel() ** 0.5
            loss = antithetic(run, current, self.fd_eta * change, live)
            slope = (loss[:, :, 0] - loss[:, :, 1]) / self.fd_eta
            total += torch.einsum("nk,nk...->n...", slope.to(change.dtype), change)
            left -= part
        return total


def antithetic(run: Attempt, current: Tensor, changes: Tensor, live: Tensor) -> Tensor:
    """Losses at ``current + change`` and ``current - change``.

    Parameters
    ----------
    current : Tensor, shape (n, ...)
    changes : Tensor, shape (n, k, ...)

    Returns
    -------
    Tensor of float64, shape (n, k, 2)
    """
    n, k = changes.shape[:2]
    pairs = current.new_empty(n, k, 2, *current.shape[1:])
    torch.add(current[:, None], changes, out=pairs[:, :, 0])
    torch.sub(current[:, None], changes, out=pairs[:, :, 1])
    return run.ask(pairs.flatten(0, 2), live.repeat_interleave(2 * k)).view(n, k, 2)
