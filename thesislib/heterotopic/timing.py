"""What an epoch of joint training costs beside one of cross-entropy alone (thesis, section 5.3.2).

Variant (i) has no such epoch; what it costs is measured by its trainings, see
:func:`thesislib.heterotopic.experiments.fig_5_3`.

Apart from the trainings themselves: nothing of it decides what they learn.
"""

from __future__ import annotations

import time
from dataclasses import replace

from torch import Tensor

from thesislib.heterotopic.joint import fit_joint
from thesislib.heterotopic.runs import Training, ensemble, fresh
from thesislib.longtail import CropFlip
from thesislib.longtail.images import images_of
from thesislib.memo import memoised
from thesislib.training import fit


@memoised(data="dataset")
def epoch_seconds(
    dataset: str, trainings: tuple[Training, ...], times_over: tuple[int, ...]
) -> list[dict[int, float]]:
    """CPU seconds of one epoch of each training, on the set's images so many times over.

    The trainings take turns, so that a busy moment of the machine meets all of them; the best of two counts.

    Parameters
    ----------
    dataset : str
    trainings : tuple of Training
        Not those of variant (i), which are two trainings one after the other: an epoch of self-supervision alone, and
        one of cross-entropy. What both take, trainings themselves measured (figure 5.3).
    times_over : tuple of int

    Returns
    -------
    list of dict
        For each training, number of images to seconds.

    Raises
    ------
    ValueError
        For a training of variant (i).
    """
    if any(t.attached is not None and t.attached.before for t in trainings):
        raise ValueError("variant (i) has no epoch of its own: it is self-supervision, then cross-entropy")
    data = images_of(dataset, None)
    best: list[dict[int, float]] = [{} for _ in trainings]
    for times in times_over:
        train = data["train"].repeat(times, 1, 1, 1), data["train_labels"].repeat(times)
        n = len(train[1])
        for _ in range(2):
            for found, training in zip(best, trainings, strict=True):
                found[n] = min(found.get(n, float("inf")), _seconds(dataset, training, train))
    return best


def _seconds(dataset: str, training: Training, train: tuple[Tensor, Tensor]) -> float:
    plain = {"schedule": "constant", "milestones": (), "warmup": 0}
    recipe, attached = replace(training.recipe, epochs=1, **plain), training.attached
    options = {"device": training.device, "precision": training.precision, "seed": training.seed}
    weak, model = CropFlip(training.pad, training.flip), fresh(dataset, training)
    if attached is None:
        began = time.process_time()
        fit(model, train, recipe, augment=weak, **options)
    else:
        joint = ensemble(model, attached, size=train[0].shape[-1], seed=training.seed)
        began = time.process_time()
        fit_joint(joint, train, recipe, weak=weak, strong=attached.view, **options)
    return time.process_time() - began
