"""Heterotopic ensembling: a classifier and self-supervision trained together, then parted (thesis, section 5.3).

Two features of self-supervision are ensembled in two places. The *generic* one lies in the trunk, which both
tasks share: gradients of both reach it, self-supervision's through the Filter. The *specific* one lies after the
MLP; the classifier's pooled feature is held to share information with it. ::

    L = L_classification + lambda * ( L_self-supervision + eta * L_mutual-information )

The bound on the information has weights of its own, which are fitted beside, at weight 1. At test nothing but trunk
and classifier is left. The chapter's text was not available to us: this is a reconstruction from its headings and
captions, and what they leave open is an argument here.
"""

from __future__ import annotations

import inspect
import math
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thesislib.heterotopic.mutual_information import constant_loss, constraint, make_bound
from thesislib.heterotopic.self_supervision import Branch, dimensions, method_named, spread


class Terms(NamedTuple):
    """What self-supervision adds to one step."""

    ssl: Tensor
    mi: Tensor
    spread: Tensor
    mi_constant: Tensor
    dimensions: Tensor
    fit: Tensor


class HeterotopicEnsemble(nn.Module):
    """A classifier with self-supervision attached, trained with two views of each image.

    Its modules are those of the classifier, not copies: whoever holds the classifier has it trained afterwards,
    and :meth:`exported` puts it together anew.

    Parameters
    ----------
    trunk : Module
        Images to maps, shape (n, channels, height, width): what classification and self-supervision share.
    classifier : Module
        Pooled feature of the classifier's map to logits.
    filter : Module
        See :func:`thesislib.heterotopic.filters.make_filter`; ``nn.Identity()`` shares the classifier's space.
    channels : int
        Of the pooled features: of the Filter's maps, and of the map that is classified.
    stage : Module
        What the classifier keeps for itself between the trunk's map and pooling; nothing by default.
    ssl : str
        A key of :data:`thesislib.heterotopic.self_supervision.METHODS`.
    bound : str or None
        A key of :data:`thesislib.heterotopic.mutual_information.BOUNDS`; None leaves the specific feature out.
    lam, eta : float
        Weight of self-supervision, and in it of the bound; 0 or more.
    dim : int
        Length of the specific feature.
    **options
        Of the self-supervised method.

    Attributes
    ----------
    facts : dict
        Method, its options (those left out at their defaults) and bound, as plain values.

    Raises
    ------
    ValueError
        On an unknown method or bound, with the known ones, on a negative weight, on a size below 1 or an option out
        of range, and if the classifier, whose feature the bound is on, takes another number of channels. Maps of
        another number are refused when the first are seen.
    TypeError
        If the Filter is no module, or the self-supervised method has no such option.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> trunk, classifier = nn.Conv2d(1, 8, 3), nn.Linear(8, 2)
    >>> joint = HeterotopicEnsemble(trunk, classifier, filter=nn.Conv2d(8, 8, 1), channels=8, queue=16)
    >>> query, key = torch.rand(2, 4, 1, 8, 8)
    >>> logits, terms = joint.joint(query, key)
    >>> loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0, 1])) + joint.weighted(terms)
    >>> loss.backward()
    """

    def __init__(
        self,
        trunk: nn.Module,
        classifier: nn.Module,
        *,
        filter: nn.Module,
        channels: int,
        stage: nn.Module | None = None,
        ssl: str = "MoCo v2",
        bound: str | None = "variational Gaussian",
        lam: float = 1.0,
        eta: float = 0.1,
        dim: int = 128,
        **options: Any,
    ) -> None:
        super().__init__()
        for name, weight in (("lam", lam), ("eta", eta)):
            if not (isinstance(weight, Real) and 0 <= weight < math.inf):
                raise ValueError(f"{name} = {weight!r}; expected a number, 0 or more")
        for name, count in (("channels", channels), ("dim", dim)):
            if not isinstance(count, Integral) or count < 1:
                raise ValueError(f"{name} = {count!r}; expected a whole number from 1 on")
        if bound and isinstance(classifier, nn.Linear) and classifier.in_features != channels:
            raise ValueError(
                f"channels = {channels!r}, but the classifier takes {classifier.in_features}; "
                "the bound is on its feature, give their number, or bound = None"
            )
        make = method_named(ssl)
        if not isinstance(filter, nn.Module):
            raise TypeError(f"filter = {filter!r}; expected a module, make_filter's or nn.Identity() say")
        self.lam, self.eta, self.channels = lam, eta, channels
        self.branch = Branch(trunk, filter, make.mlp(channels, dim))
        self.stage = nn.Identity() if stage is None else stage
        self.classifier = classifier
        known = inspect.signature(make)
        if unknown := sorted(set(options) - set(list(known.parameters)[2:])):
            takes = ", ".join(list(known.parameters)[2:]) or "none"
            raise TypeError(f"{ssl} has no option {', '.join(unknown)}; it has {takes}")
        given = known.bind(self.branch, dim, **options)
        given.apply_defaults()
        self.facts = {"ssl": ssl, "ssl options": dict(given.kwargs), "bound": bound}
        self.method = make(self.branch, dim, **options)
        self.bound = None if bound is None else make_bound(bound, channels, dim)
        self.terms: Terms | None = None

    def joint(self, query: Tensor, key: Tensor) -> tuple[Tensor, Terms]:
        """Logits of the first view, and what self-supervision adds.

        Parameters
        ----------
        query, key : Tensor, shape (n, channels, height, width)
            Two views of the same images, in floating point, as the trunk takes them. The first is classified too, so
            it is a weak one.

        Returns
        -------
        logits : Tensor, shape (n, classes)
        terms : Terms
            Of scalars; :meth:`weighted` makes them the loss's part.

        Raises
        ------
        ValueError
            On fewer than two images: batch normalisation of the heads and in-batch negatives need others. On views of
            different shapes. If the trunk makes no maps, or maps of another number of channels than was announced.
        TypeError
            If a view is not of floating point.
        """
        if len(query) < 2:
            raise ValueError(
                f"a batch of {len(query)}; self-supervision contrasts images, give 2 or more "
                "(a DataLoader's drop_last=True leaves out a last batch of 1)"
            )
        if query.shape != key.shape:
            raise ValueError(
                f"query {tuple(query.shape)} and key {tuple(key.shape)}; expected two views of the same images"
            )
        for name, view in (("query", query), ("key", key)):
            if not view.is_floating_point():
                raise TypeError(
                    f"{name} is {view.dtype}; expected floating point in [0, 1], images.float() / 255 of uint8"
                )
        maps = self.branch.trunk(query)
        g = self._pooled(maps)
        u = self.branch.project(maps)
        ssl = self.method(u, self.branch, key if self.method.two_views else query)
        mi = fit = u.new_zeros(())
        if self.bound is not None:
            mi, fit = constraint(self.bound, g, F.normalize(u, dim=1))
        return self.classifier(g), Terms(ssl, mi, spread(u), constant_loss(u), dimensions(u), fit)

    def weighted(self, terms: Terms) -> Tensor:
        """``lambda * (L_ssl + eta * L_mi)``; its gradient fits the bound's own weights too, at weight 1."""
        return self.lam * (terms.ssl + self.eta * terms.mi) + (terms.fit - terms.fit.detach())

    def forward(self, images: Tensor) -> Tensor:
        """Logits, as :func:`thesislib.training.fit` asks for them.

        In training images are pairs of views, one after the other in the channels' axis, as
        :class:`thesislib.heterotopic.joint.Views` makes them, and ``self.terms`` keeps what the joint loss adds.

        Raises
        ------
        ValueError
            In training, if the channels are no pair; if the classified map has not as many as were announced.
        """
        if not self.training:
            return self.classifier(self._pooled(self.branch.trunk(images)))
        if self.method.two_views and images.shape[1] % 2:
            shape = tuple(images.shape)
            raise ValueError(
                f"images of shape {shape} are no pairs of views; call joint(query, key), or fit_joint"
            )
        query, key = images.chunk(2, 1) if self.method.two_views else (images, images)
        logits, self.terms = self.joint(query, key)
        return logits

    def _pooled(self, maps: Tensor) -> Tensor:
        """The classifier's feature."""
        maps = self.stage(maps)
        if maps.dim() != 4:
            raise ValueError(
                f"the trunk made {tuple(maps.shape)} of {len(maps)} images, expected (n, channels, height, width); "
                "leave its pooling out, or nn.Unflatten(1, (channels, 1, 1)) behind it"
            )
        g = maps.mean((-2, -1))
        if self.bound is not None and g.shape[1] != self.channels:
            raise ValueError(
                f"channels = {self.channels}, but the map that is classified has {g.shape[1]}; give their number"
            )
        return g

    def exported(self) -> nn.Sequential:
        """Trunk and classifier, and nothing of self-supervision: images to logits."""
        stage = () if isinstance(self.stage, nn.Identity) else (self.stage,)
        return nn.Sequential(
            self.branch.trunk, *stage, nn.AdaptiveAvgPool2d(1), nn.Flatten(), self.classifier
        )


def cut(model: nn.Sequential, size: int) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """A network's body before its last stage, its last stage, and its head: the model's own modules.

    Each module's own mode, of training or evaluation, stays as it is.

    Parameters
    ----------
    model : Sequential
        Convolutional body; then pooling, flattening and a linear layer.
    size : int
        Side of the images; the last stage starts where the map last shrinks.

    Raises
    ------
    ValueError
        If it is not such a network.
    """
    if not isinstance(model, nn.Sequential) or len(model) < 5 or not isinstance(model[-1], nn.Linear):
        raise ValueError(
            f"{type(model).__name__} is no Sequential of 5 or more that ends in pooling, Flatten and a Linear layer"
        )
    body, head = model[:-3], model[-3:]
    channels = next(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    weight = head[-1].weight
    maps, sides = torch.zeros(1, channels, size, size, device=weight.device, dtype=weight.dtype), [size]
    modes = [(module, module.training) for module in body.modules()]
    try:
        with torch.no_grad():
            for layer in body.eval():
                maps = layer(maps)
                sides.append(maps.shape[-1])
    finally:
        for module, mode in modes:
            module.training = mode
    start = max((k for k in range(len(body)) if sides[k + 1] < sides[k]), default=0)
    if not start:
        raise ValueError("the body never halves its map, so it has no last stage of its own")
    return body[:start], body[start:], head
