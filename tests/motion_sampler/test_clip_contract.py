"""What every attack on clips owes: exact counts, its budget, the bound, the same answer in any company."""

import pytest
import torch

from thesislib.blackbox import Goal, Victim
from thesislib.motion_sampler.bandits import EBandits
from thesislib.motion_sampler.me_sampler import MESampler
from thesislib.motion_sampler.nes import ENES
from thesislib.motion_sampler.sampler import NoiseSampler
from thesislib.motion_sampler.vbad import VBAD

GOALS = ("untargeted", "targeted")


class Seen:
    """An independent witness: how many rows went through a model."""

    def __init__(self, model):
        self.model, self.rows = model, 0

    def __enter__(self):
        self.handle = self.model.register_forward_hook(self._count)
        return self

    def _count(self, _, inputs, __):
        self.rows += len(inputs[0])

    def __exit__(self, *_):
        self.handle.remove()


def same(one, other, rows=slice(None)):
    torch.testing.assert_close(one.adversarial, other.adversarial[rows], rtol=0, atol=1e-9)
    for name in ("success", "skipped", "queries", "spent", "steps", "predicted"):
        assert torch.equal(getattr(one, name), getattr(other, name)[rows]), name


def test_the_room_is_no_walkover(case, room):
    """The tests below mean something only if attacks win, fail, take their time, and one clip is skipped."""
    results = [case.attack(Victim(room.model), room.images, room.goals[g]) for g in GOALS]
    won = torch.cat([r.success[~r.skipped] for r in results])
    assert won.any() and not won.all()
    assert all(r.skipped.sum() == 1 for r in results)
    wins = torch.cat([r.queries[r.success] for r in results])
    assert len(wins.unique()) > 2


@pytest.mark.parametrize("goal", GOALS)
def test_queries_are_those_of_the_iterations_and_of_an_independent_hook(case, room, goal):
    with Seen(room.model) as seen:
        result = case.attack(Victim(room.model), room.images, room.goals[goal])
    assert result.spent.sum() == seen.rows
    start = ~result.skipped * (goal == "untargeted") * case.start
    assert torch.equal(result.queries, 1 + start + case.cost * result.steps)
    assert torch.equal(result.queries, result.spent)


@pytest.mark.parametrize("goal", GOALS)
def test_adversarials_keep_the_bound_and_the_range_and_reach_the_goal(case, room, goal):
    wanted = room.goals[goal]
    result = case.attack(Victim(room.model), room.images, wanted)
    assert (result.linf <= case.attack.kappa + 1e-12).all()
    assert result.adversarial.min() >= 0 and result.adversarial.max() <= 1
    answer = room.model(result.adversarial).detach()
    assert torch.equal(wanted.reached(answer)[~result.skipped], result.success[~result.skipped])
    assert torch.equal(answer.argmax(1), result.predicted)
    assert (result.linf[result.success] > 0).all()


@pytest.mark.parametrize("goal", GOALS)
def test_a_clip_alone_or_in_any_batch(case, room, goal):
    whole = case.attack(Victim(room.model), room.images, room.goals[goal], seed=2)
    for order in ([8, 6, 4, 2, 0, 1, 3, 5, 7], [5, 1], *([i] for i in range(9))):
        rows = torch.tensor(order)
        goals = room.goals[goal][rows]
        same(case.attack(Victim(room.model), room.images[rows], goals, seed=2, ids=order), whole, rows)


@pytest.mark.parametrize("more", [0, 1, 30])
def test_budgets_are_used_and_kept(case, room, more):
    budget = 1 + case.start + case.cost + more
    result = case.attack(Victim(room.model, budget=budget), room.images, room.goal)
    free = case.attack(Victim(room.model), room.images, room.goal)
    assert (result.spent <= budget).all()
    inside = free.success & (free.queries <= budget)
    assert torch.equal(result.success, inside)
    going = ~result.success & ~result.skipped & (free.spent > budget)
    assert (result.spent[going] > budget - case.cost).all()
    assert (result.steps[going] > 0).all()


def test_a_budget_smaller_than_an_iteration_is_refused(case, room):
    least = case.start + case.cost
    with pytest.raises(ValueError, match=f"budget = {least} queries an image, but one step costs {least}"):
        case.attack(Victim(room.model, budget=least), room.images, room.goal)


def test_the_same_seed_gives_the_same_bytes(case, room):
    one, two, other = (
        case.attack(Victim(room.model), room.images, room.goal, seed=s).adversarial for s in (5, 5, 6)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_no_clip(case, room):
    result = case.attack(Victim(room.model), room.images[:0], room.goal[torch.tensor([], dtype=torch.int64)])
    assert result.adversarial.shape == (0, *room.images.shape[1:])


def test_images_are_refused_as_no_clips(case, room):
    with pytest.raises(ValueError, match=r"clips have shape \(9, 3, 8, 8\), expected"):
        case.attack(Victim(room.model), room.images[:, :, 0], room.goal)


def test_a_victim_that_returns_nan_is_refused(case, room):
    with pytest.raises(ValueError, match="not finite"):
        case.attack(Victim(lambda x: x.flatten(1)[:, :4] * torch.nan), room.images, room.goal)


def test_clips_and_generator_are_left_alone(case, room):
    images, state = room.images.clone(), torch.get_rng_state()
    result = case.attack(Victim(room.model), images, room.goal)
    assert torch.equal(images, room.images) and torch.equal(torch.get_rng_state(), state)
    assert not result.adversarial.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x * 1.5, Goal(y)), "images reach from 0 to 1.499, expected values in .0, 1"),
        (lambda x, y: ((x * 255).to(torch.uint8), Goal(y)), "images are torch.uint8"),
        (lambda x, y: (x.half(), Goal(y)), "images are torch.float16, expected float32 or float64"),
        (lambda x, y: (x.numpy(), Goal(y)), "images are ndarray, expected a floating-point tensor"),
        (lambda x, y: (x[:4], Goal(y)), "9 goals for 4 images"),
        (lambda x, y: (x, Goal(y + 4)), "label ., but the victim has 4 classes"),
        (lambda x, y: (x, y), "goal is Tensor, expected a Goal"),
        (
            lambda x, y: (x.float(), Goal(y)),
            "failed on torch.float32 images .* its parameters are torch.float64",
        ),
    ],
)
def test_bad_input_is_refused(case, room, change, message):
    with pytest.raises(ValueError, match=message):
        case.attack(Victim(room.model), *change(room.images, room.labels))


def test_a_bare_model_is_refused(case, room):
    with pytest.raises(ValueError, match="victim is Sequential, expected a Victim"):
        case.attack(room.model, room.images, room.goal)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ids": [0, 1, 2, 3, 4, 5, 6, 7, -1]}, "ids hold -1, expected a whole number from 0"),
        ({"ids": [0, 1]}, "2 ids for 9 images"),
        ({"seed": -1}, "seed = -1, expected a whole number from 0"),
    ],
)
def test_numbers_and_seeds_that_cannot_be_are_refused(case, room, options, message):
    with pytest.raises(ValueError, match=message):
        case.attack(Victim(room.model), room.images, room.goal, **options)


def test_clips_that_require_a_gradient_are_attacked_like_others(case, room):
    clips = room.images.clone().requires_grad_()
    result = case.attack(Victim(room.model), clips, room.goal)
    same(result, case.attack(Victim(room.model), room.images, room.goal))
    assert not result.clean.requires_grad and len(result.to_frame()) == 9


@pytest.mark.parametrize(
    ("image_model", "made"),
    [
        (lambda frames: frames.flatten(1).sum(1), r"\(16,\) of 16 frames"),
        (lambda frames: frames, r"\(16, 3, 8, 8\) of 16 frames"),
        (lambda frames: frames.flatten(1)[:1], r"\(1, 192\) of 16 frames"),
    ],
)
def test_an_image_model_without_features_is_refused(room, image_model, made):
    with pytest.raises(ValueError, match=f"image_model makes {made}, expected"):
        VBAD(image_model, split=4)(Victim(room.model, budget=60), room.images[:4], Goal(room.labels[:4]))
    with pytest.raises(ValueError, match=r"image_model makes .* features"):
        goal = Goal(room.labels[:4], (room.labels[:4] + 1) % 4)
        attack = VBAD(image_model, dict(enumerate(room.images[:4])), split=4, loss="cross_entropy")
        attack(Victim(room.model, budget=60), room.images[:4], goal)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ENES(samples=2.5), "samples = 2.5, expected at least 1, a whole number"),
        (lambda: ENES(max_steps=-1), "max_steps = -1, expected at least 0"),
        (lambda: ENES(kappa="a"), "kappa = 'a', expected more than 0"),
        (lambda: EBandits(tile=0), "tile = 0, expected at least 1"),
        (lambda: MESampler(noise=NoiseSampler("one-noise"), step=0), "step = 0, expected more than 0"),
        (lambda: MESampler(noise="warp"), "noise = 'warp'; expected a NoiseSampler"),
        (lambda: NoiseSampler(period=2.5), "period = 2.5"),
        (lambda: VBAD(None), "image_model is NoneType, expected a module or a function of frames"),
        (lambda: VBAD(len, samples=2.5), "samples = 2.5, expected at least 1, a whole number"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
