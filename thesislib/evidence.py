"""Claims and the paired comparisons that decide them.

A claim is a sentence and a function of a run's frame. The function returns a :class:`Comparison`, oriented so
that a positive difference speaks for the claim, or one above a threshold; its interval decides the verdict.
Comparisons are **paired**: same seed, split, initialisation, images on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special

MIN_SEEDS = 5
MIN_ITEMS = 50
Verdict = Literal["holds", "does not hold", "undecided", "not tested at this profile"]
Source = Literal["caption", "abstract", "inferred", "ours"]


class NotTested(ValueError):
    """The frame cannot decide the claim: too few seeds or items, or a budget that left them out."""


@dataclass(frozen=True)
class Comparison:
    """A paired difference with its 95 % interval; positive speaks for the claim.

    Attributes
    ----------
    estimate, low, high : float
        Mean difference and interval.
    n : int
        Number of pairs.
    pairs : str
        What was paired, ``"seeds"`` or ``"images"``, say.
    unit : str
        Unit of the difference, ``"factor in gradient evaluations, log10"``, say.
    label : str
        Which comparison this is, ``"a9a: SPI-MM against MISO"``, say.
    threshold : float
        Above it a difference speaks for the claim: below 0 where something may be lost.
    """

    estimate: float
    low: float
    high: float
    n: int
    pairs: str
    unit: str
    label: str = ""
    threshold: float = 0.0

    @property
    def verdict(self) -> Verdict:
        if self.low > self.threshold:
            return "holds"
        return "does not hold" if self.high < self.threshold else "undecided"

    def above(self, threshold: float) -> Comparison:
        """The same comparison, with another threshold.

        Examples
        --------
        >>> import numpy as np
        >>> alike = paired_shares(np.ones(200), np.ones(200), unit="success rate")
        >>> alike.verdict, alike.above(-0.05).verdict
        ('undecided', 'holds')
        """
        return replace(self, threshold=threshold + 0.0)  # no minus before a zero


def paired_t(first: np.ndarray, second: np.ndarray, *, unit: str, label: str = "") -> Comparison:
    """Mean of ``first - second`` over seeds, with a t-interval.

    Parameters
    ----------
    first, second : array, shape (seeds,)
        Measurements with the same seed at the same place.

    Raises
    ------
    NotTested
        With fewer than five seeds.
    ValueError
        If the shapes differ or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> ours, theirs = np.array([3.0, 4, 3, 5, 4]), np.array([2.0, 2, 2, 3, 3])
    >>> found = paired_t(ours, theirs, unit="points")
    >>> found.estimate, found.verdict
    (1.4, 'holds')
    """
    gain = _differences(first, second, axes=(1,))
    if len(gain) < MIN_SEEDS:
        raise NotTested(f"{len(gain)} of {MIN_SEEDS} seeds needed for an interval")
    centre = float(gain.mean())
    reach = float(special.stdtrit(len(gain) - 1, 0.975) * gain.std(ddof=1) / np.sqrt(len(gain)))
    return Comparison(centre, centre - reach, centre + reach, len(gain), "seeds", unit, label)


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    *,
    unit: str,
    pairs: str = "images",
    label: str = "",
    draws: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Mean of ``first - second`` over items, with a bootstrap interval.

    With one axis the percentile interval. With two, seeds and items are both resampled, because trainings
    vary as images do; five seeds are too few for percentiles (they would cover 85 % in place of 95), so the
    resampled spread takes a t quantile, with Satterthwaite's degrees of freedom.

    Parameters
    ----------
    first, second : array, shape (items,) or (seeds, items)
    unit, pairs, label : str
        What the difference is in, what an item is, and which comparison this is.
    draws, seed
        Number of resamples and the seed that draws them.

    Raises
    ------
    NotTested
        With fewer than fifty items, or, of two axes, fewer than five seeds.
    ValueError
        If the shapes differ or a value is not finite.
    """
    gain = _differences(first, second, axes=(1, 2))
    crossed, gain = gain.ndim == 2, np.atleast_2d(gain)
    seeds, items = gain.shape
    if items < MIN_ITEMS:
        raise NotTested(f"{items} of {MIN_ITEMS} {pairs} needed for an interval")
    if crossed and seeds < MIN_SEEDS:
        raise NotTested(f"{seeds} of {MIN_SEEDS} seeds needed for an interval")
    rng = np.random.default_rng(seed)
    # A resample of rows and columns is a weighting of each; the weighted mean needs no copy of `gain`.
    columns = rng.multinomial(items, np.full(items, 1 / items), size=draws) / items
    if not crossed:
        centre = float(gain.mean())
        low, high = np.quantile(columns @ gain[0], [0.025, 0.975])
        return Comparison(centre, float(low), float(high), items, pairs, unit, label)
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    rows = 1 / seeds + (rows - 1 / seeds) * np.sqrt(seeds / (seeds - 1))  # or k seeds look k/(k-1) too alike
    spread = np.einsum("ds,ds->d", rows, columns @ gain.T).std()
    of_seeds, of_items = gain.mean(axis=1).var(ddof=1) / seeds, gain.mean(axis=0).var(ddof=1) / items
    weight = of_seeds**2 / (seeds - 1) + of_items**2 / (items - 1)
    freedom = (of_seeds + of_items) ** 2 / weight if weight > 0 else seeds - 1
    centre, reach = float(gain.mean()), float(special.stdtrit(freedom, 0.975) * spread)
    both = f"{pairs}, by {seeds} seeds"
    return Comparison(centre, centre - reach, centre + reach, items, both, unit, label)


def paired_shares(
    first: np.ndarray,
    second: np.ndarray,
    *,
    unit: str,
    pairs: str = "images",
    label: str = "",
) -> Comparison:
    """Difference of two success rates on the same items, with the interval of Bonett and Price.

    Resampling would not do: where all items agree, or all disagreements are of one kind, a resample has no more to
    say, and the interval is a point. One more item on which the first succeeds alone, and one for the second, keep it
    as wide as so few items allow (Bonett and Price 2012).

    Parameters
    ----------
    first, second : array, shape (items,)
        1 or True for a success, 0 or False for none.
    unit, pairs, label : str

    Raises
    ------
    NotTested
        With fewer than fifty items.
    ValueError
        If the shapes differ or a value is neither 0 nor 1.

    Examples
    --------
    >>> import numpy as np
    >>> alike = paired_shares(np.ones(50), np.ones(50), unit="success rate")
    >>> alike.estimate, round(alike.low, 2), round(alike.high, 2)
    (0.0, -0.05, 0.05)
    """
    gain = _differences(first, second, axes=(1,))
    if not np.isin(np.concatenate([first, second]), (0, 1)).all():
        raise ValueError("a share is of successes, 1, and failures, 0; another value was given")
    n = len(gain)
    if n < MIN_ITEMS:
        raise NotTested(f"{n} of {MIN_ITEMS} {pairs} needed for an interval")
    alone, other = ((np.sum(gain == side) + 1) / (n + 2) for side in (1, -1))
    reach = float(special.ndtri(0.975) * np.sqrt((alone + other - (alone - other) ** 2) / (n + 2)))
    centre = float(alone - other)
    return Comparison(float(gain.mean()), centre - reach, centre + reach, n, pairs, unit, label)


def weakest(comparisons: Iterable[Comparison]) -> Comparison:
    """The comparison that decides a claim about all of them (intersection-union test).

    "Better than every rival" holds if every interval lies above its threshold, fails if one lies below. So the
    comparison with the lowest upper bound, seen from there, decides if that is below, else the one with the lowest
    lower bound. Each interval keeps its own level, and so does "holds". "Does not hold" does not: of several
    comparisons one falls below zero by chance more often than each does (with six equal rivals and five seeds 11 % of
    the time).

    Parameters
    ----------
    comparisons : iterable of Comparison
        One or more.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = list(comparisons)
    if not found:
        raise ValueError("no comparison given")
    worst = min(found, key=lambda c: c.high - c.threshold)
    return worst if worst.verdict == "does not hold" else min(found, key=lambda c: c.low - c.threshold)


def pairs(frame: pd.DataFrame, value: str, first: str, second: str, *, of: str = "method", on: list[str]):
    """Two aligned arrays of `value`: rows where column `of` is `first` and `second`, matched on columns `on`.

    Raises
    ------
    KeyError
        If one of the two is not in the frame.
    ValueError
        If a row of one has no partner, or a key is not unique.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"method": ["a", "a", "b", "b"], "seed": [0, 1, 1, 0], "loss": [1, 2, 3, 4]})
    >>> pairs(frame, "loss", "a", "b", on=["seed"])
    (array([1., 2.]), array([4., 3.]))
    """
    sides = []
    for name in (first, second):
        rows = frame[frame[of] == name]
        if rows.empty:
            known = ", ".join(map(str, frame[of].unique()))
            raise KeyError(f"no rows with {of} = {name!r}; the frame has {known}")
        sides.append(rows.set_index(on)[value].sort_index())
    if not sides[0].index.is_unique or not sides[0].index.equals(sides[1].index):
        raise ValueError(f"{first} and {second} are not paired on {', '.join(on)}")
    return sides[0].to_numpy(float), sides[1].to_numpy(float)


@dataclass(frozen=True)
class Finding:
    """A claim as one run decided it."""

    sentence: str
    source: str
    verdict: Verdict
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    pairs: str = ""
    unit: str = ""
    reason: str = ""
    threshold: float = 0.0


@dataclass(frozen=True)
class Claim:
    """A sentence, where it comes from, and the function that decides it.

    Attributes
    ----------
    sentence : str
        What is claimed, as a whole sentence.
    source : {"caption", "abstract", "inferred", "ours"}
        Stated in the thesis's caption or abstract; what one would expect; or a check of our own.
    test : callable
        Frame to :class:`Comparison`; raises :class:`NotTested` where the frame cannot decide it.

    Examples
    --------
    >>> claim = Claim("a is lower than b.", "ours", lambda frame: paired_t(*frame, unit="loss"))
    >>> claim.decide(([2, 2, 2, 2, 3], [1, 1, 1, 1, 1])).verdict
    'holds'
    >>> claim.decide(([1, 2], [2, 1])).reason
    '2 of 5 seeds needed for an interval'
    """

    sentence: str
    source: Source
    test: Callable[[pd.DataFrame], Comparison]

    def decide(self, frame: pd.DataFrame) -> Finding:
        """Evaluate the claim on a frame."""
        try:
            c = self.test(frame)
        except NotTested as reason:
            return Finding(self.sentence, self.source, "not tested at this profile", reason=str(reason))
        measured = c.estimate, c.low, c.high, c.n, c.pairs, c.unit, c.label, c.threshold
        return Finding(self.sentence, self.source, c.verdict, *measured)


def _differences(first: np.ndarray, second: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim not in axes:
        raise ValueError(f"not paired: shapes {first.shape} and {second.shape}")
    gain = first - second
    if not np.isfinite(gain).all():
        raise ValueError(f"{int((~np.isfinite(gain)).sum())} of {gain.size} differences are not finite")
    return gain
