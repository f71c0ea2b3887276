"""Opt-attack: zeroth-order descent on the distance of the border (Cheng et al. 2019; thesis, section 2.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real

import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Goal, Victim
from thesislib.blackbox.attempt import admitted, iterations, positive_fields, whole_fields
from thesislib.meta_attack.hard_label import HardLabel, Pool, along, bisect, check_pool, shaped, start


@dataclass(frozen=True)
class OptAttack:
    """Minimise g(theta), the distance of the border along the direction theta; sees classes only.

    A step estimates the gradient of g by differences along random vectors, each of which takes a search for
    the border, and goes down that gradient as far as it helps. All queries of the searches count. Whatever
    adversarial is nearest, on the way down or at the end of a random vector, is where the next step begins.

    Searches are bracketed and ended more coarsely than in the released code, whose values are given below: the
    same distances for half the queries.

    Attributes
    ----------
    l2_goal : float
        The attack ends at an adversarial so near. With 0 it goes on to the end of the budget or to `max_steps`
        and returns the nearest.
    pool : (images, classes), optional
        Where to start: images of other classes, or of the target's. None: uniform noise.
    starts : int
        Candidates among which the start is chosen (1,000 untargeted and 100 targeted in the released code).
    vectors : int
        Random vectors a step.
    beta : float
        Length of the differences' step; theta has length one (0.001).
    alpha : float
        Step down the gradient at the start; doubled while it helps, else quartered.
    tries : int
        Doublings, and quarterings, at most in a step.
    least_alpha : float
        Below it alpha is 1 again and `beta` a tenth, down to a hundredth of the first.
    expand : float
        First move, as a share of the distance, in the search for the border (0.01); doubled until the border is
        passed.
    tolerance : float
        Where the search ends, as a share of `beta` (0.002).
    max_steps : int, optional
        None: until the budget is spent; 1,000 where the victim has none.
    """

    l2_goal: float = 0.0
    pool: Pool | None = field(default=None, repr=False, compare=False)
    starts: int = 100
    vectors: int = 10
    beta: float = 0.01
    alpha: float = 0.2
    tries: int = 15
    least_alpha: float = 1e-4
    expand: float = 1e-3
    tolerance: float = 0.05
    max_steps: int | None = None

    def __post_init__(self) -> None:
        positive_fields(self, "beta", "alpha", "least_alpha", "expand", "tolerance")
        whole_fields(self, 1, "starts", "vectors", "tries")
        whole_fields(self, 0, "max_steps")
        if not (isinstance(self.l2_goal, Real) and self.l2_goal >= 0):
            raise ValueError(f"l2_goal = {self.l2_goal!r}, expected a distance, or 0 for the nearest")

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
            Also if the pool does not suit the images, or has no image of a class that is needed.
        """
        images = admitted(victim, images, goal)
        check_pool(self.pool, images)
        label = HardLabel(victim, images, goal, l2_goal=self.l2_goal, seed=seed, ids=ids)
        start(label, self.pool, self.starts, tolerance=self.tolerance * self.beta)
        label.forget_unstarted()
        alpha = torch.full_like(label.distance, self.alpha)
        beta = torch.full_like(label.distance, self.beta)
        for label.step in iterations(self.max_steps, victim, 1000):
            if not len(label.run.live):
                break
            live, theta, slope = self._slope(label, beta)
            self._descend(label, live, theta, slope, alpha, beta)
            small = live[alpha[live] < self.least_alpha]
            alpha[small], beta[small] = 1.0, (beta[small] / 10).clamp(min=self.beta / 100)
            label.note()
        return label.result()

    def _slope(self, label: HardLabel, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Who is under attack, the current directions, and the estimated gradients of g there."""
        live, k = label.run.live, self.vectors
        theta, g = _unit((label.nearest - label.run.clean)[live]), label.distance[live]
        drawn = label.run.streams.directions(live, k, theta[0].numel()).view(len(live), k, *theta.shape[1:])
        around = _unit((theta[:, None] + shaped(beta[live], drawn) * drawn).flatten(0, 1))
        owner = live.repeat_interleave(k)
        found = border(
            label, around, owner, g.repeat_interleave(k), self.expand, self.tolerance * beta[owner]
        )
        rise = (found.view(-1, k) - g[:, None]) / beta[live, None]
        rise = rise.where(rise.isfinite(), 0)  # no border that way, or the attack has ended
        return live, theta, (shaped(rise, drawn) * drawn).mean(1)

    def _descend(
        self, label: HardLabel, live: Tensor, theta: Tensor, slope: Tensor, alpha: Tensor, beta: Tensor
    ) -> None:
        """Line search: `label` keeps the nearest adversarial, `alpha` is adapted in place."""

        def helps(rows: Tensor) -> Tensor:
            owner = live[rows]
            moved = _unit(theta[rows] - shaped(alpha[owner], theta) * slope[rows])
            return self._nearer(label, moved, owner, self.tolerance * beta[owner])

        rows, stuck = torch.arange(len(live), device=live.device), torch.ones_like(live, dtype=torch.bool)
        for _ in range(self.tries):
            rows = rows[helps(rows)]
            stuck[rows] = False
            alpha[live[rows]] *= 2
        rows = stuck.nonzero().squeeze(1)
        for _ in range(self.tries):
            alpha[live[rows]] /= 4
            rows = rows[~helps(rows)]

    def _nearer(self, label: HardLabel, direction: Tensor, owner: Tensor, tolerance: Tensor) -> Tensor:
        """Whether the border is nearer along a direction than anything known; if so it is searched for."""
        guess = label.distance[owner] - tolerance
        fooled, alive = label.fooled(along(label.run.clean[owner], direction, guess), owner)
        go = fooled & alive
        border(label, direction[go], owner[go], guess[go], self.expand, tolerance[go], known=True)
        return fooled


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
    return directions / shaped(directions.flatten(1).norm(dim=1), directions)
