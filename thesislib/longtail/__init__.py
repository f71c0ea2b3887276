"""The long-tail room of chapters 4 and 5: how such classifiers are judged, and what they are compared with.

Losses take ``(logits, labels)`` and fit into a training loop of your own. :func:`thesislib.training.fit` calls its
``loss`` with the epoch as well, as :class:`LDAM` takes it; wrap the others: ``loss=lambda logits, y, epoch:
focal_loss(logits, y)``. Samplers are arguments of it as they are. The classifiers (:func:`crt`, :func:`lws`,
:func:`tau_norm`, :func:`ncm`) take a trained ``Sequential`` whose last layer is linear.

>>> import torch
>>> from thesislib.longtail import balanced_softmax_loss, log_prior, shot_groups
>>> counts = [300, 60, 5]
>>> {name: group.tolist() for name, group in shot_groups(counts).items()}
{'Many': [True, False, False], 'Medium': [False, True, False], 'Few': [False, False, True]}
>>> loss = balanced_softmax_loss(torch.zeros(2, 3), torch.tensor([0, 2]), log_prior(counts))

Thesis, sections 4.5.1 and 5.4.1.
"""

from thesislib.longtail.balanced_softmax import adjusted_logits, balanced_softmax_loss, log_prior
from thesislib.longtail.class_balanced import class_balanced_loss, class_balanced_weights
from thesislib.longtail.cosine import CosineClassifier
from thesislib.longtail.crt import crt
from thesislib.longtail.focal import focal_loss
from thesislib.longtail.frozen import Frozen
from thesislib.longtail.ldam import LDAM, ldam_margins
from thesislib.longtail.lws import lws
from thesislib.longtail.metrics import (
    balanced_accuracy,
    balanced_interval,
    class_accuracies,
    expected_calibration_error,
    reliability,
)
from thesislib.longtail.ncm import NearestMean, ncm
from thesislib.longtail.samplers import class_aware_sampler, passes_sampler
from thesislib.longtail.shots import SHOTS, head_classes, shot_groups
from thesislib.longtail.tau_norm import tau_norm
from thesislib.longtail.views import CropFlip, ResizedCropFlip

__all__ = [
    "LDAM",
    "SHOTS",
    "CosineClassifier",
    "CropFlip",
    "Frozen",
    "NearestMean",
    "ResizedCropFlip",
    "adjusted_logits",
    "balanced_accuracy",
    "balanced_interval",
    "balanced_softmax_loss",
    "class_accuracies",
    "class_aware_sampler",
    "class_balanced_loss",
    "class_balanced_weights",
    "crt",
    "expected_calibration_error",
    "focal_loss",
    "head_classes",
    "ldam_margins",
    "log_prior",
    "lws",
    "ncm",
    "passes_sampler",
    "reliability",
    "shot_groups",
    "tau_norm",
]
