"""The query-counted victim: the only way an attack sees a model (thesis, sections 2.3.1 and 3.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

FLOOR = 1e-30  # added to probabilities before the logarithm, as the released code does


class BudgetExceeded(RuntimeError):
    """An attack asked more of an image than its budget allows."""


@dataclass(frozen=True)
class Victim:
    """A classifier behind a counter.

    One query is one image through the model, whatever the batch. The model runs in inference mode and, if it
    is a module, in evaluation mode; its modes are put back afterwards and its parameters are never touched.

    Attributes
    ----------
    model : torch.nn.Module or callable
        Images, shape (n, ...), values in [0, 1], to scores, shape (n, classes). A plain function may stand
        for a remote model.
    output : {"logits", "probabilities"}
        What the scores are. Attacks see log-probabilities in either case.
    budget : int, optional
        Queries that one attack may spend on one image; None: no limit.
    chunk : int
        Images sent to the model at once. Neither results nor counts depend on it; speed does, since large
        activations leave a processor's cache (32 to 64 is best for small networks on a CPU, thousands on a
        GPU).

    Raises
    ------
    ValueError
        If a field is not as described.
    """

    model: nn.Module | Callable[[Tensor], Tensor]
    output: Literal["logits", "probabilities"] = "logits"
    budget: int | None = None
    chunk: int = 64

    def __post_init__(self) -> None:
        if not callable(self.model):
            raise ValueError(
                f"model is {type(self.model).__name__}, expected a module or a function of images"
            )
        if self.output not in ("logits", "probabilities"):
            raise ValueError(f"output = {self.output!r}, expected 'logits' or 'probabilities'")
        if self.budget is not None and self.budget < 0:
            raise ValueError(f"budget = {self.budget}, expected None or a number of queries from 0")
        if self.chunk < 1:
            raise ValueError(f"chunk = {self.chunk}, expected at least 1 image")

    def open(self, images: Tensor) -> Meter:
        """A fresh count for one attack on these images."""
        return Meter(self, images)

    def log_probabilities(self, images: Tensor) -> Tensor:
        """Log-probabilities of images, uncounted: for checks and reports, never inside an attack.

        Parameters
        ----------
        images : Tensor, shape (n, ...)

        Returns
        -------
        Tensor of float64, shape (n, classes)
            Double precision, so that differences of losses lose nothing here.

        Raises
        ------
        ValueError
            If the scores are not finite, not of shape (n, classes), or no probabilities though they should
            be.
        """
        if not len(images):
            return torch.empty(0, 0, dtype=torch.float64, device=images.device)
        # Parts of nearly one size: some kernels round a batch of one to three images differently.
        parts = images.tensor_split(-(-len(images) // self.chunk))
        with torch.inference_mode(), _evaluating(self.model), _exact(images.is_cuda):
            scores = [self._scores(part) for part in parts]
        return self._checked(torch.cat(scores))  # out of inference mode

    def _scores(self, images: Tensor) -> Tensor:
        """What the model says of one chunk."""
        shown = images.clone()  # the model may work in place
        if isinstance(self.model, nn.Module) and images.ndim == 4:
            shown = shown.contiguous(memory_format=torch.channels_last)
        scores = self.model(shown)
        if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(images):
            found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(f"the victim returned {found} for {len(images)} images, expected (n, classes)")
        return scores

    def _checked(self, scores: Tensor) -> Tensor:
        """Log-probabilities of all scores, looked at once: a look at every chunk costs a small victim 3 %."""
        if not torch.isfinite(scores).all():
            raise ValueError(f"the victim returned {self.output} that are not finite")
        scores = scores.double()
        if self.output == "logits":
            return scores.log_softmax(1)
        if scores.min() < -1e-6 or (scores.sum(1) - 1).abs().max() > 1e-3:
            total = scores.sum(1)
            worst = total[(total - 1).abs().argmax()].item()
            raise ValueError(
                f"the victim's probabilities do not sum to one (one row: {worst:.4g}) or are negative; "
                "give output='logits' if they are logits"
            )
        return (scores.clamp(min=0) + FLOOR).log()


class Meter:
    """The count of one attack: queries of each image, and the budget's guard.

    Attributes
    ----------
    counts : Tensor of int64, shape (images,)
        Queries so far.
    """

    def __init__(self, victim: Victim, images: Tensor) -> None:
        self.victim = victim
        self.counts = torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def ask(self, images: Tensor, owner: Tensor) -> Tensor:
        """Log-probabilities of query images, each counted for the attacked image it belongs to.

        Parameters
        ----------
        images : Tensor, shape (n, ...)
        owner : Tensor of int64, shape (n,)
            Number of the attacked image behind each query.

        Returns
        -------
        Tensor of float64, shape (n, classes)

        Raises
        ------
        ValueError
            If there are not as many owners as images.
        BudgetExceeded
            If an image's budget does not cover its queries. Nothing is sent to the model then.
        """
        if owner.shape != images.shape[:1]:
            raise ValueError(
                f"owners of shape {tuple(owner.shape)} for {len(images)} images, expected one each"
            )
        after = self.counts + torch.bincount(owner, minlength=len(self.counts))
        budget = self.victim.budget
        if budget is not None and (over := after > budget).any():
            first = int(over.nonzero()[0])
            raise BudgetExceeded(f"image {first}: {int(after[first])} queries, budget {budget}")
        answer = self.victim.log_probabilities(images)
        self.counts = after
        return answer

    def left(self) -> Tensor:
        """Queries left to each image, shape (images,); the largest integer where there is no budget."""
        if self.victim.budget is None:
            return torch.full_like(self.counts, torch.iinfo(torch.int64).max)
        return self.victim.budget - self.counts


@contextmanager
def _exact(gpu: bool) -> Iterator[None]:
    """Full float32 on a GPU, which by default convolves with ten bits: finite differences would drown."""
    if not gpu:
        yield
        return
    with torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False, fp32_precision="ieee"
    ):
        yield


@contextmanager
def _evaluating(model: nn.Module | Callable) -> Iterator[None]:
    """Evaluation mode, and every submodule's own mode put back."""
    training = [m for m in model.modules() if m.training] if isinstance(model, nn.Module) else []
    if not training:
        yield
        return
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
