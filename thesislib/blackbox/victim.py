"""The query-counted victim: the only way an attack sees a model (thesis, sections 2.3.1 and 3.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

FLOOR = 1e-30  # added to probabilities before the logarithm, as the released code does
SUM = 1e-4  # rows of logits that come so near to a sum of one, all of them, are probabilities


class BudgetExceeded(RuntimeError):
    """An attack asked more of an image than its budget allows."""


class _NotFinite(ValueError):
    """Scores that are no numbers; `row` is the first query that got some."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


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
    # No fields: what is learnt about the model on the way is no part of what a victim is.
    _plain: ClassVar[bool] = False  # whether it takes images of ordinary layout only
    _known: ClassVar[bool] = False  # whether it has answered before

    def __post_init__(self) -> None:
        if not callable(self.model):
            raise ValueError(
                f"model is {type(self.model).__name__}, expected a module or a function of images"
            )
        if self.output not in ("logits", "probabilities"):
            raise ValueError(f"output = {self.output!r}, expected 'logits' or 'probabilities'")
        if self.budget is not None and not (is_whole(self.budget) and self.budget >= 0):
            raise ValueError(f"budget = {self.budget!r}, expected None or a number of queries from 0")
        if not (is_whole(self.chunk) and self.chunk >= 1):
            raise ValueError(f"chunk = {self.chunk!r}, expected at least 1 image, a whole number")

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
            If the scores are not finite, not of shape (n, classes) with two classes at least, no probabilities
            though they should be, or, at the first answer, probabilities though they should be logits.
        """
        if not len(images):
            return torch.empty(0, 0, dtype=torch.float64, device=images.device)
        # Parts of nearly one size: some kernels round a batch of one to three images differently.
        parts = images.tensor_split(-(-len(images) // self.chunk))
        with torch.inference_mode(), evaluating(self.model), _exact(images.is_cuda):
            scores = [self._scores(part) for part in parts]
        return self._checked(torch.cat(scores))  # out of inference mode

    def _scores(self, images: Tensor) -> Tensor:
        """What the model says of one chunk."""
        if self._plain or not isinstance(self.model, nn.Module) or images.ndim != 4:
            return as_scores(self.model(images.clone()), images)  # the model may work in place
        try:
            scores = self.model(images.clone().contiguous(memory_format=torch.channels_last))
        except RuntimeError as error:
            # Channels last is faster, but `x.view(len(x), -1)` of colour images does not go with it.
            if "view size is not compatible" not in str(error):
                raise
            scores = self.model(images.clone(memory_format=torch.contiguous_format))
            object.__setattr__(self, "_plain", True)
        return as_scores(scores, images)

    def _checked(self, scores: Tensor) -> Tensor:
        """Log-probabilities of all scores, looked at once: a look at every chunk costs a small victim 3 %."""
        if not torch.isfinite(scores).all():
            bad = int((~torch.isfinite(scores)).any(1).nonzero()[0])
            raise _NotFinite(f"the victim returned {self.output} that are not finite", bad)
        scores = scores.double()
        if self.output == "logits":
            self._refuse_probabilities(scores)
            return scores.log_softmax(1)
        if scores.min() < -1e-6 or (scores.sum(1) - 1).abs().max() > 1e-3:
            total = scores.sum(1)
            worst = total[(total - 1).abs().argmax()].item()
            raise ValueError(
                f"the victim's probabilities do not sum to one (one row: {worst:.4g}) or are negative; "
                "give output='logits' if they are logits"
            )
        return (scores.clamp(min=0) + FLOOR).log()

    def _refuse_probabilities(self, scores: Tensor) -> None:
        """Refuse a softmax that would be taken twice; a look at the first answer, since a single row may be chance."""
        if self._known:
            return
        if (
            (scores >= 0).all()
            and ((scores.sum(1) - 1).abs() < SUM).all()
            and (scores != scores.round()).any()
        ):
            raise ValueError(
                "the victim returned numbers from 0 to 1 whose rows sum to one where logits were expected; "
                "give output='probabilities'"
            )
        object.__setattr__(self, "_known", True)


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
            If there are not as many owners as images, a query is not finite, or an answer (with the image's number),
            or the model fails on the first.
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
        if not torch.isfinite(images.sum()):  # one pass over them; a comparison of each would be several
            raise ValueError(
                "the attack asks about images that are not finite; its steps are too large or too small for "
                f"{images.dtype}"
            )
        try:
            answer = self.victim.log_probabilities(images)
        except _NotFinite as error:
            which = int(owner[error.row])
            raise ValueError(f"image {which}: {error}; leave it out, or look at the model") from None
        except (RuntimeError, TypeError, IndexError) as error:
            if self.counts.any() or isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(_misfit(self.victim.model, images, error)) from error
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
def evaluating(model: nn.Module | Callable) -> Iterator[None]:
    """Evaluation mode, and every submodule's own mode put back, after an error too.

    Parameters
    ----------
    model : torch.nn.Module or callable
        Nothing is done about one that is no module.
    """
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


def as_scores(found: object, images: Tensor) -> Tensor:
    """What a model returned, if it can be scores of images.

    Parameters
    ----------
    found
        Returned by the model.
    images : Tensor, shape (n, ...)
        It was shown.

    Returns
    -------
    Tensor, shape (n, classes)

    Raises
    ------
    ValueError
        If it is no tensor of that shape, or of fewer than two classes.
    """
    stack = "stack [1 - p, p] of a probability p, or [0, z] of a logit z"
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images):
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        advice = f"; {stack}" if what == (len(images),) else layout_hint(images)
        raise ValueError(
            f"the victim returned {what} for {len(images)} images, expected (n, classes){advice}"
        )
    if found.shape[1] < 2:
        raise ValueError(
            f"the victim returned {tuple(found.shape)} for {len(images)} images, expected at least 2 classes; {stack}"
        )
    return found


def layout_hint(images: Tensor) -> str:
    """What may be wrong with the axes of images, to end an error with; empty if nothing is.

    Parameters
    ----------
    images : Tensor, shape (n, ...)
    """
    if images.ndim == 3:
        return "; of one image make a batch by images[None], of several grey ones by images[:, None]"
    if images.ndim == 4 and images.shape[3] in (1, 3) and images.shape[1] not in (1, 3):
        return "; channels seem to come last, images.permute(0, 3, 1, 2) has them second"
    if images.ndim == 5 and images.shape[4] in (1, 3) and images.shape[1] not in (1, 3):
        return "; channels seem to come last, clips.permute(0, 4, 1, 2, 3) has them second"
    return ""


def is_whole(value: object) -> bool:
    """Whether it is a whole number, numpy's included, and no truth value.

    Parameters
    ----------
    value
        Anything.
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def _misfit(model: nn.Module | Callable, images: Tensor, error: Exception) -> str:
    """What to say of a model that fails on the first images it is shown."""
    own = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    takes = "" if own is None else f"; its parameters are {own.dtype} on {own.device}"
    return (
        f"the victim failed on {images.dtype} images of shape {tuple(images.shape)} on {images.device}{takes}"
        f"{layout_hint(images)}: {error}"
    )
