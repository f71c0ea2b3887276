r"""Surrogates as functions that can be evaluated: classical majorants and the generalised one.

A surrogate built at a point :math:`\kappa` is called like a function of :math:`\theta`; ``minimiser()`` gives
the next iterate. The classical ones (Mairal, 2013; thesis, section 6.3.2) majorise the objective everywhere
and touch it at :math:`\kappa`. :class:`PathIntegrated` does so only in expectation.

Of the bounds, ``problem`` is a :class:`~thesislib.spi_mm.logistic.NonconvexLogistic`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import expit

from thesislib.spi_mm.finite_sum import LinearSum
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.prox import Linearised, Zero
from thesislib.spi_mm.sparse_pca import SparseFactorisation


@dataclass(frozen=True)
class Proximal:
    r""":math:`f(\kappa)+\langle v,\theta-\kappa\rangle+\frac\rho2\|\theta-\kappa\|^2+\tilde h(\theta)`.

    With :math:`v=\nabla f(\kappa)` and :math:`\rho\ge L_f`, the Lipschitz-gradient surrogate (no :math:`h`)
    or the proximal-gradient surrogate. If :math:`h` is :class:`~thesislib.spi_mm.prox.Linearised`, its
    concave part is replaced by the tangent at :math:`\kappa` (the DC surrogate).

    Raises
    ------
    ValueError
        If :math:`\rho` is not positive and finite: the surrogate would have no minimiser.
    """

    problem: LinearSum
    kappa: np.ndarray
    rho: float

    def __post_init__(self) -> None:
        _check_curvature(self.rho)

    def __call__(self, theta: np.ndarray) -> float:
        p, move = self.problem, theta - self.kappa
        smooth = (
            p.components(self.kappa).mean() + p.gradient(self.kappa) @ move + 0.5 * self.rho * move @ move
        )
        return float(smooth + majorant_of_h(p.h, self.kappa, theta))

    def minimiser(self) -> np.ndarray:
        """Where the surrogate is smallest, shape (d,)."""
        z = self.kappa - self.problem.gradient(self.kappa) / self.rho
        return self.problem.prox(z, self.rho, self.kappa)


def _check_curvature(rho: float) -> None:
    if not 0 < rho < np.inf:
        raise ValueError(f"curvature rho = {rho!r} must be positive and finite")


def majorant_of_h(h, kappa: np.ndarray, theta: np.ndarray) -> float:
    r""":math:`\tilde h(\theta)`: the penalty, or its tangent at :math:`\kappa` if it is to be linearised."""
    if not isinstance(h, Linearised):
        return h.value(theta)
    u, at = np.abs(theta), np.abs(kappa)
    return float(np.sum(h.penalty.phi(at) + h.penalty.slope(at) * (u - at)))


@dataclass(frozen=True)
class Quadratic:
    r""":math:`c+b^\top\theta+\frac12\theta^\top A\theta`, the form of the bounds on a logistic objective.

    Its minimiser solves a d by d system: for moderate d.
    """

    c: float
    b: np.ndarray
    A: np.ndarray

    def __call__(self, theta: np.ndarray) -> float:
        return float(self.c + self.b @ theta + 0.5 * theta @ self.A @ theta)

    def minimiser(self) -> np.ndarray:
        """Where the surrogate is smallest, shape (d,).

        Raises
        ------
        ValueError
            If it has no single lowest point: without a regulariser it is flat along a column of zeros, say.
        """
        try:
            return np.linalg.solve(self.A, -self.b)
        except np.linalg.LinAlgError:
            raise ValueError(
                "the surrogate is flat in some direction, so that it has no single lowest point; give lam above 0"
            ) from None


def boehning(problem: NonconvexLogistic, kappa: np.ndarray) -> Quadratic:
    r"""Boehning's bound: curvature 1/4 in every margin, half-quadratic in the regulariser.

    With :math:`m=y\,x^\top\theta`:
    :math:`\ell(m)\le\ell(m_\kappa)-s(-m_\kappa)(m-m_\kappa)+\frac18(m-m_\kappa)^2`.
    """
    m = problem.y * (problem.X @ kappa)
    return _in_margins(problem, kappa, np.logaddexp(0, -m), -expit(-m), np.full_like(m, 0.25))


def jaakkola_jordan(problem: NonconvexLogistic, kappa: np.ndarray) -> Quadratic:
    r"""Jaakkola and Jordan's bound: curvature :math:`\tanh(m_\kappa/2)/(2m_\kappa)\le\frac14` in the margin,
    half-quadratic in the regulariser."""
    m = problem.y * (problem.X @ kappa)
    curvature = np.full_like(m, 0.25)
    np.divide(np.tanh(m / 2), 2 * m, out=curvature, where=np.abs(m) > 1e-6)
    return _in_margins(problem, kappa, np.logaddexp(0, -m), -expit(-m), curvature)


def _in_margins(problem, kappa, value, slope, curvature) -> Quadratic:
    """Mean of the quadratics in the margin with these coefficients at kappa, plus the regulariser's bound."""
    if not isinstance(problem.h, Zero):
        raise ValueError("this bound has no non-smooth part; use Proximal for a problem with a penalty")
    X, n = problem.X, problem.n
    gram = X.T @ (X.multiply(curvature[:, None]) if sparse.issparse(X) else X * curvature[:, None]) / n
    A = gram.toarray() if sparse.issparse(gram) else gram
    pull = X.T @ (problem.y * slope) / n
    value = value.mean() + problem.smooth_value(kappa)
    weight = half_quadratic_weight(problem, kappa)
    # Geman-McClure is concave in theta^2, so its tangent in theta^2 majorises it; l2 is its own bound.
    c = value - pull @ kappa + 0.5 * kappa @ A @ kappa - 0.5 * np.sum(weight * kappa**2)
    return Quadratic(float(c), pull - A @ kappa, A + np.diag(weight))


def half_quadratic_weight(problem: LinearSum, kappa: np.ndarray) -> np.ndarray:
    r"""Weights of the half-quadratic bound of the regulariser, shape (d,).

    :math:`r(\theta)\le r(\kappa)+\frac12\sum_jw_j(\theta_j^2-\kappa_j^2)` with
    :math:`w_j=2\lambda/(1+\kappa_j^2)^2` for Geman-McClure.
    """
    if problem.smooth == "geman_mcclure":
        return 2 * problem.lam / (1 + kappa**2) ** 2
    return np.full(problem.d, problem.lam if problem.smooth == "l2" else 0.0)


@dataclass(frozen=True)
class Variational:
    r"""Surrogate of matrix factorisation: the codes are frozen at :math:`D_\kappa`.

    :math:`G(D)=\frac12\mathrm{tr}(D^\top DA)-\mathrm{tr}(D^\top B)+\mathrm{const}+h(D)`. Its
    :meth:`minimiser` sweeps over the columns, each in closed form.
    """

    problem: SparseFactorisation
    kappa: np.ndarray

    def __call__(self, theta: np.ndarray) -> float:
        p = self.problem
        D, at = (x.reshape(p.rows, p.K) for x in (theta, self.kappa))
        A, B = p.statistics(at)
        fit = p.energy / 2 - np.sum(D * B) + 0.5 * np.sum((D.T @ D) * A) + 0.5 * p.ridge * np.trace(A)
        return float(fit + p.penalty(D))

    def minimiser(self, sweeps: int = 3) -> np.ndarray:
        """Where the surrogate is smallest, shape (d,)."""
        p = self.problem
        D = self.kappa.reshape(p.rows, p.K).copy()
        A, B = p.statistics(D)
        for _ in range(sweeps):
            for k in np.flatnonzero(np.diag(A) > 1e-10):  # a code that is never used leaves its column alone
                z = D[:, k] + (B[:, k] - D @ A[:, k]) / A[k, k]
                D[:, k] = p.column_prox(z, A[k, k])
        return D.ravel()


class PathIntegrated:
    r"""The generalised surrogate of SPI-MM, built from Lipschitz surrogates of the components.

    :math:`\bar g_t(\theta)=C_t+\langle V_t,\theta\rangle+\frac\rho2\|\theta\|^2+\tilde h_t(\theta)`, where
    C and V are path-integrated over the components' own
    :math:`c_i(\kappa)=f_i(\kappa)-\langle\nabla f_i(\kappa),\kappa\rangle+\frac\rho2\|\kappa\|^2` and
    :math:`l_i(\kappa)=\nabla f_i(\kappa)-\rho\kappa`. The constant is integrated along with the rest: set to
    :math:`f(\theta_t)` instead, :math:`\bar g_t` would no longer be a majorant in expectation.

    Parameters
    ----------
    problem
        Has ``components(theta)`` and ``component_gradients(theta, batch)`` and a penalty ``h``.
    theta : array, shape (d,)
        Where the surrogate is exact.
    rho : float
        Curvature of the component surrogates.

    Raises
    ------
    ValueError
        If `rho` is not positive and finite.

    Thesis, section 6.3.3.
    """

    def __init__(self, problem, theta: np.ndarray, rho: float) -> None:
        _check_curvature(rho)
        self.problem, self.rho = problem, rho
        self.restart(theta)

    def restart(self, theta: np.ndarray) -> None:
        """Become the classical surrogate at `theta`."""
        constants, slopes = self._pieces(theta, np.arange(self.problem.n))
        self.theta, self.C, self.V = theta, constants.mean(), slopes.mean(axis=0)

    def update(self, theta: np.ndarray, batch: np.ndarray) -> None:
        """Move on to `theta` along the path, with the components in `batch` at both ends."""
        (c_new, l_new), (c_old, l_old) = self._pieces(theta, batch), self._pieces(self.theta, batch)
        self.theta = theta
        self.C += (c_new - c_old).mean()
        self.V = self.V + (l_new - l_old).mean(axis=0)

    def gradient_estimate(self) -> np.ndarray:
        r""":math:`v_t=V_t+\rho\theta_t`, SPIDER's estimate of :math:`\nabla f(\theta_t)`, shape (d,)."""
        return self.V + self.rho * self.theta

    def __call__(self, theta: np.ndarray) -> float:
        smooth = self.C + self.V @ theta + 0.5 * self.rho * theta @ theta
        return float(smooth + majorant_of_h(self.problem.h, self.theta, theta))

    def minimiser(self) -> np.ndarray:
        # The quadratic part has its minimum at -V/rho.
        """Where the surrogate is smallest, shape (d,)."""
        return self.problem.prox(-self.V / self.rho, self.rho, self.theta)

    def _pieces(self, kappa: np.ndarray, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gradients = self.problem.component_gradients(kappa, batch)
        constants = self.problem.components(kappa)[batch] - gradients @ kappa + 0.5 * self.rho * kappa @ kappa
        return constants, gradients - self.rho * kappa
