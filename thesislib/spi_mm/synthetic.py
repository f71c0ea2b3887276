"""Problems made up to show one thing: figure 6.1's example, and a family that differs in n alone.

Thesis, section 6.4.
"""

from __future__ import annotations

import numpy as np

from thesislib.spi_mm.finite_sum import FiniteSum
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.prox import Zero

POOL = 64_000


class Wells(FiniteSum):
    r"""The one-dimensional example of figure 6.1: :math:`f_i(u)=1-e^{-(u-a_i)^2/2}`, 1-smooth and non-convex.

    Parameters
    ----------
    centres : tuple of float
        :math:`a_i`.
    """

    def __init__(self, centres: tuple[float, ...] = (-2.0, -1.2, 0.3, 1.0, 2.5)) -> None:
        self.centres = np.array(centres)
        self.n, self.d, self.L, self.h = len(centres), 1, 1.0, Zero()

    def components(self, theta: np.ndarray) -> np.ndarray:
        r""":math:`f_i(\theta)` for every i, shape (n,)."""
        return 1 - np.exp(-0.5 * (theta - self.centres) ** 2)

    def component_gradients(self, theta: np.ndarray, batch: np.ndarray) -> np.ndarray:
        away = theta - self.centres[batch]
        return (away * np.exp(-0.5 * away**2))[:, None]

    def value(self, theta: np.ndarray) -> float:
        return float(self.components(theta).mean())

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        return self.batch_gradient(theta, np.arange(self.n))

    def batch_gradient(self, theta: np.ndarray, batch: np.ndarray) -> np.ndarray:
        return self.component_gradients(theta, batch).mean(axis=0)


def synthetic_logistic(n: int, seed: int = 1, lam: float = 1e-3, d: int = 50) -> NonconvexLogistic:
    r"""The first `n` rows of a pool of 64,000: Gaussian columns of decreasing scale, noisy linear labels.

    All members of a family (one seed) are samples of one population, so the number of steps to an accuracy
    should hardly depend on `n`.

    Parameters
    ----------
    n : int
        Number of components, at most 64,000.
    seed : int
        Of the pool.
    lam : float
        :math:`\lambda`, weight of the non-convex regulariser.
    d : int
        Number of columns, whose scales fall from 1 to 0.1.

    Raises
    ------
    ValueError
        If `n` is out of range.
    """
    if not 2 <= n <= POOL:
        raise ValueError(f"n = {n}: the pool has {POOL} rows, at least 2 are needed")
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((POOL, d)) * np.logspace(0, -1, d)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    truth = 4 * rng.standard_normal(d)
    y = np.sign(X @ truth + rng.logistic(size=POOL))
    return NonconvexLogistic(X[:n], y[:n], lam, normalise=False)
