"""Inversion by a deep image prior: identity features give the image back, pooled ones less of it."""

import pytest
import torch
from torch import nn

from thesislib.heterotopic.attention import sensitivity
from thesislib.heterotopic.inversion import Generator, invert, psnr
from thesislib.longtail.frozen import Frozen
from thesislib.training import seeded

IMAGE = torch.zeros(3, 12, 12)
IMAGE[0, 3:9, 3:9] = 1
IMAGE[1] = torch.linspace(0, 1, 12)
OPTIONS = {"steps": 250, "lr": 1e-2, "widths": (8, 16), "kernels": (3, 3)}


def test_identity_features_give_the_image_back():
    found, errors = invert(lambda x: x, IMAGE, **OPTIONS)
    assert psnr(found, IMAGE) > 25
    assert errors.shape == (250,) and errors[-1] < errors[0] / 10
    assert found.shape == IMAGE.shape and found.min() >= 0 and found.max() <= 1


def test_what_a_feature_does_not_tell_is_not_found():
    found, errors = invert(lambda x: x.mean((-2, -1)), IMAGE, **OPTIONS)
    assert errors[-1] < 1e-3  # matched, by another image
    assert psnr(found, IMAGE) < 20
    assert torch.allclose(found.mean((-2, -1)), IMAGE.mean((-2, -1)), atol=0.02)


def test_the_same_seed_gives_the_same_image_and_leaves_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    short = OPTIONS | {"steps": 3}
    first, second, other = (invert(lambda x: x, IMAGE, seed=s, **short)[0] for s in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.rand(1), expected)


def test_the_network_looked_at_keeps_its_gradients_and_changes_nothing():
    network = seeded(0, lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())).eval()
    kept = torch.full_like(network[0].bias, 7.0)
    network[0].bias.grad = kept.clone()
    short = OPTIONS | {"steps": 3}
    found, errors = invert(network, IMAGE, **short)
    assert torch.equal(network[0].bias.grad, kept)
    assert all(p.grad is None and p.requires_grad for p in network.parameters() if p is not network[0].bias)
    again = invert(network.requires_grad_(False), IMAGE, **short)
    assert torch.equal(found, again[0]) and torch.equal(errors, again[1])


def test_the_published_generator_has_its_parameters():
    """2.61 million at 256 pixels, as measured of the released one."""
    made = Generator(3, (16, 32, 64, 128, 128, 128), (7, 7, 5, 5, 3, 3))
    assert sum(p.numel() for p in made.parameters()) == pytest.approx(2.61e6, rel=0.01)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"image of shape \(12, 12\); expected \(channels, size, size\)"):
        invert(lambda x: x, IMAGE[0])
    with pytest.raises(ValueError, match="all 0; there is nothing to match"):
        invert(lambda x: 0 * x, IMAGE)
    with pytest.raises(ValueError, match="features of the image are NaN; expected finite ones"):
        invert(lambda x: x / 0 * 0, IMAGE)
    with pytest.raises(ValueError, match="features of the image are infinite"):
        invert(lambda x: (1 + x) / 0, IMAGE)
    for widths, kernels in (((8,), (4,)), ((), ())):
        with pytest.raises(ValueError, match="as many, one or more, odd"):
            Generator(3, widths, kernels)
    with pytest.raises(ValueError, match="steps = 0; expected 1 or more"):
        invert(lambda x: x, IMAGE, steps=0)
    with pytest.raises(ValueError, match="passes no gradient on"):
        invert(torch.no_grad()(lambda x: 2 * x), IMAGE)


def test_a_frozen_network_can_be_looked_at():
    frozen = Frozen(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(IMAGE.numel(), 4)))
    invert(frozen, IMAGE, steps=1)
    assert sensitivity(frozen, IMAGE[None]).min() > 0
    assert not frozen(IMAGE[None]).requires_grad
