"""The residual networks: sizes as published, shortcuts without parameters."""

import pytest
import torch
from torchvision.models import resnet as torchvision_resnet

from thesislib.models.residual import (
    PlainBlock,
    ResNet10,
    ResNet32,
    ResNet50,
    ResNeXt50,
    cifar_resnet,
    load_torchvision,
)


def test_resnet32_is_that_of_the_cifar_papers():
    model = ResNet32(10)
    assert sum(p.numel() for p in model.parameters()) == 464_154  # He et al. 2016: 0.46 million
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 31 and all(c.kernel_size == (3, 3) and c.bias is None for c in convolutions)
    features = model[:-1](torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 64) and (features >= 0).all()


def test_a_shortcut_takes_every_second_pixel_and_centres_the_old_channels():
    block = PlainBlock(2, 6, 2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 2, 4, 4)
    out = block(x)
    torch.testing.assert_close(out[:, 2:4], x[:, :, ::2, ::2])
    assert not out[:, :2].any() and not out[:, 4:].any()


@pytest.mark.parametrize("depth", [7, 2, 33])
def test_a_depth_that_makes_no_network_is_refused(depth):
    with pytest.raises(ValueError, match=r"none of 8, 14, 20"):
        cifar_resnet(depth, 10)


def test_imagenet_sizes():
    # torchvision's own counts; ResNet-10 by hand: ResNet-18 less one block a stage.
    assert sum(p.numel() for p in ResNet50().parameters()) == 25_557_032
    assert sum(p.numel() for p in ResNeXt50().parameters()) == 25_028_904
    assert sum(p.numel() for p in ResNet10().parameters()) == 5_418_792


def test_torchvision_weights_give_torchvisions_features():
    theirs = torchvision_resnet.ResNet(torchvision_resnet.BasicBlock, [1, 1, 1, 1]).eval()
    ours = ResNet10(7).eval()
    load_torchvision(ours, theirs.state_dict())
    images = torch.rand(2, 3, 64, 64)
    theirs.fc = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(ours[:-1](images), theirs(ours[0](images)))
    older = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_torchvision(ours, older)  # files of before 2018
    with pytest.raises(ValueError, match="of another architecture"):
        load_torchvision(ours, torchvision_resnet.resnet18().state_dict())
