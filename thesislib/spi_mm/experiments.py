"""The experiments behind figures 6.1 to 6.3 and the scaling check: settings in, tidy frames out."""

from __future__ import annotations

import functools
import itertools
import time

import numpy as np
import pandas as pd
from scipy import sparse
from tqdm.auto import tqdm

from thesislib.datasets import load_features
from thesislib.memo import memoised
from thesislib.spi_mm.finite_sum import FiniteSum
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.minimise import create, lbfgs, minimise
from thesislib.spi_mm.settings import Settings, grids
from thesislib.spi_mm.sparse_pca import SparseFactorisation, SparsePCA
from thesislib.spi_mm.surrogates import PathIntegrated
from thesislib.spi_mm.synthetic import Wells, synthetic_logistic


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
        return [_digits(function(np.array([x])), 9) for x in u]

    for k, seed in enumerate(keys["seed"]):
        previous = np.array([2.6 if k == 0 else np.random.default_rng(seed).uniform(-3.0, 3.0)])
        # Elsewhere a step of length 2/L, long enough to be seen.
        current = np.array([1.8]) if k == 0 else previous - 2 * wells.gradient(previous)
        values = {
            "u": u,
            "objective": curve(wells.value),
            "classical": curve(PathIntegrated(wells, current, 1.0)),
        }
        points = {"previous": _digits(previous[0], 7), "current": _digits(current[0], 7)}
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
    reference = {(d, lam): _reference(d, lam) for d in settings.dataset for lam in settings.lam}
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
        Keys ``eps``, ``n``, ``method``, ``seed`` (of the data and the sampling); values ``ifo``, ``steps``
        and ``seconds`` at first passage.
    """
    keys = grids(settings)["extra-6.A"]
    rows = []
    runs = list(itertools.product(keys["n"], keys["method"], keys["seed"]))
    for n, method, seed in tqdm(runs, desc="scaling", leave=False):
        found = first_passages(n, method, seed, settings.eps, settings.scaling_lam, settings.rho_factor)
        for eps, (ifo, steps, seconds) in zip(settings.eps, found, strict=True):
            clock = _digits(seconds, 4)
            rows.append(
                {
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
    close = [k for k, final in enumerate(finals) if final - best <= 1e-6 * (start - best)]
    return settings.step_grid[min(close, key=means.__getitem__)]


@memoised(data="dataset")
def run_curve(
    dataset: str,
    kind: tuple,
    method: str,
    seed: int,
    multiplier: float,
    passes: float,
    marks: tuple,
    rho_factor: float,
) -> dict[str, list]:
    """One run at its checkpoints, as columns; a diverged run keeps the objective of the start."""
    problem = make_problem(dataset, kind)
    options = {"rho": rho_factor * problem.L} if method == "SPI-MM" else {}
    if method == "MISO" and kind[0] == "S2":  # one sample a step is slow without a compiled loop
        options = {"b": max(1, round(problem.n**0.5))}
    trace = minimise(problem, method, passes=passes, seed=seed, step=multiplier, checkpoints=marks, **options)
    start, lost = (trace.objective[0], trace.stationarity[0]), ~np.isfinite(trace.objective)
    return {
        "passes": list(marks),
        "objective": _column(np.where(lost, start[0], trace.objective), 12),
        "stationarity": _column(np.where(lost, start[1], trace.stationarity), 7),
        "seconds": _column(trace.seconds, 4),
        "diverged": [bool(v) for v in lost],
    }


@memoised()
def first_passages(
    n: int, method: str, seed: int, eps: tuple, lam: float, rho_factor: float, every: int = 4
) -> list[tuple[int, int, float]]:
    """Evaluations, steps and seconds until the gradient norm is at most each of `eps`.

    The norm is looked at every `every` steps, which is not counted.

    Raises
    ------
    RuntimeError
        If the smallest is not reached within 20,000 passes.
    """
    problem = synthetic_logistic(n, seed, lam)
    options = {"rho": rho_factor * problem.L} if method == "SPI-MM" else {}
    run = create(problem, method, seed=seed, **options)
    found, seconds = {}, 0.0
    while len(found) < len(eps):
        norm = problem.stationarity(run.theta)
        found |= {e: (run.ifo, run.t, seconds) for e in eps if norm <= e and e not in found}
        if run.ifo > 20_000 * n:
            raise RuntimeError(f"{method}, n = {n}: gradient norm {norm:.2e} after 20,000 passes; raise eps")
        began = time.perf_counter()
        run.advance(steps=every if method == "SPI-MM" else 1)
        seconds += time.perf_counter() - began
    return [found[e] for e in eps]


@functools.lru_cache(maxsize=4)
def make_problem(dataset: str, kind: tuple) -> FiniteSum:
    """The problem that a description such as ``("logistic", 0.01)`` stands for, on a data set.

    Sparse PCA: arrays are centred; rows of sparse matrices, which centring would fill, are normalised.
    """
    X, y = load_features(dataset)
    name, lam, *rest = kind
    if name == "logistic":
        return NonconvexLogistic(X, y, lam)
    is_sparse = sparse.issparse(X)
    if name == "S2":
        ridge, loadings = rest
        return SparseFactorisation(X, min(loadings, *X.shape), lam, ridge=ridge, centre=not is_sparse)
    shape = {"centre": not is_sparse, "normalise": is_sparse}
    return SparsePCA(X, lam * SparsePCA(X, 0.0, **shape).L_f, **shape)


@memoised(data="dataset")
def _reference(dataset: str, lam: float) -> float:
    problem = make_problem(dataset, ("logistic", lam))
    return _digits(problem.value(lbfgs(problem)), 12)


def _run(settings: Settings, method: str) -> tuple[float, tuple, float]:
    # Only SPI-MM depends on rho_factor; the rest keep their cached runs when it changes.
    return settings.passes, settings.marks(), settings.rho_factor if method == "SPI-MM" else 2.0


def _seed(method: str, seed: int) -> int:
    return 0 if method == "batch MM" else seed  # draws nothing: all seeds share one run


def _digits(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _column(values: np.ndarray, digits: int) -> list[float]:
    return [_digits(value, digits) for value in values]


def _tidy(frame: pd.DataFrame, keys: dict[str, tuple]) -> pd.DataFrame:
    """Rows in the order of `keys`, key columns first."""
    names = list(keys)
    order = {name: {value: k for k, value in enumerate(values)} for name, values in keys.items()}
    frame = frame[names + [c for c in frame.columns if c not in names]]
    return frame.sort_values(names, key=lambda c: c.map(order[c.name]), kind="stable", ignore_index=True)
