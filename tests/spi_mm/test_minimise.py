"""The one interface: budgets, checkpoints, divergence, refusals."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.minimise import METHODS, create, lbfgs, minimise
from thesislib.spi_mm.sparse_pca import SparsePCA


@pytest.mark.parametrize("method", METHODS)
def test_trace_of_every_method(data, method):
    problem = NonconvexLogistic(*data(), 0.01)
    start = np.full(problem.d, 0.1)
    trace = minimise(problem, method, passes=9, theta_0=start, checkpoints=[0, 0.5, 4, 8.5], seed=2)
    assert (start == 0.1).all()  # the caller's array is left alone
    assert trace.ifo[0] == 0 and trace.objective[0] == problem.value(start)
    assert (trace.ifo <= trace.passes * problem.n).all() and (np.diff(trace.ifo) >= 0).all()
    assert (np.diff(trace.seconds) >= 0).all() and trace.seconds[0] >= 0
    again = minimise(problem, method, passes=8.5, theta_0=start, checkpoints=[8.5], seed=2)
    assert problem.value(again.theta) == trace.objective[-1]
    assert not trace.diverged and np.isfinite(trace.theta_xi).all()


COMPILING = """
import sys
import numpy as np
from scipy import sparse
from thesislib.spi_mm import minimise as module
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.sparse_pca import SparsePCA

def compiled():
    kernels = sys.modules.get("thesislib.spi_mm.kernels")
    return sum(len(k.signatures) for k in vars(kernels).values() if hasattr(k, "signatures")) if kernels else 0

class Clock:
    def perf_counter():
        readings.append(compiled())
        return 0.0

module.time = Clock
X = np.random.default_rng(0).normal(size=(30, 3))
for X in (X, sparse.csr_array(X)):
    logistic, pca = NonconvexLogistic(X, np.arange(30) % 2, 0.01), SparsePCA(X, 0.01, centre=False)
    for problem in (logistic, pca):
        for method in module.METHODS:
            readings = []
            module.minimise(problem, method, passes=6)
            if len(set(readings)) > 1:
                sys.exit(f"{method} on {type(problem).__name__}: {readings}")
print(compiled())
"""


def test_nothing_is_compiled_while_the_clock_runs():
    found = subprocess.run([sys.executable, "-c", COMPILING], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) > 10


@pytest.mark.parametrize("steps", [2.5, -3])
def test_steps_are_whole(data, steps):
    with pytest.raises(ValueError, match="expected whole steps, 0 or more"):
        create(NonconvexLogistic(*data()), "SGD").advance(steps=steps)


def test_the_last_iterate_is_that_of_the_whole_budget(data):
    problem = NonconvexLogistic(*data(), 0.01)
    early = minimise(problem, passes=20, checkpoints=[3])
    full = minimise(problem, passes=20)
    np.testing.assert_array_equal(early.theta, full.theta)
    assert full.passes.tolist() == list(range(21))


# SPIDER is not among them: its steps have a bounded length and never leave the finite numbers this fast.
@pytest.mark.parametrize("method", [m for m in METHODS if m != "SPIDER"])
def test_divergence_is_recorded_and_neither_raised_nor_hidden(method):
    """-x^4/4 has no lower bound; too long a step leaves every finite number."""
    from thesislib.spi_mm.finite_sum import FiniteSum

    class Falling(FiniteSum):
        n, d, L = 8, 1, 1.0

        def value(self, theta):
            return float(-0.25 * theta[0] ** 4)

        def gradient(self, theta):
            return -(theta**3)

        def batch_gradient(self, theta, batch):
            return -(theta**3)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace = minimise(Falling(), method, passes=300, step=50.0, theta_0=np.array([2.0]))
    assert trace.diverged and np.isinf(trace.objective[-1]) and np.isinf(trace.stationarity[-1])
    assert trace.objective[0] == -4.0
    assert trace.ifo[-1] <= 300 * 8


def test_the_ball_keeps_every_method_finite(data):
    problem = SparsePCA(data()[0], 0.01)
    for method in METHODS:
        trace = minimise(problem, method, passes=10, step=100.0)
        assert not trace.diverged and np.linalg.norm(trace.theta) <= 1 + 1e-12


@pytest.mark.parametrize("L", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("method", METHODS)
def test_a_smoothness_that_is_none_is_named(data, counting, method, L):
    problem = counting(NonconvexLogistic(*data()))
    problem.L = L
    with pytest.raises(ValueError, match=rf"smoothness L is {L}; expected"):
        minimise(problem, method)


def test_a_budget_of_part_of_a_pass_is_spent(data):
    problem = NonconvexLogistic(*data())
    trace = minimise(problem, "SGD", passes=2.5, seed=1)
    assert trace.passes.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(
        trace.theta, minimise(problem, "SGD", passes=2.5, seed=1, checkpoints=[2.5]).theta
    )
    assert trace.ifo[-1] < 2.5 * problem.n


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "Adam"}, "method = 'Adam' is not one of batch MM, MISO"),
        ({"passes": 0}, "passes = 0"),
        ({"passes": float("nan")}, "passes = nan"),
        ({"step": -1}, "step = -1"),
        ({"checkpoints": [2, 1]}, "must increase"),
        ({"checkpoints": [0, 31]}, r"within 0\.\.30"),
        ({"checkpoints": []}, "must increase"),
        ({"checkpoints": [0, float("nan"), 3]}, "must increase"),
        ({"theta_0": np.full(9, np.nan)}, "finite entries"),
        *(
            ({"method": m, "b": b}, f"b = {b}; expected a whole number")
            for m in ("MISO", "SMM", "SGD")
            for b in (0, 1.5, True)
        ),
        *(({"method": m, "b": 10**6}, r"need b <= n = \d+; got 1000000") for m in ("MISO", "SMM", "SGD")),
        ({"method": "SMM", "n0": -1}, "n0 = -1; expected 0"),
        ({"method": "SGD", "decay": float("nan")}, "decay = nan; expected 0"),
    ],
)
def test_bad_arguments_are_refused(data, arguments, words):
    with pytest.raises(ValueError, match=words):
        minimise(NonconvexLogistic(*data()), **arguments)


def test_a_start_by_hand_and_lbfgs_refuse_the_same(data):
    problem = NonconvexLogistic(*data())
    for step in (0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"step = {step} must be positive and finite"):
            create(problem, "SPI-MM", step=step)
    with pytest.raises(ValueError, match=r"expected .* with finite entries"):
        lbfgs(problem, np.full(problem.d, np.nan))
    with pytest.raises(ValueError, match=r"theta_0 has shape \(2,\), expected"):
        lbfgs(problem, np.zeros(2))


@pytest.mark.parametrize("method", ["SMM", "SGD"])
@pytest.mark.parametrize(("n", "b"), [(40, 40), (64, 64), (100, 64)])
def test_the_default_batch_is_shortened_to_a_small_sum(method, n, b):
    X = np.random.default_rng(0).standard_normal((n, 3))
    assert create(NonconvexLogistic(X, X[:, 0] > 0), method).b == b
