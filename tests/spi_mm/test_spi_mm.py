"""SPI-MM: the worked example, exact counts, and the equivalences and bounds its analysis promises."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.datasets import load_features
from thesislib.spi_mm import reference
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.minimise import METHODS, create, lbfgs, minimise
from thesislib.spi_mm.prox import L1, MCP, SCAD, Exponential, Linearised, LogSum
from thesislib.spi_mm.sparse_pca import SparseFactorisation, SparsePCA
from thesislib.spi_mm.spi_mm import SPIMM
from thesislib.spi_mm.synthetic import synthetic_logistic

ORACLE = [  # v, next iterate, its objective, evaluations
    ((0.025188829124465, -0.124959283816728), (0.472012412083928, -0.111156351314747), 0.685525586361123, 4),
    ((0.031356376257870, -0.075776870066926), (0.437171994019628, -0.026959829018162), 0.678811889682677, 8),
    ((0.018185047804420, -0.053825222678300), (0.416966385348051, 0.032845973957727), 0.675601756376836, 12),
    ((0.012076406028808, -0.039331084145433), (0.403548156427153, 0.076547178563764), 0.674043635128874, 16),
    ((0.015196020585578, -0.025484128919995), (0.386663689109844, 0.104862877363759), 0.673316579140203, 20),
]
BATCHES = [None, [1, 2], [0, 3], None, [2, 2]]


class Scripted:
    """Stands for a generator: returns these batches and nothing else."""

    def __init__(self, batches):
        self.batches = [np.array(b) for b in batches]

    def integers(self, n, size):
        drawn, self.batches = self.batches[: size[0]], self.batches[size[0] :]
        return np.array(drawn).reshape(size)

    def spawn(self, _):
        return [np.random.default_rng(0)]


def test_worked_example(tiny, counting):
    start = np.array([0.5, -0.25])
    assert pytest.approx(0.45, abs=1e-15) == tiny.L
    assert tiny.value(start) == pytest.approx(0.700858739340141, abs=1e-14)
    plain = list(reference.spi_mm(tiny, start, BATCHES, 0.9))
    for problem in (tiny, counting(tiny)):
        run = SPIMM(problem, start, Scripted([b for b in BATCHES if b]), rho=0.9, q=3, b=2)
        for (v, theta, value, ifo), (theta_plain, v_plain, ifo_plain) in zip(ORACLE, plain, strict=True):
            run.advance(steps=1)
            np.testing.assert_allclose(run.theta, theta, atol=1e-12)
            np.testing.assert_allclose(run.estimate(), v, atol=1e-12)
            np.testing.assert_allclose(theta_plain, theta, atol=1e-12)
            np.testing.assert_allclose(v_plain, v, atol=1e-12)
            assert tiny.value(run.theta) == pytest.approx(value, abs=1e-12)
            assert run.ifo == ifo_plain == ifo


def some_problems(X, y):
    dense = X.toarray()
    yield NonconvexLogistic(X, y, 0.1)
    yield NonconvexLogistic(dense, y, 0.01)
    yield NonconvexLogistic(dense, y, 0.1, regulariser="l2")
    for h in (L1(0.01), LogSum(0.01), MCP(0.01), SCAD(0.01)):
        yield NonconvexLogistic(X, y, regulariser="none", penalty=h)
    for h in map(Linearised, (LogSum(0.01), MCP(0.01), SCAD(0.01), Exponential(0.01))):
        yield NonconvexLogistic(X, y, regulariser="none", penalty=h)
    yield SparsePCA(X, 0.01)
    yield SparsePCA(np.abs(dense), 0.0, non_negative=True)


@pytest.mark.parametrize("method", ["SPI-MM", "SPIDER"])
def test_compiled_and_plain_loops_follow_the_algorithm_box(data, counting, method):
    options = {"eps": 1e-3} if method == "SPIDER" else {"b": 5, "q": 9}
    for problem in some_problems(*data()):
        start = problem.start() + 0.1
        start /= max(1, np.linalg.norm(start))
        fast = create(problem, method, seed=3, theta_0=start, **options)
        slow = create(counting(problem), method, seed=3, theta_0=start, **options)
        rng, batches = np.random.default_rng(3), []
        while len(batches) < 40:
            batches += [None, *rng.integers(problem.n, size=(fast.q - 1, fast.b))]
        box = reference.spi_mm(problem, start, batches[:40], fast.rho, fast.radius)
        for theta, v, ifo in box:
            fast.advance(steps=1)
            slow.advance(steps=1)
            np.testing.assert_allclose(fast.theta, theta, atol=1e-11)
            np.testing.assert_allclose(slow.theta, theta, atol=1e-11)
            np.testing.assert_allclose(fast.estimate(), v, atol=1e-11)
            assert fast.ifo == slow.ifo == ifo == slow.problem.ifo


def test_spider_rule_shortens_long_steps_only(data):
    problem = NonconvexLogistic(*data(), 0.1)
    run = create(problem, "SPIDER", theta_0=np.ones(problem.d), eps=1e-3)
    for _ in range(30):
        before = run.theta.copy()
        run.advance(steps=1)
        v = np.linalg.norm(run.estimate())
        expected = min(1e-3 / (problem.L * v), 1 / (2 * problem.L)) * v
        assert np.linalg.norm(run.theta - before) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", ["logistic", "pca"])
def test_full_batches_or_restarts_only_make_it_batch_mm(data, counting, loss):
    X, y = data()
    problem = NonconvexLogistic(X, y, 0.1) if loss == "logistic" else SparsePCA(X, 0.01)
    rho = 2 * problem.L
    batch = create(problem, "batch MM", step=problem.L_f / rho)
    batch.advance(steps=30)
    for wrap in (lambda p: p, counting):
        for options in ({"b": problem.n, "replacement": False}, {"q": 1}):
            run = create(wrap(problem), "SPI-MM", rho=rho, **options)
            run.advance(steps=30)
            np.testing.assert_allclose(run.theta, batch.theta, atol=1e-12)


def test_sparse_and_dense_data_give_the_same_path(data):
    X, y = data()
    for method in ("SPI-MM", "SPIDER", "SVRG", "SAGA", "MISO", "SMM", "SGD"):
        ends = [minimise(NonconvexLogistic(A, y, 0.01), method, passes=20).theta for A in (X, X.toarray())]
        np.testing.assert_allclose(*ends, atol=1e-10)


@given(n=st.integers(1, 40), b=st.integers(1, 7), q=st.integers(1, 9), budget=st.integers(0, 500))
@settings(max_examples=60)
def test_evaluations_are_counted_exactly(counting, n, b, q, budget):
    rng = np.random.default_rng(0)
    y = np.where(np.arange(n + 1) % 2, 1, -1)
    problem = NonconvexLogistic(rng.standard_normal((n + 1, 3)), y, 0.1)
    n, b = problem.n, min(b, problem.n)
    slow, fast = (create(p, "SPI-MM", b=b, q=q) for p in (counting(problem), problem))
    for run in (slow, fast):
        run.advance(ifo=budget)
    T = fast.t
    restarts = -(-T // q)
    assert fast.ifo == slow.ifo == slow.problem.ifo == n * restarts + 2 * b * (T - restarts)
    following = n if T % q == 0 else 2 * b
    assert fast.ifo <= budget < fast.ifo + following


def test_an_epoch_of_a9a_size_costs_97001_evaluations():
    class Idle:
        n, d, L, L_f, nonconvex_prox = 32561, 1, 1.0, 1.0, False

        def prox(self, z, rho, at):
            return z

        def gradient(self, theta):
            return np.zeros(1)

        def batch_gradient(self, theta, batch):
            return np.zeros(1)

    run = create(Idle(), "SPI-MM", theta_0=np.zeros(1))
    assert (run.b, run.q) == (180, 180)
    run.advance(steps=180)
    assert run.ifo == 97001 and run.ifo / 32561 == pytest.approx(2.979, abs=1e-3)


def test_counting_stored_gradients_once_halves_the_inner_cost(data):
    problem = NonconvexLogistic(*data(), 0.1)
    run = create(problem, "SPI-MM", b=4, q=10, ifo_per_pair=1)
    run.advance(steps=20)
    assert run.ifo == 2 * problem.n + 18 * 4


def test_restart_uses_the_full_gradient_itself(data):
    problem = NonconvexLogistic(*data(), 0.1)
    run = create(problem, "SPI-MM", q=4)
    for _ in range(12):
        run.advance(steps=1)
        if run.inner == 1:
            np.testing.assert_allclose(run.estimate(), problem.gradient(run.previous), atol=1e-15)


def test_loopless_restarts_come_with_probability_one_in_q(data, counting):
    problem = counting(NonconvexLogistic(*data(), 0.1))
    run, costs = create(problem, "SPI-MM", b=1, q=5, loopless=True, seed=1), []
    for _ in range(2000):
        before = run.ifo
        run.advance(steps=1)
        costs.append(run.ifo - before)
    share = np.mean(np.array(costs) == problem.n)
    assert set(costs) == {2, problem.n} and abs(share - 0.2) < 4 * np.sqrt(0.16 / 2000)
    assert run.ifo == problem.ifo


def test_online_restarts_average_a_batch(data, counting):
    problem = counting(NonconvexLogistic(*data(), 0.1))
    run = create(problem, "SPI-MM", b=2, q=3, restart_batch=20)
    run.advance(steps=3)
    assert run.ifo == problem.ifo == 20 + 2 * 2 * 2
    errors = []
    for seed in range(300):
        one = create(problem, "SPI-MM", seed=seed, restart_batch=20)
        one.advance(steps=1)
        errors.append(one.estimate() - problem.inner.gradient(one.previous))
    noise = np.std(errors, axis=0) / np.sqrt(300)
    assert (np.abs(np.mean(errors, axis=0)) <= 4 * noise + 1e-15).all() and noise.max() > 0


def test_same_seed_same_path_whatever_is_watched(data):
    problem = NonconvexLogistic(*data(), 0.01)
    once = minimise(problem, passes=30, seed=4)
    often = minimise(problem, passes=30, seed=4, checkpoints=np.arange(0, 30.01, 0.25))
    other = minimise(problem, passes=30, seed=5)
    np.testing.assert_array_equal(once.theta, often.theta)
    assert not np.allclose(once.theta, other.theta)


def test_random_iterate_is_uniform_over_the_path(data):
    problem = NonconvexLogistic(*data(), 0.1)
    steps, drawn = 12, []
    path = create(problem, "SPI-MM", b=3, q=4, seed=0)
    iterates = []
    for _ in range(steps):
        iterates.append(path.theta.copy())
        path.advance(steps=1)
    for other in range(1500):
        run = create(problem, "SPI-MM", b=3, q=4, seed=0)
        run._draw_xi = np.random.default_rng(other)
        run.advance(steps=7)
        run.advance(steps=5)
        drawn.append(next(k for k, x in enumerate(iterates) if np.array_equal(x, run.theta_xi)))
    counts = np.bincount(drawn, minlength=steps)
    assert np.abs(counts - 125).max() < 4.5 * np.sqrt(125)


def test_estimator_variance_and_path_length_stay_within_their_bounds():
    """E|e_t|^2 <= L^2/b times the path since the restart, and sum |step|^2 <= 2 Delta/L, means over seeds."""
    X, y = load_features("digits")
    problem = NonconvexLogistic(X, y, 0.01)
    epochs = 3
    errors, bounds, paths = [], [], []
    for seed in range(24):
        run = create(problem, "SPI-MM", seed=seed)
        error, bound, path, since = [], [], 0.0, 0.0
        for _ in range(epochs * run.q):
            run.advance(steps=1)
            if run.inner == 1 or run.q == 1:
                since = 0.0
            e = run.estimate() - problem.gradient(run.previous)
            error.append(e @ e)
            bound.append(problem.L**2 / run.b * since)
            moved = run.theta - run.previous
            since += moved @ moved
            path += moved @ moved
        errors.append(error)
        bounds.append(bound)
        paths.append(path)
    error, bound = np.mean(errors, axis=0), np.mean(bounds, axis=0)
    assert (error <= bound + 1e-20).all()
    assert error.max() > 1e-8  # it is noisy: the bound was not met by standing still
    assert np.mean(paths) <= 2 * problem.value(np.zeros(problem.d)) / problem.L


@pytest.mark.parametrize("penalty", [None, L1(1e-3)])
def test_a_step_almost_descends(penalty):
    """Step 2 of the proof's roadmap with the error that was made, on every step of a run: with the theorem's coefficient
    of the step's square, and not with ten times it."""
    X, y = load_features("digits")
    problem = NonconvexLogistic(X, y, 0.01, penalty=penalty)
    run, slack = create(problem, "SPI-MM", seed=3), []
    for _ in range(120):
        run.advance(steps=1)
        e, moved = run.estimate() - problem.gradient(run.previous), run.theta - run.previous
        ends = e @ e / (2 * problem.L) - problem.value(run.theta) + problem.value(run.previous)
        slack.append([ends - times * (run.rho - problem.L) * (moved @ moved) for times in (1, 10)])
    assert run.rho > problem.L
    true, tenfold = np.min(slack, axis=0)
    assert true >= -1e-12 and tenfold < -1e-3


def test_unguarded_parameters_overshoot_and_the_prescribed_ones_do_not():
    """b = 1, q = n needs a curvature of order L sqrt(n); with 2 L it leaves the start's level set."""
    problem = synthetic_logistic(4000)
    loose = minimise(problem, passes=12, b=1, q=problem.n)
    safe = minimise(problem, passes=12, b=1, q=problem.n, rho=problem.L * np.sqrt(problem.n))
    assert loose.objective.max() > loose.objective[0] + 0.5
    assert safe.objective.max() <= safe.objective[0]


def test_end_point_is_a_stationary_point_that_lbfgs_cannot_improve():
    problem = NonconvexLogistic(*load_features("breast_cancer"), 0.1)
    trace = minimise(problem, passes=600, checkpoints=[0, 600])
    assert trace.stationarity[-1] < 1e-6
    assert trace.objective[-1] - problem.value(lbfgs(problem, trace.theta)) < 1e-8
    assert trace.objective[-1] == pytest.approx(0.5586294318, abs=1e-8)


@pytest.mark.parametrize(
    "h", [LogSum(5e-3, 0.1), Linearised(LogSum(5e-3, 0.1)), MCP(2e-2, 30.0), Linearised(SCAD(2e-2))]
)
def test_sparse_logistic_solutions_are_sparse_and_stationary(h):
    problem = NonconvexLogistic(*load_features("breast_cancer"), regulariser="none", penalty=h)
    trace = minimise(problem, passes=3000, checkpoints=[0, 3000])
    assert trace.stationarity[-1] < 5e-3 * trace.stationarity[0]
    assert 0 < np.count_nonzero(trace.theta) < 15  # of 30: exact zeros
    assert trace.objective[-1] < 0.3 * trace.objective[0]


def test_a_finite_sum_of_ones_own(counting):
    """Robust regression through the protocol alone, against scipy."""
    from scipy.optimize import minimize

    from thesislib.spi_mm.finite_sum import FiniteSum

    rng = np.random.default_rng(0)
    A = rng.standard_normal((300, 4))
    b = A @ [1.0, -2.0, 0.0, 3.0] + 0.1 * rng.standard_normal(300)
    b[:60] += 30 * rng.standard_normal(60)

    class Welsch(FiniteSum):
        n, d, L = 300, 4, float(np.max(np.sum(A**2, axis=1)))

        def value(self, theta):
            return float(np.mean(1 - np.exp(-0.5 * (A @ theta - b) ** 2)))

        def gradient(self, theta):
            return self.batch_gradient(theta, np.arange(300))

        def batch_gradient(self, theta, batch):
            r = A[batch] @ theta - b[batch]
            return A[batch].T @ (r * np.exp(-0.5 * r**2)) / len(batch)

    problem = Welsch()
    start = np.linalg.lstsq(A, b, rcond=None)[0]
    best = minimize(problem.value, start, jac=problem.gradient, tol=1e-12)
    for method in ("SPI-MM", "SPIDER", "SVRG", "SAGA", "SMM", "SGD", "MISO", "batch MM"):
        trace = minimise(problem, method, passes=150, theta_0=start, checkpoints=[0, 150])
        assert trace.objective[-1] < trace.objective[0]
        if method == "SPI-MM":
            assert trace.objective[-1] == pytest.approx(best.fun, abs=1e-8)
            np.testing.assert_allclose(trace.theta, [1, -2, 0, 3], atol=0.1)


def test_scaling_with_n():
    """Published nowhere; measured once with another implementation: 22848, 42208, 84920 at 1e-2."""
    found = {}
    for method, n in itertools.product(("SPI-MM", "batch MM"), (1000, 4000, 16000)):
        problem = synthetic_logistic(n)
        run = create(problem, method)
        while problem.stationarity(run.theta) > 1e-2:
            run.advance(steps=4)
        found[method, n] = run.ifo
    assert [found["SPI-MM", n] for n in (1000, 4000, 16000)] == [22848, 42208, 84920]
    logs = np.log([1000, 4000, 16000])
    slope = {
        m: np.polyfit(logs, np.log([found[m, n] for n in (1000, 4000, 16000)]), 1)[0]
        for m in ("SPI-MM", "batch MM")
    }
    assert 0.35 < slope["SPI-MM"] < 0.6 and 0.85 < slope["batch MM"] < 1.05


def test_factorisation_of_digits_ends_in_the_range_seen_before():
    problem = SparseFactorisation(load_features("digits")[0], centre=True)
    trace = minimise(problem, passes=40, rho=2.0, checkpoints=[0, 40])
    assert trace.objective[0] == pytest.approx(4.273129, abs=1e-6)
    assert 1.75 < trace.objective[-1] < 1.83
    assert np.linalg.norm(trace.theta.reshape(64, 10), axis=0).max() <= 1 + 1e-12


def test_a_penalty_of_ones_own_runs_through_the_plain_loops(data):
    class Mine(L1):
        """Known to no compiled loop."""

    X, y = data()

    class Tangent(Linearised):
        """May have a prox of its own."""

    tangent = Linearised(L1(0.01))
    for h, mine in ((L1(0.01), Mine(0.01)), (tangent, Linearised(Mine(0.01))), (tangent, Tangent(L1(0.01)))):
        known, own = (NonconvexLogistic(X, y, penalty=p) for p in (h, mine))
        for method in METHODS:
            ends = [minimise(p, method, passes=5, checkpoints=[5]).theta for p in (known, own)]
            np.testing.assert_allclose(*ends, atol=1e-11)
        assert create(own, "SPI-MM").model is None and create(known, "SPI-MM").model is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"b": 10**6}, "b, restart_batch <= n"),
        ({"b": 0}, "b = 0; expected a whole number"),
        ({"q": 2.5}, "q = 2.5; expected a whole number"),
        ({"restart_batch": 20.5}, "restart_batch = 20.5; expected a whole number"),
        ({"rho": 0.0}, "rho = 0.0 must be positive"),
        ({"q": -1}, "q = -1; expected"),
        ({"restart_batch": 10**6}, "restart_batch <= n"),
        ({"rule": "newton"}, "rule = 'newton'"),
        ({"ifo_per_pair": 3}, "ifo_per_pair = 3"),
        ({"rho": -1.0}, "rho = -1.0 must be positive"),
        ({"theta_0": np.zeros(3)}, r"theta_0 has shape \(3,\)"),
    ],
)
def test_impossible_options_are_refused(data, options, words):
    with pytest.raises(ValueError, match=words):
        minimise(NonconvexLogistic(*data()), passes=1, **options)


@pytest.mark.parametrize("options", [{}, {"steps": np.nan}, {"ifo": np.nan, "steps": 3}])
def test_a_run_without_an_end_is_refused(data, options):
    with pytest.raises(ValueError, match="give a number for one or both"):
        create(NonconvexLogistic(*data()), "SPI-MM").advance(**options)


def test_a_curvature_without_a_prox_is_refused_before_the_first_step(data):
    X, y = data()
    problem = NonconvexLogistic(X, y, regulariser="none", penalty=MCP(0.1, 2.5))
    with pytest.raises(ValueError, match=r"gamma \* rho > 1"):
        minimise(problem, passes=1, rho=0.3)
