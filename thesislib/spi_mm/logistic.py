r"""Logistic regression with a non-convex regulariser: the problem of figure 6.2 (thesis, section 6.4).

Margins, :math:`m_i = x_i^\top\theta`, and ``y`` have shape (n,), as in
:class:`~thesislib.spi_mm.finite_sum.LinearSum` (``margins``).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from thesislib.spi_mm.design import design_matrix, signs
from thesislib.spi_mm.finite_sum import LinearSum


class NonconvexLogistic(LinearSum):
    r"""Non-convex logistic regression, without intercept.

    .. math::

        f_i(\theta)=\log(1+e^{-y_i x_i^\top\theta})+\lambda\sum_j\frac{\theta_j^2}{1+\theta_j^2}

    The caption of figure 6.2 names the problem and the abstract asks for components that are smooth and
    non-convex; the regulariser (Geman-McClure) is a reconstruction, the common choice for variance-reduced
    methods of 2018 and 2019.

    Parameters
    ----------
    X : array or sparse matrix, shape (n, d)
    y : array, shape (n,)
        Two classes as -1/+1, 0/1 or 1/2.
    lam : float
        :math:`\lambda`, weight of the regulariser.
    regulariser : {"geman_mcclure", "l2", "none"}
        Smooth term inside each component. ``"l2"`` is :math:`\frac\lambda2\|\theta\|^2`, the convex twin;
        ``"none"`` goes with `penalty`.
    penalty : penalty or None
        :math:`h` from :mod:`thesislib.spi_mm.prox`, for the sparse variant.
    normalise : bool
        Scale rows to unit norm; empty rows stay empty.

    Raises
    ------
    ValueError
        On labels, shapes or entries that cannot be used.
    """

    def __init__(self, X, y, lam=0.01, *, regulariser="geman_mcclure", penalty=None, normalise=True) -> None:
        X = design_matrix(X, normalise=normalise)
        super().__init__(X, signs(y, X.shape[0]), h=penalty, smooth=regulariser, lam=lam)

    @property
    def L(self) -> float:
        """Largest Lipschitz constant of a component gradient: the logistic loss has curvature at most 1/4."""
        return float(self.row_norms2.max()) / 4 + self.smooth_curvature

    @property
    def L_f(self) -> float:
        return self.top_eigenpair[0] / 4 + self.smooth_curvature

    def losses(self, margins: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.logaddexp(0.0, -y * margins)

    def slopes(self, margins: np.ndarray, y: np.ndarray) -> np.ndarray:
        return -y * expit(-y * margins)
