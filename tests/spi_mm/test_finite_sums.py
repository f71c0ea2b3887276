"""The problems: gradients, constants, optima, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import approx_fprime

from thesislib.datasets import load_features
from thesislib.spi_mm import kernels, prox
from thesislib.spi_mm.design import design_matrix, signs
from thesislib.spi_mm.finite_sum import LinearSum
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.minimise import METHODS, lbfgs, minimise
from thesislib.spi_mm.sparse_pca import SparseFactorisation, SparsePCA
from thesislib.spi_mm.synthetic import Wells


def problems(X, y):
    dense = X.toarray()
    yield NonconvexLogistic(X, y, 0.1)
    yield NonconvexLogistic(dense, y, 0.1, regulariser="l2", normalise=False)
    yield NonconvexLogistic(X, y, regulariser="none", penalty=prox.LogSum(0.01))
    yield SparsePCA(X, 0.01)
    yield SparsePCA(dense, 0.01, centre=True)
    yield SparseFactorisation(X, K=3, L=1.0)
    yield SparseFactorisation(dense, K=2, L=1.0, centre=True)
    yield Wells()


def test_gradients_agree_with_central_differences(data):
    rng = np.random.default_rng(0)
    for problem in problems(*data()):
        for _ in range(20):
            theta = 0.3 * rng.standard_normal(problem.d)
            batch = rng.integers(problem.n, size=5)
            for i in batch:
                near = [theta + 1e-5 * e for e in np.eye(problem.d)]
                far = [theta - 1e-5 * e for e in np.eye(problem.d)]
                rises = [
                    component(problem, a, i) - component(problem, b, i)
                    for a, b in zip(near, far, strict=True)
                ]
                expected = problem.batch_gradient(theta, np.array([i]))
                np.testing.assert_allclose(np.array(rises) / 2e-5, expected, rtol=1e-6, atol=1e-8)
            one_by_one = np.mean([problem.batch_gradient(theta, np.array([i])) for i in batch], axis=0)
            np.testing.assert_allclose(problem.batch_gradient(theta, batch), one_by_one, atol=1e-12)
            np.testing.assert_allclose(
                problem.component_gradients(theta, batch).mean(axis=0), one_by_one, atol=1e-12
            )
            everything = problem.batch_gradient(theta, np.arange(problem.n))
            np.testing.assert_allclose(problem.gradient(theta), everything, atol=1e-12)


def component(problem, theta, i):
    """f_i, by a route of its own for the factorisation: the minimum over the code is a ridge regression."""
    if not isinstance(problem, SparseFactorisation):
        return problem.components(theta)[i]
    D, x = theta.reshape(-1, problem.K), problem.X[[i]]
    x = (x.toarray() if sparse.issparse(x) else x)[0]
    # min 1/2|x - D a|^2 + mu/2 |a|^2 = mu/2 x' (D D' + mu I)^-1 x
    return 0.5 * problem.ridge * x @ np.linalg.solve(D @ D.T + problem.ridge * np.eye(len(x)), x)


def test_value_is_the_mean_of_the_components_plus_the_penalty(data):
    rng = np.random.default_rng(1)
    for problem in problems(*data()):
        theta = 0.2 * rng.standard_normal(problem.d)
        mean = np.mean([component(problem, theta, i) for i in range(problem.n)])
        h = (
            problem.penalty(theta.reshape(-1, problem.K))
            if isinstance(problem, SparseFactorisation)
            else problem.h.value(theta)
        )
        assert problem.value(theta) == pytest.approx(mean + h, abs=1e-12)


def test_curvatures_of_loss_and_regulariser_stay_within_their_constants():
    m = np.linspace(-20, 20, 400_001)
    logistic = NonconvexLogistic(np.array([[1.0], [1.0]]), [1, -1], 1.0)
    second = np.gradient(logistic.slopes(m, np.ones_like(m)), m)
    assert second.max() == pytest.approx(0.25, abs=1e-6) and second.min() >= -1e-12
    many = NonconvexLogistic(np.eye(2), [1, -1], 1.0)
    r = np.array([many.smooth_gradient(np.array([t, 0.0]))[0] for t in m[::40]])
    bend = np.gradient(r, m[::40])
    assert bend.max() == pytest.approx(2, abs=1e-3) and bend.min() == pytest.approx(-0.5, abs=1e-3)
    assert pytest.approx(0.25 + 2.0) == many.L and many.smooth_curvature == 2.0


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_smoothness_constants_bound_gradient_differences(data, seed):
    X, y = data()
    rng = np.random.default_rng(seed)
    scale = 10 ** rng.uniform(-3, 1)
    for problem in (NonconvexLogistic(X, y, 0.1, normalise=False), SparsePCA(X, 0.0), Wells()):
        a = rng.standard_normal(problem.d)
        b = a + scale * rng.standard_normal(problem.d)
        every, gap2 = np.arange(problem.n), np.sum((a - b) ** 2)
        change = problem.component_gradients(a, every) - problem.component_gradients(b, every)
        assert np.mean(np.sum(change**2, axis=1)) <= problem.L**2 * gap2 * (1 + 1e-9)
        assert np.sum(change.mean(axis=0) ** 2) <= problem.L_f**2 * gap2 * (1 + 1e-9)


def test_sparse_and_dense_data_give_the_same_problem(data):
    X, y = data()
    theta = np.random.default_rng(0).standard_normal(X.shape[1])
    pairs = [
        [NonconvexLogistic(A, y, 0.1) for A in (X, X.toarray())],
        [SparsePCA(A, 0.1, normalise=True) for A in (X, X.toarray())],
        [SparseFactorisation(A, K=1, L=1.0) for A in (X, X.toarray())],
    ]
    for thin, full in pairs:
        assert sparse.issparse(thin.X) and isinstance(full.X, np.ndarray)
        assert thin.value(theta / 9) == pytest.approx(full.value(theta / 9), abs=1e-13)
        np.testing.assert_allclose(thin.gradient(theta), full.gradient(theta), atol=1e-13)
        assert (thin.L, thin.L_f) == pytest.approx((full.L, full.L_f), rel=1e-9)


def test_empty_rows_are_normalised_without_dividing_by_zero(data):
    X, y = data()
    before = X.copy()
    for A in (X, X.toarray()):
        norms = np.sqrt(NonconvexLogistic(A, y).row_norms2)
        assert norms[0] == norms[-1] == 0
        np.testing.assert_allclose(norms[norms > 0], 1, atol=1e-15)
    assert (before != X).nnz == 0  # the caller's matrix is left alone


LOGISTIC = {
    ("breast_cancer", 0.1): 0.5586294318,
    ("breast_cancer", 0.01): 0.1242925535,
    ("breast_cancer", 0.001): 0.0587736655,
    ("digits", 0.1): 0.6803862079,
    ("digits", 0.01): 0.3492609765,
    ("digits", 0.001): 0.2070205415,
}


@pytest.mark.parametrize(("name", "lam"), LOGISTIC)
def test_lbfgs_optima_of_logistic_regression(name, lam):
    problem = NonconvexLogistic(*load_features(name), lam)
    theta = lbfgs(problem)
    assert problem.value(theta) == pytest.approx(LOGISTIC[name, lam], abs=1e-9)
    assert problem.stationarity(theta) < 1e-8


@pytest.mark.parametrize(("lam", "value", "nonzeros"), [(0.05, -0.11927021, 22), (0.01, -0.29661606, 43)])
def test_optima_of_sparse_pca_on_digits(lam, value, nonzeros):
    problem = SparsePCA(load_features("digits")[0], lam, centre=True)
    assert problem.L_f == pytest.approx(0.69886, abs=1e-5)
    assert pytest.approx(4.7946, abs=1e-4) == problem.L
    assert problem.row_norms2.max() == pytest.approx(9.0056, abs=1e-4)
    trace = minimise(problem, passes=150)
    assert trace.objective[-1] == pytest.approx(value, abs=1e-8)
    assert np.count_nonzero(trace.theta) == nonzeros
    assert np.linalg.norm(trace.theta) <= 1 + 1e-12


def test_zero_traps_sparse_pca_and_the_default_start_avoids_it():
    problem = SparsePCA(load_features("digits")[0], 0.05, centre=True)
    trapped = minimise(problem, passes=5, theta_0=np.full(problem.d, 1e-3))
    assert (trapped.theta == 0).all() and trapped.objective[-1] == 0 and trapped.stationarity[-1] == 0
    assert problem.value(problem.start()) < 0


def test_starting_value_of_the_factorisation_of_digits():
    problem = SparseFactorisation(load_features("digits")[0], centre=True, L=1.0)
    assert problem.value(problem.start()) == pytest.approx(4.273129, abs=1e-6)


def test_statistics_of_the_factorisation_are_those_of_the_codes(data):
    problem = SparseFactorisation(data()[0].toarray(), K=3, L=1.0)
    D = np.random.default_rng(0).standard_normal((problem.rows, 3))
    A, B = problem.statistics(D)
    codes = problem.codes(D)
    for x, a in zip(problem.X, codes, strict=True):  # optimality of each code
        np.testing.assert_allclose(D.T @ (D @ a - x) + problem.ridge * a, 0, atol=1e-12)
    np.testing.assert_allclose(A, A.T, atol=1e-15)
    assert np.linalg.eigvalsh(A).min() >= -1e-15
    np.testing.assert_allclose(B, sum(map(np.outer, problem.X, codes)) / problem.n, atol=1e-14)


def test_measured_smoothness_of_the_factorisation_is_that_of_its_steepest_direction():
    problem = SparseFactorisation(load_features("digits")[0][:400, 10:30], K=3, centre=True)
    theta, every, step = problem.start(), np.arange(problem.n), 1e-4
    sides = [
        [problem.component_gradients(theta + sign * step * e, every) for sign in (1, -1)]
        for e in np.eye(problem.d)
    ]
    hessians = np.stack([(up - down) / (2 * step) for up, down in sides])  # (direction, component, gradient)
    moments = np.einsum("inj,knj->ik", hessians, hessians) / problem.n
    steepest = np.sqrt(
        np.linalg.eigvalsh(moments)[-1]
    )  # the mean-squared smoothness at the start, of all directions
    assert 0.7 * steepest < problem.L < 1.5 * steepest
    of_the_mean = np.abs(np.linalg.eigvalsh(hessians.mean(axis=1))).max()
    assert 0.7 * of_the_mean < problem.L_f < 1.5 * of_the_mean and problem.L_f < 0.7 * problem.L
    blind = np.sqrt(np.trace(moments) / problem.d)  # of a random direction, in the mean
    assert blind < 0.5 * steepest


@pytest.mark.parametrize("written", [(-1, 1), (0, 1), (1, 2), (False, True), (1.0, 2.0)])
def test_labels_become_signs(written):
    np.testing.assert_array_equal(signs([written[0], written[1], written[0]], 3), [-1, 1, -1])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, 2], "0, 1, 2; expected two classes"),
        ([3, 7, 3], "3, 7; expected two classes"),
        ([1, 1, 1], "labels 1; expected two classes"),
        ([0, 1], r"shape \(2,\), but X has 3 rows"),
    ],
)
def test_other_labels_are_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        NonconvexLogistic(np.eye(3), labels)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        ([[1.0, np.nan], [np.inf, 0.0]], "2 entries that are NaN or infinite"),
        (sparse.csr_array([[1.0, np.nan], [1.0, 0.0]]), "1 entries that are NaN or infinite"),
        (np.ones(4), r"shape \(4,\)"),
        (np.ones((0, 3)), r"shape \(0, 3\)"),
        (np.array([[1e170], [1.0]]), "1 rows whose squares overflow or vanish"),
        (sparse.csr_array([[1e-170], [0.0]]), "1 rows whose squares overflow or vanish"),
    ],
)
def test_bad_features_are_refused(X, words):
    with pytest.raises(ValueError, match=words):
        NonconvexLogistic(X, [0, 1])


class Squared(LinearSum):
    """Least squares: a loss of the reader's own."""

    L = 1.0

    def losses(self, margins, y):
        return (margins - y) ** 2 / 2

    def slopes(self, margins, y):
        return margins - y


@pytest.mark.parametrize("layout", [sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.lil_array])
@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (5, 5)])
def test_a_linear_sum_takes_sparse_rows_in_any_layout(layout, shape):
    rng = np.random.default_rng(0)
    dense = rng.standard_normal(shape) * (rng.random(shape) < 0.6)
    y = rng.standard_normal(shape[0])
    expected, problem = Squared(dense, y), Squared(layout(dense), y)
    theta = rng.standard_normal(shape[1])
    assert problem.value(theta) == pytest.approx(expected.value(theta))
    for method in ("SPI-MM", "SAGA", "SGD"):
        mine, theirs = (minimise(p, method, passes=3, step=0.1).theta for p in (problem, expected))
        np.testing.assert_allclose(mine, theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("y", "words"), [(np.zeros(3), r"shape \(3,\); expected \(4,\)"), ([0, 1, np.nan, 2], "finite")]
)
def test_a_linear_sum_refuses_targets_that_its_rows_have_not(y, words):
    with pytest.raises(ValueError, match=words):
        Squared(np.eye(4), y)
    with pytest.raises(ValueError, match="1 entries that are NaN"):
        Squared([[1.0, np.nan]], [0.0])


@pytest.mark.parametrize("method", [m for m in METHODS if m != "SPIDER"])  # its step has a length of its own
def test_a_subclass_with_a_loss_of_its_own_is_not_minimised_as_its_parent(data, method):
    X, y = data()

    class Twice(NonconvexLogistic):
        """Twice the logistic loss; the parent's loops are compiled for once."""

        def losses(self, margins, y):
            return 2 * super().losses(margins, y)

        def slopes(self, margins, y):
            return 2 * super().slopes(margins, y)

    class Same(NonconvexLogistic):
        pass

    plain = NonconvexLogistic(X, y, 0.0)
    assert kernels.model(Same(X, y)) is not None and kernels.model(Twice(X, y)) is None
    # Half the step on twice the sum is the same step (`L` is the parent's, and not in question here).
    mine, theirs = (
        minimise(p, method, passes=4, seed=2, step=s).theta
        for p, s in ((Twice(X, y, 0.0), 0.5), (plain, 1.0))
    )
    np.testing.assert_allclose(mine, theirs, atol=1e-10)


def test_impossible_parameters_are_refused(data):
    X, y = data()
    with pytest.raises(ValueError, match="centring would make a sparse X dense"):
        design_matrix(X, centre=True)
    with pytest.raises(ValueError, match="lam = -1"):
        NonconvexLogistic(X, y, -1)
    with pytest.raises(ValueError, match="is not one of none, geman_mcclure, l2"):
        NonconvexLogistic(X, y, regulariser="ridge")
    with pytest.raises(ValueError, match="zero for non-negative"):
        SparsePCA(X, 0.1, non_negative=True)
    with pytest.raises(ValueError, match="all 3 rows of X are zero"):
        SparsePCA(np.ones((3, 2)), centre=True).start()
    with pytest.raises(ValueError, match="K = 0"):
        SparseFactorisation(X, K=0)
    with pytest.raises(ValueError, match=r"whole K from 1 to n .* got K = 2\.5"):
        SparseFactorisation(X, K=2.5)
    with pytest.raises(ValueError, match=r"finite; got .* ridge = inf"):
        SparseFactorisation(X, ridge=np.inf)
    with pytest.raises(
        ValueError, match="K = 3 loadings start at as many rows of X, of which 2 are not zero"
    ):
        SparseFactorisation(np.eye(4)[:2].repeat([1, 3], axis=0) * [[1], [1], [0], [0]], K=3)
    with pytest.raises(TypeError, match="h = 'l1' has no value, prox"):
        NonconvexLogistic(X, y, penalty="l1")
    with pytest.raises(TypeError, match="penalty is SparseBall"):
        prox.Linearised(prox.SparseBall(0.1))
    for problem in (NonconvexLogistic(X, y, penalty=prox.L1(0.1)), SparseFactorisation(X, K=2)):
        with pytest.raises(ValueError, match="non-smooth term, which L-BFGS"):
            lbfgs(problem)


def test_numerical_gradient_of_the_factorisation_by_a_third_route():
    """The derivative of the optimal value, not of the formula with frozen codes (Danskin)."""
    rng = np.random.default_rng(3)
    problem = SparseFactorisation(rng.standard_normal((7, 4)), K=2, L=1.0, lam=0.0)
    theta = 0.3 * rng.standard_normal(8)
    numeric = approx_fprime(theta, problem.value, 1e-7)
    np.testing.assert_allclose(problem.gradient(theta), numeric, atol=1e-6)
