"""Frames are their grids, runs are shared, and figures are drawn from live objects."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from thesislib import sources
from thesislib.companion import records
from thesislib.datasets.longtail import TAILS
from thesislib.dual_phase import experiments, live, pool
from thesislib.dual_phase.columns import STAND_INS, cifar
from thesislib.dual_phase.runs import Finish, head_of, measured
from thesislib.dual_phase.settings import METHODS, PROFILES, SEARCH, candidates_of, grids, resolve

SMALL = resolve("smoke", repeats=1, methods=("CE", "Dual-phase"))


def experiment(identity):
    return getattr(experiments, identity.replace("-", "_").replace(".", "_").lower())


def by_seed(dataset, training, finish):
    """A measurement made up of the seed, in place of a training."""
    data = pool.images_of(dataset, training.ratio)
    counts = data["counts"].numpy()
    about = head_of(training) if finish.kind != "Phase II" else np.arange(len(counts))
    epochs = training.recipe.epochs
    column = [1.0] * epochs
    angles = {f"{what} {name}": column for what in ("mean", "std") for name in experiments.ANGLES}
    return {
        "by class": (np.arange(len(about)) / len(about)).tolist(),
        "restricted": [0.5] * int((counts > pool.TAILS[dataset].many).sum()),
        "angles": angles | {"epoch": list(range(epochs)), "steps": column},
        "head as tail": 0.1,
        "norms": [1.0] * len(about),
        "ECE": 0.2,
        "made on": "test",
    }


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("identity", ["fig-4.3", "fig-4.4", "fig-4.5", "extra-4.C", "tab-4.1", "tab-4.7"])
def test_frames_are_their_grids(identity):
    frame, grid = experiment(identity)(SMALL), grids(SMALL)[identity]
    keys = records.keys_of(grid)
    records.check_cells(identity, keys, frame, records.cells(identity, keys, grid))
    assert np.isfinite(frame.select_dtypes("number").to_numpy()).all()


@pytest.mark.parametrize("profile", ["laptop", "paper"])
def test_the_whole_chapter_is_one_pool_of_runs(profile, monkeypatch):
    """Every frame is its grid, and all together need no more trainings than allowed."""
    seen = {}

    def measured(dataset, training, finish):
        seen[training, finish] = by_seed(dataset, training, finish)
        return seen[training, finish]

    monkeypatch.setattr(pool, "measured", measured)
    settings = PROFILES[profile]
    if profile == "paper":  # without the data: glyphs in the place of CIFAR
        settings = resolve("laptop", dataset=["glyphs_lt"], ratios=[50.0, 20.0], methods=list(METHODS))
    for identity in grids(settings):
        if identity in ("fig-4.3", "fig-4.4", "fig-4.5"):
            continue
        frame, grid = experiment(identity)(settings), grids(settings)[identity]
        keys = records.keys_of(grid)
        records.check_cells(identity, keys, frame, records.cells(identity, keys, grid))
    trainings = {training for training, _ in seen}
    if profile == "laptop":
        assert len(trainings) <= 60
    joint = {t for t in trainings if t.loss == "CE" and t.more_than is None and t.ratio is None}
    longer = {t.recipe.epochs for t in joint}
    for dataset in settings.dataset:  # one joint model a seed, whatever asks for it
        mine = [t for t in joint if t.dataset == dataset and t.recipe.epochs == min(longer)]
        assert len(mine) == len({t.seed for t in mine})


def test_methods_differ_in_what_they_say_and_in_nothing_else():
    settings = PROFILES["laptop"]
    cases = {m: pool.case(settings, "glyphs_lt", m, 1) for m in settings.methods}
    joint = cases["CE"][0]
    for method, (training, _) in cases.items():
        same = replace(joint, loss=training.loss, more_than=training.more_than, angles=training.angles)
        assert training == same, method
    control, ours = cases["Joint, then phase II"][1].phase_two, cases["Dual-phase"][1].phase_two
    assert replace(control, recipe=ours.recipe, balanced=ours.balanced) == ours
    assert control.recipe == replace(ours.recipe, lr=control.recipe.lr)
    same, dual = cases["Joint, same phase II"][1], cases["Dual-phase"]
    at_our_rate = replace(same.phase_two, recipe=ours.recipe, balanced=ours.balanced)
    assert at_our_rate == ours and same.more_than == dual[0].more_than
    herded = cases["Dual-phase, herding"][1].phase_two
    assert replace(herded, rule=ours.rule, recipe=ours.recipe, balanced=ours.balanced) == ours != herded


@pytest.mark.parametrize(
    ("place", "dataset"), [("glyphs_lt-laptop", "glyphs_lt"), ("cifar100_lt-paper", "cifar100_lt")]
)
def test_settings_are_the_best_of_the_recorded_search(place, dataset):
    settings = resolve(place.rpartition("-")[2], dataset=dataset)
    frame = pd.read_csv(sources.PACKAGE.parent / "data" / "recorded" / place / "extra-4.A.csv")
    means = frame.groupby(["method", "candidate"])["accuracy"].mean()
    assert set(frame["method"]) == set(SEARCH) and not set(frame["seed"]) & set(settings.seeds())
    for method, found in means.groupby("method"):
        assert {candidate for _, candidate in found.index} == set(candidates_of(dataset, method)), method
        best = found.idxmax()[1]
        chosen = pool.case(settings, dataset, method, 1)
        assert chosen == pool.case(settings, dataset, method, 1, candidate=best), (method, best)


def test_longer_training_has_the_iterations_of_both_phases():
    settings = PROFILES["laptop"]
    joint, _ = pool.case(settings, "glyphs_lt", "CE", 1)
    longer, _ = pool.case(settings, "glyphs_lt", "CE, longer", 1)
    images = len(pool.images_of("glyphs_lt", None)["train_labels"])
    second = settings.column("glyphs_lt").phase_two
    both = joint.recipe.epochs * images + second.length * second.recipe.epochs
    assert abs(longer.recipe.epochs * images - both) <= images / 2


def test_candidates_change_the_second_stage_alone():
    settings = PROFILES["laptop"]
    for method, candidates in SEARCH.items():
        base, finish = pool.case(settings, "glyphs_lt", method, 1)
        for candidate in candidates:
            training, changed = pool.case(settings, "glyphs_lt", method, 1, candidate=candidate)
            value = float(candidate.partition(", ")[0].partition("=")[2])
            assert training == base and changed.kind == finish.kind
            found = changed.phase_two or changed
            assert value in (changed.tau, getattr(found.recipe, "lr", None))
            assert getattr(found, "balanced", False) == candidate.endswith("balanced")


@pytest.mark.parametrize(
    ("method", "how", "said"),
    [
        ("cRT", {"retention": 5.0}, "retention: cRT has no use for it"),
        ("Dual-phase, herding", {"bank": 3}, "bank: Dual-phase, herding"),
        ("Joint, then phase II", {"more_than": 70}, "more_than: Joint, then phase II"),
        ("cRT", {"candidate": "tau=0.1"}, "none of a method whose finish is cRT"),
        ("Dual-phase", {"candidate": "lr=0.1, anything"}, "none of a method whose finish is Phase II"),
        ("tau-norm", {"candidate": "lr=0.1"}, "none of a method whose finish is tau-norm"),
    ],
)
def test_a_change_without_effect_is_refused(method, how, said):
    with pytest.raises(ValueError, match=said):
        pool.case(PROFILES["laptop"], "glyphs_lt", method, 1, **how)


@pytest.mark.usefixtures("own_cache")
def test_figure_4_3_follows_the_bank(monkeypatch):
    """What phase II works on is the bank's size a head class, the rest of the figure is measured."""
    frames = []
    for bank in (2, 5):
        column = SMALL.column("digits_lt")
        changed = replace(column, phase_two=replace(column.phase_two, bank=bank))
        monkeypatch.setattr(type(SMALL), "column", lambda self, dataset, epochs=None, c=changed: c)
        frames.append(experiments.fig_4_3(SMALL).set_index("part"))
    counts = pool.images_of("digits_lt", None)["counts"]
    head = counts[counts > TAILS["digits_lt"].many]
    for bank, frame in zip((2, 5), frames, strict=True):
        assert frame.loc["bank", "head images"] == int(head.clamp(max=bank).sum())
        assert frame.loc["phase I", "head images"] == int(head.sum())
        assert frame.loc["phase II", "tail images"] == int(counts.sum() - head.sum())
    assert frames[0].loc["phase I", "head accuracy"] == frames[1].loc["phase I", "head accuracy"]


@pytest.mark.usefixtures("own_cache")
def test_figure_4_4_follows_the_bank():
    training, finish = pool.case(SMALL, "digits_lt", "Dual-phase", SMALL.seeds()[0])
    five = live.bank_points(training, finish.phase_two)
    two = live.bank_points(training, replace(finish.phase_two, bank=2))
    images = five["point"].str.startswith("image")
    assert five.loc[images, "selected"].sum() == 10 and two["selected"].sum() == 4
    pd.testing.assert_frame_equal(five.loc[images, ["x", "y"]], two.loc[images, ["x", "y"]])
    assert not np.allclose(five.loc[~images, "x"], two.loc[~images, "x"])


@pytest.mark.usefixtures("own_cache")
def test_figure_4_5_follows_the_temperature():
    training, finish = pool.case(SMALL, "digits_lt", "Dual-phase", SMALL.seeds()[0])
    cold = live.graph_rows(training, replace(finish.phase_two, temperature=0.02))
    warm = live.graph_rows(training, replace(finish.phase_two, temperature=1.0))
    own = cold["from"] == cold["to"]
    assert cold.loc[own, "coefficient"].mean() > 0.4 > 0.2 > warm.loc[own, "coefficient"].mean()
    for frame in (cold, warm):
        np.testing.assert_allclose(frame.groupby("from")["coefficient"].sum(), 1, rtol=1e-5)


def test_the_published_recipe():
    recipe = cifar(200).recipe
    from thesislib.recipe import learning_rate

    rates = [learning_rate(recipe, epoch) for epoch in (0, 4, 159, 160, 179, 180)]
    np.testing.assert_allclose(rates, [0.02, 0.1, 0.1, 1e-3, 1e-3, 1e-5])
    assert cifar(200).phase_two.length * 10 == 4000 * 128
    thesis = {"cifar100_lt", "imagenet_lt", "places_lt", "inaturalist2018"}
    assert {STAND_INS[d].stands_for for d in PROFILES["laptop"].dataset} == thesis


@pytest.mark.parametrize("method", ["CE", "Dual-phase", "cRT"])
def test_a_killed_training_goes_on_where_it_was(method, tmp_path, monkeypatch, half_way):
    """No epoch is trained twice, and the result is that of a process that lives."""
    case = pool.case(SMALL, SMALL.dataset[0], method, 1)
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path))
    for _ in range(1 + (case[1] != Finish())):  # the base, and a second stage where there is one
        with pytest.raises(KeyboardInterrupt):
            measured(SMALL.dataset[0], *case)
    resumed, epochs = measured(SMALL.dataset[0], *case), list(half_way)
    assert len(epochs) == len(set(epochs)) and not any(path.exists() for path, _ in epochs)
    monkeypatch.undo()
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path / "whole"))
    assert measured(SMALL.dataset[0], *case) == resumed
