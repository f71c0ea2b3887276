r"""Compiled inner loops over the rows of a :class:`~thesislib.spi_mm.finite_sum.LinearSum` (thesis, section 6.3.3).

Each loop does many steps of one method without returning to Python. They path-integrate or average only the
data part of the gradient; the smooth regulariser is the same for all components and is added exactly, once a
step. The plain versions in :mod:`thesislib.spi_mm.spi_mm` and :mod:`thesislib.spi_mm.baselines` say what each
loop computes, and tests hold the two together.

All compiled code is in this one file: numba's cache on disk notices a change of the file a function is in,
not of another from which it took a part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload
from scipy import sparse

from thesislib.spi_mm import prox
from thesislib.spi_mm.finite_sum import LinearSum
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.sparse_pca import SparsePCA

# Sums over a row may be reordered (vectorised); nothing may assume that values are finite.
FAST = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz"}}

LOSSES = {NonconvexLogistic: 0, SparsePCA: 1}
COMPILED = (
    "losses",
    "slopes",
    "smooth_gradient",
    "data_gradient",
    "gradient",
    "batch_gradient",
    "component_gradients",
    "prox",
)
"""What the loops have in them: of a problem that has one of its own, they would minimise another."""
SMOOTH = {"none": 0, "geman_mcclure": 1, "l2": 2}
PENALTIES = {
    prox.Zero: 0,
    prox.L1: 1,
    prox.LogSum: 2,
    prox.MCP: 3,
    prox.SCAD: 4,
    prox.Exponential: 5,
    prox.SparseBall: 6,
    prox.NonNegativeBall: 7,
}


class Model(NamedTuple):
    """A linear sum as the loops see it: rows, targets and numbers in place of objects."""

    rows: tuple
    y: np.ndarray
    loss: int
    smooth: int
    lam: float
    penalty: int
    linearised: bool
    weight: float
    shape: float


def model(problem: LinearSum) -> Model | None:
    """The numbers of `problem`; its arrays are shared, not copied. None if its loss or penalty is not known
    here, so that one of the reader's own runs through the plain loops."""
    X, h = problem.X, problem.h
    kind = next((one for one in LOSSES if isinstance(problem, one)), None)
    linearised = type(h) is prox.Linearised  # a subclass may step otherwise
    inner = h.penalty if linearised else h
    if kind is None or type(inner) not in PENALTIES:
        return None
    if any(getattr(type(problem), name) is not getattr(kind, name) for name in COMPILED):
        return None
    rows = (X,)
    if sparse.issparse(X):
        # Unsigned, or each access would first look whether the index counts from the end: 2.3 times slower.
        rows = (*(index.view(f"u{index.itemsize}") for index in (X.indptr, X.indices)), X.data)
    numbers = [float(v) for v in vars(inner).values()] + [0.0, 0.0]
    kinds = LOSSES[kind], SMOOTH[problem.smooth]
    return Model(rows, problem.y, *kinds, problem.lam, PENALTIES[type(inner)], linearised, *numbers[:2])


def _dot(rows, i, a):
    """Inner product of row i with `a`."""


def _dot2(rows, i, a, b):
    """Inner products of row i with `a` and with `b`, reading the row once."""


def _add(rows, i, c, out):
    """``out += c * row i``."""


@overload(_dot, jit_options={"fastmath": FAST["fastmath"]})
def _dot_impl(rows, i, a):
    if len(rows) == 3:

        def csr(rows, i, a):
            indptr, indices, data = rows
            total = 0.0
            for p in range(indptr[i], indptr[i + 1]):
                total += data[p] * a[indices[p]]
            return total

        return csr

    def dense(rows, i, a):
        row = rows[0][i]
        total = 0.0
        for j in range(row.size):
            total += row[j] * a[j]
        return total

    return dense


@overload(_dot2, jit_options={"fastmath": FAST["fastmath"]})
def _dot2_impl(rows, i, a, b):
    if len(rows) == 3:

        def csr(rows, i, a, b):
            indptr, indices, data = rows
            with_a, with_b = 0.0, 0.0
            for p in range(indptr[i], indptr[i + 1]):
                x, j = data[p], indices[p]
                with_a += x * a[j]
                with_b += x * b[j]
            return with_a, with_b

        return csr

    def dense(rows, i, a, b):
        row = rows[0][i]
        with_a, with_b = 0.0, 0.0
        for j in range(row.size):
            with_a += row[j] * a[j]
            with_b += row[j] * b[j]
        return with_a, with_b

    return dense


@overload(_add, jit_options={"fastmath": FAST["fastmath"]})
def _add_impl(rows, i, c, out):
    if len(rows) == 3:

        def csr(rows, i, c, out):
            indptr, indices, data = rows
            for p in range(indptr[i], indptr[i + 1]):
                out[indices[p]] += c * data[p]

        return csr

    def dense(rows, i, c, out):
        row = rows[0][i]
        for j in range(row.size):
            out[j] += c * row[j]

    return dense


@njit(**FAST)
def _slope(loss, y, margin):
    """Derivative of the loss in the margin; ``exp`` may overflow to inf, which gives the right zero."""
    return -y / (1.0 + np.exp(y * margin)) if loss == 0 else -margin


@njit(**FAST)
def _smooth_slope(m, t):
    if m.smooth == 1:
        return 2.0 * m.lam * t / (1.0 + t * t) ** 2
    return m.lam * t if m.smooth == 2 else 0.0


@njit(**FAST)
def _soft(z, t):
    return max(z - t, 0.0) + min(z + t, 0.0)  # without branches


@njit(**FAST)
def _scalar_prox(m, z, rho, at):
    """One coordinate of the prox; the formulas and their conditions are in :mod:`thesislib.spi_mm.prox`."""
    size, w, s = abs(z), m.weight, m.shape
    if m.linearised:
        u = abs(at)
        slope = w
        if m.penalty == 2:
            slope = w / (s + u)
        elif m.penalty == 3:
            slope = max(w - u / s, 0.0)
        elif m.penalty == 4 and u > w:
            slope = max(s * w - u, 0.0) / (s - 1.0)
        elif m.penalty == 5:
            slope = w * s * np.exp(-s * u)
        return _soft(z, slope / rho)
    if m.penalty == 2:
        tau, disc = w / rho, (size + s) ** 2 - 4.0 * w / rho
        if disc < 0.0:
            return 0.0
        x = max((size - s + np.sqrt(disc)) / 2.0, 0.0)
        better = 0.5 * (x - size) ** 2 + tau * np.log1p(x / s) < 0.5 * size**2
        return np.sign(z) * x if better else 0.0
    if m.penalty == 3:
        return _soft(z, w / rho) / (1.0 - 1.0 / (s * rho)) if size <= s * w else z
    if m.penalty == 4 and size > w * (1.0 + 1.0 / rho):
        return z if size > s * w else np.sign(z) * ((s - 1.0) * rho * size - s * w) / ((s - 1.0) * rho - 1.0)
    if m.penalty == 7:
        return max(z, 0.0)
    return _soft(z, w / rho)


@njit(**FAST)
def _prox(m, z, rho, at):
    """Replace `z` by its prox, majorised at `at`."""
    if m.penalty == 0:
        return
    if (m.penalty == 1 or m.penalty == 6) and not m.linearised:  # on its own, because this loop vectorises
        threshold = m.weight / rho
        for j in range(z.size):
            z[j] = _soft(z[j], threshold)
    else:
        for j in range(z.size):
            z[j] = _scalar_prox(m, z[j], rho, at[j])
    if m.penalty >= 6:
        norm2 = 0.0
        for j in range(z.size):
            norm2 += z[j] * z[j]
        if norm2 > 1.0:
            z *= 1.0 / np.sqrt(norm2)


@njit(**FAST)
def _move(m, theta, v, rho, out):
    """``out = prox(theta - (v + smooth gradient)/rho)``; `out` is another array than `theta`."""
    inverse = 1.0 / rho
    for j in range(theta.size):
        out[j] = theta[j] - inverse * (v[j] + _smooth_slope(m, theta[j]))
    _prox(m, out, rho, theta)


@njit(**FAST)
def _add_difference(m, batch, a, b, out):
    """``out +=`` mean over the batch of (data gradient at `a` minus at `b`)."""
    change, at_b, y = np.empty(batch.size), np.empty(batch.size), np.empty(batch.size)
    # Three short passes, not one: exponentials that wait for no scatter overlap in the processor.
    for k in range(batch.size):
        change[k], at_b[k] = _dot2(m.rows, batch[k], a, b)
        y[k] = m.y[batch[k]]
    for k in range(batch.size):
        change[k] = (_slope(m.loss, y[k], change[k]) - _slope(m.loss, y[k], at_b[k])) / batch.size
    for k in range(batch.size):
        _add(m.rows, batch[k], change[k], out)


@njit(**FAST)
def recursive_steps(m, theta, previous, v, batches, rho, radius):
    """SPI-MM and SPIDER: one step a row of `batches`; `theta`, `previous` and `v` change in place."""
    following = np.empty_like(theta)
    for t in range(batches.shape[0]):
        _add_difference(m, batches[t], theta, previous, v)
        curvature = rho
        if radius < np.inf:  # SPIDER's normalised step: at most `radius` long
            norm2 = 0.0
            for j in range(v.size):
                norm2 += (v[j] + _smooth_slope(m, theta[j])) ** 2
            curvature = max(rho, np.sqrt(norm2) / radius)
        _move(m, theta, v, curvature, following)
        previous[:] = theta
        theta[:] = following


@njit(**FAST)
def svrg_steps(m, theta, snapshot, full, batches, rho):
    """Prox-SVRG: the same differences, but always against the snapshot."""
    v, following = np.empty_like(theta), np.empty_like(theta)
    for t in range(batches.shape[0]):
        v[:] = full
        _add_difference(m, batches[t], theta, snapshot, v)
        _move(m, theta, v, rho, following)
        theta[:] = following


@njit(**FAST)
def saga_steps(m, theta, table, average, indices, rho):
    """SAGA with one sample a step and a table of loss slopes, one number a row."""
    v, following = np.empty_like(theta), np.empty_like(theta)
    for i in indices:
        slope = _slope(m.loss, m.y[i], _dot(m.rows, i, theta))
        change = slope - table[i]
        table[i] = slope
        v[:] = average
        _add(m.rows, i, change, v)
        _add(m.rows, i, change / m.y.size, average)
        _move(m, theta, v, rho, following)
        theta[:] = following


@njit(**FAST)
def miso_steps(m, theta, anchors, mean, indices, rho):
    """MISO: refresh one anchor a step, move to the minimiser of the average surrogate."""
    fresh, following = np.empty_like(theta), np.empty_like(theta)
    share, inverse = 1.0 / m.y.size, 1.0 / rho
    for i in indices:
        anchor = anchors[i]
        for j in range(theta.size):
            fresh[j] = theta[j] - inverse * _smooth_slope(m, theta[j])
        _add(m.rows, i, -inverse * _slope(m.loss, m.y[i], _dot(m.rows, i, theta)), fresh)
        for j in range(theta.size):
            mean[j] += share * (fresh[j] - anchor[j])
            anchor[j] = fresh[j]
            following[j] = mean[j]
        _prox(m, following, rho, theta)
        theta[:] = following


@njit(**FAST)
def smm_steps(m, theta, mean, batches, weights, rho):
    """SMM: average the batch's anchor into `mean` with the step's weight."""
    anchor, following = np.empty_like(theta), np.empty_like(theta)
    for t in range(batches.shape[0]):
        batch = batches[t]
        for j in range(theta.size):
            anchor[j] = theta[j] - _smooth_slope(m, theta[j]) / rho
        for i in batch:
            slope = _slope(m.loss, m.y[i], _dot(m.rows, i, theta))
            _add(m.rows, i, -slope / (rho * batch.size), anchor)
        for j in range(theta.size):
            mean[j] += weights[t] * (anchor[j] - mean[j])
            following[j] = mean[j]
        _prox(m, following, rho, theta)
        theta[:] = following


@njit(**FAST)
def sgd_steps(m, theta, batches, curvatures):
    """Prox-SGD with its own curvature (inverse step) each step."""
    v, following = np.empty_like(theta), np.empty_like(theta)
    for t in range(batches.shape[0]):
        batch = batches[t]
        v[:] = 0.0
        for i in batch:
            _add(m.rows, i, _slope(m.loss, m.y[i], _dot(m.rows, i, theta)) / batch.size, v)
        _move(m, theta, v, curvatures[t], following)
        theta[:] = following
