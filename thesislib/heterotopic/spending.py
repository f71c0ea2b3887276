"""What the chapter's trainings cost, in images shown to a network that learns (thesis, section 5.4).

Apart from the trainings themselves, so that counting differently makes no result stale.
"""

from __future__ import annotations

import functools

from thesislib.heterotopic.runs import Training
from thesislib.longtail.images import images_of
from thesislib.recipe import Recipe


@functools.cache
def training_images(dataset: str, training: Training, finish: Recipe | None = None) -> dict[object, int]:
    """Images of a training and of its finish, each by what tells it from all others; however many views of an
    image a step makes, it is one.

    Parameters
    ----------
    dataset : str
    training : Training
    finish : Recipe, optional
        Of cRT.

    Returns
    -------
    dict
        The union over several results is what they cost: a training that two of them share is one key.
    """
    n = len(images_of(dataset, training.ratio)["train_labels"])
    alone = training.attached.before if training.attached is not None else None
    epochs = training.recipe.epochs + (alone.epochs if alone is not None else 0)
    spent: dict[object, int] = {(dataset, training): epochs * n}
    if finish is not None:
        spent[dataset, training, finish] = finish.epochs * n
    return spent
