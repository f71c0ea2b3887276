"""Single runs, kept on disk: what the experiments are put together from (thesis, section 6.4).

Apart from the settings, so that a change of a default does not make the cached runs void.

``dataset`` is a set's name or path, ``kind`` a problem's description, ``method`` a name of the figures, ``seed``
the sampling's, ``multiplier`` that of the theoretical step, ``passes`` the budget, ``marks`` the checkpoints,
``rho_factor`` the curvature of SPI-MM in units of L, ``n`` a number of components, ``lam`` a regulariser's weight.
"""

from __future__ import annotations

import functools
import time

import numpy as np
from scipy import sparse

from thesislib.datasets import DatasetError, load_features
from thesislib.memo import memoised
from thesislib.spi_mm.finite_sum import FiniteSum
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.minimise import compile_kernels, create, lbfgs, minimise
from thesislib.spi_mm.sparse_pca import SparseFactorisation, SparsePCA
from thesislib.spi_mm.synthetic import synthetic_logistic


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
    # The problem is drawn from `seed` itself: the same stream would choose rows by their own features.
    sampling = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
    run = create(problem, method, seed=sampling, **options)
    compile_kernels(problem, method, **options)
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

    Raises
    ------
    DatasetError
        If no such problem can be made of the data.
    """
    try:
        return _problem(dataset, kind)
    except DatasetError:
        raise
    except ValueError as error:
        raise DatasetError(f"{dataset}: {error}") from error


def _problem(dataset: str, kind: tuple) -> FiniteSum:
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
def reference_objective(dataset: str, lam: float) -> float:
    """Objective of the stationary point that L-BFGS reaches from the common start."""
    problem = make_problem(dataset, ("logistic", lam))
    return digits(problem.value(lbfgs(problem)), 12)


def digits(value: float, count: int) -> float:
    """`value` to `count` significant digits."""
    return float(f"{value:.{count}g}")


def _column(values: np.ndarray, count: int) -> list[float]:
    return [digits(value, count) for value in values]
