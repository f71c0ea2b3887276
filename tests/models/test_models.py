"""The networks: known parameter counts, the same function as torchvision's, any size, gradients everywhere."""

import doctest
import re

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import vgg

from thesislib import models
from thesislib.models import MODELS, make_model
from thesislib.models.layers import widths
from thesislib.training import Recipe, fit, predict, seeded

MNIST = ("LeNet5", "Net1", "Net2", "Net3", "Net4", "Net5", "Net6")
CIFAR = tuple(name for name in MODELS if name not in MNIST)
SMALLEST = {"LeNet5": 16, "Net1": 16, "Net2": 9, "Net3": 17, "Net4": 10, "Net5": 1, "Net6": 16}


def small(name, size, classes=7, width=0.1):
    return make_model(name, classes=classes, channels=1 if name in MNIST else 3, size=size, width=width)


def pictures(name, n, size):
    return torch.rand(n, 1 if name in MNIST else 3, size, size, generator=torch.Generator().manual_seed(0))


def dense(n, m):
    return n * m + m


def conv(n, m, kernel):
    return n * m * kernel**2 + m


COUNTS = {
    "LeNet5": conv(1, 6, 5) + conv(6, 16, 5) + dense(256, 120) + dense(120, 84) + dense(84, 10),
    "Net1": conv(1, 20, 5) + conv(20, 50, 5) + dense(800, 500) + dense(500, 10),
    "Net2": conv(1, 64, 5) + conv(64, 64, 5) + dense(25600, 128) + dense(128, 10),
    "Net3": conv(1, 64, 8) + conv(64, 128, 6) + conv(128, 128, 5) + dense(18432, 10),
    "Net4": conv(1, 128, 3) + conv(128, 64, 3) + dense(1600, 128) + dense(128, 10),
    "Net5": dense(784, 300) + 3 * dense(300, 300) + dense(300, 10),
    "Net6": conv(1, 32, 3) + conv(32, 32, 3) + conv(32, 64, 3) + conv(64, 64, 3)
    + dense(1024, 200) + dense(200, 200) + dense(200, 10),
    "ResNet18": 11_173_962,
    "ResNet34": 21_282_122,
    "VGG11": 9_231_114,
    "VGG13": 9_416_010,
    "VGG16": 14_728_266,
    "VGG19": 20_040_522,
    "GoogLeNet": 6_166_250,
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_parameters_at_full_size(name):
    with torch.device("meta"):
        model = MODELS[name]()
    assert sum(p.numel() for p in model.parameters()) == COUNTS[name]


def test_the_list_is_complete():
    assert set(MODELS) == set(COUNTS) == set(MNIST + CIFAR)
    assert doctest.testmod(models).failed == 0


def weights_into(model, reference):
    """Copy by order; the shapes must be the same all along."""
    ours, theirs = reference.state_dict(), model.state_dict()
    assert [w.shape for w in ours.values()] == [w.shape for w in theirs.values()]
    reference.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    return reference.eval()


def randomised(model):
    """With batch statistics that are not those of initialisation, so that a missing layer shows."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1), nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5), nn.init.uniform_(layer.bias, -0.5, 0.5)
    return model


@pytest.mark.parametrize(("name", "size"), [("ResNet18", 32), ("ResNet34", 64)])
def test_resnets_are_torchvisions_with_another_stem(name, size):
    model = seeded(0, lambda: randomised(make_model(name, classes=5, channels=3, size=size)))
    reference = getattr(torchvision.models, name.lower())(num_classes=5)
    reference.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    reference.maxpool = nn.Identity() if size == 32 else nn.MaxPool2d(3, 1, 1)
    reference.avgpool = nn.AvgPool2d(4)
    reference.fc = nn.Linear(512 * (size // 32) ** 2, 5)
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(weights_into(model, reference)(images), predict(model, images))


@pytest.mark.parametrize(
    ("name", "letter", "size"),
    [("VGG11", "A", 32), ("VGG13", "B", 64), ("VGG16", "D", 32), ("VGG19", "E", 32)],
)
def test_vggs_are_torchvisions_with_another_head(name, letter, size):
    model = seeded(0, lambda: randomised(make_model(name, classes=5, channels=3, size=size)))
    body = vgg.make_layers(vgg.cfgs[letter], batch_norm=True)
    reference = nn.Sequential(body, nn.Flatten(), nn.Linear(512 * (size // 32) ** 2, 5))
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(weights_into(model, reference)(images), predict(model, images))


def test_googlenet_joins_its_branches():
    """Channels after each block as the inception architecture has them, the image halved twice."""
    model, seen = MODELS["GoogLeNet"](width=0.25), []
    for block in model:
        if hasattr(block, "branches"):
            block.register_forward_hook(lambda m, x, y: seen.append(tuple(y.shape[1:])))
    predict(model, torch.rand(1, 3, 32, 32))
    full = (256, 480, 512, 512, 512, 528, 832, 832, 1024)
    assert seen == [(n // 4, side, side) for n, side in zip(full, [32] * 2 + [16] * 5 + [8] * 2, strict=True)]


@pytest.mark.parametrize("name", MODELS)
def test_logits_at_any_size(name):
    least = SMALLEST.get(name, 8)
    for size in sorted({least, max(least, 12), 20, 24, 28, 32, 64}):
        assert predict(small(name, size), pictures(name, 2, size)).shape == (2, 7)
    assert predict(small(name, 28, 3, width=1e-9), pictures(name, 2, 28)).shape == (2, 3)


@pytest.mark.parametrize("name", MODELS)
def test_a_size_too_small_is_refused(name):
    with pytest.raises(ValueError, match=r"size = \d+"):
        small(name, SMALLEST.get(name, 8) - 1)


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_gets_a_gradient(name):
    size = max(20, SMALLEST.get(name, 8))
    model = seeded(1, lambda: small(name, size, width=0.25))
    model(pictures(name, 8, size)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("name", MNIST)
def test_dropout_is_off_in_evaluation(name):
    model, images = seeded(0, lambda: small(name, 20, width=0.5)), pictures(name, 4, 20)
    model.train()
    random = name in ("Net2", "Net3", "Net5", "Net6")
    assert model(images).equal(model(images)) != random
    assert predict(model, images).equal(predict(model, images))


@pytest.mark.parametrize("name", MNIST)
def test_activations_stand_where_the_dossier_has_them(name):
    short = {
        nn.Conv2d: "conv",
        nn.Linear: "fc",
        nn.ReLU: "relu",
        nn.Tanh: "tanh",
        nn.MaxPool2d: "pool",
        nn.Dropout: "drop",
    }
    layers = [layer for layer in MODELS[name]() if not isinstance(layer, nn.Flatten)]
    found = " ".join(f"{short[type(layer)]}{getattr(layer, 'p', '')}" for layer in layers)
    block = "conv relu pool conv relu pool"
    assert (
        found
        == {
            "LeNet5": f"{block} fc relu fc relu fc",
            "Net1": f"{block} fc relu fc",
            "Net2": "conv relu conv relu drop0.25 fc relu drop0.5 fc",
            "Net3": "drop0.2 conv relu conv relu conv relu drop0.5 fc",
            "Net4": "conv tanh pool conv tanh pool fc relu fc",
            "Net5": "fc tanh drop0.5 fc tanh drop0.5 fc relu drop0.5 fc relu drop0.5 fc",
            "Net6": "conv relu conv relu pool conv relu conv relu pool fc relu drop0.5 fc relu fc",
        }[name]
    )


@pytest.mark.parametrize("name", ["Net3", "ResNet18"])
def test_weights_depend_on_the_seed_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (seeded(seed, lambda: small(name, 20)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    pairs = zip(*(m.parameters() for m in (first, again, other)), strict=True)
    equal = [(a.equal(b), a.equal(c)) for a, b, c in pairs]
    assert all(same for same, _ in equal) and not all(chance for _, chance in equal)


def test_widths():
    assert widths(1.0, 64, 128) == [64, 128]
    assert widths(0.25, 64, 6) == [16, 4]
    assert widths(1.5, 64) == [96]


def test_one_image_more_than_the_batch_is_no_trouble():
    """At 16 pixels the last stages see one pixel, whose batch statistics need two images."""
    model = small("VGG13", 16)
    images, labels = pictures("VGG13", 9, 16), torch.arange(9) % 7
    assert fit(model, (images, labels), Recipe(epochs=1, batch=8)).train_loss.notna().all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "net4"}, f"'net4' is not one of {re.escape(', '.join(MODELS))}"),
        ({"classes": 1}, "classes = 1"),
        ({"channels": 0}, "channels = 0"),
        ({"size": 0}, "size = 0"),
        ({"width": 0.0}, "width = 0.0; expected a positive multiplier"),
        ({"width": float("nan")}, "width = nan"),
    ],
)
@pytest.mark.parametrize("name", ["Net4", "Net5", "ResNet18", "VGG13", "GoogLeNet"])
def test_numbers_that_make_no_network(name, change, words):
    with pytest.raises(ValueError, match=words):
        make_model(**{"name": name, "classes": 10, "channels": 1, "size": 28, "width": 0.1} | change)
