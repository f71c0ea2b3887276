"""Filters keep the shapes they promise and have the parameters that their layers add up to."""

import pytest
import torch

from thesislib import sources
from thesislib.heterotopic.filters import LAST_STAGES, PRESETS, LastStage, make_filter
from thesislib.models.residual import ResNet10, ResNet32


@pytest.mark.parametrize(
    "network, count", [("ResNet-32", 73_984), ("ResNet-10", 4_720_640), ("ResNet-50", 4_462_592)]
)
def test_the_default_has_the_parameters_of_one_block(network, count):
    made = make_filter("residual block", LAST_STAGES[network])
    assert sum(p.numel() for p in made.parameters()) == count


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("stage", [LAST_STAGES["ResNet-32"], LastStage("bottleneck", 16, 32, 2, 3)])
def test_every_filter_ends_in_the_map_of_the_last_stage(preset, stage):
    private = preset == "private stage"
    n, side = (stage.before, 2 * stage.size) if private else (stage.channels, stage.size)
    made = make_filter(preset, stage)(torch.rand(2, n, side, side))
    assert made.shape == (2, stage.channels, stage.size, stage.size)


@pytest.mark.parametrize("name, make, size", [("ResNet-32", ResNet32, 32), ("ResNet-10", ResNet10, 224)])
def test_stages_are_those_of_the_networks(name, make, size):
    from thesislib.heterotopic.ensemble import cut

    body, last, _ = cut(make(), size)
    with torch.no_grad():
        before = body.eval()(torch.zeros(1, 3, size, size))
        after = last.eval()(before)
    stage = LAST_STAGES[name]
    assert before.shape == (1, stage.before, 2 * stage.size, 2 * stage.size)
    assert after.shape == (1, stage.channels, stage.size, stage.size)
    blocks = len(last[0]) if name == "ResNet-10" else len(last)
    assert blocks == stage.blocks


def test_the_private_stage_on_resnet_32_is_the_backbone_s_and_a_shortcut_as_the_page_says():
    own = sum(p.numel() for block in ResNet32()[14:19] for p in block.parameters())
    made = make_filter("private stage", LAST_STAGES["ResNet-32"])
    theirs = sum(p.numel() for p in made.parameters())
    assert theirs - own == sum(p.numel() for p in made[0].downsample.parameters()) == 32 * 64 + 2 * 64
    assert f"{theirs:,} of them where the backbone's own has {own:,}" in " ".join(make_filter.__doc__.split())
    page = (sources.PACKAGE.parent / "notebooks" / "ch5_heterotopic.py").read_text(encoding="utf-8")
    assert f"({theirs:,} parameters, not {own:,})" in page


def test_resnet_50_and_152_share_their_filter():
    assert LAST_STAGES["ResNet-50"] == LAST_STAGES["ResNet-152"]


def test_a_stage_that_is_none_is_refused():
    with pytest.raises(ValueError, match="block = 'dense' is not one of basic, bottleneck"):
        LastStage("dense", 8, 16, 1, 4)
    with pytest.raises(ValueError, match="is no stage; expected positive numbers"):
        LastStage("bottleneck", 8, 18, 1, 4)
