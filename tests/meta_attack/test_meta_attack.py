"""The attack against its algorithm written as loops; its stacked networks against copies one by one."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from thesislib.blackbox import Goal, Victim
from thesislib.meta_attack.attacks import thesis_queries
from thesislib.meta_attack.gradient_data import standardised, white_box
from thesislib.meta_attack.meta_attack import MetaAttack
from thesislib.meta_attack.reptile import adapt
from thesislib.meta_attack.stacked import StackedAttackers
from thesislib.meta_attack.zoo import ZOO

SIZES = {1: 20, 3: 16}


@pytest.fixture(scope="module")
def small(make):
    """Victim, images, labels and meta attacker, grey or in colour, at the smallest size there is."""

    def small(channels, n=3):
        size = SIZES[channels]
        model, images = (
            make.victim(channels=channels, size=size),
            make.pictures(n, 3, channels, size, patch=False),
        )
        attacker = make.attacker(channels=channels, size=size, smooth=True)
        return model, images, model(images).argmax(1), attacker

    return small


class Recording:
    def __init__(self, model):
        self.model, self.shown = model, []

    def __call__(self, images):
        self.shown.append(images.flatten(1).numpy().copy())
        return self.model(images)


def by_loops(model, x0, label, target, setting):
    """The dossier's pseudo-code (section 6) for one image: its queries in order, its maps, its end."""
    shape, d, q, h = x0.shape, x0.numel(), setting.q, setting.h
    queries, maps = [], []

    def ask(x):
        queries.append(x.flatten().numpy().copy())
        with torch.no_grad():
            return model(x[None]).log_softmax(1)[0]

    def loss(log_p):
        wanted = label if target is None else target
        rival = max(log_p[k].item() for k in range(len(log_p)) if k != wanted)
        return max(log_p[wanted].item() - rival if target is None else rival - log_p[wanted].item(), 0)

    def image(delta):
        if setting.variable == "pixels":
            return (x0 + delta).clamp(0, 1)
        return (torch.tanh(torch.arctanh((2 * x0 - 1) * (1 - 1e-6)) + delta) + 1) / 2

    def moved(x, i, by):
        x = x.flatten().clone()
        x[i] += by
        return x.view(shape)

    net = copy.deepcopy(setting.attacker)
    delta, chosen = torch.zeros_like(x0), list(range(q))
    x = x0
    log_p = ask(x)
    for s in range(setting.max_steps):
        last = setting.fine_tune_until
        tune = (s + 1) % setting.m == 0 and (last is None or s + 1 <= last)
        if tune:
            here, estimate = loss(log_p), torch.zeros(d, dtype=x0.dtype)
            for i in chosen:  # the choice of the previous iteration
                pixel = x.flatten()[i].item()
                if setting.sides == 1:
                    by = h if pixel + h <= 1 else -h  # no query outside [0, 1]
                    estimate[i] = (loss(ask(moved(x, i, by))) - here) / by
                else:
                    up, down = min(h, 1 - pixel), min(h, pixel)
                    rise = loss(ask(moved(x, i, up))) - loss(ask(moved(x, i, -down)))
                    estimate[i] = rise / (up + down)
            wanted = estimate / estimate.std()  # of all d entries, the zeros included
            adam = torch.optim.Adam(net.parameters(), lr=setting.fine_tune_lr)
            for _ in range(setting.fine_tune_steps):
                adam.zero_grad()
                nn.functional.mse_loss(net(x[None]).flatten()[chosen], wanted[chosen]).backward()
                adam.step()
        with torch.no_grad():
            a = net(x[None]).flatten()
        maps.append(a.numpy())
        chosen = sorted(range(d), key=lambda i: -abs(a[i].item()))[:q]
        for i in chosen:
            v = (estimate if tune else a)[i].item()
            delta.view(-1)[i] -= setting.beta * v / (abs(v) + 1e-8)
        if setting.variable == "pixels":
            delta = (x0 + delta).clamp(0, 1) - x0
        x = image(delta)
        log_p = ask(x)
        if log_p.argmax() == target if target is not None else log_p.argmax() != label:
            return np.array(queries), np.array(maps), x
    return np.array(queries), np.array(maps), None


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        (1, {}),
        (1, {"targeted": True, "sides": 2}),
        (1, {"m": 1, "max_steps": 4}),  # before the first map, the first q pixels
        (1, {"fine_tune_until": 6, "q": 30, "max_steps": 10}),
        (3, {"variable": "tanh", "beta": 0.1}),
        (3, {"variable": "tanh", "sides": 2, "targeted": True, "m": 2}),
    ],
    ids=str,
)
def test_every_query_and_map_is_that_of_the_loops(small, channels, options):
    model, images, labels, attacker = small(channels, n=2)
    options = {"beta": 0.05, "q": 12, "m": 3, "max_steps": 12, **options}
    targets = (labels + 1) % 4 if options.pop("targeted", False) else None
    followed = {}
    setting = MetaAttack(
        attacker, **options, watch=lambda step, rows, x, maps: followed.setdefault(step, (rows, x, maps))
    )
    goal = Goal(labels, targets)
    together = setting(Victim(model), images, goal)
    seen = dict(followed)
    ends = []
    for i in range(len(images)):
        one, victim = torch.tensor([i]), Recording(model)
        result = setting(Victim(victim), images[one], goal[one])
        target = None if targets is None else int(targets[i])
        queries, maps, end = by_loops(model, images[i], int(labels[i]), target, setting)
        np.testing.assert_allclose(np.concatenate(victim.shown), queries, atol=1e-6)
        assert len(queries) == result.spent.item() == together.spent[i].item()
        assert result.success.item() == together.success[i].item() == (end is not None)
        end = images[i] if end is None else end
        torch.testing.assert_close(result.adversarial[0], end, rtol=0, atol=1e-6)
        torch.testing.assert_close(together.adversarial[i], end, rtol=0, atol=1e-6)
        for step, expected in enumerate(maps, 1):
            rows, _, found = seen[step]
            np.testing.assert_allclose(found[rows.tolist().index(i)], expected, atol=1e-6)
        ends.append(len(maps))
    assert min(ends) < max(ends) == options["max_steps"]  # one is fooled on the way, one is not


def test_the_map_is_followed_at_the_image_as_it_is(small):
    """Each map is of the image that was queried last."""
    model, images, labels, attacker = small(1)
    seen, victim = [], Recording(model)
    setting = MetaAttack(attacker, beta=0.02, q=12, m=99, max_steps=5, watch=lambda *a: seen.append(a))
    result = setting(Victim(victim), images, Goal(labels, (labels + 1) % 4))
    assert [step for step, *_ in seen] == [1, 2, 3, 4, 5] and not result.success.any()
    for (_, rows, current, maps), shown in zip(seen, victim.shown, strict=False):
        assert rows.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(current.flatten(1), shown)
        with torch.no_grad():
            alone = torch.stack([attacker(x[None]).flatten() for x in current])
        torch.testing.assert_close(maps, alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("until", [None, 4])
def test_the_released_formula_against_the_exact_count(small, m, sides, until):
    model, images, labels, attacker = small(1, n=12)
    setting = MetaAttack(attacker, beta=0.1, q=7, m=m, sides=sides, fine_tune_until=until, max_steps=20)
    result = dataclasses.replace(setting, fine_tune_steps=2)(Victim(model), images, Goal(labels))
    assert result.success.any()
    for s, queries in zip(*(t[result.success].tolist() for t in (result.steps, result.queries)), strict=True):
        tuned = min(s, until) if until else s
        assert queries == 1 + s + tuned // m * 7 * sides
        if (
            until is None
        ):  # without the clean image, a fine-tuning in the step of the success, and a second side
            formula = thesis_queries("Meta attack", s, queries, {"q": 7, "m": m, "sides": sides})
            assert formula == (s - 1) // m * 7 + s
            assert queries == 1 + s + sides * (formula - s + 7 * (s % m == 0))


def test_queries_as_the_thesis_counts_them():
    """Of its tables' rows: steps from the authors' logs, MNIST's and tiny-ImageNet's settings, ZOO on MNIST."""
    colour = {"q": 250, "m": 3}
    assert thesis_queries("Meta attack", 34, 0, colour) == 11 * 250 + 34
    assert thesis_queries("Meta transfer", 35, 0, {**colour, "sides": 2}) == 11 * 250 + 35
    assert thesis_queries("Meta attack", 26, 0, {}) == 5 * 128 + 26  # q 128, m 5, one side by default
    assert [thesis_queries("Meta attack", s, 0, {}) for s in (0, 1, 5, 6)] == [0, 1, 5, 128 + 6]
    assert thesis_queries("ZOO", 85, 0, {}) == 21_760
    assert thesis_queries("Bandits", 7, 22, {}) == 22


def test_only_estimated_pixels_move_at_a_fine_tuning_step(small):
    """Those chosen before and after it; the others of the new choice wait for the next step."""
    model, images, labels, attacker = small(1, n=1)
    shown, choices = [], []
    setting = MetaAttack(
        attacker, beta=0.01, q=25, m=2, max_steps=2,
        watch=lambda step, rows, x, maps: (shown.append(x), choices.append(maps.abs().topk(25).indices)),
    )  # fmt: skip
    victim = Recording(model)
    setting(Victim(victim), images, Goal(labels))
    last, before = victim.shown[-1][-1], shown[1].flatten().numpy()
    changed = set(np.flatnonzero(np.abs(last - before) > 1e-12))
    first, second = (set(c.flatten().tolist()) for c in choices)
    assert changed <= first & second and changed
    assert second - first  # else nothing would have been seen to wait


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("together", [1, 3, 16])
def test_stacked_attackers_are_copies_one_by_one(make, channels, statistics, together):
    size, n, q = SIZES[channels], 5, 9
    attacker = make.attacker(channels=channels, size=size, width=0.05, statistics=statistics)
    if statistics == "running":
        for k, norm in enumerate(attacker.norms):
            norm.running_mean += 0.1 * k + 0.1
            norm.running_var *= 1.5 + 0.2 * k
    for norm in attacker.norms:  # scales and shifts that tell channels apart
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    before = copy.deepcopy(attacker.state_dict())
    images = make.pictures(n, 5, channels, size)
    stack, copies = StackedAttackers(attacker, images, together), [copy.deepcopy(attacker) for _ in range(n)]
    generator = torch.Generator().manual_seed(0)
    for rows in ([0, 1, 2, 3, 4], [3, 0, 4], [2]):
        some = torch.tensor(rows)
        index = torch.stack([torch.randperm(images[0].numel(), generator=generator)[:q] for _ in rows])
        wanted = torch.randn(len(rows), q, generator=generator, dtype=torch.float64)
        stack.fine_tune(images[some], some, index, wanted, steps=4, lr=0.02)
        for k, row in enumerate(rows):
            adam = torch.optim.Adam(copies[row].parameters(), lr=0.02)
            for _ in range(4):
                adam.zero_grad()
                found = copies[row](images[row : row + 1]).flatten()[index[k]]
                nn.functional.mse_loss(found, wanted[k]).backward()
                adam.step()
        found = stack.maps(images[some], some)
        for k, row in enumerate(rows):
            with torch.no_grad():
                expected = copies[row](images[row : row + 1]).flatten()
            torch.testing.assert_close(found[k], expected, rtol=0, atol=1e-8)
    for k, old in before.items():
        assert torch.equal(attacker.state_dict()[k], old)


def test_fine_tuning_brings_the_map_to_the_estimate(small):
    _, images, _, attacker = small(1)
    stack, rows = StackedAttackers(attacker, images), torch.arange(3)
    index = torch.arange(50, 60).repeat(3, 1)
    wanted = torch.linspace(-2, 2, 10, dtype=torch.float64).repeat(3, 1)
    error = lambda: ((stack.maps(images, rows).gather(1, index) - wanted) ** 2).mean(1)  # noqa: E731
    before = error()
    stack.fine_tune(images, rows, index, wanted, steps=200, lr=0.01)
    assert (error() < 0.05 * before).all()


def test_precision_is_that_of_the_images(small):
    _, images, _, attacker = small(1)
    single = StackedAttackers(attacker, images.float())
    found = single.maps(images.float(), torch.arange(3))
    assert found.dtype == torch.float32
    double = StackedAttackers(attacker, images).maps(images, torch.arange(3))
    torch.testing.assert_close(found.double(), double, rtol=1e-3, atol=1e-4)


def test_a_meta_attacker_that_knows_the_gradient_needs_few_steps(small):
    """The point of chapter 2, where it is certain: trained on this very victim, and never fine-tuned."""
    model, images, labels, attacker = small(1, n=8)
    maps = standardised(white_box(model, images, Goal(labels)))
    trained = adapt(attacker, images, maps, 60, 0.01).eval()
    setting = MetaAttack(trained, beta=0.05, q=15, m=1000, max_steps=60)
    knows, guesses = (
        dataclasses.replace(setting, attacker=a)(Victim(model), images, Goal(labels))
        for a in (trained, attacker)
    )
    assert knows.success.all()
    assert (knows.queries == knows.steps + 1).all()  # without fine-tuning, one query a step
    assert knows.steps.double().mean() < 0.5 * guesses.steps.double().mean()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"q": 401}, "q = 401 pixels, but an image has 400"),
        ({"q": 0}, "q = 0, expected at least 1"),
        ({"q": 2.5}, "q = 2.5, expected at least 1, a whole number"),
        ({"h": 0.0}, "h = 0.0, expected more than 0"),
        ({"beta": 0.0}, "beta = 0.0, expected more than 0"),
        ({"fine_tune_lr": 0.0}, "fine_tune_lr = 0.0, expected more than 0"),
        ({"fine_tune_steps": 1.5}, "fine_tune_steps = 1.5, expected at least 0"),
        ({"fine_tune_until": -1}, "fine_tune_until = -1, expected at least 0"),
        ({"max_steps": -1}, "max_steps = -1, expected at least 0"),
        ({"attacker": torch.nn.Conv2d(1, 1, 3)}, "attacker is Conv2d, expected a MetaAttacker"),
        ({"sides": 3}, "sides = 3, expected 1 or 2"),
        ({"m": 0}, "m = 0, expected at least 1"),
        ({"together": 0}, "together = 0, expected at least 1"),
        ({"variable": "log"}, "variable = 'log', expected one of pixels, tanh"),
    ],
)
def test_settings_that_cannot_be_are_refused(small, options, message):
    model, images, labels, attacker = small(1)
    with pytest.raises(ValueError, match=message):
        MetaAttack(**{"attacker": attacker, "q": 5, **options})(Victim(model), images, Goal(labels))


@pytest.mark.parametrize(
    ("channels", "size"),
    [(1, 28), (3, 16), (3, 32)],
)
def test_a_meta_attacker_of_other_images_is_refused(small, make, channels, size):
    model, images, labels, _ = small(1)
    other = make.attacker(channels=channels, size=size)
    message = (
        rf"images have shape \(3, 1, 20, 20\), this meta attacker takes \(n, {channels}, {size}, {size}\)"
    )
    with pytest.raises(ValueError, match=message):
        MetaAttack(other, q=5)(Victim(model), images, Goal(labels))


def test_pictures_may_lie_in_memory_as_they_like(small):
    """Channels last, or a view: what numpy and Pillow hand over."""
    model, images, labels, attacker = small(3)
    views = (
        images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        images.to(memory_format=torch.channels_last),
    )
    for attack in (
        MetaAttack(attacker, q=9, m=3, max_steps=5, variable="tanh", fine_tune_steps=3),
        ZOO(q=9, max_steps=5),
    ):
        plain, *others = (attack(Victim(model), x, Goal(labels)) for x in (images, *views))
        for other in others:
            torch.testing.assert_close(other.adversarial, plain.adversarial, rtol=0, atol=1e-9)
            np.testing.assert_allclose(other.trace().loss, plain.trace().loss, atol=1e-9)


def test_the_released_settings_for_mnist_are_the_defaults(make):
    setting = MetaAttack(make.attacker())
    found = {f.name: getattr(setting, f.name) for f in dataclasses.fields(setting) if f.name != "attacker"}
    assert found == {
        "beta": 0.01, "q": 128, "m": 5, "h": 1e-4, "sides": 1, "fine_tune_steps": 20, "fine_tune_lr": 0.01,
        "fine_tune_until": None, "max_steps": None, "variable": "pixels", "together": 16, "watch": None,
    }  # fmt: skip


def test_the_last_step_is_the_released_one_without_a_budget_and_the_last_affordable_with_one(make):
    stubborn = make.attacker()
    images, goal = torch.full((1, 1, 20, 20), 0.5), Goal(torch.zeros(1, dtype=torch.int64))
    sure = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(400, 2))
    torch.nn.init.zeros_(sure[1].weight)
    sure[1].bias.data = torch.tensor([9.0, 0.0])
    attack = MetaAttack(stubborn, q=10, m=400)
    free, bounded = (attack(Victim(sure, budget=budget), images, goal) for budget in (None, 350))
    assert free.steps.item() == 300 and bounded.queries.item() == bounded.steps.item() + 1 == 350
