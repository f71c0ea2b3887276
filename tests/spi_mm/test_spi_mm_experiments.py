"""The experiments' frames: complete, reproducible, honest about steps and divergence; the settings."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from thesislib.datasets import DatasetError
from thesislib.settings import SettingsError
from thesislib.spi_mm import experiments, runs
from thesislib.spi_mm.minimise import minimise
from thesislib.spi_mm.settings import PROFILES, REPLAY, Settings, grids, resolve

MAKERS = {
    "fig-6.1": experiments.fig_6_1,
    "fig-6.2": experiments.fig_6_2,
    "fig-6.3": experiments.fig_6_3,
    "extra-6.A": experiments.extra_6_a,
}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path))


@pytest.mark.parametrize("artefact", MAKERS)
def test_frames_have_one_row_for_each_key_and_nothing_missing(artefact):
    small = resolve("smoke", pca_problems=("S1", "S2"), pca_methods=("batch MM", "MISO", "SPI-MM"))
    frame, keys = MAKERS[artefact](small), grids(small)[artefact]
    assert list(frame[list(keys)].itertuples(index=False, name=None)) == list(
        itertools.product(*keys.values())
    )
    values = frame.drop(columns=list(keys)).select_dtypes("number")
    assert np.isfinite(values.to_numpy()).all()


def test_a_replay_of_the_first_seed_repeats_the_longer_run():
    short, long = (experiments.fig_6_2(resolve("smoke", **o)) for o in (REPLAY, {}))
    first = long[long["seed"] == long["seed"].unique()[0]].reset_index(drop=True)
    drop = "seconds"  # not reproducible
    assert short.drop(columns=drop).equals(first.drop(columns=drop))


def test_curves_are_those_of_minimise_on_the_settings_seeds():
    s = resolve("smoke", methods=("SVRG", "SPI-MM"))
    frame = experiments.fig_6_2(s)
    problem = runs.make_problem("breast_cancer", ("logistic", 0.01))
    for seed, method in itertools.product(s.seeds(), s.methods):
        trace = minimise(problem, method, passes=s.passes, seed=seed, checkpoints=s.marks())
        rows = frame[(frame.method == method) & (frame.seed == seed) & (frame.tuning == "theory")]
        np.testing.assert_allclose(rows.objective, trace.objective, rtol=1e-11)
        np.testing.assert_allclose(rows.stationarity, trace.stationarity, rtol=1e-6)
        assert (rows.multiplier == 1).all() and not rows.diverged.any()
    assert frame.reference.unique().tolist() == pytest.approx([0.1242925535], abs=1e-9)


def test_tuned_steps_are_the_best_of_the_grid_on_seeds_that_are_not_reported():
    s = resolve("smoke", methods=("SMM",))
    assert not set(s.held_out_seeds()) & set(resolve("smoke", repeats=50).seeds())
    problem = runs.make_problem("breast_cancer", ("logistic", 0.01))
    ends = [
        minimise(problem, "SMM", passes=s.passes, seed=s.held_out_seeds()[0], step=m).objective[-1]
        for m in s.step_grid
    ]
    frame = experiments.fig_6_2(s)
    chosen = frame[frame.tuning == "tuned"].multiplier.unique()
    assert chosen.tolist() == [s.step_grid[int(np.argmin(ends))]]


def test_where_every_step_ends_above_the_start_the_least_bad_is_taken(monkeypatch):
    def curve(dataset, kind, method, seed, multiplier, *rest):
        return {"objective": [0.0, 1.0 + (multiplier - 2.0) ** 2]}

    monkeypatch.setattr(experiments, "run_curve", curve)
    settings = resolve("laptop", step_grid=[0.5, 2.0, 8.0])
    assert experiments.best_multiplier(settings, "digits", ("logistic", 0.01), "SGD") == 2.0


def test_data_of_which_no_problem_can_be_made_are_named(tmp_path):
    """In one line, which :class:`DatasetError` becomes, and no traceback."""
    file = tmp_path / "flat.npz"
    np.savez(file, X=np.ones((40, 3)), y=np.arange(40) % 2)
    with pytest.raises(DatasetError, match=r"flat\.npz: .*rows of X are zero"):
        runs.make_problem(str(file), ("S1", 0.1))


def test_a_diverged_run_keeps_the_objective_of_the_start(monkeypatch):
    class Blown:
        objective = np.array([0.7, 3.0, np.inf])
        stationarity = np.array([0.1, 2.0, np.inf])
        seconds = np.array([0.0, 0.1, 0.1])

    monkeypatch.setattr(runs, "minimise", lambda *a, **k: Blown())
    curve = runs.run_curve("breast_cancer", ("logistic", 0.01), "SGD", 0, 1.0, 2.0, (0.0, 1.0, 2.0), 2.0)
    assert curve["objective"] == [0.7, 3.0, 0.7] and curve["stationarity"] == [0.1, 2.0, 0.1]
    assert curve["diverged"] == [False, False, True]


def test_rho_factor_reaches_spi_mm_alone():
    for rho_factor in (2.0, 1.0):
        frame = experiments.fig_6_2(resolve("smoke", methods=("SVRG", "SPI-MM"), rho_factor=rho_factor))
        ends = frame[(frame.tuning == "theory") & (frame.passes == 10)].groupby("method").objective.mean()
        if rho_factor == 2.0:
            before = ends
    assert ends["SVRG"] == before["SVRG"] and ends["SPI-MM"] < before["SPI-MM"]


def test_scaling_counts_first_passages():
    s = resolve("smoke", eps=(3e-2, 1e-2), sizes=(500,), repeats=1)
    frame = experiments.extra_6_a(s)
    for method, rows in frame.groupby("method"):
        assert rows.ifo.is_monotonic_increasing  # a smaller eps is never cheaper
        n = 500
        if method == "batch MM":
            assert (rows.ifo == n * rows.steps).all()


def test_first_figure_starts_with_the_worked_example():
    frame = experiments.fig_6_1(resolve("smoke"))
    first = frame[frame.seed == frame.seed.iloc[0]]
    assert first.previous.eq(2.6).all() and first.current.eq(1.8).all()
    at_two = first[first.u == 2.0]
    np.testing.assert_allclose(at_two.relaxed, [0.665689, 0.663726, 0.607505, 0.600757, 0.828199], atol=6e-7)
    for _, rows in frame.groupby(["seed", "u"]):  # the five draws average to the classical majorant
        assert rows.relaxed.mean() == pytest.approx(rows.classical.iloc[0], abs=1e-7)
    assert (frame.classical >= frame.objective - 1e-8).all()


@pytest.mark.parametrize("profile", PROFILES)
def test_checkpoints_span_the_budget(profile):
    marks = PROFILES[profile].marks()
    assert marks[0] == 0 and marks[-1] == PROFILES[profile].passes and (np.diff(marks) > 0).all()
    assert resolve(profile, passes=1).marks() == (0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dataset": "mnist"}, "dataset = 'mnist' is not one of digits"),
        ({"methods": ("Adam",)}, "methods = 'Adam'"),
        ({"lam": -1.0}, "out of range"),
        ({"passes": 0.0}, "out of range"),
        ({"learning_rate": 1}, "unknown parameter learning_rate"),
    ],
)
def test_bad_settings_are_refused(values, words):
    with pytest.raises(SettingsError, match=words):
        resolve("laptop", **values)


def test_settings_import_neither_numba_nor_sparse_matrices_nor_scikit_learn():
    code = (
        "import sys, thesislib.spi_mm.settings;"
        "sys.exit(any(m in sys.modules for m in ('numba', 'scipy.sparse', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_paper_profile_is_the_one_on_the_data_sets_of_the_field():
    paper = PROFILES["paper"]
    assert isinstance(paper, Settings) and paper.dataset == ("a9a", "w8a") and paper.passes == 100
    assert all(PROFILES[p].repeats >= 5 for p in ("laptop", "paper"))
