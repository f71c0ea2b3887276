"""Maps of a data set's test clips are those of the clips at full size, seen where the model sees them."""

import dataclasses

import numpy as np
import pytest

from thesislib.datasets import load_clips, moving
from thesislib.motion_sampler.improved_map import improved_maps
from thesislib.motion_sampler.motion_map import motion_maps
from thesislib.motion_sampler.recorded_maps import KINDS, maps_of


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path))
    presets = {name: dataclasses.replace(f, train=1, test=1) for name, f in moving.PRESETS.items()}
    monkeypatch.setattr(moving, "PRESETS", presets)


@pytest.mark.parametrize(("kind", "size"), [("mv", 32), ("mv_h264", 32), ("flow", 16), ("improved", 32)])
def test_maps_are_of_the_whole_clip_at_the_pixels_a_model_sees(kind, size):
    numbers = (3, 8)
    found = maps_of("moves", kind, numbers, frames=4, size=size)
    clips = load_clips("moves", frames=4, size=size, train=0)
    for k, maps in zip(numbers, found, strict=True):
        whole = clips.whole(k)
        expected = improved_maps(whole)[0] if kind == "improved" else motion_maps(whole, kind)
        step = 128 // size
        np.testing.assert_array_equal(maps, expected[:, step // 2 :: step, step // 2 :: step])
        assert maps.dtype == np.int16 and maps.any()


def test_all_clips_have_maps_if_none_is_named():
    found = maps_of("moves_panning", "mv")
    assert [maps.shape for maps in found] == [(3, 32, 32, 2)] * 10


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=", ".join(KINDS)):
        maps_of("moves", "vectors")
