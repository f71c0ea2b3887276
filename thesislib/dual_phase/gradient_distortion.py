r"""Gradient distortion (thesis 4.3): where the gradients of head and tail point, seen from their sum.

In a batch the overall gradient is :math:`g = g_H + g_T`, each part the sum over its images divided by the size of
the whole batch. :math:`\theta_1` is the angle between :math:`g_H` and :math:`g`, :math:`\theta_2` between
:math:`g_T` and :math:`g`, :math:`\theta_3` between the two parts.

>>> import torch
>>> angles = between(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0]))
>>> [round(angles[name].item(), 3) for name in ("head", "tail")]
[18.435, 71.565]
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MEASURES = ("head", "tail", "parts", "head, equal weight", "tail, equal weight", "head sample")
"""Angles in degrees: to the overall gradient of the head's (theta 1) and the tail's (theta 2), between the two
(theta 3); the first two with each part divided by its own size; theta 1 of as many head images as there are tail
images."""


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Degrees between two vectors; NaN if one is zero.

    Parameters
    ----------
    a, b : Tensor
        Flattened gradients of one length.
    """
    return torch.rad2deg(torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1)))


def between(head: Tensor, tail: Tensor) -> dict[str, Tensor]:
    """The three angles of a head and a tail gradient, which are parts of one mean; vectors of shape (d,)."""
    overall = head + tail
    return {"head": angle(head, overall), "tail": angle(tail, overall), "parts": angle(head, tail)}


class GradientAngles:
    """Measures the angles while a model is trained: a loss that looks at its own gradients.

    Give it as ``loss`` to :func:`thesislib.training.fit`. It returns cross-entropy; at every `every`-th step it
    first takes the gradients of head and tail from the same forward pass, in training mode, before the step,
    without weight decay or momentum. Nothing waits for the numbers until :meth:`rows`.

    Two controls are taken along. *Equal weight*: each part divided by its own number of images, because a part
    that is four fifths of the batch bends the sum towards itself whatever it says. *Head sample*: as many head
    images as there are tail images (all of them where the tail has more), because a mean over few images varies more
    whatever they are.

    Parameters
    ----------
    parameters : iterable of Tensor
        The backbone's. Not the classifier's: its rows of head and tail are nearly disjoint.
    head : Tensor of bool, shape (classes,)
    every : int
        Steps from one measurement to the next.

    Raises
    ------
    TypeError
        If `head` is no such tensor; class numbers are none.
    ValueError
        If every class is head or none, or `every` is below 1; when called, if the logits are of other classes.
    """

    def __init__(self, parameters: Sequence[Tensor], head: Tensor, every: int = 10) -> None:
        if not isinstance(head, Tensor) or head.dtype != torch.bool or head.ndim != 1:
            raise TypeError(
                f"head = {head!r}; expected a tensor of bool, shape (classes,), as torch.as_tensor(counts) > 100 is"
            )
        if head.all() or not head.any():
            raise ValueError(
                f"{int(head.sum())} of {len(head)} classes are head; expected some, and some tail"
            )
        if not isinstance(every, Integral) or every < 1:
            raise ValueError(f"every = {every!r}; expected 1 or more steps, a whole number")
        self.parameters, self.head, self.every = list(parameters), head, every
        self._step, self._epochs, self._angles = 0, [], []

    def __call__(self, logits: Tensor, labels: Tensor, epoch: int = 0) -> Tensor:
        if logits.shape[1:] != self.head.shape:
            raise ValueError(
                f"logits of shape {tuple(logits.shape)} and head of {len(self.head)} classes; expected (n, classes)"
            )
        losses = F.cross_entropy(logits, labels, reduction="none")
        if self._step % self.every == 0:
            self.head = self.head.to(labels.device)
            self._angles.append(self._measure(losses, self.head[labels]))
            self._epochs.append(epoch)
        self._step += 1
        return losses.mean()

    def _measure(self, losses: Tensor, is_head: Tensor) -> Tensor:
        weight = is_head.to(losses.dtype)
        few = len(losses) - weight.sum()
        # The first few head images of the batch; their order is random.
        sample = weight * (weight.cumsum(0) <= few)
        head, tail, part = (self._gradient(losses @ w) for w in (weight, 1 - weight, sample))
        angles = between(head, tail)
        equal = between(head / weight.sum(), tail / few)
        sampled = angle(part, head + tail)
        found = [*angles.values(), equal["head"], equal["tail"], sampled]
        return torch.stack(found).detach()

    def _gradient(self, loss: Tensor) -> Tensor:
        found = torch.autograd.grad(loss, self.parameters, retain_graph=True)
        return torch.cat([g.flatten() for g in found]).float()

    def state_dict(self) -> dict:
        """What was measured so far, for a checkpoint."""
        angles = torch.stack(self._angles) if self._angles else torch.empty(0, len(MEASURES))
        return {"step": self._step, "epochs": list(self._epochs), "angles": angles}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what :meth:`state_dict` gave.

        Parameters
        ----------
        state : dict
        """
        self._step, self._epochs = state["step"], list(state["epochs"])
        self._angles = list(state["angles"].to(self.parameters[0].device))

    def rows(self) -> dict[str, list[float]]:
        """Mean and standard deviation of each angle, epoch by epoch, in degrees.

        Steps without head or without tail images are left out.

        Returns
        -------
        dict
            ``epoch``, ``steps`` (measured and used) and for each of :data:`MEASURES` ``mean …`` and ``std …``.
        """
        if not self._angles:
            return {}
        angles, epochs = torch.stack(self._angles).cpu().numpy().astype(float), np.array(self._epochs)
        whole = np.isfinite(angles).all(1)
        found: dict[str, list[float]] = {"epoch": [], "steps": []}
        for epoch in np.unique(epochs):
            mine = angles[(epochs == epoch) & whole]
            if len(mine) < 2:
                continue
            found["epoch"].append(int(epoch))
            found["steps"].append(len(mine))
            for name, column in zip(MEASURES, mine.T, strict=True):
                found.setdefault(f"mean {name}", []).append(float(column.mean()))
                found.setdefault(f"std {name}", []).append(float(column.std(ddof=1)))
        return found


def backbone_parameters(model: torch.nn.Sequential) -> list[Tensor]:
    """Those of all layers but the last, the classifier.

    Parameters
    ----------
    model : Sequential
        Ends in the classifier.
    """
    return [p for p in model[:-1].parameters() if p.requires_grad]
