"""The baselines against their plain versions, their counts and their own invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.datasets import load_features
from thesislib.spi_mm import reference
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.minimise import METHODS, create, minimise
from thesislib.spi_mm.prox import L1, MCP, Linearised, LogSum
from thesislib.spi_mm.sparse_pca import SparsePCA

STEPS = 60


def some_problems(X, y):
    yield NonconvexLogistic(X, y, 0.1)
    yield NonconvexLogistic(X.toarray(), y, 0.05, regulariser="l2")
    for h in (L1(0.01), LogSum(0.01), MCP(0.01, 8.0), Linearised(LogSum(0.01))):
        yield NonconvexLogistic(X, y, regulariser="none", penalty=h)
    yield SparsePCA(X, 0.01)


def plain(method, problem, start, run):
    """The plain version's iterates, with the samples that `run` is about to draw."""
    rng = np.random.default_rng(3)

    def indices():
        while True:
            yield int(rng.integers(problem.n, size=(1, 1))[0, 0])

    def batches(size):
        while True:
            yield rng.integers(problem.n, size=(1, size))[0]

    def epochs():
        while True:
            yield None
            yield from rng.integers(problem.n, size=(run.epoch - 1, run.b))

    return {
        "MISO": lambda: reference.miso(problem, start, indices(), run.rho),
        "SAGA": lambda: reference.saga(problem, start, indices(), run.rho),
        "SMM": lambda: reference.smm(problem, start, batches(run.b), run.rho, run.n0),
        "SGD": lambda: reference.sgd(problem, start, batches(run.b), run.rho, run.decay),
        "SVRG": lambda: reference.svrg(problem, start, epochs(), run.rho),
    }[method]()


@pytest.mark.parametrize("method", ["MISO", "SAGA", "SMM", "SGD", "SVRG"])
def test_compiled_and_plain_loops_agree(data, counting, method):
    for problem in some_problems(*data()):
        start = problem.start() + 0.2
        start /= max(1, np.linalg.norm(start))
        options = {"b": 7} if method in ("SMM", "SGD") else {}
        fast = create(problem, method, seed=3, theta_0=start, **options)
        slow = create(counting(problem), method, seed=3, theta_0=start, **options)
        for _, theta in zip(range(STEPS), plain(method, problem, start, fast), strict=False):
            fast.advance(steps=1)
            slow.advance(steps=1)
            np.testing.assert_allclose(fast.theta, theta, atol=1e-11)
            np.testing.assert_allclose(slow.theta, theta, atol=1e-11)
        assert fast.ifo == slow.ifo == slow.problem.ifo


@given(method=st.sampled_from(sorted(METHODS)), budget=st.integers(0, 600), cut=st.integers(0, 600))
@settings(max_examples=80)
def test_every_method_counts_exactly_and_keeps_within_its_budget(data, counting, method, budget, cut):
    X, y = data()
    run = create(counting(NonconvexLogistic(X, y, 0.1)), method, seed=1)
    run.advance(ifo=min(cut, budget))
    run.advance(ifo=budget)
    assert run.ifo == run.problem.ifo <= budget
    run.advance(steps=1)
    assert run.ifo == run.problem.ifo > budget


@pytest.mark.parametrize(
    ("method", "per_pass"),
    [("batch MM", [60]), ("MISO", [60, 1]), ("SAGA", [60, 1]), ("SVRG", [60, 30, 30, 30, 60]), ("SMM", [60])],
)
def test_cost_of_each_step(data, method, per_pass):
    run = create(NonconvexLogistic(*data(), 0.1), method)
    costs = []
    for _ in per_pass:
        before = run.ifo
        run.advance(steps=1)
        costs.append(run.ifo - before)
    assert costs == per_pass


def test_theoretical_parameters():
    problem = NonconvexLogistic(*load_features("digits"), 0.01)
    n, L = problem.n, problem.L
    assert create(problem, "batch MM").rho == pytest.approx(problem.L_f)
    assert create(problem, "MISO").rho == create(problem, "SMM").rho == pytest.approx(L)
    svrg = create(problem, "SVRG")
    assert (svrg.b, svrg.epoch, svrg.rho) == (round(n ** (2 / 3)), round(n ** (1 / 3)), pytest.approx(3 * L))
    assert create(problem, "SAGA").rho == pytest.approx(3 * L * n ** (2 / 3))
    spider, ours = create(problem, "SPIDER"), create(problem, "SPI-MM")
    assert spider.rho == ours.rho == pytest.approx(2 * L) and spider.b == ours.q == 42
    for method in METHODS:
        assert create(problem, method, step=4.0).rho == pytest.approx(create(problem, method).rho / 4)


@pytest.mark.parametrize("penalty", [None, L1(0.01), Linearised(MCP(0.01, 8.0))])
def test_batch_mm_descends_by_what_its_surrogate_promises(data, penalty):
    X, y = data()
    problem = NonconvexLogistic(X, y, 0.1, penalty=penalty)
    for step in (1.0, 0.5):
        run = create(problem, "batch MM", step=step, theta_0=np.ones(problem.d))
        for _ in range(60):
            before, value = run.theta, problem.value(run.theta)
            run.advance(steps=1)
            enough = (run.rho - problem.L_f / 2) * np.sum((run.theta - before) ** 2)
            assert value - problem.value(run.theta) >= enough - 1e-12


def test_batch_mm_descends_with_exact_non_convex_prox_and_on_the_ball(data):
    X, y = data()
    for problem in (
        NonconvexLogistic(X, y, regulariser="none", penalty=LogSum(0.02)),
        NonconvexLogistic(X, y, regulariser="none", penalty=MCP(0.02, 30.0)),
        SparsePCA(X, 0.01),
    ):
        run, values = create(problem, "batch MM", theta_0=np.full(problem.d, 0.3)), []
        for _ in range(60):
            values.append(problem.value(run.theta))
            run.advance(steps=1)
        assert (np.diff(values) <= 1e-12).all() and values[-1] < values[0]


def test_tables_and_their_averages_stay_in_step(data):
    X, y = data()
    problem = NonconvexLogistic(X, y, 0.1)
    miso, saga = create(problem, "MISO"), create(problem, "SAGA")
    for _ in range(10):
        miso.advance(steps=problem.n)
        saga.advance(steps=problem.n)
        np.testing.assert_allclose(miso.mean, miso.anchors.mean(axis=0), atol=1e-10)
        np.testing.assert_allclose(saga.average, problem.X.T @ saga.table / problem.n, atol=1e-10)


def test_miso_with_mini_batches_refreshes_a_repeated_anchor_once(data, counting):
    problem = NonconvexLogistic(*data(), 0.1)
    for wrapped in (problem, counting(problem)):
        run = create(wrapped, "MISO", b=40)  # of 60: repeats are certain
        run.advance(steps=15)
        np.testing.assert_allclose(run.mean, run.anchors.mean(axis=0), atol=1e-12)
        assert run.ifo == 60 + 14 * 40


def test_all_methods_agree_on_a_strongly_convex_problem():
    """The l2 twin has one minimiser; scikit-learn finds it too."""
    from sklearn.linear_model import LogisticRegression

    X, y = load_features("breast_cancer")
    problem = NonconvexLogistic(X, y, 0.05, regulariser="l2")
    twin = LogisticRegression(C=1 / (0.05 * problem.n), fit_intercept=False, tol=1e-12, max_iter=10_000)
    best = problem.value(twin.fit(problem.X, y).coef_[0])
    for method in METHODS:
        trace = minimise(problem, method, passes=400, checkpoints=[0, 400])
        # The two with steps or weights that only slowly go to zero keep some noise.
        assert trace.objective[-1] - best < (2e-3 if method in ("SGD", "SMM") else 1e-7)
        assert trace.objective[-1] > best - 1e-10
