"""A training on disk after each epoch: enough to go on as if it had never stopped."""

from __future__ import annotations

import dataclasses
import io
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thesislib.memo import write_atomic
from thesislib.recipe import Recipe


class Checkpoint:
    """The file of one training, which knows recipe, seed and data and goes with no others.

    Parameters
    ----------
    path : path
    recipe : Recipe
    data : (images, labels)
        Their content is part of the identity.
    test : (images, labels), optional
        So is theirs where the recipe keeps the best epoch, which they choose.
    facts : mapping
        What the caller says that a continued run must have in common with its beginning: numbers, text, and lists of
        them, by name.
    **own
        The same from the training loop: the seed, say.

    Raises
    ------
    TypeError
        If a fact is another kind of value, which a file could not be asked for safely.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        recipe: Recipe,
        data: tuple[Tensor, Tensor],
        facts: Mapping[str, Any],
        test: tuple[Tensor, Tensor] | None = None,
        **own: Any,
    ) -> None:
        self.path = Path(path)
        run = dataclasses.asdict(recipe) | own | dict(zip(("images", "labels"), map(_crc, data), strict=True))
        if recipe.keep_best and test is not None:
            run |= dict(zip(("test images", "test labels"), map(_crc, test), strict=True))
        # A caller's names stay apart from ours: a fact called "lr" is not the recipe's.
        run |= {f"facts[{name!r}]" if name in run else name: value for name, value in facts.items()}
        self.run = {name: _plain(name, value) for name, value in run.items()}

    def save(self, model: nn.Module, optimiser: Optimizer, **rest: Any) -> None:
        """Write model, optimiser, `rest` (plain values, tensors); a kill leaves the old file or the new."""
        content = {"run": self.run, "model": model.state_dict(), "optimiser": optimiser.state_dict()}
        stream = io.BytesIO()
        torch.save(content | {"rest": rest}, stream)
        write_atomic(self.path, stream.getvalue())

    def load(self, model: nn.Module, optimiser: Optimizer) -> dict[str, Any]:
        """Bring model and optimiser to where the file left them and return its `rest`; empty without a file.

        Raises
        ------
        ValueError
            If the file is damaged, of another run, or of another architecture. The model is untouched then.
        """
        if not self.path.exists():
            return {}
        advice = "remove it or name another file"
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            theirs, weights = content["run"], content["model"]
        except Exception as error:  # a damaged file raises nearly anything
            raise ValueError(f"{self.path} is no checkpoint of a training; {advice}") from error
        for name in sorted(self.run.keys() | theirs.keys()):
            was, now = theirs.get(name), self.run.get(name)
            if was != now:
                raise ValueError(
                    f"checkpoint {self.path} is of another run: {name} was {was!r}, is {now!r}; {advice}"
                )
        shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        theirs = {name: tensor.shape for name, tensor in weights.items()}
        if odd := sorted(n for n in shapes.keys() | theirs.keys() if shapes.get(n) != theirs.get(n)):
            raise ValueError(f"checkpoint {self.path} is of another architecture: {odd[0]} differs; {advice}")
        model.load_state_dict(weights)
        optimiser.load_state_dict(content["optimiser"])
        return content["rest"]


def weights_print(model: nn.Module) -> int:
    """A number that changes with any weight or buffer of a model: what a second stage starts from, as a fact."""
    total = 0
    for name, tensor in model.state_dict().items():
        total = _crc(tensor, zlib.crc32(name.encode(), total))
    return total


def joined_facts(ours: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Facts of a stage of training and those that its caller adds.

    Parameters
    ----------
    ours, given : mapping

    Raises
    ------
    ValueError
        If both name the same.
    """
    if taken := sorted(ours.keys() & (given or {}).keys()):
        raise ValueError(f"facts name {', '.join(taken)}, which are recorded anyway; take other names")
    return {**ours, **(given or {})}


def _crc(tensor: Tensor, start: int = 0) -> int:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return zlib.crc32(flat.view(torch.uint8).numpy(), start)


def _plain(name: str, value: Any) -> Any:
    """The value as Python's own types, which alone are read back without running what a file says."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(name, item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(name, item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{name} = {value!r} is of type {type(value).__name__}; a checkpoint keeps numbers, text and lists of them"
    )
