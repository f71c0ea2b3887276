"""Numbers beside the projection: one for classes that lie apart, chance for noise."""

import numpy as np
import pytest

from thesislib.heterotopic.projection import separation, t_sne


def clouds(distance, n=40, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), n)
    return rng.standard_normal((classes * n, 8)) + distance * np.eye(8)[labels], labels


def test_classes_far_apart_are_told_and_noise_is_not():
    apart = separation(*clouds(20.0))
    assert apart["knn"].all() and apart["silhouette"].mean() > 0.7
    noise = separation(*clouds(0.0))
    assert noise["knn"].mean() < 0.55 and abs(noise["silhouette"].mean()) < 0.05


def test_neighbours_are_counted_without_the_image_itself():
    features, labels = clouds(0.0, n=15)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    right = []
    for i in range(len(unit)):
        distance = np.linalg.norm(unit - unit[i], axis=1)
        distance[i] = np.inf
        near = np.argsort(distance)[:5]
        votes = np.bincount(labels[near], minlength=3) - 1e-3 * np.bincount(labels[near], distance[near], 3)
        right.append(votes.argmax() == labels[i])
    assert separation(features, labels, neighbours=5)["knn"].tolist() == right


def test_of_classes_with_as_many_votes_the_nearer_one_wins():
    """Whatever its number: ties would else go to low numbers, which are a long tail's head."""
    both = np.array([0, 0, 0, 1, 1, 1])
    turned = np.array([0.0, 0.1, -0.5, 0.12, 1.0, 1.1])
    features = np.stack([np.cos(turned), np.sin(turned)], 1)
    for labels in (both, 1 - both):
        assert separation(features, labels, neighbours=2)["knn"][0] == 1


def test_a_class_that_cannot_outvote_its_neighbours_is_refused():
    """Perfectly separated classes of four images have three own votes of twenty: 0 would be read as a bad feature."""
    features, labels = clouds(20.0, n=4, classes=6)
    with pytest.raises(ValueError, match=r"the smallest of 4 images; .* each of more than 20"):
        separation(features, labels)
    assert separation(features, labels, neighbours=3)["knn"].all()


def test_the_picture_keeps_far_classes_apart_and_repeats():
    features, labels = clouds(20.0)
    flat = t_sne(features, perplexity=10)
    assert flat.shape == (120, 2) and np.array_equal(flat, t_sne(features, perplexity=10))
    assert separation(flat - flat.mean(0), labels)["knn"].mean() > 0.95


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="with n above 30"):
        t_sne(np.zeros((30, 2)))
    with pytest.raises(ValueError, match="20 features, 19 labels"):
        separation(np.zeros((20, 2)), np.zeros(19))
