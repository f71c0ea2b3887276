"""Features that stay as they are, and the classifier behind them (thesis, section 4.4.3)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from thesislib.longtail.cosine import CosineClassifier


class Frozen(nn.Module):
    """A copy of a module in evaluation mode for good: no gradient, no new batch-norm statistics.

    A frozen module must not only need no gradient: in training mode its running statistics would still move. Images
    that need a gradient of their own get one.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Frozen:
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


def classifier_of(
    model: nn.Module, kinds: tuple[type[nn.Module], ...] = (nn.Linear, CosineClassifier)
) -> nn.Module:
    """The last layer of a model, if it is one that can be replaced or scaled.

    Parameters
    ----------
    model : Sequential
    kinds : tuple of classes
        Of which the layer may be.

    Raises
    ------
    ValueError
        If the model is no ``Sequential`` or ends in another layer.
    """
    expected = " or ".join(kind.__name__ for kind in kinds)
    if not isinstance(model, nn.Sequential) or not len(model):
        found = "empty" if isinstance(model, nn.Sequential) else type(model).__name__
        raise ValueError(f"the model is {found}; expected a Sequential whose last layer is {expected}")
    if not isinstance(model[-1], kinds):
        raise ValueError(f"the last layer is {type(model[-1]).__name__}; expected {expected}")
    return model[-1]


def with_classifier(model: nn.Sequential, classifier: nn.Module) -> nn.Sequential:
    """A model's own layers, shared and each in its mode, behind which another classifier stands.

    Parameters
    ----------
    model : Sequential
    classifier : Module
        In the place of ``model[-1]``; it takes the model's mode.
    """
    made = nn.Sequential(*model[:-1], classifier.train(model.training))
    made.training = model.training  # not made.train(), which would reach the caller's layers
    return made


def images_by_class(labels: Tensor, classes: int) -> Tensor:
    """How many images each class of a classifier has to learn from, int64, shape (classes,).

    Parameters
    ----------
    labels : Tensor of int64, shape (n,)
    classes : int

    Raises
    ------
    ValueError
        If labels are no whole numbers from 0 to ``classes - 1``, or a class has no image.
    TypeError
        If they are no tensor.
    """
    if not isinstance(labels, Tensor):
        kind = type(labels).__name__
        raise TypeError(f"labels are {kind}, expected a tensor; torch.from_numpy makes one of an array")
    if labels.dim() != 1 or not len(labels) or labels.is_floating_point():
        found = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise ValueError(f"labels are {found}; expected int64 of (n,), n > 0")
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= classes:
        raise ValueError(f"labels reach from {low} to {high}; the model knows classes 0 to {classes - 1}")
    count = torch.bincount(labels, minlength=classes)
    if (empty := (count == 0).nonzero()[:, 0]).numel():
        raise ValueError(f"class {empty[0].item()} has no training image; expected one or more of each")
    return count
