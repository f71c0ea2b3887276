"""Long-tailed training sets with a balanced test set: the CIFAR sets of the literature, digits, glyphs.

>>> from thesislib.datasets.longtail import load_longtail
>>> data = load_longtail("digits_lt")
>>> [int((data.train_labels == k).sum()) for k in range(10)]
[140, 87, 54, 33, 21, 13, 8, 5, 3, 2]

All that decides the glyphs is in this file and in ``glyphs.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from thesislib.datasets.catalogue import DatasetError
from thesislib.datasets.content import fingerprint
from thesislib.datasets.glyphs import Drawing, draw
from thesislib.datasets.images import Images, load_images


@dataclass(frozen=True)
class Tail:
    """How a long-tailed set is made.

    Attributes
    ----------
    largest : int
        Training images of class 0.
    ratio : float
        Images of class 0 for one of the last class, unless the caller says otherwise.
    source : str
        The balanced set it is drawn from, or empty.
    drawing : Drawing, optional
        Of glyphs: all but the counts.
    many, few : int
        A class with more than `many` training images is Many, one with fewer than `few` is Few.
    """

    largest: int
    ratio: float
    source: str = ""
    drawing: Drawing | None = None
    many: int = 100
    few: int = 20


# So hard that a small network trained for seconds reads frequent characters well and rare ones badly.
_HARD = {
    "height": 0.85,
    "rotation": 9.0,
    "shear": 0.1,
    "zoom": 0.08,
    "shift": 0.045,
    "contrast": (0.3, 0.5),
    "texture": 0.04,
    "noise": 0.035,
}

TAILS: dict[str, Tail] = {
    "cifar10_lt": Tail(5000, 100, "cifar10"),
    "cifar100_lt": Tail(500, 100, "cifar100"),
    "digits_lt": Tail(140, 70, "digits", many=50, few=12),
    "glyphs_lt": Tail(100, 33, drawing=Drawing(24, 16, 1, 40, **_HARD), many=40, few=10),
    "glyphs_lt_steep": Tail(160, 80, drawing=Drawing(20, 16, 1, 40, **_HARD, seed=1), many=40, few=10),
    "glyphs_lt_fine": Tail(60, 15, drawing=Drawing(30, 20, 1, 30, **_HARD, seed=2), many=30, few=8),
    "glyphs_lt_many": Tail(45, 15, drawing=Drawing(40, 16, 1, 20, **_HARD, seed=3), many=20, few=6),
}
"""The long-tailed sets by name; the thresholds of small ones are scaled to their sizes."""


def longtail_counts(classes: int, largest: int, ratio: float) -> tuple[int, ...]:
    """Training images of each class, falling exponentially: ``floor(largest * (1/ratio) ** (k/(classes-1)))``.

    Cao et al., *Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss*, 2019.

    Raises
    ------
    DatasetError
        If a class would be left without an image, or the ratio is not 1 or more.

    Examples
    --------
    >>> counts = longtail_counts(100, 500, 100)
    >>> sum(counts), counts[0], counts[-1]
    (10847, 500, 5)
    """
    if classes < 2 or not ratio >= 1:  # NaN is not
        raise DatasetError(
            f"{classes} classes, ratio {ratio:g}; expected 2 classes or more and a ratio of 1 or more"
        )
    if not ratio <= largest:
        raise DatasetError(f"ratio {ratio:g} leaves the last class without an image; at most {largest} goes")
    # At a ratio of `largest` the last class has 1, which 49 * (1 / 49), say, falls short of.
    return tuple(max(1, int(largest * (1 / ratio) ** (k / (classes - 1)))) for k in range(classes))


def longtail_indices(labels: np.ndarray, counts: tuple[int, ...], full: int) -> np.ndarray:
    """Which images the LDAM rule keeps: of each class, the first so many of a shuffle with seed 0.

    `labels` may be those of the whole set or of a long-tailed part of it that was itself made by this rule and
    kept in the original order: a class that holds ``h < full`` images holds the first ``h`` of its shuffle, so
    the first ``n <= h`` are among them, and their places follow from the shuffle alone.

    Parameters
    ----------
    labels : array of int, shape (n,)
    counts : tuple of int
        Images wanted of each class, class 0 first.
    full : int
        Images of a class in the whole set.

    Returns
    -------
    array of int64, sorted
        Places in `labels`.

    Raises
    ------
    DatasetError
        If a class holds fewer images than wanted, or more than `full`.
    """
    random = np.random.RandomState(
        0
    )  # its shuffle draws the same whatever is shuffled, only the length counts
    kept = []
    for k, count in enumerate(counts):
        members = np.flatnonzero(labels == k)
        order = np.arange(full)
        random.shuffle(order)
        if not count <= len(members) <= full:
            raise DatasetError(
                f"class {k} holds {len(members)} images, expected {count} to {full}; a training set that is itself "
                "long-tailed serves for every ratio at least as large as its own"
            )
        held = np.sort(order[: len(members)])
        kept.append(members[np.searchsorted(held, order[:count])])
    return np.sort(np.concatenate(kept))


def load_longtail(name: str, ratio: float | None = None) -> Images:
    """Load a long-tailed set; classes are in the order of their training counts, largest first.

    Parameters
    ----------
    name : str
        A key of :data:`TAILS`. ``"digits_lt"`` and those of glyphs need nothing; ``"cifar10_lt"`` and
        ``"cifar100_lt"`` are drawn from ``cifar10`` and ``cifar100`` in ``THESISLIB_DATA``.
    ratio : float, optional
        Images of the first class for one of the last; None: the set's own.

    Returns
    -------
    Images
        The test part is the whole balanced one.

    Raises
    ------
    DatasetError
        If the name is unknown, or the set it is drawn from is missing or holds too few images of a class.

    Notes
    -----
    Of scikit-learn's digits, whose classes hold 139 to 147 training images, the first so many in the file's
    order are kept: its writers come one after another, so a rare class has few writers as well.
    """
    if name not in TAILS:
        raise DatasetError(f"no long-tailed set {name!r}; known: {', '.join(TAILS)}")
    tail = TAILS[name]
    ratio = tail.ratio if ratio is None else ratio
    if tail.drawing is not None:
        counts = longtail_counts(tail.drawing.classes, tail.largest, ratio)
        parts = draw(replace(tail.drawing, train=counts))
        return Images(name, *parts, fingerprint=fingerprint(name))
    whole = load_images(tail.source)
    counts = longtail_counts(len(whole.classes), tail.largest, ratio)
    if tail.source == "digits":
        kept = _first_of_each(whole.train_labels, counts)
    else:
        kept = longtail_indices(whole.train_labels, counts, tail.largest)
    return Images(
        name,
        whole.train_images[kept],
        whole.train_labels[kept],
        whole.test_images,
        whole.test_labels,
        whole.classes,
        fingerprint(name),
    )


def _first_of_each(labels: np.ndarray, counts: tuple[int, ...]) -> np.ndarray:
    kept = []
    for k, count in enumerate(counts):
        members = np.flatnonzero(labels == k)
        if len(members) < count:
            raise DatasetError(f"class {k} holds {len(members)} images, {count} are wanted")
        kept.append(members[:count])
    return np.sort(np.concatenate(kept))
