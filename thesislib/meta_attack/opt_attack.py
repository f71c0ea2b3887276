"""Opt-attack: zeroth-order descent on the distance of the border (Cheng et al. 2019; thesis, section 2.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Goal, Victim
from thesislib.meta_attack.hard_label import HardLabel, Pool, along, bisect, check_pool, start


@dataclass(frozen=True)
class OptAttack:
    """Minimise g(theta), the distance of the border along the direction theta; sees classes only.

    A step estimates the gradient of g by differences along random vectors, each of which takes a search for the
    border, and goes down that gradient as far as it helps. All queries of the searches count.

    Attributes
    ----------
    l2_goal : float
        The attack ends at an adversarial so near. With 0 it goes on to the end of the budget (or `max_steps`) and
        returns the nearest.
    pool : (images, classes), optional
        Where to start: images of other classes, or of the target's. None: uniform noise.
    starts : int
        Candidates among which the start is chosen (1,000 untargeted and 100 targeted in the released code).
    vectors : int
        Random vectors a step.
    beta : float
        Length of the differences' step; theta has length one.
    alpha : float
        Step down the gradient at the start; doubled while it helps, else quartered.
    tries : int
        Doublings, and quarterings, at most in a step.
    least_alpha : float
        Below it alpha is 1 again and `beta` a tenth.
    expand : float
        First move, as a share of the distance, in the search for the border; doubled until the border is passed.
    tolerance : float
        Where the search ends, as a share of `beta`.
    max_steps : int
    """

    l2_goal: float = 0.0
    pool: Pool | None = field(default=None, repr=False, compare=False)
    starts: int = 100
    vectors: int = 10
    beta: float = 1e-3
    alpha: float = 0.2
    tries: int = 15
    least_alpha: float = 1e-4
    expand: float = 0.01
    tolerance: float = 1 / 500
    max_steps: int = 1000

    def __call__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        *,
        seed: int = 0,
        ids: Sequence[int] | None = None,
    ) -> AttackResult:
        check_pool(self.pool, images)
        label = HardLabel(victim, images, goal, l2_goal=self.l2_goal, seed=seed, ids=ids)
        start(label, self.pool, self.starts)
        label.forget_unstarted()
        alpha = torch.full_like(label.distance, self.alpha)
        beta = torch.full_like(label.distance, self.beta)
        for label.step in range(1, self.max_steps + 1):
            if not len(label.run.live):
                break
            live, theta, g, slope = self._slope(label, beta)
            self._descend(label, live, theta, g, slope, alpha, beta)
            small = label.run.live[alpha[label.run.live] < self.least_alpha]
            alpha[small], beta[small] = 1.0, beta[small] / 10
            label.note()
        return label.result()

    def _slope(self, label: HardLabel, beta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Who is alive, the current directions and distances, and the estimated gradients of g there."""
        live, k = label.run.live, self.vectors
        theta = _unit((label.nearest - label.run.clean)[live])
        size = theta[0].numel()
        drawn = label.run.streams.directions(live, k, size).view(len(live), k, *theta.shape[1:])
        step = _shaped(beta[live], drawn)
        # The current direction is searched along with the others, so that all distances are equally precise.
        around = torch.cat((theta[:, None], theta[:, None] + step * drawn), dim=1).flatten(0, 1)
        owner = live.repeat_interleave(k + 1)
        found = border(
            label, _unit(around), owner, label.distance[owner], self.expand, self.tolerance * beta[owner]
        )
        found = found.view(len(live), k + 1)
        kept = torch.isin(live, label.run.live)
        live, theta, drawn, found = live[kept], theta[kept], drawn[kept], found[kept]
        rise = (found[:, 1:] - found[:, :1]) / beta[live, None]
        rise = rise.where(rise.isfinite(), 0)
        return live, theta, found[:, 0], (_shaped(rise, drawn) * drawn).mean(1)

    def _descend(self, label, live, theta, g, slope, alpha, beta) -> None:
        """Line search: `label` keeps the nearest adversarial, `alpha` is adapted in place."""
        improved = torch.zeros_like(live, dtype=torch.bool)
        for factor, last in ((2.0, False), (0.25, True)):
            rows = (~improved).nonzero().squeeze(1)
            for _ in range(self.tries):
                if last:
                    alpha[live[rows]] *= factor
                rows = rows[torch.isin(live[rows], label.run.live)]
                if not len(rows):
                    break
                owner = live[rows]
                moved = theta[rows] - _shaped(alpha[owner], theta) * slope[rows]
                better = self._try(label, _unit(moved), owner, self.tolerance * beta[owner])
                improved[rows] |= better
                if not last:
                    alpha[owner[better]] *= factor
                rows = rows[~better if last else better]

    def _try(self, label: HardLabel, direction: Tensor, owner: Tensor, tolerance: Tensor) -> Tensor:
        """Whether the border is nearer along a direction than the nearest adversarial; then it is searched for."""
        before = label.distance[owner]
        fooled, alive = label.fooled(along(label.run.clean[owner], direction, before - tolerance), owner)
        go = fooled & alive
        border(
            label,
            direction[go],
            owner[go],
            before[go] - tolerance[go],
            self.expand,
            tolerance[go],
            known=True,
        )
        return label.distance[owner] < before


def border(
    label: HardLabel,
    direction: Tensor,
    owner: Tensor,
    guess: Tensor,
    expand: float,
    tolerance: Tensor,
    known: bool = False,
) -> Tensor:
    """Distance of the border along directions, near a guess; searched in lock-step.

    Parameters
    ----------
    label : HardLabel
    direction : Tensor, shape (n, ...)
    owner : Tensor of int64, shape (n,)
    guess : Tensor of float64, shape (n,)
    expand : float
        First move as a share of the guess.
    tolerance : Tensor of float64, shape (n,)
        Width at which the search ends.
    known : bool
        The guesses are known to be adversarial.

    Returns
    -------
    Tensor of float64, shape (n,)
        Infinite where there is no border within four times the guess, or the owner left the attack.
    """
    clean = label.run.clean
    if known:
        inwards, alive = torch.ones_like(owner, dtype=torch.bool), torch.ones_like(owner, dtype=torch.bool)
    else:
        inwards, alive = label.fooled(along(clean[owner], direction, guess), owner)
    inner, outer, width = guess.clone(), guess.where(alive, torch.inf), expand * guess
    rows = alive.nonzero().squeeze(1)
    while len(rows):
        far = torch.where(inwards[rows], outer[rows] - width[rows], inner[rows] + width[rows]).clamp(min=0)
        fooled, alive = label.fooled(along(clean[owner[rows]], direction[rows], far), owner[rows])
        outer[rows] = torch.where(fooled, far, outer[rows])
        inner[rows] = torch.where(fooled, inner[rows], far)
        width[rows] *= 2
        lost = ~alive | (~fooled & ~inwards[rows] & (far > 4 * guess[rows]))
        outer[rows[lost]] = torch.inf
        rows = rows[~lost & (fooled == inwards[rows])]
    return bisect(label, direction, owner, inner, outer, tolerance)


def _unit(directions: Tensor) -> Tensor:
    return directions / _shaped(directions.flatten(1).norm(dim=1), directions)


def _shaped(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(*values.shape, *[1] * (like.ndim - values.ndim))
