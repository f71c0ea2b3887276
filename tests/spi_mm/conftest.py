import numpy as np
import pytest
from scipy import sparse

from thesislib.spi_mm.finite_sum import FiniteSum
from thesislib.spi_mm.logistic import NonconvexLogistic


class Counting(FiniteSum):
    """A finite sum of the reader's own making: hides what it wraps from the compiled loops, counts its calls."""

    def __init__(self, inner):
        self.inner, self.n, self.d, self.L = inner, inner.n, inner.d, inner.L
        self.nonconvex_prox = inner.nonconvex_prox
        self.ifo = 0

    @property
    def L_f(self):
        return self.inner.L_f

    def value(self, theta):
        return self.inner.value(theta)

    def stationarity(self, theta):
        return self.inner.stationarity(theta)

    def start(self):
        return self.inner.start()

    def smooth_gradient(self, theta):
        return self.inner.smooth_gradient(theta)

    def prox(self, z, rho, at):
        return self.inner.prox(z, rho, at)

    def gradient(self, theta):
        self.ifo += self.n
        return self.inner.gradient(theta)

    def batch_gradient(self, theta, batch):
        self.ifo += len(batch)
        return self.inner.batch_gradient(theta, batch)


@pytest.fixture(scope="session")
def counting():
    return Counting


def sparse_data(n=60, d=9, seed=0):
    """Rows of about three non-zeros, the first and the last empty; labels of a noisy linear rule."""
    rng = np.random.default_rng(seed)
    X = sparse.random_array((n, d), density=0.35, rng=rng, format="csr")
    X.data = rng.standard_normal(X.data.size)
    X = X.tolil()
    X[0] = X[n - 1] = 0
    X = X.tocsr()
    y = np.where(X @ rng.standard_normal(d) + 0.3 * rng.standard_normal(n) > 0, 1, -1)
    return X, y


@pytest.fixture(scope="session")
def data():
    return sparse_data


@pytest.fixture
def tiny():
    """The four-sample problem whose first five steps were computed by hand."""
    X = np.array([[1, 0], [0, 1], [0.6, 0.8], [0.8, -0.6]])
    return NonconvexLogistic(X, [1, -1, 1, -1], 0.1)
