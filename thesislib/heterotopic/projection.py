"""Features on a plane, and numbers by which a picture of them can be judged (thesis, figure 5.6).

Thesis, section 5.4.2.
"""

from __future__ import annotations

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_samples


def t_sne(features: np.ndarray, *, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """t-SNE from a start by principal components, the same settings for whatever is compared.

    Parameters
    ----------
    features : array, shape (n, channels)
    perplexity : float
        Below n.
    seed : int

    Returns
    -------
    array, shape (n, 2)

    Raises
    ------
    ValueError
        If there are not more points than the perplexity, or a value is not finite.
    """
    features = np.asarray(features, float)
    if features.ndim != 2 or len(features) <= perplexity:
        raise ValueError(
            f"features of shape {features.shape}; expected (n, channels) with n above {perplexity:g}"
        )
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)


def separation(features: np.ndarray, labels: np.ndarray, *, neighbours: int = 20) -> dict[str, np.ndarray]:
    """How well classes keep apart in feature space (not in the picture of it), image by image.

    Parameters
    ----------
    features : array, shape (n, channels)
        Compared after scaling to unit length.
    labels : array, shape (n,)
        Of at least two classes.
    neighbours : int

    Returns
    -------
    dict of array, shape (n,)
        ``silhouette`` (-1 to 1), and ``knn``: 1 where the nearest other images vote for the image's class, else 0.

    Raises
    ------
    ValueError
        If there are no more images than neighbours.
    """
    features, labels = np.asarray(features, float), np.asarray(labels)
    if len(features) <= neighbours or len(features) != len(labels):
        raise ValueError(
            f"{len(features)} features, {len(labels)} labels; expected as many, more than {neighbours}"
        )
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)  # an image has no vote on itself
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :neighbours]
    classes, place = np.unique(labels, return_inverse=True)
    votes = np.eye(len(classes))[place[nearest]].sum(1)
    return {
        "silhouette": silhouette_samples(unit, labels),
        "knn": (votes.argmax(1) == place).astype(float),
    }
