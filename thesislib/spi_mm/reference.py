r"""The methods written down plainly, a line for each line of their algorithm: slow, stateless, not compiled.

Each function takes the samples it is to use, so that nothing is random, and yields every iterate. Tests hold
the methods proper against them. They use nothing of a problem but
:class:`~thesislib.spi_mm.finite_sum.FiniteSum`.

Thesis, section 6.3.3.

``problem`` is a :class:`~thesislib.spi_mm.finite_sum.FiniteSum`, ``theta`` the start, shape (d,), ``rho`` the
curvature (inverse step); ``batches`` or ``indices`` are one row or one number a step, ``n0`` is the offset of SMM's
weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from thesislib.spi_mm.finite_sum import FiniteSum


def spi_mm(
    problem: FiniteSum,
    theta: np.ndarray,
    batches: Iterable[Sequence[int] | None],
    rho: float,
    radius: float = math.inf,
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    r"""The SPI-MM algorithm box.

    Parameters
    ----------
    problem : FiniteSum
    theta : array, shape (d,)
        :math:`\theta_0`.
    batches : iterable of index sequences
        :math:`S_t` of each step; ``None`` is a restart.
    rho : float
        Curvature :math:`\rho`.
    radius : float
        Longest step of the smooth part, :math:`\epsilon/L` of SPIDER's rule.

    Yields
    ------
    theta, v : array, shape (d,)
        :math:`\theta_{t+1}` and :math:`v_t`.
    ifo : int
        Evaluations so far.
    """
    ifo, v, previous = 0, np.zeros(problem.d), theta
    for batch in batches:
        if batch is None:
            # v_t = grad f(theta_t)
            v = problem.gradient(theta)
            ifo += problem.n
        else:
            # v_t = v_{t-1} + mean over S_t of grad f_i(theta_t) - grad f_i(theta_{t-1})
            S = np.asarray(batch)
            v = v + problem.batch_gradient(theta, S) - problem.batch_gradient(previous, S)
            ifo += 2 * len(S)
        # theta_{t+1} = argmin <v_t, x> + rho/2 |x - theta_t|^2 + h(x)
        curvature = max(rho, float(np.linalg.norm(v)) / radius)
        previous, theta = theta, problem.prox(theta - v / curvature, curvature, theta)
        yield theta, v, ifo


def svrg(
    problem: FiniteSum, theta: np.ndarray, batches: Iterable[Sequence[int] | None], rho: float
) -> Iterator[np.ndarray]:
    """Prox-SVRG; ``None`` takes a snapshot, whose gradient makes the step."""
    snapshot = full = theta
    for batch in batches:
        if batch is None:
            snapshot, full = theta, problem.gradient(theta)
            v = full
        else:
            S = np.asarray(batch)
            v = full + problem.batch_gradient(theta, S) - problem.batch_gradient(snapshot, S)
        theta = problem.prox(theta - v / rho, rho, theta)
        yield theta


def miso(problem: FiniteSum, theta: np.ndarray, indices: Iterable[int], rho: float) -> Iterator[np.ndarray]:
    """MISO; the average surrogate is computed anew from all anchors each step."""
    anchors = [theta - problem.batch_gradient(theta, np.array([i])) / rho for i in range(problem.n)]
    theta = problem.prox(np.mean(anchors, axis=0), rho, theta)
    yield theta
    for i in indices:
        anchors[i] = theta - problem.batch_gradient(theta, np.array([i])) / rho
        theta = problem.prox(np.mean(anchors, axis=0), rho, theta)
        yield theta


def saga(problem: FiniteSum, theta: np.ndarray, indices: Iterable[int], rho: float) -> Iterator[np.ndarray]:
    """SAGA; the average gradient is computed anew from the whole table each step."""

    def own_gradient(i: int) -> np.ndarray:
        return problem.batch_gradient(theta, np.array([i])) - problem.smooth_gradient(theta)

    table = [own_gradient(i) for i in range(problem.n)]
    theta = problem.prox(theta - problem.gradient(theta) / rho, rho, theta)
    yield theta
    for i in indices:
        fresh = own_gradient(i)
        v = np.mean(table, axis=0) + fresh - table[i] + problem.smooth_gradient(theta)
        theta = problem.prox(theta - v / rho, rho, theta)
        table[i] = fresh
        yield theta


def smm(
    problem: FiniteSum, theta: np.ndarray, batches: Iterable[Sequence[int]], rho: float, n0: float
) -> Iterator[np.ndarray]:
    r"""SMM with weights :math:`\sqrt{(n_0+1)/(n_0+t)}`, t from 1."""
    mean = theta
    for t, batch in enumerate(batches, start=1):
        w = math.sqrt((n0 + 1) / (n0 + t))
        mean = (1 - w) * mean + w * (theta - problem.batch_gradient(theta, np.asarray(batch)) / rho)
        theta = problem.prox(mean, rho, theta)
        yield theta


def sgd(
    problem: FiniteSum, theta: np.ndarray, batches: Iterable[Sequence[int]], rho: float, decay: float
) -> Iterator[np.ndarray]:
    """Prox-SGD; the curvature grows by `decay` times `rho` each pass."""
    seen = 0
    for batch in batches:
        curvature = rho * (1 + decay * seen / problem.n)
        gradient = problem.batch_gradient(theta, np.asarray(batch))
        theta = problem.prox(theta - gradient / curvature, curvature, theta)
        seen += len(batch)
        yield theta
