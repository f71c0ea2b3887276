"""What the chapter's trainings cost, in images shown to a network that learns (thesis, section 4.5.1).

Apart from the trainings themselves, so that counting differently makes no result stale.
"""

from __future__ import annotations

import functools

from thesislib.datasets.longtail import TAILS
from thesislib.dual_phase.runs import Finish, Training
from thesislib.longtail.images import images_of


@functools.cache
def training_images(dataset: str, training: Training, finish: Finish | None = None) -> dict[object, int]:
    """Images of a training and of its finish, each by what tells it from all others.

    Parameters
    ----------
    dataset : str
    training : Training
    finish : Finish, optional

    Returns
    -------
    dict
        The union over several results is what they cost: a training that many finishes share is one key.
    """
    counts = images_of(dataset, training.ratio)["counts"]
    spent = {(dataset, training): training.recipe.epochs * int(counts.sum())}  # phase I draws as many
    if finish is None:
        return spent
    if (second := finish.phase_two) is not None:
        spent[dataset, training, finish] = second.recipe.epochs * second.length
    elif finish.recipe is not None:
        probed = counts[counts > TAILS[dataset].many] if finish.kind == "Linear probe" else counts
        spent[dataset, training, finish] = finish.recipe.epochs * int(probed.sum())
    return spent
