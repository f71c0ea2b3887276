"""What the thesis says of chapter 3's figures and tables, as tests of their frames (thesis, section 3.4).

Comparisons are paired over clips: the same clips of the same victim on both sides. Victims of a data set share most
of theirs, so intervals come from drawing clips again, each with all its victims. A clip that a method did not fool is
charged the whole budget, which understates what it would have cost; that favours whoever fails more often.

Functions take ``rows`` of a frame, the names of methods (``ours``), the column ``of`` which they are, and a ``label``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from thesislib.evidence import (
    MIN_ITEMS,
    Claim,
    Comparison,
    NotTested,
    paired_bootstrap,
    paired_shares,
    pairs,
    weakest,
)

OURS = "ME-Sampler(MV)"
RIVALS = ("E-NES", "E-Bandits", "V-BAD")
VICTIM, CLIP = ["dataset", "model"], ["dataset", "number"]
LOG_QUERIES = "factor in queries, log10"
CLIPS = "clips"
SUCCESS_MARGIN = 0.05
LEAST = 5  # clips on either side, for a difference between fooled and not fooled
DRAWS = 10_000


def fewer_queries(rows: pd.DataFrame, rival: str, ours: str, label: str, of: str = "method") -> Comparison:
    """Log10 of the rival's queries less that of ours."""
    theirs, mine, clips = _sides(rows, "charged", rival, ours, of)
    return by_clip(np.log10(theirs) - np.log10(mine), clips, unit=LOG_QUERIES, label=label)


def more_success(rows: pd.DataFrame, rival: str, ours: str, label: str, of: str = "method") -> Comparison:
    """Our success rate less the rival's."""
    mine, theirs, clips = _sides(rows, "success", ours, rival, of)
    return _shares(mine - theirs, clips, unit="success rate", label=label)


def _shares(gain: np.ndarray, clips: pd.DataFrame, *, unit: str, label: str = "") -> Comparison:
    """:func:`by_clip` of differences of yes and no.

    One more clip of each kind a data set, or an interval of few disagreements is too narrow (see ``paired_shares``).
    """
    n = len(clips.drop_duplicates())
    if n < MIN_ITEMS:
        raise NotTested(f"{n} of {MIN_ITEMS} clips needed for an interval")
    victims = -(-len(clips) // n)
    more = [(name, -1 - (sign > 0), sign) for name in clips["dataset"].unique() for sign in (1.0, -1.0)]
    extra = pd.DataFrame(more * victims, columns=[*CLIP, "gain"])
    wide = by_clip(np.r_[gain, extra["gain"]], pd.concat([clips, extra[CLIP]]), unit=unit, label=label)
    return dataclasses.replace(wide, estimate=float(gain.mean()), n=n)


def as_successful(rows: pd.DataFrame, rival: str, ours: str, label: str, of: str = "method") -> Comparison:
    """Our success rate less the rival's, which the margin may fall short by."""
    return more_success(rows, rival, ours, label, of).above(-SUCCESS_MARGIN)


def _sides(
    rows: pd.DataFrame, value: str, first: str, second: str, of: str = "method"
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """A column of both sides, victim by victim, and which clip each row is of."""
    on = [*CLIP, "model"]
    sides = pairs(rows, value, first, second, of=of, on=on)
    return *sides, rows.loc[rows[of] == first, on].sort_values(on)[CLIP]


def by_clip(gain: np.ndarray, clips: pd.DataFrame, *, unit: str, label: str = "") -> Comparison:
    """Mean of paired differences, with an interval from drawing each data set's clips again.

    Parameters
    ----------
    gain : array, shape (rows,)
        One difference a victim and clip.
    clips : DataFrame, shape (rows, 2)
        Columns ``dataset`` and ``number``: rows of one clip are drawn together.
    unit, label : str
        What the difference is in, and which comparison this is.

    Raises
    ------
    NotTested
        With fewer than fifty clips.
    """
    weights, cell = redrawn(clips)
    sums, counts = (np.bincount(cell, w, minlength=weights.shape[1]) for w in (gain, None))
    means = (weights @ sums) / (weights @ counts)
    low, high = np.quantile(means, [0.025, 0.975])
    return Comparison(float(gain.mean()), float(low), float(high), weights.shape[1], CLIPS, unit, label)


def redrawn(clips: pd.DataFrame, draws: int = DRAWS) -> tuple[np.ndarray, np.ndarray]:
    """How often each clip comes in each of many draws, shape (draws, clips), and the clip of each row.

    Raises
    ------
    NotTested
        With fewer than fifty clips.
    """
    cell = clips.groupby(CLIP, sort=False).ngroup().to_numpy()
    sets = clips["dataset"].to_numpy()[np.unique(cell, return_index=True)[1]]
    if len(sets) < MIN_ITEMS:
        raise NotTested(f"{len(sets)} of {MIN_ITEMS} clips needed for an interval")
    rng, weights = np.random.default_rng(0), np.zeros((draws, len(sets)))
    for name in pd.unique(sets):
        mine = np.flatnonzero(sets == name)
        weights[:, mine] = rng.multinomial(len(mine), np.full(len(mine), 1 / len(mine)), size=draws)
    return weights, cell


def _pooled(compare: Callable, rivals: Sequence[str], ours: str = OURS, of: str = "method") -> Callable:
    """The claim over all victims together, against each rival; the weakest rival decides."""

    def test(frame: pd.DataFrame) -> Comparison:
        found = []
        for rival in rivals:
            rows = _shared(frame, rival, ours, of)
            if len(rows):
                victims = rows[VICTIM].drop_duplicates()
                found.append(compare(rows, rival, ours, f"against {rival}, {len(victims)} victims", of))
        if not found:
            raise NotTested(f"none of {', '.join(rivals)} beside {ours} in this run")
        return weakest(found)

    return test


def _each(compare: Callable, rivals: Sequence[str]) -> Callable:
    """The claim about every victim and rival; the weakest comparison decides."""

    def test(frame: pd.DataFrame) -> Comparison:
        found = []
        for (dataset, model), rows in frame.groupby(VICTIM, sort=False):
            present = set(rows["method"])
            for rival in rivals:
                if {rival, OURS} <= present:
                    found.append(compare(rows, rival, OURS, f"{dataset}, {model}: against {rival}"))
        if not found:
            raise NotTested(f"none of {', '.join(rivals)} beside {OURS} in this run")
        return weakest(found)

    return test


def _shared(frame: pd.DataFrame, rival: str, ours: str, of: str) -> pd.DataFrame:
    """Rows of the victims that both attacked."""
    both = frame[frame[of].isin((rival, ours))]
    kept = [rows for _, rows in both.groupby(VICTIM, sort=False) if {rival, ours} <= set(rows[of])]
    return pd.concat(kept) if kept else both.iloc[:0]


def _not_worse(margin: float) -> Callable:
    def compare(rows: pd.DataFrame, rival: str, ours: str, label: str, of: str = "method") -> Comparison:
        theirs, mine, clips = _sides(rows, "charged", rival, ours, of)
        found = by_clip(np.log10(theirs) - np.log10(mine), clips, unit=LOG_QUERIES, label=label)
        return found.above(-margin)

    return compare


def _accurate(frame: pd.DataFrame) -> Comparison:
    """Accuracy of each victim, above what is enough; an interval over test clips."""
    return weakest(
        paired_shares(
            np.repeat([1.0, 0.0], [row.correct, row.clips - row.correct]),
            np.zeros(row.clips),
            unit="accuracy",
            pairs=CLIPS,
            label=f"{row.dataset}: {row.model}",
        ).above(row.enough / 100)
        for row in frame.itertuples()
    )


def _lower_loss(frame: pd.DataFrame) -> Comparison:
    """Mean of the loss over the moments of the curves, the rival's less ours."""
    means = frame.groupby(["method", "clip"], as_index=False)["loss"].mean()
    found = []
    for rival in ("Multi-noise", "One-noise"):
        sides = pairs(means, "loss", rival, OURS, on=["clip"])
        unit = "loss, mean over the curve"
        found.append(paired_bootstrap(*sides, unit=unit, pairs=CLIPS, label=f"against {rival.lower()}"))
    return weakest(found)


def _more_complete(frame: pd.DataFrame) -> Comparison:
    improved, fixed, clips = _sides(frame, "moved", "Improved map", OURS)
    return by_clip(improved - fixed, clips, unit="share of pixels that move")


def _transfers(frame: pd.DataFrame) -> Comparison:
    """Clips that fooled the RGB victim and were right on the motion stream: errors after, less those of the control."""
    rows = frame[(frame["success"] > 0) & (frame["before"] > 0)]
    more = rows["control"].to_numpy(float) - rows["after"].to_numpy(float)
    return _shares(more, rows[CLIP], unit="share of clips that the stream misses")


def _still(frame: pd.DataFrame) -> Comparison:
    """Mean log10 of the energy of clips that were fooled less that of clips that were not."""
    energy = np.log10(frame["energy"].to_numpy(float) + 0.01)
    fooled = frame["success"].to_numpy() > 0
    sides = energy[fooled], energy[~fooled]
    if min(map(len, sides)) < LEAST:
        raise NotTested(f"{len(sides[0])} clips fooled and {len(sides[1])} not; {LEAST} of each are needed")
    weights, cell = redrawn(frame[CLIP])
    weights = weights[:, cell]
    with np.errstate(invalid="ignore"):  # a draw without any of the few clips on one side says nothing
        means = [(weights[:, g] @ energy[g]) / weights[:, g].sum(1) for g in (fooled, ~fooled)]
    low, high = np.nanquantile(means[0] - means[1], [0.025, 0.975])
    estimate = float(sides[0].mean() - sides[1].mean())
    label = f"{len(sides[0])} fooled against {len(sides[1])} not"
    return Comparison(
        estimate, float(low), float(high), int(cell.max()) + 1, CLIPS, "factor in motion energy, log10", label
    )


def _fewer_with_motion(frame: pd.DataFrame) -> Comparison:
    """Minus the rank correlation of energy and queries, averaged over victims."""
    weights, cell = redrawn(frame[CLIP], draws=500)
    table = frame[["energy", "charged"]].to_numpy(float)
    victims = list(frame.reset_index(drop=True).groupby(VICTIM, sort=False).groups.values())
    cells = [table[rows] for rows in victims]
    if min(map(len, cells)) < MIN_ITEMS:
        raise NotTested(f"{min(map(len, cells))} clips of a victim, {MIN_ITEMS} needed")

    def average(tables: list[np.ndarray]) -> float:
        found = [spearmanr(*t.T).statistic for t in tables if (np.ptp(t, axis=0) > 0).all()]
        return -float(np.mean(found)) if found else 0.0

    times = weights.astype(int)[:, cell]
    resampled = [average([np.repeat(table[v], drawn[v], axis=0) for v in victims]) for drawn in times]
    low, high = np.quantile(resampled, [0.025, 0.975])
    unit = "rank correlation, sign turned"
    return Comparison(average(cells), float(low), float(high), weights.shape[1], CLIPS, unit)


def _against(rival: str) -> Claim:
    return Claim(
        f"Over all victims together, the motion-excited sampler needs fewer queries than {rival}.",
        "inferred",
        _pooled(fewer_queries, (rival,)),
    )


_FAILURES = [Claim("Clips that are not fooled have less motion than those that are.", "caption", _still)]

CLAIMS: dict[str, list[Claim]] = {
    "tab-3.1": [
        Claim("Every victim is accurate enough for an attack to mean something.", "inferred", _accurate)
    ],
    "tab-3.2": [
        Claim(
            "The motion-excited sampler needs fewer queries than every other attack, on every victim.",
            "abstract",
            _each(fewer_queries, RIVALS),
        ),
        Claim(
            "Over all victims together, the motion-excited sampler's success rate is equal or higher. Tested here as "
            f"at most {SUCCESS_MARGIN:g} below that of each other attack.",
            "abstract",
            _pooled(as_successful, RIVALS),
        ),
        *map(_against, RIVALS),
        Claim(
            "Motion vectors serve as well as optical flow: at most a tenth more queries.",
            "inferred",
            _pooled(_not_worse(np.log10(1.1)), ("ME-Sampler(OF)",)),
        ),
        Claim(
            "Over all victims together, the motion-excited sampler fools more clips than each rival within the budget.",
            "ours",
            _pooled(more_success, RIVALS),
        ),
    ],
    "fig-3.4": [
        Claim(
            "Targeted, the motion-excited sampler needs fewer queries than V-BAD.",
            "inferred",
            _pooled(fewer_queries, ("V-BAD",)),
        ),
        Claim(
            "Targeted, the motion-excited sampler fools more clips than V-BAD.",
            "inferred",
            _pooled(more_success, ("V-BAD",)),
        ),
    ],
    "fig-3.1": [
        Claim(
            "The motion-excited sampler's loss falls below that of multi-noise and of one-noise: its mean over the "
            "curve is lower.",
            "caption",
            _lower_loss,
        )
    ],
    "tab-3.3": [
        Claim(
            "Motion saves queries: fewer than with multi-noise and with one-noise.",
            "abstract",
            _pooled(fewer_queries, ("Multi-noise", "One-noise")),
        )
    ],
    "tab-3.4": [
        Claim(
            "The clip's own motion map needs fewer queries than either handcrafted map.",
            "inferred",
            _pooled(fewer_queries, ("U-Sample", "S-Value")),
        )
    ],
    "tab-3.5": [
        Claim(
            "A loss of probabilities needs fewer queries than cross-entropy and than logits.",
            "inferred",
            _pooled(fewer_queries, ("cross_entropy", "logits"), "second_probability", of="loss"),
        )
    ],
    "tab-3.6": [
        Claim(
            "Adversarial clips transfer to some degree to the motion stream: it errs on more of them than on clips "
            "whose pixels are changed as much at random signs.",
            "inferred",
            _transfers,
        )
    ],
    "fig-3.5": [
        Claim(
            "The improved motion map is more complete: more of its pixels move.", "caption", _more_complete
        ),
        Claim(
            "With the improved map the attack needs fewer queries than on the fixed grid.",
            "caption",
            _pooled(fewer_queries, (OURS,), "Improved map"),
        ),
    ],
    "fig-3.8": _FAILURES,
    "fig-3.9": _FAILURES,
    "extra-3.A": [Claim("The more a clip moves, the fewer queries it takes.", "ours", _fewer_with_motion)],
}
