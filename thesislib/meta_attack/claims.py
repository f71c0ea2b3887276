"""What the thesis says of chapter 2's figures and tables, as tests of their frames (thesis, section 2.4).

Every comparison is paired over images. An image that a method did not fool is charged what it spent on it: its budget,
which understates its cost; that favours whoever fails more often.

Functions take a method's ``rows``, or those of a ``first`` and a ``second`` or ``rival`` method; ``label`` names
the comparison.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from thesislib.evidence import Claim, Comparison, NotTested, Source, paired_bootstrap, paired_shares, weakest

OURS = "Meta attack"
OWN = (OURS, "Meta transfer")
LOG_QUERIES = "factor in queries, log10"
LOG_L2 = "factor in L2, log10"
SUCCESS_MARGIN = 0.05
L2_MARGIN = np.log10(1.25)
NEARLY = np.log10(1.25)
LEVELS = (0.25, 0.5, 0.75)
IN_USE = "beta*1"  # the candidate of the search that is the meta attack's setting in use


def common(
    frame: pd.DataFrame, value: str, first: str, second: str, of: str = "method"
) -> tuple[np.ndarray, ...]:
    """Two aligned arrays of `value` on the images that both have.

    Raises
    ------
    KeyError
        If one of the two is not in the frame.
    """
    sides = []
    for name in (first, second):
        rows = frame[frame[of] == name]
        if rows.empty:
            raise KeyError(f"no rows with {of} = {name!r}; the frame has {', '.join(frame[of].unique())}")
        sides.append(rows.set_index("image")[value])
    both = pd.concat(sides, axis=1, join="inner", keys=("first", "second"))
    return both["first"].to_numpy(float), both["second"].to_numpy(float)


def _against_rivals(compare: Callable[[pd.DataFrame, str, str], Comparison]) -> Callable:
    """The claim about each data set and each rival: the weakest comparison decides."""

    def test(frame: pd.DataFrame) -> Comparison:
        found, left_out = [], []
        for dataset, rows in frame.groupby("dataset", sort=False):
            for rival in _rivals(rows):
                try:
                    found.append(compare(rows, rival, f"{dataset}: against {rival}"))
                except NotTested as reason:  # too few images in common; the others still decide
                    left_out.append(f"{rival} on {dataset} ({reason})")
        if not found:
            raise NotTested("; ".join(left_out))
        decisive = weakest(found)
        without = f"; left out: {'; '.join(left_out)}" if left_out else ""
        return dataclasses.replace(decisive, label=decisive.label + without)

    return test


def _rivals(rows: pd.DataFrame) -> list[str]:
    found = [m for m in rows["method"].unique() if m not in OWN]
    if OURS not in set(rows["method"]) or not found:
        raise NotTested("no rival or no meta attack among the methods of this run")
    return found


def fewer_queries(rows: pd.DataFrame, rival: str, label: str) -> Comparison:
    """Log10 of the rival's queries less that of the meta attack's."""
    ours, theirs = common(rows, "queries", OURS, rival)
    return paired_bootstrap(np.log10(theirs), np.log10(ours), unit=LOG_QUERIES, label=label)


def as_successful(rows: pd.DataFrame, rival: str, label: str) -> Comparison:
    """Difference of success rates, which the margin may fall short by."""
    found = paired_shares(*common(rows, "success", OURS, rival), unit="success rate", label=label)
    return found.above(-SUCCESS_MARGIN)


def as_near(rows: pd.DataFrame, rival: str, label: str) -> Comparison:
    """Log10 of the rival's L2 less that of the meta attack's, within the margin, on images that both fooled."""
    fooled = np.logical_and(*(side > 0 for side in common(rows, "success", OURS, rival)))
    if not fooled.any():
        raise NotTested("no image that both fooled")
    ours, theirs = (side[fooled] for side in common(rows, "l2", OURS, rival))
    return paired_bootstrap(np.log10(theirs), np.log10(ours), unit=LOG_L2, label=label).above(-L2_MARGIN)


def _sooner(frame: pd.DataFrame) -> Comparison:
    """Share of images fooled within the budget at which a rival has fooled a quarter, half, three quarters."""

    def comparisons() -> Iterable[Comparison]:
        for (dataset, goal), rows in frame.groupby(["dataset", "goal"], sort=False):
            for rival in (r for r in ("ZOO", "AutoZOOM") if r in _rivals(rows)):
                theirs = rows[rows["method"] == rival]
                reached = np.sort(theirs["queries"].where(theirs["success"] > 0, np.inf))
                for level in LEVELS:
                    budget = reached[int(np.ceil(level * len(reached))) - 1]
                    if not np.isfinite(budget):
                        continue
                    within = rows.assign(fooled=(rows["success"] > 0) & (rows["queries"] <= budget))
                    ours, them = common(within, "fooled", OURS, rival)
                    label = (
                        f"{dataset}, {goal}: at {budget:.0f} queries, where {rival} has fooled {level:.0%}"
                    )
                    yield paired_shares(ours, them, unit="share of images fooled", label=label)

    found = list(comparisons())
    if not found:
        raise NotTested("neither ZOO nor AutoZOOM fools a quarter of the images within the cap")
    return weakest(found)


def _trained_against_random(frame: pd.DataFrame) -> Comparison:
    return weakest(
        paired_bootstrap(
            *(np.log10(side) for side in common(rows, "queries", "random", "trained", of="attacker")),
            unit=LOG_QUERIES,
            label=dataset,
        )
        for dataset, rows in frame.groupby("dataset", sort=False)
    )


def _better_start(frame: pd.DataFrame) -> Comparison:
    return weakest(
        paired_bootstrap(
            *common(rows, "cosine 0", "trained", "random", of="attacker"),
            unit="cosine similarity",
            label=dataset,
        )
        for dataset, rows in frame.groupby("dataset", sort=False)
    )


def _cells(frame: pd.DataFrame) -> dict[tuple[float, float], pd.DataFrame]:
    cells = {key: rows.sort_values("image") for key, rows in frame.groupby(["q", "beta"])}
    if (1.0, 1.0) not in cells or len(cells) < 2:
        raise NotTested("the sweep lacks the setting in use or has no other")
    return cells


def _beta_trades(frame: pd.DataFrame) -> Comparison:
    """A larger step takes fewer queries: the largest against the smallest at the q in use."""
    row = {beta: rows for (q, beta), rows in _cells(frame).items() if q == 1.0}
    if len(row) < 2:
        raise NotTested("one beta")
    small, large = row[min(row)], row[max(row)]
    return paired_bootstrap(
        np.log10(small["queries"]),
        np.log10(large["queries"]),
        unit=LOG_QUERIES,
        label="largest against smallest beta",
    )


def _no_other_q_is_cheaper(frame: pd.DataFrame) -> Comparison:
    """At the mean L2 of the pair in use no other q needs a tenth fewer queries.

    Along beta a q trades queries for distortion, so its queries at that L2 lie on the line between the two betas that
    end on either side of it, in logarithms; a q whose betas all end farther, or all nearer, is left out.
    """
    cells, chosen, found = _cells(frame), (1.0, 1.0), []
    for q in sorted({q for q, _ in cells} - {1.0}):
        mine = {key: rows for key, rows in cells.items() if key[0] == q or key == chosen}
        fooled = np.logical_and.reduce([rows["success"].to_numpy() > 0 for rows in mine.values()])
        if not fooled.any():
            continue
        queries, l2 = (
            {key: np.log10(rows[name].to_numpy()[fooled]) for key, rows in mine.items()}
            for name in ("queries", "l2")
        )
        here = l2[chosen].mean()
        ends = sorted((l2[key].mean(), key) for key in mine if key[0] == q)
        for (near, a), (far, b) in itertools.pairwise(ends):
            if near <= here < far:
                share = (here - near) / (far - near)
                theirs = (1 - share) * queries[a] + share * queries[b]
                label = f"against q x {q:g}"
                against = paired_bootstrap(theirs, queries[chosen], unit=LOG_QUERIES, label=label)
                found.append(against.above(-np.log10(1.1)))
    if not found:
        raise NotTested("no other q ends on both sides of the L2 of the pair in use")
    return weakest(found)


def _accurate(frame: pd.DataFrame) -> Comparison:
    """Accuracy of each victim, above what is enough; an interval over test images."""
    victims = frame[frame["role"] == "victim"]
    return weakest(
        paired_shares(
            np.repeat([1.0, 0.0], [row.correct, row.images - row.correct]),
            np.zeros(row.images),
            unit="accuracy",
            label=f"{row.dataset}: {row.model}",
        ).above(row.enough / 100)
        for row in victims.itertuples()
    )


def _aligned(frame: pd.DataFrame) -> Comparison:
    """The meta attacker after one fine-tuning against each estimate that has no meta-training."""
    ours = "Meta attacker, fine-tuned once"
    rivals = ("Random meta attacker, fine-tuned once", "ZOO, q random pixels", "q random directions")
    return weakest(
        paired_bootstrap(
            *common(rows, "cosine", ours, rival),
            unit="cosine similarity",
            label=f"{dataset}: against {rival}",
        )
        for dataset, rows in frame.groupby("dataset", sort=False)
        for rival in rivals
    )


def _trainings(first: str, second: str, margin: float = 0.0) -> Callable:
    """That `second` needs fewer queries than `first`, or no more than the margin allows."""

    def test(frame: pd.DataFrame) -> Comparison:
        theirs, ours = (np.log10(side) for side in common(frame, "queries", first, second))
        found = paired_bootstrap(theirs, ours, unit=LOG_QUERIES, label=f"{second} against {first}")
        return found.above(-margin)

    return test


def cheaper_when_tuned(rows: pd.DataFrame, rival: str, label: str) -> Comparison:
    """Log10 of the rival's queries less that of the meta attack's, either at its best candidate within one L2."""
    in_use = rows[(rows["method"] == OURS) & (rows["setting"] == IN_USE) & (rows["success"] > 0)]
    bound = 1.25 * in_use["l2"].mean()
    best = pd.concat([_best_within(rows, method, bound) for method in (OURS, rival)])
    ours, theirs = common(best, "queries", OURS, rival)
    return paired_bootstrap(np.log10(theirs), np.log10(ours), unit=LOG_QUERIES, label=label)


def _best_within(rows: pd.DataFrame, method: str, bound: float) -> pd.DataFrame:
    """Rows of the candidate that misses the fewest images, then asks least, among those whose mean L2 is in bounds."""
    rows = rows[rows["method"] == method]
    means = rows.assign(l2=rows["l2"].where(rows["success"] > 0)).groupby("setting", sort=False)
    means = means[["success", "queries", "l2"]].mean().query("l2 <= @bound")
    if means.empty:
        raise NotTested(f"no candidate of {method} within an L2 of {bound:.2f}")
    return rows[
        rows["setting"] == means.sort_values(["success", "queries"], ascending=[False, True]).index[0]
    ]


def _table_claims(goal: str, comparable: Source) -> list[Claim]:
    return [
        Claim(
            f"{goal}, the meta attack needs fewer queries than every other method.",
            "caption",
            _against_rivals(fewer_queries),
        ),
        Claim(
            f"{goal}, the meta attack's success rate is comparable. Tested here as at most {SUCCESS_MARGIN:g} below "
            "that of each rival.",
            comparable,
            _against_rivals(as_successful),
        ),
        Claim(
            f"{goal}, the meta attack's distortion is comparable. Tested here, on images that both fool, as at most a "
            "quarter above the L2 of each rival.",
            comparable,
            _against_rivals(as_near),
        ),
    ]


_TRAINING_CLAIMS = [
    Claim(
        "A meta attacker trained by Reptile needs fewer queries than the same network trained in the ordinary way.",
        "inferred",
        _trainings("Vanilla autoencoder", OURS),
    ),
    Claim(
        "Gradients estimated by queries serve nearly as well as white-box gradients of the same images: at most a "
        "quarter more queries.",
        "inferred",
        _trainings("White-box gradients, same images", "Estimated gradients", NEARLY),
    ),
]

CLAIMS: dict[str, list[Claim]] = {
    "tab-2.3": [
        Claim("Every victim is accurate enough for an attack to mean something.", "inferred", _accurate)
    ],
    "tab-2.4": _table_claims("Untargeted", "caption"),
    "tab-2.5": _table_claims("Targeted", "inferred"),
    "fig-2.1": [
        Claim(
            "The meta attack reaches a given success rate with fewer queries than ZOO and AutoZOOM: within the budget "
            "at which the rival has fooled a quarter, half or three quarters of the images, it has fooled more.",
            "abstract",
            _sooner,
        )
    ],
    "fig-2.2": [
        Claim(
            "The trained meta attacker needs fewer queries than a randomly initialised one.",
            "inferred",
            _trained_against_random,
        ),
        Claim(
            "Before any query the trained meta attacker's map is nearer to the true gradient than a random one's.",
            "ours",
            _better_start,
        ),
    ],
    "fig-2.3": [
        Claim("A larger beta takes fewer queries (at the price of distortion).", "inferred", _beta_trades),
        Claim(
            "The pair (q, beta) in use lies near the best trade-off: at its L2 no other q of the sweep needs a tenth "
            "fewer queries.",
            "inferred",
            _no_other_q_is_cheaper,
        ),
    ],
    "tab-2.6": [
        Claim(
            "At equal queries the fine-tuned meta attacker is better aligned with the white-box gradient than the "
            "alternatives.",
            "inferred",
            _aligned,
        )
    ],
    "extra-2.B": [
        Claim(
            "Each at the best of its candidates that end, in the mean, at most a quarter above the L2 of the meta "
            "attack in use, the meta attack needs fewer queries than every rival.",
            "ours",
            _against_rivals(cheaper_when_tuned),
        )
    ],
    "tab-2.7": _TRAINING_CLAIMS,
    "tab-2.8": _TRAINING_CLAIMS,
}
