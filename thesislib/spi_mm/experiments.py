"""The experiments behind figures 6.1 to 6.3 and the scaling check: settings in, tidy frames out.

Thesis, section 6.4.

Every experiment takes the run's ``settings`` (:class:`~thesislib.spi_mm.settings.Settings`) and returns a frame
with the key columns of :func:`~thesislib.spi_mm.settings.grids`; a ``dataset`` is a name or path, a ``kind`` a
problem's description, a ``method`` a name of the figures.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from thesislib.spi_mm.runs import digits, first_passages, reference_objective, run_curve
from thesislib.spi_mm.settings import Settings, grids
from thesislib.spi_mm.surrogates import PathIntegrated
from thesislib.spi_mm.synthetic import Wells


def fig_6_1(settings: Settings) -> pd.DataFrame:
    """Classical and relaxed surrogates of the one-dimensional example.

    Each seed fixes a previous and a current point, of which the first are those of the figure; each draw is
    one of the five equally likely realisations of the relaxed surrogate.

    Returns
    -------
    pandas.DataFrame
        Keys ``seed``, ``draw`` (1 to 5), ``u``; values ``objective``, ``classical``, ``relaxed`` and the
        points ``previous`` and ``current``.
    """
    wells, keys = Wells(), grids(settings)["fig-6.1"]
    u, rows = np.array(keys["u"]), []

    def curve(function) -> list[float]:
        return [digits(function(np.array([x])), 9) for x in u]

    for k, seed in enumerate(keys["seed"]):
        previous = np.array([2.6 if k == 0 else np.random.default_rng(seed).uniform(-3.0, 3.0)])
        # Elsewhere a step of length 2/L, long enough to be seen.
        current = np.array([1.8]) if k == 0 else previous - 2 * wells.gradient(previous)
        values = {
            "u": u,
            "objective": curve(wells.value),
            "classical": curve(PathIntegrated(wells, current, 1.0)),
        }
        points = {"previous": digits(previous[0], 7), "current": digits(current[0], 7)}
        for draw in keys["draw"]:
            relaxed = PathIntegrated(wells, previous, 1.0)
            relaxed.update(current, np.array([draw - 1]))
            rows.append(
                pd.DataFrame({"seed": seed, "draw": draw, **values, "relaxed": curve(relaxed), **points})
            )
    return _tidy(pd.concat(rows), keys)


def fig_6_2(settings: Settings) -> pd.DataFrame:
    """All methods on non-convex logistic regression.

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset``, ``lam``, ``tuning`` (theory: the step each method's analysis prescribes; tuned: the
        best of a grid, chosen on other seeds), ``method``, ``seed``, ``passes``; values ``objective``,
        ``stationarity`` (gradient norm), ``seconds``, ``multiplier`` of the theoretical step, ``reference``
        (objective that L-BFGS reaches from the same start), ``diverged`` (if so, the objective is that of
        the start).
    """
    keys = grids(settings)["fig-6.2"]
    frame = _curves(settings, keys, "lam", {lam: ("logistic", lam) for lam in settings.lam})
    reference = {(d, lam): reference_objective(d, lam) for d in settings.dataset for lam in settings.lam}
    frame["reference"] = [reference[pair] for pair in zip(frame["dataset"], frame["lam"], strict=True)]
    return _tidy(frame, keys)


def fig_6_3(settings: Settings) -> pd.DataFrame:
    """Selected methods on sparse PCA.

    Returns
    -------
    pandas.DataFrame
        As :func:`fig_6_2`, with the key ``problem`` (S1: one loading vector, S2: several) in place of
        ``lam``, ``stationarity`` the norm of the gradient mapping, and no ``reference``.
    """
    keys = grids(settings)["fig-6.3"]
    kinds = {
        "S1": ("S1", settings.pca_lam),
        "S2": ("S2", settings.factor_lam, settings.ridge, settings.loadings),
    }
    return _tidy(_curves(settings, keys, "problem", {p: kinds[p] for p in settings.pca_problems}), keys)


def extra_6_a(settings: Settings) -> pd.DataFrame:
    """Evaluations to reach a gradient norm, against the number of components (synthetic data).

    Returns
    -------
    pandas.DataFrame
        Keys ``dataset`` (always "synthetic"), ``eps``, ``n``, ``method``, ``seed`` (of the data and the sampling);
        values ``ifo``, ``steps`` and ``seconds`` at first passage.
    """
    keys = grids(settings)["extra-6.A"]
    rows = []
    runs = list(itertools.product(keys["n"], keys["method"], keys["seed"]))
    for n, method, seed in tqdm(runs, desc="scaling", leave=False):
        found = first_passages(n, method, seed, settings.eps, settings.scaling_lam, settings.rho_factor)
        for eps, (ifo, steps, seconds) in zip(settings.eps, found, strict=True):
            clock = digits(seconds, 4)
            rows.append(
                {
                    "dataset": "synthetic",
                    "eps": eps,
                    "n": n,
                    "method": method,
                    "seed": seed,
                    "ifo": ifo,
                    "steps": steps,
                    "seconds": clock,
                }
            )
    return _tidy(pd.DataFrame(rows), keys)


def _curves(settings: Settings, keys: dict, name: str, problems: dict) -> pd.DataFrame:
    """Rows of every dataset, problem, tuning, method and seed; `problems` maps key values to descriptions."""
    combinations = list(itertools.product(keys["dataset"], problems.items(), keys["tuning"], keys["method"]))
    rows = []
    for dataset, (value, kind), tuning, method in tqdm(combinations, desc="curves", leave=False):
        multiplier = best_multiplier(settings, dataset, kind, method) if tuning == "tuned" else 1.0
        for seed in settings.seeds():
            curve = run_curve(dataset, kind, method, _seed(method, seed), multiplier, *_run(settings, method))
            labels = {"dataset": dataset, name: value, "tuning": tuning, "method": method, "seed": seed}
            rows.append(pd.DataFrame({**labels, **curve, "multiplier": multiplier}))
    return pd.concat(rows)


def best_multiplier(settings: Settings, dataset: str, kind: tuple, method: str) -> float:
    """The step multiplier of the grid with the lowest final objective on the held-out seeds.

    Multipliers that end within a millionth of the range of one another are told apart by the objective's mean
    over the checkpoints.
    """
    finals, means = [], []
    for multiplier in settings.step_grid:
        seeds = {_seed(method, s) for s in settings.held_out_seeds()}
        runs = [run_curve(dataset, kind, method, s, multiplier, *_run(settings, method)) for s in seeds]
        finals.append(np.mean([run["objective"][-1] for run in runs]))
        means.append(np.mean([run["objective"] for run in runs]))
        start = runs[0]["objective"][0]  # also what a diverged run reports
    best = min(finals)
    close = [k for k, final in enumerate(finals) if final - best <= 1e-6 * abs(start - best)]
    return settings.step_grid[min(close, key=means.__getitem__)]


def _run(settings: Settings, method: str) -> tuple[float, tuple, float]:
    # Only SPI-MM depends on rho_factor; the rest keep their cached runs when it changes.
    return settings.passes, settings.marks(), settings.rho_factor if method == "SPI-MM" else 2.0


def _seed(method: str, seed: int) -> int:
    return 0 if method == "batch MM" else seed  # draws nothing: all seeds share one run


def _tidy(frame: pd.DataFrame, keys: dict[str, tuple]) -> pd.DataFrame:
    """Rows in the order of `keys`, key columns first."""
    names = list(keys)
    order = {name: {value: k for k, value in enumerate(values)} for name, values in keys.items()}
    frame = frame[names + [c for c in frame.columns if c not in names]]
    return frame.sort_values(names, key=lambda c: c.map(order[c.name]), kind="stable", ignore_index=True)
