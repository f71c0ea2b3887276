"""What an attack wants, and the losses that say how far it is. All losses are minimised.

Thesis, sections 2.3.1 and 3.3.1.

``logp`` are log-probabilities, shape (n, classes), and ``goal`` (:class:`Goal`) is for n images; ``labels`` are
true classes, ``classes`` their number. Losses have shape (n,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Goal:
    """Misclassification, or classification as a target.

    Attributes
    ----------
    labels : Tensor of int64, shape (n,)
        True classes.
    targets : Tensor of int64, shape (n,), optional
        Target classes; None: any class but the true one.

    Raises
    ------
    ValueError
        If shapes or types are not as described, a class is negative, or a target is the true class.
    """

    labels: Tensor
    targets: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "targets"):
            value = getattr(self, name)
            if name == "targets" and value is None:
                continue
            if not isinstance(value, Tensor) or value.dtype != torch.int64 or value.ndim != 1:
                found, advice = type(value), f"; torch.as_tensor({name}) makes a tensor"
                if isinstance(value, Tensor):
                    found, advice = f"{value.dtype} of shape {tuple(value.shape)}", ""
                raise ValueError(f"{name} are {found}, expected int64 of shape (n,){advice}")
            if len(value) and value.min() < 0:
                raise ValueError(f"{name} go down to {int(value.min())}, expected class numbers from 0")
        if self.targets is not None:
            if len(self.targets) != len(self.labels):
                raise ValueError(f"{len(self.targets)} targets for {len(self.labels)} labels")
            if (same := self.targets == self.labels).any():
                first = int(same.nonzero()[0])
                raise ValueError(f"image {first}: target {int(self.targets[first])} is the true class")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> Goal:
        """The goals of some images, each as often as `rows` names it."""
        return Goal(self.labels[rows], None if self.targets is None else self.targets[rows])

    def reached(self, logp: Tensor) -> Tensor:
        """Whether each row of log-probabilities, shape (n, classes), is what is wanted; shape (n,)."""
        predicted = logp.argmax(1)
        return predicted != self.labels if self.targets is None else predicted == self.targets

    def check_classes(self, classes: int) -> None:
        """Refuse classes that the victim does not have.

        Raises
        ------
        ValueError
            Naming the class and their number.
        """
        for name, value in (("label", self.labels), ("target", self.targets)):
            if value is not None and len(value) and value.max() >= classes:
                raise ValueError(f"{name} {int(value.max())}, but the victim has {classes} classes")


def next_class(labels: Tensor, classes: int) -> Tensor:
    """The released code's targets: the class after the true one, the first after the last."""
    return (labels + 1) % classes


Objective = Callable[[Tensor, Goal], Tensor]
"""Log-probabilities, shape (n, classes), and goals to losses, shape (n,)."""


def logits(logp: Tensor, goal: Goal) -> Tensor:
    """Margin of the logits, negative once the goal is reached.

    Untargeted ``z_y - max_{k != y} z_k``, targeted ``max_{k != t} z_k - z_t``; differences of log-probabilities
    are differences of logits.
    """
    return _margin(logp, goal)


def hinge(logp: Tensor, goal: Goal) -> Tensor:
    """The margin of log-probabilities, clamped at 0: the loss of chapter 2 (thesis, section 2.3.1)."""
    return _margin(logp, goal).clamp(min=0)


def probability(logp: Tensor, goal: Goal) -> Tensor:
    """Margin of the probabilities, in [-1, 1]."""
    return _margin(logp.exp(), goal)


def cross_entropy(logp: Tensor, goal: Goal) -> Tensor:
    """Log-probability of the true class (untargeted), or minus that of the target."""
    if goal.targets is None:
        return logp.gather(1, goal.labels[:, None]).squeeze(1)
    return -logp.gather(1, goal.targets[:, None]).squeeze(1)


def _margin(scores: Tensor, goal: Goal) -> Tensor:
    chosen = goal.labels if goal.targets is None else goal.targets
    own = scores.gather(1, chosen[:, None]).squeeze(1)
    others = scores.scatter(1, chosen[:, None], -torch.inf).amax(1)
    return own - others if goal.targets is None else others - own
