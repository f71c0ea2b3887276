"""The statistics behind a verdict: intervals that cover, verdicts that follow from them, frames that are refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from thesislib.companion.house import VERDICTS
from thesislib.evidence import (
    MIN_ITEMS,
    MIN_SEEDS,
    Claim,
    Comparison,
    NotTested,
    paired_bootstrap,
    paired_shares,
    paired_t,
    pairs,
    weakest,
)

numbers = st.floats(-1e6, 1e6)
seeds = st.integers(0, 2**32 - 1)


def two_sides(seed, shape, spread=1.0, shift=0.0):
    """Correlated sides, as paired measurements are."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 10, shape)
    return base + rng.normal(shift, spread, shape), base


def coverage(draw, compare, times, truth=0.0):
    """Share of intervals that contain the truth."""
    found = (compare(*draw(np.random.default_rng(i))) for i in range(times))
    return np.mean([c.low <= truth <= c.high for c in found])


# ---- the t-interval


@given(seeds, st.integers(MIN_SEEDS, 40), st.floats(0.01, 100), st.floats(-10, 10))
def test_paired_t_is_scipys_interval(seed, n, spread, shift):
    first, second = two_sides(seed, n, spread, shift)
    ours = paired_t(first, second, unit="points", label="a against b")
    theirs = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9, abs=1e-12)
    assert ours.estimate == pytest.approx((first - second).mean(), abs=1e-12)
    assert (ours.n, ours.pairs, ours.unit, ours.label) == (n, "seeds", "points", "a against b")


def test_paired_t_covers_at_five_seeds():
    def draw(rng):
        return rng.normal(0.7, 2.0, 5), np.zeros(5)

    assert 0.93 <= coverage(draw, lambda a, b: paired_t(a, b, unit=""), 2000, 0.7) <= 0.97


# ---- the bootstrap


def test_bootstrap_covers_at_sixty_items():
    def draw(rng):
        return rng.normal(0.7, 2.0, 60), np.zeros(60)

    assert 0.92 <= coverage(draw, lambda a, b: paired_bootstrap(a, b, unit="", draws=400), 1000, 0.7) <= 0.97


@pytest.mark.parametrize(
    ("n", "rates"), [(50, (0.0, 0.05)), (50, (0.06, 0.02)), (100, (0.0, 0.05)), (200, (0.3, 0.1))]
)
def test_shares_err_no_more_often_than_they_say(n, rates):
    """At the margin itself "holds" is an error; the bootstrap's is 5 to 13 % in place of 2.5."""
    alone, other = rates
    margin = other - alone  # so that the true difference and the margin add to nothing
    rng, found = np.random.default_rng(0), []
    for _ in range(4000):
        drawn = rng.random(n)
        first, second = drawn < alone, (drawn >= alone) & (drawn < alone + other)
        found.append(paired_shares(first, second, unit="").above(-margin))
    assert np.mean([c.verdict == "holds" for c in found]) < 0.04
    assert np.mean([c.verdict == "undecided" for c in found]) > 0.94


def test_shares_are_the_textbook_interval():
    """Bonett and Price: 14 and 3 of 80 pairs disagree either way."""
    first, second = np.r_[np.ones(14), np.zeros(66)], np.r_[np.zeros(14), np.ones(3), np.zeros(63)]
    found = paired_shares(first, second, unit="")
    a, b = 15 / 82, 4 / 82
    reach = 1.959964 * ((a + b - (a - b) ** 2) / 82) ** 0.5
    assert found.estimate == pytest.approx(11 / 80)
    assert (found.low, found.high) == pytest.approx((a - b - reach, a - b + reach), abs=1e-6)


def test_few_disagreements_decide_nothing():
    four = np.r_[np.ones(4), np.zeros(46)]
    assert paired_shares(four, np.zeros(50), unit="").verdict == "undecided"  # a sign test says p = 0.125
    with pytest.raises(ValueError, match="successes, 1, and failures, 0"):
        paired_shares(four + 0.5, np.zeros(50), unit="")


@pytest.mark.parametrize("seed_sd", [0.0, 1.0], ids=["items vary", "trainings vary too"])
def test_two_way_bootstrap_covers_at_five_seeds(seed_sd):
    """Few trainings of many images, the book's usual case: the interval has to know that five is few."""

    def draw(rng):
        training, image = rng.normal(0, seed_sd, (MIN_SEEDS, 1)), rng.normal(0, 1, (1, 60))
        return training + image + rng.normal(0, 1, (MIN_SEEDS, 60)), np.zeros((MIN_SEEDS, 60))

    assert coverage(draw, lambda a, b: paired_bootstrap(a, b, unit="", draws=400), 400) >= 0.92


@settings(max_examples=25)
@given(seeds)
def test_two_way_bootstrap_is_wider_when_trainings_vary(seed):
    rng = np.random.default_rng(seed)
    gain = rng.normal(size=(1, 80)) + 2 * rng.permutation(np.arange(6.0))[:, None] + rng.normal(size=(6, 80))
    zero = np.zeros_like(gain)
    both = paired_bootstrap(gain, zero, unit="", draws=1000)
    items = paired_bootstrap(gain.mean(axis=0), zero[0], unit="", draws=1000)
    assert both.estimate == pytest.approx(items.estimate)
    assert both.high - both.low > items.high - items.low
    assert both.n == items.n == 80


def test_bootstrap_agrees_with_resampling_by_hand():
    """The weighted mean over multinomial counts is the mean of a resample with replacement."""
    first, second = two_sides(3, (6, 50))
    gain, rng = first - second + np.arange(6)[:, None], np.random.default_rng(1)
    by_hand = [gain[0, rng.integers(0, 50, 50)].mean() for _ in range(20_000)]
    ours = paired_bootstrap(gain[0], np.zeros(50), unit="", draws=20_000)
    low, high = np.quantile(by_hand, [0.025, 0.975])
    assert [ours.low, ours.high] == pytest.approx([low, high], abs=0.06 * np.std(by_hand))

    # Two axes: seeds differ by far more than items here, so the spread is theirs, with t's five degrees.
    by_hand = [gain[np.ix_(rng.integers(0, 6, 6), rng.integers(0, 50, 50))].mean() for _ in range(20_000)]
    ours = paired_bootstrap(gain, np.zeros_like(gain), unit="", draws=20_000)
    reach = stats.t.ppf(0.975, 5) * np.std(by_hand) * np.sqrt(6 / 5)
    assert (ours.high - ours.low) / 2 == pytest.approx(reach, rel=0.04)


@pytest.mark.parametrize(("seed_sd", "item_sd"), [(1.0, 0.0), (0.0, 1.0), (1.0, 4.0)])
def test_two_way_bootstrap_has_satterthwaites_degrees_of_freedom(seed_sd, item_sd):
    """Reach over resampled spread is the t quantile: 4 degrees of freedom where only five seeds vary, 59 where only
    sixty items do, and (A + B)^2 / (A^2 / 4 + B^2 / 59) of the variances A and B of their means between these.
    """
    seeds, items = np.linspace(-1, 1, 5), np.linspace(-1, 1, 60)
    gain = seed_sd * seeds[:, None] + item_sd * items
    a, b = (sd**2 * x.var(ddof=1) / len(x) for sd, x in ((seed_sd, seeds), (item_sd, items)))
    freedom = (a + b) ** 2 / (a**2 / 4 + b**2 / 59)
    found = paired_bootstrap(gain, np.zeros_like(gain), unit="", draws=20_000)
    # Of an additive table the spread is known: seeds are resampled with their k / (k - 1), items as they are.
    spread = np.sqrt(a + b * 59 / 60)
    assert found.estimate == pytest.approx(0, abs=1e-12) and (found.n, found.pairs) == (
        60,
        "images, by 5 seeds",
    )
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, freedom) * spread, rel=0.03)


def test_bootstrap_of_one_training_keeps_its_one_axis():
    first, second = two_sides(0, 60)
    one = paired_bootstrap(first, second, unit="", draws=500)
    assert one == paired_bootstrap(first, second, unit="", draws=500)
    assert one != paired_bootstrap(first, second, unit="", draws=500, seed=1)
    with pytest.raises(NotTested, match="1 of 5 seeds needed"):
        paired_bootstrap(first[None], second[None], unit="")


# ---- both


COMPARE = {
    "t": (paired_t, 7),
    "bootstrap": (lambda a, b, unit: paired_bootstrap(a, b, unit=unit, draws=4000), 60),
    "two-way bootstrap": (lambda a, b, unit: paired_bootstrap(a, b, unit=unit, draws=4000), (6, 60)),
}


@pytest.mark.parametrize("how", COMPARE)
@settings(max_examples=15)
@given(seed=seeds)
def test_swapping_sides_mirrors_the_interval(how, seed):
    compare, shape = COMPARE[how]
    first, second = two_sides(seed, shape, shift=0.3)
    one, other = compare(first, second, unit=""), compare(second, first, unit="")
    assert one.estimate == pytest.approx(-other.estimate)
    width = one.high - one.low
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9 * width)
    mirrored = {"holds": "does not hold", "does not hold": "holds", "undecided": "undecided"}
    assert other.verdict == mirrored[one.verdict]


@pytest.mark.parametrize("how", COMPARE)
@settings(max_examples=15)
@given(seed=seeds)
def test_equal_sides_decide_nothing(how, seed):
    compare, shape = COMPARE[how]
    first, _ = two_sides(seed, shape)
    same = compare(first, first.copy(), unit="")
    assert (same.estimate, same.low, same.high, same.verdict) == (0, 0, 0, "undecided")


@pytest.mark.parametrize("how", COMPARE)
def test_a_large_gain_holds_and_a_large_loss_does_not(how):
    compare, shape = COMPARE[how]
    first, second = two_sides(0, shape, shift=10)
    assert compare(first, second, unit="").verdict == "holds"
    assert compare(second, first, unit="").verdict == "does not hold"


@pytest.mark.parametrize(
    ("compare", "shape", "said"),
    [
        (paired_t, MIN_SEEDS - 1, "4 of 5 seeds needed"),
        (paired_t, 0, "0 of 5 seeds needed"),
        (paired_bootstrap, MIN_ITEMS - 1, "49 of 50 images needed"),
        (lambda a, b, unit: paired_shares(a > b, b > a, unit=unit), MIN_ITEMS - 1, "49 of 50 images needed"),
        (paired_bootstrap, (MIN_SEEDS, MIN_ITEMS - 1), "49 of 50 images needed"),
        (paired_bootstrap, (MIN_SEEDS - 1, MIN_ITEMS), "4 of 5 seeds needed"),
    ],
)
def test_too_few_to_decide(compare, shape, said):
    first, second = two_sides(0, shape, shift=100)
    with pytest.raises(NotTested, match=said):
        compare(first, second, unit="")


@pytest.mark.parametrize(("compare", "shape"), [(paired_t, MIN_SEEDS), (paired_bootstrap, MIN_ITEMS)])
def test_just_enough_to_decide(compare, shape):
    first, second = two_sides(0, shape, shift=100)
    assert compare(first, second, unit="").verdict == "holds"


@pytest.mark.parametrize(
    ("compare", "first", "second", "said"),
    [
        (paired_t, np.zeros(6), np.zeros(7), r"not paired: shapes \(6,\) and \(7,\)"),
        (paired_bootstrap, np.zeros((5, 60)), np.zeros(60), r"not paired: shapes \(5, 60\) and \(60,\)"),
        (paired_t, np.array([0, 1, np.nan, 3, 4]), np.zeros(5), "1 of 5 differences are not finite"),
        (paired_t, np.array([0, 1, np.inf, 3, 4]), np.array([0, 1, np.inf, 3, 4]), "1 of 5 differences"),
        (paired_bootstrap, np.full(60, np.nan), np.zeros(60), "60 of 60 differences are not finite"),
        # Seeds and items would be thrown together: neither the spread nor n would mean anything.
        (paired_t, np.zeros((5, 60)), np.zeros((5, 60)), "shape"),
        (paired_bootstrap, np.zeros((2, 5, 60)), np.zeros((2, 5, 60)), "shape"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in subtract")
def test_what_cannot_be_compared(compare, first, second, said):
    with pytest.raises(ValueError, match=said) as refused:
        compare(first, second, unit="")
    assert not isinstance(refused.value, NotTested)


# ---- claims about all of several


intervals = (
    st.tuples(numbers, numbers).map(sorted).map(lambda ends: ends if ends[0] < ends[1] else [0.0, 1.0])
)
comparisons = st.builds(
    lambda ends, threshold: Comparison(sum(ends) / 2, *ends, n=5, pairs="seeds", unit="").above(threshold),
    intervals,
    st.just(0.0) | numbers,
)


@given(st.lists(comparisons, min_size=1, max_size=8), st.randoms())
def test_the_weakest_decides_for_all(found, random):
    """Intersection-union: it holds if each holds, fails if one fails, and the order does not matter."""
    verdicts = {c.verdict for c in found}
    worst = weakest(found)
    assert worst in found
    if "does not hold" in verdicts:
        assert worst.verdict == "does not hold"
    else:
        assert worst.verdict == ("holds" if verdicts == {"holds"} else "undecided")
    random.shuffle(found)
    assert weakest(iter(found)).verdict == worst.verdict


def test_a_joint_claim_keeps_its_level():
    """Four rivals, one exactly as good: 'better than all' may be wrong in at most 2.5 % of runs."""

    def wrong(rng):
        gains = [rng.normal(shift, 1, MIN_SEEDS) for shift in (0, 1, 2, 3)]
        return weakest(paired_t(g, np.zeros(MIN_SEEDS), unit="") for g in gains).verdict == "holds"

    assert np.mean([wrong(np.random.default_rng(i)) for i in range(600)]) <= 0.04


def test_the_weakest_of_none():
    with pytest.raises(ValueError, match="no comparison"):
        weakest([])


@given(intervals, numbers)
def test_a_verdict_is_where_an_interval_lies(ends, threshold):
    plain = Comparison(0.0, *ends, n=5, pairs="seeds", unit="")
    for level, verdict in ((0, plain.verdict), (threshold, plain.above(threshold).verdict)):
        assert verdict in VERDICTS
        assert (verdict == "holds") == all(x > level for x in ends)
        assert (verdict == "does not hold") == all(x < level for x in ends)


# ---- pairing rows


def frame_of(methods=("new", "old"), datasets=("a", "b"), repeats=5):
    rows = [
        {"dataset": d, "seed": s, "method": m, "value": 100.0 * datasets.index(d) + 10 * s + methods.index(m)}
        for d in datasets
        for s in range(repeats)
        for m in methods
    ]
    return pd.DataFrame(rows)


@given(st.randoms())
def test_pairs_match_on_the_key_whatever_the_order(random):
    frame = frame_of()
    order = list(range(len(frame)))
    random.shuffle(order)
    new, old = pairs(frame.iloc[order], "value", "new", "old", on=["dataset", "seed"])
    assert (old - new == 1).all()
    assert len(new) == 10 and new.dtype == float
    swapped = pairs(frame.iloc[order], "value", "old", "new", on=["dataset", "seed"])
    assert np.array_equal(swapped[0], old)


@pytest.mark.parametrize(
    ("change", "on", "error", "said"),
    [
        (
            lambda f: f.iloc[:-1],
            ["dataset", "seed"],
            ValueError,
            "new and old are not paired on dataset, seed",
        ),
        (lambda f: pd.concat([f, f.iloc[[-1]]]), ["dataset", "seed"], ValueError, "not paired"),
        (lambda f: pd.concat([f, f.iloc[-2:]]), ["dataset", "seed"], ValueError, "not paired"),
        (lambda f: f, ["seed"], ValueError, "not paired on seed"),
        (
            lambda f: f[f["method"] != "new"],
            ["dataset", "seed"],
            KeyError,
            "no rows with method = 'new'; .* old",
        ),
        (
            lambda f: f[f["method"] != "old"],
            ["dataset", "seed"],
            KeyError,
            "no rows with method = 'old'; .* new",
        ),
    ],
)
def test_pairs_refuse(change, on, error, said):
    with pytest.raises(error, match=said):
        pairs(change(frame_of()), "value", "new", "old", on=on)


def test_pairs_of_another_column():
    frame = frame_of().rename(columns={"method": "step"})
    new, _ = pairs(frame, "value", "new", "old", of="step", on=["dataset", "seed"])
    assert len(new) == 10


# ---- a claim on a frame


def better(frame):
    new, old = pairs(frame, "value", "new", "old", on=["dataset", "seed"])
    return paired_t(old, new, unit="points", label="new against old")


def test_a_claim_that_holds_carries_its_evidence():
    found = Claim("new is lower", "caption", better).decide(frame_of())
    assert (found.sentence, found.source, found.verdict) == ("new is lower", "caption", "holds")
    assert (found.estimate, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 10)
    assert (found.pairs, found.unit, found.reason) == ("seeds", "points", "new against old")


def test_a_claim_that_the_frame_cannot_decide_says_why():
    found = Claim("new is lower", "caption", better).decide(frame_of(datasets=("a",), repeats=3))
    assert found.verdict == "not tested at this profile"
    assert found.verdict in VERDICTS
    assert found.reason == "3 of 5 seeds needed for an interval"
    assert (found.estimate, found.low, found.high, found.n) == (None, None, None, None)


def test_a_broken_frame_is_no_verdict():
    """Only 'too few' is an answer; a missing method or an unpaired row is an error and stops the run."""
    with pytest.raises(KeyError, match="new"):
        Claim("new is lower", "caption", better).decide(frame_of(methods=("old", "older")))
    with pytest.raises(ValueError, match="not paired"):
        Claim("new is lower", "caption", better).decide(frame_of().iloc[:-1])
