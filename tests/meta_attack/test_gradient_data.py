"""Gradient maps: by hand on a linear victim, by automatic differentiation, by queries alone."""

import pytest
import torch
from torch import nn

from thesislib.blackbox import Goal, Victim
from thesislib.meta_attack.gradient_data import estimated, standardised, white_box


def linear():
    """Three classes of images of one by two by two pixels, and the rows of its weights."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).double()
    return nn.Sequential(nn.Flatten(), layer), layer.weight.detach()


@pytest.mark.parametrize("targeted", [False, True])
def test_the_gradient_of_a_linear_victim_by_hand(targeted):
    model, weight = linear()
    images = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ranks = model(images).argsort(1, descending=True)
    labels = ranks[:, 0].clone()
    targets = ranks[:, 2] if targeted else None
    if targeted:
        labels[0] = ranks[0, 1]
        targets = targets.clone()
        targets[0] = ranks[0, 0]  # the goal is reached already
        expected = weight[ranks[:, 0]] - weight[targets]
    else:
        labels[0] = ranks[0, 1]  # misclassified
        expected = weight[ranks[:, 0]] - weight[ranks[:, 1]]
    expected[0] = 0
    goal = Goal(labels, targets)
    found = white_box(model, images, goal)
    torch.testing.assert_close(found.flatten(1), expected, rtol=0, atol=1e-12)
    by_queries = estimated(Victim(model), images, goal)
    torch.testing.assert_close(by_queries.flatten(1), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
def test_queries_alone_find_the_gradient(make, hook, channels):
    model, images = make.victim(channels=channels, size=11), make.pictures(3, 0, channels, 11)
    labels = model(images).argmax(1)
    goal = Goal(labels, (labels + 1) % 4)
    truth = white_box(model, images, goal)
    assert (truth.flatten(1).norm(dim=1) > 0).all()
    with hook(model) as seen:
        found = estimated(Victim(model), images, goal)
    assert seen.rows == 2 * images.numel()
    assert found.shape == images.shape and found.dtype == images.dtype
    assert (torch.cosine_similarity(found.flatten(1), truth.flatten(1)) > 0.999).all()
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-3 * truth.abs().max().item())


def test_the_model_is_left_as_it_was_and_chunks_change_nothing(make):
    model = nn.Sequential(make.victim(), nn.Dropout(0.9)).train()
    model[0].eval()
    images = make.pictures(5)
    labels = model[0](images).argmax(1)
    whole = white_box(model, images, Goal(labels))
    assert [m.training for m in (model, model[0], model[1])] == [True, False, True]
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not images.requires_grad and not whole.requires_grad
    torch.testing.assert_close(white_box(model[0], images, Goal(labels), chunk=2), whole, rtol=0, atol=1e-12)
    for none in (
        white_box(model, images[:0], Goal(labels[:0])),
        estimated(Victim(model), images[:0], Goal(labels[:0])),
    ):
        assert none.shape == (0, 1, 20, 20)


def test_a_budget_holds_for_estimates_too(make):
    from thesislib.blackbox import BudgetExceeded

    model, images = make.victim(), make.pictures(1)
    with pytest.raises(BudgetExceeded, match="image 0: 800 queries, budget 799"):
        estimated(Victim(model, budget=799), images, Goal(model(images).argmax(1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standardised_maps_have_unit_deviation_and_keep_their_mean_s_sign(dtype):
    maps = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=dtype) + 0.7
    maps *= torch.tensor([1, 1e-6, 1e4, 0]).view(4, 1, 1, 1)
    found = standardised(maps)
    torch.testing.assert_close(found[:3].flatten(1).std(dim=1), torch.ones(3, dtype=dtype))
    assert (found[3] == 0).all()
    ratio = maps[:3].flatten(1).mean(1) / maps[:3].flatten(1).std(dim=1)  # divided only, not centred
    torch.testing.assert_close(found[:3].flatten(1).mean(1), ratio)
    assert (ratio.abs() > 0.3).all()
    torch.testing.assert_close(standardised(found), found)


def by_white_box(model, *rest):
    return white_box(model, *rest)


def by_estimate(model, *rest):
    return estimated(Victim(model), *rest)


@pytest.mark.parametrize("maps", [by_white_box, by_estimate])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (2 * x, Goal(y)), "expected values in .0, 1"),
        (lambda x, y: (x.half(), Goal(y)), "images are torch.float16, expected float32 or float64"),
        (lambda x, y: (x.numpy(), Goal(y)), "images are ndarray"),
        (lambda x, y: (x, Goal(y[:2])), "2 goals for 3 images"),
        (lambda x, y: (x, y), "goal is Tensor, expected a Goal"),
        (lambda x, y: (x, Goal(y + 3)), "label ., but the victim has 3 classes"),
        (lambda x, y: (x, Goal(y, y + 3)), "target ., but the victim has 3 classes"),
    ],
)
def test_what_has_no_gradient_map_is_refused(maps, change, message):
    model, _ = linear()
    images = torch.rand(3, 1, 2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        maps(model, *change(images, model(images).argmax(1)))


def test_a_chunk_or_a_step_that_cannot_be_is_refused():
    (model, _), images = linear(), torch.rand(3, 1, 2, 2, dtype=torch.float64)
    goal = Goal(model(images).argmax(1))
    for chunk in (0, 1.5):
        with pytest.raises(ValueError, match=f"chunk = {chunk}, expected at least 1"):
            white_box(model, images, goal, chunk=chunk)
    with pytest.raises(ValueError, match=r"h = 0\.0, expected more than 0"):
        estimated(Victim(model), images, goal, h=0.0)
    with pytest.raises(ValueError, match="victim is Sequential, expected a Victim"):
        estimated(model, images, goal)
    with pytest.raises(ValueError, match="expected at least 2 classes"):
        white_box(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)).double(), images, goal)


def test_white_box_gradients_of_probabilities_are_refused():
    """A softmax would be taken twice: the gradient of another loss, and nobody would notice."""
    (model, _), images = linear(), torch.rand(3, 1, 2, 2, dtype=torch.float64)
    goal = Goal(model(images).argmax(1))
    with pytest.raises(ValueError, match="where logits were expected"):
        white_box(nn.Sequential(model, nn.Softmax(1)), images, goal)
    with pytest.raises(ValueError, match="not finite"):
        white_box(lambda x: model(x) * torch.nan, images, goal)


def test_modes_come_back_after_an_error():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(5, 3)).double().train()
    model[1].eval()
    with pytest.raises(ValueError, match="victim failed"):
        white_box(model, torch.rand(3, 1, 2, 2, dtype=torch.float64), Goal(torch.zeros(3, dtype=torch.int64)))
    assert [m.training for m in model.modules()] == [True, True, False, True]


@pytest.mark.parametrize("maps", [by_white_box, by_estimate])
def test_images_that_require_a_gradient_have_the_same_maps(maps):
    (model, _), images = linear(), torch.rand(3, 1, 2, 2, dtype=torch.float64)
    goal = Goal(model(images).argmax(1))
    found = maps(model, images.clone().requires_grad_(), goal)
    assert not found.requires_grad and torch.equal(found, maps(model, images, goal))


def test_a_caller_without_gradients_gets_the_same_maps():
    (model, _), images = linear(), torch.rand(3, 1, 2, 2, dtype=torch.float64)
    goal = Goal(model(images).argmax(1))
    with torch.no_grad():
        found = white_box(model, images, goal)
    assert torch.equal(found, white_box(model, images, goal)) and found.any()
