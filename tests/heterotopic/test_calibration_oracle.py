"""The long-tail room's calibration error against torchmetrics."""

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from thesislib.longtail import expected_calibration_error, reliability


@pytest.mark.parametrize("bins", [10, 15, 20])
@pytest.mark.parametrize("scale", [0.3, 2.0, 8.0])
def test_the_calibration_error_is_that_of_torchmetrics(bins, scale):
    logits = scale * torch.randn(3000, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.multinomial(logits.mul(0.5).softmax(1), 1, generator=torch.Generator().manual_seed(1))[
        :, 0
    ]
    theirs = multiclass_calibration_error(logits.softmax(1), labels, 7, n_bins=bins, norm="l1")
    assert expected_calibration_error(logits, labels, bins) == pytest.approx(theirs.item(), abs=1e-6)


def test_the_diagram_sums_to_accuracy_and_confidence():
    logits = torch.randn(500, 4, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(500) % 4
    confidence, gap, share = reliability(logits, labels)
    assert share.sum() == pytest.approx(1)
    assert (share * confidence).sum() == pytest.approx(logits.softmax(1).amax(1).mean().item(), rel=1e-5)
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    assert (share * (confidence + gap)).sum() == pytest.approx(accuracy, rel=1e-5)
