"""A training on disk after each epoch: enough to go on as if it had never stopped."""

from __future__ import annotations

import dataclasses
import io
import os
import zlib
from pathlib import Path
from typing import Any

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
    **facts
        Plain values that a continued run must have in common with its beginning: the seed, say.
    """

    def __init__(
        self, path: str | os.PathLike, recipe: Recipe, data: tuple[Tensor, Tensor], **facts: Any
    ) -> None:
        images, labels = (zlib.crc32(t.cpu().contiguous().view(torch.uint8).numpy()) for t in data)
        self.path = Path(path)
        self.run = dataclasses.asdict(recipe) | facts | {"images": images, "labels": labels}

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
