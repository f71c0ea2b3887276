"""The video classifiers: published shapes and parameter counts, torchvision as reference, inflation."""

import pytest
import torch
import torchvision

from thesislib.models.video import (
    I3D,
    INFLATED,
    ResNet,
    i3d,
    inflate,
    small_i3d,
    small_motion_stream,
    small_tsn2d,
    tsn2d,
)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_i3d_has_the_published_layout():
    model = i3d(400)
    # Counted from the layout, not from the code: ResNet-50 without its last layer, its first convolution five
    # frames deep, and two more copies of each inflated 1 x 1 kernel; then 400 classes.
    backbone = parameters(torchvision.models.resnet50()) - 2048 * 1000 - 1000
    stem = 4 * 3 * 64 * 7 * 7
    inputs = {1: (64, 256, 256), 2: (256, 512, 512, 512), 3: (512,) + (1024,) * 5, 4: (1024, 2048, 2048)}
    planes = {1: 64, 2: 128, 3: 256, 4: 512}
    deep = sum(
        2 * n * planes[stage]
        for stage, flags in enumerate(INFLATED, 1)
        for n, flag in zip(inputs[stage], flags, strict=True)
        if flag
    )
    assert parameters(model) == backbone + stem + deep + 2048 * 400 + 400
    assert round(parameters(model) / 1e6, 2) == 28.04  # as model zoos list it
    assert sum(flag for flags in INFLATED for flag in flags) == 9


def test_shapes_along_i3d():
    model, seen = i3d(7).eval(), {}
    for name in ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        module = getattr(model.net, name)
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: tuple(out.shape[1:])}))
    with torch.inference_mode():
        assert model(torch.rand(1, 3, 32, 64, 64)).shape == (1, 7)
    assert seen == {
        "conv1": (64, 16, 32, 32),
        "maxpool": (64, 8, 16, 16),
        "layer1": (256, 8, 16, 16),
        "layer2": (512, 4, 8, 8),
        "layer3": (1024, 4, 4, 4),
        "layer4": (2048, 4, 2, 2),
    }


def test_the_image_network_is_torchvisions():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50().eval()
    ours = tsn2d(1000).eval()
    ours.net.load_state_dict(theirs.state_dict())
    frame = torch.rand(2, 3, 64, 64)
    normal = (frame - ours.mean) / ours.std
    with torch.inference_mode():
        # A clip of equal frames has the frame's logits, whatever their number.
        for frames in (1, 3):
            clip = frame[:, :, None].repeat(1, 1, frames, 1, 1)
            torch.testing.assert_close(ours(clip), theirs(normal), rtol=1e-3, atol=1e-3)


def test_segments_are_averaged_before_the_last_layer():
    torch.manual_seed(0)
    model, clip = small_tsn2d(5).eval(), torch.rand(1, 3, 4, 32, 32)
    with torch.inference_mode():
        single = torch.stack([model(clip[:, :, t : t + 1]) for t in range(4)]).mean(0)
        torch.testing.assert_close(model(clip), single, rtol=1e-4, atol=1e-5)
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(model(clip[:, :, order]), model(clip), rtol=1e-4, atol=1e-5)


def test_i3d_sees_the_order_of_frames():
    torch.manual_seed(0)
    model, clip = small_i3d(5).eval(), torch.rand(1, 3, 8, 32, 32)
    with torch.inference_mode():
        assert (model(clip.flip(2)) - model(clip)).abs().max() > 1e-4


def test_inflated_weights_answer_a_still_clip_as_the_image_network_does():
    torch.manual_seed(0)
    flat = ResNet(4, blocks=(1,) * 4, width=0.0625, stem=(1, 5)).eval()
    flags = ((1,), (1,), (0,), (0,))
    deep = ResNet(4, blocks=(1,) * 4, width=0.0625, inflated=flags, stem=(3, 5), strides=(1, 1)).eval()
    older = {k: v for k, v in flat.state_dict().items() if not k.endswith("num_batches_tracked")}
    inflate(older, deep)  # as in files of before 2018; whole ones will do too
    inflate(flat.state_dict(), deep)
    with torch.inference_mode():
        image = torch.rand(1, 3, 32, 32)
        still = image[:, :, None].repeat(1, 1, 16, 1, 1)
        x, y = image, still
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"):
            x, y = getattr(flat, name)(x), getattr(deep, name)(y)
        inner = y[:, :, 4:-4]  # where no padding in time is seen
        torch.testing.assert_close(inner, x[:, :, None].expand_as(inner), rtol=1e-3, atol=1e-4)
    published = ResNet(9, inflated=INFLATED)
    inflate(torchvision.models.resnet50().state_dict(), published)  # its thousand classes are left out


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"the image network has no layer1\.0\.conv1\.weight"):
        inflate({"conv1.weight": torch.zeros(64, 3, 7, 7), "bn1.weight": torch.zeros(64)} | {
            f"bn1.{n}": torch.zeros(64) for n in ("bias", "running_mean", "running_var", "num_batches_tracked")
        } | {"bn1.num_batches_tracked": torch.tensor(0)}, ResNet(9, inflated=INFLATED))  # fmt: skip
    with pytest.raises(ValueError, match="does not inflate"):
        inflate(ResNet(9, width=0.5).state_dict(), ResNet(9, inflated=INFLATED))
    with pytest.raises(ValueError, match="classes = 1"):
        ResNet(1)
    for model in (small_i3d(3), small_tsn2d(3)):
        with pytest.raises(ValueError, match=r"clips have shape \(2, 3, 32, 32\)"):
            model(torch.rand(2, 3, 32, 32))


def test_small_networks_take_small_clips():
    assert small_i3d(12)(torch.rand(2, 3, 8, 32, 32)).shape == (2, 12)
    assert small_motion_stream(12, 8)(torch.rand(2, 14, 32, 32)).shape == (2, 12)
    assert isinstance(small_i3d(3), I3D)
    assert 100_000 < parameters(small_i3d(10)) < 200_000
