"""Labelled clips with a training and a test part, in one shape whatever they come from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thesislib.datasets import moving
from thesislib.datasets.catalogue import DatasetError


@dataclass(frozen=True, eq=False)
class Clips:
    """A data set of clips.

    Attributes
    ----------
    name : str
        What the figures call it.
    train_clips, test_clips : array of uint8, shape (n, frames, height, width, 3)
        What a model sees, RGB, 0 to 255.
    train_labels, test_labels : array of int64, shape (n,)
        Class numbers, 0 to ``len(classes) - 1``.
    classes : tuple of str
        Names of the classes.
    whole : callable
        ``whole(k)`` gives test clip `k` at its full rate and size, uint8 of shape (length, height, width, 3): what
        motion is taken from.
    """

    name: str
    train_clips: np.ndarray
    train_labels: np.ndarray
    test_clips: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    whole: Callable[[int], np.ndarray]


def load_clips(name: str | os.PathLike) -> Clips:
    """Load a data set of clips.

    Parameters
    ----------
    name : str
        ``"moves"``, ``"moves_panning"``, ``"looks"`` or ``"looks_many"``.

    Raises
    ------
    DatasetError
        If it is unknown.
    """
    if name not in moving.PRESETS:
        raise DatasetError(f"no clips {name!r}; there are {', '.join(moving.PRESETS)}")
    filming = moving.PRESETS[name]
    train, test = range(filming.train * filming.classes), range(filming.test * filming.classes)
    return Clips(
        name,
        np.stack([moving.example(filming, k) for k in train]),
        np.array([moving.label(filming, k) for k in train]),
        np.stack([moving.seen(filming, moving.clip(filming, k)) for k in test]),
        np.array([moving.label(filming, k) for k in test]),
        filming.names,
        lambda k: moving.clip(filming, k),
    )
