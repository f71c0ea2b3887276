"""One attack on a batch of images: who is still under attack, what it cost, what came out.

Thesis, sections 2.3.1 and 3.3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from thesislib.blackbox.goals import Goal, Objective, hinge
from thesislib.blackbox.streams import Streams
from thesislib.blackbox.victim import Victim

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack did to each of n images.

    Attributes
    ----------
    clean, adversarial : Tensor, shape (n, ...)
        The images before and after; an image that was not fooled, or skipped, comes back clean.
    success : Tensor of bool, shape (n,)
        Whether the goal was reached within the budget.
    skipped : Tensor of bool, shape (n,)
        Images that the victim misclassifies as they are. They cost one query and belong in no average.
    queries : Tensor of int64, shape (n,)
        Exact number of queries up to the success, or all that were spent.
    steps : Tensor of int64, shape (n,)
        Iterations up to the success, or all that were made.
    predicted : Tensor of int64, shape (n,)
        Class of the image that comes back; of a failure or a skipped one, of the clean image.
    spent : Tensor of int64, shape (n,)
        All queries: more than `queries` where an attack went on after its success.
    history : tuple of (step, rows, queries, loss)
        Loss of the images under attack after each step; :meth:`trace` makes a frame of it.
    """

    clean: Tensor
    adversarial: Tensor
    success: Tensor
    skipped: Tensor
    queries: Tensor
    steps: Tensor
    predicted: Tensor
    spent: Tensor
    history: tuple[tuple[int, Tensor, Tensor, Tensor], ...]

    @property
    def l2(self) -> Tensor:
        """Euclidean norm of the perturbation, shape (n,)."""
        return (self.adversarial - self.clean).flatten(1).norm(dim=1)

    @property
    def linf(self) -> Tensor:
        """Largest change of a pixel, shape (n,)."""
        return (self.adversarial - self.clean).flatten(1).abs().amax(1)

    def to_frame(self) -> pd.DataFrame:
        """One row an image: ``image``, ``success``, ``skipped``, ``l2``, ``linf``, ``queries``, ``steps``,
        ``predicted``."""
        import pandas as pd

        columns = ("success", "skipped", "l2", "linf", "queries", "steps", "predicted")
        values = {name: getattr(self, name).cpu().numpy() for name in columns}
        return pd.DataFrame({"image": range(len(self.success)), **values})

    def trace(self) -> pd.DataFrame:
        """One row an image and step: ``image``, ``step``, ``queries``, ``loss``."""
        import pandas as pd

        parts = [
            pd.DataFrame(
                {"image": rows.tolist(), "step": step, "queries": queries.tolist(), "loss": loss.tolist()}
            )
            for step, rows, queries, loss in self.history
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


class Attempt:
    """The bookkeeping of one attack; an attack's loop is written around it.

    On construction every clean image is queried once. Those misclassified as they are, are skipped.

    Parameters
    ----------
    victim : Victim
    images : Tensor of float, shape (n, ...)
        Values in [0, 1]. Never modified.
    goal : Goal
        For n images.
    seed : int
        Root of the random streams.
    ids : sequence of int, optional
        Number of each image in its data set, by default 0 to n - 1; an image's stream depends on it.
    cost : int
        Queries of one step, the clean image apart; a budget that does not cover one step is refused.
    objective : Objective
        Loss to minimise.

    Raises
    ------
    ValueError
        If the images are not as described, are not as many as goals, or the budget is too small.
    """

    def __init__(
        self,
        victim: Victim,
        images: Tensor,
        goal: Goal,
        *,
        seed: int = 0,
        ids: Sequence[int] | None = None,
        cost: int = 1,
        objective: Objective = hinge,
    ) -> None:
        _check_images(images)
        if len(goal) != len(images):
            raise ValueError(f"{len(goal)} goals for {len(images)} images")
        ids = range(len(images)) if ids is None else [int(number) for number in ids]
        if len(ids) != len(images):
            raise ValueError(f"{len(ids)} ids for {len(images)} images")
        if victim.budget is not None and victim.budget < 1 + cost:
            raise ValueError(
                f"budget = {victim.budget} queries an image, but one step costs {cost} and the clean image 1"
            )
        self.clean, self.goal, self.objective = images, goal, objective
        self.meter = victim.open(images)
        self.streams = Streams(seed, ids, device=images.device, dtype=images.dtype)
        self.live = everyone = torch.arange(len(images), device=images.device)
        self._best = images.clone()
        self._success = torch.zeros_like(everyone, dtype=torch.bool)
        self._queries, self._steps = torch.zeros_like(everyone), torch.zeros_like(everyone)
        self._history: list[tuple[int, Tensor, Tensor, Tensor]] = []
        if not len(images):
            self._predicted, self._skipped = everyone, self._success
            self.loss = torch.zeros(0, dtype=torch.float64)
            return
        logp = self.meter.ask(images, everyone)
        goal.check_classes(logp.shape[1])
        self._predicted = logp.argmax(1)
        self._skipped = self._predicted != goal.labels
        self.live = everyone[~self._skipped]
        self.loss = objective(logp, goal)
        self.note(0)

    def ask(self, images: Tensor, owner: Tensor) -> Tensor:
        """Losses of query images, shape (n,), counted for their owners; no success is looked for.

        Parameters
        ----------
        images : Tensor, shape (n, ...)
        owner : Tensor of int64, shape (n,)
            Number of the attacked image behind each query.
        """
        return self.objective(self.meter.ask(images, owner), self.goal[owner])

    def affordable(self, cost: int | Tensor) -> Tensor:
        """The images still under attack that can pay for `cost` more queries; the others end here.

        A tensor holds the cost of each that is under attack.
        """
        self.live = self.live[self.meter.left()[self.live] >= cost]
        return self.live

    def check(self, images: Tensor, step: int, *, stop: bool = True) -> Tensor:
        """Query the current image of everyone under attack; record who has reached the goal.

        Parameters
        ----------
        images : Tensor, shape (len(live), ...)
        step : int
            Number of steps made, 1 after the first.
        stop : bool
            Whether who has reached the goal leaves the attack. Else it goes on, and of its successes the one
            nearest to the clean image comes back; `queries` stays that of the first.

        Returns
        -------
        Tensor of bool, shape (len(live) before the call,)
            Who has reached the goal now.
        """
        live = self.live
        if not len(live):
            return torch.zeros(0, dtype=torch.bool, device=images.device)
        logp = self.meter.ask(images, live)
        self.loss[live] = self.objective(logp, self.goal[live])
        hit = self.goal[live].reached(logp)
        self.record(images, hit, logp.argmax(1), step)
        self.note(step)
        if stop:
            self.live = live[~hit]
        return hit

    def record(self, images: Tensor, hit: Tensor, predicted: Tensor, step: int) -> None:
        """Keep the images of `live` for which `hit` is true, where they are nearer than what is kept.

        Parameters
        ----------
        images : Tensor, shape (len(live), ...)
        hit : Tensor of bool, shape (len(live),)
        predicted : Tensor of int64, shape (len(live),)
            Class that the victim gives each.
        step : int
        """
        live, counts = self.live, self.meter.counts
        fresh = ~self._success[live]
        self._steps[live[fresh]] = step
        first = live[hit & fresh]
        self._queries[first] = counts[first]
        distance = (images - self.clean[live]).flatten(1).norm(dim=1)
        kept = (self._best[live] - self.clean[live]).flatten(1).norm(dim=1)
        better = hit & (fresh | (distance < kept))
        self._best[live[better]], self._predicted[live[better]] = images[better], predicted[better]
        self._success[live[hit]] = True

    def result(self) -> AttackResult:
        """What came out."""
        spent = self.meter.counts
        queries = torch.where(self._success, self._queries, spent)
        return AttackResult(
            clean=self.clean,
            adversarial=self._best,
            success=self._success,
            skipped=self._skipped,
            queries=queries,
            steps=self._steps,
            predicted=self._predicted,
            spent=spent,
            history=tuple(self._history),
        )

    def note(self, step: int) -> None:
        """Add the queries and losses of everyone under attack to the history; `check` does so by itself."""
        rows = self.live
        self._history.append((step, rows, self.meter.counts[rows], self.loss[rows]))


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        found = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images are {found}, expected a floating-point tensor with values in [0, 1]")
    if images.ndim < 2:
        raise ValueError(f"images have shape {tuple(images.shape)}, expected (n, ...)")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"images reach from {low:.4g} to {high:.4g}, expected values in [0, 1]")
