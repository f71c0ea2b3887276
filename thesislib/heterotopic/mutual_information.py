"""The constraint on the specific feature: bounds on its mutual information with the generic one.

Each bound is a module called as ``bound(g, z)`` with the generic feature g, shape (n, channels), which the
classifier uses, and the specific feature z, shape (n, dim), rows of unit length. It returns what is *minimised*.
The default direction raises I(g; z): what only self-supervision sees is to be kept by the classifier too. CLUB
goes the other way. Neither bound nor direction is known to us (thesis, section 5.3.2.2).

No gradient reaches z: the classifier's feature moves, not its target.
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
        # Of variance 1 at rho = 0, so that weight decay pulls to where it starts and not to a smaller one.
        variance = F.softplus(self.rho + math.log(math.e - 1)) + 1e-5
        error = self.mean(g) - z.detach() * math.sqrt(z.shape[1])
        return (error.square() / variance + variance.log()).mean() / 2


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
    """

    def __init__(self, channels: int, dim: int, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature
        self.of_g, self.of_z = nn.Linear(channels, dim), nn.Linear(dim, dim)

    def forward(self, g: Tensor, z: Tensor) -> Tensor:
        """Cross-entropy of finding row i of z from row i of g."""
        a, b = F.normalize(self.of_g(g), dim=1), F.normalize(self.of_z(z.detach()), dim=1)
        return F.cross_entropy(a @ b.T / self.temperature, torch.arange(len(g), device=g.device))


class CLUB(nn.Module):
    """Upper bound, to be lowered: ``E log q(z|g) - E E log q(z'|g)`` (Cheng et al., ICML 2020, eq. 6).

    The bound holds for a q that fits, so q takes a likelihood step of its own in each step, and the bound moves
    g alone.

    Parameters
    ----------
    channels, dim : int
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(channels, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.log_variance = nn.Sequential(nn.Linear(channels, dim), nn.ReLU(), nn.Linear(dim, dim), nn.Tanh())

    def bound(self, g: Tensor, z: Tensor) -> Tensor:
        """The bound in nats a dimension, q held fixed."""
        target = z.detach() * math.sqrt(z.shape[1])
        mean, log_variance = (_fixed(net, g) for net in (self.mean, self.log_variance))
        # Of all pairs: E (z' - mu)^2 needs only the first two moments of z'.
        own = (target - mean).square()
        others = (target.mean(0) - mean).square() + target.var(0, correction=0)
        return ((others - own) / log_variance.exp()).mean() / 2

    def forward(self, g: Tensor, z: Tensor) -> Tensor:
        """The bound, and q's own negative log-likelihood, which reaches nothing but q."""
        target = z.detach() * math.sqrt(z.shape[1])
        mean, log_variance = self.mean(g.detach()), self.log_variance(g.detach())
        fit = ((target - mean).square() / log_variance.exp() + log_variance).mean() / 2
        return self.bound(g, z) + fit - fit.detach()  # its value is the bound's, its gradient both


def _fixed(net: nn.Module, x: Tensor) -> Tensor:
    weights = {name: p.detach() for name, p in net.named_parameters()}
    return torch.func.functional_call(net, weights, (x,))


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
