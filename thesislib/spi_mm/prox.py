r"""Non-smooth terms :math:`h`: their values, exact proximal operators and weights for the DC majorant.

Each penalty has ``value(theta)`` and ``prox(z, rho, at)``, the minimiser of
:math:`h(x) + \frac\rho2\|x-z\|^2`. Where that minimiser is not unique (log-sum at its jump) it is zero.
:class:`Linearised` replaces a concave penalty by its tangent at the current iterate (difference of convex
functions), so that its step is a weighted soft threshold.

Thesis, section 6.3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def soft(z: np.ndarray, threshold: np.ndarray | float) -> np.ndarray:
    r"""Soft threshold :math:`\mathrm{sign}(z)\max(|z|-t, 0)`.

    Examples
    --------
    >>> soft(np.array([3.0, -0.5]), 1.0).tolist()
    [2.0, -0.0]
    """
    return np.sign(z) * np.maximum(np.abs(z) - threshold, 0.0)


def into_ball(z: np.ndarray) -> np.ndarray:
    """Projection onto the unit Euclidean ball.

    Parameters
    ----------
    z : array, shape (d,)
    """
    return z / max(1.0, float(np.linalg.norm(z)))


@dataclass(frozen=True)
class Zero:
    """No penalty."""

    nonconvex_prox = False

    def value(self, theta: np.ndarray) -> float:
        """0 everywhere."""
        return 0.0

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray | None = None) -> np.ndarray:
        """The identity; `z` has shape (d,), `rho` and `at` play no part."""
        return z


@dataclass(frozen=True)
class Separable:
    r"""Base of :math:`h(\theta)=\sum_j\varphi(|\theta_j|)` with :math:`\varphi` concave and increasing.

    Parameters
    ----------
    lam : float
        Weight :math:`\lambda`, the slope at zero of all but log-sum and the exponential penalty.
    """

    lam: float

    nonconvex_prox = True

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value >= 0) or (name != "lam" and value == 0):
                kind = "zero or more" if name == "lam" else "positive"
                raise ValueError(f"{type(self).__name__}: {name} = {value!r} must be finite and {kind}")

    def phi(self, u: np.ndarray) -> np.ndarray:
        r""":math:`\varphi(u)` for :math:`u\ge0`."""
        raise NotImplementedError

    def slope(self, u: np.ndarray) -> np.ndarray:
        r""":math:`\varphi'(u)` for :math:`u\ge0` (from the right at zero): the weight of the DC majorant."""
        raise NotImplementedError

    def value(self, theta: np.ndarray) -> float:
        """The sum over the entries of `theta`, shape (d,)."""
        return float(self.phi(np.abs(theta)).sum())

    def distance(self, theta: np.ndarray, gradient: np.ndarray) -> float:
        r"""Distance of 0 from :math:`\partial F(\theta)`, given :math:`\nabla f(\theta)`.

        Parameters
        ----------
        theta, gradient : array, shape (d,)
        """
        slope = self.slope(np.abs(theta))
        away = np.abs(gradient + slope * np.sign(theta))
        at_zero = np.maximum(np.abs(gradient) - slope, 0.0)
        return float(np.linalg.norm(np.where(theta != 0, away, at_zero)))


@dataclass(frozen=True)
class L1(Separable):
    r""":math:`\varphi(u)=\lambda u`, the convex case."""

    nonconvex_prox = False

    def phi(self, u: np.ndarray) -> np.ndarray:
        return self.lam * u

    def slope(self, u: np.ndarray) -> np.ndarray:
        return np.full_like(u, self.lam)

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray | None = None) -> np.ndarray:
        """The exact minimiser of each entry of `z`, shape (d,), at curvature `rho`; `at` plays no part."""
        return soft(z, self.lam / rho)


@dataclass(frozen=True)
class LogSum(Separable):
    r""":math:`\varphi(u)=\lambda\log(1+u/\epsilon)`, smooth width `eps` > 0."""

    eps: float = 0.1

    def phi(self, u: np.ndarray) -> np.ndarray:
        return self.lam * np.log1p(u / self.eps)

    def slope(self, u: np.ndarray) -> np.ndarray:
        return self.lam / (self.eps + u)

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray | None = None) -> np.ndarray:
        """The exact minimiser of each entry of `z`, shape (d,), at curvature `rho`; `at` plays no part."""
        size, tau = np.abs(z), self.lam / rho
        # Stationary points of the scalar problem solve x^2 + (eps - |z|) x + tau - eps |z| = 0; the larger
        # root is the local minimiser, and it counts only if it beats x = 0.
        root = np.sqrt(np.maximum((size + self.eps) ** 2 - 4 * tau, 0.0))
        x = np.maximum((size - self.eps + root) / 2, 0.0)
        better = 0.5 * (x - size) ** 2 + tau * np.log1p(x / self.eps) < 0.5 * size**2
        return np.sign(z) * np.where(better & ((size + self.eps) ** 2 >= 4 * tau), x, 0.0)


@dataclass(frozen=True)
class MCP(Separable):
    r"""Minimax concave penalty: :math:`\lambda u-u^2/(2\gamma)` up to :math:`\gamma\lambda`, then constant.

    :meth:`prox` needs :math:`\gamma\rho>1` and raises ``ValueError`` otherwise.
    """

    gamma: float = 3.0

    def phi(self, u: np.ndarray) -> np.ndarray:
        u = np.minimum(u, self.gamma * self.lam)
        return self.lam * u - u**2 / (2 * self.gamma)

    def slope(self, u: np.ndarray) -> np.ndarray:
        return np.maximum(self.lam - u / self.gamma, 0.0)

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray | None = None) -> np.ndarray:
        """The exact minimiser of each entry of `z`, shape (d,), at curvature `rho`; `at` plays no part."""
        if not self.gamma * rho > 1:
            raise ValueError(
                f"MCP's prox needs gamma * rho > 1, got {self.gamma} * {rho}: raise gamma or rho"
            )
        inner = soft(z, self.lam / rho) / (1 - 1 / (self.gamma * rho))
        return np.where(np.abs(z) <= self.gamma * self.lam, inner, z)


@dataclass(frozen=True)
class SCAD(Separable):
    r"""Smoothly clipped absolute deviation with shape `a` > 2 (Fan and Li, 2001).

    :meth:`prox` needs :math:`(a-1)\rho>1` and raises ``ValueError`` otherwise.
    """

    a: float = 3.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.a > 2:
            raise ValueError(f"SCAD: a = {self.a!r} must exceed 2")

    def phi(self, u: np.ndarray) -> np.ndarray:
        a, lam = self.a, self.lam
        middle = (2 * a * lam * u - u**2 - lam**2) / (2 * (a - 1))
        return np.where(u <= lam, lam * u, np.where(u <= a * lam, middle, lam**2 * (a + 1) / 2))

    def slope(self, u: np.ndarray) -> np.ndarray:
        return np.where(u <= self.lam, self.lam, np.maximum(self.a * self.lam - u, 0.0) / (self.a - 1))

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray | None = None) -> np.ndarray:
        """The exact minimiser of each entry of `z`, shape (d,), at curvature `rho`; `at` plays no part."""
        a, lam = self.a, self.lam
        if not (a - 1) * rho > 1:
            raise ValueError(f"SCAD's prox needs (a - 1) * rho > 1, got {a - 1} * {rho}: raise a or rho")
        size = np.abs(z)
        middle = np.sign(z) * ((a - 1) * rho * size - a * lam) / ((a - 1) * rho - 1)
        near = soft(z, lam / rho)
        return np.where(size <= lam * (1 + 1 / rho), near, np.where(size <= a * lam, middle, z))


@dataclass(frozen=True)
class Exponential(Separable):
    r""":math:`\varphi(u)=\lambda(1-e^{-ku})`. No closed-form prox: use it inside :class:`Linearised`."""

    k: float = 5.0

    def phi(self, u: np.ndarray) -> np.ndarray:
        return -self.lam * np.expm1(-self.k * u)

    def slope(self, u: np.ndarray) -> np.ndarray:
        return self.lam * self.k * np.exp(-self.k * u)

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray | None = None) -> np.ndarray:
        """The exact minimiser of each entry of `z`, shape (d,), at curvature `rho`; `at` plays no part."""
        raise ValueError("the exponential penalty has no closed-form prox; pass Linearised(Exponential(...))")


@dataclass(frozen=True)
class Linearised:
    r"""A separable penalty replaced at each step by its tangent in :math:`|\theta_j|` at the iterate.

    With :math:`u=|\theta_t|`, :math:`\tilde h_t(\theta)=\sum_j\varphi(u_j)+\varphi'(u_j)(|\theta_j|-u_j)`
    majorises the concave penalty and is convex in :math:`\theta`, so the step is a weighted soft threshold
    and SPI-MM keeps its smaller curvature.
    """

    penalty: Separable

    nonconvex_prox = False

    def __post_init__(self) -> None:
        if not isinstance(self.penalty, Separable):
            raise TypeError(
                f"Linearised: penalty is {self.penalty!r}; expected a separable one, LogSum(0.1) say"
            )

    def value(self, theta: np.ndarray) -> float:
        """The penalty itself at `theta`, shape (d,)."""
        return self.penalty.value(theta)

    def distance(self, theta: np.ndarray, gradient: np.ndarray) -> float:
        """As for :meth:`Separable.distance`, of the penalty itself."""
        return self.penalty.distance(theta, gradient)

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray) -> np.ndarray:
        """A weighted soft threshold of `z`, shape (d,), at curvature `rho`; weights are the slopes at `at`."""
        return soft(z, self.penalty.slope(np.abs(at)) / rho)


@dataclass(frozen=True)
class SparseBall:
    r""":math:`\lambda\|\theta\|_1` on the unit ball, :math:`+\infty` outside: the constraint of sparse PCA.

    The prox is a soft threshold scaled into the ball, because the multiplier of the ball only scales the
    minimiser of the rest.
    """

    lam: float

    nonconvex_prox = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.lam) and self.lam >= 0):
            raise ValueError(f"SparseBall: lam = {self.lam!r} must be finite and zero or more")

    def value(self, theta: np.ndarray) -> float:
        """The penalty at `theta`, shape (d,); infinite outside the ball."""
        return float(self.lam * np.abs(theta).sum()) if np.linalg.norm(theta) <= 1 + 1e-9 else np.inf

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray | None = None) -> np.ndarray:
        """The exact minimiser at `z`, shape (d,), and curvature `rho`; `at` plays no part."""
        return into_ball(soft(z, self.lam / rho))


@dataclass(frozen=True)
class NonNegativeBall:
    """Indicator of non-negative vectors in the unit ball: non-negative PCA."""

    nonconvex_prox = False

    def value(self, theta: np.ndarray) -> float:
        """The penalty at `theta`, shape (d,); infinite outside the ball."""
        return 0.0 if np.linalg.norm(theta) <= 1 + 1e-9 and (theta >= 0).all() else np.inf

    def prox(self, z: np.ndarray, rho: float, at: np.ndarray | None = None) -> np.ndarray:
        """The exact minimiser at `z`, shape (d,), and curvature `rho`; `at` plays no part."""
        return into_ball(np.maximum(z, 0.0))
