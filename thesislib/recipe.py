"""What a training is made of apart from model and data: plain values, so that a recipe can key a cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import nn

OPTIMISERS = ("SGD", "Adam", "AdamW")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyper-parameters of one training by :func:`thesislib.training.fit`.

    Attributes
    ----------
    epochs : int
        Passes over the training data, or over what a sampler draws.
    batch : int
        At most so many images a step, over all processes. An epoch is cut into the fewest steps, of equal
        size to within one image: no small last batch weighs more than others or starves batch normalisation.
    optimiser : str
        ``"SGD"``, ``"Adam"`` or ``"AdamW"``; parameters that need no gradient are left out.
    lr : float
        Learning rate at the schedule's highest point.
    momentum, nesterov : float, bool
        Of SGD only.
    weight_decay : float
        Added to the gradient (SGD, Adam) or taken off the weights (AdamW).
    schedule : str
        A key of :data:`SCHEDULES`: ``"constant"``, ``"steps"``, ``"cosine"`` or ``"one-cycle"``.
    milestones : tuple of float
        Of ``"steps"``: the epochs from which on the rate is multiplied by `factor` once more.
    factor : float
    warmup : float
        Epochs over which the rate rises linearly from near 0; multiplies whatever the schedule says.
    per_epoch : bool
        Whether the rate stays the same within an epoch, as most published recipes have it.
    pad : int
        Random crop out of the image padded by so many zeros; 0: none.
    flip : bool
        Random left-right flip.
    test_every : int
        Epochs between evaluations on the test data; the last epoch is always evaluated.
    keep_best : bool
        Whether the model ends with the weights of its best test accuracy (the first of equals) instead of the
        last ones. That is selection on the test data, as some published recipes have it; whoever reports such
        a number should say so.

    Raises
    ------
    ValueError
        On construction, naming the field.
    """

    epochs: int
    batch: int = 128
    optimiser: str = "SGD"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: str = "constant"
    milestones: tuple[float, ...] = ()
    factor: float = 0.1
    warmup: float = 0.0
    per_epoch: bool = False
    pad: int = 0
    flip: bool = False
    test_every: int = 1
    keep_best: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(np.asarray(self.milestones).tolist()))
        for field in fields(self):  # NumPy's numbers end in checkpoints, which could not be read again
            if isinstance(value := getattr(self, field.name), np.generic):
                object.__setattr__(self, field.name, value.item())
        milestones = self.milestones
        rules = {
            "epochs": (_whole(self.epochs, 1), "a whole number from 1 on"),
            "batch": (_whole(self.batch, 1), "a whole number from 1 on"),
            "optimiser": (self.optimiser in OPTIMISERS, f"one of {', '.join(OPTIMISERS)}"),
            "lr": (0 < self.lr < math.inf, "positive and finite"),
            "momentum": (0 <= self.momentum < 1, "0 to below 1"),
            "nesterov": (self.momentum > 0 or not self.nesterov, "False where there is no momentum"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "schedule": (self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            "milestones": (milestones == tuple(sorted(milestones)), "increasing epochs"),
            "factor": (0 < self.factor < math.inf, "positive and finite"),
            "warmup": (0 <= self.warmup <= self.epochs, "0 to the number of epochs"),
            "pad": (_whole(self.pad, 0), "a whole number from 0 on"),
            "test_every": (_whole(self.test_every, 1), "a whole number from 1 on"),
        }
        for name, (good, expected) in rules.items():
            if not good:
                raise ValueError(f"{name} = {getattr(self, name)!r}; expected {expected}")
        if milestones and self.schedule != "steps":
            raise ValueError(f"milestones = {milestones!r} mean nothing to schedule = {self.schedule!r}")


def _whole(value: object, low: int) -> bool:
    return isinstance(value, int) and value >= low


def learning_rate(recipe: Recipe, epoch: int, step: int = 0, steps: int = 1) -> float:
    """The rate of step `step` of `steps` in epoch `epoch`, all from 0.

    Examples
    --------
    >>> recipe = Recipe(epochs=200, lr=0.1, schedule="steps", milestones=(160, 180), factor=0.01, warmup=5)
    >>> [round(learning_rate(recipe, epoch), 7) for epoch in (0, 4, 159, 160, 180)]
    [0.02, 0.1, 0.1, 0.001, 1e-05]
    """
    if recipe.per_epoch:
        step, steps = 0, 1
    at = epoch + step / steps
    # Counted at a step's end, so that the first step of a warm-up has a rate above 0.
    warm = min(1.0, (at + 1 / steps) / recipe.warmup) if recipe.warmup else 1.0
    return recipe.lr * warm * SCHEDULES[recipe.schedule](recipe, at)


def _steps(recipe: Recipe, at: float) -> float:
    return recipe.factor ** sum(at >= milestone for milestone in recipe.milestones)


def _cosine(recipe: Recipe, at: float) -> float:
    return (1 + math.cos(math.pi * at / recipe.epochs)) / 2


def _one_cycle(recipe: Recipe, at: float) -> float:
    """Half a cosine up from 1/25 in the first 30 %, half a cosine down to 1/250,000: PyTorch's defaults."""
    rise, low, end = 0.3 * recipe.epochs, 1 / 25, 1 / 250_000
    if at < rise:
        return low + (1 - low) * (1 - math.cos(math.pi * at / rise)) / 2
    return end + (1 - end) * (1 + math.cos(math.pi * (at - rise) / (recipe.epochs - rise))) / 2


SCHEDULES: dict[str, Callable[[Recipe, float], float]] = {
    "constant": lambda recipe, at: 1.0,
    "steps": _steps,
    "cosine": _cosine,
    "one-cycle": _one_cycle,
}
"""Share of ``lr`` after so many epochs, as a function of recipe and epochs."""


def make_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over those parameters of a model that need a gradient.

    Raises
    ------
    ValueError
        If none does.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        raise ValueError(f"{type(model).__name__} has no parameter that requires a gradient")
    options = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimiser == "SGD":
        options |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    return getattr(torch.optim, recipe.optimiser)(weights, **options)
