"""The boundary attack: a random walk along a class's border (Brendel et al. 2018; thesis, section 2.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real

import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Goal, Victim
from thesislib.blackbox.attempt import admitted, iterations, positive_fields, whole_fields
from thesislib.meta_attack.hard_label import HardLabel, Pool, check_pool, start


@dataclass(frozen=True)
class DecisionBoundary:
    """Start from an adversarial and walk along the border towards the clean image; sees classes only.

    A proposal goes sideways on the sphere around the clean image, then inwards; it is taken if adversarial.
    Both steps are adapted to their success, as in the original. A step costs one query, every `look`-th two: the
    point on the sphere is asked too.

    Attributes
    ----------
    l2_goal : float
        The attack ends at an adversarial so near. With 0 it goes on to the end of the budget or to `max_steps`
        and returns the nearest.
    pool : (images, classes), optional
        Where to start: images of other classes, or of the target's. None: uniform noise.
    starts : int
        Candidates among which the start is chosen; their queries count.
    sideways, inwards : float
        Lengths of the two steps at the start, as shares of the distance.
    look : int
        Steps between two looks at the sphere.
    window_sideways, window_inwards : int
        Answers after which a step is adapted.
    factor : float
        By which a step grows or shrinks.
    max_steps : int, optional
        None: until the budget is spent; 100,000 where the victim has none.
    """

    l2_goal: float = 0.0
    pool: Pool | None = field(default=None, repr=False, compare=False)
    starts: int = 100
    sideways: float = 0.01
    inwards: float = 0.01
    look: int = 5
    window_sideways: int = 20
    window_inwards: int = 30
    factor: float = 1.5
    max_steps: int | None = None

    def __post_init__(self) -> None:
        whole_fields(self, 1, "starts", "look", "window_sideways", "window_inwards")
        whole_fields(self, 0, "max_steps")
        positive_fields(self, "sideways", "inwards", "factor")
        if self.inwards >= 1 or self.factor <= 1:
            raise ValueError(
                f"sideways = {self.sideways}, inwards = {self.inwards}, factor = {self.factor}; expected above 0, "
                "within (0, 1), above 1"
            )
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
        start(label, self.pool, self.starts)
        label.forget_unstarted()
        sideways = _Step(label.distance, self.sideways, self.factor, self.window_sideways, 0.2, 0.5)
        inwards = _Step(label.distance, self.inwards, self.factor, self.window_inwards, 0.1, 0.25)
        for label.step in iterations(self.max_steps, victim, 100_000):
            live = label.run.live
            if not len(live):
                break
            points = self._proposals(label, live, sideways.size[live], inwards.size[live])
            asked = 2 if label.step % self.look == 0 else 1
            fooled, alive = label.fooled(torch.cat(points[:asked]), live.repeat(asked))
            parts = zip((inwards, sideways), fooled.chunk(asked), alive.chunk(asked), strict=False)
            for step, success, there in parts:
                step.learn(live[there], success[there])
            label.note()
        return label.result()

    def _proposals(
        self, label: HardLabel, live: Tensor, sideways: Tensor, inwards: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Proposals inwards of random points on the sphere through the nearest adversarial, and these points."""
        clean, shape = label.run.clean[live].flatten(1), label.nearest[live].shape
        line = label.nearest[live].flatten(1) - clean
        distance = line.norm(dim=1, keepdim=True)
        unit = line / distance
        away = label.run.streams.normal(live, unit.shape[1:])
        away = away - (away * unit).sum(1, keepdim=True) * unit
        # One pixel has no sideways; zero divided by the least number stays zero.
        away = away / away.norm(dim=1, keepdim=True).clamp(min=torch.finfo(away.dtype).tiny)
        share = sideways.to(line.dtype)[:, None]
        sphere = (clean + distance * (unit + share * away) / (1 + share**2).sqrt()).clamp(0, 1)
        proposal = clean + (1 - inwards.to(line.dtype)[:, None]) * (sphere - clean)
        return proposal.clamp(0, 1).view(shape), sphere.view(shape)


class _Step:
    """A relative step of each image, kept where between `low` and `high` of its uses succeed."""

    def __init__(
        self, like: Tensor, size: float, factor: float, window: int, low: float, high: float
    ) -> None:
        self.size = torch.full_like(like, size)
        self.factor, self.window, self.low, self.high = factor, window, low, high
        self.uses, self.successes = torch.zeros_like(like), torch.zeros_like(like)

    def learn(self, rows: Tensor, success: Tensor) -> None:
        self.uses[rows] += 1
        self.successes[rows] += success
        full = rows[self.uses[rows] >= self.window]
        rate = self.successes[full] / self.uses[full]
        self.size[full[rate > self.high]] *= self.factor
        self.size[full[rate < self.low]] /= self.factor
        self.size.clamp_(max=0.5)  # the whole way inwards would be the clean image
        self.uses[full] = self.successes[full] = 0
