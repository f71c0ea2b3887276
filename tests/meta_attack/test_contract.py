"""What every attack of the chapter owes: an exact count, its budget, the same answer in any company.

Each test is run for each attack of the list in `conftest.py`.
"""

import copy
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.blackbox import Goal, Victim

GOALS = ("untargeted", "targeted")


def same(one, other, atol, rows=slice(None)):
    """The results agree: perturbed images to rounding, everything counted exactly."""
    torch.testing.assert_close(one.adversarial, other.adversarial[rows], rtol=0, atol=atol)
    for name in ("success", "skipped", "queries", "spent", "steps", "predicted"):
        assert torch.equal(getattr(one, name), getattr(other, name)[rows]), name


def single(value):
    """A field of an attack with its numbers in single precision."""
    if isinstance(value, tuple):
        return tuple(map(single, value))
    if isinstance(value, torch.nn.Module) or (isinstance(value, torch.Tensor) and value.is_floating_point()):
        return copy.deepcopy(value).float()
    return value


def state(value):
    """A field of an attack as something that can be compared."""
    if isinstance(value, tuple):
        return [state(v) for v in value]
    if isinstance(value, torch.nn.Module):
        return [value.training, *(state(t) for t in value.state_dict().values())]
    return value.numpy().tobytes() if isinstance(value, torch.Tensor) else value


def bytes_of(result):
    return [
        t.numpy().tobytes()
        for t in (result.adversarial, result.success, result.queries, result.spent, result.steps)
    ]


def test_the_room_is_no_walkover(case, room):
    """The tests below mean something only if attacks win, fail, take their time, and one image is skipped."""
    results = [case.attack(Victim(room.model), room.images, room.goals[g]) for g in GOALS]
    won = torch.cat([r.success[~r.skipped] for r in results])
    assert won.any() and not won.all()
    assert all(r.skipped.sum() == 1 for r in results)
    wins = torch.cat([r.queries[r.success] for r in results])
    assert len(wins.unique()) > 2


@pytest.mark.parametrize("goal", GOALS)
def test_queries_are_those_an_independent_hook_sees(case, room, hook, goal):
    goal = room.goals[goal]
    with hook(room.model) as seen:
        result = case.attack(Victim(room.model), room.images, goal)
        assert result.spent.sum() == seen.rows
    assert (result.queries <= result.spent).all()
    ended = ~result.success | (not case.refines)
    assert torch.equal(result.queries[ended], result.spent[ended])
    assert (result.spent[result.skipped] == 1).all()
    trace = result.trace()
    for i in (~result.skipped).nonzero()[:, 0].tolist():
        counted = trace[trace.image == i].queries
        assert counted.is_monotonic_increasing and counted.iloc[0] == 1
        assert case.hard_label or result.queries[i].item() in counted.tolist()


def test_no_image(case, room, hook):
    none = Goal(torch.tensor([], dtype=torch.int64))
    with hook(room.model) as seen:
        result = case.attack(Victim(room.model), room.images[:0], none)
    assert seen.rows == 0
    assert result.adversarial.shape == (0, *room.images.shape[1:])
    assert len(result.to_frame()) == len(result.queries) == len(result.success) == len(result.l2) == 0


def test_images_misclassified_at_the_start_cost_one_query_and_stay(case, room, hook):
    wrong = Goal((room.model(room.images).argmax(1) + 1) % 4)
    with hook(room.model) as seen:
        result = case.attack(Victim(room.model), room.images, wrong)
    assert seen.rows == len(room.images)
    assert result.skipped.all() and not result.success.any()
    assert (result.queries == 1).all() and (result.steps == 0).all()
    assert torch.equal(result.adversarial, room.images)


def test_budgets_too_small_for_a_step_are_refused_unspent(case, room, hook):
    few = {0, 1, case.cost}
    if hasattr(case.attack, "q"):
        few.add(case.attack.q - 1)
    for budget in few:
        with (
            hook(room.model) as seen,
            pytest.raises(ValueError, match=f"budget = {budget} queries an image, but one step costs"),
        ):
            case.attack(Victim(room.model, budget=budget), room.images, room.goal)
        assert seen.rows == 0


@pytest.mark.parametrize("more", [1, 2, 30])
@pytest.mark.parametrize("goal", GOALS)
def test_budgets_are_used_and_kept(case, room, hook, goal, more):
    budget = case.cost + more
    with hook(room.model) as seen:
        result = case.attack(Victim(room.model, budget=budget), room.images, room.goals[goal])
    assert seen.rows == result.spent.sum()
    assert (result.spent <= budget).all()
    free = case.attack(Victim(room.model), room.images, room.goals[goal])
    # A budget ends an attack; it does not change it.
    inside = free.success & (free.queries <= budget)
    assert torch.equal(result.success, inside)
    assert torch.equal(result.queries[inside], free.queries[inside])
    going = ~result.success & ~result.skipped & (free.spent > budget)
    assert going.any()
    assert (result.spent[going] > budget - (case.most or case.cost)).all()  # too little is left for a step
    assert case.hard_label or (result.steps[going] > 0).all()


@pytest.mark.parametrize("goal", GOALS)
def test_chunks_change_nothing(case, room, goal):
    whole = case.attack(Victim(room.model, chunk=64), room.images, room.goals[goal])
    for chunk in (1, 7):
        same(case.attack(Victim(room.model, chunk=chunk), room.images, room.goals[goal]), whole, case.atol)


@pytest.mark.parametrize("goal", GOALS)
def test_an_image_alone_or_in_any_batch(case, room, hook, goal):
    goal = room.goals[goal]
    whole = case.attack(Victim(room.model), room.images, goal, seed=2)
    for order in ([8, 6, 4, 2, 0, 1, 3, 5, 7], [5, 1], *([i] for i in range(9))):
        rows = torch.tensor(order)
        with hook(room.model) as seen:
            some = case.attack(Victim(room.model), room.images[rows], goal[rows], seed=2, ids=order)
        same(some, whole, case.atol, rows)
        assert seen.rows == whole.spent[rows].sum()  # so each image's count is its own


def test_a_batch_of_single_precision(case, make):
    """Batches of eight and of sixteen; on some processors rounding may turn the sign of a slope near zero."""
    changed = {f.name: single(getattr(case.attack, f.name)) for f in dataclasses.fields(case.attack)}
    if "h" in changed:
        changed["h"] = 1e-2
    attack = dataclasses.replace(case.attack, **changed)
    model, images = make.victim().float(), make.pictures(16).float()
    labels = model(images).argmax(1)
    goal = Goal(labels, (labels + 1) % 4)
    whole = attack(Victim(model), images, goal)
    assert whole.adversarial.dtype == torch.float32
    for rows in (torch.arange(8), torch.arange(8, 16)):
        some = attack(Victim(model), images[rows], goal[rows], ids=rows.tolist())
        alike = (some.adversarial - whole.adversarial[rows]).abs() <= 1e-5
        assert alike.double().mean() > 0.99
        assert torch.equal(some.queries, whole.queries[rows])
        assert torch.equal(some.success, whole.success[rows])


def test_the_same_seed_gives_the_same_bytes(case, room):
    run = lambda seed: bytes_of(case.attack(Victim(room.model), room.images, room.goal, seed=seed))  # noqa: E731
    assert run(5) == run(5)
    assert (run(5) != run(6)) == case.drawn


def test_victim_images_settings_and_global_generator_are_left_alone(case, room):
    model = copy.deepcopy(room.model).train()
    model[1].eval()
    images = room.images.clone()
    for field in dataclasses.fields(case.attack):
        if isinstance(value := getattr(case.attack, field.name), torch.nn.Module):
            value.eval()
    fields = {f.name: state(getattr(case.attack, f.name)) for f in dataclasses.fields(case.attack)}
    before = {name: t.clone() for name, t in model.state_dict().items()}
    generator = torch.get_rng_state()
    result = case.attack(Victim(model), images, room.goal)
    assert torch.equal(images, room.images)
    assert result.adversarial.data_ptr() != images.data_ptr()
    assert not result.adversarial.requires_grad
    assert [m.training for m in model] == [True, False, True, True]
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    for field in dataclasses.fields(case.attack):
        assert state(getattr(case.attack, field.name)) == fields[field.name]


@given(
    seed=st.integers(0, 2**32),
    victim=st.integers(0, 1000),
    targeted=st.booleans(),
    more=st.integers(1, 400),
    border=st.sampled_from([0, 0.3, 0.9]),
)
@settings(max_examples=12)
def test_invariants(case, make, hook, seed, victim, targeted, more, border):
    model, images = make.victim(victim), make.pictures(3, victim)
    if border:
        images = ((images - 0.5) / (1 - border) + 0.5).clamp(0, 1)  # a share of the pixels at the border
    labels = model(images).argmax(1)
    labels[2] = (labels[2] + victim % 2) % 4  # now and then one that is misclassified
    goal = Goal(labels, (labels + 1 + victim % 3) % 4 if targeted else None)
    clean, budget = images.clone(), case.cost + more
    with hook(model) as seen:
        result = case.attack(Victim(model, budget=budget), images, goal, seed=seed)
    assert torch.equal(images, clean) and torch.equal(result.clean, clean)
    assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
    shown = model(result.adversarial).argmax(1)
    assert torch.equal(result.predicted, shown)
    reached = shown == goal.targets if targeted else shown != labels
    assert torch.equal(result.success, reached & ~result.skipped)
    assert torch.equal(result.skipped, model(clean).argmax(1) != labels)
    failed = ~result.success
    assert torch.equal(result.adversarial[failed], clean[failed])
    assert (result.l2[failed] == 0).all() and (result.l2[result.success] > 0).all()
    assert (result.queries <= result.spent).all() and (result.spent <= budget).all()
    assert seen.rows == result.spent.sum()
    assert seen.low >= 0 and seen.high <= 1  # queries are images too


def test_pixels_go_up_and_down(case, room):
    result = case.attack(Victim(room.model), room.images, room.goal)
    change = (result.adversarial - room.images)[result.success].flatten(1)
    up, down = (change > 1e-6).sum(1), (change < -1e-6).sum(1)
    assert (up > 0).all() and (down > 0).all()
    share = up.sum() / (up.sum() + down.sum())
    assert 0.2 < share < 0.8


def test_a_function_is_attacked_like_a_module(case, room):
    module = case.attack(Victim(room.model), room.images, room.goal)
    remote = lambda images: room.model(images).softmax(1)  # noqa: E731
    same(case.attack(Victim(remote, "probabilities"), room.images, room.goal), module, atol=1e-6)


class Failing:
    """A victim that answers well for a while."""

    def __init__(self, model, after, answer):
        self.model, self.left, self.answer = model, after, answer

    def __call__(self, images):
        self.left -= 1
        return self.model(images) if self.left >= 0 else self.answer(self.model(images))


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda z: z * torch.nan, "probabilities that are not finite"),
        (lambda z: z[:, 0], r"expected \(n, classes\)"),
        (lambda z: z + 1, "do not sum to one"),
    ],
)
def test_a_victim_that_breaks_is_named(case, room, after, answer, message):
    model = Failing(lambda x: room.model(x).softmax(1), after, answer)
    with pytest.raises(ValueError, match=message):
        case.attack(Victim(model, "probabilities"), room.images, room.goal)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x * 1.5, Goal(y)), "images reach from 0 to 1.5, expected values in .0, 1"),
        (lambda x, y: (x - 0.5, Goal(y)), "images reach from -0.5 to 0.5"),
        (lambda x, y: ((x * 255).to(torch.uint8), Goal(y)), r"(images|attacked) are torch.uint8"),
        (lambda x, y: (x.half(), Goal(y)), "images are torch.float16, expected float32 or float64"),
        (lambda x, y: (x.numpy(), Goal(y)), "images are ndarray, expected a floating-point tensor"),
        (lambda x, y: (x, y), "goal is Tensor, expected a Goal"),
        (lambda x, y: (x[:4], Goal(y)), "9 goals for 4 images"),
        (lambda x, y: (x, Goal(y + 4)), "label .*, but the victim has 4 classes"),
        (lambda x, y: (x, Goal(y, y)), "image 0: target 0 is the true class"),
    ],
)
def test_bad_input_is_refused(case, room, change, message):
    with pytest.raises(ValueError, match=message):
        case.attack(Victim(room.model), *change(room.images, room.labels))


def test_a_bare_model_is_refused(case, room):
    with pytest.raises(ValueError, match="victim is Sequential, expected a Victim"):
        case.attack(room.model, room.images, room.goal)


def test_images_that_require_a_gradient_are_attacked_like_others(case, room):
    images = room.images.clone().requires_grad_()
    result = case.attack(Victim(room.model), images, room.goal)
    assert not result.clean.requires_grad and not result.adversarial.requires_grad
    assert bytes_of(result) == bytes_of(case.attack(Victim(room.model), room.images, room.goal))
    assert len(result.to_frame()) == len(images)
