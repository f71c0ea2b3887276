"""One attack on a batch of images: who is still under attack, what it cost, what came out.

Thesis, sections 2.3.1 and 3.3.1.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from thesislib.blackbox.goals import Goal, Objective, hinge
from thesislib.blackbox.streams import Streams
from thesislib.blackbox.victim import Victim, is_whole, layout_hint

if TYPE_CHECKING:
    import pandas as pd


MANY = 10
"""Images of which a victim that has learnt their classes has one right."""
SMALLEST = 1e-6
"""The least step between two probes: less is lost beside pixels in single precision."""


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
    images : Tensor of float32 or float64, shape (n, ...)
        Values in [0, 1]. Never modified.
    goal : Goal
        For n images.
    seed : int
        Root of the random streams, from 0.
    ids : sequence of int, optional
        Number of each image in its data set, from 0, by default 0 to n - 1; an image's stream depends on it.
    cost : int
        Queries of one step, the clean image apart; a budget that does not cover one step is refused.
    objective : Objective
        Loss to minimise.

    Raises
    ------
    ValueError
        If an argument is not as described, images are not as many as goals, the budget is too small, or the model
        fails on the clean images.

    Warns
    -----
    UserWarning
        If the victim has none of ten images or more right.
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
        images, ids = admitted(victim, images, goal), numbers(ids, len(images))
        if not is_whole(seed) or seed < 0:
            raise ValueError(f"seed = {seed!r}, expected a whole number from 0")
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
        if len(images) >= MANY and self._skipped.all():
            warnings.warn(
                f"the victim has none of {len(images)} images right, so that none is attacked; do the labels number "
                "the classes as the model does?",
                stacklevel=3,
            )
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
        live, counts, images = self.live, self.meter.counts, images.detach()
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


def admitted(victim: Victim, images: Tensor, goal: Goal) -> Tensor:
    """The images as an attack may work on them, cut off from any graph; what cannot be attacked is refused.

    The first line of an attack that looks at its arguments before it makes an :class:`Attempt`, which calls this too.

    Parameters
    ----------
    victim, images, goal
        As for :class:`Attempt`.

    Raises
    ------
    ValueError
        Naming the argument, what it is and what would do.
    """
    if not isinstance(victim, Victim):
        raise ValueError(
            f"victim is {type(victim).__name__}, expected a Victim; Victim(model) makes one of a model"
        )
    return admitted_images(images, goal)


def admitted_images(images: Tensor, goal: Goal) -> Tensor:
    """The same where there is no victim.

    Parameters
    ----------
    images, goal
        As for :class:`Attempt`.

    Raises
    ------
    ValueError
        As :func:`admitted`.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        found = images.dtype if isinstance(images, Tensor) else type(images).__name__
        advice = "" if isinstance(images, Tensor) else "; torch.as_tensor(images) makes one"
        raise ValueError(
            f"images are {found}, expected a floating-point tensor with values in [0, 1]{advice}"
        )
    if images.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"images are {images.dtype}, expected float32 or float64; differences of 1e-4 vanish in it"
        )
    if images.ndim < 2:
        raise ValueError(f"images have shape {tuple(images.shape)}, expected (n, ...)")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"images reach from {low:.4g} to {high:.4g}, expected values in [0, 1]")
    if not isinstance(goal, Goal):
        raise ValueError(f"goal is {type(goal).__name__}, expected a Goal; Goal(labels) makes one of labels")
    if len(goal) != len(images):
        raise ValueError(f"{len(goal)} goals for {len(images)} images{layout_hint(images)}")
    return images.detach() if images.requires_grad else images


def numbers(ids: Sequence[int] | None, count: int) -> list[int]:
    """The images' numbers in their data set as a list.

    Parameters
    ----------
    ids : sequence of int or tensor of them, optional
        As for :class:`Attempt`.
    count : int
        Images.

    Raises
    ------
    ValueError
        If they are no whole numbers from 0, or not as many.
    """
    if ids is None:
        return list(range(count))
    if not isinstance(ids, Iterable) or isinstance(ids, str):
        raise ValueError(f"ids are {type(ids).__name__}, expected a whole number from 0 for each image")
    found = ids.tolist() if isinstance(ids, Tensor) else list(ids)
    if len(found) != count:
        raise ValueError(f"{len(found)} ids for {count} images")
    for number in found:
        if not is_whole(number) or number < 0:
            raise ValueError(f"ids hold {number!r}, expected a whole number from 0 for each image")
    return [int(number) for number in found]


def positive_fields(attack: object, *names: str, probing: bool = False) -> None:
    """Refuse fields of an attack that are no positive finite numbers; None passes where it is the default.

    Parameters
    ----------
    attack : dataclass
    names : str
        Of the fields.
    probing : bool
        Whether they are steps between probes, of which one below :data:`SMALLEST` changes no pixel.

    Raises
    ------
    ValueError
        Naming the field.
    """
    for name in names:
        value = getattr(attack, name)
        if _default(attack, name):
            continue
        if not (isinstance(value, Real) and 0 < value < math.inf):
            raise ValueError(f"{name} = {value!r}, expected more than 0 and finite")
        if probing and value < SMALLEST:
            raise ValueError(
                f"{name} = {value!r}, expected at least {SMALLEST:g}: less is lost in single precision"
            )


def whole_fields(attack: object, least: int, *names: str) -> None:
    """Refuse fields of an attack that are no whole numbers or below the least; None passes where it is the default.

    Parameters
    ----------
    attack : dataclass
    least : int
    names : str
        Of the fields.

    Raises
    ------
    ValueError
        Naming the field.
    """
    for name in names:
        value = getattr(attack, name)
        if not _default(attack, name) and not (is_whole(value) and value >= least):
            raise ValueError(f"{name} = {value!r}, expected at least {least}, a whole number")


def iterations(max_steps: int | None, victim: Victim, otherwise: int) -> Iterator[int]:
    """The numbers of an attack's iterations, from 1.

    Parameters
    ----------
    max_steps : int, optional
        The last one. None: they go on until the victim's budget is spent, which the attack's own loop notices.
    victim : Victim
    otherwise : int
        The last one where neither is given.
    """
    if max_steps is None:
        return itertools.count(1) if victim.budget is not None else iter(range(1, otherwise + 1))
    return iter(range(1, max_steps + 1))


def share_fields(attack: object, *names: str) -> None:
    """Refuse fields of an attack outside [0, 1): decays of averages.

    Parameters
    ----------
    attack : dataclass
    names : str
        Of the fields.

    Raises
    ------
    ValueError
        Naming the field.
    """
    for name in names:
        value = getattr(attack, name)
        if not (isinstance(value, Real) and 0 <= value < 1):
            raise ValueError(f"{name} = {value!r}, expected within [0, 1)")


def _default(attack: object, name: str) -> bool:
    """Whether a field is None and may be."""
    return getattr(attack, name) is None and getattr(type(attack), name, 0) is None
