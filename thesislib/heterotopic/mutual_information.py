"""The constraint on the specific feature: bounds on its mutual information with the generic one.

Each bound is a module called as ``bound(g, z)`` with the generic feature g, shape (n, channels), which the
classifier uses, and the specific feature z, shape (n, dim), rows of unit length. It returns what g is to *lower*.
The default direction raises I(g; z): what only self-supervision sees is to be kept by the classifier too. CLUB
goes the other way. Neither bound nor direction is known to us (thesis, section 5.3.2.2).

A bound says as much as its own weights are worth. They lower ``bound.fit(g, z)``, at the full rate of the training:
the weight of the constraint is for g, and a decoder that it slowed down would know nothing of z.
:func:`constraint` gives both. No gradient reaches z: the classifier's feature moves, not its target.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class VariationalGaussian(nn.Module):
    """Lower bound of Barber and Agakov with a Gaussian decoder, as in variational information distillation.

    ``I(g; z) = H(z) + E log p(z|g) >= H(z) + E log q(z|g)``, and H(z) is not the classifier's affair. So the loss
    is the mean over images and dimensions of ``((mu(g) - t)^2 / v + log v) / 2``. The target t is z times
    sqrt(dim) (Ahn et al., CVPR 2019, eq. 5). Of independent Gaussian dimensions of variance 1, ``1/2 - loss`` bounds
    the information a dimension, in nats. A trained feature's are neither independent nor of variance 1: what the
    loss is to be compared with there is :func:`constant_loss`.

    Parameters
    ----------
    channels, dim : int
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(channels, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.rho = nn.Parameter(torch.zeros(dim))

    def forward(self, g: Tensor, z: Tensor) -> Tensor:
        """What is minimised: half a squared error in units of its variance, a dimension."""
        # Of variance 1 at rho = 0, so that weight decay pulls to where it starts and not to a smaller one. Freed of it,
        # the bound rose by 0.1 of 12 nats on digits, and accuracy did not (five seeds).
        variance = F.softplus(self.rho + math.log(math.e - 1)) + 1e-5
        error = self.mean(g) - z.detach() * math.sqrt(z.shape[1])
        return (error.square() / variance + variance.log()).mean() / 2

    fit = forward


def constant_loss(z: Tensor) -> Tensor:
    """The loss of :class:`VariationalGaussian` with the best decoder that knows nothing of g.

    What the bound's own decoder loses less than this it has from g, a dimension and in nats. Dimensions are counted
    one by one, so what two of them share counts twice.

    Parameters
    ----------
    z : Tensor, shape (n, dim)
        Specific features, of any length; at least two.

    Returns
    -------
    Tensor
        A scalar, without gradient.
    """
    target = F.normalize(z.detach().float(), dim=1) * math.sqrt(z.shape[1])
    return (1 + (target.var(0) + 1e-5).log()).mean() / 2


class InfoNCE(nn.Module):
    """Lower bound by telling one's own z from those of the batch: ``log n - loss`` nats.

    van den Oord et al., 2018, eq. 4, with cosine similarity after a linear map of both.

    Parameters
    ----------
    channels, dim : int
    temperature : float
        Divides the cosines; positive.

    Raises
    ------
    ValueError
        If it is not.
    """

    def __init__(self, channels: int, dim: int, temperature: float = 0.1) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature = {temperature!r}; expected a positive number")
        self.temperature = temperature
        self.of_g, self.of_z = nn.Linear(channels, dim), nn.Linear(dim, dim)

    def forward(self, g: Tensor, z: Tensor) -> Tensor:
        """Cross-entropy of finding row i of z from row i of g."""
        a, b = F.normalize(self.of_g(g), dim=1), F.normalize(self.of_z(z.detach()), dim=1)
        return F.cross_entropy(a @ b.T / self.temperature, torch.arange(len(g), device=g.device))

    fit = forward


class CLUB(nn.Module):
    """Upper bound, to be lowered: ``E log q(z|g) - E E log q(z'|g)`` (Cheng et al., ICML 2020, eq. 6).

    The bound holds for a q that fits: q is fitted by its own likelihood, never by the bound.

    Parameters
    ----------
    channels, dim : int
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(channels, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.log_variance = nn.Sequential(nn.Linear(channels, dim), nn.ReLU(), nn.Linear(dim, dim), nn.Tanh())

    def forward(self, g: Tensor, z: Tensor) -> Tensor:
        """The bound in nats a dimension."""
        target = z.detach() * math.sqrt(z.shape[1])
        mean, log_variance = self.mean(g), self.log_variance(g)
        # Of all pairs: E (z' - mu)^2 needs only the first two moments of z'.
        own = (target - mean).square()
        others = (target.mean(0) - mean).square() + target.var(0, correction=0)
        return ((others - own) / log_variance.exp()).mean() / 2

    def fit(self, g: Tensor, z: Tensor) -> Tensor:
        """q's negative log-likelihood, a dimension."""
        target = z.detach() * math.sqrt(z.shape[1])
        mean, log_variance = self.mean(g), self.log_variance(g)
        return ((target - mean).square() / log_variance.exp() + log_variance).mean() / 2


def constraint(bound: nn.Module, g: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """What a bound asks of the generic feature, and what fits the bound.

    Parameters
    ----------
    bound : Module
        One of :data:`BOUNDS`.
    g : Tensor, shape (n, channels)
    z : Tensor, shape (n, dim)
        Rows of unit length.

    Returns
    -------
    moves : Tensor
        The bound; its gradient reaches g alone.
    fit : Tensor
        Its gradient reaches the bound's own weights alone.
    """
    held = {name: p.detach() for name, p in bound.named_parameters()}
    return torch.func.functional_call(bound, held, (g, z)), bound.fit(g.detach(), z)


BOUNDS: dict[str, type[nn.Module]] = {
    "variational Gaussian": VariationalGaussian,
    "InfoNCE": InfoNCE,
    "CLUB": CLUB,
}
"""By name; the first is the default."""


def make_bound(name: str, channels: int, dim: int) -> nn.Module:
    """A bound with fresh weights.

    Raises
    ------
    ValueError
        If it is unknown, with the known ones.

    Parameters
    ----------
    name : str
        A key of :data:`BOUNDS`.
    channels, dim : int
        Of the generic and the specific feature.
    """
    if name not in BOUNDS:
        raise ValueError(f"bound = {name!r} is not one of {', '.join(BOUNDS)}")
    return BOUNDS[name](channels, dim)
