"""Differences along pixels: what is sent, what is divided by what, and the gradient it makes."""

import pytest
import torch
from torch import nn

from thesislib.blackbox import differences
from thesislib.blackbox.differences import probe, slopes


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Function:
    """A loss of images, shape (n, 2, 3), that remembers its queries."""

    def __init__(self, loss):
        self.loss, self.images, self.owners = loss, [], []

    def __call__(self, images, owner):
        self.images += list(images)
        self.owners += owner.tolist()
        return self.loss(images.flatten(1).double())


LINEAR = torch.tensor([1.0, -2, 3, -4, 5, -6], dtype=torch.float64)


def linear(flat):
    return flat @ LINEAR


def test_a_probe_replaces_one_pixel_of_the_right_image():
    images = torch.rand(2, 2, 3, generator=generator())
    before = images.clone()
    index, owner = torch.tensor([[4, 0], [1, 5]]), torch.tensor([7, 3])
    places = torch.rand(2, 2, 3, generator=generator(1))
    ask = Function(linear)
    found = probe(ask, images, owner, index, places)
    assert torch.equal(images, before)
    assert ask.owners == [7] * 6 + [3] * 6
    queries = iter(ask.images)
    for i in range(2):
        for j in range(2):
            for side in range(3):
                expected = before[i].flatten().clone()
                expected[index[i, j]] = places[i, j, side]
                assert torch.equal(next(queries).flatten(), expected)
                assert found[i, j, side] == linear(expected[None].double())[0]


@pytest.mark.parametrize("block", [1, 24, 50, 10**6])
def test_blocks_change_memory_only(monkeypatch, block):
    images = torch.rand(5, 2, 3, generator=generator(), dtype=torch.float64)
    index = torch.stack([torch.randperm(6, generator=generator(k))[:2] for k in range(5)])
    places = torch.rand(5, 2, 2, generator=generator(2), dtype=torch.float64)
    whole = probe(Function(linear), images, torch.arange(5), index, places)
    monkeypatch.setattr(differences, "BLOCK", block)
    calls = []
    ask = Function(linear)
    found = probe(lambda x, o: calls.append(len(x)) or ask(x, o), images, torch.arange(5), index, places)
    assert torch.equal(found, whole)
    assert max(calls) * 6 <= max(block, 24)  # at least one image's probes, 4 of 6 numbers, at a time
    assert sum(calls) == 20


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_slopes_of_a_linear_loss_are_exact_at_the_border_too(sides, dtype):
    # 0 and 1, closer to them than h, and between: the distance that counts is the one between the queries.
    images = torch.tensor([[[0, 1, 0.3], [0.99995, 0.00005, 0.7]]], dtype=dtype)
    every, owner = torch.arange(6)[None], torch.tensor([0])
    ask = Function(linear)
    base = linear(images.flatten(1).double()) if sides == 1 else None
    found = slopes(ask, images, owner, every, h=1e-4, base=base)
    torch.testing.assert_close(found, LINEAR[None], rtol=1e-9 if dtype == torch.float64 else 1e-6, atol=0)
    sent = torch.stack(ask.images)
    assert len(sent) == 6 * sides and sent.min() >= 0 and sent.max() <= 1
    away = (sent.flatten(1) - images.flatten(1)).abs().amax(1)
    assert (away <= 1e-4 * 1.001).all()
    if sides == 1:
        assert (away >= 0.999e-4).all()  # full length, towards the inside
    else:
        assert (away == 0).sum() == 2  # at 0 and at 1 one of the two is the image itself


def test_symmetric_differences_cancel_curvature_and_one_sided_ones_do_not():
    images = torch.full((1, 2, 3), 0.4, dtype=torch.float64)
    every, owner, h = torch.arange(6)[None], torch.tensor([0]), 1e-2

    def square(flat):
        return (flat**2) @ LINEAR

    two = slopes(Function(square), images, owner, every, h=h, base=None)
    torch.testing.assert_close(two[0], 0.8 * LINEAR, rtol=1e-10, atol=0)
    one = slopes(Function(square), images, owner, every, h=h, base=square(images.flatten(1)))
    torch.testing.assert_close(one[0], (0.8 + h) * LINEAR, rtol=1e-10, atol=0)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_of_a_smooth_network(sides, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(96, 4)).double()
    images = torch.rand(4, 1, 6, 6, generator=generator(), dtype=torch.float64)
    images[0, 0, :2], images[1, 0, :2] = 1, 0
    loss = lambda x: model(x).log_softmax(1)[:, 2]  # noqa: E731
    with torch.enable_grad():
        leaf = images.clone().requires_grad_()
        truth = torch.autograd.grad(loss(leaf).sum(), leaf)[0].flatten(1)
    images = images.to(dtype)

    def ask(queries, owner):
        with torch.no_grad():
            return loss(queries.double())

    owner, every = torch.arange(4), torch.arange(36).repeat(4, 1)
    base = ask(images, owner) if sides == 1 else None
    found = slopes(ask, images, owner, every, h=1e-4, base=base)
    assert (torch.cosine_similarity(found, truth, dim=1) > 0.999).all()
    torch.testing.assert_close(found, truth, rtol=0, atol=2e-3 * truth.abs().max().item())


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize(("h", "dtype"), [(0.0, torch.float64), (1e-9, torch.float32)])
def test_a_step_that_vanishes_is_refused_unasked(sides, h, dtype):
    images, ask = torch.full((1, 2, 3), 0.7, dtype=dtype), Function(linear)
    base = torch.zeros(1, dtype=torch.float64) if sides == 1 else None
    with pytest.raises(ValueError, match=f"h = {h}: the difference vanishes beside pixels of {dtype}"):
        slopes(ask, images, torch.tensor([0]), torch.arange(6)[None], h=h, base=base)
    assert not ask.images
