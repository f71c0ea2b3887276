"""Run a method by name and record it at checkpoints (thesis, section 6.4)."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from thesislib.spi_mm.baselines import MISO, SAGA, SGD, SMM, SPIDER, SVRG, BatchMM
from thesislib.spi_mm.finite_sum import FiniteSum, LinearSum
from thesislib.spi_mm.method import Method, start_of
from thesislib.spi_mm.prox import Zero
from thesislib.spi_mm.spi_mm import SPIMM

METHODS: dict[str, type[Method]] = {
    "batch MM": BatchMM,
    "MISO": MISO,
    "SMM": SMM,
    "SGD": SGD,
    "SVRG": SVRG,
    "SAGA": SAGA,
    "SPIDER": SPIDER,
    "SPI-MM": SPIMM,
}
"""The methods by the names that :func:`minimise` takes."""


@dataclass(frozen=True)
class Trace:
    r"""A run as its checkpoints saw it.

    Attributes
    ----------
    method : str
        Its name.
    theta : array, shape (d,)
        Last iterate within the budget.
    theta_xi : array, shape (d,)
        Iterate drawn uniformly from the run, the output of the convergence theorem.
    passes : array, shape (checkpoints,)
        Budgets, in passes (n evaluations).
    ifo : array of int, shape (checkpoints,)
        Evaluations spent; never above the budget.
    objective, stationarity : array, shape (checkpoints,)
        :math:`F` and the problem's stationarity measure; infinite from where the run diverged.
    seconds : array, shape (checkpoints,)
        Time in the method; evaluating the checkpoints is not in it.
    diverged : bool
        Whether the objective ceased to be finite.
    """

    method: str
    theta: np.ndarray
    theta_xi: np.ndarray
    passes: np.ndarray
    ifo: np.ndarray
    objective: np.ndarray
    stationarity: np.ndarray
    seconds: np.ndarray
    diverged: bool


def create(
    problem: FiniteSum, method: str, *, seed: int = 0, theta_0=None, step: float = 1.0, **options
) -> Method:
    """A method at its start, to be advanced by hand; arguments and errors as in :func:`minimise`."""
    if method not in METHODS:
        raise ValueError(f"method = {method!r} is not one of {', '.join(METHODS)}")
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"step = {step!r} must be positive and finite")
    theta_0 = start_of(problem, theta_0)
    return METHODS[method](problem, theta_0, np.random.default_rng(seed), step=step, **options)


_COMPILED: weakref.WeakKeyDictionary[FiniteSum, set[tuple]] = weakref.WeakKeyDictionary()


def compile_kernels(problem: FiniteSum, method: str, **options) -> None:
    """Compile what a method needs on a problem, or load it, so that no time measured later holds that.

    Two steps of a run that is thrown away, once for each problem; nothing where no loop is compiled.

    Parameters
    ----------
    problem : FiniteSum
    method : str
        A key of :data:`METHODS`.
    **options
        For the method's constructor.
    """
    key = (method, *sorted(options))
    if not isinstance(problem, LinearSum) or key in (known := _COMPILED.setdefault(problem, set())):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        create(problem, method, **options).advance(steps=2)
    known.add(key)


def minimise(
    problem: FiniteSum,
    method: str = "SPI-MM",
    *,
    passes: float = 30,
    seed: int = 0,
    step: float = 1.0,
    checkpoints: Sequence[float] | None = None,
    theta_0: np.ndarray | None = None,
    **options,
) -> Trace:
    r"""Minimise a finite sum within a budget of component evaluations.

    Parameters
    ----------
    problem : FiniteSum
    method : str
        A key of :data:`METHODS`.
    passes : float
        Budget, in units of n evaluations.
    seed : int
        Of the sampling.
    step : float
        Multiplier of the step that the method's theory prescribes.
    checkpoints : sequence of float or None
        Passes at which to record, increasing; 0, 1, 2, ... up to the budget by default.
    theta_0 : array, shape (d,), or None
        Where to start; the problem's own start by default.
    **options
        For the method's constructor: ``b``, ``q``, ``rho`` of SPI-MM, say.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError
        On an unknown method, an option out of range, a budget or step that is not positive, checkpoints out of
        order, or a problem whose L is not positive and finite. Divergence is no error: it is recorded in the trace.

    Examples
    --------
    >>> import numpy as np
    >>> from thesislib.spi_mm.logistic import NonconvexLogistic
    >>> X = np.random.default_rng(0).standard_normal((400, 5))
    >>> trace = minimise(NonconvexLogistic(X, X[:, 0] > 0), passes=20)
    >>> bool(trace.objective[-1] < trace.objective[0])
    True
    """
    if not (np.isfinite(passes) and passes > 0):
        raise ValueError(f"passes = {passes!r} must be positive and finite")
    marks = np.asarray(np.arange(np.floor(passes) + 1) if checkpoints is None else checkpoints, dtype=float)
    inside = marks.ndim == 1 and marks.size and marks[0] >= 0 and marks[-1] <= passes
    if not (inside and (np.diff(marks) > 0).all()):
        raise ValueError(f"checkpoints must increase within 0..{passes}, got {marks.tolist()}")
    run = create(problem, method, seed=seed, theta_0=theta_0, step=step, **options)
    compile_kernels(problem, method, **options)
    rows, seconds, diverged = [], 0.0, False
    # Overflow is how divergence shows; it is recorded below, so numpy need not warn of it.
    with np.errstate(over="ignore", invalid="ignore"):
        for mark in [*marks, passes]:
            if not diverged:
                began = time.perf_counter()
                run.advance(ifo=mark * problem.n)
                seconds += time.perf_counter() - began
                diverged = not np.isfinite(value := problem.value(run.theta))
            measured = (np.inf, np.inf) if diverged else (value, problem.stationarity(run.theta))
            rows.append((run.ifo, *measured, seconds))
    ifo, objective, stationarity, clock = map(np.array, zip(*rows[: marks.size], strict=True))
    return Trace(
        method, run.theta, run.theta_xi, marks, ifo, objective, stationarity, clock, diverged=bool(diverged)
    )


def lbfgs(problem: FiniteSum, theta_0: np.ndarray | None = None) -> np.ndarray:
    r"""A stationary point by scipy's L-BFGS-B from the same start; only for problems without :math:`h`.

    Parameters
    ----------
    problem : FiniteSum
    theta_0 : array, shape (d,), or None
        Where to start; the problem's own start by default.

    Returns
    -------
    array, shape (d,)

    Raises
    ------
    ValueError
        If the problem has a prox, and so an :math:`h` that L-BFGS would not see, or `theta_0` is no finite point.
    """
    if type(problem).prox is not FiniteSum.prox and not isinstance(getattr(problem, "h", None), Zero):
        raise ValueError(
            f"{type(problem).__name__} has a non-smooth term, which L-BFGS cannot minimise; use minimise"
        )
    start = start_of(problem, theta_0)
    options = {"maxiter": 100_000, "maxfun": 200_000, "ftol": 0.0, "gtol": 1e-10}
    return optimize.minimize(problem.value, start, jac=problem.gradient, method="L-BFGS-B", options=options).x
