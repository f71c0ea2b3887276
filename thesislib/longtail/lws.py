"""Learnable weight scaling: LWS (Kang et al. 2020) (thesis, section 4.5.2)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from thesislib.checkpoints import joined_facts, weights_print
from thesislib.longtail.crt import CRT
from thesislib.longtail.frozen import Frozen, classifier_of, images_by_class
from thesislib.longtail.samplers import class_aware_sampler
from thesislib.recipe import Recipe
from thesislib.training import fit

LWS = dataclasses.replace(CRT, epochs=5)
"""As published, half as long as cRT's; see there for what differs from the released code."""


class ClassScale(nn.Module):
    """One factor a class on its logit, 1 at first; it scales the class's weights and its bias alike."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(classes))

    def forward(self, logits: Tensor) -> Tensor:
        return self.scale * logits


def lws(
    model: nn.Sequential, train: tuple[Tensor, Tensor], recipe: Recipe = LWS, *, seed: int = 0, **options: Any
) -> nn.Sequential:
    """Learn the length of each class's weights on frozen features *and* directions, with class-aware sampling.

    Arguments, and images an epoch, as for :func:`thesislib.longtail.crt.crt`.

    Returns
    -------
    Sequential
        The frozen model and its scales, in evaluation mode.

    Raises
    ------
    ValueError
        As :func:`thesislib.longtail.crt.crt`.
    """
    classes = classifier_of(model).out_features
    images_by_class(train[1], classes)
    device = next(model.parameters()).device
    made = nn.Sequential(Frozen(model), ClassScale(classes).to(device))
    facts = joined_facts({"base": weights_print(model)}, options.pop("facts", None))
    defaults = {"device": device, "sampler": class_aware_sampler(train[1])}
    fit(made, train, recipe, seed=seed, facts=facts, **defaults | options)
    return made
