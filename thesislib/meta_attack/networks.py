"""Images and trained networks of a column, kept on disk: what every run of the chapter starts from.

Thesis, section 2.4.1.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thesislib.datasets import load_images
from thesislib.memo import memoised, unfinished
from thesislib.models import make_model
from thesislib.recipe import Recipe
from thesislib.training import fit, predict, seeded


@functools.lru_cache(maxsize=2)
def images_of(dataset: str, size: int) -> dict[str, Tensor | int]:
    """A data set as the chapter uses it.

    Parameters
    ----------
    dataset : str
        Name or path.
    size : int
        Side to which the images are resized, bilinearly.

    Returns
    -------
    dict
        ``train``, ``test``: float32, shape (n, channels, size, size), in [0, 1], not normalised; ``train_labels``,
        ``test_labels``: int64; ``channels``, ``classes``: int.
    """
    data = load_images(dataset)

    def floats(pixels) -> Tensor:
        images = torch.from_numpy(pixels).movedim(-1, 1).float() / 255
        if images.shape[-2:] == (size, size):
            return images.contiguous()
        resized = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
        return resized.clamp(0, 1)

    return {
        "train": floats(data.train_images),
        "train_labels": torch.from_numpy(data.train_labels),
        "test": floats(data.test_images),
        "test_labels": torch.from_numpy(data.test_labels),
        "channels": data.train_images.shape[-1],
        "classes": len(data.classes),
    }


def network(
    dataset: str, size: int, name: str, width: float, recipe: Recipe, noise: float, seed: int, device: str
) -> nn.Module:
    """A trained network in evaluation mode; arguments as for :func:`trained`."""
    data = images_of(dataset, size)
    model = make_model(name, classes=data["classes"], channels=data["channels"], size=size, width=width)
    model.load_state_dict(trained(dataset, size, name, width, recipe, noise, seed, device)["weights"])
    return model.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)


def source_seed(seed: int, number: int) -> int:
    """Seed of a column's source network, by its place among them.

    Not the victim's: networks whose first layers are alike would begin there with the same weights, which no attacker
    knows.
    """
    return int(np.random.SeedSequence([seed, 1 + number]).generate_state(1)[0])


@memoised(data="dataset")
def trained(
    dataset: str, size: int, name: str, width: float, recipe: Recipe, noise: float, seed: int, device: str
) -> dict:
    """Train a network of :data:`thesislib.models.MODELS` on a data set's training part.

    Parameters
    ----------
    dataset, size
        As for :func:`images_of`.
    name, width
        As for :func:`thesislib.models.make_model`.
    recipe : Recipe
    noise : float
        Standard deviation of Gaussian noise added to training images, 0 in the thesis.
    seed : int
        Of weights and order.
    device : str
        Where it is trained; rounding differs between devices, so the weights do.

    Returns
    -------
    dict
        ``weights`` (a state dict), ``correct`` (tensor of bool, one a test image); both on the CPU.
    """
    data = images_of(dataset, size)
    model = seeded(
        seed,
        lambda: make_model(name, classes=data["classes"], channels=data["channels"], size=size, width=width),
    )

    def noisy(images: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.randn(images.shape, generator=generator).to(images.device)
        return (images + noise * drawn).clamp(0, 1)

    fit(model, (data["train"], data["train_labels"]), recipe, augment=noisy if noise else None, seed=seed,
        device=device, test=(data["test"], data["test_labels"]) if recipe.keep_best else None,
        checkpoint=unfinished())  # fmt: skip
    correct = predict(model, data["test"]).argmax(1).cpu() == data["test_labels"]
    return {"weights": model.cpu().state_dict(), "correct": correct}
