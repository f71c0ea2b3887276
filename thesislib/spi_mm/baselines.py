r"""The rivals of figures 6.2 and 6.3, each with the parameters its own theory prescribes (thesis, section 6.4).

Which algorithms the thesis compares is not known; these are the MM-type methods it names in its related work
and the variance-reduced methods of its time. `step` multiplies each one's theoretical step. :math:`L`,
:math:`L_f`: see :class:`~thesislib.spi_mm.finite_sum.FiniteSum`.
"""

from __future__ import annotations

import numpy as np

from thesislib.spi_mm.finite_sum import FiniteSum
from thesislib.spi_mm.method import Method
from thesislib.spi_mm.spi_mm import SPIMM


class BatchMM(Method):
    r"""Classical MM with the Lipschitz (proximal-gradient) surrogate; step :math:`1/L_f`, n evaluations."""

    def __init__(self, problem: FiniteSum, theta, rng, *, step: float = 1.0) -> None:
        super().__init__(problem, theta, rng)
        self.rho = self.curvature(problem.L_f / step)

    def phase(self) -> tuple[int, int]:
        return self.problem.n, 1

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.theta = self.step_from(self.theta, self.problem.gradient(self.theta), self.rho)


class MISO(Method):
    r"""Incremental MM (Mairal, 2015): b component surrogates (one by default) are refreshed a step.

    Keeps the anchors :math:`u_i=\theta-\nabla f_i(\theta)/L`, n times d numbers. Costs n evaluations to
    begin (a batch MM step), then b a step, those drawn twice included.
    """

    def __init__(self, problem: FiniteSum, theta, rng, *, step: float = 1.0, b: int = 1) -> None:
        super().__init__(problem, theta, rng)
        self.b, self.rho = self.batch_size(b, 1), self.curvature(problem.L / step)
        self.anchors: np.ndarray | None = None
        self.mean = np.zeros(problem.d)

    def phase(self) -> tuple[int, int]:
        return (self.problem.n, 1) if self.anchors is None else (self.b, max(1, self.problem.n // self.b))

    def run(self, steps: int) -> None:
        if self.anchors is None:
            self.anchors = self.theta - self._gradients(np.arange(self.problem.n)) / self.rho
            self.mean = self.anchors.mean(axis=0)
            self.theta = self.problem.prox(self.mean, self.rho, self.theta)
        elif self.model is not None and self.b == 1:
            from thesislib.spi_mm.kernels import miso_steps

            indices = self.batches(steps, 1)[:, 0]
            miso_steps(self.model, self.theta, self.anchors, self.mean, indices, self.rho)
        else:
            for batch in self.batches(steps, self.b):
                batch = np.unique(batch)  # an anchor drawn twice is refreshed once
                fresh = self.theta - self._gradients(batch) / self.rho
                self.mean = self.mean + (fresh - self.anchors[batch]).sum(axis=0) / self.problem.n
                self.anchors[batch] = fresh
                self.theta = self.problem.prox(self.mean, self.rho, self.theta)

    def _gradients(self, batch: np.ndarray) -> np.ndarray:
        """Component gradients, shape (batch, d)."""
        return self.problem.component_gradients(self.theta, batch)


class SMM(Method):
    r"""Stochastic MM (Mairal, 2013): surrogates of mini-batches averaged with weights
    :math:`\sqrt{(n_0+1)/(n_0+t)}`.

    Costs b evaluations a step. b = 64, or n if that is less, and :math:`n_0=10` are choices of this package.
    """

    def __init__(
        self, problem: FiniteSum, theta, rng, *, step: float = 1.0, b: int | None = None, n0: int = 10
    ) -> None:
        super().__init__(problem, theta, rng)
        self.at_least(0, n0=n0)
        self.b, self.n0, self.rho = self.batch_size(b, 64), n0, self.curvature(problem.L / step)
        self.mean = self.theta.copy()

    def phase(self) -> tuple[int, int]:
        return self.b, max(1, self.problem.n // self.b)

    def run(self, steps: int) -> None:
        batches = self.batches(steps, self.b)
        weights = np.sqrt((self.n0 + 1) / (self.n0 + self.t + np.arange(1.0, steps + 1)))
        if self.model is not None:
            from thesislib.spi_mm.kernels import smm_steps

            return smm_steps(self.model, self.theta, self.mean, batches, weights, self.rho)
        for batch, w in zip(batches, weights, strict=True):
            anchor = self.theta - self.problem.batch_gradient(self.theta, batch) / self.rho
            self.mean = (1 - w) * self.mean + w * anchor
            self.theta = self.problem.prox(self.mean, self.rho, self.theta)


class SGD(Method):
    r"""Proximal stochastic gradient with step :math:`\frac1{4L}/(1+\delta p)` after p passes.

    Costs b evaluations a step. b = 64, or n if that is less, and :math:`\delta=0.1` are common practice; no theory
    of non-convex sums prescribes them.
    """

    def __init__(
        self, problem: FiniteSum, theta, rng, *, step: float = 1.0, b: int | None = None, decay: float = 0.1
    ) -> None:
        super().__init__(problem, theta, rng)
        self.at_least(0, decay=decay)
        self.b, self.decay = self.batch_size(b, 64), decay
        self.rho = self.curvature(4 * problem.L / step)

    def phase(self) -> tuple[int, int]:
        return self.b, max(1, self.problem.n // self.b)

    def run(self, steps: int) -> None:
        batches = self.batches(steps, self.b)
        passes = (self.t + np.arange(steps)) * self.b / self.problem.n
        curvatures = self.rho * (1 + self.decay * passes)
        if self.model is not None:
            from thesislib.spi_mm.kernels import sgd_steps

            return sgd_steps(self.model, self.theta, batches, curvatures)
        for batch, rho in zip(batches, curvatures, strict=True):
            self.theta = self.step_from(self.theta, self.problem.batch_gradient(self.theta, batch), rho)


class SVRG(Method):
    r"""Prox-SVRG (Reddi et al., 2016): mini-batch :math:`n^{2/3}`, epoch :math:`n^{1/3}`, step
    :math:`1/(3L)`.

    The snapshot costs n evaluations and its gradient already makes the epoch's first step; the others cost
    2b.
    """

    def __init__(self, problem: FiniteSum, theta, rng, *, step: float = 1.0) -> None:
        super().__init__(problem, theta, rng)
        self.b = max(1, round(problem.n ** (2 / 3)))
        self.epoch = max(1, round(problem.n ** (1 / 3)))
        self.rho = self.curvature(3 * problem.L / step)
        self.inner = 0
        self.snapshot = self.full = self.theta

    def phase(self) -> tuple[int, int]:
        return (self.problem.n, 1) if self.inner == 0 else (2 * self.b, self.epoch - self.inner)

    def run(self, steps: int) -> None:
        if self.inner == 0:
            self.snapshot, self.full = self.theta.copy(), self.problem.gradient(self.theta)
            self.theta = self.step_from(self.theta, self.full, self.rho)
        elif self.model is not None:
            from thesislib.spi_mm.kernels import svrg_steps

            data = self.full - self.problem.smooth_gradient(self.snapshot)
            svrg_steps(self.model, self.theta, self.snapshot, data, self.batches(steps, self.b), self.rho)
        else:
            for batch in self.batches(steps, self.b):
                now, then = (self.problem.batch_gradient(x, batch) for x in (self.theta, self.snapshot))
                self.theta = self.step_from(self.theta, self.full + now - then, self.rho)
        self.inner = (self.inner + steps) % self.epoch


class SAGA(Method):
    r"""SAGA for non-convex sums (Reddi et al., 2016): one sample a step, step :math:`1/(3Ln^{2/3})`.

    Keeps one gradient a component: n numbers for a linear sum, n times d otherwise. Costs n evaluations to
    begin (and a step with the exact gradient), then 1 a step.
    """

    def __init__(self, problem: FiniteSum, theta, rng, *, step: float = 1.0) -> None:
        super().__init__(problem, theta, rng)
        self.rho = self.curvature(3 * problem.L * problem.n ** (2 / 3) / step)
        self.table: np.ndarray | None = None
        self.average = np.zeros(problem.d)

    def phase(self) -> tuple[int, int]:
        return (self.problem.n, 1) if self.table is None else (1, self.problem.n)

    def run(self, steps: int) -> None:
        if self.table is None:
            return self._begin()
        indices = self.batches(steps, 1)[:, 0]
        if self.model is not None:
            from thesislib.spi_mm.kernels import saga_steps

            return saga_steps(self.model, self.theta, self.table, self.average, indices, self.rho)
        for i in indices:
            shared = self.problem.smooth_gradient(self.theta)
            fresh = self.problem.batch_gradient(self.theta, np.array([i])) - shared
            change, self.table[i] = fresh - self.table[i], fresh
            self.theta = self.step_from(self.theta, self.average + change + shared, self.rho)
            self.average = self.average + change / self.problem.n

    def _begin(self) -> None:
        problem, theta = self.problem, self.theta
        shared = problem.smooth_gradient(theta)
        if self.model is not None:
            self.table = problem.slopes(problem.X @ theta, problem.y)
            self.average = problem.data_gradient(theta)
        else:
            self.table = problem.component_gradients(theta, np.arange(problem.n)) - shared
            self.average = self.table.mean(axis=0)
        self.theta = self.step_from(theta, self.average + shared, self.rho)


class SPIDER(SPIMM):
    r"""SPIDER-SFO (Fang et al., 2018): SPI-MM's estimator with the normalised step
    :math:`\min(\epsilon/(L\|v\|),1/(2L))`."""

    def __init__(
        self, problem: FiniteSum, theta, rng, *, step: float = 1.0, eps: float | None = None
    ) -> None:
        super().__init__(problem, theta, rng, step=step, rule="spider", eps=eps, rho=2 * problem.L)
