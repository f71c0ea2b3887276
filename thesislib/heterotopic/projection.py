"""Features on a plane, and numbers by which a picture of them can be judged (thesis, figure 5.6).

Thesis, section 5.4.2.
"""

from __future__ import annotations

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import NearestNeighbors


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
        Of at least two classes, each with more images than there are neighbours: others' votes would have to
        outnumber those of an image's own class.
    neighbours : int

    Returns
    -------
    dict of array, shape (n,)
        ``silhouette`` (-1 to 1), and ``knn``: 1 where the nearest other images vote for the image's class, else 0.
        Of classes with as many votes the nearer one wins.

    Raises
    ------
    ValueError
        If there are not as many labels as features, or a class has no more images than there are neighbours.
    """
    features, labels = np.asarray(features, np.float32), np.asarray(labels)
    if len(features) != len(labels):
        raise ValueError(f"{len(features)} features, {len(labels)} labels; expected as many")
    classes, place, count = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2 or count.min() <= neighbours:
        raise ValueError(
            f"{len(classes)} classes, the smallest of {count.min() if len(count) else 0} images; expected two or more, "
            f"each of more than {neighbours}, the number of neighbours"
        )
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    search = NearestNeighbors(n_neighbors=neighbours, algorithm="brute").fit(unit)
    far, nearest = search.kneighbors()  # of no given points: those of the fit, each without itself
    votes = np.zeros((len(unit), len(classes)))
    # Distances of unit vectors are 2 at most, so all nearnesses together are less than one vote.
    weight = 1 + (2 - far) / (4 * neighbours)
    np.add.at(votes, (np.arange(len(unit))[:, None], place[nearest]), weight)
    return {
        "silhouette": silhouette_samples(unit, labels),
        "knn": (votes.argmax(1) == place).astype(float),
    }
