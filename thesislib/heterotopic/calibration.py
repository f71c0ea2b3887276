"""Reliability: how often a classifier is right where it is so-and-so sure (thesis, figure 5.7)."""

from __future__ import annotations

import numpy as np
import pandas as pd


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> pd.DataFrame:
    """Bins of equal width in confidence, each open below and closed above.

    Parameters
    ----------
    confidence : array, shape (n,)
        Largest softmax probability of each image, in [0, 1].
    correct : array of bool, shape (n,)
        Whether the class of that probability is the image's.
    bins : int

    Returns
    -------
    pandas.DataFrame
        One row a bin: ``bin`` (from 0), ``low``, ``high``, ``count``, ``accuracy``, ``confidence`` (means over the bin's
        images, 0 where there are none).

    Raises
    ------
    ValueError
        If there are no images, shapes differ, a confidence lies outside [0, 1], or there is no bin.
    """
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    if confidence.ndim != 1 or not len(confidence) or confidence.shape != correct.shape:
        raise ValueError(f"confidences {confidence.shape} and answers {correct.shape}; expected (n,) of both, n > 0")
    if not (0 <= confidence.min() and confidence.max() <= 1) or bins < 1:
        span = f"{confidence.min():g} to {confidence.max():g}"
        raise ValueError(f"confidences from {span} in {bins} bins; expected 0 to 1 and at least one bin")
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    share = np.maximum(count, 1)
    return pd.DataFrame(
        {
            "bin": np.arange(bins),
            "low": edges[:-1],
            "high": edges[1:],
            "count": count,
            "accuracy": np.bincount(place, correct, bins) / share,
            "confidence": np.bincount(place, confidence, bins) / share,
        }
    )


def calibration_error(table: pd.DataFrame) -> tuple[float, float]:
    """Expected and maximum calibration error of a :func:`reliability` table, from 0 to 1.

    ``ECE = sum_m |B_m| / n * |accuracy - confidence|``, MCE the largest gap of a bin that has images (Guo et al.,
    ICML 2017, eq. 3 and 5).
    """
    gap = (table["accuracy"] - table["confidence"]).abs()
    held = table["count"] > 0
    return float((gap * table["count"]).sum() / table["count"].sum()), float(gap[held].max())
