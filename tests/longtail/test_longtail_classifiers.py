"""Classifiers on features that stay, samplers, groups and metrics."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from thesislib.longtail import (
    CosineClassifier,
    Frozen,
    NearestMean,
    balanced_accuracy,
    balanced_interval,
    class_accuracies,
    class_aware_sampler,
    crt,
    expected_calibration_error,
    head_classes,
    lws,
    ncm,
    passes_sampler,
    reliability,
    shot_groups,
    tau_norm,
)
from thesislib.models.residual import cifar_resnet
from thesislib.recipe import Recipe
from thesislib.training import predict, seeded

FEW = Recipe(epochs=2, batch=16, lr=0.1)


@pytest.fixture(scope="module")
def small():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (48, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([30, 10, 5, 3]))
    return seeded(0, lambda: cifar_resnet(8, 4)).eval(), (images, labels)


@pytest.mark.parametrize("method", [crt, lws])
def test_the_backbone_stays_bit_identical_batch_norm_statistics_too(small, method):
    model, train = small
    before = copy.deepcopy(model.state_dict())
    made = method(model, train, FEW)
    frozen = made[0].module
    features = frozen if method is crt else frozen[:-1]
    for name, value in features.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not torch.equal(predict(made, train[0]), predict(model, train[0]))


@pytest.mark.parametrize("method", [crt, lws])
def test_a_checkpoint_goes_with_its_own_base_alone(small, tmp_path, method):
    model, train = small
    made = method(model, train, FEW, checkpoint=tmp_path / "two.pt")
    again = method(model, train, FEW, checkpoint=tmp_path / "two.pt")
    assert torch.equal(predict(made, train[0]), predict(again, train[0]))
    other = seeded(1, lambda: cifar_resnet(8, 4)).eval()
    with pytest.raises(ValueError, match="another run: base was"):
        method(other, train, FEW, checkpoint=tmp_path / "two.pt")


def test_a_model_goes_to_a_device_as_a_whole(small):
    """Half of it left behind would fail at the caller's next call; seen on the device that holds no data."""
    model, (images, labels) = copy.deepcopy(small[0]), small[1]
    with pytest.raises(Exception):  # noqa: B017 - whatever a device without data makes of the features
        ncm(model, (images, labels), device="meta")
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_crt_starts_from_a_new_classifier_and_lws_from_scale_one(small):
    model, train = small
    still = Recipe(epochs=1, batch=16, lr=1e-12)
    assert not torch.allclose(crt(model, train, still)[1].weight, model[-1].weight, atol=1e-3)
    torch.testing.assert_close(predict(lws(model, train, still), train[0]), predict(model, train[0]))


def seen_by(method, model, train, **options):
    """Images of each class over the epochs of a method: each image is known by its bytes."""
    images, labels = train
    of = {image.numpy().tobytes(): label for image, label in zip(images, labels.tolist(), strict=True)}
    seen = []

    def look(batch, generator):
        seen.extend(of[image.numpy().tobytes()] for image in batch)
        return batch

    method(model, train, FEW, augment=look, **options)
    return np.bincount(seen, minlength=4).tolist()


@pytest.mark.parametrize("method", [crt, lws])
def test_the_second_stage_sees_every_class_as_often_or_as_a_given_sampler_says(small, method):
    model, train = small
    assert seen_by(method, model, train) == [24, 24, 24, 24]  # two epochs of 48 images
    assert seen_by(method, model, train, sampler=passes_sampler(48, 48)) == [60, 20, 10, 6]
    longer = class_aware_sampler(train[1], 30 * 4)
    assert seen_by(method, model, train, sampler=longer) == [60, 60, 60, 60]


@given(
    st.lists(st.sampled_from([3, 5, 6, 11]), min_size=1, max_size=40), st.integers(1, 60), st.integers(0, 9)
)
def test_one_sort_finds_the_images_that_a_search_for_each_class_does(labels, length, seed):
    """Index for index: a loop over the classes is the reference, and draws alike."""
    labels, (one, other) = torch.tensor(labels), (torch.Generator().manual_seed(seed) for _ in range(2))
    found = class_aware_sampler(labels, length)(0, one)
    classes = labels.unique()
    rounds = -(-length // len(classes))
    order = torch.cat([torch.randperm(len(classes), generator=other) for _ in range(rounds)])[:length]
    wanted = torch.full((length,), -1)
    for k, name in enumerate(classes):
        images, places = (labels == name).nonzero()[:, 0], (order == k).nonzero()[:, 0]
        pool = [
            images[torch.randperm(len(images), generator=other)]
            for _ in range(-(-len(places) // len(images)))
        ]
        wanted[places] = torch.cat([*pool, images[:0]])[: len(places)]
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("method", [crt, lws, ncm])
def test_every_class_of_the_classifier_needs_an_image_and_every_label_a_class(small, method):
    model, (images, labels) = small
    with pytest.raises(ValueError, match="class 2 has no training image"):
        method(model, (images, labels.where(labels != 2, 1)))
    with pytest.raises(ValueError, match="labels reach from 0 to 4; the model knows classes 0 to 3"):
        method(model, (images, labels.where(labels != 2, 4)))
    with pytest.raises(ValueError, match="labels reach from -100 to 3"):
        method(model, (images, labels.where(labels != 2, -100)))
    with pytest.raises(ValueError, match=r"labels are torch.float32 of shape \(48,\); expected int64"):
        method(model, (images, labels.float()))


@pytest.mark.parametrize("method", [crt, lws, ncm, lambda model, train: tau_norm(model, 1.0)])
def test_a_model_without_a_classifier_at_its_end_is_refused(small, method):
    _, train = small
    for model, message in (
        (nn.Linear(2, 2), "the model is Linear; expected a Sequential whose last layer is Linear"),
        (nn.Sequential(), "the model is empty; expected a Sequential"),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "the last layer is ReLU; expected Linear"),
    ):
        with pytest.raises(ValueError, match=message):
            method(model, train)


@pytest.mark.parametrize("method", [crt, lws, ncm])
def test_a_cosine_classifier_can_be_replaced_and_scaled_too(small, method):
    model, train = small
    cosine = nn.Sequential(*model[:-1], CosineClassifier(model[-1].in_features, 4))
    options = {} if method is ncm else {"recipe": FEW}
    assert predict(method(cosine, train, **options), train[0]).shape == (48, 4)
    with pytest.raises(ValueError, match="the last layer is CosineClassifier; expected Linear"):
        tau_norm(cosine, 1.0)


@pytest.mark.parametrize("method", [ncm, lambda model, train: tau_norm(model, 1.0)])
@pytest.mark.parametrize("training", [True, False])
def test_shared_layers_stay_in_their_modes(small, method, training):
    model, train = copy.deepcopy(small[0]).train(training), small[1]
    model[1].train(not training)  # one that somebody froze, say
    modes = [module.training for module in model.modules()]
    made = method(model, train)
    assert [module.training for module in model.modules()] == modes
    assert made[0] is model[0] and made.training == made[-1].training == training


def test_frozen_stays_in_evaluation_mode():
    frozen = Frozen(nn.BatchNorm1d(3))
    nn.Sequential(frozen).train()
    frozen(torch.rand(8, 3))
    assert not frozen.module.training and not frozen.module.running_mean.any()


def test_tau_norm_drops_the_bias_and_keeps_directions(small):
    model, (images, _) = small
    model = copy.deepcopy(model)
    nn.init.constant_(model[-1].bias, 7.0)
    plain, unit = tau_norm(model, 0.0), tau_norm(model, 1.0)
    assert plain[-1].bias is None and unit[-1].bias is None
    torch.testing.assert_close(predict(plain, images) + 7, predict(model, images))
    torch.testing.assert_close(unit[-1].weight.norm(dim=1), torch.ones(4))
    half = tau_norm(model, 0.5)[-1].weight
    torch.testing.assert_close(half.norm(dim=1), model[-1].weight.norm(dim=1).sqrt())
    nn.init.zeros_(model[-1].weight)
    with pytest.raises(ValueError, match="length 0"):
        tau_norm(model, 1.0)
    with pytest.raises(ValueError, match="expected Linear"):
        tau_norm(nn.Sequential(nn.Flatten()), 1.0)
    with pytest.raises(ValueError, match="tau = nan; expected a finite power"):
        tau_norm(model, float("nan"))


def test_ncm_finds_the_nearest_direction():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    images = torch.tensor([[1.0, 0.2], [1.0, 0.0], [-1.0, 0.1], [-1.0, -0.3]])
    made = ncm(model, (images, torch.tensor([1, 1, 0, 0])))
    assert predict(made, torch.tensor([[0.4, 0.0], [-9.0, 0.5]])).argmax(1).tolist() == [1, 0]
    with pytest.raises(ValueError, match="class 1 has no training image"):
        ncm(model, (images, torch.zeros(4, dtype=torch.int64)))


def test_the_nearest_mean_centres_features_before_they_become_directions():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = 9 + torch.randn(60, 5, generator=generator) + torch.eye(3, 5)[labels]
    queries = 9 + torch.randn(20, 5, generator=generator)
    centre = features.mean(0)
    unit = nn.functional.normalize(features - centre)
    means = torch.stack([unit[labels == k].mean(0) for k in range(3)])
    rest = nn.functional.normalize(queries - centre)[:, None] - means
    layer = NearestMean(features, labels, 3)
    torch.testing.assert_close(layer(queries), -rest.square().sum(2), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="59 rows of features with 60 labels"):
        NearestMean(features[1:], labels, 3)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.integers(1, 60), st.integers(0, 99))
def test_class_aware_sampling_is_as_equal_as_can_be(counts, length, seed):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    drawn = class_aware_sampler(labels, length)(0, torch.Generator().manual_seed(seed))
    seen = torch.bincount(labels[drawn], minlength=len(counts))
    assert len(drawn) == length and seen.max() - seen.min() <= 1
    for k, count in enumerate(counts):  # no image again before all have come
        images = torch.bincount(drawn[labels[drawn] == k], minlength=len(labels))[labels == k]
        assert images.max() - images.min() <= 1 or count == 1


def test_cosine_classifier_sees_directions_only():
    layer, x = CosineClassifier(5, 3, scale=2.0), torch.randn(4, 5)
    torch.testing.assert_close(layer(x), layer(10 * x))
    assert layer(x).abs().max() <= 2.0 + 1e-6
    # LDAM's released layer starts from rows of length 1: by how much a step turns them goes with it.
    torch.testing.assert_close(layer.weight.detach().norm(dim=1), torch.ones(3))


def test_groups_are_strict_and_whole():
    groups = shot_groups([500, 101, 100, 20, 19, 1])
    assert [np.flatnonzero(g).tolist() for g in groups.values()] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match="overlap"):
        shot_groups([3, 2], many=5, few=7)
    with pytest.raises(ValueError, match="at least 1"):
        shot_groups([3, 0])
    with pytest.raises(ValueError, match="for at least one class"):
        head_classes([], 100)
    with pytest.raises(ValueError, match="at least 1"):
        shot_groups([3, float("nan")])


def test_head_classes_are_sorted_by_count_then_number():
    assert head_classes([5, 50, 9, 50], 5).tolist() == [1, 3, 2]
    with pytest.raises(ValueError, match="the largest has 50"):
        head_classes([5, 50], 50)


def test_class_accuracies_and_balanced_accuracy():
    labels, predicted = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([0, 0, 1, 1, 0, 2])
    by_class = class_accuracies(predicted, labels, 3)
    np.testing.assert_allclose(by_class, [2 / 3, 1, 1 / 2])
    assert balanced_accuracy(by_class) == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert balanced_accuracy(by_class, np.array([False, True, True])) == pytest.approx(0.75)
    assert np.isnan(balanced_accuracy(by_class, np.zeros(3, bool)))
    with pytest.raises(ValueError, match="0 to 1"):
        class_accuracies(predicted, labels, 2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, p, n = np.random.default_rng(0), np.array([0.9, 0.5, 0.1]), np.array([40, 40, 40])
    inside = 0
    for _ in range(2000):
        _, low, high = balanced_interval(rng.binomial(n, p) / n, n)
        inside += low <= p.mean() <= high
    assert 0.93 < inside / 2000 < 0.975
    perfect = balanced_interval(np.ones(3), n)
    assert perfect.mean == 1 and perfect.low < 1


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_two_successes_and_two_failures_are_spread_over_the_classes(classes):
    """Each class of n images gets its part of them: k classes that are all right have the smoothed share
    (n + 2 / k) / (n + 4 / k), whose binomial variance is then that of the mean of k.
    """
    n = 20
    smooth = (n + 2 / classes) / (n + 4 / classes)
    reach = 1.959964 * np.sqrt(smooth * (1 - smooth) / (n + 4 / classes) / classes)
    found = balanced_interval(np.ones(classes), np.full(classes, n))
    assert found.mean == 1 and found.low == pytest.approx(smooth - reach, abs=1e-6)
    assert found.high == pytest.approx(min(1, smooth + reach), abs=1e-6)


def test_the_interval_of_a_group_is_of_a_mask_not_of_numbers():
    by_class, n = np.array([0.9, 0.5, 0.1]), np.array([40, 40, 40])
    assert balanced_interval(by_class, n, np.array([True, False, True])).mean == pytest.approx(0.5)
    for group in (head_classes([300, 200, 5], 100), np.array([0, 1, 1]), np.array([True])):
        with pytest.raises(ValueError, match=r"expected bool of shape \(3,\)"):
            balanced_interval(by_class, n, group)
        with pytest.raises(ValueError, match="expected bool of shape"):
            balanced_accuracy(by_class, group)


def test_calibration_error_by_hand():
    confidence = torch.tensor([0.95, 0.95, 0.55, 0.55])
    logits = torch.stack([confidence.logit(), torch.zeros(4)], 1)
    labels = torch.tensor([0, 1, 0, 0])  # right half the time at 0.95, always at 0.55
    assert expected_calibration_error(logits, labels, 10) == pytest.approx(0.5 * 0.45 + 0.5 * 0.45)
    mean, gap, share = reliability(logits, labels, 10)
    assert share[9] == 0.5 and gap[9] == pytest.approx(-0.45) and mean[5] == pytest.approx(0.55)
    assert share.sum() == pytest.approx(1)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    """Bins are (low, high], as in Guo et al. (2017); two equal logits are one half exactly."""
    mean, gap, share = reliability(torch.zeros(4, 2), torch.tensor([0, 0, 0, 1]), 2)
    assert share.tolist() == [1, 0] and mean.tolist() == [0.5, 0] and gap.tolist() == [0.25, 0]
    both = torch.tensor([[0.0, 0.0], [2.0, 0.0]])  # one half wrong, and one sure of what is right
    sure = torch.tensor(2.0).sigmoid().item()
    assert expected_calibration_error(both, torch.tensor([1, 0]), 2) == pytest.approx((0.5 + 1 - sure) / 2)


@pytest.mark.parametrize("of", [reliability, expected_calibration_error])
def test_calibration_of_what_is_none(of):
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    for labels in (torch.tensor([0, 1, 2, 7, 8, 9]), torch.tensor([0, 1, 2, 0, 1, -100])):
        with pytest.raises(ValueError, match=r"labels reach from .*; the logits are of classes 0 to 2"):
            of(logits, labels)
    for bad in (float("nan"), float("inf")):
        spoilt = logits.clone()
        spoilt[4, 1] = bad
        with pytest.raises(ValueError, match="logits of image 4 are NaN or infinite"):
            of(spoilt, torch.arange(6) % 3)
    masked = logits.clone()
    masked[:, 2] = -float("inf")  # a class left out, which has a softmax
    assert of(masked, torch.zeros(6, dtype=torch.int64)) is not None


@pytest.mark.parametrize(
    "make", [lambda m, t: tau_norm(m, 0.5), crt, ncm, lws], ids=["tau", "crt", "ncm", "lws"]
)
def test_second_stages_of_a_model_in_double_precision_predict_in_it(make):
    images, labels = torch.rand(12, 5, dtype=torch.float64), torch.arange(12) % 3
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    assert make(model, (images, labels))(images).dtype == torch.float64


def test_the_cosine_classifier_in_double_precision_is_that_in_single():
    classifier, x = CosineClassifier(5, 3), torch.rand(7, 5)
    torch.testing.assert_close(classifier(x), copy.deepcopy(classifier).double()(x.double()).float())


def test_an_epoch_without_an_index_is_refused():
    with pytest.raises(ValueError, match="length = 0; expected 1 or more"):
        class_aware_sampler(torch.tensor([0, 1]), 0)
