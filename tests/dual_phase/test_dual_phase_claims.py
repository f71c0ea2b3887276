"""The claims: swapped methods must not hold, equal ones are undecided, missing ones are not tested."""

import numpy as np
import pandas as pd
import pytest

from thesislib.dual_phase.claims import CLAIMS, CONTROLS, OURS
from thesislib.evidence import NotTested

CONTROL, SAME = CONTROLS
SEEDS, SHOTS = range(6), ("Many", "Medium", "Few", "All")


def frame(of, scores, seeds=SEEDS, **keys):
    """Accuracies with a little noise: one row a value of `of`, seed and shot."""
    rng = np.random.default_rng(0)
    rows = [
        {of: name, "seed": seed, "shot": shot, "accuracy": score + rng.normal(0, 0.05), **keys}
        for name, score in scores.items()
        for seed in seeds
        for shot in SHOTS
    ]
    return pd.DataFrame(rows).assign(dataset="glyphs_lt")


def verdicts(identity, rows):
    return [claim.decide(rows).verdict for claim in CLAIMS[identity]]


@pytest.mark.parametrize("identity", ["tab-4.2", "tab-4.3", "tab-4.6"])
def test_every_baseline_must_be_beaten(identity):
    good = {OURS: 60.0, "CE": 50.0, "cRT": 55.0, CONTROL: 61.0}
    assert verdicts(identity, frame("method", good)) == ["holds", "does not hold"]
    assert verdicts(identity, frame("method", good | {"cRT": 61.0})) == ["does not hold"] * 2
    equal = frame("method", {OURS: 50.0, "CE": 50.0, CONTROL: 50.0})
    assert verdicts(identity, equal) == ["undecided"] * 2
    assert verdicts(identity, frame("method", good, seeds=range(3))) == ["not tested at this profile"] * 2
    assert verdicts(identity, frame("method", {"CE": 1.0})) == ["not tested at this profile"] * 2
    herded = good | {"Dual-phase, herding": 70.0}  # a way of ours, no baseline
    assert verdicts(identity, frame("method", herded)) == ["holds", "does not hold"]


def test_both_controls_count():
    scores = {OURS: 60.0, "CE": 50.0, CONTROL: 55.0}
    assert verdicts("tab-4.2", frame("method", scores | {SAME: 55.0})) == ["holds", "holds"]
    assert verdicts("tab-4.2", frame("method", scores | {SAME: 61.0})) == ["holds", "does not hold"]


def test_each_ratio_counts_and_one_with_few_seeds_is_left_out_and_said():
    good, bad = {OURS: 60.0, "CE": 50.0, CONTROL: 55.0}, {OURS: 50.0, "CE": 55.0, CONTROL: 55.0}
    fine = frame("method", good, ratio=100.0, epochs=40)
    once = frame("method", bad, seeds=[0], ratio=100.0, epochs=200)
    assert verdicts("tab-4.5", pd.concat([fine, once])) == ["holds", "holds"]
    label = CLAIMS["tab-4.5"][0].decide(pd.concat([fine, once])).reason
    assert "left out: glyphs_lt, ratio 100, epochs 200" in label
    other = frame("method", bad, ratio=50.0, epochs=40)
    assert verdicts("tab-4.5", pd.concat([fine, other])) == ["does not hold", "does not hold"]


def test_shots():
    rows = frame("method", {OURS: 60.0, "CE": 50.0})
    many = (rows["shot"] == "Many") & (rows["method"] == OURS)
    assert verdicts("tab-4.4", rows) == ["holds"]
    assert verdicts("tab-4.4", rows.assign(accuracy=rows["accuracy"] - 10.5 * many)) == ["holds"]
    assert verdicts("tab-4.4", rows.assign(accuracy=rows["accuracy"] - 12.0 * many)) == ["does not hold"]
    assert verdicts("tab-4.4", rows[rows["method"] != "CE"]) == ["not tested at this profile"]


def test_head_and_tail():
    rows = frame("method", {OURS: 60.0, "CE": 50.0}).rename(columns={"shot": "classes"})
    rows["classes"] = rows["classes"].map({"Many": "head", "Few": "tail", "All": "all", "Medium": "x"})
    assert verdicts("tab-4.7", rows) == ["holds"]
    head = (rows["classes"] == "head") & (rows["method"] == OURS)
    assert verdicts("tab-4.7", rows.assign(accuracy=rows["accuracy"] - 20 * head)) == ["does not hold"]


@pytest.mark.parametrize(("identity", "of"), [("fig-4.6", "more_than"), ("fig-4.8", "lambda")])
def test_an_interior_optimum(identity, of):
    assert verdicts(identity, frame(of, {0.0: 40.0, 1.0: 50.0, 9.0: 45.0})) == ["holds"]
    assert verdicts(identity, frame(of, {0.0: 40.0, 1.0: 50.0, 9.0: 55.0})) == ["does not hold"]
    assert verdicts(identity, frame(of, {0.0: 50.0, 1.0: 50.0, 9.0: 40.0})) == ["undecided"]
    assert verdicts(identity, frame(of, {0.0: 50.0, 1.0: 50.0})) == ["not tested at this profile"]
    assert verdicts(identity, frame(of, {1.0: 50.0})) == ["not tested at this profile"]


def test_bank_selection_and_retention():
    assert verdicts("fig-4.7", frame("bank", {1: 40.0, 5: 50.0})) == ["holds"]
    assert verdicts("fig-4.7", frame("bank", {1: 50.0, 5: 40.0})) == ["holds"]  # no direction is stated
    assert verdicts("fig-4.7", frame("bank", {1: 50.0, 2: 60.0, 5: 50.0})) == ["undecided"]
    assert verdicts("fig-4.7", frame("bank", {1: 50.0})) == ["not tested at this profile"]
    rules = {"alternating": 50.0, "random": 45.0, "nearest": 52.0}
    assert verdicts("tab-4.8", frame("rule", rules)) == ["holds", "does not hold"]
    forms = {"none": 50.0, "cross-graph": 45.0, "pointwise": 40.0}
    assert verdicts("tab-4.9", frame("form", forms)) == ["does not hold", "holds"]
    absent = CLAIMS["tab-4.8"][0].decide(frame("rule", {"random": 45.0}))
    assert absent.verdict == "not tested at this profile" and "this run has no alternating" in absent.reason


def test_model_head():
    rows = {
        "Model-all": 70.0,
        "Model-all, head logits": 80.0,
        "Model-head": 75.0,
        "Model-all, linear probe": 70.0,
        "Model-head, linear probe": 70.0,
    }
    found = verdicts("tab-4.1", frame("method", rows)[lambda f: f["shot"] == "All"])
    assert found == ["holds", "does not hold", "undecided"]


def test_leaning():
    rows = {OURS: 40.0, CONTROL: 30.0, "Joint, then phase II": 20.0, "CE": 1.0}
    leaning = frame("method", rows)[lambda f: f["shot"] == "All"].rename(columns={"accuracy": "head as tail"})
    assert verdicts("extra-4.C", leaning) == ["holds"]
    swapped = leaning.replace({"method": {OURS: CONTROL, CONTROL: OURS}})
    assert verdicts("extra-4.C", swapped) == ["does not hold"]
    assert verdicts("extra-4.C", leaning.query("method == 'CE'")) == ["not tested at this profile"]


def angles(head, tail, sample):
    rng = np.random.default_rng(0)
    rows = [
        (seed, name, mean + rng.normal(0, 0.1), std + rng.normal(0, 0.1))
        for seed in SEEDS
        for name, (mean, std) in {"head": head, "tail": tail, "head sample": sample}.items()
    ]
    return pd.DataFrame(rows, columns=["seed", "gradient", "mean", "std"]).assign(dataset="glyphs_lt")


def test_angles_and_their_controls():
    assert verdicts("fig-4.1", angles((30, 5), (60, 9), (50, 7))) == ["holds"] * 3
    assert verdicts("fig-4.1", angles((60, 9), (30, 5), (50, 7))) == ["does not hold"] * 3
    names = ["mean head", "mean tail", "mean head, equal weight", "mean tail, equal weight"]
    rows = pd.DataFrame(
        [(s, e, 30.0 + s, 60.0 - s, 50.0, 40.0 + 0.1 * s) for s in SEEDS for e in range(3)],
        columns=["seed", "epoch", *names],
    )
    assert verdicts("fig-4.2", rows) == ["holds", "does not hold"]
    with pytest.raises(NotTested):
        CLAIMS["fig-4.2"][0].test(rows[rows["seed"] < 3])


def test_two_classes_show_whether_the_selection_settled_and_decide_nothing():
    rows = [
        {
            "class": k,
            "point": f"prototype {r}",
            "rounds": r,
            "x": 1.0 if k or r > 1 else float(r),
            "y": 0.1 * min(r, last),
        }
        for k, last in ((0, 4), (1, 2))
        for r in range(5)
    ]
    rows += [{"class": 0, "point": "image 0", "rounds": 3, "x": 9.0, "y": 9.0}]
    (found,) = [claim.decide(pd.DataFrame(rows)) for claim in CLAIMS["fig-4.4"]]
    assert found.verdict == "not tested at this profile"
    assert "of their 2 prototypes 1 stood still" in found.reason
