"""The rivals: their estimates on linear losses, their algorithms as loops, what hard-label attacks may see.

What every attack owes (counts, budgets, batches) is in `test_contract.py`.
"""

import dataclasses
import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thesislib.blackbox import Attempt, Goal, Victim
from thesislib.blackbox.attempt import iterations
from thesislib.blackbox.goals import cross_entropy, logits
from thesislib.blackbox.streams import Streams
from thesislib.meta_attack.autozoom import AutoEncoder, AutoZOOM, _Weight, train_autoencoder
from thesislib.meta_attack.bandits import Bandits
from thesislib.meta_attack.decision_boundary import DecisionBoundary
from thesislib.meta_attack.fw_black import FWBlack
from thesislib.meta_attack.hard_label import HardLabel, along, bisect, start
from thesislib.meta_attack.opt_attack import OptAttack, border
from thesislib.meta_attack.zoo import ZOO

W = torch.linspace(-1, 1.5, 16, dtype=torch.float64)


class Linear:
    """Two classes; the margin of class 0 is linear in the image. Keeps what it is shown."""

    def __init__(self, w=W, offset=5.0):
        self.w, self.offset, self.shown = w, offset, []

    def margin(self, images):
        return self.offset + (images.flatten(1).double() - 0.5) @ self.w

    def __call__(self, images):
        self.shown.append(images.clone())
        return torch.stack((self.margin(images), torch.zeros(len(images), dtype=torch.float64)), dim=1)


def grey(n=1, size=4):
    return torch.full((n, 1, size, size), 0.5, dtype=torch.float64)


def zeros(n):
    return Goal(torch.zeros(n, dtype=torch.int64))


def tiny():
    torch.manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    with torch.no_grad():
        model[1].weight *= 2
        model[3].weight *= 2
    images = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images[:, :, 0, :2], images[:, :, 1, :2] = 0, 1
    return model, images, model(images).argmax(1)


def cosine(a, b):
    return F.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


def same_run(attack, loops):
    """Attack four tiny images and compare each with its loop; true if some were fooled and some were not."""
    model, images, labels = tiny()
    goal = Goal(labels, (labels + 1) % 3)
    result = attack(Victim(model), images, goal, seed=5)
    for i in range(4):
        adversarial, success, queries, spent = loops(attack, model, images, goal, i)
        torch.testing.assert_close(result.adversarial[i].flatten(), adversarial, rtol=0, atol=1e-9)
        assert (result.success[i].item(), result.queries[i].item()) == (success, queries), i
        assert result.spent[i] == spent
    return len(result.success.unique()) == 2


# AutoZOOM


@pytest.mark.parametrize("decoder", ["bilinear", "autoencoder"])
def test_autozoom_s_estimates_average_to_the_latent_gradient(decoder):
    torch.manual_seed(0)
    codec = None if decoder == "bilinear" else AutoEncoder(1, 4).double()
    attack, images = AutoZOOM(codec, c=3.0, smoothing=1e-6), grey()
    run = Attempt(Victim(Linear(), chunk=4096), images, zeros(1))
    decode, shape = attack._decoder(images)
    latent, draws = torch.zeros(1, 4, dtype=torch.float64), 40_000
    everyone = torch.tensor([0])
    found = attack._slope(
        *(run, decode, shape, latent, images.clone()),
        *(torch.tensor([3.0]), everyone, torch.tensor([draws])),
    )
    z = torch.zeros(1, *shape, dtype=torch.float64, requires_grad=True)
    up = decode(z) if codec is None else codec.decoder(z)
    (expected,) = torch.autograd.grad(3 * (up.flatten() @ W), z)
    # The deviation of a mean over draws is about the gradient's length times the root of d' / draws.
    torch.testing.assert_close(
        found[0], expected.flatten(), rtol=0, atol=4 * expected.norm().item() * math.sqrt(4 / draws)
    )


def autozoom_by_loops(attack, model, images, goal, i):
    """One image, all in numbers: the dossier's steps with a bilinear decoder from 2 x 2."""
    x0, stream = images[i].flatten(), Streams(5, range(4), device=images.device, dtype=images.dtype)
    asked = []

    def image(z):
        up = F.interpolate(
            torch.tensor(z, dtype=x0.dtype).view(1, 1, 2, 2), (4, 4), mode="bilinear"
        ).flatten()
        return (x0 + up).clamp(0, 1)

    def hinge(x):
        asked.append(x)
        with torch.no_grad():
            p = model(x.view(1, 1, 4, 4)).log_softmax(1)[0]
        t = int(goal.targets[i])
        return max(max(p[k].item() for k in range(3) if k != t) - p[t].item(), 0), int(p.argmax()) == t

    z, mean, square, count = [0.0] * 4, [0.0] * 4, [0.0] * 4, 0
    c, low, high, reached = attack.c, 0.0, math.inf, False
    best, nearest, first, queries = x0, math.inf, None, None
    loss, _ = hinge(x0)
    for step in range(1, attack.max_steps + 1):
        k = 1 if first is None else attack.vectors
        draws = stream.directions(torch.tensor([i]), k, 4)[0].tolist()
        here = float(((image(z) - x0) ** 2).sum()) + c * loss
        slope = [0.0] * 4
        for u in draws:
            x = image([a + b / 4 for a, b in zip(z, u, strict=True)])  # smoothing 1/d'
            there = float(((x - x0) ** 2).sum()) + c * hinge(x)[0]
            slope = [s + 4 * (there - here) * 4 * b / k for s, b in zip(slope, u, strict=True)]
        count += 1
        for j in range(4):
            mean[j] = 0.9 * mean[j] + 0.1 * slope[j]
            square[j] = 0.999 * square[j] + 0.001 * slope[j] ** 2
            root = math.sqrt(square[j] / (1 - 0.999**count))
            z[j] -= attack.lr * mean[j] / (1 - 0.9**count) / (root + 1e-8)
        loss, hit = hinge(image(z))
        if hit:
            reached, distance = True, float((image(z) - x0).norm())
            if distance < nearest:
                best, nearest = image(z), distance
            if first is None:
                first, queries, mean, square, count = step, len(asked), [0.0] * 4, [0.0] * 4, 0
        if first is not None and step - first >= attack.refine:
            break
        if step % attack.switch == 0:
            low, high = (low, min(high, c)) if reached else (max(low, c), high)
            c = 10 * c if high == math.inf else (low + high) / 2
            reached, mean, square, count = False, [0.0] * 4, [0.0] * 4, 0
    return best, first is not None, queries or len(asked), len(asked)


@pytest.mark.parametrize("refine", [0, 13])
def test_autozoom_is_its_algorithm_as_loops(refine):
    attack = AutoZOOM(c=0.01, lr=0.05, switch=4, vectors=3, refine=refine, max_steps=40)
    assert same_run(attack, autozoom_by_loops)


def test_the_weight_of_the_hinge_grows_tenfold_then_is_bisected():
    weight = _Weight(torch.zeros(2, 1), 1.0)
    only, seen = torch.tensor([0]), []
    for reached in (False, False, True, False, True, True):
        weight.reached[only] = reached
        weight.change(only)
        seen.append(weight.c[0].item())
    assert seen == [10, 100, 55, 77.5, 66.25, 60.625]
    assert weight.c[1] == 1
    ready = _Weight(torch.zeros(1, 1), 1.0)
    ready.reached[:] = True
    ready.change(only)
    assert ready.c.item() == 0.5


def test_the_weight_of_the_hinge_stays_a_number_in_single_precision():
    model, images, labels = tiny()
    hopeless = Goal(labels, (labels + 1) % 3)
    attack = AutoZOOM(lr=1e-9, switch=1, max_steps=60)
    result = attack(Victim(model.float()), images.float(), hopeless)
    assert not result.success.any() and (result.steps == 60).all()


def test_a_step_of_autozoom_pays_its_base_point_once():
    model, images, labels = tiny()
    attack = AutoZOOM(lr=1e-6, max_steps=7)
    result = attack(Victim(model), images, Goal(labels))
    assert not result.success.any() and (result.spent == 1 + 7 * 2).all()
    eager = AutoZOOM(lr=0.2, refine=5, vectors=4, max_steps=60)(Victim(model), images, Goal(labels))
    won = eager.success
    assert won.any() and (eager.spent[won] == eager.queries[won] + 5 * (4 + 1)).all()


@pytest.mark.parametrize(("channels", "size", "side"), [(1, 28, 14), (3, 32, 8), (3, 64, 16)])
def test_the_latent_images_have_the_paper_s_sizes(channels, size, side):
    codec = AutoEncoder(channels, size)
    images = torch.rand(2, channels, size, size)
    assert codec.encoder(images).shape == (2, channels, side, side)
    assert codec(images).shape == images.shape
    assert AutoZOOM()._decoder(images)[1] == AutoZOOM(codec)._decoder(images)[1] == (channels, side, side)
    still = codec.perturbation(torch.zeros(2, channels, side, side))
    torch.testing.assert_close(still, torch.zeros_like(images), rtol=0, atol=1e-6)


def test_a_decoder_learns_the_images_and_leaves_the_global_generator():
    places = torch.linspace(0, 3, 8)
    images = (torch.sin(places[:, None] + places[None] + torch.arange(60).view(-1, 1, 1)) + 1)[:, None] / 2
    before = torch.get_rng_state()
    codec, history = train_autoencoder(images, epochs=80, batch=20, lr=0.01, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert history.epoch.tolist() == list(range(1, 81))
    assert history.error.iloc[-1] < 0.05 * images.var()
    assert F.mse_loss(codec(images - 0.5), images - 0.5) < 0.05 * images.var()
    assert not any(p.requires_grad for p in codec.parameters())
    again, _ = train_autoencoder(images, epochs=80, batch=20, lr=0.01, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(codec.parameters(), again.parameters(), strict=True))


# FW-black


def fw_slope(attack, images, model):
    run = Attempt(Victim(model, chunk=4096), images, zeros(len(images)), objective=attack.objective)
    return attack._slope(run, images, torch.arange(len(images)))


def test_fw_black_s_opposite_probes_average_to_the_gradient_and_to_half_of_it_at_the_border():
    images = grey()
    images[0, 0, 0, 0], images[0, 0, -1, -1] = 0, 1
    draws = 40_000
    found = fw_slope(FWBlack(directions=draws, objective=logits), images, Linear())[0].flatten()
    expected = W.clone()
    expected[[0, -1]] /= 2
    torch.testing.assert_close(found, expected, rtol=0, atol=4 * W.norm().item() / math.sqrt(draws))


def fw_by_loops(attack, model, images, goal, i):
    stream = Streams(5, range(4), device=images.device, dtype=images.dtype)
    x0, asked = images[i].flatten().numpy(), []

    def ask(x):
        asked.append(x)
        with torch.no_grad():
            p = model(torch.tensor(x).view(1, 1, 4, 4)).log_softmax(1)[0]
        t = int(goal.targets[i])
        return -p[t].item(), int(p.argmax()) == t

    loss, _ = ask(x0)
    x, average, drops, past = x0.copy(), np.zeros(16), 0, loss
    for step in range(1, attack.max_steps + 1):
        slope = np.zeros(16)
        for u in stream.normal(torch.tensor([i]), (attack.directions, 1, 4, 4))[0].flatten(1).numpy():
            above, _ = ask(np.clip(x + attack.smoothing * u, 0, 1))
            below, _ = ask(np.clip(x - attack.smoothing * u, 0, 1))
            slope += (above - below) / (2 * attack.smoothing) * u / attack.directions
        average = attack.momentum * average + (1 - attack.momentum) * slope
        unit = average / np.sqrt((average**2).sum()) if attack.norm == "l2" else np.sign(average)
        x = np.clip(x + attack.lr / math.sqrt(1 + drops) * (x0 - attack.eps * unit - x), 0, 1)
        loss, hit = ask(x)
        if hit:
            return torch.tensor(x), True, len(asked), len(asked)
        if step % attack.plateau == 0:
            drops, past = drops + (past - loss < attack.tolerance * abs(past)), loss
    return torch.tensor(x0), False, len(asked), len(asked)


@pytest.mark.parametrize(("norm", "eps"), [("l2", 1.2), ("linf", 0.4)])
def test_fw_black_is_its_algorithm_as_loops(norm, eps):
    attack = FWBlack(eps=eps, norm=norm, directions=2, lr=0.1, plateau=3, tolerance=0.1, max_steps=12)
    assert same_run(attack, fw_by_loops)


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", math.inf)])
def test_fw_black_stays_in_its_ball(norm, order):
    model = Linear(offset=20.0)  # out of reach
    images = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    FWBlack(eps=0.3, norm=norm, lr=0.8, directions=3, max_steps=30)(Victim(model), images, zeros(1))
    checked = [shown for shown in model.shown if len(shown) == 1][1:]
    lengths = torch.tensor([(x - images).flatten().norm(p=order) for x in checked])
    assert len(lengths) == 30 and (lengths <= 0.3 + 1e-12).all() and lengths.max() > 0.2


# Bandits


@pytest.mark.parametrize("goal", ["untargeted", "targeted"])
def test_the_bandits_guess_climbs_to_the_gradient(goal):
    aim = zeros(1) if goal == "untargeted" else Goal(torch.ones(1, dtype=torch.int64), torch.tensor([0]))
    model = Linear(offset=0.5 if goal == "untargeted" else -0.5)
    attack, images, everyone = Bandits(tile=2, prior_lr=0.3), grey(), torch.tensor([0])
    run = Attempt(Victim(model), images, aim, objective=cross_entropy)
    guess = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    for _ in range(3000):
        guess = attack.improved(run, guess, images, everyone)
    # The guess is of the loss's slope: the margin's where class 0 is to be left, minus that where it is wanted.
    pooled = F.avg_pool2d(W.view(1, 1, 4, 4), 2) * (1 if goal == "untargeted" else -1)
    assert cosine(guess, pooled) > 0.9


def bandits_by_loops(attack, model, images, goal, i):
    stream = Streams(5, range(4), device=images.device, dtype=images.dtype)
    x0, asked, everyone = images[i, 0].numpy(), [], torch.tensor([i])

    def ask(x):
        asked.append(x)
        with torch.no_grad():
            p = model(torch.tensor(x).view(1, 1, 4, 4)).log_softmax(1)[0]
        t = int(goal.targets[i])
        return -p[t].item(), int(p.argmax()) == t

    def up(v):
        big = np.kron(v, np.ones((2, 2)))
        return big / np.sqrt((big**2).sum())

    ask(x0)
    x, guess = x0.copy(), np.zeros((2, 2))
    for _ in range(attack.max_steps):
        change = attack.exploration * stream.normal(everyone, (1, 2, 2))[0, 0].numpy() / math.sqrt(4)
        losses = [ask(np.clip(x + attack.fd_eta * up(guess + s * change), 0, 1))[0] for s in (1, -1)]
        slope = (losses[0] - losses[1]) / (attack.fd_eta * attack.exploration)
        guess = guess + attack.prior_lr * slope * change
        step = x - attack.image_lr * up(guess) - x0
        length = np.sqrt((step**2).sum())
        x = np.clip(x0 + (step if length <= attack.eps else step * attack.eps / length), 0, 1)
        if ask(x)[1]:
            return torch.tensor(x).flatten(), True, len(asked), len(asked)
    return torch.tensor(x0).flatten(), False, len(asked), len(asked)


def test_bandits_are_their_algorithm_as_loops():
    assert same_run(Bandits(eps=1.5, image_lr=0.1, tile=2, max_steps=25), bandits_by_loops)


def test_bandits_stay_in_their_ball_and_their_probes_near_it():
    model, eps = Linear(offset=20.0), 0.4
    images = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    Bandits(eps=eps, image_lr=0.3, fd_eta=0.05, max_steps=30)(Victim(model), images, zeros(1))
    lengths = [(shown - images).flatten(1).norm(dim=1).max().item() for shown in model.shown[1:]]
    assert max(lengths[1::2]) == pytest.approx(eps) and eps < max(lengths[::2]) <= eps + 0.05 + 1e-12


# Hard labels


POOL = (
    torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(9), dtype=torch.float64),
    torch.arange(40) % 3,
)


def hard(name, **options):
    kind = {"boundary": DecisionBoundary, "opt": OptAttack}[name]
    steps = {"boundary": 150, "opt": 6}[name]
    return kind(**{"pool": POOL, "starts": 6, "max_steps": steps, **options})


@pytest.mark.parametrize("name", ["boundary", "opt"])
def test_hard_label_attacks_use_the_class_only(name):
    model, images, labels = tiny()

    def class_only(x):
        return F.one_hot(model(x).argmax(1), 3).double()

    goal = Goal(labels, (labels + 1) % 3)
    full, bare = (
        hard(name, l2_goal=0.8)(Victim(answer), images, goal, seed=1) for answer in (model, class_only)
    )
    assert torch.equal(full.adversarial, bare.adversarial) and torch.equal(full.queries, bare.queries)
    assert full.success.any()


@pytest.mark.parametrize("name", ["boundary", "opt"])
def test_the_nearest_adversarial_only_comes_nearer(name):
    model, images, labels = tiny()
    goal = Goal(labels, (labels + 1) % 3)
    result = hard(name)(Victim(model), images, goal)
    assert result.success.all() and torch.equal(result.queries, result.spent)
    assert (model(result.adversarial).argmax(1) == goal.targets).all()
    assert torch.equal(result.predicted, goal.targets)
    trace = result.trace()
    for i in range(4):
        line = trace[trace.image == i].loss.to_numpy()
        assert line[0] == np.inf and (np.diff(line[1:]) <= 0).all()
        assert line[-1] < line[1]
        assert line[-1] == pytest.approx(result.l2[i].item())


@pytest.mark.parametrize(("name", "budget"), [("boundary", 150), ("opt", 700)])
def test_without_a_goal_an_image_fares_the_same_alone(name, budget):
    """Here an image is done when its budget is, and that is no step of the others."""
    model, images, labels = tiny()
    goal, attack = Goal(labels, (labels + 1) % 3), hard(name, max_steps=10_000)
    whole = attack(Victim(model, budget=budget), images, goal)
    assert len(whole.steps.unique()) > 1 and (whole.spent <= budget).all()
    for i in range(4):
        rows = torch.tensor([i])
        alone = attack(Victim(model, budget=budget), images[rows], goal[rows], ids=[i])
        torch.testing.assert_close(alone.adversarial, whole.adversarial[rows], rtol=0, atol=1e-9)
        for field in ("success", "queries", "spent", "steps", "predicted"):
            assert torch.equal(getattr(alone, field), getattr(whole, field)[rows]), field


@pytest.mark.parametrize("name", ["boundary", "opt"])
def test_the_attack_ends_at_the_first_adversarial_near_enough(name):
    model, images, labels = tiny()
    goal, shown = Goal(labels, (labels + 1) % 3), []

    def recorded(x):
        shown.append(x)
        return model(x)

    for i in range(4):
        one, rows = images[i : i + 1], torch.tensor([i])
        nearest = hard(name)(Victim(model), one, goal[rows], ids=[i]).l2.item()
        shown.clear()
        result = hard(name, l2_goal=1.1 * nearest)(Victim(recorded), one, goal[rows], ids=[i])
        assert result.success and result.l2 <= 1.1 * nearest
        far = torch.cat(shown)
        near = (far - one).flatten(1).norm(dim=1) <= 1.1 * nearest
        near &= model(far).argmax(1) == goal.targets[i]
        # No more than one round of queries contains one, and it is the last.
        assert near[: len(far) - len(shown[-1])].sum() == 0 and near.any()
        assert result.queries == result.spent == len(far)


def linear_room(n=1, offset=0.4):
    model = Linear(offset=offset)
    return model, HardLabel(Victim(model), grey(n), zeros(n), l2_goal=0.0)


def test_the_distance_of_the_border_is_that_of_the_closed_form():
    model, label = linear_room()
    directions = torch.randn(30, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    directions = directions / directions.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    slope = directions.flatten(1) @ W
    expected = (-0.4 / slope).where(slope < 0, torch.inf)
    reachable = (expected < 0.5 / directions.flatten(1).abs().amax(1)) | expected.isinf()  # before clipping
    directions, expected = directions[reachable], expected[reachable]
    owner, guess = torch.zeros(len(expected), dtype=torch.int64), torch.full_like(expected, 0.25)
    tolerance = torch.full_like(expected, 1e-5)
    found = border(label, directions, owner, guess, 0.01, tolerance)
    far = expected > 4 * 0.25  # may be given up
    assert far.isfinite().all() and expected[far].isinf().any() and (~far).sum() > 5
    assert ((found - expected)[~far] >= 0).all()
    assert ((found - expected)[~far] <= 1e-5).all()
    assert found[expected.isinf()].isinf().all()
    both = (expected < 4 * 0.25).nonzero().squeeze(1)
    whole = bisect(label, directions[both], owner[both], 0 * expected[both], 2 * expected[both], 1e-5)
    torch.testing.assert_close(whole, expected[both], rtol=0, atol=1e-5)
    assert (model.margin(along(grey(), directions[both], whole)) < 0).all()


def test_opt_attack_s_estimate_is_the_slope_of_the_distance():
    _, label = linear_room()
    theta = -W / W.norm() + 0.5 * torch.ones(16, dtype=torch.float64) / 4
    theta = theta / theta.norm()
    at = bisect(
        label,
        theta.view(1, 1, 4, 4),
        torch.tensor([0]),
        torch.zeros(1).double(),
        torch.ones(1).double(),
        1e-9,
    )
    attack = OptAttack(vectors=4000, beta=1e-3, tolerance=1e-4)
    _, found, slope = attack._slope(label, torch.full_like(at, 1e-3))
    torch.testing.assert_close(found.flatten(), theta, rtol=0, atol=1e-6)
    # g(theta) = -m |theta| / (w . theta), at |theta| = 1.
    expected = -0.4 * theta / (W @ theta) + 0.4 * W / (W @ theta) ** 2
    assert cosine(slope, expected) > 0.99
    # A mean over uniform directions is the gradient divided by the dimension.
    assert slope.norm() * 16 == pytest.approx(expected.norm().item(), rel=0.1)


@pytest.mark.parametrize("attack", ["boundary", "opt"])
def test_hard_label_attacks_find_the_foot_of_the_perpendicular(attack):
    ends = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pool = (ends, torch.ones(20, dtype=torch.int64))
    steps = {"boundary": 3000, "opt": 25}[attack]
    result = hard(attack, pool=pool, starts=20, max_steps=steps)(Victim(Linear(offset=0.4)), grey(), zeros(1))
    foot = 0.4 / W.norm().item()
    assert foot <= result.l2.item() < 1.05 * foot


def test_the_start_is_the_nearest_border_on_the_lines_to_the_pool():
    model, label = linear_room(offset=0.2)
    ends = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    classes = torch.ones(12, dtype=torch.int64)
    classes[:2] = 0  # of the image's own class: no candidates
    start(label, (ends, classes), 50, tolerance=1e-6)
    lines = (ends - 0.5).flatten(1)[2:]
    slope = lines @ W / lines.norm(dim=1)
    reach = torch.where(slope < 0, -0.2 / slope, torch.inf)
    reach[reach > lines.norm(dim=1)] = torch.inf
    assert reach.isfinite().any() and reach.isinf().any()
    assert reach.min() <= label.distance.item() <= reach.min() + 1e-6
    assert label.run.meter.counts.item() == 1 + sum(len(shown) for shown in model.shown[1:])


def test_without_a_pool_noise_is_the_start():
    model, images, labels = tiny()
    result = hard("boundary", pool=None, starts=20)(Victim(model), images, Goal(labels))
    assert result.success.any()
    assert (model(result.adversarial).argmax(1) != labels)[result.success].all()


def test_who_finds_no_start_leaves_having_paid_for_the_search():
    result = hard("opt", pool=None, starts=7)(Victim(Linear(offset=100.0)), grey(2), zeros(2))
    assert not result.success.any() and (result.spent == 1 + 7).all()
    assert torch.equal(result.adversarial, grey(2))


# Refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AutoZOOM(switch=0), "switch = 0, expected at least 1"),
        (lambda: AutoZOOM(refine=-1), "refine = -1, expected at least 0"),
        (lambda: AutoZOOM(c=0.0), "c = 0.0, expected more than 0"),
        (lambda: AutoZOOM(side=0), "side = 0, expected at least 1"),
        (lambda: AutoZOOM(variable="log"), "variable = 'log', expected one of pixels, tanh"),
        (lambda: AutoEncoder(3, 30), "size = 30 cannot be halved 2 times"),
        (lambda: train_autoencoder(torch.rand(3, 1, 4, 6)), r"images have shape \(3, 1, 4, 6\), expected"),
        (lambda: train_autoencoder(torch.rand(3, 1, 4, 4) + 1), r"images leave \[0, 1\]"),
        (lambda: train_autoencoder(torch.rand(3, 1, 4, 4) * torch.nan), r"images leave \[0, 1\], hold NaN"),
        (lambda: train_autoencoder(torch.rand(3, 1, 4, 4), batch=0), "batch = 0, lr"),
        (lambda: AutoEncoder(1, 4, halvings=-1), "halvings = -1; expected"),
        (lambda: Bandits(eps=0.0), "eps = 0.0, expected more than 0"),
        (lambda: FWBlack(norm="l1"), "norm = 'l1', expected 'l2' or 'linf'"),
        (lambda: FWBlack(directions=0), "directions = 0, expected at least 1"),
        (lambda: FWBlack(momentum=1.0), "momentum = 1.0, expected within"),
        (lambda: FWBlack(lr="a"), "lr = 'a', expected more than 0"),
        (lambda: FWBlack(objective="cross_entropy"), "objective = 'cross_entropy', expected a loss"),
        (lambda: DecisionBoundary(sideways="a"), "sideways = 'a', expected more than 0"),
        (lambda: DecisionBoundary(l2_goal=float("nan")), "l2_goal = nan, expected a distance"),
        (lambda: OptAttack(l2_goal="near"), "l2_goal = 'near', expected a distance"),
        (lambda: AutoZOOM(decoder="bilinear"), "decoder = 'bilinear', expected an AutoEncoder, or None"),
        (lambda: DecisionBoundary(look=0), "look = 0, expected at least 1"),
        (lambda: DecisionBoundary(inwards=1.0), "inwards = 1.0"),
        (lambda: DecisionBoundary(l2_goal=-1.0), "l2_goal = -1.0, expected a distance"),
        (lambda: AutoZOOM(beta1=1.0), r"beta1 = 1.0, expected within \[0, 1\)"),
        (lambda: Bandits(tile=0), "tile = 0, expected at least 1"),
        (lambda: FWBlack(directions=2.5), "directions = 2.5, expected at least 1, a whole number"),
        (lambda: OptAttack(vectors=2.5), "vectors = 2.5, expected at least 1, a whole number"),
        (lambda: OptAttack(beta=0.0), "beta = 0.0, expected more than 0"),
        (lambda: OptAttack(l2_goal=-1.0), "l2_goal = -1.0, expected a distance"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (AutoZOOM(AutoEncoder(1, 8)), r"images have shape \(4, 1, 4, 4\), this decoder makes \(n, 1, 8, 8\)"),
        (Bandits(tile=5), "tile = 5, but images are 4 x 4"),
        (hard("opt", pool=(POOL[0].float(), POOL[1])), "the pool holds torch.float32 images"),
        (hard("opt", pool=(POOL[0][:, :, 1:], POOL[1])), r"of shape \(1, 3, 4\), attacked are"),
        (hard("boundary", pool=(POOL[0], POOL[1][1:])), r"\(39,\) classes for 40 images of the pool"),
        (hard("boundary", pool=(POOL[0] + 1, POOL[1])), r"images of the pool leave \[0, 1\]"),
        (hard("boundary", pool=(POOL[0], 0 * POOL[1] + 7)), "the pool has no image of class"),
    ],
)
def test_what_does_not_suit_the_images_is_refused(attack, message):
    model, images, labels = tiny()
    with pytest.raises(ValueError, match=message):
        attack(Victim(model), images, Goal(labels, (labels + 1) % 3))


def test_a_pool_is_no_part_of_what_an_attack_is():
    assert hard("opt") == dataclasses.replace(hard("opt"), pool=None)
    assert "pool" not in repr(hard("opt"))


@pytest.mark.parametrize("name", ["boundary", "opt"])
def test_images_of_one_pixel_have_no_sideways(name):
    """The only way is along the line to the border, at 0.6."""
    model = lambda x: 10 * (x.flatten(1) - 0.6) @ torch.tensor([[-1.0, 1.0]], dtype=x.dtype)  # noqa: E731
    images = torch.tensor([0.1, 0.3], dtype=torch.float64).view(2, 1, 1, 1)
    pool = torch.ones_like(images), torch.ones(2, dtype=torch.int64)
    result = hard(name, pool=pool, max_steps=30)(Victim(model), images, zeros(2))
    assert result.success.all() and (result.adversarial > 0.6).all()
    assert (result.adversarial < 0.61).all()


@pytest.mark.parametrize(
    "attack",
    [FWBlack(directions=1), Bandits(), ZOO(q=1), AutoZOOM(side=1)],
    ids=lambda attack: type(attack).__name__,
)
def test_without_a_last_step_an_attack_ends_with_the_budget_and_no_earlier(attack, monkeypatch):
    """A last step of its own would end a rival before the others, whose budget is said to be the same."""

    def sure(images):
        return torch.tensor([[5.0, 0.0]], dtype=torch.float64).expand(len(images), 2)

    images, goal = torch.rand(1, 1, 4, 4, dtype=torch.float64), Goal(torch.tensor([0]))
    module = sys.modules[type(attack).__module__]
    monkeypatch.setattr(module, "iterations", lambda last, victim, otherwise: iterations(last, victim, 7))
    spent = attack(Victim(sure, budget=200), images, goal).spent.item()
    assert 200 - 3 <= spent <= 200
    assert attack(Victim(sure), images, goal).steps.item() == 7  # without a budget it is the attack's own
    assert dataclasses.replace(attack, max_steps=5)(Victim(sure, budget=200), images, goal).steps.item() == 5


@pytest.mark.parametrize(
    "attack", [DecisionBoundary(l2_goal=1e-9), OptAttack(l2_goal=1e-9, vectors=1, tries=1)]
)
def test_nor_does_an_attack_that_sees_classes_only(attack, monkeypatch):
    """The border is 0.025 away, and the distance asked for is out of reach."""

    def half(images):
        score = images.flatten(1).sum(1) - 7.9
        return torch.stack([score, -score], 1)

    images, goal = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64), Goal(torch.tensor([0]))
    module = sys.modules[type(attack).__module__]
    monkeypatch.setattr(module, "iterations", lambda last, victim, otherwise: iterations(last, victim, 7))
    result = attack(Victim(half, budget=3000), images, goal)
    assert 3000 - 20 <= result.spent.item() <= 3000 and not result.success
    assert attack(Victim(half), images, goal).steps.item() == 7
    assert dataclasses.replace(attack, max_steps=5)(Victim(half, budget=3000), images, goal).steps.item() == 5
