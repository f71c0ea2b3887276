r"""What is minimised: :math:`F(\theta) = \frac1n \sum_i f_i(\theta) + h(\theta)` (thesis, section 6.3.1).

:class:`FiniteSum` is all a method asks of a problem; subclass it for your own. :class:`LinearSum` is the
special case in which a component sees :math:`\theta` through one inner product with a data row; the methods
run it through compiled loops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from thesislib.spi_mm.design import design_matrix
from thesislib.spi_mm.prox import Zero


class FiniteSum(ABC):
    r"""A finite sum :math:`F = \frac1n \sum_i f_i + h`, as every method of this package sees it.

    A subclass sets three attributes and writes three methods; override :meth:`prox` and :meth:`start` as
    well if there is an :math:`h`.

    Attributes
    ----------
    n : int
        Number of components.
    d : int
        Length of :math:`\theta`.
    L : float
        Smoothness in mean square:
        :math:`\frac1n\sum_i\|\nabla f_i(x)-\nabla f_i(y)\|^2 \le L^2\|x-y\|^2`. The largest Lipschitz
        constant of a component gradient will do.
    L_f : float
        Lipschitz constant of :math:`\nabla f`; :math:`L` unless a subclass overrides this property.
    nonconvex_prox : bool
        Whether :meth:`prox` solves a non-convex problem exactly; SPI-MM then doubles its default curvature.
    """

    n: int
    d: int
    L: float
    nonconvex_prox: bool = False

    @property
    def L_f(self) -> float:
        return self.L

    @abstractmethod
    def value(self, theta: np.ndarray) -> float:
        r""":math:`F(\theta)`, with :math:`h`."""

    @abstractmethod
    def gradient(self, theta: np.ndarray) -> np.ndarray:
        r""":math:`\nabla f(\theta)`, an array of shape (d,), without :math:`h`. Costs n evaluations."""

    @abstractmethod
    def batch_gradient(self, theta: np.ndarray, batch: np.ndarray) -> np.ndarray:
        r"""Mean of :math:`\nabla f_i(\theta)` over the indices in `batch`; a repeated index counts twice."""

    def component_gradients(self, theta: np.ndarray, batch: np.ndarray) -> np.ndarray:
        r""":math:`\nabla f_i(\theta)` for each index in `batch`, shape (batch, d), for MISO and SAGA."""
        return np.array([self.batch_gradient(theta, np.array([i])) for i in batch])

    def smooth_gradient(self, theta: np.ndarray) -> np.ndarray:
        """Part of the component gradients that all share, a regulariser's, say; zeros unless overridden.

        SAGA adds it exactly and keeps only the rest in its table.
        """
        return np.zeros(self.d)

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray) -> np.ndarray:
        r"""Minimiser of :math:`\tilde h(x) + \frac\rho2\|x - z\|^2`; the identity unless overridden.

        Parameters
        ----------
        z : array, shape (d,)
        rho : float
            Curvature, positive.
        at : array, shape (d,)
            Current iterate. :math:`\tilde h` is :math:`h` itself or a majorant of it that touches there.
        """
        return z

    def start(self) -> np.ndarray:
        r""":math:`\theta_0` unless the caller has one: zeros."""
        return np.zeros(self.d)

    def stationarity(self, theta: np.ndarray) -> float:
        r"""Norm of the gradient mapping :math:`L(\theta - \mathrm{prox}(\theta - \nabla f(\theta)/L))`.

        It is :math:`\|\nabla f(\theta)\|` when there is no :math:`h`.
        """
        step = theta - self.gradient(theta) / self.L
        return float(self.L * np.linalg.norm(theta - self.prox(step, self.L, theta)))


class LinearSum(FiniteSum):
    r""":math:`f_i(\theta) = \ell(y_i, x_i^\top\theta) + r(\theta)` with rows :math:`x_i` of a matrix.

    Subclasses give :meth:`losses` and :meth:`slopes`. The compiled loops serve the two of this package,
    :class:`~thesislib.spi_mm.logistic.NonconvexLogistic` and :class:`~thesislib.spi_mm.sparse_pca.SparsePCA`;
    any other, and a subclass of theirs that changes what they compute, runs through the plain ones.

    Parameters
    ----------
    X : array or sparse matrix, shape (n, d)
        Checked and copied by :func:`~thesislib.spi_mm.design.design_matrix`; a sparse matrix stays sparse.
    y : array, shape (n,)
        What the loss compares with.
    h : penalty
        The non-smooth term, one of :mod:`thesislib.spi_mm.prox`.
    smooth : {"none", "geman_mcclure", "l2"}
        :math:`r`: nothing, :math:`\lambda\sum_j\theta_j^2/(1+\theta_j^2)`, or
        :math:`\frac\lambda2\|\theta\|^2`.
    lam : float
        :math:`\lambda`, weight of :math:`r`.

    Raises
    ------
    ValueError
        On shapes or entries that cannot be used, an unknown `smooth` or a negative `lam`.
    TypeError
        If `h` is no penalty.
    """

    def __init__(self, X, y: np.ndarray, h=None, smooth: str = "none", lam: float = 0.0) -> None:
        if smooth not in ("none", "geman_mcclure", "l2"):
            raise ValueError(f"smooth = {smooth!r} is not one of none, geman_mcclure, l2")
        if not lam >= 0:
            raise ValueError(f"lam = {lam!r} must be zero or more")
        X, y = design_matrix(X), np.asarray(y, dtype=float)
        self.n, self.d = X.shape
        if y.shape != (self.n,) or not np.isfinite(y).all():
            raise ValueError(f"y has shape {y.shape}; expected ({self.n},), one finite number a row of X")
        self.X, self.y, self.h, self.smooth, self.lam = X, y, h or Zero(), smooth, float(lam)
        if lacking := [name for name in ("value", "prox", "nonconvex_prox") if not hasattr(self.h, name)]:
            raise TypeError(
                f"h = {h!r} has no {', '.join(lacking)}; expected a penalty of thesislib.spi_mm.prox"
            )
        # The transpose as CSR of its own: twice as fast as `X.T @ c` and built once.
        self._Xt = X.T.tocsr() if sparse.issparse(X) else X.T
        self.nonconvex_prox = self.h.nonconvex_prox

    @abstractmethod
    def losses(self, margins: np.ndarray, y: np.ndarray) -> np.ndarray:
        r""":math:`\ell(y_i, m_i)`, elementwise.

        Parameters
        ----------
        margins, y : array, shape (n,)
        """

    @abstractmethod
    def slopes(self, margins: np.ndarray, y: np.ndarray) -> np.ndarray:
        r""":math:`\partial\ell/\partial m` at :math:`(y_i, m_i)`, elementwise.

        Parameters
        ----------
        margins, y : array, shape (n,)
        """

    def smooth_value(self, theta: np.ndarray) -> float:
        r""":math:`r(\theta)`."""
        if self.smooth == "geman_mcclure":
            return float(self.lam * np.sum(theta**2 / (1 + theta**2)))
        return float(0.5 * self.lam * theta @ theta) if self.smooth == "l2" else 0.0

    def smooth_gradient(self, theta: np.ndarray) -> np.ndarray:
        r""":math:`\nabla r(\theta)`; the same for every component, so nothing has to estimate it."""
        if self.smooth == "geman_mcclure":
            return 2 * self.lam * theta / (1 + theta**2) ** 2
        return self.lam * theta if self.smooth == "l2" else np.zeros(self.d)

    @property
    def smooth_curvature(self) -> float:
        r"""Lipschitz constant of :math:`\nabla r`; :math:`r''` of Geman-McClure lies in
        :math:`[-\lambda/2, 2\lambda]`."""
        return {"none": 0.0, "geman_mcclure": 2 * self.lam, "l2": self.lam}[self.smooth]

    def components(self, theta: np.ndarray) -> np.ndarray:
        r""":math:`f_i(\theta)` for every i, shape (n,)."""
        return self.losses(self.X @ theta, self.y) + self.smooth_value(theta)

    def component_gradients(self, theta: np.ndarray, batch: np.ndarray) -> np.ndarray:
        rows = self.X[batch]
        slopes = self.slopes(rows @ theta, self.y[batch])[:, None]
        data = rows.multiply(slopes).toarray() if sparse.issparse(rows) else rows * slopes
        return data + self.smooth_gradient(theta)

    def value(self, theta: np.ndarray) -> float:
        loss = self.losses(self.X @ theta, self.y).mean()
        return float(loss) + self.smooth_value(theta) + self.h.value(theta)

    def data_gradient(self, theta: np.ndarray) -> np.ndarray:
        r""":math:`\nabla f(\theta) - \nabla r(\theta)`."""
        return self._Xt @ self.slopes(self.X @ theta, self.y) / self.n

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        return self.data_gradient(theta) + self.smooth_gradient(theta)

    def batch_gradient(self, theta: np.ndarray, batch: np.ndarray) -> np.ndarray:
        rows = self.X[batch]
        slopes = self.slopes(rows @ theta, self.y[batch])
        return rows.T @ slopes / len(batch) + self.smooth_gradient(theta)

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray) -> np.ndarray:
        return self.h.prox(z, rho, at)

    def stationarity(self, theta: np.ndarray) -> float:
        r"""Distance of 0 from the subdifferential if :math:`h` is separable, else the gradient mapping."""
        if hasattr(self.h, "distance"):
            return self.h.distance(theta, self.gradient(theta))
        return super().stationarity(theta)

    @cached_property
    def row_norms2(self) -> np.ndarray:
        r""":math:`\|x_i\|^2`, shape (n,)."""
        if sparse.issparse(self.X):
            return np.asarray(self.X.multiply(self.X).sum(axis=1)).ravel()
        return np.einsum("ij,ij->i", self.X, self.X)

    @cached_property
    def top_eigenpair(self) -> tuple[float, np.ndarray]:
        r"""Largest eigenvalue of :math:`X^\top X/n` and its unit eigenvector, whose sum is positive."""
        if not self.row_norms2.any():
            raise ValueError(
                f"all {self.n} rows of X are zero (constant columns, centred, are): nothing to decompose"
            )
        if self.d == 1:
            return float(self.row_norms2.mean()), np.ones(1)
        product = LinearOperator((self.d, self.d), lambda u: self._Xt @ (self.X @ u) / self.n, dtype=float)
        start = np.random.default_rng(0).standard_normal(self.d)
        value, vector = eigsh(product, k=1, v0=start, which="LA")
        return float(value[0]), vector[:, 0] * (1 if vector.sum() >= 0 else -1)
