"""ZOO against its algorithm written as loops, on pictures of four by four pixels."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from thesislib.blackbox import Goal, Victim
from thesislib.blackbox.streams import Streams
from thesislib.meta_attack.zoo import ZOO


def tiny():
    torch.manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    with torch.no_grad():
        model[1].weight *= 2
        model[3].weight *= 2
    images = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images[:, :, 0, :2], images[:, :, 1, :2] = 0, 1
    return model, images, model(images).argmax(1)


class Recording:
    def __init__(self, model):
        self.model, self.shown = model, []

    def __call__(self, images):
        self.shown.append(images.flatten(1).double().numpy().copy())
        return self.model(images)


def by_loops(model, x0, label, target, coordinates, setting):
    """The thesis's dossier, line by line, for one image: its queries in order, and whether it was fooled."""
    queries = []

    def ask(x):
        queries.append(x)
        with torch.no_grad():
            p = torch.tensor(x).view(1, 1, 4, 4)
            return model(p).softmax(1)[0].numpy()

    def image(delta):
        if setting.variable == "pixels":
            return np.clip(x0 + delta, 0, 1)
        return (np.tanh(np.arctanh((2 * x0 - 1) * (1 - 1e-6)) + delta) + 1) / 2

    def objective(delta):
        x = image(delta)
        log_p = np.log(ask(x))
        wanted = label if target is None else target
        rival = max(log_p[k] for k in range(3) if k != wanted)
        margin = log_p[wanted] - rival if target is None else rival - log_p[wanted]
        return np.sum((x - x0) ** 2) + setting.c * max(margin, 0)

    ask(x0)
    delta, mean, square, count = (np.zeros(16) for _ in range(4))
    for chosen in coordinates:
        slopes = {}
        for i in chosen:
            e = np.zeros(16)
            e[i] = setting.h
            slopes[i] = (objective(delta + e) - objective(delta - e)) / (2 * setting.h)
        for i, g in slopes.items():
            count[i] += 1
            mean[i] = setting.beta1 * mean[i] + (1 - setting.beta1) * g
            square[i] = setting.beta2 * square[i] + (1 - setting.beta2) * g * g
            corrected = mean[i] / (1 - setting.beta1 ** count[i])
            delta[i] -= setting.lr * corrected / (np.sqrt(square[i] / (1 - setting.beta2 ** count[i])) + 1e-8)
        if setting.variable == "pixels":
            delta = np.clip(x0 + delta, 0, 1) - x0
        p = ask(image(delta))
        if p.argmax() == target if target is not None else p.argmax() != label:
            return np.array(queries), True
    return np.array(queries), False


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("variable", ["pixels", "tanh"])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.7)])
def test_every_query_is_that_of_the_loops(variable, targeted, betas):
    model, images, labels = tiny()
    targets = (labels + 1) % 3 if targeted else None
    setting = ZOO(lr=0.1, c=0.5, q=5, h=1e-4, beta1=betas[0], beta2=betas[1], max_steps=12, variable=variable)
    ends = []
    for i in range(4):
        goal = Goal(labels[i : i + 1], None if targets is None else targets[i : i + 1])
        victim = Recording(model)
        result = setting(Victim(victim), images[i : i + 1], goal, seed=4, ids=[i])
        source = Streams(4, [i], device=images.device, dtype=images.dtype)
        drawn = [source.coordinates(torch.tensor([0]), 16, 5)[0].tolist() for _ in range(12)]
        target = None if targets is None else int(targets[i])
        x0 = images[i].flatten().numpy()
        queries, fooled = by_loops(model, x0, int(labels[i]), target, drawn, setting)
        shown = np.concatenate(victim.shown)
        np.testing.assert_allclose(shown, queries, atol=1e-6)
        assert len(queries) == result.spent.item() == 1 + 11 * result.steps.item()
        assert result.success.item() == fooled
        expected = queries[-1] if fooled else x0
        np.testing.assert_allclose(result.adversarial[0].flatten(), expected, atol=1e-6)
        ends.append(result.steps.item())
    assert max(ends) == 12  # the comparison runs for a dozen steps ...
    assert min(ends) < 12  # ... and meets the end of an attack


def test_without_the_distance_term_the_hinge_falls_monotonically_on_a_linear_victim():
    """Of a linear margin, Adam's every step is downhill along every coordinate, at length lr."""
    weight = torch.tensor([[1.0, -2, 3, 0.5], [0, 0, 0, 0]], dtype=torch.float64)
    model = lambda x: x.flatten(1) @ weight.T + torch.tensor([20.0, 0])  # noqa: E731
    images = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    attack = ZOO(lr=0.01, c=1e6, q=4, max_steps=5)  # c outweighs the distance
    result = attack(Victim(model), images, Goal(torch.tensor([0])))
    fall = -np.diff(result.trace().loss)
    np.testing.assert_allclose(fall, 0.01 * 6.5, rtol=1e-4)


def test_the_weight_of_the_hinge_decides_how_far_an_attack_goes():
    model, images, labels = tiny()
    heavy, light = (
        ZOO(lr=0.03, q=16, max_steps=60, c=c)(Victim(model), images, Goal(labels)) for c in (5.0, 0.001)
    )
    assert heavy.success.all() and not light.success.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"q": 17}, "q = 17 coordinates, but an image has 16"),
        ({"q": 0}, "q = 0, expected at least 1"),
        ({"q": 2.5}, "q = 2.5, expected at least 1, a whole number"),
        ({"h": 0.0}, "h = 0.0, expected more than 0"),
        ({"lr": 0.0}, "lr = 0.0, expected more than 0"),
        ({"c": 0.0}, "c = 0.0, expected more than 0"),
        ({"beta1": 1.0}, r"beta1 = 1.0, expected within \[0, 1\)"),
        ({"beta2": -0.1}, r"beta2 = -0.1, expected within \[0, 1\)"),
        ({"max_steps": -1}, "max_steps = -1, expected at least 0"),
        ({"variable": "log"}, "variable = 'log', expected one of pixels, tanh"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    model, images, labels = tiny()
    with pytest.raises(ValueError, match=message):
        ZOO(**{"q": 5, **options})(Victim(model), images, Goal(labels))


def test_the_paper_s_settings_are_the_defaults():
    assert dataclasses.asdict(ZOO()) == {
        "lr": 0.01, "c": 0.5, "q": 128, "h": 1e-4, "beta1": 0.9, "beta2": 0.999, "max_steps": None,
        "variable": "pixels",
    }  # fmt: skip
