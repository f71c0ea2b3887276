"""What long-tailed classifiers are judged by: accuracy by class and by group, calibration.

Thesis, sections 4.5.1 and 5.4.1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import special
from torch import Tensor


def class_accuracies(predicted: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """Accuracy on the test images of each class.

    Parameters
    ----------
    predicted, labels : Tensor of int, shape (n,)
    classes : int

    Returns
    -------
    array of float, shape (classes,)
        0 to 1; NaN for a class without test images.

    Raises
    ------
    ValueError
        If the shapes differ, there are no images, or a label is not 0 to ``classes - 1``.

    Examples
    --------
    >>> class_accuracies(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2).tolist()
    [0.5, 1.0]
    """
    predicted, labels = predicted.cpu(), labels.cpu()
    if predicted.shape != labels.shape or labels.dim() != 1 or not len(labels):
        shapes = f"{tuple(predicted.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"predicted and labels have shapes {shapes}; expected (n,) both, n > 0")
    if labels.min() < 0 or labels.max() >= classes:
        reach = f"{labels.min().item()} to {labels.max().item()}"
        raise ValueError(f"labels reach from {reach}; expected 0 to {classes - 1}")
    total = torch.bincount(labels, minlength=classes).double()
    right = torch.bincount(labels[predicted == labels], minlength=classes).double()
    return (right / total).numpy()


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def balanced_accuracy(by_class: np.ndarray, group: np.ndarray | None = None) -> float:
    """Mean of class accuracies, over a group of classes if one is given; NaN if that is empty.

    Parameters
    ----------
    by_class : array of float, shape (classes,)
    group : array of bool, shape (classes,), optional

    Raises
    ------
    ValueError
        As :func:`balanced_interval`.

    Examples
    --------
    >>> balanced_accuracy(np.array([0.5, 1.0, 0.0]), np.array([True, True, False]))
    0.75
    """
    chosen = by_class[_mask(group, len(by_class))]
    return float(np.nanmean(chosen)) if np.isfinite(chosen).any() else float("nan")


def balanced_interval(by_class: np.ndarray, images: np.ndarray, group: np.ndarray | None = None) -> Interval:
    """Balanced accuracy and the interval that the finite test set leaves it.

    Of a stratified mean of proportions, with two successes and two failures spread over the strata so that a
    perfect score has an interval too (Agresti and Coull 1998). It says nothing of the spread over trainings.

    Parameters
    ----------
    by_class : array of float, shape (classes,)
    images : array of int, shape (classes,)
        Test images of each class.
    group : array of bool, shape (classes,), optional

    Raises
    ------
    ValueError
        If the group is no such mask; numbers of classes, as of
        :func:`~thesislib.longtail.shots.head_classes`, are none.
    """
    chosen = _mask(group, len(by_class)) & (np.asarray(images) > 0)
    if not chosen.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    p, n, strata = by_class[chosen], np.asarray(images)[chosen], chosen.sum()
    smooth = (p * n + 2 / strata) / (n + 4 / strata)
    reach = special.ndtri(0.975) * np.sqrt((smooth * (1 - smooth) / (n + 4 / strata)).sum()) / strata
    centre = smooth.mean()
    return Interval(float(p.mean()), float(max(0, centre - reach)), float(min(1, centre + reach)))


def _mask(group: np.ndarray | None, classes: int) -> np.ndarray:
    chosen = np.ones(classes, bool) if group is None else np.asarray(group)
    if chosen.dtype != bool or chosen.shape != (classes,):
        found = f"{chosen.dtype} of shape {chosen.shape}"
        raise ValueError(f"group is {found}; expected bool of shape ({classes},): np.isin makes a mask")
    return chosen


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Mean distance of confidence from accuracy over equal bins of confidence (Guo et al. 2017).

    Parameters
    ----------
    logits : Tensor, shape (n, classes)
    labels : Tensor of int, shape (n,)
    bins : int

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    ValueError
        As :func:`reliability`.
    """
    _, gaps, shares = reliability(logits, labels, bins)
    return float((shares * np.abs(gaps)).sum())


def reliability(logits: Tensor, labels: Tensor, bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The reliability diagram: by bin of confidence, from lowest.

    Returns
    -------
    confidence, gap, share : arrays of float, shape (bins,)
        Mean confidence, accuracy less confidence, share of the images; 0 in an empty bin.

    Parameters
    ----------
    logits : Tensor, shape (n, classes)
    labels : Tensor of int64, shape (n,)
    bins : int

    Raises
    ------
    ValueError
        If there are no images or no bin, a label is none of the logits' classes, or an image's logits have no
        softmax.
    """
    if bins < 1 or not len(labels) or logits.dim() != 2 or logits.shape[:1] != labels.shape:
        raise ValueError(f"{bins} bins, logits {tuple(logits.shape)}, labels {tuple(labels.shape)}")
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        reach = f"{labels.min().item()} to {labels.max().item()}"
        raise ValueError(f"labels reach from {reach}; the logits are of classes 0 to {logits.shape[1] - 1}")
    confidence, predicted = logits.double().softmax(1).max(1)
    if confidence.isnan().any():
        first = int(confidence.isnan().nonzero()[0])
        raise ValueError(f"logits of image {first} are NaN or infinite; expected finite ones")
    right = (predicted == labels).double()
    # Bins are (low, high], as in the original; a confidence is never 0.
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = torch.bincount(place, minlength=bins).double()
    sums = [
        torch.zeros(bins, dtype=torch.double).index_add_(0, place.cpu(), v.cpu()) for v in (confidence, right)
    ]
    safe = count.cpu().clamp(min=1)
    mean, accuracy = (s / safe for s in sums)
    return mean.numpy(), (accuracy - mean).numpy(), (count.cpu() / len(labels)).numpy()
