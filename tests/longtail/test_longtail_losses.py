"""The baselines' losses against closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from thesislib.longtail import (
    LDAM,
    adjusted_logits,
    balanced_softmax_loss,
    class_balanced_loss,
    class_balanced_weights,
    focal_loss,
    ldam_margins,
    log_prior,
)

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-1.0, 3.0, 0.0]])
LABELS = torch.tensor([0, 2, 0])
COUNTS = [500, 50, 5]


def test_focal_without_focus_is_cross_entropy_and_with_it_closed_form():
    torch.testing.assert_close(focal_loss(LOGITS, LABELS, gamma=0.0), F.cross_entropy(LOGITS, LABELS))
    p = LOGITS.softmax(1)[range(3), LABELS]
    torch.testing.assert_close(focal_loss(LOGITS, LABELS, gamma=2.0), (-((1 - p) ** 2) * p.log()).mean())
    weights = torch.tensor([1.0, 2.0, 3.0])
    weighted = (-(1 - p) * p.log() * weights[LABELS]).mean()
    torch.testing.assert_close(focal_loss(LOGITS, LABELS, weights=weights), weighted)
    with pytest.raises(ValueError, match="gamma"):
        focal_loss(LOGITS, LABELS, gamma=-1)
    with pytest.raises(ValueError, match=r"weights of shape \(9,\) with logits"):
        focal_loss(LOGITS, LABELS, weights=torch.ones(9))
    with pytest.raises(ValueError, match=r"prior of shape \(1,\) with logits"):
        adjusted_logits(LOGITS, log_prior([5]))


@pytest.mark.parametrize("gamma", [0.0, 1e-3, 0.5, 0.999, 1.0, 1.5, 2.0])
def test_focal_has_a_gradient_on_an_image_it_is_sure_of(gamma):
    logits = torch.tensor([[40.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0]), gamma=gamma)
    loss.backward()
    assert loss.isfinite() and logits.grad[0].abs().max() < 1e-16  # of p = 1 nothing is left to learn
    p = torch.tensor([0.0, 1.0], dtype=torch.double).softmax(0)[0].item()
    slope = ((1 - p) ** gamma * p * (gamma * math.log(p) / (1 - p) - 1 / p)) * (1 - p) / 2
    assert logits.grad[1, 0].item() == pytest.approx(slope, rel=1e-5)


def test_class_balanced_weights():
    weights = class_balanced_weights(COUNTS)
    assert weights.sum().item() == pytest.approx(3)
    effective = [(1 - 0.9999**n) / (1 - 0.9999) for n in COUNTS]
    assert (weights[2] / weights[0]).item() == pytest.approx(effective[0] / effective[2])
    torch.testing.assert_close(class_balanced_weights(COUNTS, 0.0), torch.ones(3))
    by_hand = -(weights[LABELS] * LOGITS.log_softmax(1)[range(3), LABELS]).sum() / weights[LABELS].sum()
    torch.testing.assert_close(class_balanced_loss(LOGITS, LABELS, weights=weights), by_hand)
    for bad in (1.0, -0.1):
        with pytest.raises(ValueError, match="beta"):
            class_balanced_weights(COUNTS, bad)


def test_balanced_softmax_is_its_closed_form():
    n = torch.tensor(COUNTS, dtype=torch.float)
    weighted = n * LOGITS.exp()
    closed = -(weighted / weighted.sum(1, keepdim=True))[range(3), LABELS].log().mean()
    torch.testing.assert_close(balanced_softmax_loss(LOGITS, LABELS, log_prior(COUNTS)), closed)
    for one in (torch.zeros(1), torch.zeros(2)):
        with pytest.raises(ValueError, match=r"prior of shape .* with logits of shape"):
            balanced_softmax_loss(LOGITS, LABELS, one)


@pytest.mark.parametrize("made", [log_prior, class_balanced_weights, ldam_margins, LDAM])
def test_counts_that_are_none_are_refused(made):
    for counts, message in (
        ([3, 0, 2], "class 1 has 0 training images"),
        ([3, 2, float("nan")], "class 2 has nan training images"),
        ([math.inf, 2], "class 0 has inf training images"),
        ([], r"counts of shape \(0,\)"),
        ([[1, 2]], r"counts of shape \(1, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            made(counts)


@given(st.floats(0, 3), st.lists(st.integers(1, 999), min_size=3, max_size=3))
def test_adjusting_afterwards_undoes_adjusting_in_the_loss(tau, counts):
    prior = log_prior(counts)
    trained = balanced_softmax_loss(adjusted_logits(LOGITS, prior, tau), LABELS, prior, tau)
    torch.testing.assert_close(trained, F.cross_entropy(LOGITS, LABELS), rtol=1e-4, atol=1e-5)


def test_ldam_margins_fall_with_the_fourth_root():
    margins = ldam_margins(COUNTS)
    assert margins[2].item() == pytest.approx(0.5)
    assert (margins[2] / margins[0]).item() == pytest.approx(math.sqrt(math.sqrt(100)))


def test_ldam_takes_the_margin_off_the_true_class_and_reweights_late():
    cosines, loss = torch.tensor([[0.5, 0.2, -0.1]]), LDAM(COUNTS, reweight_from=160)
    label = torch.tensor([2])
    shifted = 30 * torch.tensor([[0.5, 0.2, -0.6]])
    torch.testing.assert_close(loss(cosines, label, 0), F.cross_entropy(shifted, label))
    two, labels = torch.cat([cosines, cosines]), torch.tensor([0, 2])
    early, late = loss(two, labels, 159), loss(two, labels, 160)
    each = torch.stack([loss(two[:1], labels[:1], 0), loss(two[1:], labels[1:], 0)])
    w = class_balanced_weights(COUNTS)[labels]
    torch.testing.assert_close(early, each.mean())
    torch.testing.assert_close(late, (w * each).sum() / w.sum())


@pytest.mark.parametrize("classes", [2, 4])
def test_ldam_refuses_other_classes_than_its_counts_at_the_first_batch(classes):
    loss, cosines = LDAM(COUNTS, reweight_from=160), torch.zeros(2, classes)
    with pytest.raises(ValueError, match=rf"shape \(2, {classes}\) with counts of 3 classes"):
        loss(cosines, torch.tensor([0, 1]), 0)


@pytest.mark.parametrize(
    ("loss", "error"),
    [(focal_loss, TypeError), (class_balanced_loss, TypeError), (balanced_softmax_loss, ValueError)],
)
def test_a_loss_that_is_handed_the_epoch_does_not_take_it_for_something_else(loss, error):
    with pytest.raises(error):
        loss(LOGITS, LABELS, 1)  # as `fit` calls its loss


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_ldam_in_other_precisions(dtype):
    cosines, loss = torch.tensor([[0.5, 0.25, -0.125], [0.0, 0.25, 0.5]]), LDAM(COUNTS, reweight_from=0)
    found = loss(cosines.to(dtype), torch.tensor([0, 2]))
    expected = loss(cosines, torch.tensor([0, 2]))
    torch.testing.assert_close(found, expected.to(dtype), rtol=0.02, atol=0.02)
