"""What the pool measures of a network whose logits are known, and which loss a training has."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thesislib.dual_phase import pool, runs
from thesislib.dual_phase.runs import LOSSES, Finish, measured
from thesislib.dual_phase.settings import resolve
from thesislib.longtail import balanced_softmax_loss, expected_calibration_error, focal_loss, log_prior

SETTINGS = resolve("smoke")
COUNTS = torch.tensor([90, 60, 4])  # of digits, more than 50 are head
LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.2, 0.1, 0.3], [0.0, 0.5, 1.0], [0.5, 1.5, 1.4], [1.2, 0.0, 1.0]])
LABELS = torch.tensor([0, 0, 1, 1, 2])


@pytest.fixture
def known(monkeypatch):
    """A network that hands its input on: the test images are the logits."""
    data = {"counts": COUNTS, "test": LOGITS, "test_labels": LABELS}
    monkeypatch.setattr(runs, "images_of", lambda *_: data)
    monkeypatch.setattr(runs, "finished", lambda *_: nn.Sequential(nn.Identity(), nn.Identity()))
    monkeypatch.setattr(runs, "trained", lambda *_: {"angles": {}})
    return pool.case(SETTINGS, "digits_lt", "CE", 1)[0]


def test_accuracies_and_the_lean_of_known_logits(known):
    found = measured.__wrapped__("digits_lt", known, Finish())
    assert found["by class"] == [0.5, 0.5, 0.0]
    assert found["restricted"] == [1.0, 1.0]  # without the tail's logit nothing of the head is missed
    assert found["head as tail"] == 0.5
    assert found["ECE"] == pytest.approx(expected_calibration_error(LOGITS, LABELS))


def test_an_adjusted_network_takes_off_the_prior_of_the_training_images(known):
    found = measured.__wrapped__("digits_lt", known, Finish(kind="Logit adjustment", tau=0.5))
    adjusted = LOGITS - 0.5 * (COUNTS / COUNTS.sum()).log()
    assert adjusted.argmax(1).tolist() == [0, 2, 2, 2, 2]
    assert found["by class"] == [0.5, 0.0, 1.0]


def test_ldam_s_confidence_is_at_the_scale_of_its_loss(known):
    plain, scaled = (
        measured.__wrapped__("digits_lt", replace(known, angles=0, loss=loss), Finish())["ECE"]
        for loss in ("CE", "LDAM-DRW")
    )
    assert scaled == pytest.approx(expected_calibration_error(30 * LOGITS, LABELS)) and scaled != plain


def test_each_loss_is_the_one_it_is_called():
    training = pool.case(SETTINGS, "digits_lt", "CE", 1)[0]
    training, epochs = replace(training, angles=0), training.recipe.epochs
    wanted = {
        "CE": F.cross_entropy(LOGITS, LABELS),
        "Focal": focal_loss(LOGITS, LABELS),
        "Balanced softmax": balanced_softmax_loss(LOGITS, LABELS, log_prior(COUNTS)),
    }
    for name in LOSSES:
        loss = runs._loss(replace(training, loss=name), COUNTS)
        got = F.cross_entropy(LOGITS, LABELS) if loss is None else loss(LOGITS, LABELS, epochs - 1)
        if name in wanted:
            assert got.item() == pytest.approx(wanted.pop(name).item()), name
        else:
            assert all(got.item() != pytest.approx(other.item()) for other in wanted.values()), name
    assert not wanted


@pytest.mark.parametrize("how", [{"angles": 1}, {"more_than": 50.0, "angles": 0}])
def test_a_loss_that_would_go_unheard_is_refused(how):
    training = pool.case(SETTINGS, "digits_lt", "CE", 1)[0]
    with pytest.raises(ValueError, match="loss = 'Focal' with angles"):
        replace(training, loss="Focal", **how)
