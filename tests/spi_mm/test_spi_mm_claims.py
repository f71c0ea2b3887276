"""Each claim on frames made up so that the answer is known."""

import numpy as np
import pandas as pd
import pytest

from thesislib.spi_mm.claims import CLAIMS, first_passage
from thesislib.spi_mm.settings import METHODS

SEEDS = range(5)
MARKS = np.array([0, 1, 2, 4, 8, 16, 32, 64, 100.0])


def curves(speeds, problem, tuning=("theory", "tuned")):
    """Gaps that fall like exp(-speed * passes), a little differently for each seed."""
    rows = []
    for data in ("one", "two"):
        for kind in tuning:
            for method, speed in speeds.items():
                for seed in SEEDS:
                    gap = 0.5 * np.exp(-speed * (1 + 0.01 * seed) * MARKS)
                    labels = {"dataset": data, problem: "p", "tuning": kind, "method": method, "seed": seed}
                    rows.append(
                        pd.DataFrame({**labels, "passes": MARKS, "objective": 0.2 + gap, "reference": 0.2})
                    )
    return pd.concat(rows, ignore_index=True)


def swapped(frame, first, second):
    return frame.assign(method=frame["method"].replace({first: second, second: first}))


FIGURES = [("fig-6.2", "lam"), ("fig-6.3", "problem")]


@pytest.mark.parametrize(("artefact", "problem"), FIGURES)
@pytest.mark.parametrize("which", range(4))
def test_evaluation_claims(artefact, problem, which):
    claim = CLAIMS[artefact][which]
    speeds = dict.fromkeys(METHODS, 0.03) | {"SPI-MM": 0.09}
    good = curves(speeds, problem)
    found = claim.decide(good)
    assert found.verdict == "holds"
    for rival in ("batch MM", "MISO", "SMM"):
        assert claim.decide(swapped(good, "SPI-MM", rival)).verdict == "does not hold"
    assert claim.decide(curves(dict.fromkeys(METHODS, 0.05), problem)).verdict == "undecided"
    with pytest.raises(KeyError, match="SPI-MM"):
        claim.test(good[good["method"] != "SPI-MM"])


@pytest.mark.parametrize(("artefact", "problem"), FIGURES)
def test_each_claim_looks_at_its_own_rivals_and_tuning(artefact, problem):
    mm, coarse, theory, tuned = CLAIMS[artefact]
    speeds = dict.fromkeys(METHODS, 0.03) | {"SPI-MM": 0.09, "SAGA": 0.2}
    frame = curves(speeds, problem)
    assert [c.decide(frame).verdict for c in (mm, coarse, theory, tuned)] == ["holds", "holds"] + [
        "does not hold"
    ] * 2
    assert "SAGA" in theory.decide(frame).reason
    slow = dict.fromkeys(METHODS, 0.03) | {"SPI-MM": 0.09}
    both = pd.concat([curves(slow, problem, ("theory",)), curves(speeds, problem, ("tuned",))])
    assert theory.decide(both).verdict == "holds" and tuned.decide(both).verdict == "does not hold"
    for rival in ("batch MM", "MISO", "SMM"):
        with pytest.raises(KeyError, match=rival):
            mm.test(frame[frame["method"] != rival])
    alone = frame[frame["method"] == "SPI-MM"]
    for claim in CLAIMS[artefact]:
        with pytest.raises(KeyError):
            claim.test(alone)


def test_spider_with_an_epsilon_of_ours_is_no_rival_on_sparse_pca():
    speeds = dict.fromkeys(METHODS, 0.03) | {"SPI-MM": 0.09, "SPIDER": 0.2}
    found = {a: [c.decide(curves(speeds, p)) for c in CLAIMS[a][2:]] for a, p in FIGURES}
    assert [f.verdict for f in found["fig-6.2"]] == ["does not hold"] * 2
    assert [f.verdict for f in found["fig-6.3"]] == ["holds", "does not hold"]
    assert (
        "SPIDER is left out" in found["fig-6.3"][0].sentence and "SPIDER" not in found["fig-6.2"][0].sentence
    )
    frame = curves(speeds, "problem")
    with pytest.raises(KeyError, match="any rival"):
        CLAIMS["fig-6.3"][2].test(frame[frame["method"].isin(["SPI-MM", "SPIDER"])])


def test_one_bad_data_set_decides():
    speeds = dict.fromkeys(METHODS, 0.03) | {"SPI-MM": 0.09}
    frame = curves(speeds, "lam")
    mixed = pd.concat(
        [frame[frame.dataset == "one"], swapped(frame[frame.dataset == "two"], "SPI-MM", "MISO")]
    )
    found = CLAIMS["fig-6.2"][0].decide(mixed)
    assert found.verdict == "does not hold" and found.reason.startswith("two, p: against MISO")


def test_size_of_the_factor_and_censoring():
    """A rival three times slower costs three times as much; one that never arrives is charged the budget."""
    speeds = dict.fromkeys(METHODS, 0.03) | {"SPI-MM": 0.09}
    exact = CLAIMS["fig-6.2"][1].decide(curves(speeds, "lam"))  # coarse: log(5)/0.03 = 53.6 passes
    assert 10**exact.estimate == pytest.approx(3.0, rel=1e-6)
    never = CLAIMS["fig-6.2"][1].decide(curves(speeds | {"SMM": 1e-6, "MISO": 1e-6, "batch MM": 1e-6}, "lam"))
    assert 10**never.estimate == pytest.approx(100 / (np.log(5) / 0.09), rel=0.05)


def test_the_lowest_objective_in_the_frame_is_the_floor_whoever_found_it():
    """A method in a deeper basin moves the gaps of all; without one, the reference does."""
    speeds = dict.fromkeys(METHODS, 0.03) | {"SPI-MM": 0.09}
    frame = curves(speeds, "lam")
    before = CLAIMS["fig-6.2"][1].decide(frame).estimate
    deeper = frame.assign(reference=frame["reference"] - 0.05)
    assert CLAIMS["fig-6.2"][1].decide(deeper).estimate != pytest.approx(before, rel=1e-6)


def test_too_slow_for_the_level_is_not_tested():
    found = CLAIMS["fig-6.2"][1].decide(curves(dict.fromkeys(METHODS, 1e-4), "lam"))
    assert found.verdict == "not tested at this profile" and "does not reach" in found.reason


def test_too_few_seeds_are_not_tested():
    frame = curves(dict.fromkeys(METHODS, 0.03) | {"SPI-MM": 0.09}, "lam")
    for claim in CLAIMS["fig-6.2"]:
        assert claim.decide(frame[frame.seed < 4]).verdict == "not tested at this profile"


def test_first_passage():
    passes, gap = np.array([0, 1, 3, 9.0]), np.array([1, 0.1, 1e-3, 0.0])
    assert first_passage(passes, gap, 0.1) == 1
    assert first_passage(passes, gap, 1e-2) == pytest.approx(2)  # halfway in the logarithm
    assert first_passage(passes, gap, 2.0) == 0
    assert 3 < first_passage(passes, gap, 1e-9) < 9
    assert first_passage(passes, np.maximum(gap, 0.05), 1e-2) == 9


def surrogates(dips):
    rows = []
    for seed in SEEDS:
        for draw in range(1, 6):
            u = np.linspace(-1, 1, 11)
            F, depth = u**2, dips[draw - 1] * (1 + 0.1 * seed)
            relaxed = 2 * u**2 - depth
            rows.append(
                pd.DataFrame(
                    {
                        "seed": seed,
                        "draw": draw,
                        "u": u,
                        "objective": F,
                        "classical": 2 * u**2,
                        "relaxed": relaxed,
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def test_claim_of_the_first_figure():
    (claim,) = CLAIMS["fig-6.1"]
    frame = surrogates([0.1, -0.1, 0.2, 0.0, 0.3])
    found = claim.decide(frame)
    assert found.verdict == "holds" and found.estimate == pytest.approx(0.6)
    other = frame.rename(columns={"relaxed": "classical", "classical": "relaxed"})
    assert claim.decide(other).verdict == "does not hold"
    assert claim.decide(frame.assign(relaxed=frame.classical)).verdict == "undecided"
    assert claim.decide(frame.assign(relaxed=frame.classical - 1e-9)).verdict == "undecided"  # rounding
    with pytest.raises(KeyError):
        claim.test(frame.drop(columns="relaxed"))
    assert claim.decide(frame[frame.seed < 2]).verdict == "not tested at this profile"


def scaling(ours, batch):
    rng = np.random.default_rng(0)
    rows = [
        {"eps": eps, "n": n, "method": method, "seed": seed, "ifo": 100 / eps * n**slope * np.exp(noise)}
        for eps in (1e-2, 1e-3)
        for method, slope in (("SPI-MM", ours), ("batch MM", batch))
        for seed in SEEDS
        for n, noise in zip((1000, 4000, 16000), 0.01 * rng.standard_normal(3), strict=True)
    ]
    return pd.DataFrame(rows)


def test_claims_of_the_scaling_check():
    flatter, root = CLAIMS["extra-6.A"]
    frame = scaling(0.5, 1.0)
    found = flatter.decide(frame)
    assert found.verdict == "holds" and found.estimate == pytest.approx(0.5, abs=0.02)
    assert root.decide(frame).verdict == "holds"
    other = swapped(frame, "SPI-MM", "batch MM")
    assert flatter.decide(other).verdict == root.decide(other).verdict == "does not hold"
    same = frame[frame.method == "SPI-MM"]
    same = pd.concat([same, same.assign(method="batch MM")])
    assert flatter.decide(same).verdict == "undecided"
    assert root.decide(scaling(0.6, 1.0)).verdict == "undecided"
    for missing in ("SPI-MM", "batch MM"):
        with pytest.raises(KeyError):
            flatter.test(frame[frame.method != missing])
    for claim in (flatter, root):
        assert claim.decide(frame[frame.n == 1000]).verdict == "not tested at this profile"
