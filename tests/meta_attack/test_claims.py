"""Each claim on made-up frames: true ones hold, swapped ones do not, equal ones are undecided, absent ones raise."""

import numpy as np
import pandas as pd
import pytest

from thesislib.evidence import NotTested
from thesislib.meta_attack.claims import CLAIMS, common
from thesislib.meta_attack.settings import SIMILARITIES, TRAININGS

N = 60


def pool(queries, *, success=None, l2=None, goals=()):
    """A frame with one row a method and image; noise common to all methods makes the pairs."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.8, 1.25, N)
    jitter = {m: rng.uniform(0.97, 1.03, N) for m in queries}
    parts = [
        pd.DataFrame(
            {
                "dataset": "digits",
                "method": m,
                "image": range(N),
                "success": (success or {}).get(m, np.ones(N)),
                "l2": (l2 or {}).get(m, 1.0) * noise * jitter[m],
                "queries": np.round(level * noise * jitter[m] * 100),
            }
        )
        for m, level in queries.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    return pd.concat([frame.assign(goal=g) for g in goals], ignore_index=True) if goals else frame


def verdicts(artefact, frame):
    return [claim.decide(frame).verdict for claim in CLAIMS[artefact]]


RIVALS = {"ZOO": 30.0, "AutoZOOM": 3.0, "Bandits": 2.0}


@pytest.mark.parametrize("table", ["tab-2.4", "tab-2.5"])
def test_tables_compare_with_every_rival(table):
    assert verdicts(table, pool({"Meta attack": 1.0, **RIVALS})) == ["holds"] * 3
    # One rival that needs fewer is enough.
    assert verdicts(table, pool({"Meta attack": 2.5, **RIVALS}))[0] == "does not hold"
    assert verdicts(table, pool({"Meta attack": 2.0, **RIVALS}))[0] == "undecided"
    lost = np.r_[np.zeros(20), np.ones(N - 20)]
    assert (
        verdicts(table, pool({"Meta attack": 1.0, **RIVALS}, success={"Meta attack": lost}))[1]
        == "does not hold"
    )
    assert (
        verdicts(table, pool({"Meta attack": 1.0, **RIVALS}, l2={"Meta attack": 1.5}))[2] == "does not hold"
    )
    assert verdicts(table, pool({"Meta attack": 1.0, **RIVALS}, l2={"Meta attack": 1.2}))[2] == "holds"


def test_meta_transfer_is_no_rival_and_a_column_without_rivals_is_not_tested():
    assert verdicts("tab-2.4", pool({"Meta attack": 1.0, "Meta transfer": 0.1, "ZOO": 5.0}))[0] == "holds"
    alone = pool({"Meta attack": 1.0, "Meta transfer": 2.0})
    assert verdicts("tab-2.4", alone)[0] == "not tested at this profile"


def test_methods_with_fewer_images_are_compared_on_the_common_ones():
    frame = pool({"Meta attack": 1.0, "ZOO": 30.0})
    cut = frame[(frame.method != "ZOO") | (frame.image < 55)]
    ours, theirs = common(cut, "queries", "Meta attack", "ZOO")
    assert len(ours) == len(theirs) == 55
    assert CLAIMS["tab-2.4"][0].decide(cut).n == 55
    few = frame[(frame.method != "ZOO") | (frame.image < 30)]
    assert CLAIMS["tab-2.4"][0].decide(few).verdict == "not tested at this profile"
    three = pool({"Meta attack": 1.0, "ZOO": 30.0, "Bandits": 0.5})
    finding = CLAIMS["tab-2.4"][0].decide(three[(three.method != "Bandits") | (three.image < 30)])
    assert finding.verdict == "holds" and "left out: Bandits on digits (30 of 50 images" in finding.reason


def test_success_within_the_rivals_budget():
    both = ("untargeted", "targeted")
    assert verdicts("fig-2.1", pool({"Meta attack": 1.0, "ZOO": 30.0, "AutoZOOM": 3.0}, goals=both)) == [
        "holds"
    ]
    worse = pool({"Meta attack": 10.0, "ZOO": 30.0, "AutoZOOM": 3.0}, goals=both)
    assert verdicts("fig-2.1", worse) == ["does not hold"]
    never = pool({"Meta attack": 1.0, "ZOO": 1.0}, success={"ZOO": np.zeros(N)}, goals=both)
    assert verdicts("fig-2.1", never) == ["not tested at this profile"]


def starts(trained, random, cosine=(0.3, 0.0)):
    frame = pool({"trained": trained, "random": random}).rename(columns={"method": "attacker"})
    rng = np.random.default_rng(1)
    level = frame["attacker"].map(dict(zip(("trained", "random"), cosine, strict=True)))
    return frame.assign(**{"cosine 0": level + rng.normal(0, 0.05, len(frame))})


def test_trained_against_random():
    assert verdicts("fig-2.2", starts(1.0, 1.5)) == ["holds", "holds"]
    assert verdicts("fig-2.2", starts(1.5, 1.0, (0.0, 0.3))) == ["does not hold", "does not hold"]
    assert verdicts("fig-2.2", starts(1.0, 1.0, (0.1, 0.1))) == ["undecided", "undecided"]


def sweep(queries, l2):
    cells = [(q, b) for q in (0.5, 1.0, 2.0) for b in (0.5, 1.0, 2.0)]
    parts = []
    for q, b in cells:
        part = pool({"cell": queries(q, b)}, l2={"cell": l2(q, b)})
        parts.append(part.assign(q=q, beta=b))
    return pd.concat(parts, ignore_index=True)


def test_sweep():
    trade = sweep(lambda q, b: q**-0.4 / b, lambda q, b: q**0.2 * b**0.5)  # one frontier for every q
    assert verdicts("fig-2.3", trade) == ["holds", "holds"]
    reverse = sweep(lambda q, b: b, lambda q, b: 1 / b)
    assert verdicts("fig-2.3", reverse)[0] == "does not hold"
    # Half the queries at q = 2: no nearer frontier if it ends 1.2 times as far, where this one too needs less, but not half.
    for farther, verdict in ((1.0, "does not hold"), (1.2, "does not hold"), (1.41, "holds")):
        other = sweep(
            lambda q, b: (0.5 if q == 2 else 1) / b, lambda q, b, s=farther: (s if q == 2 else 1) * b**0.5
        )
        assert verdicts("fig-2.3", other)[1] == verdict
    apart = sweep(lambda q, b: 1 / b, lambda q, b: (1 if q == 1 else 9) * b**0.5)
    assert verdicts("fig-2.3", apart)[1] == "not tested at this profile"
    alone = trade[(trade.q == 1) & (trade.beta == 1)]
    assert verdicts("fig-2.3", alone) == ["not tested at this profile"] * 2


def searched(**candidates):
    """A frame of the search: a method's candidates as (L2, queries, images missed)."""
    one = pool({"Meta attack": 1.0})
    rows = [
        one.assign(
            method=method.replace("_", " "),
            setting=setting,
            l2=one["l2"] * l2,
            queries=one["queries"] * queries,
            success=np.arange(N) >= missed,
        )
        for method, settings in candidates.items()
        for setting, (l2, queries, missed) in settings.items()
    ]
    return pd.concat(rows, ignore_index=True)


def test_the_best_candidates_within_one_distortion_are_compared():
    ours = {"beta*1": (1.0, 3.0, 0), "beta*2": (1.2, 1.0, 0), "beta*4": (1.4, 0.1, 0)}
    rival = {"lr*1": (1.24, 2.0, 0), "lr*2": (1.3, 0.5, 0), "lr*0.5": (0.9, 9.0, 0)}
    assert verdicts("extra-2.B", searched(Meta_attack=ours, ZOO=rival)) == [
        "holds"
    ]  # 1 against 2: both within 1.25
    cheaper = rival | {"c=5.0": (1.0, 0.5, 0)}
    assert verdicts("extra-2.B", searched(Meta_attack=ours, ZOO=cheaper)) == ["does not hold"]
    failing = rival | {"c=5.0": (1.0, 0.5, 1)}  # misses an image: the candidate that misses none is taken
    assert verdicts("extra-2.B", searched(Meta_attack=ours, ZOO=failing)) == ["holds"]
    (claim,) = CLAIMS["extra-2.B"]
    far = {"lr*1": (2.0, 0.1, 0)}
    assert (
        "AutoZOOM on digits (no candidate of AutoZOOM within"
        in claim.decide(searched(Meta_attack=ours, ZOO=rival, AutoZOOM=far)).reason
    )
    with pytest.raises(NotTested, match="no candidate of ZOO within"):
        claim.test(searched(Meta_attack=ours, ZOO=far))


def test_accuracy_counts_test_images():
    def frame(correct):
        row = {"dataset": "digits", "model": "Net4", "images": 355, "enough": 90.0}
        source = {**row, "model": "LeNet5", "role": "source", "correct": 10, "enough": 0.0}
        return pd.DataFrame([{**row, "role": "victim", "correct": correct}, source])

    assert verdicts("tab-2.3", frame(345)) == ["holds"]
    assert verdicts("tab-2.3", frame(290)) == ["does not hold"]
    assert verdicts("tab-2.3", frame(320)) == ["undecided"]


def test_alignment_is_compared_at_equal_queries():
    def frame(level):
        rng = np.random.default_rng(0)
        return pd.concat(
            [
                pd.DataFrame(
                    {
                        "dataset": "digits",
                        "method": m,
                        "image": range(N),
                        "cosine": level.get(m, 0.9) + rng.normal(0, 0.03, N),
                    }
                )
                for m in SIMILARITIES
            ]
        )

    rivals = dict.fromkeys(
        ("Random meta attacker, fine-tuned once", "ZOO, q random pixels", "q random directions"), 0.2
    )
    ours = "Meta attacker, fine-tuned once"
    assert verdicts("tab-2.6", frame({ours: 0.5, **rivals})) == ["holds"]
    assert verdicts("tab-2.6", frame({ours: 0.1, **rivals})) == ["does not hold"]
    assert verdicts("tab-2.6", frame({ours: 0.2, **rivals})) == ["undecided"]


@pytest.mark.parametrize("table", ["tab-2.7", "tab-2.8"])
def test_trainings(table):
    def frame(**level):
        return pool(
            {m: level.get(kind.replace("white-box few", "white"), 1.0) for m, kind in TRAININGS.items()}
        )

    assert verdicts(table, frame(vanilla=1.5)) == ["holds", "holds"]
    assert verdicts(table, frame(vanilla=0.7, estimated=1.5)) == ["does not hold", "does not hold"]
    assert verdicts(table, frame(estimated=1.25))[1] == "undecided"


@pytest.mark.parametrize("artefact", ["tab-2.4", "fig-2.2", "tab-2.6", "tab-2.7"])
def test_a_missing_side_raises_or_is_not_tested(artefact):
    frames = {
        "tab-2.4": pool({"ZOO": 1.0}),
        "fig-2.2": starts(1.0, 1.0).query("attacker == 'trained'"),
        "tab-2.6": pool({"Meta attacker": 1.0}).assign(cosine=0.1),
        "tab-2.7": pool({"Meta attack": 1.0}),
    }
    with pytest.raises((KeyError, NotTested)):
        CLAIMS[artefact][0].test(frames[artefact])
