"""What attacks share that see nothing of an answer but the class (thesis, section 2.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from thesislib.blackbox import AttackResult, Attempt, Goal, Victim

Pool = tuple[Tensor, Tensor]
"""Images, shape (n, ...), and their classes, int64, shape (n,): where attacks look for a start."""


class HardLabel:
    """An attempt that is told only whether a query reaches the goal, and keeps the nearest that does.

    An image leaves the attack once an adversarial within `l2_goal` is known, or when it cannot pay for its
    next queries. The loss that its trace shows is the distance of the nearest adversarial, infinite before the
    first.

    Parameters
    ----------
    victim, images, goal, seed, ids
        As for :class:`~thesislib.blackbox.attempt.Attempt`.
    l2_goal : float
        Distance at which the attack has succeeded. With 0 it ends with the budget, and any adversarial is a
        success.

    Attributes
    ----------
    nearest : Tensor, shape (n, ...)
        Nearest adversarial of each image, at first the image itself.
    distance : Tensor of float64, shape (n,)
        Its L2 distance, infinite where none is known.
    step : int
        Of the attack's loop, which sets it.
    """

    def __init__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        *,
        l2_goal: float,
        seed: int = 0,
        ids: Sequence[int] | None = None,
    ) -> None:
        self.run = Attempt(victim, images, goal, seed=seed, ids=ids, cost=1, objective=_unknown)
        self.nearest, self.l2_goal, self.step = images.clone(), l2_goal, 0
        self.distance = self.run.loss
        self._predicted = torch.zeros_like(self.run.meter.counts)

    def fooled(self, images: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """Query images, several of one owner if need be.

        Parameters
        ----------
        images : Tensor, shape (n, ...)
        owner : Tensor of int64, shape (n,)
            Number of the attacked image behind each.

        Returns
        -------
        fooled : Tensor of bool, shape (n,)
            Whether each reaches the goal. False where it was not asked.
        alive : Tensor of bool, shape (n,)
            Whether its owner is under attack still. An owner that cannot pay for all its queries leaves unasked.
        """
        run = self.run
        cost = torch.bincount(owner, minlength=len(run.clean))
        run.affordable(cost[run.live])
        asked = self._alive(owner)
        fooled = torch.zeros_like(asked)
        if asked.any():
            answer = run.meter.ask(images[asked], owner[asked])
            fooled[asked] = run.goal[owner[asked]].reached(answer)
            self._keep(images[fooled], owner[fooled], answer.argmax(1)[fooled[asked]])
        return fooled, self._alive(owner)

    def forget_unstarted(self) -> None:
        """Images without any adversarial leave the attack."""
        self.run.live = self.run.live[self.distance[self.run.live].isfinite()]

    def note(self) -> None:
        """End of a step: the trace gets a line."""
        self._record(torch.zeros_like(self.run.live, dtype=torch.bool))
        self.run.note(self.step)

    def result(self) -> AttackResult:
        """What came out."""
        result = self.run.result()
        if self.l2_goal > 0:
            return result
        found = self.distance.isfinite()
        predicted = torch.where(found, self._predicted, result.predicted)
        return replace(result, adversarial=self.nearest, success=found, predicted=predicted)

    def _alive(self, owner: Tensor) -> Tensor:
        alive = torch.zeros(len(self.run.clean), dtype=torch.bool, device=owner.device)
        alive[self.run.live] = True
        return alive[owner]

    def _keep(self, images: Tensor, owner: Tensor, predicted: Tensor) -> None:
        """Keep the nearest of adversarials just found, and end the attack where it is near enough."""
        distance = (images - self.run.clean[owner]).flatten(1).double().norm(dim=1)
        least = self.distance.scatter_reduce(0, owner, distance, "amin")
        better = (distance == least[owner]) & (distance < self.distance[owner])
        self.distance[owner[better]] = distance[better]
        self.nearest[owner[better]], self._predicted[owner[better]] = images[better], predicted[better]
        hit = self.distance[self.run.live] <= self.l2_goal
        if hit.any():
            self._record(hit)
            self.run.live = self.run.live[~hit]

    def _record(self, hit: Tensor) -> None:
        live = self.run.live
        self.run.record(self.nearest[live], hit, self._predicted[live], self.step)


def start(label: HardLabel, pool: Pool | None, starts: int, tolerance: float = 1e-3) -> None:
    """Look for a first adversarial on the lines from each image to others; the nearest is kept in `label`.

    Candidates are images of the pool that bear another class, or the target's; without a pool, uniform noise.
    Each costs a query at the distance of the nearest adversarial so far, and only where that is adversarial too
    the border is searched for.

    Parameters
    ----------
    label : HardLabel
    pool : (images, classes), optional
    starts : int
        Candidates of each image; fewer if the pool has not as many.
    tolerance : float
        Distance at which the search for the border ends.

    Raises
    ------
    ValueError
        If the pool has other shapes than the images, or no image of a class that is needed.
    """
    run = label.run
    check_pool(pool, run.clean)
    choices = None if pool is None else _choices(run, pool, starts)
    for number in range(starts):
        owner = run.live
        if choices is None:
            ends = torch.special.ndtr(run.streams.normal(owner, run.clean.shape[1:]))  # uniform
        else:
            rows = [row for row in owner.tolist() if number < len(choices[row])]
            owner = torch.tensor(rows, dtype=torch.int64, device=run.clean.device)
            ends = pool[0][[choices[row][number] for row in rows]]
        if not len(owner):
            break
        line = ends - run.clean[owner]
        reach = line.flatten(1).double().norm(dim=1)
        direction = line / shaped(reach.clamp(min=1e-12), line)  # an end may be the image itself
        high = reach.minimum(label.distance[owner])
        fooled, alive = label.fooled(along(run.clean[owner], direction, high), owner)
        go = fooled & alive
        bisect(label, direction[go], owner[go], torch.zeros_like(high[go]), high[go], tolerance)


def bisect(
    label: HardLabel, direction: Tensor, owner: Tensor, low: Tensor, high: Tensor, tolerance: float | Tensor
) -> Tensor:
    """Distance of the border along directions, found in lock-step, one query a direction and round.

    Parameters
    ----------
    label : HardLabel
    direction : Tensor, shape (n, ...)
    owner : Tensor of int64, shape (n,)
    low, high : Tensor of float64, shape (n,)
        Distances that are not and that are adversarial.
    tolerance : float
        Ends once `low` and `high` are so near.

    Returns
    -------
    Tensor of float64, shape (n,)
        The last `high`; infinite where the owner left the attack.
    """
    low, high = low.clone(), high.clone()
    while len(open_ := (high.isfinite() & (high - low > tolerance)).nonzero().squeeze(1)):
        middle = (low[open_] + high[open_]) / 2
        fooled, alive = label.fooled(
            along(label.run.clean[owner[open_]], direction[open_], middle), owner[open_]
        )
        high[open_] = torch.where(fooled, middle, high[open_]).where(alive, torch.inf)
        low[open_] = torch.where(fooled, low[open_], middle)
    return high


def along(clean: Tensor, direction: Tensor, distance: Tensor) -> Tensor:
    """Images at a distance along directions, clipped to [0, 1].

    Parameters
    ----------
    clean, direction : Tensor, shape (n, ...)
    """
    return (clean + shaped(distance, clean) * direction).clamp(0, 1)


def shaped(values: Tensor, like: Tensor) -> Tensor:
    """Numbers, one for each of the first axes of `like`, so that they multiply it.

    Parameters
    ----------
    values : Tensor, shape (n,)
    """
    return values.to(like.dtype).view(*values.shape, *[1] * (like.ndim - values.ndim))


def check_pool(pool: Pool | None, images: Tensor) -> None:
    """Refuse a pool that does not suit the images.

    Raises
    ------
    ValueError
        Saying what does not.
    """
    if pool is None:
        return
    if not (isinstance(pool, tuple | list) and len(pool) == 2 and all(isinstance(p, Tensor) for p in pool)):
        raise ValueError(f"pool is {type(pool).__name__}, expected images and their classes, two tensors")
    candidates, classes = pool
    if candidates.shape[1:] != images.shape[1:] or candidates.dtype != images.dtype:
        raise ValueError(
            f"the pool holds {candidates.dtype} images of shape {tuple(candidates.shape[1:])}, attacked are "
            f"{images.dtype} ones of shape {tuple(images.shape[1:])}"
        )
    if classes.shape != candidates.shape[:1]:
        raise ValueError(f"{tuple(classes.shape)} classes for {len(candidates)} images of the pool")
    if len(candidates) and not (candidates.min() >= 0 and candidates.max() <= 1):
        raise ValueError("images of the pool leave [0, 1]")


def _choices(run: Attempt, pool: Pool, starts: int) -> dict[int, list[int]]:
    """Which of the pool each image under attack starts from, drawn from its stream."""
    classes, found = pool[1], {}
    for row in run.live:
        goal = run.goal[row.view(1)]
        suits = classes != goal.labels if goal.targets is None else classes == goal.targets
        suits = suits.nonzero().squeeze(1)
        if not len(suits):
            wanted = f"but {int(goal.labels)}" if goal.targets is None else f"{int(goal.targets)}"
            raise ValueError(f"the pool has no image of class {wanted}")
        chosen = run.streams.coordinates(row.view(1), len(suits), starts)[0]
        found[int(row)] = suits[chosen].tolist()
    return found


def _unknown(logp: Tensor, goal: Goal) -> Tensor:
    return torch.full((len(logp),), torch.inf, dtype=torch.float64, device=logp.device)
