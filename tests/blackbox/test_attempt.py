"""The bookkeeping of an attack against a plain account of one image at a time, and what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.blackbox import Attempt, Goal, Victim
from thesislib.blackbox.goals import hinge, logits

LEVELS = torch.tensor([1 / 6, 3 / 6, 5 / 6], dtype=torch.float64)


def by_brightness(images):
    """Three classes: dark, middling, bright."""
    return -10 * (images.double().flatten(1).mean(1, keepdim=True) - LEVELS).abs()


class Recording:
    def __init__(self, answer=by_brightness):
        self.answer, self.rows = answer, 0

    def __call__(self, images):
        self.rows += len(images)
        return self.answer(images)


def grey(*levels, dtype=torch.float64):
    """Images of 2 x 2 pixels, each of one brightness."""
    return torch.tensor(levels, dtype=dtype).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)


def account(start, label, target, moves, budget, stop):
    """One image's attack in plain words: `moves` are (queries asked before, brightness tried)."""
    shown = lambda level: int(by_brightness(grey(level)).argmax())  # noqa: E731
    end = {"success": False, "skipped": False, "steps": 0, "predicted": shown(start), "level": start}
    end |= {"queries": 1, "spent": 1}
    if shown(start) != label:
        return end | {"skipped": True}
    for step, (extra, level) in enumerate(moves, 1):
        if budget is not None and end["spent"] + extra + 1 > budget:
            break
        end["spent"] += extra + 1
        if not end["success"]:
            end |= {"queries": end["spent"], "steps": step}
        if shown(level) == target if target is not None else shown(level) != label:
            if not end["success"] or abs(level - start) < abs(end["level"] - start):
                end |= {"level": level, "predicted": shown(level)}
            end["success"] = True
            if stop:
                break
    return end


level = st.integers(0, 20).map(lambda k: k / 20)
image = st.tuples(level, st.integers(0, 2), st.integers(1, 2), st.lists(level, min_size=5, max_size=5))


@given(
    images=st.lists(image, min_size=1, max_size=5),
    extras=st.lists(st.integers(0, 3), min_size=5, max_size=5),
    budget=st.one_of(st.none(), st.integers(2, 14)),
    targeted=st.booleans(),
    stop=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_the_books_are_those_of_one_image_at_a_time(images, extras, budget, targeted, stop):
    clean = grey(*(start for start, *_ in images))
    labels = [label for _, label, *_ in images]
    targets = [(label + away) % 3 for _, label, away, _ in images] if targeted else [None] * len(images)
    model = Recording()
    goal = Goal(torch.tensor(labels), torch.tensor(targets) if targeted else None)
    run = Attempt(Victim(model, budget=budget, chunk=2), clean, goal)
    for step, extra in enumerate(extras, 1):
        live = run.affordable(extra + 1)
        if not len(live):
            break
        tried = grey(*(images[i][3][step - 1] for i in live.tolist()))
        for _ in range(extra):
            run.ask(clean[live], live)
        run.check(tried, step, stop=stop)
    result = run.result()
    for i, (start, label, _, moves) in enumerate(images):
        end = account(start, label, targets[i], list(zip(extras, moves, strict=True)), budget, stop)
        for name in ("success", "skipped", "steps", "predicted", "queries", "spent"):
            assert getattr(result, name)[i].item() == end[name], name
        assert torch.equal(result.adversarial[i], grey(end["level"])[0])
    assert model.rows == result.spent.sum()
    assert torch.equal(result.clean, clean)


def test_norms_frame_and_trace():
    clean = grey(0.1, 0.1, 0.9, 0.2)
    run = Attempt(Victim(by_brightness), clean, Goal(torch.tensor([0, 0, 0, 0])))
    assert run.live.tolist() == [0, 1, 3]  # the third is bright, not dark
    first = grey(0.5, 0.2, 0.3)
    first[0, 0, 0, 0] = 0.4
    run.ask(clean[:2], torch.tensor([3, 3]))
    assert run.check(first, 1).tolist() == [True, False, False]
    assert run.live.tolist() == [1, 3]
    assert run.check(grey(0.6, 0.1), 2).tolist() == [True, False]
    result = run.result()
    l2 = [(3 * 0.4**2 + 0.3**2) ** 0.5, 1.0, 0, 0]
    assert result.l2.tolist() == pytest.approx(l2)
    assert result.linf.tolist() == pytest.approx([0.4, 0.5, 0, 0])
    frame = result.to_frame()
    assert frame.columns.tolist() == [
        "image", "success", "skipped", "l2", "linf", "queries", "steps", "predicted",
    ]  # fmt: skip
    assert frame.image.tolist() == [0, 1, 2, 3]
    assert frame.success.tolist() == [True, True, False, False]
    assert frame.skipped.tolist() == [False, False, True, False]
    assert frame.queries.tolist() == [2, 3, 1, 5]
    assert frame.steps.tolist() == [1, 2, 0, 2]
    assert frame.predicted.tolist() == [1, 1, 2, 0]
    assert frame.l2.tolist() == pytest.approx(l2)
    trace = result.trace()
    assert list(zip(trace.image, trace.step, trace.queries, strict=True)) == [
        (0, 0, 1), (1, 0, 1), (3, 0, 1), (0, 1, 2), (1, 1, 2), (3, 1, 4), (1, 2, 3), (3, 2, 5),
    ]  # fmt: skip
    assert trace.loss.tolist() == pytest.approx([10 / 3, 10 / 3, 8 / 3, 0, 8 / 3, 2 / 3, 0, 10 / 3], abs=1e-9)


def test_losses_are_the_objective_of_the_current_image():
    clean = grey(0.1, 0.3, 0.5)
    goal = Goal(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]))
    for objective in (hinge, logits):
        run = Attempt(Victim(by_brightness), clean, goal, objective=objective)
        expected = objective(by_brightness(clean).log_softmax(1), goal)
        torch.testing.assert_close(run.loss, expected)
        asked = run.ask(grey(0.6, 0.2, 0.7), torch.tensor([2, 0, 0]))
        expected = objective(by_brightness(grey(0.6, 0.2, 0.7)).log_softmax(1), goal[torch.tensor([2, 0, 0])])
        torch.testing.assert_close(asked, expected)
        torch.testing.assert_close(run.loss[1:], objective(by_brightness(clean).log_softmax(1), goal)[1:])
        run.live = torch.tensor([0, 2])
        run.check(grey(0.2, 0.6), 1)
        expected = objective(by_brightness(grey(0.2, 0.3, 0.6)).log_softmax(1), goal)
        torch.testing.assert_close(run.loss, expected)


def test_what_comes_back_is_no_view_of_what_went_in():
    clean = grey(0.1, 0.2)
    result = Attempt(Victim(by_brightness), clean, Goal(torch.tensor([0, 0]))).result()
    result.adversarial.zero_()
    assert torch.equal(clean, grey(0.1, 0.2))


def test_the_stream_is_that_of_the_image_number():
    clean, goal = grey(0.1, 0.2), Goal(torch.tensor([0, 0]))
    draw = lambda ids, row: Attempt(  # noqa: E731
        Victim(by_brightness), clean, goal, seed=1, ids=ids
    ).streams.normal(torch.tensor([row]), (3,))
    assert torch.equal(draw([5, 9], 1), draw([9, 5], 0))
    assert torch.equal(draw(None, 1), draw([0, 1], 1))
    assert not torch.equal(draw([5, 9], 1), draw([5, 9], 0))


def test_no_image():
    model = Recording()
    run = Attempt(Victim(model), grey(), Goal(torch.tensor([], dtype=torch.int64)))
    assert not len(run.affordable(1)) and not len(run.check(grey(), 1))
    result = run.result()
    assert model.rows == 0 and len(result.to_frame()) == 0 and len(result.trace()) == 0
    assert result.l2.shape == result.linf.shape == (0,)


two = Goal(torch.tensor([0, 0]))


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (grey(0.1, 1.1), {}, "images reach from 0.1 to 1.1, expected values in .0, 1"),
        (grey(-0.2, 0.5), {}, "images reach from -0.2 to 0.5"),
        (grey(0.1, float("nan")), {}, r"images reach from nan to nan, expected values in \[0, 1\]"),
        (grey(0, 1).to(torch.uint8), {}, "images are torch.uint8, expected a floating-point tensor"),
        (grey(0, 1).numpy(), {}, "images are ndarray, expected a floating-point tensor"),
        (torch.tensor([0.1, 0.2]), {}, r"images have shape \(2,\), expected \(n, ...\)"),
        (grey(0.1, 0.2, 0.3), {}, "2 goals for 3 images"),
        (grey(0.1, 0.2), {"ids": [4]}, "1 ids for 2 images"),
    ],
)
def test_bad_input_is_refused_before_a_query(images, options, message):
    model = Recording()
    with pytest.raises(ValueError, match=message):
        Attempt(Victim(model), images, two, **options)
    assert model.rows == 0


@pytest.mark.parametrize(("budget", "cost"), [(0, 1), (1, 1), (6, 6)])
def test_a_budget_below_one_step_is_refused(budget, cost):
    model = Recording()
    message = f"budget = {budget} queries an image, but one step costs {cost} and the clean image 1"
    with pytest.raises(ValueError, match=message):
        Attempt(Victim(model, budget=budget), grey(0.1, 0.2), two, cost=cost)
    assert model.rows == 0
    Attempt(Victim(model, budget=cost + 1), grey(0.1, 0.2), two, cost=cost)


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (Goal(torch.tensor([0, 3])), "label 3, but the victim has 3 classes"),
        (Goal(torch.tensor([0, 0]), torch.tensor([1, 7])), "target 7, but the victim has 3 classes"),
    ],
)
def test_a_class_the_victim_lacks_is_refused(goal, message):
    with pytest.raises(ValueError, match=message):
        Attempt(Victim(by_brightness), grey(0.1, 0.2), goal)
