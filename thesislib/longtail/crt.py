"""Classifier re-training on frozen features: cRT (Kang et al. 2020) (thesis, section 4.5.2)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from thesislib.checkpoints import joined_facts, weights_print
from thesislib.longtail.frozen import Frozen, classifier_of, images_by_class
from thesislib.longtail.samplers import class_aware_sampler
from thesislib.recipe import Recipe
from thesislib.training import fit, seeded

CRT = Recipe(epochs=10, batch=128, lr=0.2, weight_decay=5e-4, schedule="cosine", per_epoch=True)
"""The second stage published for ImageNet-LT, but for batches of 512 there (30 epochs and weight decay 1e-4 on
iNaturalist, lr 0.1 on Places-LT). The released scheduler steps before each epoch, so its last one has a rate of 0."""


def crt(
    model: nn.Sequential, train: tuple[Tensor, Tensor], recipe: Recipe = CRT, *, seed: int = 0, **options: Any
) -> nn.Sequential:
    """A new linear classifier on a model's frozen features, trained with class-aware sampling.

    An epoch draws as many images as there are; so does the released code, whose sampler would be longer. In that code
    batch norm of the frozen backbone goes on following the batches; here features stay as they are, as the paper says.

    Parameters
    ----------
    model : Sequential
        Trained; ``model[:-1]`` makes the features, ``model[-1]`` is linear or a cosine classifier. It is left as
        it is.
    train : (images, labels)
        Every class has an image.
    recipe : Recipe
    seed : int
        Of weights and order.
    **options
        Of :func:`thesislib.training.fit`; a `sampler` is used in place of the class-aware one.

    Returns
    -------
    Sequential
        Frozen features and the new classifier, in evaluation mode.

    Raises
    ------
    ValueError
        If the model is no ``Sequential`` with such a classifier, a label is none of its classes, or a class has
        no image: its row would never be trained. Else as :func:`thesislib.training.fit`.
    """
    head = classifier_of(model)
    images_by_class(train[1], head.out_features)
    weight = next(model.parameters())
    fresh = seeded(seed, lambda: nn.Linear(head.in_features, head.out_features)).to(weight)
    made = nn.Sequential(Frozen(model[:-1]), fresh)
    facts = joined_facts({"base": weights_print(model)}, options.pop("facts", None))
    defaults = {"device": weight.device, "sampler": class_aware_sampler(train[1])}
    fit(made, train, recipe, seed=seed, facts=facts, **defaults | options)
    return made
