"""The bookkeeping of an attack against a plain account of one image at a time, and what it refuses."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from thesislib.blackbox import Attempt, Goal, Victim
from thesislib.blackbox.attempt import positive_fields, share_fields, whole_fields
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
@settings(max_examples=120)
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
        (grey(0, 1).numpy(), {}, r"torch.as_tensor\(images\) makes one"),
        (grey(0, 1).half(), {}, "images are torch.float16, expected float32 or float64; differences of 1e-4"),
        (grey(0, 1).bfloat16(), {}, "images are torch.bfloat16, expected float32 or float64"),
        (torch.rand(3, 4, 4), {}, r"2 goals for 3 images; of one image make a batch by images\[None\]"),
        (torch.rand(3, 4, 4, 3), {}, r"2 goals for 3 images; channels seem to come last, images.permute"),
        (grey(0.1, 0.2), {"ids": [4, -1]}, "ids hold -1, expected a whole number from 0"),
        (grey(0.1, 0.2), {"ids": [4, 1.5]}, "ids hold 1.5, expected a whole number from 0"),
        (grey(0.1, 0.2), {"ids": 4}, "ids are int, expected a whole number from 0 for each image"),
        (grey(0.1, 0.2), {"ids": "12"}, "ids are str, expected"),
        (grey(0.1, 0.2), {"seed": -1}, "seed = -1, expected a whole number from 0"),
        (grey(0.1, 0.2), {"seed": 1.5}, "seed = 1.5, expected a whole number from 0"),
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


def test_a_bare_model_and_bare_labels_are_refused():
    with pytest.raises(ValueError, match=r"victim is function, expected a Victim; Victim\(model\)"):
        Attempt(by_brightness, grey(0.1, 0.2), two)
    with pytest.raises(ValueError, match=r"goal is Tensor, expected a Goal; Goal\(labels\)"):
        Attempt(Victim(by_brightness), grey(0.1, 0.2), two.labels)


@pytest.mark.parametrize("ids", [torch.tensor([5, 9]), np.array([5, 9]), range(5, 10, 4)])
def test_numbers_may_come_in_any_sequence(ids):
    draw = lambda ids: Attempt(  # noqa: E731
        Victim(by_brightness), grey(0.1, 0.2), two, ids=ids
    ).streams.normal(torch.tensor([0, 1]), (3,))
    assert torch.equal(draw(ids), draw([5, 9]))


def test_images_with_a_gradient_leave_no_graph_behind():
    """Not even if the attack's author works on the images that were passed."""
    images = grey(0.1, 0.2).requires_grad_()
    run = Attempt(Victim(by_brightness), images, two)
    run.check(images + 0.4, 1)
    result = run.result()
    assert result.success.all() and len(result.to_frame()) == 2
    assert not any(t.requires_grad for t in (result.clean, result.adversarial, run.loss))
    assert images.requires_grad


@pytest.mark.parametrize(
    ("model", "shape", "dtype", "message"),
    [
        (nn.Conv2d(1, 4, 3), (2, 1, 5, 5), torch.float64,
         r"torch.float64 images of shape \(2, 1, 5, 5\) on cpu; its parameters are torch.float32 on cpu: "),
        (nn.Conv2d(3, 4, 3), (2, 5, 5, 3), torch.float32,
         r"shape \(2, 5, 5, 3\) .*; channels seem to come last, images.permute\(0, 3, 1, 2\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), (2, 5, 5), torch.float32,
         r"shape \(2, 5, 5\) .*; of one image make a batch by images\[None\]"),
        (lambda x: x @ torch.rand(3, 2), (2, 5), torch.float32, r"shape \(2, 5\) on cpu: mat1"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_go_with_the_images_is_told_apart(model, shape, dtype, message):
    with pytest.raises(ValueError, match="the victim failed on .*" + message) as found:
        Attempt(Victim(model), torch.rand(shape, dtype=dtype), two)
    assert isinstance(found.value.__cause__, RuntimeError)


def test_one_image_that_is_taken_for_several_is_told():
    model = nn.Conv2d(1, 4, 1)  # takes it for one image without a batch
    with pytest.raises(ValueError, match=r"returned \(4, 5, 5\) for 1 images, .*images\[None\]"):
        Attempt(Victim(model), torch.rand(1, 5, 5), Goal(torch.tensor([0])))


@dataclass(frozen=True)
class Fields:
    length: float = 1.0
    count: int = 1
    decay: float = 0.5
    perhaps: int | None = None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0.0}, "length = 0.0, expected more than 0"),
        ({"length": float("nan")}, "length = nan, expected more than 0"),
        ({"length": "1"}, "length = '1', expected more than 0"),
        ({"length": None}, "length = None, expected more than 0"),
        ({"count": 1}, "count = 1, expected at least 2, a whole number"),
        ({"count": 2.5}, "count = 2.5, expected at least 2, a whole number"),
        ({"count": True}, "count = True, expected at least 2"),
        ({"decay": 1.0}, r"decay = 1.0, expected within \[0, 1\)"),
        ({"decay": -0.1}, r"decay = -0.1, expected within \[0, 1\)"),
        ({"perhaps": 1}, "perhaps = 1, expected at least 2"),
    ],
)
def test_fields_that_cannot_be_are_refused(options, message):
    def check(fields):
        positive_fields(fields, "length")
        whole_fields(fields, 2, "count", "perhaps")
        share_fields(fields, "decay")

    check(Fields(count=np.int64(2), length=np.float32(1)))
    with pytest.raises(ValueError, match=message):
        check(Fields(**{"count": 2, **options}))


def test_labels_in_another_order_than_the_model_s_are_noticed():
    images = grey(*[0.1, 0.5, 0.9] * 4)
    right = by_brightness(images).argmax(1)
    with pytest.warns(UserWarning, match="the victim has none of 12 images right"):
        attempt = Attempt(Victim(by_brightness), images, Goal((right + 1) % 3))
    assert not len(attempt.live)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Attempt(Victim(by_brightness), images, Goal(torch.cat([right[:1], (right[1:] + 1) % 3])))
        Attempt(Victim(by_brightness), images[:9], Goal((right[:9] + 1) % 3))
