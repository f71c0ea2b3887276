r"""SPI-MM: majorization-minimisation with a stochastic path-integrated surrogate (thesis, section 6.3.3).

Classical MM minimises a majorant that touches the objective at the current iterate; that costs n evaluations
a step. SPI-MM keeps a surrogate :math:`\bar g_t` that is a majorant only *in expectation* and follows the
path: every q steps it is the classical one, in between each step adds the change of b sampled component
surrogates,

.. math::

    \bar g_t=\bar g_{t-1}+\frac1b\sum_{i\in S_t}(g_t^i-g_{t-1}^i)+\tilde h_t-\tilde h_{t-1},
    \qquad \theta_{t+1}=\arg\min\bar g_t .

With the Lipschitz surrogates used here :math:`\bar g_t` is known by its gradient
:math:`v_t` at :math:`\theta_t` (SPIDER's estimator) and a constant that does not move the minimiser, so the
step is :math:`\theta_{t+1}=\mathrm{prox}_{\tilde h_t/\rho}(\theta_t-v_t/\rho)`. The surrogate itself, as a
function that can be evaluated, is :class:`thesislib.spi_mm.surrogates.PathIntegrated`. The algorithm box was
not available: this is the reconstruction under which "bounding in expectation" holds at every point.
"""

from __future__ import annotations

import math

import numpy as np

from thesislib.spi_mm.finite_sum import FiniteSum
from thesislib.spi_mm.method import Method


class SPIMM(Method):
    r"""The SPI-MM algorithm; also SPIDER, whose step is the same but for its length.

    A step costs n evaluations at a restart and 2b otherwise; an epoch of q steps n + 2b(q - 1).

    Parameters
    ----------
    problem, theta, rng
        As in :class:`~thesislib.spi_mm.method.Method`.
    step : float
        Multiplier of the step that theory prescribes.
    rho : float or None
        Curvature of the surrogate; 2L by default, 4L if the prox of a non-convex :math:`h` is exact.
    b, q : int or None
        Mini-batch and restart period; both :math:`\sqrt n`, rounded, by default.
    rule : {"constant", "spider"}
        Step 1/rho, or SPIDER's :math:`\min(\epsilon/(L\|v\|), 1/(2L))`.
    eps : float or None
        Target accuracy, used by the rule ``"spider"`` alone; 0.04 L by default (a step is then at most 0.04
        long), which is about 1e-2 for logistic regression on unit rows with a small lambda.
    replacement : bool
        Draw mini-batches with replacement.
    loopless : bool
        Restart with probability 1/q a step instead of every q steps.
    restart_batch : int or None
        Components averaged at a restart (without replacement); all n by default. Fewer suit streams.
    ifo_per_pair : {2, 1}
        Evaluations counted for a component at both ends of a step; 1 if the earlier one is thought stored.
    """

    def __init__(
        self,
        problem: FiniteSum,
        theta: np.ndarray,
        rng: np.random.Generator,
        *,
        step: float = 1.0,
        rho: float | None = None,
        b: int | None = None,
        q: int | None = None,
        rule: str = "constant",
        eps: float | None = None,
        replacement: bool = True,
        loopless: bool = False,
        restart_batch: int | None = None,
        ifo_per_pair: int = 2,
    ) -> None:
        super().__init__(problem, theta, rng)
        root = max(1, round(math.sqrt(problem.n)))
        self.b, self.q = root if b is None else b, root if q is None else q
        self.restart_batch = problem.n if restart_batch is None else restart_batch
        self.whole(b=self.b, q=self.q, restart_batch=self.restart_batch)
        if max(self.b, self.restart_batch) > problem.n:
            raise ValueError(f"need b, restart_batch <= n = {problem.n}; got {self.b}, {self.restart_batch}")
        eps = 0.04 * problem.L if eps is None else eps
        if rule not in ("constant", "spider") or ifo_per_pair not in (1, 2) or not eps > 0:
            raise ValueError(
                f"rule = {rule!r}, ifo_per_pair = {ifo_per_pair}, eps = {eps}; expected rule 'constant' or 'spider', "
                "ifo_per_pair 1 or 2, eps above 0"
            )
        factor = 4 if problem.nonconvex_prox else 2
        self.rho = self.curvature((factor * problem.L if rho is None else rho) / step)
        self.radius = eps * step / problem.L if rule == "spider" else math.inf
        self.replacement, self.loopless, self.ifo_per_pair = replacement, loopless, ifo_per_pair
        self.v = np.zeros(problem.d)
        self.previous = self.theta.copy()
        self.inner = 0  # steps since the restart; 0 says that the next step is one
        self.period = self.q

    def phase(self) -> tuple[int, int]:
        if self.inner == 0:
            return self.restart_batch, 1
        return self.ifo_per_pair * self.b, self.period - self.inner

    def run(self, steps: int) -> None:
        if self.inner == 0:
            self._restart()
        elif self.model is not None:
            from thesislib.spi_mm.kernels import recursive_steps

            batches = self.batches(steps, self.b)
            recursive_steps(self.model, self.theta, self.previous, self.v, batches, self.rho, self.radius)
        else:
            for batch in self.batches(steps, self.b):
                now, before = (self.problem.batch_gradient(x, batch) for x in (self.theta, self.previous))
                self.v = self.v + now - before
                self._move(self.v)
        self.inner = (self.inner + steps) % self.period

    def batches(self, steps: int, size: int) -> np.ndarray:
        if self.replacement:
            return super().batches(steps, size)
        draw = [self.rng.choice(self.problem.n, size, replace=False) for _ in range(steps)]
        return np.array(draw).reshape(steps, size)

    def estimate(self) -> np.ndarray:
        r""":math:`v`, the estimate of :math:`\nabla f` that the last step used, shape (d,)."""
        return self.v if self.model is None else self.v + self.problem.smooth_gradient(self.previous)

    def _restart(self) -> None:
        """The exact surrogate (or its average over `restart_batch` components), and a step on it."""
        if self.loopless:  # gaps between events of probability 1/q a step are geometric
            self.period = int(self.rng.geometric(1 / self.q))
        if self.restart_batch == self.problem.n:
            full = self.problem.gradient(self.theta)
        else:
            batch = self.rng.choice(self.problem.n, self.restart_batch, replace=False)
            full = self.problem.batch_gradient(self.theta, batch)
        self.v = full if self.model is None else full - self.problem.smooth_gradient(self.theta)
        self._move(full)

    def _move(self, v: np.ndarray) -> None:
        rho = max(self.rho, float(np.linalg.norm(v)) / self.radius)
        self.previous, self.theta = self.theta, self.step_from(self.theta, v, rho)
