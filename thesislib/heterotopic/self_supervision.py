"""Self-supervised methods behind one interface: a loss from one view's features and a second view's images.

A method is made around a :class:`Branch`, the path from images to the *specific* feature, and called as
``method(u, branch, images)`` in each step: `u` is what the branch made of the first view, `images` the second
view. Its own memories (momentum encoder, queue, predictor) are its submodules. Applied here: rotation, MoCo v2,
SimSiam, Barlow Twins (thesis, section 5.3.3 and table 5.9; which ones the table has is not known to us).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thesislib.heterotopic.losses import barlow_twins, info_nce, negative_cosine, rotated
from thesislib.heterotopic.momentum import MomentumEncoder, Queue


def two_layer_mlp(channels: int, dim: int) -> nn.Sequential:
    """The MLP on the pooled self-supervised feature: ``channels -> channels -> dim`` with a ReLU between."""
    return nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, dim))


def normalised_mlp(channels: int, dim: int) -> nn.Sequential:
    """The same with batch normalisation, without which methods that have no negatives collapse."""
    return nn.Sequential(
        nn.Linear(channels, channels, bias=False), nn.BatchNorm1d(channels), nn.ReLU(),
        nn.Linear(channels, dim, bias=False), nn.BatchNorm1d(dim, affine=False),
    )  # fmt: skip


class Branch(nn.Module):
    """From images to the specific feature: trunk, Filter, average over places, MLP.

    Parameters
    ----------
    trunk : Module
        Images to the shared map; the classifier's own module, not a copy.
    filter : Module
        Map to map; ``nn.Identity()`` where self-supervision shares the classifier's space.
    mlp : Module
        Pooled feature, shape (n, channels), to the specific feature, shape (n, dim).
    """

    def __init__(self, trunk: nn.Module, filter: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.trunk, self.filter, self.mlp = trunk, filter, mlp

    def project(self, maps: Tensor) -> Tensor:
        """From the shared map on.

        Parameters
        ----------
        maps : Tensor, shape (n, channels, height, width)

        Raises
        ------
        ValueError
            If the Filter's maps have not as many channels as the MLP takes.
        """
        pooled = self.filter(maps).mean((-2, -1))
        first = next((m for m in self.mlp.modules() if isinstance(m, nn.Linear)), None)
        if first is not None and pooled.shape[1] != first.in_features:
            raise ValueError(
                f"channels = {first.in_features}, but the Filter's maps have {pooled.shape[1]} channels; "
                "give their number"
            )
        return self.mlp(pooled)

    def forward(self, images: Tensor) -> Tensor:
        """The specific feature of images, not normalised, shape (n, dim)."""
        return self.project(self.trunk(images))

    def aside(self, images: Tensor) -> Tensor:
        """The same of images that the classifier is not shown: in training the trunk's running statistics, which
        are for the classifier, stay as they are.

        Parameters
        ----------
        images : Tensor
        """
        with held_statistics(self.trunk):
            maps = self.trunk(images)
        return self.project(maps)


@contextlib.contextmanager
def held_statistics(module: nn.Module) -> Iterator[None]:
    """Batch normalisation by the batch's statistics that leaves the running ones alone.

    Parameters
    ----------
    module : Module
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    tracking = [m.track_running_stats for m in norms]
    for m in norms:
        m.track_running_stats = False
    try:
        yield
    finally:
        for m, was in zip(norms, tracking, strict=True):
            m.track_running_stats = was


class MoCo(nn.Module):
    """MoCo v2: the image's other view, seen by the momentum encoder, against a queue of such keys.

    Parameters
    ----------
    branch : Branch
        Copied by the momentum encoder, not kept.
    dim : int
        Of the specific feature.
    queue : int
        Keys held, Q; fewer than the N training images, else every image meets its own old key as a negative. Of
        fewer, a share of Q²/2N² does: the order is another one in the next epoch. Several processes keep the keys
        of the first one's part alone.
    momentum, temperature : float
        MoCo v2's 0.999 suits epochs of thousands of steps; those of long-tailed sets have a hundred.

    Raises
    ------
    ValueError
        On a temperature that is not positive, a momentum out of range, or an empty queue.
    """

    two_views = True
    mlp = staticmethod(two_layer_mlp)

    def __init__(
        self, branch: Branch, dim: int, *, queue: int = 4096, momentum: float = 0.99, temperature: float = 0.2
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature = {temperature!r}; expected a positive number")
        self.temperature = temperature
        self.keys, self.queue = MomentumEncoder(branch, momentum), Queue(queue, dim)

    def forward(self, u: Tensor, branch: Branch, images: Tensor) -> Tensor:
        """The loss; in training it moves the momentum encoder before, and the queue after."""
        if self.training:
            self.keys.follow(branch)
        keys = F.normalize(self.keys(images), dim=1)
        loss = info_nce(F.normalize(u, dim=1), keys, self.queue.keys.clone(), self.temperature)
        if self.training:
            self.queue.push(keys)
        return loss


class Rotation(nn.Module):
    """How often was the image turned by a quarter? Its second view is the first one, turned.

    Turns go by the place in the batch: batches have to be drawn anew in each epoch, or an image is always turned alike.

    Parameters
    ----------
    branch : Branch
    dim : int
    """

    two_views = False
    mlp = staticmethod(two_layer_mlp)

    def __init__(self, branch: Branch, dim: int) -> None:
        super().__init__()
        self.answer = nn.Linear(dim, 4)

    def forward(self, u: Tensor, branch: Branch, images: Tensor) -> Tensor:
        """The loss; `u` has no part in it."""
        turned, turns = rotated(images)
        return F.cross_entropy(self.answer(branch.aside(turned)), turns)


class SimSiam(nn.Module):
    """Each view predicts the other, whose side has no gradient (Chen and He, CVPR 2021, algorithm 1).

    Parameters
    ----------
    branch : Branch
    dim : int
    """

    two_views = True
    mlp = staticmethod(normalised_mlp)

    def __init__(self, branch: Branch, dim: int) -> None:
        super().__init__()
        narrow = max(1, dim // 4)
        self.predictor = nn.Sequential(
            nn.Linear(dim, narrow, bias=False), nn.BatchNorm1d(narrow), nn.ReLU(), nn.Linear(narrow, dim)
        )

    def forward(self, u: Tensor, branch: Branch, images: Tensor) -> Tensor:
        """The loss, from -1 to 1."""
        other = branch.aside(images)
        there, back = negative_cosine(self.predictor(u), other), negative_cosine(self.predictor(other), u)
        return (there + back) / 2


class BarlowTwins(nn.Module):
    """Two views correlate dimension by dimension and in no other way (Zbontar et al., ICML 2021).

    Parameters
    ----------
    branch : Branch
    dim : int
    scale : float
        Of the loss, which is a sum over dimensions and would drown the classifier's.
    """

    two_views = True
    mlp = staticmethod(normalised_mlp)

    def __init__(self, branch: Branch, dim: int, *, scale: float = 0.1) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, u: Tensor, branch: Branch, images: Tensor) -> Tensor:
        """The loss, scaled."""
        return self.scale * barlow_twins(u, branch.aside(images))


METHODS: dict[str, type[nn.Module]] = {
    "rotation": Rotation,
    "MoCo v2": MoCo,
    "SimSiam": SimSiam,
    "Barlow Twins": BarlowTwins,
}
"""By the names of table 5.9."""


def method_named(name: str) -> type[nn.Module]:
    """The class of a method.

    Raises
    ------
    ValueError
        If it is unknown, with the known ones.

    Parameters
    ----------
    name : str
        A key of :data:`METHODS`.
    """
    if name not in METHODS:
        raise ValueError(f"ssl = {name!r} is not one of {', '.join(METHODS)}")
    return METHODS[name]


def spread(u: Tensor) -> Tensor:
    """How far features fill the sphere: 1 when spread evenly over it, 0 when all are the same.

    Root of the summed variance of the normalised rows of `u`, shape (n, dim); n of at least 2.
    """
    z = F.normalize(u.detach().float(), dim=1)
    return z.var(0, correction=0).sum().sqrt()


def dimensions(u: Tensor) -> Tensor:
    """In how many directions features vary: their covariance's trace squared over the trace of its square.

    1 when all lie on a line, dim when they vary alike in all directions, 0 when they do not vary. Of features on a line
    :func:`spread` shows nothing where their mean is near 0, as batch normalisation at the end of the MLP makes it:
    they point both ways.

    Parameters
    ----------
    u : Tensor, shape (n, dim)
        Of n images the result is n - 1 at most.

    Returns
    -------
    Tensor
        A scalar in double precision, without gradient.
    """
    x = u.detach().double()  # which autocast leaves alone
    x = x - x.mean(0)
    gram = x.T @ x
    return gram.trace().square() / gram.square().sum().clamp_min(torch.finfo(x.dtype).tiny)


class CollapseWarning(UserWarning):
    """The specific feature has become nearly the same for all images, or varies along little more than a line."""
