r"""The memory-retentive loss (thesis 4.4.3.2): what the model of phase I knew of its images' relations is kept.

The images of a batch are the nodes of two graphs: their features :math:`f_i` by the frozen model of phase I,
:math:`g_i` by the current one. The caption of Figure 4.5 gives the structure; its text was not available, so
everything else is a reconstruction, and its readings stand side by side in :data:`LOSSES`.

>>> import torch
>>> f = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
>>> g = torch.tensor([[0.96, 0.28], [0.6, 0.8], [0.0, 1.0], [-0.8, 0.6]])
>>> round(cross_graph_loss(f, g).item(), 6), round(graph_matching_loss(f, g).item(), 6)
(0.119177, 0.053956)

Losses take ``old`` and ``new`` features of one batch, shape (n, d), and a ``temperature``, positive; ``features``
are either, ``others`` those of the other graph's nodes where the neighbours are its.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TEMPERATURE = 0.1


def coefficients(features: Tensor, temperature: float, others: Tensor | None = None) -> Tensor:
    r""":math:`a_{ij} = \mathrm{softmax}_j(\langle f_i, f_j\rangle / T)`, each node's own included; shape (n, n)."""
    return (features @ (features if others is None else others).T / temperature).softmax(1)


def _weighted_distances(weights: Tensor, points: Tensor, nodes: Tensor) -> Tensor:
    r""":math:`\frac1N \sum_i \sum_j a_{ij} \lVert p_i - q_j \rVert^2`."""
    squares = points.square().sum(1)[:, None] + nodes.square().sum(1) - 2 * points @ nodes.T
    return (weights * squares).sum(1).mean()


def cross_graph_loss(old: Tensor, new: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    r"""The caption taken literally, from old to new and from new to old.

    .. math:: \tfrac12 \bigl( \tfrac1N \textstyle\sum_{ij} a_{ij} \lVert f_i - g_j\rVert^2
              + \tfrac1N \sum_{ij} b_{ij} \lVert g_i - f_j\rVert^2 \bigr)

    with :math:`a` of the old and :math:`b` of the new features; no gradient goes through :math:`b`. At
    :math:`g = f` it is not zero, and pulls features towards their neighbours: see :func:`cross_graph_floor`.

    Parameters
    ----------
    old, new : Tensor, shape (n, d)
        Features of the same views; of length 1, or the scale of the loss is theirs.
    temperature : float
    """
    a, b = coefficients(old, temperature), coefficients(new.detach(), temperature)
    return (_weighted_distances(a, old, new) + _weighted_distances(b, new, old)) / 2


def one_way_loss(old: Tensor, new: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """The first term of :func:`cross_graph_loss` alone."""
    return _weighted_distances(coefficients(old, temperature), old, new)


def cross_graph_floor(old: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """What :func:`cross_graph_loss` is where nothing has changed."""
    return _weighted_distances(coefficients(old, temperature), old, old)


def graph_matching_loss(old: Tensor, new: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    r""":math:`\frac1N\sum_i \lVert f_i - \sum_j a_{ij} g_j\rVert^2`: messages across graphs (Li et al. 2019), with the
    coefficients of the old graph."""
    return (old - coefficients(old, temperature) @ new).square().sum(1).mean()


def cross_attention_loss(old: Tensor, new: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """As :func:`graph_matching_loss`, with coefficients between the graphs, as in Graph Matching Networks."""
    return (old - coefficients(old, temperature, new) @ new).square().sum(1).mean()


def relational_loss(old: Tensor, new: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Relations alone: the mean squared difference of the two Gram matrices (Tung and Mori 2019)."""
    return (old @ old.T - new @ new.T).square().mean()


def pointwise_loss(old: Tensor, new: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Each feature by itself, without a graph: ordinary distillation, a control."""
    return (old - new).square().sum(1).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "cross-graph": cross_graph_loss,
    "one-way": one_way_loss,
    "graph matching": graph_matching_loss,
    "cross-attention": cross_attention_loss,
    "relational": relational_loss,
    "pointwise": pointwise_loss,
}
"""The readings of the loss by name; the first is the default, the last two are controls."""


def memory_retentive_loss(
    old: Tensor, new: Tensor, form: str = "cross-graph", temperature: float = TEMPERATURE
) -> Tensor:
    """The loss in one of its forms, on features brought to length 1.

    Parameters
    ----------
    old, new : Tensor, shape (n, d)
    form : str
        A key of :data:`LOSSES`.
    temperature : float
        Of the coefficients; the smaller, the more a node looks at itself alone.

    Raises
    ------
    ValueError
        On an unknown form, shapes that differ, or a temperature that is not positive.
    """
    if form not in LOSSES:
        raise ValueError(f"form = {form!r} is not one of {', '.join(LOSSES)}")
    if old.shape != new.shape or old.dim() != 2:
        raise ValueError(
            f"features have shapes {tuple(old.shape)} and {tuple(new.shape)}; expected (n, d) both"
        )
    if not temperature > 0:
        raise ValueError(f"temperature = {temperature!r}; expected a positive number")
    unit = torch.nn.functional.normalize
    return LOSSES[form](unit(old, dim=1), unit(new, dim=1), temperature)
