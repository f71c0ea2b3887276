"""Goals and losses against versions written as loops over classes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.blackbox import Goal
from thesislib.blackbox.goals import cross_entropy, hinge, logits, next_class, probability


@st.composite
def cases(draw):
    """Raw scores, true classes, and target classes or None."""
    n, classes = draw(st.integers(1, 5)), draw(st.integers(2, 5))
    row = st.lists(st.floats(-20, 20), min_size=classes, max_size=classes)
    scores = draw(st.lists(row, min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    away = draw(st.lists(st.integers(1, classes - 1), min_size=n, max_size=n))
    targets = [(y + k) % classes for y, k in zip(labels, away, strict=True)]
    return scores, labels, draw(st.sampled_from([None, targets]))


def by_loops(row, label, target):
    """The four losses of one image and whether its goal is reached; the thesis's formulas, class by class."""
    total = sum(math.exp(z) for z in row)
    p = [math.exp(z) / total for z in row]
    wanted = label if target is None else target
    rival = max((k for k in range(len(row)) if k != wanted), key=lambda k: row[k])
    sign = 1 if target is None else -1
    return {
        logits: sign * (row[wanted] - row[rival]),
        hinge: max(sign * (math.log(p[wanted]) - math.log(p[rival])), 0),
        probability: sign * (p[wanted] - p[rival]),
        cross_entropy: sign * math.log(p[wanted]),
    }, (row[wanted] < row[rival] if target is None else row[wanted] > row[rival])


@given(cases())
@settings(max_examples=100)
def test_losses_and_success_are_those_of_the_loops(case):
    scores, labels, targets = case
    goal = Goal(torch.tensor(labels), None if targets is None else torch.tensor(targets))
    logp = torch.tensor(scores, dtype=torch.float64).log_softmax(1)
    found = {loss: loss(logp, goal) for loss in (logits, hinge, probability, cross_entropy)}
    reached = goal.reached(logp)
    for i, (row, label) in enumerate(zip(scores, labels, strict=True)):
        expected, success = by_loops(row, label, None if targets is None else targets[i])
        for loss, values in found.items():
            assert values.shape == (len(labels),)
            assert values[i].item() == pytest.approx(expected[loss], abs=1e-9), loss.__name__
        if abs(expected[logits]) > 1e-9:  # ties are for arg max to break
            assert reached[i].item() == success
            assert (found[logits][i] < 0).item() == (found[probability][i] < 0).item() == success
            assert (found[hinge][i] == 0).item() == success


@pytest.mark.parametrize("targets", [None, torch.tensor([2])])
def test_losses_fall_towards_the_goal(targets):
    goal = Goal(torch.tensor([0]), targets)
    wanted = torch.tensor([[-1.0, 0, 0]]) if targets is None else torch.tensor([[0, 0, 1.0]])
    start = torch.tensor([[2.0, 1.0, 0.5]])
    for loss in (logits, hinge, probability, cross_entropy):
        values = [loss((start + k * wanted).log_softmax(1), goal).item() for k in (0, 0.1, 0.2)]
        assert values[0] > values[1] > values[2], loss.__name__


def test_rows_may_repeat_and_targets_follow():
    goal = Goal(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0]))
    some = goal[torch.tensor([2, 0, 2])]
    assert some.labels.tolist() == [2, 0, 2] and some.targets.tolist() == [0, 1, 0]
    assert goal[torch.tensor([False, True, False])].labels.tolist() == [1]
    assert Goal(torch.tensor([4, 5]))[torch.tensor([1])].targets is None
    assert len(goal) == 3


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_next_class_is_never_the_true_one_and_meets_every_class(classes):
    labels = torch.arange(classes)
    found = next_class(labels, classes)
    assert found.tolist() == [*range(1, classes), 0]
    Goal(labels, found).check_classes(classes)


@pytest.mark.parametrize(
    ("labels", "targets", "message"),
    [
        ([0, 1], [1, 1], "image 1: target 1 is the true class"),
        ([0, 1], [1], "1 targets for 2 labels"),
        ([0, -1], None, "labels go down to -1, expected class numbers from 0"),
        ([0, 1], [1, -3], "targets go down to -3"),
        ([0.0, 1.0], None, r"labels are torch.float32 of shape \(2,\), expected int64 of shape \(n,\)"),
        ([[0, 1]], None, r"labels are torch.int64 of shape \(1, 2\)"),
        ([0, 1], [1.0, 0.0], "targets are torch.float32"),
    ],
)
def test_goals_that_cannot_be_are_refused(labels, targets, message):
    with pytest.raises(ValueError, match=message):
        Goal(torch.tensor(labels), None if targets is None else torch.tensor(targets))


def test_goals_are_tensors():
    with pytest.raises(ValueError, match=r"labels are .*list.*, expected int64"):
        Goal([0, 1])
    with pytest.raises(ValueError, match=r"labels are .*ndarray.*torch.as_tensor\(labels\) makes a tensor"):
        Goal(torch.tensor([0, 1]).numpy())


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (Goal(torch.tensor([0, 3])), "label 3, but the victim has 3 classes"),
        (Goal(torch.tensor([0, 1]), torch.tensor([1, 5])), "target 5, but the victim has 3 classes"),
    ],
)
def test_classes_that_the_victim_lacks_are_refused(goal, message):
    with pytest.raises(ValueError, match=message):
        goal.check_classes(3)
    goal.check_classes(6)
