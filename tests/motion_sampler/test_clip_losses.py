"""The losses against their formulas, spelled out."""

import pytest
import torch

from thesislib.blackbox import Goal
from thesislib.motion_sampler.losses import LOSSES, flicker, loss_of, second_probability

P = torch.tensor(
    [[0.7, 0.2, 0.1], [0.1, 0.45, 0.45], [0.34, 0.33, 0.33], [0.05, 0.9, 0.05]], dtype=torch.float64
)
LABELS = torch.zeros(4, dtype=torch.int64)


def test_second_probability_is_the_sum_less_the_runner_up():
    wanted = torch.tensor([0.8, 0.55, 0.67, 0.95], dtype=torch.float64)
    torch.testing.assert_close(second_probability(P.log(), Goal(LABELS)), wanted)
    with pytest.raises(ValueError, match="knows no target"):
        second_probability(P.log(), Goal(LABELS, LABELS + 1))


@pytest.mark.parametrize("targeted", [False, True])
def test_flicker(targeted):
    found = flicker(P.log(), Goal(LABELS, LABELS + 1 if targeted else None))
    for row, value in zip(P, found, strict=True):
        lead = row[0] - row[1:].max() if not targeted else max(row[0], row[2]) - row[1]
        shifted = lead + 0.05
        assert value == pytest.approx(max(0.0, min((shifted**2 / 0.05).item(), shifted.item())), abs=1e-12)


def test_flicker_is_quadratic_only_near_the_decision():
    goal = Goal(torch.zeros(3, dtype=torch.int64))
    p = torch.tensor([[0.49, 0.51], [0.5, 0.5], [0.6, 0.4]], dtype=torch.float64)
    wanted = torch.tensor([0.03**2 / 0.05, 0.05, 0.25], dtype=torch.float64)
    torch.testing.assert_close(flicker(p.log(), goal), wanted)


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "second_probability"])
@pytest.mark.parametrize("targeted", [False, True])
def test_losses_fall_on_the_way_to_the_goal(name, targeted):
    """Moving probability from the true class to the wanted one lowers every loss."""
    start, end = torch.tensor([0.8, 0.15, 0.05]), torch.tensor([0.3, 0.65, 0.05])
    goal = Goal(torch.tensor([0]), torch.tensor([1]) if targeted else None)
    before, after = (loss_of(name)(p.double().log()[None], goal) for p in (start, end))
    assert after < before


def test_unknown_losses_are_refused():
    with pytest.raises(ValueError, match="loss = 'hinge' is not one of second_probability, flicker"):
        loss_of("hinge")
