"""Gradient distortion: angles by hand, and the meter against gradients taken the long way."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thesislib.dual_phase.gradient_distortion import (
    MEASURES,
    GradientAngles,
    backbone_parameters,
    between,
)
from thesislib.models.residual import cifar_resnet
from thesislib.recipe import Recipe
from thesislib.training import fit, seeded


def test_angles_by_hand():
    angles = between(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0]))
    assert angles["head"].item() == pytest.approx(18.435, abs=1e-3)
    assert angles["tail"].item() == pytest.approx(71.565, abs=1e-3)
    assert angles["parts"].item() == pytest.approx(90, abs=1e-3)
    assert math.cos(math.radians(angles["head"].item())) == pytest.approx(0.948683, abs=1e-6)
    assert between(torch.zeros(2), torch.ones(2))["head"].isnan()


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(24, 3, 8, 8, generator=generator)
    labels = torch.arange(24) % 4
    return seeded(0, lambda: cifar_resnet(8, 4)), images, labels


def test_head_and_tail_gradient_add_up_to_that_of_the_loss(problem):
    model, images, labels = problem
    head = torch.tensor([True, True, False, False])
    parameters = backbone_parameters(model)
    meter = GradientAngles(parameters, head, every=1)
    losses = F.cross_entropy(model(images), labels, reduction="none")
    parts = [meter._gradient(losses @ w) for w in (head[labels].float(), (~head)[labels].float())]
    whole = torch.cat([g.flatten() for g in torch.autograd.grad(losses.sum(), parameters)])
    torch.testing.assert_close(parts[0] + parts[1], whole, rtol=1e-4, atol=1e-4)


def test_measuring_changes_nothing_in_the_training(problem):
    model, images, labels = problem
    twin, recipe = copy.deepcopy(model), Recipe(epochs=2, batch=8, lr=0.05)
    meter = GradientAngles(backbone_parameters(twin), torch.tensor([True, True, False, False]), every=2)
    fit(model, (images, labels), recipe)
    fit(twin, (images, labels), recipe, loss=meter)
    for (name, one), other in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-6), name
    rows = meter.rows()
    assert rows["epoch"] == [0] and rows["steps"] == [2]  # steps 0, 2 and 4; one is no spread
    assert all(len(rows[f"mean {name}"]) == 1 for name in MEASURES)


def test_the_meter_sees_the_angles_of_a_linear_model():
    """One weight vector per input axis: head images pull one axis, tail images the other."""
    layer, classifier = nn.Linear(2, 2, bias=False), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    with torch.no_grad():
        layer.weight.copy_(torch.zeros(2, 2))
    images, labels = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]]), torch.tensor([0, 0, 0, 1])
    meter = GradientAngles([layer.weight], torch.tensor([True, False]), every=1)
    for _ in range(2):
        meter(layer(images) @ classifier, labels, 0)
    rows = meter.rows()
    # Gradients lie on different columns of the weights, so they are orthogonal, three images against one.
    assert rows["mean parts"][0] == pytest.approx(90, abs=1e-3)
    assert rows["mean head"][0] == pytest.approx(math.degrees(math.atan(1 / 3)), abs=1e-3)
    assert rows["mean head, equal weight"][0] == pytest.approx(45, abs=1e-3)
    assert rows["mean head sample"][0] == pytest.approx(math.degrees(math.atan(1 / 3)), abs=1e-3)


def test_the_head_sample_is_as_many_head_images_as_there_are_tail_images():
    """Head images on axes of their own, so that which of them are in the sample shows in its angle."""
    layer = nn.Linear(5, 1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
    images, labels = torch.eye(5), torch.tensor([0, 1, 0, 1, 0])
    meter = GradientAngles([layer.weight], torch.tensor([True, False]), every=1)
    for _ in range(2):
        meter(layer(images) @ torch.tensor([[1.0, -1.0]]), labels, 0)
    # Each image pulls its own axis as hard: two of the three of the head against all five.
    assert meter.rows()["mean head sample"][0] == pytest.approx(
        math.degrees(math.acos(math.sqrt(2 / 5))), abs=1e-3
    )


def test_a_batch_without_tail_is_left_out(problem):
    model, images, labels = problem
    meter = GradientAngles(backbone_parameters(model), torch.tensor([True, True, False, False]), every=1)
    for chosen in (labels < 2, labels >= 0, labels >= 0, labels >= 2):
        meter(model(images[chosen]), labels[chosen], 0)
    assert meter.rows()["steps"] == [2]


def test_bad_input():
    with pytest.raises(ValueError, match="4 of 4 classes are head"):
        GradientAngles([], torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="0 of 4 classes are head"):
        GradientAngles([], torch.zeros(4, dtype=torch.bool))
    with pytest.raises(ValueError, match="every = 0"):
        GradientAngles([], torch.tensor([True, False]), every=0)
    with pytest.raises(ValueError, match=r"every = 1\.5"):
        GradientAngles([], torch.tensor([True, False]), every=1.5)
    for head in (torch.arange(2), np.array([True, False])):
        with pytest.raises(TypeError, match="expected a tensor of bool"):
            GradientAngles([], head)
    with pytest.raises(ValueError, match=r"logits of shape \(4, 3\) and head of 2 classes"):
        GradientAngles([], torch.tensor([True, False]))(torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))


def test_a_resumed_training_has_the_angles_of_one_that_was_not_stopped(problem, tmp_path):
    model, images, labels = problem
    recipe, head = Recipe(epochs=4, batch=8, lr=0.05), torch.tensor([True, True, False, False])

    def stop(_, row):
        if row["epoch"] == 2:  # the third epoch is lost with the process
            raise KeyboardInterrupt

    def measured(model, **options):
        meter = GradientAngles(backbone_parameters(model), head, every=2)
        fit(model, (images, labels), recipe, loss=meter, **options)
        return meter.rows()

    whole = measured(copy.deepcopy(model))
    file = tmp_path / "training.pt"
    with pytest.raises(KeyboardInterrupt):
        measured(copy.deepcopy(model), checkpoint=file, on_epoch=stop)
    assert measured(copy.deepcopy(model), checkpoint=file) == whole
    assert whole["steps"] == [2, 2]  # of epochs 0 and 2: the step counts on from epoch to epoch
