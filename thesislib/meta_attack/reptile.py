"""Training of the meta attacker by Reptile (Nichol et al. 2018; thesis, section 2.3.2)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from thesislib.blackbox.attempt import positive_fields, whole_fields
from thesislib.meta_attack.meta_attacker import MetaAttacker

if TYPE_CHECKING:
    import pandas as pd

Task = tuple[Tensor, Tensor]
"""Images and standardised gradient maps of one source model, both of shape (n, channels, size, size)."""


@dataclass(frozen=True)
class Reptile:
    """How a meta attacker is trained.

    Attributes
    ----------
    steps : int
        Meta steps; each visits every task once.
    batch : int
        Support images a task and meta step (800 for MNIST, 640 for colour in the released code).
    inner_steps, inner_lr : int, float
        Adam's steps on that batch, from fresh moments.
    outer_lr : float
        Share of the way from the old weights to the mean of the adapted ones (0.01 for MNIST, 1 for colour
        in the released code; 0.01 in the paper, as we recall it).
    target : float
        Training ends once the error on the held-out maps is at most this.
    every : int
        Meta steps between two looks at the held-out maps; the best weights seen are returned.

    Raises
    ------
    ValueError
        If a number of steps or images is no whole one of 1 or more, a rate not above 0, or `target` no number.
    """

    steps: int = 6006
    batch: int = 800
    inner_steps: int = 5
    inner_lr: float = 0.01
    outer_lr: float = 0.01
    target: float = 0.0
    every: int = 11

    def __post_init__(self) -> None:
        whole_fields(self, 1, "steps", "batch", "inner_steps", "every")
        positive_fields(self, "inner_lr", "outer_lr")
        if not (isinstance(self.target, Real) and math.isfinite(self.target)):
            raise ValueError(f"target = {self.target!r}, expected an error")


def reptile(
    attacker: MetaAttacker, tasks: Sequence[Task], held_out: Task, how: Reptile, *, seed: int = 0
) -> tuple[MetaAttacker, pd.DataFrame]:
    """Train a copy of `attacker`.

    Parameters
    ----------
    attacker : MetaAttacker
        The start; not modified.
    tasks : sequence of (images, maps)
        One a source model.
    held_out : (images, maps)
        Of the source models, on images of no task.
    how : Reptile
    seed : int
        Of the sampling.

    Returns
    -------
    attacker : MetaAttacker
        With the lowest error on the held-out maps.
    history : pandas.DataFrame
        ``step``, ``gradients`` (images that a backward pass has seen), ``error``.

    Raises
    ------
    ValueError
        If a task or the held-out one has another shape or type than the meta attacker takes, or a task has fewer
        images than a batch.
    FloatingPointError
        If the error on the held-out maps ceases to be finite.
    """
    _check(attacker, tasks, held_out, how.batch)
    generator = torch.Generator().manual_seed(seed)
    attacker = copy.deepcopy(attacker)
    keeper = _Keeper(attacker, held_out)
    for step in (bar := tqdm(range(1, how.steps + 1), desc="reptile", leave=False)):
        adapted = []
        for images, maps in tasks:
            rows = torch.randperm(len(images), generator=generator)[: how.batch].to(images.device)
            adapted.append(adapt(attacker, images[rows], maps[rows], how.inner_steps, how.inner_lr))
        step_towards(attacker, adapted, how.outer_lr)
        if step % how.every == 0 or step == how.steps:
            error = keeper.look(attacker, step, step * len(tasks) * how.batch * how.inner_steps)
            bar.set_postfix(error=f"{error:.4f}")
            if error <= how.target:
                break
    return keeper.best, keeper.history()


def vanilla(
    attacker: MetaAttacker, tasks: Sequence[Task], held_out: Task, how: Reptile, *, lr: float, seed: int = 0
) -> tuple[MetaAttacker, pd.DataFrame]:
    """Ordinary training of the same auto-encoder: Adam on the pooled maps of all tasks (section 2.4.5).

    Every meta step of `how` is ``tasks * inner_steps`` steps of Adam, whose moments persist. ``how.target`` does
    not end it: this sees all the images that :func:`reptile` may see. Other arguments and results as there.
    """
    _check(attacker, tasks, held_out, how.batch)
    generator = torch.Generator().manual_seed(seed)
    attacker = copy.deepcopy(attacker).train()
    images, maps = (torch.cat(part) for part in zip(*tasks, strict=True))
    adam = torch.optim.Adam(attacker.parameters(), lr=lr, fused=True)
    keeper = _Keeper(attacker, held_out)
    for step in tqdm(range(1, how.steps + 1), desc="vanilla", leave=False):
        for _ in range(how.inner_steps * len(tasks)):
            rows = torch.randperm(len(images), generator=generator)[: how.batch].to(images.device)
            _adam_step(attacker, adam, images[rows], maps[rows])
        if step % how.every == 0 or step == how.steps:
            seen = step * len(tasks) * how.batch * how.inner_steps
            keeper.look(attacker, step, seen)
    return keeper.best, keeper.history()


def adapt(attacker: MetaAttacker, images: Tensor, maps: Tensor, steps: int, lr: float) -> MetaAttacker:
    """A copy of the meta attacker after some steps of Adam on one batch (Reptile's inner loop).

    Parameters
    ----------
    attacker : MetaAttacker
        Not modified.
    images, maps : Tensor, shape (n, channels, size, size)
    steps, lr : int, float
        Adam's.

    Raises
    ------
    ValueError
        If `steps` is negative.
    """
    if steps < 0:
        raise ValueError(f"steps = {steps}, expected 0 or more")
    adapted = copy.deepcopy(attacker).train()
    adam = torch.optim.Adam(adapted.parameters(), lr=lr, fused=True)
    for _ in range(steps):
        _adam_step(adapted, adam, images, maps)
    return adapted


def step_towards(attacker: MetaAttacker, adapted: Sequence[MetaAttacker], rate: float) -> None:
    """Reptile's outer step, in place: ``theta <- theta + rate * mean(theta' - theta)``.

    Running statistics of the normalisation, where it has any, are no weights: they become those of the adapted
    copies, in the mean.
    """
    with torch.no_grad():
        for weight, *others in zip(attacker.parameters(), *(a.parameters() for a in adapted), strict=True):
            weight += rate * (torch.stack(list(others)).mean(0) - weight)
        for buffer, *others in zip(attacker.buffers(), *(a.buffers() for a in adapted), strict=True):
            buffer.copy_(torch.stack(list(others)).to(torch.float64).mean(0))


def error_of(attacker: MetaAttacker, images: Tensor, maps: Tensor, *, chunk: int = 25) -> float:
    """Mean squared error over all pixels, normalised by statistics of `chunk` images at a time.

    Parameters
    ----------
    attacker : MetaAttacker
    images, maps : Tensor, shape (n, channels, size, size)
    chunk : int

    Raises
    ------
    ValueError
        If images and maps differ in shape.
    """
    if images.shape != maps.shape:
        raise ValueError(f"maps have shape {tuple(maps.shape)}, expected the images' {tuple(images.shape)}")
    attacker = copy.deepcopy(attacker).train(attacker.statistics == "batch")
    with torch.no_grad():
        parts = zip(images.split(chunk), maps.split(chunk), strict=True)
        total = sum(((attacker(x) - g) ** 2).sum().item() for x, g in parts)
    return total / maps.numel()


def _adam_step(attacker: MetaAttacker, adam: torch.optim.Optimizer, images: Tensor, maps: Tensor) -> None:
    adam.zero_grad()
    ((attacker(images) - maps) ** 2).mean().backward()
    adam.step()


class _Keeper:
    """The history of the held-out error and the best weights."""

    def __init__(self, attacker: MetaAttacker, held_out: Task) -> None:
        self.held_out, self.rows = held_out, []
        self.best, self.lowest = copy.deepcopy(attacker), float("inf")

    def look(self, attacker: MetaAttacker, step: int, gradients: int) -> float:
        error = error_of(attacker, *self.held_out)
        if not math.isfinite(error):
            raise FloatingPointError(
                f"the error on the held-out maps is {error} at step {step}; lower the rates, or look for maps that are "
                "not finite"
            )
        self.rows.append({"step": step, "gradients": gradients, "error": error})
        if error < self.lowest:
            self.best, self.lowest = copy.deepcopy(attacker).eval(), error
        return error

    def history(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(self.rows)


def _check(attacker: MetaAttacker, tasks: Sequence[Task], held_out: Task, batch: int) -> None:
    shape, dtype = (attacker.channels, attacker.size, attacker.size), next(attacker.parameters()).dtype
    if not tasks:
        raise ValueError("no tasks: give images and maps of at least one source model")
    named = {f"task {number}": task for number, task in enumerate(tasks)} | {"held_out": held_out}
    for name, (images, maps) in named.items():
        if images.shape != maps.shape or images.shape[1:] != shape or {images.dtype, maps.dtype} != {dtype}:
            raise ValueError(
                f"{name}: {images.dtype} images {tuple(images.shape)} and {maps.dtype} maps {tuple(maps.shape)}, "
                f"expected {dtype} of shape (n, {shape[0]}, {shape[1]}, {shape[2]})"
            )
        least = 1 if name == "held_out" else batch
        if len(images) < least:
            raise ValueError(f"{name} has {len(images)} images, expected {least} or more")
