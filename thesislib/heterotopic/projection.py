"""Features on a plane, and numbers by which a picture of them can be judged (thesis, figure 5.6)."""

from __future__ import annotations

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier


def t_sne(
    features: np.ndarray, *, perplexity: float = 30.0, seed: int = 0, progress: bool = False
) -> np.ndarray:
    """t-SNE from a start by principal components, the same settings for whatever is compared.

    Parameters
    ----------
    features : array, shape (n, channels)
    perplexity : float
        Below n.
    seed : int
    progress : bool
        Whether scikit-learn reports every fifty steps.

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
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=seed, verbose=2 * progress)
    return tsne.fit_transform(features)


def separation(features: np.ndarray, labels: np.ndarray, *, neighbours: int = 20) -> dict[str, float]:
    """How well classes keep apart in feature space (not in the picture of it).

    Parameters
    ----------
    features : array, shape (n, channels)
    labels : array, shape (n,)
        Of at least two classes.
    neighbours : int

    Returns
    -------
    dict
        ``silhouette`` (-1 to 1) of the features scaled to unit length, and ``knn``: the share of images whose
        nearest others, themselves left out, vote for their class.

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
    model = KNeighborsClassifier(neighbours + 1, algorithm="brute").fit(unit, labels)
    nearest = model.kneighbors(unit, return_distance=False)
    own = np.arange(len(unit))[:, None]
    # Itself is nearest unless others coincide with it; then the last one goes.
    keep = nearest != own
    keep[keep.all(1), -1] = False
    votes = labels[nearest[keep].reshape(-1, neighbours)]
    classes = np.unique(labels)
    counts = (votes[:, :, None] == classes).sum(1)
    return {
        "silhouette": float(silhouette_score(unit, labels)),
        "knn": float((classes[counts.argmax(1)] == labels).mean()),
    }
