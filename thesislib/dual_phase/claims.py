"""What the thesis says of chapter 4's figures and tables, as tests of their frames (thesis, section 4.5).

Every comparison is paired over seeds: the same images on both sides, and the same initial weights and order where both
begin with all classes; a head model has a smaller classifier, and with it other first weights. Differences are in
percentage points of accuracy, or in degrees.

``value`` names the column compared, ``unit`` its unit, ``label`` the comparison.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from thesislib.evidence import Claim, Comparison, NotTested, paired_t, pairs, weakest

OURS = "Dual-phase"
CONTROLS = ("Joint, then phase II", "Joint, same phase II")
POINTS = "percentage points"
LOSS_MARGIN = 1.0
"""Points of accuracy that still count as not losing."""


def better(
    rows: pd.DataFrame,
    first: object,
    second: object,
    *,
    of: str = "method",
    value: str = "accuracy",
    margin: float = 0.0,
    unit: str = POINTS,
    label: str = "",
) -> Comparison:
    """`first` less `second` in a column, paired over seeds.

    Parameters
    ----------
    rows : DataFrame
        With columns ``seed`` and `of`; one row a seed for each of the two.
    margin : float
        What may be lost.

    Raises
    ------
    NotTested
        If one of the two is not there, or with fewer than five seeds.
    """
    if absent := [str(name) for name in (first, second) if name not in set(rows[of])]:
        raise NotTested(f"this run has no {', '.join(absent)}")
    mine, theirs = pairs(rows, value, first, second, of=of, on=["seed"])
    return paired_t(mine, theirs, unit=unit, label=label or f"{first} against {second}").above(-margin)


def _overall(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["shot"] == "All"] if "shot" in frame else frame


def _groups(frame: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """The parts of a frame within which rows compare: data set, imbalance ratio, schedule."""
    keys = [k for k in ("dataset", "ratio", "epochs") if k in frame]
    for key, rows in frame.groupby(keys, sort=False):
        names = [f"{v:g}" if isinstance(v, float) else str(v) for v in key]
        words = [n if k == "dataset" else f"{k} {n}" for k, n in zip(keys, names, strict=True)]
        yield ", ".join(words), rows


def _everywhere(compare: Callable[[pd.DataFrame, str], Iterable[Comparison]]) -> Callable:
    """The claim in every group: the weakest comparison decides; a group with too few seeds is left out, and said."""

    def test(frame: pd.DataFrame) -> Comparison:
        found, left_out = [], []
        for where, rows in _groups(frame):
            try:
                found += list(compare(rows, where))
            except NotTested as reason:
                left_out.append(f"{where} ({reason})")
        if not found:
            raise NotTested("; ".join(left_out) or "nothing to compare with")
        decisive = weakest(found)
        without = f"; left out: {'; '.join(left_out)}" if left_out else ""
        return dataclasses.replace(decisive, label=decisive.label + without)

    return test


def _beats_baselines(rows: pd.DataFrame, where: str) -> Iterable[Comparison]:
    whole = _overall(rows)
    if OURS not in set(whole["method"]):
        raise NotTested("the dual-phase method is not among those of this run")
    for rival in whole["method"].unique():
        if not rival.startswith(OURS) and rival not in CONTROLS:
            yield better(whole, OURS, rival, label=f"{where}: against {rival}")


def _beats_control(rows: pd.DataFrame, where: str) -> Iterable[Comparison]:
    whole = _overall(rows)
    methods = set(whole["method"])
    for control in CONTROLS:
        if {OURS, control} <= methods:
            yield better(whole, OURS, control, label=f"{where}: against {control}")


def _by_shot(rows: pd.DataFrame, where: str) -> Iterable[Comparison]:
    for shot, margin in (("Medium", 0.0), ("Few", 0.0), ("Many", LOSS_MARGIN)):
        mine = rows[rows["shot"] == shot]
        yield better(mine, OURS, "CE", margin=margin, label=f"{where}: {shot} against CE")


def _both_improve(rows: pd.DataFrame, where: str) -> Iterable[Comparison]:
    for classes in ("head", "tail"):
        mine = rows[rows["classes"] == classes]
        yield better(mine, OURS, "CE", label=f"{where}: {classes} classes")


def _instead(first: object, *seconds: object, of: str) -> Callable:
    """`first` against each of `seconds` in column `of`, over all classes; those that were not run are left out."""

    def compare(rows: pd.DataFrame, where: str) -> Iterable[Comparison]:
        whole = _overall(rows)
        for second in seconds:
            if second in set(whole[of]):
                yield better(whole, first, second, of=of, label=f"{where}: {first} against {second}")

    return _everywhere(compare)


def _interior(of: str) -> Callable:
    """Some value between the ends of a sweep is better than either end.

    The best one is chosen on the same seeds, which favours the claim.
    """

    def compare(rows: pd.DataFrame, where: str) -> Iterable[Comparison]:
        whole = _overall(rows)
        mean = whole.groupby(of)["accuracy"].mean()
        if len(mean) < 3:
            raise NotTested(f"a sweep of {len(mean)} has no point between its ends")
        low, *inside, high = sorted(mean.index)
        best = mean[inside].idxmax()
        for end in (low, high):
            yield better(whole, best, end, of=of, label=f"{where}: {of} {best:g} against {end:g}")

    return _everywhere(compare)


def _leans_more(rows: pd.DataFrame, where: str) -> Iterable[Comparison]:
    for control in CONTROLS:
        if {OURS, control} <= set(rows["method"]):
            label = f"{where}: {OURS} against {control}"
            yield better(rows, OURS, control, value="head as tail", unit="points of head images", label=label)


def _bank_matters(rows: pd.DataFrame, where: str) -> Iterable[Comparison]:
    """The ends of the sweep differ: no direction is stated, so the better end goes first. It never fails to hold."""
    whole = _overall(rows)
    mean = whole.groupby("bank")["accuracy"].mean()
    if len(mean) < 2:
        raise NotTested("one size of the bank")
    worse, better_end = mean[[mean.index.min(), mean.index.max()]].sort_values(kind="stable").index
    label = f"{where}: {better_end} exemplars against {worse}"
    yield better(whole, better_end, worse, of="bank", label=label)


def _angles(first: str, second: str, value: str) -> Callable:
    """The first gradient's angle is larger, in mean or in standard deviation."""

    def compare(rows: pd.DataFrame, where: str) -> Iterable[Comparison]:
        yield better(
            rows,
            first,
            second,
            of="gradient",
            value=value,
            unit="degrees",
            label=f"{where}: {first} against {second}",
        )

    return _everywhere(compare)


def _epochs(first: str, second: str) -> Callable:
    """The same of two columns, means over the epochs."""

    def test(frame: pd.DataFrame) -> Comparison:
        means = frame.groupby("seed")[[first, second]].mean()
        return paired_t(means[first], means[second], unit="degrees", label=f"{first} against {second}")

    return test


def _settles(frame: pd.DataFrame) -> Comparison:
    """What the figure shows: whether prototypes still move in its last round. Of two classes, so it decides nothing."""
    stars = frame[frame["point"].str.startswith("prototype")].sort_values("rounds")
    last = stars.groupby("class")[["x", "y"]].apply(
        lambda part: np.ptp(part.tail(2).to_numpy(), axis=0).max()
    )
    raise NotTested(
        f"two classes of one network are no sample; of their {len(last)} prototypes {int((last == 0).sum())} stood "
        "still in the last round shown"
    )


_OVERALL = [
    Claim("Dual-phase beats every baseline overall.", "abstract", _everywhere(_beats_baselines)),
]
_RECONSTRUCTED = Claim(
    "Training on head classes first helps: dual-phase beats the joint model that gets a second phase too.",
    "ours",
    _everywhere(_beats_control),
)

CLAIMS: dict[str, list[Claim]] = {
    "fig-4.1": [
        Claim(
            "The overall gradient lies nearer to the head's than to the tail's: the tail's angle is larger.",
            "caption",
            _angles("tail", "head", "mean"),
        ),
        Claim("The tail's angle varies more than the head's.", "caption", _angles("tail", "head", "std")),
        Claim(
            "The tail's angle varies more than that of as many head images: not for their small number alone.",
            "ours",
            _angles("tail", "head sample", "std"),
        ),
    ],
    "fig-4.2": [
        Claim(
            "Over the training the overall gradient is more similar to the head's than to the tail's.",
            "inferred",
            _epochs("mean tail", "mean head"),
        ),
        Claim(
            "With head and tail given equal weight the overall gradient is still more similar to the head's: not "
            "for its share of the batch alone.",
            "ours",
            _epochs("mean tail, equal weight", "mean head, equal weight"),
        ),
    ],
    "fig-4.4": [
        Claim("The selection of exemplars converges: the last round changes nothing.", "inferred", _settles)
    ],
    "fig-4.6": [
        Claim(
            "Overall accuracy first rises, then falls with the disentanglement point: one between the ends is better "
            "than both.",
            "caption",
            _interior("more_than"),
        )
    ],
    "fig-4.7": [
        Claim(
            "Results change with the size of the bank: its largest and smallest end differ, whichever is better.",
            "inferred",
            _everywhere(_bank_matters),
        )
    ],
    "fig-4.8": [
        Claim(
            "A moderate weight of the memory-retentive loss is better than none and than the largest.",
            "inferred",
            _interior("lambda"),
        )
    ],
    "extra-4.C": [
        Claim(
            "What phase I on head classes alone costs: dual-phase takes more head images for tail classes than the "
            "joint model with a second phase does.",
            "ours",
            _everywhere(_leans_more),
        )
    ],
    "tab-4.1": [
        Claim(
            "A model trained on head classes alone beats one trained on all, on head classes.",
            "caption",
            _instead("Model-head", "Model-all", of="method"),
        ),
        Claim(
            "The model trained on head classes alone beats the other also if that may answer with head classes only.",
            "ours",
            _instead("Model-head", "Model-all, head logits", of="method"),
        ),
        Claim(
            "The features of the model trained on head classes alone are better, by a linear probe on these.",
            "ours",
            _instead("Model-head, linear probe", "Model-all, linear probe", of="method"),
        ),
    ],
    "tab-4.2": [*_OVERALL, _RECONSTRUCTED],
    "tab-4.3": [*_OVERALL, _RECONSTRUCTED],
    "tab-4.4": [
        Claim(
            "Dual-phase gains on Medium and Few over the joint model without losing Many. Tested here as a loss of "
            f"less than {LOSS_MARGIN:g} point there.",
            "abstract",
            _everywhere(_by_shot),
        )
    ],
    "tab-4.5": [*_OVERALL, _RECONSTRUCTED],
    "tab-4.6": [*_OVERALL, _RECONSTRUCTED],
    "tab-4.7": [
        Claim(
            "With dual-phase head and tail classes both improve on the joint model.",
            "caption",
            _everywhere(_both_improve),
        )
    ],
    "tab-4.8": [
        Claim(
            "Exemplars selected by prototypes beat random ones.",
            "caption",
            _instead("alternating", "random", of="rule"),
        ),
        Claim(
            "Selecting prototypes and exemplars in turns beats the other selections.",
            "ours",
            _instead("alternating", "nearest", "herding", "discriminative", of="rule"),
        ),
    ],
    "tab-4.9": [
        Claim(
            "Phase II is better with the memory-retentive loss than without.",
            "caption",
            _instead("cross-graph", "none", of="form"),
        ),
        Claim(
            "The graph in the memory-retentive loss helps: it is better than keeping each feature by itself.",
            "ours",
            _instead("cross-graph", "pointwise", of="form"),
        ),
    ],
}
