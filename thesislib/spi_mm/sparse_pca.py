r"""Sparse principal components as finite sums: the problems of figure 6.3 (thesis, section 6.4).

The caption names sparse PCA and nothing else is known of the formulation. Two are given: S1, one loading
vector, :class:`SparsePCA`; S2, several, by matrix factorisation, :class:`SparseFactorisation`.

``margins`` are :math:`x_i^\top\theta`, shape (n,); ``y`` plays no part.
"""

from __future__ import annotations

from functools import cached_property
from numbers import Integral

import numpy as np
from scipy import sparse

from thesislib.spi_mm.design import design_matrix
from thesislib.spi_mm.finite_sum import FiniteSum, LinearSum
from thesislib.spi_mm.prox import NonNegativeBall, SparseBall, soft


class SparsePCA(LinearSum):
    r"""One sparse loading vector (S1).

    .. math::

        \min_{\|\theta\|_2\le1}\; -\frac1{2n}\sum_i(x_i^\top\theta)^2+\lambda\|\theta\|_1

    Zero is a stationary point that absorbs every method: do not start near it, and keep :math:`\lambda` well
    below the level at which the optimum is no longer negative.

    Parameters
    ----------
    X : array or sparse matrix, shape (n, d)
    lam : float
        :math:`\lambda`.
    centre, normalise : bool
        Subtract column means (arrays only); scale rows to unit norm.
    non_negative : bool
        Replace the l1 norm by :math:`\theta\ge0` (non-negative PCA); `lam` must then be 0.
    """

    def __init__(self, X, lam=0.05, *, centre=False, normalise=False, non_negative=False) -> None:
        if not lam >= 0 or (non_negative and lam):
            raise ValueError(f"lam = {lam!r} must be zero or more, and zero for non-negative PCA")
        X = design_matrix(X, centre=centre, normalise=normalise)
        super().__init__(X, np.zeros(X.shape[0]), h=NonNegativeBall() if non_negative else SparseBall(lam))

    @cached_property
    def L(self) -> float:
        r"""Root mean square of the component constants, :math:`\sqrt{\frac1n\sum_i\|x_i\|^4}`."""
        return float(np.sqrt(np.mean(self.row_norms2**2)))

    @property
    def L_f(self) -> float:
        return self.top_eigenpair[0]

    def losses(self, margins: np.ndarray, y: np.ndarray) -> np.ndarray:
        return -0.5 * margins**2

    def slopes(self, margins: np.ndarray, y: np.ndarray) -> np.ndarray:
        return -margins

    def start(self) -> np.ndarray:
        """The dense first principal component, far from the trap at zero."""
        vector = self.top_eigenpair[1].copy()
        return self.prox(vector, np.inf, vector) if isinstance(self.h, NonNegativeBall) else vector


class SparseFactorisation(FiniteSum):
    r"""Several sparse loading vectors (S2): :math:`\theta` is a matrix D of shape (d, K), flattened by rows.

    .. math::

        f_i(D)=\min_\alpha\frac12\|x_i-D\alpha\|^2+\frac{\mu}2\|\alpha\|^2,\qquad
        h(D)=\lambda\sum_{jk}|D_{jk}|,\quad\|d_k\|_2\le1

    Parameters
    ----------
    X : array or sparse matrix, shape (n, d)
    K : int
        Number of loading vectors.
    lam : float
        :math:`\lambda`.
    ridge : float
        :math:`\mu`, positive.
    L : float or None
        Smoothness constant. The provable one, :math:`2.75\max_i\|x_i\|^2/\mu`, is hundreds of times
        too large, so by default it is measured around the start (see
        :meth:`measured_smoothness`), and so is ``L_f``, which is L if that is given.
    seed : int
        Draws the K rows that :meth:`start` begins with.
    centre : bool
        Subtract column means (arrays only).

    Raises
    ------
    ValueError
        If K is no whole number from 1 to n or above the number of rows that are not zero, `lam` is negative, `ridge`
        is not positive, or either is not finite.
    """

    def __init__(self, X, K=10, lam=0.05, *, ridge=0.1, L=None, seed=0, centre=False) -> None:
        self.X = design_matrix(X, centre=centre)
        self.n, self.rows = self.X.shape
        if not (isinstance(K, Integral) and 1 <= K <= self.n and 0 <= lam < np.inf and 0 < ridge < np.inf):
            raise ValueError(
                f"need a whole K from 1 to n = {self.n}, lam >= 0 and ridge > 0, finite; "
                f"got K = {K}, lam = {lam}, ridge = {ridge}"
            )
        self.K, self.d, self.lam, self.ridge, self.seed = K, self.rows * K, float(lam), float(ridge), seed
        norms2 = (self.X * self.X).sum(axis=1)
        self.norms, self.energy = np.sqrt(np.asarray(norms2).ravel()), float(norms2.sum() / self.n)
        self.L, self._L_f = (float(L), float(L)) if L is not None else self.measured_smoothness()

    @property
    def L_f(self) -> float:
        return self._L_f

    def codes(self, D: np.ndarray, batch: np.ndarray | None = None) -> np.ndarray:
        r"""Best codes :math:`\alpha_i=(D^\top D+\mu I)^{-1}D^\top x_i`, shape (batch, K)."""
        X = self.X if batch is None else self.X[batch]
        return np.linalg.solve(D.T @ D + self.ridge * np.eye(self.K), (X @ D).T).T

    def statistics(self, D: np.ndarray, batch: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        r""":math:`A=\overline{\alpha\alpha^\top}` (K, K) and :math:`B=\overline{x\alpha^\top}` (d, K).

        Parameters
        ----------
        D : array, shape (d, K)
        batch : array of int
        """
        X, codes = self.X if batch is None else self.X[batch], self.codes(D, batch)
        return codes.T @ codes / len(codes), X.T @ codes / len(codes)

    def value(self, theta: np.ndarray) -> float:
        D = theta.reshape(self.rows, self.K)
        A, B = self.statistics(D)
        fit = 0.5 * self.energy - np.sum(D * B) + 0.5 * np.sum((D.T @ D + self.ridge * np.eye(self.K)) * A)
        return float(fit + self.penalty(D))

    def penalty(self, D: np.ndarray) -> float:
        """h(D), infinite outside the unit balls."""
        inside = (np.linalg.norm(D, axis=0) <= 1 + 1e-9).all()
        return float(self.lam * np.abs(D).sum()) if inside else np.inf

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        return self.batch_gradient(theta, None)

    def batch_gradient(self, theta: np.ndarray, batch: np.ndarray | None) -> np.ndarray:
        D = theta.reshape(self.rows, self.K)
        A, B = self.statistics(D, batch)
        return (D @ A - B).ravel()  # Danskin: differentiate with the codes held fixed

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray | None = None) -> np.ndarray:
        return self.column_prox(z.reshape(self.rows, self.K), rho).ravel()

    def column_prox(self, z: np.ndarray, rho: float) -> np.ndarray:
        """The prox of one column, shape (d,), or of several, shape (d, columns).

        Parameters
        ----------
        z : array
        rho : float
            Curvature, positive.
        """
        s = soft(z, self.lam / rho)
        return s / np.maximum(1.0, np.linalg.norm(s, axis=0))

    def start(self) -> np.ndarray:
        """K random non-empty rows, scaled to unit length.

        Raises
        ------
        ValueError
            If there are fewer.
        """
        rng, filled = np.random.default_rng(self.seed), np.flatnonzero(self.norms)
        if len(filled) < self.K:
            raise ValueError(
                f"K = {self.K} loadings start at as many rows of X, of which {len(filled)} are not zero"
            )
        picked = rng.choice(filled, self.K, replace=False)
        rows = self.X[picked]
        rows = rows.toarray() if sparse.issparse(rows) else rows
        return np.ascontiguousarray((rows / self.norms[picked, None]).T).ravel()

    def measured_smoothness(self, draws: int = 4, sample: int = 256, powers: int = 10) -> tuple[float, float]:
        r"""L and :math:`L_f`: the largest of some ratios of a change of gradients to :math:`\|D-D'\|`.

        Of L the change is :math:`\sqrt{\overline{\|\nabla f_i(D)-\nabla f_i(D')\|^2}}`, of :math:`L_f` the norm of
        the mean change.

        Pairs D, D' lie 0.1 apart around the start, first in a random direction, then in the one in which the mean
        gradient has just changed: the power method on its derivative. A random direction alone, in so many dimensions,
        misses the steep ones. A measurement, not a bound: methods that rely on it keep their usual factor of two.

        Parameters
        ----------
        draws : int
            Places D.
        sample : int
            Components of each ratio.
        powers : int
            Ratios at each place.
        """
        rng, first = np.random.default_rng(self.seed), self.start()
        steepest = steepest_mean = 0.0
        batch = rng.choice(self.n, min(sample, self.n), replace=False)
        for _ in range(draws):
            D = self.prox(first + 0.1 * rng.standard_normal(self.d), np.inf)
            here, move = self.component_gradients(D, batch), rng.standard_normal(self.d)
            for _ in range(powers):
                move *= 0.1 / np.linalg.norm(move)
                change = self.component_gradients(D + move, batch) - here
                steepest = max(steepest, float(np.sqrt(np.mean(np.sum(change**2, axis=1)))) / 0.1)
                move = change.mean(axis=0)
                steepest_mean = max(steepest_mean, float(np.linalg.norm(move)) / 0.1)
        return steepest, steepest_mean

    def component_gradients(self, theta: np.ndarray, batch: np.ndarray) -> np.ndarray:
        D, X = theta.reshape(self.rows, self.K), self.X[batch]
        codes = self.codes(D, batch)
        residual = (X.toarray() if sparse.issparse(X) else X) - codes @ D.T
        return -(residual[:, :, None] * codes[:, None, :]).reshape(len(batch), self.d)
