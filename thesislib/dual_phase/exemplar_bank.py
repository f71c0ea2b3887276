"""The exemplar bank (thesis 4.4.3.1): a few images of each head class that phase II goes on seeing.

Selection and prototypes take turns (Figure 4.4): with prototypes fixed the nearest images are selected, from
the selected ones the prototypes are computed anew. What "nearest" looks at is a reconstruction; the rules stand
side by side in :data:`RULES`.

Rules take ``features``, shape (n, d), the ``members`` of a class among them, the ``size`` wanted and a ``generator``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

ROUNDS = 20  # at most; it settles after three or four


@dataclass(frozen=True)
class Bank:
    """Which images were selected.

    Attributes
    ----------
    indices : Tensor of int64, shape (n,)
        Places in the features it was selected from, class by class.
    prototypes : list of Tensor, shape (classes, d) each
        Before the first selection and after each; one alone if the rule knows no rounds.
    selected : list of Tensor
        The indices after each round.
    """

    indices: Tensor
    prototypes: list[Tensor]
    selected: list[Tensor]


def exemplar_bank(
    features: Tensor, labels: Tensor, size: int, rule: str = "alternating", *, seed: int = 0
) -> Bank:
    """Select exemplars of every class that occurs in `labels`.

    Parameters
    ----------
    features : Tensor, shape (n, d)
        Of the phase-I model in evaluation mode on images without augmentation; brought to length 1 here.
    labels : Tensor of int64, shape (n,)
    size : int
        Exemplars a class; of a class with fewer images all are taken.
    rule : str
        A key of :data:`RULES`.
    seed : int
        Of the random rule.

    Raises
    ------
    ValueError
        On an unknown rule, a size that is no whole number of 1 or more, no images, or features that are not finite.

    Examples
    --------
    >>> features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.7, 0.7]])
    >>> exemplar_bank(features, torch.tensor([0, 0, 1, 1, 1]), size=1).indices.shape
    torch.Size([2])
    """
    if rule not in RULES:
        raise ValueError(f"rule = {rule!r} is not one of {', '.join(RULES)}")
    shapes = f"features {tuple(features.shape)}, labels {tuple(labels.shape)}"
    if not isinstance(size, Integral) or size < 1 or not len(labels) or features.shape[:1] != labels.shape:
        raise ValueError(f"size = {size} with {shapes}; expected size >= 1 and (n, d), (n,) with n > 0")
    if odd := int((~features.isfinite()).any(1).sum()):
        raise ValueError(
            f"{odd} of {len(features)} features are NaN or infinite; was the model's training sound?"
        )
    unit = F.normalize(features.float().cpu(), dim=1)
    labels = labels.cpu()
    members = [torch.nonzero(labels == k)[:, 0] for k in labels.unique()]
    return RULES[rule](unit, members, size, torch.Generator().manual_seed(seed))


def _means(features: Tensor, members: list[Tensor]) -> Tensor:
    return torch.stack([features[m].mean(0) for m in members])


def _distances(features: Tensor, members: list[Tensor], prototypes: Tensor) -> list[Tensor]:
    return [(features[m] - p).square().sum(1) for m, p in zip(members, prototypes, strict=True)]


def _smallest(scores: list[Tensor], members: list[Tensor], size: int) -> list[Tensor]:
    """The `size` members of least score in each class, ties by place, in the order of their places."""
    return [m[s.sort(stable=True).indices[:size]].sort().values for s, m in zip(scores, members, strict=True)]


def _take_turns(
    features: Tensor, members: list[Tensor], size: int, score: Callable[[Tensor], list[Tensor]], rounds: int
) -> Bank:
    """Selection with prototypes fixed, prototypes of the selection, until the selection stays."""
    prototypes, selected = [_means(features, members)], []
    for _ in range(rounds):
        chosen = _smallest(score(prototypes[-1]), members, size)
        if selected and torch.equal(torch.cat(chosen), selected[-1]):
            break
        selected.append(torch.cat(chosen))
        prototypes.append(_means(features, chosen))
    return Bank(selected[-1], prototypes, selected)


def alternating(features: Tensor, members: list[Tensor], size: int, generator: Generator) -> Bank:
    r"""Nearest to the prototype by Euclidean distance.

    No round increases :math:`\sum_{x \in S}\lVert f(x) - c\rVert^2`: the selection minimises it for a fixed
    prototype, the mean for a fixed selection. So it settles.
    """
    return _take_turns(features, members, size, lambda c: _distances(features, members, c), ROUNDS)


def nearest(features: Tensor, members: list[Tensor], size: int, generator: Generator) -> Bank:
    """Nearest to the class mean: one round of :func:`alternating`."""
    return _take_turns(features, members, size, lambda c: _distances(features, members, c), 1)


def discriminative(features: Tensor, members: list[Tensor], size: int, generator: Generator) -> Bank:
    r"""Nearest in comparison with the other prototypes: most of :math:`\mathrm{softmax}_k(-\lVert f - c_k\rVert^2)`."""

    def score(prototypes: Tensor) -> list[Tensor]:
        # log of the softmax, with the sign of a distance
        return [
            -F.log_softmax(-torch.cdist(features[m], prototypes).square(), 1)[:, k]
            for k, m in enumerate(members)
        ]

    return _take_turns(features, members, size, score, ROUNDS)


def herding(features: Tensor, members: list[Tensor], size: int, generator: Generator) -> Bank:
    """One at a time, each the one that brings the mean of the chosen nearest to the class mean (iCaRL)."""
    means, chosen = _means(features, members), []
    for m, mean in zip(members, means, strict=True):
        mine, total, taken = features[m], torch.zeros_like(mean), []
        for step in range(min(size, len(m))):
            gap = (mean - (total + mine) / (step + 1)).square().sum(1)
            gap[taken] = torch.inf
            taken.append(int(gap.argmin()))
            total = total + mine[taken[-1]]
        chosen.append(m[torch.tensor(taken)].sort().values)
    indices = torch.cat(chosen)
    return Bank(indices, [means, _means(features, chosen)], [indices])


def random(features: Tensor, members: list[Tensor], size: int, generator: Generator) -> Bank:
    """Uniformly, without replacement."""
    chosen = [m[torch.randperm(len(m), generator=generator)[:size]].sort().values for m in members]
    indices = torch.cat(chosen)
    return Bank(indices, [_means(features, members), _means(features, chosen)], [indices])


RULES: dict[str, Callable[[Tensor, list[Tensor], int, Generator], Bank]] = {
    "alternating": alternating,
    "discriminative": discriminative,
    "herding": herding,
    "nearest": nearest,
    "random": random,
}
"""Ways to select, by the name of Table 4.8's row; the first is the default."""
