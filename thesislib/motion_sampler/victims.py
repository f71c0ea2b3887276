"""Clips and trained networks of a data set, kept on disk: what every run of the chapter starts from.

Thesis, section 3.4.1.

``dataset`` is a set's name or path, ``name`` a network's, ``recipe`` and ``seed`` are the training's; ``clips`` are
uint8 of shape (n, frames, height, width, 3).
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn

from thesislib.datasets import load_images
from thesislib.datasets.clips import load_clips
from thesislib.memo import memoised
from thesislib.models.cifar import ResNet18
from thesislib.models.video import VIDEO_MODELS, small_motion_stream
from thesislib.motion_sampler.flow import flow_stack
from thesislib.recipe import Recipe
from thesislib.training import fit, predict, seeded

IMAGE_SET, IMAGE_WIDTH = "glyphs", 0.125  # of V-BAD's image network: letters, no class of any set of clips
IMAGE_RECIPE = Recipe(epochs=4, batch=64, lr=0.1, nesterov=True, weight_decay=5e-4, schedule="one-cycle")


@functools.lru_cache(maxsize=4)
def clips_of(dataset: str) -> dict[str, Tensor | tuple[str, ...]]:
    """A data set as the chapter uses it.

    Returns
    -------
    dict
        ``train``, ``test``: uint8, shape (n, 3, frames, height, width); ``train_labels``, ``test_labels``: int64;
        ``classes``: names.
    """
    data = load_clips(dataset)
    return {
        "train": _first(data.train_clips),
        "train_labels": torch.from_numpy(data.train_labels),
        "test": _first(data.test_clips),
        "test_labels": torch.from_numpy(data.test_labels),
        "classes": data.classes,
    }


def _first(clips: np.ndarray) -> Tensor:
    """Channels first."""
    return torch.from_numpy(clips).permute(0, 4, 1, 2, 3).contiguous()


def floats(clips: Tensor) -> Tensor:
    """Clips of bytes in [0, 1], as models and attacks take them."""
    return clips.float() / 255


def network(dataset: str, name: str, recipe: Recipe, seed: int) -> nn.Module:
    """A trained victim in evaluation mode; arguments as for :func:`trained`."""
    model = VIDEO_MODELS[name](len(clips_of(dataset)["classes"]))
    model.load_state_dict(trained(dataset, name, recipe, seed)["weights"])
    return model.eval().requires_grad_(False)


@memoised(data="dataset")
def trained(dataset: str, name: str, recipe: Recipe, seed: int) -> dict:
    """Train a network of :data:`thesislib.models.video.VIDEO_MODELS` on a set's training part.

    Returns
    -------
    dict
        ``weights`` (a state dict), ``correct`` (tensor of bool, one a test clip).
    """
    data = clips_of(dataset)
    model = seeded(seed, lambda: VIDEO_MODELS[name](len(data["classes"])))
    fit(model, (data["train"], data["train_labels"]), recipe, seed=seed)
    return {
        "weights": model.state_dict(),
        "correct": predict(model, floats(data["test"]), batch=64).argmax(1) == data["test_labels"],
    }


@memoised(data="dataset")
def trained_stream(dataset: str, recipe: Recipe, seed: int) -> dict:
    """Train the motion stream of Table 3.6 on the optical flow of a set's training part; as :func:`trained`."""
    data = clips_of(dataset)
    made = {name: flow_of(floats(data[name])) for name in ("train", "test")}
    model = seeded(seed, lambda: small_motion_stream(len(data["classes"]), data["train"].shape[2]))
    fit(model, (made["train"], data["train_labels"]), recipe, seed=seed)
    correct = predict(model, made["test"], batch=64).argmax(1) == data["test_labels"]
    return {"weights": model.state_dict(), "correct": correct}


def motion_stream(dataset: str, recipe: Recipe, seed: int) -> nn.Module:
    """The trained motion stream in evaluation mode."""
    data = clips_of(dataset)
    model = small_motion_stream(len(data["classes"]), data["train"].shape[2])
    model.load_state_dict(trained_stream(dataset, recipe, seed)["weights"])
    return model.eval().requires_grad_(False)


def flow_of(clips: Tensor) -> Tensor:
    """Stacked optical flow of clips in [0, 1], shape (n, 3, frames, height, width), as the motion stream takes it."""
    return torch.from_numpy(flow_stack(clips.numpy()))


def image_network(seed: int) -> nn.Module:
    """V-BAD's image network, of frames in [0, 1] to ten logits: no pretrained weights are at hand, so it has learnt
    letters, and no class of any set of clips."""
    weights = _image_weights(IMAGE_SET, seed)
    model = ResNet18(len(weights["linear"]), width=IMAGE_WIDTH)
    model.load_state_dict(weights["state"])
    return model.eval().requires_grad_(False)


@memoised(data="dataset")
def _image_weights(dataset: str, seed: int) -> dict:
    data = load_images(dataset)
    images = torch.from_numpy(data.train_images).movedim(-1, 1)
    images = nn.functional.interpolate(images.float() / 255, size=(32, 32), mode="bilinear").clamp(0, 1)
    model = seeded(seed, lambda: ResNet18(len(data.classes), width=IMAGE_WIDTH))
    fit(model, (images, torch.from_numpy(data.train_labels)), IMAGE_RECIPE, seed=seed)
    return {"state": model.state_dict(), "linear": tuple(data.classes)}
