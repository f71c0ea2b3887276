"""The one training loop: a classifier, its data in memory, a recipe.

>>> import torch
>>> from torch import nn
>>> from thesislib.training import Recipe, accuracy, fit, seeded
>>> images = torch.randint(256, (400, 1, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(0))
>>> labels = (images[:, 0, :4].float().mean((1, 2)) > images[:, 0, 4:].float().mean((1, 2))).long()
>>> model = seeded(0, lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
>>> history = fit(model, (images, labels), Recipe(epochs=20, batch=50, lr=0.5))
>>> bool(history.train_loss.iloc[-1] < history.train_loss.iloc[0]), accuracy(model, images, labels) > 0.9
(True, True)

**Several processes.** The same script under ``torchrun`` is one training, its steps shared: each process
takes its part of every batch, and the gradient is that of the whole batch. Nothing in the script changes::

    import torch
    from thesislib.datasets import load_images
    from thesislib.models import make_model
    from thesislib.training import Recipe, fit, seeded

    mnist = load_images("mnist")
    images = torch.from_numpy(mnist.train_images).movedim(-1, 1)  # channels first
    model = seeded(0, lambda: make_model("Net4", classes=10, channels=1, size=28))
    recipe = Recipe(epochs=50, batch=100, lr=0.01, nesterov=True, weight_decay=1e-6)
    fit(model, (images, torch.from_numpy(mnist.train_labels)), recipe, checkpoint="net4.pt", device="cuda")

``python train.py`` is one process, ``torchrun --nproc-per-node 4 train.py`` is four, each on the GPU of its
local rank; with ``device="cpu"`` they talk through gloo. Only the first writes the checkpoint, which all must
be able to read. Without batch normalisation, dropout and augmentation (which draw anew, or look at their own
part, in each process) the weights are those of one process, to rounding, if the loss is a plain mean over images.
One that divides by the batch's weights (class-balanced, LDAM once it re-weights) or compares its images (the
memory-retentive loss) sees each process's part alone and is then another loss.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from tqdm.auto import tqdm

from thesislib.augment import crop, flip
from thesislib.checkpoints import Checkpoint
from thesislib.memo import took_before
from thesislib.prediction import accuracy, checked, forward, predict, ready
from thesislib.recipe import Recipe, learning_rate, make_optimiser

__all__ = ["Recipe", "accuracy", "fit", "learning_rate", "predict", "seeded"]

M = TypeVar("M")
BAR = "{l_bar}{bar}| {n:.1f}/{total} epochs [{elapsed}<{remaining}{postfix}]"


def fit(
    model: nn.Module,
    train: tuple[Tensor, Tensor],
    recipe: Recipe,
    *,
    test: tuple[Tensor, Tensor] | None = None,
    loss: Callable[[Tensor, Tensor, int], Tensor] | None = None,
    sampler: Callable[[int, Generator], Tensor] | None = None,
    augment: Callable[[Tensor, Generator], Tensor] | None = None,
    on_epoch: Callable[[nn.Module, dict[str, float]], Mapping[str, float] | None] | None = None,
    device: str | torch.device = "cpu",
    precision: str = "float32",
    seed: int = 0,
    checkpoint: str | os.PathLike | None = None,
    facts: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """Train a classifier in place and leave it in evaluation mode.

    All randomness comes from `seed` (initial weights are the caller's, see :func:`seeded`), and PyTorch's
    global generators are left as they were. On a CPU the same call gives the same bytes, interrupted or not.

    Parameters
    ----------
    model : Module
        From images to logits, shape (n, classes). Moved to `device`; channels-last if images have four axes.
    train : (images, labels)
        Images of type uint8, scaled to [0, 1] batch by batch, or floating point: shape (n, channels, height,
        width), or with further axes, in [0, 1]; or shape (n, features), any finite values. Normalisation
        belongs into the model. Labels: int64, shape (n,). Both are moved to `device` as a whole.
    recipe : Recipe
    test : (images, labels), optional
        Evaluated every ``recipe.test_every`` epochs.
    loss : callable, optional
        ``loss(logits, labels, epoch)``, a mean over the batch; cross-entropy by default. The epoch, from 0,
        serves deferred re-weighting. Logits arrive in float32 at either precision (of a model in
        double precision in float64). One that remembers anything from
        step to step needs ``state_dict`` and ``load_state_dict``, as modules have, for a checkpoint to keep it.
    sampler : callable, optional
        ``sampler(epoch, generator)`` gives an epoch's indices in their order, int64, repeated or left out as
        it likes; a random permutation by default.
    augment : callable, optional
        ``augment(images, generator)`` on a batch of images as given, instead of the recipe's crop and flip.
    on_epoch : callable, optional
        ``on_epoch(model, row)`` after each epoch, in the first process. `row` has the columns below; numbers
        that it returns by name join them.
    device, precision : str
        ``"float32"``, or ``"bf16"``: autocast of the model's forward pass. On a CPU without instructions for bf16
        that is ten times slower than float32, and a warning says so.
    seed : int
    checkpoint : path, optional
        Written after each epoch. If it exists, training goes on from there, given the same recipe, precision, data,
        seed and `facts`; with ``keep_best`` also the same test data.
    facts : mapping, optional
        What else a continued training must have in common with its beginning, as numbers, text and lists of them by
        name: a checkpoint cannot look into `loss`, `sampler` or `augment`.

    Returns
    -------
    DataFrame
        One row an epoch: ``epoch`` (from 0), ``train_loss`` and ``train_accuracy`` (means over the batches as
        they were trained on), ``test_loss`` (cross-entropy, whatever the training loss) and ``test_accuracy``
        (NaN where not evaluated), ``lr`` (of the last step), ``seconds``, and the columns of `on_epoch`.

    Raises
    ------
    ValueError
        If data, labels, a sampler's indices or the checkpoint do not fit; if ``keep_best`` lacks test data; on a
        GPU that is not there.
    TypeError
        If data are not tensors of the types above, or a fact is no plain value.
    FloatingPointError
        If the loss or the model ceases to be finite. That is looked at once an epoch, so that no step waits for it:
        the model is spoilt then, the checkpoint of the epoch before is not.
    """
    if recipe.keep_best and test is None:
        raise ValueError("keep_best = True needs test data to choose by")
    team = _team(device)
    if precision == "bf16" and team.device.type == "cpu" and not _computes_bf16():
        warnings.warn(
            "this CPU has no instructions for bf16, so that a step takes about ten times as long as in float32 "
            "(ResNet-32, measured); pass precision='float32'",
            stacklevel=2,
        )
    with _forked(seed, team.device), _bar(recipe, team) as bar:
        model.to(team.device)
        data = checked("train", model, *train)
        tests = None if test is None else checked("test", model, *test)
        if data[0].dim() == 4:
            model.to(memory_format=torch.channels_last)
        loop = _Loop(model, recipe, team, precision, loss, sampler, augment)
        rows, best = [], {}
        if checkpoint is not None:
            file = Checkpoint(checkpoint, recipe, train, facts or {}, test, seed=seed, precision=precision)
            if rest := file.load(model, loop.optimiser):
                rows, best = rest["rows"], rest["best"]
                took_before(sum(row["seconds"] for row in rows))
                if rest.get("loss"):
                    loss.load_state_dict(rest["loss"])
        for epoch in range(len(rows), recipe.epochs):
            began = time.perf_counter()
            row = {"epoch": epoch, **loop.epoch(data, epoch, seed, bar), **loop.score(tests, epoch)}
            row |= {"lr": loop.optimiser.param_groups[0]["lr"], "seconds": time.perf_counter() - began}
            if on_epoch is not None and team.rank == 0:
                row |= {name: float(value) for name, value in (on_epoch(model, dict(row)) or {}).items()}
            highest = np.nanmax([-1, *(earlier["test_accuracy"] for earlier in rows)])
            if recipe.keep_best and row["test_accuracy"] > highest:
                best = copy.deepcopy(model.state_dict())
            rows.append(row)
            if checkpoint is not None and team.rank == 0:
                state = loss.state_dict() if hasattr(loss, "state_dict") else {}
                file.save(model, loop.optimiser, rows=rows, best=best, loss=state)
        if best:
            model.load_state_dict(best)
        model.eval()
        if team.size > 1:
            dist.barrier()  # whoever reads the checkpoint next finds it whole
    return pd.DataFrame(rows)


def seeded(seed: int, make: Callable[[], M]) -> M:
    """What `make` builds from this seed: initial weights that depend on nothing else.

    PyTorch's global generator is left as it was.
    """
    with _forked(seed, torch.device("cpu")):
        return make()


def _computes_bf16() -> bool:
    """Whether PyTorch's CPU kernels know bf16 on this machine; where not, they fall back to plain loops."""
    ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # absent without oneDNN
    return ask is None or ask()


class _Team(NamedTuple):
    """This process among those that train together."""

    device: torch.device
    rank: int
    size: int


class _Loop:
    """What stays the same from epoch to epoch, and the two things done in each."""

    def __init__(self, model, recipe, team, precision, loss, sampler, augment) -> None:
        self.model, self.recipe, self.team, self.precision = model, recipe, team, precision
        self.loss, self.sampler, self.augment = (
            loss or _cross_entropy,
            sampler,
            augment or self._crop_and_flip,
        )
        self.optimiser = make_optimiser(model, recipe)
        self.parallel = nn.parallel.DistributedDataParallel(model) if team.size > 1 else model

    def epoch(self, data: tuple[Tensor, Tensor], epoch: int, seed: int, bar: tqdm) -> dict[str, float]:
        """Train for one epoch; mean loss and accuracy."""
        # Streams start anew from (seed, epoch), so that a checkpoint needs no generator's state.
        shared, own = _stream(seed, epoch, 0), _stream(seed, epoch, 1 + self.team.rank)
        _seed(own.initial_seed(), self.team.device)  # dropout
        order = self._order(len(data[1]), epoch, shared).to(self.team.device)
        steps = math.ceil(len(order) / self.recipe.batch)
        totals = []
        self.model.train()
        for step, batch in enumerate(order.tensor_split(steps)):
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(self.recipe, epoch, step, steps)
            totals.append(self._step(data, batch, epoch, own))
            bar.update(epoch + (step + 1) / steps - bar.n)
        loss, correct, seen = self._summed(torch.stack(totals).sum(0))
        if not math.isfinite(loss):
            bad = [step for step, total in enumerate(totals) if not total[0].isfinite()]
            step = bad[0] if bad else steps - 1  # none here: it was another process's
            rate = learning_rate(self.recipe, epoch, step, steps)
            where = f"epoch {epoch}, step {step} of {steps}, lr = {rate:g}"
            raise FloatingPointError(
                f"the loss ceased to be finite in {where}; lower lr or warm up; this was {self.recipe}"
            )
        state = self.model.state_dict()
        if spoilt := [n for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]:
            # A finite loss with an infinite slope, in the last step: the next loss would tell, after it is saved.
            raise FloatingPointError(
                f"{spoilt[0]} ceased to be finite in epoch {epoch}, though the loss did not; lower lr or warm up, or "
                f"look for an infinite slope of the loss; this was {self.recipe}"
            )
        for buffer in self.model.buffers() if self.team.size > 1 else ():
            dist.broadcast(buffer, 0)  # each process has had batch statistics of its own
        bar.set_postfix(loss=f"{loss / seen:.3g}")
        return {"train_loss": loss / seen, "train_accuracy": correct / seen}

    def score(self, data: tuple[Tensor, Tensor] | None, epoch: int) -> dict[str, float]:
        """Loss and accuracy on test data, each process its share; NaN where it is not their turn."""
        due = (epoch + 1) % self.recipe.test_every == 0 or epoch + 1 == self.recipe.epochs
        if data is None or not due:
            return {"test_loss": math.nan, "test_accuracy": math.nan}
        images, labels = (part[self.team.rank :: self.team.size] for part in data)
        logits = predict(self.model, images, precision=self.precision)
        totals = F.cross_entropy(logits, labels, reduction="sum"), (logits.argmax(1) == labels).sum()
        loss, correct = self._summed(torch.stack([total.double() for total in totals]))
        return {"test_loss": loss / len(data[1]), "test_accuracy": correct / len(data[1])}

    def _step(self, data: tuple[Tensor, Tensor], batch: Tensor, epoch: int, own: Generator) -> Tensor:
        """One step; loss and correct answers summed over this process's part, and its size."""
        part = batch[self.team.rank :: self.team.size]
        # Weighted by size, a mean over parts is the batch's. Who has none lends an image that counts nothing.
        weight = len(part) * self.team.size / len(batch)
        rows = part if len(part) else batch[:1]
        images, labels = self.augment(data[0][rows], own), data[1][rows]
        logits = forward(self.parallel, ready(images, self.model), self.precision)
        loss = self.loss(logits, labels, epoch)
        if loss.dim():
            raise ValueError(f"loss has shape {tuple(loss.shape)}, expected one number: the batch's mean")
        self.optimiser.zero_grad()
        (loss * weight).backward()
        self.optimiser.step()
        correct = (logits.argmax(1) == labels).double().mean()
        return torch.stack([loss.detach().double(), correct, torch.ones_like(correct)]) * len(part)

    def _order(self, n: int, epoch: int, shared: Generator) -> Tensor:
        if self.sampler is None:
            return torch.randperm(n, generator=shared)
        order = torch.as_tensor(self.sampler(epoch, shared))
        if order.dim() != 1 or order.dtype != torch.int64 or not len(order):
            raise ValueError(
                f"sampler gave {order.dtype} of shape {tuple(order.shape)}, expected int64 indices"
            )
        if order.min() < 0 or order.max() >= n:
            raise ValueError(f"sampler gave indices {order.min()} to {order.max()}, expected 0 to {n - 1}")
        return order

    def _crop_and_flip(self, images: Tensor, generator: Generator) -> Tensor:
        images = crop(images, self.recipe.pad, generator) if self.recipe.pad else images
        return flip(images, generator) if self.recipe.flip else images

    def _summed(self, totals: Tensor) -> list[float]:
        if self.team.size > 1:
            dist.all_reduce(totals)
        return totals.tolist()


def _cross_entropy(logits: Tensor, labels: Tensor, epoch: int) -> Tensor:
    return F.cross_entropy(logits, labels)


def _bar(recipe: Recipe, team: _Team) -> tqdm:
    return tqdm(total=recipe.epochs, desc="training", bar_format=BAR, leave=False, disable=team.rank > 0)


def _team(device: str | torch.device) -> _Team:
    """Join the other processes, if ``torchrun`` started some."""
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device = {str(device)!r}, but PyTorch finds no GPU here; 'cpu' would do")
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        return _Team(device, 0, 1)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(lambda: dist.is_initialized() and dist.destroy_process_group())
    return _Team(device, dist.get_rank(), dist.get_world_size())


@contextlib.contextmanager
def _forked(seed: int, device: torch.device) -> Iterator[None]:
    """Global generators that start from `seed` and are put back at the end."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _seed(seed, device)
        yield


def _seed(seed: int, device: torch.device) -> None:
    """Seed the CPU's generator and the device's; ``torch.manual_seed`` would set every GPU's and leave it so."""
    torch.default_generator.manual_seed(int(seed))
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(int(seed))


def _stream(*entropy: int) -> Generator:
    """A generator that has nothing in common with those of neighbouring numbers."""
    return Generator().manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
