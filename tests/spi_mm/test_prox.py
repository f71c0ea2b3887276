"""Proximal operators against search, and the compiled ones against these."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.spi_mm import kernels
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.prox import (
    L1,
    MCP,
    SCAD,
    Exponential,
    Linearised,
    LogSum,
    NonNegativeBall,
    SparseBall,
    Zero,
)
from thesislib.spi_mm.sparse_pca import SparsePCA

weights = st.floats(0.01, 2.0)
curvatures = st.floats(0.6, 5.0)
points = st.floats(-5.0, 5.0)
penalties = st.one_of(
    st.builds(L1, weights),
    st.builds(LogSum, weights, st.floats(0.05, 2.0)),
    st.builds(MCP, weights, st.floats(2.0, 6.0)),
    st.builds(SCAD, weights, st.floats(3.0, 6.0)),
)


@given(penalty=penalties, z=points, rho=curvatures)
@settings(max_examples=150)
def test_prox_of_each_penalty_beats_a_dense_grid(penalty, z, rho):
    def objective(x):
        return penalty.phi(np.abs(x)) + 0.5 * rho * (x - z) ** 2

    x = penalty.prox(np.array([z]), rho)
    grid = np.linspace(-abs(z) - 1, abs(z) + 1, 100_001)
    assert objective(x)[0] <= objective(grid).min() + 1e-9
    assert x[0] * z >= 0 and abs(x[0]) <= abs(z) * (1 + 1e-12)  # rounding


def test_a_tie_of_the_log_sum_prox_goes_to_zero():
    penalty, rho = LogSum(1.0, 0.1), 1.0

    def advantage(z):  # of the larger stationary point over zero
        x = (z - 0.1 + np.sqrt((z + 0.1) ** 2 - 4)) / 2
        return 0.5 * z**2 - 0.5 * (x - z) ** 2 - np.log1p(x / 0.1)

    low, high = 1.9, 5.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if advantage(middle) < 0 else (low, middle)
    assert penalty.prox(np.array([low]), rho)[0] == 0
    assert penalty.prox(np.array([high * (1 + 1e-9)]), rho)[0] > 1


@given(lam=weights, rho=curvatures, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_prox_on_the_ball_beats_random_feasible_points(lam, rho, seed):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(3) * rng.choice([0.3, 2.0])
    tries = rng.standard_normal((20_000, 3))
    tries *= (rng.random(20_000) ** (1 / 3) / np.linalg.norm(tries, axis=1))[:, None]
    for h, weight in ((SparseBall(lam), lam), (NonNegativeBall(), 0.0)):
        x = h.prox(z, rho)
        assert np.linalg.norm(x) <= 1 + 1e-12 and np.isfinite(h.value(x))
        near = x + 1e-3 * tries[:2000]  # close by is where a slip would show
        near /= np.maximum(1.0, np.linalg.norm(near, axis=1))[:, None]
        feasible = np.concatenate([tries, near])
        feasible = np.abs(feasible) if isinstance(h, NonNegativeBall) else feasible
        rivals = weight * np.abs(feasible).sum(axis=1) + 0.5 * rho * ((feasible - z) ** 2).sum(axis=1)
        assert h.value(x) + 0.5 * rho * np.sum((x - z) ** 2) <= rivals.min() + 1e-9


@given(
    penalty=st.one_of(penalties, st.builds(Exponential, weights, st.floats(0.5, 6.0))),
    at=points,
    u=points,
)
def test_slopes_give_tangents_that_majorise(penalty, at, u):
    at, u = abs(at), abs(u)
    tangent = penalty.phi(np.array(at)) + penalty.slope(np.array(at)) * (u - at)
    assert tangent >= penalty.phi(np.array(u)) - 1e-12
    step = 1e-7
    rise = penalty.phi(np.array(at + step)) - penalty.phi(np.array(at))
    assert rise / step == pytest.approx(float(penalty.slope(np.array(at))), rel=1e-4, abs=1e-6)


@given(penalty=penalties, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_distance_vanishes_exactly_at_fixed_points_of_the_prox(penalty, seed):
    """If x = prox(x - g/rho) then 0 is in g + dh(x)."""
    rng = np.random.default_rng(seed)
    z = 3 * rng.standard_normal(6)
    x = penalty.prox(z, 2.0)
    assert penalty.distance(x, 2.0 * (x - z)) <= 1e-9
    kink = float(penalty.slope(np.array(0.0)))  # at 0 any gradient within the kink is stationary
    assert penalty.distance(x, 2.0 * (x - z) + 10.0 + 2 * kink) > 1.0


@given(penalty=penalties, rho=curvatures, seed=st.integers(0, 2**32 - 1), linearise=st.booleans())
@settings(max_examples=60)
def test_compiled_prox_agrees(penalty, rho, seed, linearise):
    rng = np.random.default_rng(seed)
    h = Linearised(penalty) if linearise else penalty
    X = rng.standard_normal((2, 7))
    logistic = NonconvexLogistic(X, [0, 1], regulariser="none", penalty=h, normalise=False)
    check_compiled(logistic, rho, rng)


@pytest.mark.parametrize("h", [Zero(), Linearised(Exponential(0.3, 2.0)), SparseBall(0.2), NonNegativeBall()])
def test_compiled_prox_agrees_for_the_rest(h):
    rng = np.random.default_rng(0)
    problem = SparsePCA(rng.standard_normal((5, 7)), 0.2)
    problem.h = h
    for rho in (0.5, 1.0, 4.0):
        check_compiled(problem, rho, rng)


def check_compiled(problem, rho, rng):
    m = kernels.model(problem)
    for scale in (0.1, 1.0, 3.0):
        theta, v = scale * rng.standard_normal((2, problem.d))
        gradient = v + problem.smooth_gradient(theta)
        expected = problem.prox(theta - gradient / rho, rho, theta)
        np.testing.assert_allclose(moved(m, theta, v, rho), expected, atol=1e-14)
        settled = v.copy()
        kernels._prox(m, settled, rho, theta)
        np.testing.assert_allclose(settled, problem.prox(v, rho, theta), atol=1e-14)


def moved(m, theta, v, rho):
    out = np.empty_like(theta)
    kernels._move(m, theta, v, rho, out)
    return out


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: L1(-1.0), "lam = -1.0"),
        (lambda: LogSum(0.1, 0.0), "eps = 0.0"),
        (lambda: MCP(np.nan), "lam = nan"),
        (lambda: SCAD(0.1, 1.5), "a = 1.5 must exceed 2"),
        (lambda: SparseBall(-1.0), "lam = -1.0"),
        (lambda: SparseBall(np.nan), "lam = nan"),
        (lambda: MCP(0.1, 0.5).prox(np.ones(1), 1.0), r"gamma \* rho > 1"),
        (lambda: SCAD(0.1, 2.1).prox(np.ones(1), 0.5), r"\(a - 1\) \* rho > 1"),
        (lambda: Exponential(0.1).prox(np.ones(1), 1.0), "Linearised"),
    ],
)
def test_penalties_refuse_what_has_no_prox(build, words):
    with pytest.raises(ValueError, match=words):
        build()
