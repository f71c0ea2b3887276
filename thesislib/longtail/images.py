"""A long-tailed set as tensors, read once a process (thesis, sections 4.5.1 and 5.4.1)."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from thesislib.datasets.longtail import load_longtail


@functools.lru_cache(maxsize=3)
def images_of(dataset: str, ratio: float | None) -> dict[str, Tensor]:
    """A data set's images and labels.

    Parameters
    ----------
    dataset : str
        As :func:`thesislib.datasets.longtail.load_longtail` takes it.
    ratio : float or None
        Imbalance ratio; None: the data set's own.

    Returns
    -------
    dict
        ``train`` and ``test``: images, uint8, shape (n, channels, height, width). ``train_labels`` and
        ``test_labels``: int64. ``counts``: training images of each class.

    Raises
    ------
    DatasetError
        If the set is unknown, missing, or too small for the ratio.
    """
    data = load_longtail(dataset, ratio)
    labels = torch.from_numpy(data.train_labels)
    return {
        "train": torch.from_numpy(np.ascontiguousarray(np.moveaxis(data.train_images, -1, 1))),
        "train_labels": labels,
        "test": torch.from_numpy(np.ascontiguousarray(np.moveaxis(data.test_images, -1, 1))),
        "test_labels": torch.from_numpy(data.test_labels),
        "counts": torch.bincount(labels),
    }
