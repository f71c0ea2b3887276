"""Long-tailed sets: the published counts, and the images that the LDAM rule selects."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thesislib.datasets import DatasetError, fingerprint, glyphs, load_images
from thesislib.datasets.longtail import TAILS, load_longtail, longtail_counts, longtail_indices
from thesislib.longtail import shot_groups

# Images, largest and smallest class, Many / Medium / Few: counted from the published formula.
CIFAR100 = {
    200: (9_502, 500, 2, (30, 31, 39)),
    100: (10_847, 500, 5, (35, 35, 30)),
    50: (12_608, 500, 10, (41, 41, 18)),
    20: (15_907, 500, 25, (53, 47, 0)),
    10: (19_573, 500, 50, (69, 31, 0)),
}
CIFAR10 = {200: (11_203, 25), 100: (12_406, 50), 50: (13_996, 100), 10: (20_431, 500)}


@pytest.mark.parametrize("ratio", CIFAR100)
def test_cifar100_counts(ratio):
    counts = longtail_counts(100, 500, ratio)
    total, largest, smallest, groups = CIFAR100[ratio]
    assert (sum(counts), counts[0], counts[-1]) == (total, largest, smallest)
    assert tuple(int(g.sum()) for g in shot_groups(counts).values()) == groups


@pytest.mark.parametrize("ratio", CIFAR10)
def test_cifar10_counts(ratio):
    counts = longtail_counts(10, 5000, ratio)
    assert (sum(counts), counts[-1]) == CIFAR10[ratio]


def reference(labels, counts):
    """The rule as published: seed once, shuffle each class in turn, take the first so many."""
    random, kept = np.random.RandomState(0), []
    for k, count in enumerate(counts):
        members = np.where(labels == k)[0]
        random.shuffle(members)
        kept.append(members[:count])
    return np.sort(np.concatenate(kept))


@given(st.integers(2, 6), st.integers(5, 40), st.floats(1, 4), st.floats(1, 3), st.integers(0, 99))
def test_a_long_tailed_part_gives_the_same_images_as_the_whole(classes, full, less, more, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(classes), full))
    part = reference(labels, longtail_counts(classes, full, less))
    counts = longtail_counts(classes, full, min(less * more, full))
    wanted = reference(labels, counts)
    np.testing.assert_array_equal(longtail_indices(labels, counts, full), wanted)
    np.testing.assert_array_equal(part[longtail_indices(labels[part], counts, full)], wanted)


def test_a_class_that_holds_too_few_is_named():
    labels = np.repeat([0, 1], [10, 3])
    with pytest.raises(DatasetError, match="class 1 holds 3 images, expected 5 to 10"):
        longtail_indices(labels, (10, 5), 10)
    with pytest.raises(DatasetError, match="class 0 holds 10 images, expected 1 to 9"):
        longtail_indices(labels, (1, 1), 9)
    with pytest.raises(DatasetError, match="leaves the last class without an image"):
        longtail_counts(10, 50, 100)


@given(st.integers(2, 200), st.integers(1, 5000))
@example(2, 49)  # 49 * (1 / 49) is less than 1
@example(2, 98)
def test_the_largest_ratio_leaves_one_image_and_a_larger_one_is_refused(classes, largest):
    counts = longtail_counts(classes, largest, largest)
    assert (counts[0], counts[-1]) == (largest, 1)
    with pytest.raises(DatasetError, match=f"at most {largest} goes"):
        longtail_counts(classes, largest, largest + 1)


@pytest.mark.parametrize("ratio", [0.5, float("nan")])
def test_a_ratio_that_is_none(ratio):
    with pytest.raises(DatasetError, match=f"ratio {ratio:g}; expected .* a ratio of 1 or more"):
        longtail_counts(10, 50, ratio)


@pytest.mark.parametrize("name", [n for n, tail in TAILS.items() if not tail.source.startswith("cifar")])
def test_embedded_sets_have_all_three_groups_and_fall(name):
    data, tail = load_longtail(name), TAILS[name]
    counts = np.bincount(data.train_labels)
    assert counts.tolist() == list(longtail_counts(len(data.classes), tail.largest, tail.ratio))
    assert all(group.sum() >= 3 for group in shot_groups(counts, tail.many, tail.few).values())
    assert len(np.unique(np.bincount(data.test_labels))) == 1 or name == "digits_lt"


def test_a_steeper_digits_tail_lies_inside_a_flatter_one():
    flat, steep = load_longtail("digits_lt", 10), load_longtail("digits_lt", 100)
    known = {image.tobytes() for image in flat.train_images}
    assert all(image.tobytes() in known for image in steep.train_images)


def test_unknown_names_and_the_wrong_loader():
    with pytest.raises(DatasetError, match="no long-tailed set 'cifar100'; known: "):
        load_longtail("cifar100")
    with pytest.raises(DatasetError, match="use load_longtail"):
        load_images("digits_lt")


@pytest.mark.skipif("THESISLIB_DATA" not in os.environ, reason="needs THESISLIB_DATA")
def test_real_cifar100_of_every_ratio():
    """Image by image, whether the files hold the whole set or a long-tailed part of it, as some mirrors do."""
    source, full = load_images("cifar100"), np.repeat(np.arange(100), 500)
    number = np.empty(len(source.train_labels), int)  # of each image in the whole set, class by class
    order = np.argsort(source.train_labels, kind="stable")
    number[order] = reference(full, np.bincount(source.train_labels))
    for ratio, (total, *_) in CIFAR100.items():
        data = load_longtail("cifar100_lt", ratio)
        wanted = np.isin(number, reference(full, longtail_counts(100, 500, ratio)))
        assert len(data.train_labels) == wanted.sum() == total and len(data.test_labels) == 10_000
        np.testing.assert_array_equal(data.train_labels, source.train_labels[wanted])
        np.testing.assert_array_equal(data.train_images, source.train_images[wanted])
        np.testing.assert_array_equal(data.test_images, source.test_images)


def test_the_fingerprint_of_drawn_sets_is_that_of_the_file_that_draws_them():
    """Records go stale by it: that of longtail.py, which only counts, would miss another picture."""
    for name in ("glyphs_lt", "glyphs_lt_steep", "glyphs_lt_fine", "glyphs_lt_many"):
        assert fingerprint(name) == fingerprint(Path(glyphs.__file__))
