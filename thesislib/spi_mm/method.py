"""What the methods share: whole steps, counted evaluations, a uniformly drawn iterate (thesis, section 6.3)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Integral

import numpy as np

from thesislib.spi_mm.finite_sum import FiniteSum, LinearSum


def start_of(problem: FiniteSum, theta: np.ndarray | None = None) -> np.ndarray:
    """A copy of `theta`, or the problem's own start if it is None, checked; shape (d,).

    Parameters
    ----------
    problem : FiniteSum
    theta : array, shape (d,), or None

    Raises
    ------
    ValueError
        If the shape is another or an entry is not finite.
    """
    theta = np.array(problem.start() if theta is None else theta, dtype=float)
    if theta.shape != (problem.d,) or not np.isfinite(theta).all():
        raise ValueError(f"theta_0 has shape {theta.shape}, expected ({problem.d},) with finite entries")
    return theta


class Method(ABC):
    r"""One run of a method on one problem: its state, and how it moves.

    Parameters
    ----------
    problem : FiniteSum
    theta : array, shape (d,)
        Where to start; copied.
    rng : numpy.random.Generator
        Draws the samples.

    Attributes
    ----------
    theta : array, shape (d,)
        Current iterate.
    theta_xi : array, shape (d,)
        One of the iterates so far, the current one excluded, drawn uniformly: the output that convergence
        theorems for non-convex sums speak of.
    ifo : int
        Evaluations of a pair :math:`(f_i, \nabla f_i)` so far; checkpoint evaluations are not the method's.
    t : int
        Steps so far.
    """

    def __init__(self, problem: FiniteSum, theta: np.ndarray, rng: np.random.Generator) -> None:
        theta = start_of(problem, theta)
        if not (math.isfinite(problem.L) and problem.L > 0):
            raise ValueError(f"the problem's smoothness L is {problem.L!r}; expected a finite number above 0")
        self.problem, self.theta, self.rng = problem, theta, rng
        self._draw_xi = rng.spawn(1)[0]  # a stream of its own, so that drawing xi leaves the path alone
        self.theta_xi = theta.copy()
        self.ifo = self.t = 0
        self.model = None
        if isinstance(problem, LinearSum):
            from thesislib.spi_mm import kernels  # here, so that a problem of one's own needs no compiler

            self.model = kernels.model(problem)

    @abstractmethod
    def phase(self) -> tuple[int, int]:
        """Evaluations that the next step costs, and how many steps of that cost follow one another."""

    @abstractmethod
    def run(self, steps: int) -> None:
        """Do `steps` steps of the present phase."""

    def advance(self, *, ifo: float = math.inf, steps: float = math.inf) -> None:
        """Do as many whole steps as fit into a total of `ifo` evaluations, and at most `steps` more.

        Raises
        ------
        ValueError
            If neither is given, or `steps` is not whole, or negative.
        """
        if not min(ifo, steps) < math.inf or math.isnan(max(ifo, steps)):
            raise ValueError(f"ifo = {ifo!r}, steps = {steps!r}; give a number for one or both")
        if steps < 0 or (steps < math.inf and steps != int(steps)):
            raise ValueError(f"steps = {steps!r}; expected whole steps, 0 or more")
        stop = self.t + steps
        while True:
            cost, alike = self.phase()
            count = int(min(alike, (ifo - self.ifo) // cost, stop - self.t))
            if count < 1:
                return
            # Reservoir sampling by blocks: xi falls into this one with probability count/(t + count).
            before = int(self._draw_xi.integers(self.t + count)) - self.t
            if before >= 0:
                self._do(before, cost)
                self.theta_xi = self.theta.copy()
                self._do(count - before, cost)
            else:
                self._do(count, cost)

    def _do(self, steps: int, cost: int) -> None:
        if steps:
            self.run(steps)
            self.t += steps
            self.ifo += steps * cost

    def batches(self, steps: int, size: int) -> np.ndarray:
        """Indices drawn uniformly with replacement, shape (steps, size)."""
        return self.rng.integers(self.problem.n, size=(steps, size))

    def step_from(self, theta: np.ndarray, gradient: np.ndarray, rho: float) -> np.ndarray:
        r"""Minimiser of :math:`\langle v,x\rangle+\frac\rho2\|x-\theta\|^2+\tilde h(x)`.

        Parameters
        ----------
        theta, gradient : array, shape (d,)
        rho : float
            Curvature, positive.
        """
        return self.problem.prox(theta - gradient / rho, rho, theta)

    @staticmethod
    def at_least(low: int, **values: float) -> None:
        """Refuse options by name.

        Parameters
        ----------
        low : int
        **values : float
            Options and what was given for them.

        Raises
        ------
        ValueError
            If one is not a finite number from `low` on.
        """
        for name, value in values.items():
            if not (math.isfinite(value) and value >= low):
                raise ValueError(f"{name} = {value!r}; expected {low} or more")

    @staticmethod
    def whole(**values: int) -> None:
        """Refuse options that are no whole number from 1 on.

        Parameters
        ----------
        **values : int
            Options and what was given for them.

        Raises
        ------
        ValueError
            With the name of the first one that is not.
        """
        for name, value in values.items():
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} = {value!r}; expected a whole number, 1 or more")

    def batch_size(self, b: int | None, default: int) -> int:
        """`b`, or if it is None the default, which a small problem shortens to n.

        Parameters
        ----------
        b : int or None
        default : int

        Raises
        ------
        ValueError
            If `b` is no whole number from 1 to n.
        """
        b = min(default, self.problem.n) if b is None else b
        self.whole(b=b)
        if b > self.problem.n:
            raise ValueError(f"need b <= n = {self.problem.n}; got {b}")
        return b

    def curvature(self, rho: float) -> float:
        """`rho`, after the problem's prox had its chance to refuse it."""
        if not (np.isfinite(rho) and rho > 0):
            raise ValueError(f"curvature rho = {rho!r} must be positive and finite")
        self.problem.prox(self.theta, rho, self.theta)
        return float(rho)
