"""The estimator: its expectation on a linear loss, and the attacks against loops that follow their sources."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import norm, rankdata

from thesislib.blackbox import Attempt, Goal, Victim
from thesislib.blackbox.streams import Streams
from thesislib.motion_sampler.bandits import EBandits
from thesislib.motion_sampler.losses import cross_entropy, flicker
from thesislib.motion_sampler.me_sampler import MESampler
from thesislib.motion_sampler.nes import ENES
from thesislib.motion_sampler.prior import query_length
from thesislib.motion_sampler.sampler import Motion, NoiseSampler, positive, reach
from thesislib.motion_sampler.vbad import VBAD

SHAPE = (3, 2, 4, 4)


def linear(seed=0):
    """A vector `a`, and a victim whose log-probability of class 0 is <a, x> plus a constant."""
    a = torch.randn(*SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    top = a.clamp(min=0).sum() + 1

    def model(x):
        p = ((x * a).flatten(1).sum(1) - top).exp()
        return torch.stack((p, 1 - p), dim=1)

    return a, Victim(model, output="probabilities")


def mean_prior(attack, copies=4000):
    """Mean over many streams of the prior after one iteration from zero, and its standard error."""
    _, victim = linear()
    clips = torch.full((copies, *SHAPE), 0.5, dtype=torch.float64)
    goal = Goal(torch.zeros(copies, dtype=torch.int64))
    # The victim calls everything class 1, so an attempt would skip it: ask as if class 0 were its answer.
    run = Attempt(victim, clips, goal, objective=cross_entropy)
    every = torch.arange(copies)
    motion = Motion(attack.maps, range(copies), clips) if attack.noise.needs_maps else None
    pattern = attack.noise.draw(run.streams, every, motion, clips, 0)
    prior = attack.improved(run, clips, torch.zeros_like(pattern), pattern, every)
    return prior.mean(0), prior.std(0) / copies**0.5


def regions():
    """A map of four vectors, each on four pixels."""
    motion = torch.zeros(1, 4, 4, 2, dtype=torch.int64)
    motion[0, :2, 2:] = torch.tensor([1, 0])
    motion[0, 2:, :2] = torch.tensor([0, 2])
    motion[0, 2:, 2:] = torch.tensor([3, 1])
    return motion


def check_proportional(found, error, wanted):
    """Mean equals the wanted direction, scaled, within four standard errors in every entry."""
    wanted = wanted.expand_as(found)
    scale = (found * wanted).sum() / wanted.pow(2).sum()
    assert scale > 0
    assert ((found - scale * wanted).abs() < 4.5 * error).all()
    # ... which would be easy if errors were large.
    assert (found * wanted).sum() / (found.norm() * wanted.norm()) > 0.97


def test_expectation_without_motion_is_the_gradient_of_each_frame():
    a, _ = linear()
    found, error = mean_prior(MESampler(noise=NoiseSampler("multi-noise"), loss="cross_entropy"))
    for frame in range(SHAPE[1]):  # norms are per frame, so each frame has a scale of its own
        check_proportional(found[:, frame], error[:, frame], a[:, frame])


def test_expectation_with_one_noise_is_the_gradient_summed_over_frames():
    a, _ = linear()
    found, error = mean_prior(MESampler(noise=NoiseSampler("one-noise"), loss="cross_entropy"))
    check_proportional(found[:, 0], error[:, 0], a.sum(1))


def test_expectation_with_motion_is_the_gradient_projected_on_regions_of_equal_motion():
    a, _ = linear()
    found, error = mean_prior(MESampler([regions()] * 4000, loss="cross_entropy"))
    summed = a.sum(1)
    wanted = F.avg_pool2d(summed[None], 2)[0].repeat_interleave(2, 1).repeat_interleave(2, 2)
    check_proportional(found[:, 0], error[:, 0], wanted)


def test_a_linear_loss_is_measured_exactly():
    """With the prior at zero, ``D = 2 <a, r / |r|> / delta`` with norms per frame, whatever the length."""
    a, victim = linear()
    clips = torch.full((1, *SHAPE), 0.5, dtype=torch.float64)
    run = Attempt(victim, clips, Goal(torch.tensor([0])), objective=cross_entropy)
    r = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    unit = r / r.pow(2).sum((1, 3, 4), keepdim=True).sqrt()
    for eps in (1e-3, 0.1):
        attack = MESampler(
            noise=NoiseSampler("multi-noise"), loss="cross_entropy", eps=eps, delta=0.2, prior_lr=0.3
        )
        prior = attack.improved(run, clips, torch.zeros_like(r), r, torch.tensor([0]))
        torch.testing.assert_close(prior, 0.3 * (2 * (a * unit).sum() / 0.2) * r, rtol=1e-6, atol=1e-9)


def test_the_length_is_the_released_codes_root_mean_square():
    assert query_length(None, torch.zeros(1, 3, 2, 256, 256)) == 0.1
    small = torch.zeros(1, 3, 8, 32, 32)
    assert np.isclose(query_length(None, small) / 3072**0.5, 0.1 / 196608**0.5)
    assert query_length(0.2, small) == 0.2


def lengths(w):
    return w.pow(2).sum((0, 2, 3), keepdim=True).sqrt()


def released(model, clip, label, maps, *, period, h, kappa, eps, delta, eta, most, seed, number):
    """The released loop for one clip, as its steps are written down: three queries an iteration, check included."""
    stream = Streams(seed, [number], device="cpu", dtype=clip.dtype)
    x, g, queries, n_maps = clip.clone(), torch.zeros_like(clip), 0, len(maps)
    loss = lambda p: max(0.0, (p.sum() - p.sort(descending=True).values[1]).item())  # noqa: E731
    unit = lambda w: w / lengths(w).clamp(min=1e-8)  # noqa: E731
    for k in range(most):
        if k % period == 0:
            m = positive(maps[(k // period) % n_maps][None]).to(clip.dtype)
            size = reach(maps)  # of the noise: as much of it as is read
        n = stream.normal(torch.tensor([0]), (3, size, size))
        r = F.grid_sample(n, (2 * m - size + 1) / (size - 1), align_corners=True)[0][:, None].expand_as(clip)
        plus, minus = g + delta * r, g - delta * r
        batch = torch.stack([x + eps * unit(plus), x + eps * unit(minus), x])
        p = model(batch).detach().softmax(1)
        queries += 3
        if p[2].argmax() != label:
            return queries, x
        g = g + eta * (loss(p[0]) - loss(p[1])) / (eps * delta) * r
        moved = x - h * g.sign()
        x = torch.minimum(torch.maximum(moved, clip - kappa), clip + kappa).clamp(0, 1)
    return queries, x


def test_me_sampler_is_the_released_loop(room, make):
    maps = make.maps(9, maps=3)
    attack = MESampler(
        maps, NoiseSampler(period=4), kappa=0.1, step=0.03, eps=0.02, prior_lr=1.0, max_steps=40
    )
    result = attack(Victim(room.model), room.images, room.goal, seed=3)
    assert result.success.any()
    for i in range(8):
        queries, x = released(room.model, room.images[i], room.labels[i], maps[i], period=4, h=0.03, kappa=0.1,
                              eps=0.02, delta=0.1, eta=1.0, most=41, seed=3, number=i)  # fmt: skip
        if result.success[i]:
            assert queries == result.queries[i] + 2  # it checks, and is charged, one iteration later
            torch.testing.assert_close(result.adversarial[i], x, rtol=0, atol=1e-9)
        else:
            assert queries == 3 * 41


def flicker_of(model, x, label):
    return flicker(model(x).detach().log_softmax(1), Goal(torch.full((len(x),), int(label)))).numpy()


def check_against(attack, room, loop, first=1):
    """Iterates of eight clips against a loop that returns the iterate after each step, from the first that is checked."""
    result = attack(Victim(room.model), room.images, room.goal, seed=1)
    assert result.success.any()
    for i in range(8):
        stream = Streams(1, [i], device="cpu", dtype=torch.float64)
        row = torch.tensor([0])
        steps = loop(lambda shape: stream.normal(row, shape)[0], room.images[i], room.labels[i])  # noqa: B023
        for count, x in enumerate(steps, first):
            if room.model(x[None]).argmax(1) != room.labels[i] or count == attack.max_steps:
                break
        assert count == result.steps[i]
        if result.success[i]:
            torch.testing.assert_close(result.adversarial[i], x, rtol=0, atol=1e-9)


def clipped(x, clean, kappa):
    return torch.minimum(torch.maximum(x, clean - kappa), clean + kappa).clamp(0, 1)


def test_enes_is_its_loop(room):
    def loop(draw, clean, label):
        x = clean.clone()
        while True:
            total = torch.zeros_like(x)
            for _ in range(5):
                u = draw(clean.shape) / clean.numel() ** 0.5
                up, down = flicker_of(room.model, torch.stack((x + 0.1 * u, x - 0.1 * u)), label)
                total += (up - down) / 0.1 * u
            x = clipped(x - 0.03 * total.sign(), clean, 0.1)
            yield x

    check_against(ENES(5, 0.1, "flicker", 0.1, 0.03, 15), room, loop)


def test_ebandits_is_its_loop(room):
    """With exponentiated gradients spelled out on ``(prior + 1) / 2``, as the released bandits have them."""
    lr, eps, size = 30.0, 0.02, 4

    def loop(draw, clean, label):
        x, prior = clean.clone(), torch.zeros(3, 4, size, size, dtype=torch.float64)
        big = lambda q: q.repeat_interleave(2, 2).repeat_interleave(2, 3)  # noqa: E731
        unit = lambda w: w / lengths(w)  # noqa: E731
        while True:
            noise = draw(prior.shape) / prior.numel() ** 0.5
            queries = torch.stack([x + eps * unit(big(prior + s * noise)) for s in (1, -1)])
            up, down = flicker_of(room.model, queries, label)
            slope = (up - down) / eps * noise
            real = (prior + 1) / 2
            pos, neg = real * torch.exp(lr * slope), (1 - real) * torch.exp(-lr * slope)
            prior = pos / (pos + neg) * 2 - 1
            x = clipped(x - 0.03 * big(prior).sign(), clean, 0.1)
            yield x

    attack = EBandits(size, prior_lr=lr, eps=eps, loss="flicker", kappa=0.1, step=0.03, max_steps=30)
    check_against(attack, room, loop)


def test_vbad_is_its_loop(room, make):
    image_model = make.image_model()

    def loop(draw, clean, label):
        x = clipped(clean + 0.1 * torch.erf(draw(clean.shape) / 2**0.5), clean, 0.1)
        yield x
        while True:
            reference = 5 * draw((4, 7)).abs()
            direction = torch.empty_like(x)
            for t in range(4):
                frame = x[:, t][None].clone().requires_grad_()
                F.mse_loss(image_model(frame)[0], reference[t]).backward()
                direction[:, t] = frame.grad[0].sign()
            weights = [draw((1, 4, 4, 4)) for _ in range(4)]
            samples = [w * sign for w in weights for sign in (1, -1)]
            big = lambda w: w.repeat_interleave(2, 2).repeat_interleave(2, 3)  # noqa: E731
            losses = [
                flicker_of(room.model, (x + 1e-3 * big(w) * direction)[None], label)[0] for w in samples
            ]
            ranks = (rankdata(losses, method="ordinal") - 1) / 7
            estimate = sum(r * w for r, w in zip(ranks, samples, strict=True))
            x = clipped(x - 0.03 * big(estimate.sign()) * direction, clean, 0.1)
            yield x

    attack = VBAD(image_model, split=4, samples=4, step=0.03, loss="flicker", kappa=0.1, max_steps=15)
    check_against(attack, room, loop, first=0)


def test_a_targeted_direction_leads_to_nine_tenths_of_the_targets_features(room, make):
    image_model = make.image_model()
    attack = VBAD(image_model, loss="cross_entropy")
    run = Attempt(Victim(room.model), room.images, room.goal, objective=cross_entropy, seed=1)
    live = torch.arange(len(room.images))
    wanted = torch.rand(len(live), 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = attack.tentative(run, room.images, live, wanted)
    kept = []
    for i in live.tolist():
        drawn = Streams(1, [i], device="cpu", dtype=torch.float64).normal(torch.tensor([0]), (4, 7))[0]
        for t in range(4):
            frame = room.images[i][:, t][None].clone().requires_grad_()
            features = image_model(frame)[0]
            counts = [k for k in range(7) if norm.cdf(drawn[t, k].item()) < 0.9]
            sum((features[k] - wanted[i, t, k]) ** 2 for k in counts).backward()
            assert torch.equal(found[i, :, t], frame.grad[0].sign())
            kept.append(len(counts) / 7)
    assert 0.8 < np.mean(kept) < 0.97


class RandomDirections(VBAD):
    """V-BAD whose image network is as good as a coin."""

    def tentative(self, run, current, live, wanted):
        return run.streams.normal(live, current.shape[1:]).sign()


def test_vbad_with_random_directions_and_one_pixel_patches_is_nes():
    """Grey clips: on a linear loss the expected slope along each pixel is the gradient itself, as for NES."""
    a, victim = linear()
    copies = 3000
    clips = torch.full((copies, *SHAPE), 0.5, dtype=torch.float64)[:, :1]  # one channel: a patch is one pixel
    a = a[:1]
    model = victim.model
    grey = Victim(
        lambda x: model(torch.cat((x, torch.full_like(x, 0.5), torch.full_like(x, 0.5)), 1)), "probabilities"
    )
    run = Attempt(grey, clips, Goal(torch.zeros(copies, dtype=torch.int64)), objective=cross_entropy)
    every = torch.arange(copies)
    attack = RandomDirections(len, split=4, samples=20, sigma=0.01, ranks=False, loss="cross_entropy")
    direction = attack.tentative(run, clips, every, None)
    vbad = direction * attack.rectified(run, clips, direction, every)
    nes = ENES(samples=20, loss="cross_entropy").estimate(run, clips, every).sign()
    one, two = vbad.mean(0), nes.mean(0)
    error = 2 / copies**0.5
    assert ((one - two).abs() < 4.5 * error).all()
    assert (one * a).sum() / (one.norm() * a.norm()) > 0.9
