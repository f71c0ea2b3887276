"""What the thesis says of chapter 5's figures and tables, as tests of their frames (thesis, section 5.4).

Comparisons are paired over seeds (same initial weights, same order of images), of figure 5.1 over seeds and images.

``value`` names the column compared, ``unit`` its unit, ``shot`` the group of classes, ``ours`` the method claimed for.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from thesislib.evidence import Claim, Comparison, NotTested, paired_bootstrap, paired_t, pairs, weakest
from thesislib.heterotopic.settings import (
    BASE,
    BEFORE,
    FEATURES,
    GENERIC,
    OURS,
    OURS_CRT,
    SHARED,
    WITHOUT,
)

POINTS = "points of accuracy"
Test = Callable[[pd.DataFrame], Comparison]


def _paired(rows: pd.DataFrame, value: str, first: str, second: str, label: str, **how: object) -> Comparison:
    """`second` less `first` of a value, over seeds."""
    of = how.get("of", "method")
    if lacking := [name for name in (first, second) if name not in set(rows[of])]:
        raise NotTested(f"this run has no {', '.join(lacking)}")
    theirs, ours = pairs(rows, value, first, second, of=of, on=["seed"])
    return paired_t(ours, theirs, unit=how.get("unit", POINTS), label=label)


def _each(frame: pd.DataFrame, one: Callable[[pd.DataFrame, str], list[Comparison]]) -> Comparison:
    """The weakest comparison over data sets, and over their imbalance ratios where the frame has several."""
    keys = [key for key in ("dataset", "ratio") if key in frame]
    found = []
    for (dataset, *ratio), rows in frame.groupby(keys, sort=False):
        found += one(rows, ", ".join([dataset, *(f"ratio {r:g}" for r in ratio)]))
    return weakest(found)


def beats(first: str, second: str, *, value: str = "accuracy", shot: str = "All", of: str = "method") -> Test:
    """That `second` is more accurate than `first`, on every data set; of a long frame in a group of classes."""

    def test(frame: pd.DataFrame) -> Comparison:
        rows = frame[frame["shot"] == shot] if "shot" in frame else frame
        return _each(
            rows, lambda part, name: [_paired(part, value, first, second, f"{name}: against {first}", of=of)]
        )

    return test


def _best_of_four(frame: pd.DataFrame) -> Comparison:
    """Ours against the base and each of the other three ways."""

    def one(rows: pd.DataFrame, name: str) -> list[Comparison]:
        rivals = [m for m in (BASE, BEFORE, SHARED, GENERIC) if m in set(rows["method"])]
        if OURS not in set(rows["method"]) or len(rivals) < 4:
            raise NotTested("this run lacks one of the four ways")
        return [_paired(rows, "All", rival, OURS, f"{name}: against {rival}") for rival in rivals]

    return _each(frame, one)


def beats_all(ours: str) -> Test:
    """That a method beats every baseline of a table."""

    def test(frame: pd.DataFrame) -> Comparison:
        rows = frame[frame["shot"] == "All"]

        def one(part: pd.DataFrame, name: str) -> list[Comparison]:
            rivals = [m for m in part["method"].unique() if m not in (OURS, OURS_CRT)]
            if ours not in set(part["method"]) or not rivals:
                raise NotTested(f"this run has no {ours} or no rival")
            return [_paired(part, "accuracy", rival, ours, f"{name}: against {rival}") for rival in rivals]

        return _each(rows, one)

    return test


def _more_on_few(frame: pd.DataFrame) -> Comparison:
    """Gain on Few less gain on Many."""

    def one(rows: pd.DataFrame, name: str) -> list[Comparison]:
        gains = []
        for shot in ("Many", "Few"):
            theirs, ours = pairs(rows[rows["shot"] == shot], "accuracy", BASE, OURS, on=["seed"])
            gains.append(ours - theirs)
        return [paired_t(gains[1], gains[0], unit=POINTS, label=name)]

    return _each(frame, one)


def _moderate(frame: pd.DataFrame) -> Comparison:
    """The best inner weight of the sweep against both its ends.

    The best one is chosen on the same seeds, which favours the claim; the ends are 0 and the largest.
    """
    rows = frame[frame["shot"] == "All"]
    table = rows.pivot(index="seed", columns="lambda", values="accuracy")
    inner = list(table.columns[1:-1])
    if not inner:
        raise NotTested("the sweep has no weight between its ends")
    best = table[inner].mean().idxmax()
    return weakest(
        paired_t(table[best], table[end], unit=POINTS, label=f"lambda {best:g} against {end:g}")
        for end in (table.columns[0], table.columns[-1])
    )


def _every_method(frame: pd.DataFrame) -> Comparison:
    """Each self-supervised method in the framework against both baselines."""
    ours = [m for m in frame["method"].unique() if m not in (BASE, BEFORE)]
    return weakest(
        _paired(frame, "All", baseline, method, f"{method} against {baseline}")
        for method in ours
        for baseline in (BASE, BEFORE)
    )


def _calibrated(frame: pd.DataFrame) -> Comparison:
    """ECE in 15 bins of the base less that of ours."""
    rows = frame.groupby(["dataset", "method", "seed"], as_index=False)["ECE 15"].first()

    def one(part: pd.DataFrame, name: str) -> list[Comparison]:
        theirs, ours = pairs(part, "ECE 15", BASE, OURS, on=["seed"])
        return [paired_t(theirs, ours, unit="expected calibration error", label=name)]

    return _each(rows, one)


def apart(value: str, unit: str) -> Test:
    """That ours keeps classes further apart: means over the test images, which each row repeats."""

    def test(frame: pd.DataFrame) -> Comparison:
        rows = frame.groupby(["dataset", "method", "seed"], as_index=False)[value].first()
        return _each(rows, lambda part, name: [_paired(part, value, BASE, OURS, name, unit=unit)])

    return test


def overlaps_less(feature: str) -> Test:
    """That a feature and the one it is compared with share less than two classifiers do, over seeds and images."""

    def test(frame: pd.DataFrame) -> Comparison:
        sides = pairs(frame, "overlap", FEATURES[0], feature, of="feature", on=["seed", "image"])
        reference, theirs = (side.reshape(frame["seed"].nunique(), -1) for side in sides)
        return paired_bootstrap(reference, theirs, unit="cosine of maps of sensitivity", label=feature)

    return test


_AGAINST_BASELINES = [
    Claim("Ours is more accurate than cross-entropy alone.", "abstract", beats(BASE, OURS)),
    Claim("Ours is more accurate than every baseline of the table.", "abstract", beats_all(OURS)),
]
_WITH_CRT = [
    Claim("cRT fine-tuning adds to ours.", "inferred", beats(OURS, OURS_CRT)),
    Claim(
        "Ours with cRT is more accurate than cRT on features of cross-entropy.",
        "inferred",
        beats("cRT", OURS_CRT),
    ),
    Claim(
        "Ours with cRT is more accurate than every baseline of the table.", "inferred", beats_all(OURS_CRT)
    ),
]

CLAIMS: dict[str, list[Claim]] = {
    "fig-5.1": [
        Claim(
            "Classification and self-supervision attend to different parts of an image. Tested here: their features "
            "share less than those of two classifiers.",
            "caption",
            overlaps_less(FEATURES[1]),
        ),
        Claim(
            "The feature of self-supervision itself changes between pooling and the end of the MLP. Tested here: by "
            "more than two classifiers differ.",
            "caption",
            overlaps_less(FEATURES[2]),
        ),
    ],
    "fig-5.3": [
        Claim(
            "Of the four ways to apply self-supervision the last is best, and better than none.",
            "inferred",
            _best_of_four,
        ),
        Claim(
            "The Filter helps: a disentangled generic feature is better than a shared space.",
            "inferred",
            beats(SHARED, GENERIC, value="All"),
        ),
    ],
    "fig-5.4": [
        Claim("A moderate lambda is best: better than none, and than the largest.", "inferred", _moderate)
    ],
    "fig-5.5": [
        Claim("With heterotopic ensembling accuracy is higher than without.", "caption", beats(BASE, OURS)),
        Claim("The gain on few-shot classes exceeds that on many-shot classes.", "inferred", _more_on_few),
    ],
    "fig-5.6": [
        Claim(
            "With ours clusters are better separated: a higher silhouette of the features.",
            "inferred",
            apart("silhouette", "silhouette"),
        ),
        Claim(
            "With ours more images have neighbours of their own class.",
            "ours",
            apart("knn", "share of test images whose 20 neighbours vote for their class"),
        ),
    ],
    "fig-5.7": [Claim("With ours the expected calibration error is lower.", "inferred", _calibrated)],
    "tab-5.4": _AGAINST_BASELINES,
    "tab-5.5": _AGAINST_BASELINES + _WITH_CRT[1:2],
    "tab-5.6": _AGAINST_BASELINES,
    "tab-5.7": _AGAINST_BASELINES + _WITH_CRT,
    "tab-5.8": [
        Claim(
            "With the mutual-information constraint accuracy is higher than without.",
            "caption",
            beats(WITHOUT, "variational Gaussian", value="All", of="bound"),
        )
    ],
    "tab-5.9": [
        Claim(
            "Every self-supervised method in the framework beats both baselines.", "inferred", _every_method
        )
    ],
}
