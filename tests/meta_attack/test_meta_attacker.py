"""The meta attacker: Table 2.1 to the last parameter, and what it normalises by."""

import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from thesislib.meta_attack.meta_attacker import MetaAttacker

# Kind, input and output channels, kernel, stride, padding, and the side of what comes out.
GREY_28 = [
    ("Conv", 1, 16, 3, 1, 1, 28),
    ("Conv", 16, 32, 4, 2, 1, 14),
    ("Conv", 32, 64, 4, 2, 1, 7),
    ("Conv", 64, 64, 4, 2, 1, 3),
    ("Convt", 64, 32, 3, 2, 0, 7),
    ("Convt", 32, 16, 4, 2, 1, 14),
    ("Convt", 16, 8, 4, 2, 1, 28),
    ("Convt", 8, 1, 3, 1, 1, 28),
]
COLOUR_32 = [
    ("Conv", 3, 32, 3, 1, 1, 32),
    ("Conv", 32, 64, 4, 2, 1, 16),
    ("Conv", 64, 128, 4, 2, 1, 8),
    ("Conv", 128, 256, 4, 2, 1, 4),
    ("Convt", 256, 128, 4, 2, 1, 8),
    ("Convt", 128, 64, 4, 2, 1, 16),
    ("Convt", 64, 32, 4, 2, 1, 32),
    ("Convt", 32, 3, 3, 1, 1, 32),
]
COLOUR_64 = [(*row[:-1], 2 * row[-1]) for row in COLOUR_32]


def pictures(n, channels, size, seed=0):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("channels", "size", "expected", "parameters"),
    [(1, 28, GREY_28, 136_081), (3, 32, COLOUR_32, 1_380_099), (3, 64, COLOUR_64, 1_380_099)],
)
def test_table_2_1(channels, size, expected, parameters):
    attacker = MetaAttacker(channels, size)
    table = attacker.table()
    names = ("kind", "in", "out", "kernel", "stride", "padding", "size")
    assert [tuple(row[name] for name in names) for row in table] == expected
    assert [row["layer"] for row in table] == list(range(1, 9))
    assert sum(row["parameters"] for row in table) == parameters
    assert sum(p.numel() for p in attacker.parameters()) == parameters
    images = pictures(2, channels, size)
    sides = []
    for layer in attacker.layers:
        layer.register_forward_hook(lambda *a: sides.append(a[2].shape[-1]))
    assert attacker(images).shape == images.shape
    assert sides == [row[-1] for row in expected]


@pytest.mark.parametrize(("channels", "sizes"), [(1, (20, 28, 36, 44)), (3, (16, 24, 32, 40))])
def test_the_sizes_that_the_refusal_names_are_taken(channels, sizes):
    for size in sizes:
        images = pictures(1, channels, size)
        assert MetaAttacker(channels, size, width=0.1)(images).shape == images.shape
    named = ", ".join(map(str, sizes))
    with pytest.raises(ValueError, match=f"size = 30: .* takes images of {named}, ... pixels"):
        MetaAttacker(channels, 30)


def test_a_single_image_is_normalised_by_itself():
    """Order of a block: convolution, ReLU, normalisation; the last layer is linear and alone."""
    torch.manual_seed(0)
    attacker = MetaAttacker(1, 28, width=0.5).eval()
    for norm in attacker.norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    image = pictures(1, 1, 28)
    flow = image
    for k, layer in enumerate(attacker.layers):
        convolve = F.conv2d if k < 4 else F.conv_transpose2d
        flow = convolve(flow, layer.weight, layer.bias, layer.stride, layer.padding)
        if k < 7:
            norm = attacker.norms[k]
            flow = F.instance_norm(F.relu(flow), weight=norm.weight, bias=norm.bias)
    torch.testing.assert_close(attacker(image), flow, rtol=1e-4, atol=1e-5)


def test_statistics_in_evaluation():
    images = pictures(4, 1, 20)
    batch, running = (MetaAttacker(1, 20, width=0.2, statistics=s).eval() for s in ("batch", "running"))
    with torch.no_grad():
        company, alone = batch(images)[:1], batch(images[:1])
        assert (company - alone).abs().max() > 0.01  # the released networks: an image depends on its batch
        torch.testing.assert_close(running(images)[:1], running(images[:1]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batch.train()(images)[:1], company)
        running.load_state_dict(batch.state_dict(), strict=False)
        torch.testing.assert_close(running.train()(images)[:1], company)
    assert not list(batch.buffers())  # no statistics to go stale
    assert {tuple(n.running_mean.shape) for n in running.norms} == {(n.num_features,) for n in running.norms}


def test_weights_start_as_kaiming_has_them():
    torch.manual_seed(0)
    attacker = MetaAttacker(3, 32)
    for k, layer in enumerate(attacker.layers):
        # Of the raw weight tensor: of a transposed convolution its output channels are counted as the fan-in.
        fan = layer.weight[0].numel()
        n = layer.weight.numel()
        std = (2 / fan) ** 0.5
        assert layer.weight.std().item() == pytest.approx(std, rel=5 / (2 * n) ** 0.5), k
        assert abs(layer.weight.mean().item()) < 5 * std / n**0.5
        assert (layer.bias == 0).all()
    assert attacker.layers[0].weight.std().item() == pytest.approx((2 / 27) ** 0.5, rel=0.1)
    assert attacker.layers[4].weight.std().item() == pytest.approx((2 / (128 * 16)) ** 0.5, rel=0.02)
    assert all((n.weight == 1).all() and (n.bias == 0).all() for n in attacker.norms)


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_a_checkpoint_comes_back(statistics):
    source, images = MetaAttacker(1, 20, width=0.2, statistics=statistics), pictures(3, 1, 20)
    source.train()(images)  # running statistics are part of it
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    other = MetaAttacker(1, 20, width=0.2, statistics=statistics)
    assert not torch.equal(other.eval()(images), source.eval()(images))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.eval()(images), source.eval()(images))


def test_one_set_of_weights_serves_every_size():
    """Meta transfer: weights of 32 pixels attack images of 64."""
    small, large = MetaAttacker(3, 16, width=0.1), MetaAttacker(3, 24, width=0.1)
    large.load_state_dict(small.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 3, "size": 16}, "channels = 3, here 1 and hidden channels = "),
        ({"width": 0.5}, r"meta attacker: hidden channels = \[8, 16, .*\], here \[4, 6, .*\]; make this one"),
        ({"width": 0.21}, r"hidden channels = \[4, 7, "),  # the first layer is the same
        ({"statistics": "running"}, "meta attacker: statistics = running, here batch; make this one"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_architecture_is_refused(options, message):
    ours = {"channels": 1, "size": 20, "width": 0.2}
    mine = MetaAttacker(**ours)
    before = {name: t.clone() for name, t in mine.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        mine.load_state_dict(MetaAttacker(**{**ours, **options}).state_dict())
    assert all(torch.equal(t, before[name]) for name, t in mine.state_dict().items())


@pytest.mark.parametrize("weights", [{}, {"0.weight": torch.zeros(3)}, {"layers.0.weight": 3}])
def test_weights_of_something_else_are_refused(weights):
    with pytest.raises(ValueError, match="these are no weights of a meta attacker"):
        MetaAttacker(1, 20, width=0.2).load_state_dict(weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 2}, "channels = 2, expected 1 or 3"),
        ({"size": 32}, "size = 32: the grey meta attacker takes images of 20, 28, 36, 44, ... pixels"),
        ({"channels": 3}, "size = 28: the colour meta attacker takes images of 16, 24, 32, 40, ... pixels"),
        ({"size": 12}, "size = 12: the grey"),
        ({"channels": 3, "size": 8}, "size = 8: the colour"),
        ({"statistics": "instance"}, "statistics = 'instance', expected 'batch' or 'running'"),
    ],
)
def test_meta_attackers_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MetaAttacker(**{"channels": 1, "size": 28, **options})


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 1, 20, 20), (1, 28, 28)])
def test_images_of_another_shape_are_refused(shape):
    message = r"takes images of shape \(n, 1, 28, 28\), not \(" + ", ".join(map(str, shape))
    with pytest.raises(ValueError, match=message):
        MetaAttacker(1, 28, width=0.1)(torch.zeros(shape))
