"""Reptile: closed forms, loops of plain torch, and what may not change on the way."""

import copy
import dataclasses
import functools

import pytest
import torch
from torch import nn

from thesislib.meta_attack import reptile as module
from thesislib.meta_attack.reptile import Reptile, adapt, error_of, reptile, step_towards, vanilla

HOW = Reptile(steps=4, batch=6, inner_steps=3, inner_lr=0.01, outer_lr=0.5, every=2)


def maps_of(images, k=1.0):
    """A map that belongs to its image, so that a mix-up shows."""
    return (k * (images - images.roll(1, dims=-1))) / 0.4


@pytest.fixture(scope="module")
def tasks(make):
    images = [make.pictures(8, seed) for seed in (1, 2)]
    return [(x, maps_of(x, k)) for k, x in enumerate(images, 1)]


@pytest.fixture(scope="module")
def held_out(make):
    images = make.pictures(7, 9)
    return images, maps_of(images)


@pytest.fixture
def attacker(make):
    return make.attacker(3)


def weights(attacker):
    return nn.utils.parameters_to_vector(attacker.parameters()).detach().clone()


def bytes_of(attacker):
    return b"".join(t.numpy().tobytes() for t in attacker.state_dict().values())


class Point(nn.Module):
    """A network of one weight vector, for losses that can be solved by hand."""

    def __init__(self, at):
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at, dtype=torch.float64))


def test_the_outer_step_on_quadratics_has_its_closed_form():
    """Tasks ||theta - c_j||^2 / 2, k gradient steps of length a inside: theta approaches the mean of c_j by the
    factor 1 - e (1 - (1 - a)^k)."""
    centres = torch.tensor([[1.0, 2, 0], [3, -2, 1], [-1, 3, 2]], dtype=torch.float64)
    a, k, e = 0.2, 3, 0.3
    theta = Point([5.0, 5, 5])
    start, middle = theta.at.detach().clone(), centres.mean(0)
    for n in range(1, 8):
        adapted = []
        for c in centres:
            task = copy.deepcopy(theta)
            for _ in range(k):
                task.at.data -= a * (task.at.data - c)
            adapted.append(task)
        step_towards(theta, adapted, e)
        expected = middle + (1 - e * (1 - (1 - a) ** k)) ** n * (start - middle)
        torch.testing.assert_close(theta.at.detach(), expected, rtol=0, atol=1e-12)


def test_the_outer_step_by_hand():
    theta = Point([1.0, 2])
    step_towards(theta, [Point([2.0, 2]), Point([4.0, 0])], 0.1)
    assert theta.at.tolist() == pytest.approx([1 + 0.1 * 2, 2 - 0.1 * 1])


def test_a_rate_of_one_and_one_task_is_plain_fine_tuning(attacker, tasks):
    adapted = adapt(attacker, *tasks[0], 3, 0.01)
    step_towards(attacker, [adapted], 1.0)
    torch.testing.assert_close(weights(attacker), weights(adapted), rtol=0, atol=1e-14)
    before = weights(attacker)
    step_towards(attacker, [adapt(attacker, *tasks[1], 3, 0.01)], 0.0)
    assert torch.equal(weights(attacker), before)


def test_one_inner_step_is_adam_s_first(attacker, tasks):
    """From zero moments, Adam's first step is -lr g / (|g| + eps)."""
    images, maps = tasks[0]
    before = weights(attacker)
    plain = copy.deepcopy(attacker)
    nn.functional.mse_loss(plain(images), maps).backward()
    g = nn.utils.parameters_to_vector([p.grad for p in plain.parameters()])
    adapted = adapt(attacker, images, maps, 1, 0.03)
    torch.testing.assert_close(weights(adapted), before - 0.03 * g / (g.abs() + 1e-8), rtol=0, atol=1e-9)
    assert torch.equal(weights(attacker), before)


@pytest.mark.parametrize("steps", [1, 5])
def test_the_inner_loop_is_torch_s_adam(attacker, tasks, steps):
    images, maps = tasks[0]
    plain = copy.deepcopy(attacker)
    adam = torch.optim.Adam(plain.parameters(), lr=0.01)
    for _ in range(steps):
        adam.zero_grad()
        nn.functional.mse_loss(plain(images), maps).backward()
        adam.step()
    adapted = adapt(attacker, images, maps, steps, 0.01)
    torch.testing.assert_close(weights(adapted), weights(plain), rtol=0, atol=1e-9)


def test_the_whole_is_a_loop_of_plain_steps(attacker, tasks, held_out):
    """With batches of a whole task the draw does not matter."""
    how = dataclasses.replace(HOW, steps=3, batch=8, every=3)
    plain = copy.deepcopy(attacker)
    for _ in range(3):
        ends = []
        for images, maps in tasks:
            task = copy.deepcopy(plain)
            adam = torch.optim.Adam(task.parameters(), lr=0.01)
            for _ in range(3):
                adam.zero_grad()
                nn.functional.mse_loss(task(images), maps).backward()
                adam.step()
            ends.append(weights(task))
        old = weights(plain)
        nn.utils.vector_to_parameters(old + 0.5 * (sum(ends) / 2 - old), plain.parameters())
    trained, history = reptile(attacker, tasks, held_out, how)
    torch.testing.assert_close(weights(trained), weights(plain), rtol=0, atol=1e-7)
    error = error_of(plain, *held_out)
    assert history.to_dict("records") == [
        {"step": 3, "gradients": 3 * 2 * 8 * 3, "error": pytest.approx(error, abs=1e-7)}
    ]


def test_the_vanilla_whole_is_adam_with_lasting_moments(attacker, tasks, held_out):
    how = dataclasses.replace(HOW, steps=2, batch=8, every=2)
    plain = copy.deepcopy(attacker)
    adam = torch.optim.Adam(plain.parameters(), lr=0.004)
    for _ in range(2 * 3):
        adam.zero_grad()
        nn.functional.mse_loss(plain(tasks[0][0]), tasks[0][1]).backward()
        adam.step()
    trained, _ = vanilla(attacker, tasks[:1], held_out, how, lr=0.004)
    torch.testing.assert_close(weights(trained), weights(plain), rtol=0, atol=1e-7)


class Spy:
    """Stands for a function of `reptile.py`, keeps what it was given, calls it."""

    def __init__(self, monkeypatch, name, keep):
        self.seen, self.inner, self.keep = [], getattr(module, name), keep
        monkeypatch.setattr(module, name, self)

    def __call__(self, *arguments, **options):
        self.seen.append(self.keep(*arguments))
        return self.inner(*arguments, **options)


def is_part_of(batch, maps, task):
    """How many images of the batch are one of the task's with that image's map; None if one appears twice."""
    rows = [[torch.equal(x, y) for y in task[0]] for x in batch]
    found = [row.index(True) for row in rows if any(row)]
    paired = [torch.equal(maps[k], task[1][row.index(True)]) for k, row in enumerate(rows) if any(row)]
    return len(found) if len(set(found)) == len(found) and all(paired) else None


def test_a_meta_step_draws_a_batch_of_each_task_without_replacement(monkeypatch, attacker, tasks, held_out):
    spy = Spy(monkeypatch, "adapt", lambda a, x, g, *_: (x, g))
    reptile(attacker, tasks, held_out, HOW)
    assert len(spy.seen) == 4 * 2
    for k, (images, maps) in enumerate(spy.seen):
        assert is_part_of(images, maps, tasks[k % 2]) == len(images) == 6
    first = [x.sum().item() for x, _ in spy.seen[::2]]
    assert len({round(s, 9) for s in first}) > 1  # another draw in each step


def test_vanilla_draws_from_all_tasks_and_sees_as_much(monkeypatch, attacker, tasks, held_out):
    spy = Spy(monkeypatch, "_adam_step", lambda a, adam, x, g: (x, g))
    _, one = reptile(attacker, tasks, held_out, HOW)
    of_reptile = sum(len(x) for x, _ in spy.seen)
    spy.seen.clear()
    _, other = vanilla(attacker, tasks, held_out, HOW, lr=0.001)
    of_vanilla = sum(len(x) for x, _ in spy.seen)
    assert of_reptile == of_vanilla == 4 * 2 * 6 * 3
    assert one.gradients.tolist() == other.gradients.tolist() == [72, 144]
    assert one.step.tolist() == other.step.tolist() == [2, 4]
    pool = tuple(torch.cat(part) for part in zip(*tasks, strict=True))
    assert all(is_part_of(x, g, pool) == 6 for x, g in spy.seen)
    assert any(is_part_of(x, g, tasks[0]) not in (0, 6) for x, g in spy.seen)  # mixed


def test_reptile_ends_at_the_target_and_vanilla_does_not(attacker, tasks, held_out):
    _, whole = reptile(attacker, tasks, held_out, dataclasses.replace(HOW, steps=12, every=2))
    target = whole.error[:3].min()
    how = dataclasses.replace(HOW, steps=12, every=2, target=target)
    _, short = reptile(attacker, tasks, held_out, how)
    assert len(short) == whole.error[:3].argmin() + 1 < len(whole)
    assert (short.error[:-1] > target).all() and short.error.iloc[-1] <= target
    _, other = vanilla(attacker, tasks, held_out, dataclasses.replace(how, target=1e9), lr=0.005)
    assert other.step.tolist() == whole.step.tolist()


@pytest.mark.parametrize(
    "train", [reptile, lambda *a, **k: vanilla(*a, lr=0.005, **k)], ids=["reptile", "vanilla"]
)
class TestTraining:
    def test_the_best_weights_are_kept(self, train, attacker, tasks, held_out):
        how = dataclasses.replace(HOW, steps=30, every=1, inner_lr=0.3, outer_lr=1.0)
        trained, history = train(attacker, tasks, held_out, how)
        assert len(history) == 30
        assert error_of(trained, *held_out) == pytest.approx(history.error.min(), abs=1e-9)
        assert history.error.iloc[-1] > history.error.min()  # else there was nothing to keep
        assert not trained.training

    def test_it_learns(self, train, attacker, tasks, held_out):
        how = dataclasses.replace(HOW, steps=40, every=40)
        trained, _ = train(attacker, tasks, held_out, how)
        assert error_of(trained, *held_out) < 0.7 * error_of(attacker, *held_out)

    def test_the_same_seed_gives_the_same_bytes(self, train, attacker, tasks, held_out):
        state = torch.get_rng_state()
        ends = [bytes_of(train(attacker, tasks, held_out, HOW, seed=seed)[0]) for seed in (3, 3, 4)]
        assert ends[0] == ends[1] != ends[2]
        assert torch.equal(torch.get_rng_state(), state)

    def test_start_and_tasks_are_left_alone(self, train, attacker, tasks, held_out):
        before, copies = bytes_of(attacker), copy.deepcopy((tasks, held_out))
        train(attacker, tasks, held_out, HOW)
        assert bytes_of(attacker) == before and not attacker.training
        assert all(p.grad is None for p in attacker.parameters())
        for old, new in zip((*copies[0], copies[1]), (*tasks, held_out), strict=True):
            assert all(torch.equal(*pair) for pair in zip(old, new, strict=True))

    def test_the_last_step_is_looked_at(self, train, attacker, tasks, held_out):
        _, history = train(attacker, tasks, held_out, dataclasses.replace(HOW, steps=5, every=2))
        assert history.step.tolist() == [2, 4, 5]

    def test_tasks_that_cannot_be_are_refused(self, train, attacker, tasks, held_out):
        (images, maps), _ = tasks
        for bad, message in (
            ([], "no tasks"),
            (
                [tasks[0], (images, maps[:5])],
                r"task 1: .* images \(8, 1, 20, 20\) and .* maps \(5, 1, 20, 20\)",
            ),
            (
                [(images[..., :16, :16], maps[..., :16, :16])],
                r"task 0: .*expected .* of shape \(n, 1, 20, 20\)",
            ),
            ([tasks[0], (images[:5], maps[:5])], "task 1 has 5 images, expected 6 or more"),
            ([(images.half(), maps)], "task 0: torch.float16 images"),
        ):
            with pytest.raises(ValueError, match=message):
                train(attacker, bad, held_out, HOW)

    def test_held_out_maps_that_cannot_be_are_refused(self, train, attacker, tasks, held_out):
        images, maps = held_out
        for bad in ((images[:0], maps[:0]), (images, maps[:, :, :1, :1]), (images, maps[:2])):
            with pytest.raises(ValueError, match="held_out"):
                train(attacker, tasks, bad, HOW)


def test_running_statistics_become_those_of_the_adapted_copies(make, tasks):
    attacker = make.attacker(statistics="running")
    adapted = [adapt(attacker, *tasks[0], 2, 0.01), adapt(attacker, *tasks[0], 5, 0.01)]
    step_towards(attacker, adapted, 0.5)
    first, second = (a.norms[0].running_var for a in adapted)
    assert not torch.equal(first, second)
    torch.testing.assert_close(attacker.norms[0].running_var, (first + second) / 2)


def test_the_error_is_the_mean_over_pixels_of_a_batch_s_own_statistics(attacker, held_out):
    images, maps = held_out
    with torch.no_grad():
        parts = [
            ((attacker(images[r]) - maps[r]) ** 2).flatten() for r in (slice(0, 3), slice(3, 6), slice(6, 7))
        ]
    assert error_of(attacker, images, maps, chunk=3) == pytest.approx(
        torch.cat(parts).mean().item(), abs=1e-12
    )
    assert error_of(attacker, images, maps, chunk=3) != pytest.approx(
        error_of(attacker, images, maps), abs=1e-6
    )
    zero = copy.deepcopy(attacker)
    nn.init.zeros_(zero.layers[-1].weight)
    assert error_of(zero, images, maps) == pytest.approx((maps**2).mean().item(), abs=1e-12)


def test_the_released_settings_for_mnist_are_the_defaults():
    assert dataclasses.asdict(Reptile()) == {
        "steps": 11 * 546, "batch": 32 * 25, "inner_steps": 5, "inner_lr": 0.01, "outer_lr": 0.01,
        "target": 0.0, "every": 11,
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"steps": 2.5},
        {"batch": -4},
        {"every": 0},
        {"inner_lr": 0.0},
        {"outer_lr": -1},
        {"target": float("nan")},
    ],
)
def test_numbers_that_cannot_be_are_refused(change):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"{name} = {value}, expected"):
        dataclasses.replace(HOW, **change)


@pytest.mark.parametrize("train", [reptile, functools.partial(vanilla, lr=0.01)])
def test_maps_that_are_not_finite_are_no_meta_attacker(train, attacker, tasks, held_out):
    images, maps = tasks[0]
    with pytest.raises(FloatingPointError, match="error on the held-out maps is nan at step 2"):
        train(attacker, [(images, maps * float("nan"))], held_out, HOW)
