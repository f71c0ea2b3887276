"""Each claim on made-up frames: true ones hold, swapped ones do not, equal ones are undecided, absent ones are not tested."""

import numpy as np
import pandas as pd
import pytest

from thesislib.motion_sampler.claims import CLAIMS, OURS, by_clip
from thesislib.motion_sampler.settings import LOSSES

N = 60
RIVALS = {"E-NES": 3.0, "E-Bandits": 2.0, "V-BAD": 4.0}


def pool(queries, *, success=None, of="method", cells=(("moves", "I3D"), ("looks", "TSN2D"))):
    """One row a victim, method and clip; noise common to all methods makes the pairs."""
    rng = np.random.default_rng(0)
    parts = []
    for dataset, model in cells:
        noise = rng.uniform(0.6, 1.6, N)
        for name, level in queries.items():
            parts.append(
                pd.DataFrame(
                    {
                        "dataset": dataset,
                        "model": model,
                        of: name,
                        "clip": range(N),
                        "number": range(N),
                        "success": (success or {}).get(name, np.arange(N) % 10 < 8).astype(int),
                        "charged": 20 * level * noise * rng.uniform(0.9, 1.1, N),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def verdicts(artefact, frame):
    return [claim.decide(frame).verdict for claim in CLAIMS[artefact]]


def test_the_main_table():
    lost = np.arange(N) % 10 < 3
    frame = pool({OURS: 1.0, "ME-Sampler(OF)": 1.0, **RIVALS}, success=dict.fromkeys(RIVALS, lost))
    assert verdicts("tab-3.2", frame) == ["holds"] * 7
    swapped = pool({OURS: 5.0, "ME-Sampler(OF)": 1.0, **RIVALS}, success={OURS: lost})
    assert verdicts("tab-3.2", swapped) == ["does not hold"] * 7
    equal = pool(dict.fromkeys((OURS, "ME-Sampler(OF)", *RIVALS), 1.0))
    # To lose no clip is to lose less than the margin; it is not to win one.
    assert verdicts("tab-3.2", equal) == ["undecided", "holds", *["undecided"] * 3, "holds", "undecided"]


def test_success_may_fall_short_by_the_margin():
    no_worse, more = CLAIMS["tab-3.2"][1], CLAIMS["tab-3.2"][6]
    theirs = np.arange(N) % 10 < 8
    for missed, verdict in ((0, "holds"), (2, "undecided"), (12, "does not hold")):
        ours = theirs & (np.cumsum(theirs) > missed)  # the first of theirs that ours does not fool
        frame = pool({OURS: 1.0, **RIVALS}, success={OURS: ours} | dict.fromkeys(RIVALS, theirs))
        found = no_worse.decide(frame)
        assert found.verdict == verdict and found.threshold == -0.05
        assert found.estimate == pytest.approx(-missed / N) and found.high == more.decide(frame).high


def test_one_victim_and_one_rival_decide_the_strict_claim():
    good = pool({OURS: 1.0, **RIVALS}, cells=[("moves", "I3D")])
    bad = pool({OURS: 1.0, **RIVALS | {"E-Bandits": 0.5}}, cells=[("looks", "TSN2D")])
    finding = CLAIMS["tab-3.2"][0].decide(pd.concat([good, bad]))
    assert finding.verdict == "does not hold" and finding.reason == "looks, TSN2D: against E-Bandits"
    assert CLAIMS["tab-3.2"][0].decide(good).verdict == "holds"


def test_a_rival_that_a_column_drops_is_compared_where_it_is():
    frame = pool({OURS: 1.0, **RIVALS})
    dropped = frame[(frame["method"] != "E-NES") | (frame["dataset"] == "moves")]
    found = [claim.decide(dropped) for claim in CLAIMS["tab-3.2"]]
    assert found[2].verdict == "holds" and found[2].n == N
    assert found[3].n == 2 * N
    none = frame[frame["method"] != "E-NES"]
    assert CLAIMS["tab-3.2"][2].decide(none).verdict == "not tested at this profile"


def test_a_clip_too_few_is_an_error_and_few_clips_are_not_tested():
    frame = pool({OURS: 1.0, **RIVALS})
    with pytest.raises(ValueError, match="not paired"):
        CLAIMS["tab-3.2"][2].decide(frame.drop(index=0))
    few = frame[frame["clip"] < 10]
    assert set(verdicts("tab-3.2", few)) == {"not tested at this profile"}


@pytest.mark.parametrize(
    ("artefact", "others"),
    [
        ("fig-3.4", ("V-BAD",)),
        ("tab-3.3", ("Multi-noise", "One-noise")),
        ("tab-3.4", ("U-Sample", "S-Value")),
    ],
)
def test_ablations_and_targets(artefact, others):
    assert verdicts(artefact, pool({OURS: 1.0, **dict.fromkeys(others, 2.0)}))[0] == "holds"
    assert verdicts(artefact, pool({OURS: 3.0, **dict.fromkeys(others, 2.0)}))[0] == "does not hold"
    assert verdicts(artefact, pool(dict.fromkeys((OURS, *others), 1.0)))[0] == "undecided"
    assert verdicts(artefact, pool({OURS: 1.0}))[0] == "not tested at this profile"
    # The weakest rival decides.
    mixed = pool({OURS: 1.0, others[0]: 2.0, others[-1]: 0.5})
    assert verdicts(artefact, mixed)[0] == "does not hold"


def test_losses():
    frame = pool(dict.fromkeys(LOSSES, 2.0) | {"second_probability": 1.0}, of="loss")
    assert verdicts("tab-3.5", frame) == ["holds"]
    assert verdicts("tab-3.5", pool(dict.fromkeys(LOSSES, 1.0) | {"logits": 0.5}, of="loss")) == [
        "does not hold"
    ]
    assert verdicts("tab-3.5", pool(dict.fromkeys(LOSSES, 1.0), of="loss")) == ["undecided"]


def test_a_second_victim_on_the_same_clips_narrows_no_interval():
    gain = np.random.default_rng(0).normal(0.1, 1, N)
    one = pd.DataFrame({"dataset": "moves", "number": range(N)})
    alone = by_clip(gain, one, unit="")
    twice = by_clip(np.tile(gain, 2), pd.concat([one, one]), unit="")
    assert (twice.low, twice.high, twice.n) == pytest.approx((alone.low, alone.high, N))
    apart = by_clip(np.tile(gain, 2), pd.concat([one, one.assign(dataset="looks")]), unit="")
    assert (apart.high - apart.low) * np.sqrt(2) == pytest.approx(alone.high - alone.low, rel=0.05)
    # One clip a row is the ordinary bootstrap: its spread is that of a mean.
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * gain.std() / np.sqrt(N), rel=0.05)


def intervals(queries, moved):
    frame = pool({OURS: 1.0, "Improved map": queries})
    level = frame["method"].map({OURS: 0.3, "Improved map": moved})
    return frame.assign(moved=level + np.random.default_rng(1).normal(0, 0.05, len(frame)))


def test_improved_map():
    assert verdicts("fig-3.5", intervals(0.5, 0.5)) == ["holds", "holds"]
    assert verdicts("fig-3.5", intervals(2.0, 0.1)) == ["does not hold", "does not hold"]
    assert verdicts("fig-3.5", intervals(1.0, 0.3)) == ["undecided", "undecided"]


def curve(levels):
    rng, rows = np.random.default_rng(0), []
    noise = rng.uniform(-0.1, 0.1, N)
    for method, level in levels.items():
        for q in (1, 31, 61):
            loss = 1 - level * q / 100 + noise + rng.normal(0, 0.01, N)
            rows.append(pd.DataFrame({"method": method, "clip": range(N), "queries": q, "loss": loss}))
    return pd.concat(rows)


def test_curves():
    assert verdicts("fig-3.1", curve({"Multi-noise": 0.1, "One-noise": 0.2, OURS: 0.5})) == ["holds"]
    assert verdicts("fig-3.1", curve({"Multi-noise": 0.1, "One-noise": 0.6, OURS: 0.5})) == ["does not hold"]
    assert verdicts("fig-3.1", curve({"Multi-noise": 0.1, "One-noise": 0.5, OURS: 0.5})) == ["undecided"]


def energies(fooled, others, relation=0.0):
    rng = np.random.default_rng(2)
    success = (np.arange(2 * N) % 2).astype(int)
    energy = np.where(success, fooled, others) * rng.uniform(0.5, 2, 2 * N)
    charged = 100 * energy**-relation * rng.uniform(0.8, 1.2, 2 * N)
    model = np.where(np.arange(2 * N) < N, "I3D", "TSN2D")
    return pd.DataFrame(
        {
            "dataset": "looks",
            "model": model,
            "number": np.arange(2 * N) % N,
            "success": success,
            "energy": energy,
            "charged": charged,
        }
    )


def test_failures_have_little_motion():
    assert verdicts("fig-3.8", energies(3, 1)) == ["holds"]
    assert verdicts("fig-3.9", energies(1, 3)) == ["does not hold"]
    assert verdicts("fig-3.8", energies(1, 1)) == ["undecided"]
    assert verdicts("fig-3.8", energies(1, 1).assign(success=1)) == ["not tested at this profile"]


def test_motion_against_queries():
    assert verdicts("extra-3.A", energies(1, 1, relation=1.0)) == ["holds"]
    assert verdicts("extra-3.A", energies(1, 1, relation=-1.0)) == ["does not hold"]
    assert verdicts("extra-3.A", energies(1, 1)) == ["undecided"]
    assert verdicts("extra-3.A", energies(1, 1).head(20)) == ["not tested at this profile"]


def streams(after, control):
    before = np.ones(2 * N, int)
    before[:20] = 0
    rng = np.random.default_rng(3)
    right = lambda share: (rng.random(2 * N) < share).astype(int)  # noqa: E731
    return pd.DataFrame(
        {
            "dataset": "moves",
            "number": range(2 * N),
            "success": 1,
            "before": before,
            "after": right(after),
            "control": right(control),
        }
    )


def test_transfer_is_counted_where_the_stream_was_right():
    assert verdicts("tab-3.6", streams(0.5, 0.9)) == ["holds"]
    assert verdicts("tab-3.6", streams(0.9, 0.5)) == ["does not hold"]
    assert verdicts("tab-3.6", streams(0.7, 0.7)) == ["undecided"]
    assert verdicts("tab-3.6", streams(0.5, 0.9).assign(success=0)) == ["not tested at this profile"]
    few = streams(1.0, 1.0)
    few.loc[few.index[:4], "after"] = (
        0.0  # four clips more, none less: as undecided as `paired_shares` has it
    )
    assert verdicts("tab-3.6", few) == ["undecided"]
    # What the stream had wrong before says nothing.
    frame = streams(1.0, 1.0)
    frame.loc[frame["before"] == 0, "after"] = 0
    assert CLAIMS["tab-3.6"][0].decide(frame).estimate == 0


def test_accuracy():
    frame = pd.DataFrame(
        {
            "dataset": "moves",
            "model": ["I3D", "TSN2D"],
            "correct": [270, 160],
            "clips": 300,
            "enough": [70.0, 35.0],
        }
    )
    assert verdicts("tab-3.1", frame) == ["holds"]
    assert verdicts("tab-3.1", frame.assign(correct=[270, 60])) == ["does not hold"]
    assert verdicts("tab-3.1", frame.assign(correct=[270, 105])) == ["undecided"]
