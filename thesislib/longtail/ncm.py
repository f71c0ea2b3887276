"""Nearest class mean (Kang et al. 2020) (thesis, section 4.5.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thesislib.longtail.frozen import classifier_of, images_by_class, with_classifier
from thesislib.prediction import predict


class NearestMean(nn.Module):
    """Logits are negative squared distances to class means, after centring and normalising features.

    Parameters
    ----------
    features : Tensor, shape (n, d)
        Of the training images.
    labels : Tensor of int64, shape (n,)
    classes : int

    Raises
    ------
    ValueError
        If there are not as many labels as features, a label is none of the classes, or a class has no image.
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        super().__init__()
        count = images_by_class(labels, classes)
        if len(labels) != len(features):
            raise ValueError(f"{len(features)} rows of features with {len(labels)} labels; expected as many")
        self.register_buffer("centre", features.mean(0))
        unit = F.normalize(features - self.centre, dim=1)
        sums = torch.zeros(
            classes, features.shape[1], device=features.device, dtype=features.dtype
        ).index_add_(0, labels, unit)
        self.register_buffer("means", sums / count[:, None])

    def forward(self, features: Tensor) -> Tensor:
        return -torch.cdist(F.normalize(features - self.centre, dim=1), self.means).square()


def ncm(model: nn.Sequential, train: tuple[Tensor, Tensor], **options: str) -> nn.Sequential:
    """A model with its classifier replaced by nearest class means of its own features.

    Parameters
    ----------
    model : Sequential
        Trained; its features are shared, not copied, and stay in its mode.
    train : (images, labels)
        Used without augmentation, in evaluation mode.
    **options
        Of :func:`thesislib.prediction.predict`.

    Raises
    ------
    ValueError
        If the model is no ``Sequential`` that ends in a linear or cosine classifier; or as :class:`NearestMean`.
    """
    classes = classifier_of(model).out_features
    images, labels = train
    images_by_class(labels, classes)
    if (device := options.get("device")) is not None:
        model.to(device)  # as a whole: `predict` would take the shared features alone
    features = predict(model[:-1], images, **options)
    return with_classifier(model, NearestMean(features, labels.to(features.device), classes))
