"""Each claim on made-up frames: true ones hold, swapped ones do not, equal ones are undecided, absent ones do not pass."""

import numpy as np
import pandas as pd
import pytest

from thesislib.heterotopic.claims import CLAIMS
from thesislib.heterotopic.settings import (
    BASE,
    BEFORE,
    FEATURES,
    GENERIC,
    METHODS,
    OURS,
    OURS_CRT,
    SHARED,
    SHOTS,
    SSL,
    VARIANTS,
    WITHOUT,
)

SEEDS = range(6)


def noise(*entropy, scale=0.3):
    return np.random.default_rng(list(entropy)).normal(0, scale, len(SEEDS))


def wide(levels, of="method", dataset="digits_lt"):
    """One row a name and seed; `All` is the level, and seeds move all names together."""
    parts = [
        pd.DataFrame(
            {"dataset": dataset, of: name, "seed": SEEDS, "All": level + noise(0, scale=3) + noise(1, k)}
        )
        for k, (name, level) in enumerate(levels.items())
    ]
    return pd.concat(parts, ignore_index=True)


def long(levels, of="method", few=None, dataset="digits_lt"):
    """The same with a row a group; `few` shifts that group alone."""
    frame = wide(levels, of, dataset)
    parts = [
        frame.assign(
            shot=shot, accuracy=frame["All"] + (frame[of].map(few or {}).fillna(0) if shot == "Few" else 0)
        )
        for shot in SHOTS
    ]
    return pd.concat(parts, ignore_index=True).drop(columns="All")


def verdicts(artefact, frame):
    return [claim.decide(frame).verdict for claim in CLAIMS[artefact]]


ORDER = dict(zip(METHODS, (60, 63, 65, 62, 70, 74), strict=True))


@pytest.mark.parametrize("table", ["tab-5.4", "tab-5.5", "tab-5.6", "tab-5.7"])
def test_tables_compare_ours_with_every_baseline(table):
    assert set(verdicts(table, long(ORDER))) == {"holds"}
    last = long(ORDER | {"Balanced softmax": 80})
    assert verdicts(table, last)[:2] == ["holds", "does not hold"]
    worse = verdicts(table, long(ORDER | {OURS: 50, OURS_CRT: 40}))
    assert set(worse) == {"does not hold"}
    level = long(ORDER | dict.fromkeys(METHODS, 60))
    assert set(verdicts(table, level)) == {"undecided"}
    # One data set where it fails is enough.
    both = pd.concat([long(ORDER), long(ORDER | {OURS: 50}, dataset="glyphs_lt")])
    assert verdicts(table, both)[:2] == ["does not hold"] * 2
    assert set(verdicts(table, long({BASE: 60.0}))) == {"not tested at this profile"}


def test_the_last_of_the_four_ways_is_best():
    order = dict(zip(VARIANTS, (60, 62, 61, 64, 70), strict=True))
    assert verdicts("fig-5.3", wide(order)) == ["holds", "holds"]
    assert verdicts("fig-5.3", wide(order | {SHARED: 80})) == ["does not hold"] * 2
    assert verdicts("fig-5.3", wide(order | {BEFORE: 80})) == ["does not hold", "holds"]
    assert (
        verdicts("fig-5.3", wide(order | {BEFORE: 61, GENERIC: 61, OURS: 61, SHARED: 61}))
        == ["undecided"] * 2
    )
    assert verdicts("fig-5.3", wide({BASE: 60, OURS: 70})) == ["not tested at this profile"] * 2


def test_a_moderate_weight_is_best():
    curve = {0.0: 60.0, 0.1: 61.0, 0.3: 66.0, 1.0: 62.0, 3.0: 55.0}
    assert verdicts("fig-5.4", long(curve, "lambda")) == ["holds"]
    assert verdicts("fig-5.4", long(curve | {3.0: 80.0}, "lambda")) == ["does not hold"]
    assert verdicts("fig-5.4", long(curve | {0.0: 80.0}, "lambda")) == ["does not hold"]
    assert verdicts("fig-5.4", long(curve | {3.0: 66.0}, "lambda")) == ["undecided"]
    assert verdicts("fig-5.4", long({0.0: 60.0, 1.0: 61.0}, "lambda")) == ["not tested at this profile"]


def test_ensembling_helps_and_few_more_than_many():
    assert verdicts("fig-5.5", long({BASE: 60, OURS: 63}, few={OURS: 5})) == ["holds", "holds"]
    assert verdicts("fig-5.5", long({BASE: 63, OURS: 60}, few={BASE: 5})) == ["does not hold"] * 2
    assert verdicts("fig-5.5", long({BASE: 60, OURS: 60})) == ["undecided"] * 2
    with pytest.raises(KeyError):
        CLAIMS["fig-5.5"][1].decide(long({BASE: 60}))


def test_classes_are_further_apart_over_seeds():
    def frame(ours, base):
        rng = np.random.default_rng(0)
        parts = []
        for name, level in ((OURS, ours), (BASE, base)):
            for seed in SEEDS:
                values = {"silhouette": level + rng.normal(0, 0.02), "knn": 0.5 + level + rng.normal(0, 0.02)}
                facts = {"dataset": "digits_lt", "method": name, "seed": seed, "image": range(80)}
                parts.append(pd.DataFrame(facts | values))
        return pd.concat(parts)

    assert verdicts("fig-5.6", frame(0.4, 0.1)) == ["holds", "holds"]
    assert verdicts("fig-5.6", frame(0.1, 0.4)) == ["does not hold"] * 2
    assert verdicts("fig-5.6", frame(0.2, 0.2)) == ["undecided"] * 2
    alone = frame(0.2, 0.2).query("method == 'Ours'")
    assert verdicts("fig-5.6", alone) == ["not tested at this profile"] * 2


def test_calibration_is_compared_once_a_training():
    def frame(ours, base):
        rows = [
            {
                "dataset": "digits_lt",
                "method": m,
                "seed": s,
                "bin": b,
                "ECE 15": level + 0.01 * noise(2, k)[s],
            }
            for k, (m, level) in enumerate(((OURS, ours), (BASE, base)))
            for s in SEEDS
            for b in range(15)
        ]
        return pd.DataFrame(rows)

    finding = CLAIMS["fig-5.7"][0].decide(frame(0.05, 0.1))
    assert finding.verdict == "holds" and finding.n == len(SEEDS)
    assert finding.estimate == pytest.approx(0.05, abs=0.01)
    assert verdicts("fig-5.7", frame(0.1, 0.05)) == ["does not hold"]
    assert verdicts("fig-5.7", frame(0.1, 0.1)) == ["undecided"]


def test_features_are_compared_with_what_two_classifiers_share():
    def frame(*levels):
        rng = np.random.default_rng(0)
        shared = rng.normal(0, 0.05, 60)
        facts = [
            {"feature": f, "seed": s, "image": k, "overlap": level + shared[k] + rng.normal(0, 0.02)}
            for f, level in zip(FEATURES, levels, strict=True)
            for s in SEEDS
            for k in range(60)
        ]
        return pd.DataFrame(facts)

    assert verdicts("fig-5.1", frame(0.9, 0.7, 0.8)) == ["holds", "holds"]
    assert verdicts("fig-5.1", frame(0.7, 0.9, 0.6)) == ["does not hold", "holds"]
    assert verdicts("fig-5.1", frame(0.7, 0.7, 0.7)) == ["undecided"] * 2
    # Trainings that differ count as images do: one pair of networks alone would decide here.
    differ = frame(0.72, 0.7, 0.7)
    differ["overlap"] += np.where(differ["feature"] == FEATURES[1], noise(3)[differ["seed"]], 0)
    assert verdicts("fig-5.1", differ)[0] == "undecided"
    assert verdicts("fig-5.1", frame(0.9, 0.7, 0.8).query("seed < 4")) == ["not tested at this profile"] * 2
    with pytest.raises(KeyError):
        CLAIMS["fig-5.1"][0].decide(frame(0.9, 0.7, 0.8).query("image < 60 and feature != @FEATURES[1]"))


def test_the_constraint_helps_on_every_data_set():
    levels = {WITHOUT: 60, "variational Gaussian": 63, "CLUB": 50}
    assert verdicts("tab-5.8", wide(levels, "bound")) == ["holds"]
    assert verdicts("tab-5.8", wide(levels | {WITHOUT: 70}, "bound")) == ["does not hold"]
    assert verdicts("tab-5.8", wide(levels | {WITHOUT: 63}, "bound")) == ["undecided"]
    assert verdicts("tab-5.8", wide({WITHOUT: 63}, "bound")) == ["not tested at this profile"]


def test_every_self_supervised_method_has_to_beat_both_baselines():
    levels = {BASE: 60, BEFORE: 62} | dict.fromkeys(SSL, 66)
    assert verdicts("tab-5.9", wide(levels)) == ["holds"]
    assert verdicts("tab-5.9", wide(levels | {SSL[2]: 55})) == ["does not hold"]
    assert verdicts("tab-5.9", wide(levels | {BEFORE: 66})) == ["undecided"]
    assert verdicts("tab-5.9", wide({BASE: 60} | dict.fromkeys(SSL, 66))) == ["not tested at this profile"]


def test_fewer_than_five_seeds_decide_nothing():
    few = long(ORDER).query("seed < 4")
    assert set(verdicts("tab-5.5", few)) == {"not tested at this profile"}
