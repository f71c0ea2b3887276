"""The sampler: look-up and warp against independent formulas, and what they mean for still and moving clips."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from thesislib.blackbox.streams import Streams
from thesislib.datasets.video import instants
from thesislib.motion_sampler.sampler import Motion, NoiseSampler, look_up, positive, warp


def noise(n=2, size=9):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_look_up_is_grid_sample_with_aligned_corners(seed):
    generator = torch.Generator().manual_seed(seed)
    motion = torch.randint(-3, 6, (2, 9, 9, 2), generator=generator)
    m = positive(motion).double()
    assert (m.flatten(1).amin(1) == 0).all()
    grid = (2 * m - 9 + 1) / (9 - 1)  # released code, x first
    wanted = F.grid_sample(noise(), grid, align_corners=True)
    torch.testing.assert_close(look_up(noise(), motion), wanted, rtol=0, atol=1e-12)


def test_the_least_entry_is_one_number_for_both_directions():
    motion = torch.zeros(1, 9, 9, 2, dtype=torch.int32)
    motion[0, 4, 5] = torch.tensor([3, -1])
    assert positive(motion)[0, 4, 5].tolist() == [4, 0]
    assert look_up(noise(1), motion)[0, :, 4, 5].tolist() == noise(1)[0, :, 0, 4].tolist()


def test_equal_motion_equal_noise_and_no_more_values_than_vectors():
    motion = torch.zeros(1, 9, 9, 2, dtype=torch.int64)
    motion[0, 2:5, 2:5] = torch.tensor([2, 1])
    motion[0, 6:, 6:] = torch.tensor([0, 3])
    values = look_up(noise(1), motion)[0].flatten(1).T.unique(dim=0)
    assert len(values) == 3
    still = look_up(noise(1), torch.full_like(motion, 7))
    assert len(still[0].flatten(1).T.unique(dim=0)) == 1  # a still clip is given one colour


def test_noise_smaller_than_the_range_is_refused():
    motion = torch.zeros(1, 9, 9, 2, dtype=torch.int64)
    motion[0, 0, 0, 0] = 300
    with pytest.raises(ValueError, match="noise of 9 x 9 pixels, but the motion ranges over 301"):
        look_up(noise(1), motion)
    assert torch.equal(look_up(noise(1, 400), motion)[0, :, 0, 0], noise(1, 400)[0, :, 0, 300])


def test_warp_moves_noise_and_is_zero_outside():
    motion = torch.zeros(2, 9, 9, 2, dtype=torch.int64)
    torch.testing.assert_close(warp(noise(), motion), noise(), rtol=0, atol=1e-12)
    motion[..., 0], motion[..., 1] = 2, -1
    moved = warp(noise(), motion)
    torch.testing.assert_close(moved[:, :, 1:, :-2], noise()[:, :, :-1, 2:], rtol=0, atol=1e-12)
    assert (moved[:, :, 0] == 0).all() and (moved[..., -2:] == 0).all()
    half = torch.zeros(1, 9, 9, 2, dtype=torch.float64)
    half[..., 0] = 0.5
    between = (noise(1)[..., :-1] + noise(1)[..., 1:]) / 2
    torch.testing.assert_close(warp(noise(1), half)[..., :-1], between, rtol=0, atol=1e-12)


def test_frames_of_a_map_are_sampled_one_by_one():
    motion = torch.randint(-2, 3, (2, 4, 9, 9, 2), generator=torch.Generator().manual_seed(1))
    motion[:, :, 0, 0, 0] = -2  # the least entry, so that each frame alone has it too
    for sample in (look_up, warp):
        together = sample(noise(), motion)
        each = torch.stack([sample(noise(), motion[:, t]) for t in range(4)], dim=2)
        torch.testing.assert_close(together, each, rtol=0, atol=1e-12)


def drawn(sampler, step, clips, maps, rows=(0, 1)):
    streams = Streams(0, [0, 1], device="cpu", dtype=torch.float64)
    motion = Motion(maps, [0, 1], clips) if sampler.needs_maps else None
    return sampler.draw(streams, torch.tensor(rows), motion, clips, step)


def test_shared_maps_take_turns_every_period(make):
    clips, maps = make.clips(2), make.maps(2, maps=3)
    sampler = NoiseSampler(period=4)
    table = noise(1, 8)  # what the streams give is compared through its equal pixels only
    for step, turn in ((0, 0), (3, 0), (4, 1), (11, 2), (12, 0)):
        pattern = drawn(sampler, step, clips, maps)
        assert pattern.shape == (2, 3, 1, 8, 8)
        wanted = look_up(table, maps[0][turn][None])[0, 0]
        assert same_regions(pattern[0, 0, 0], wanted)


def same_regions(one, other):
    """Whether two pictures are constant on the same sets of pixels."""
    return torch.equal(
        *(p.flatten().unique(return_inverse=True)[1].bincount().sort().values for p in (one, other))
    )


def test_per_frame_maps_follow_the_clip(make):
    clips, maps = make.clips(2), make.maps(2, maps=2)
    pattern = drawn(NoiseSampler("look-up", "per frame"), 7, clips, maps)
    assert pattern.shape == (2, 3, 4, 8, 8)
    assert torch.equal(pattern[:, :, 0], pattern[:, :, 1]) and torch.equal(pattern[:, :, 2], pattern[:, :, 3])
    assert not torch.equal(pattern[:, :, 1], pattern[:, :, 2])


@pytest.mark.parametrize("length", [12, 24, 36, 60])
def test_a_frame_reads_the_map_of_the_interval_it_was_taken_from(make, length):
    clips, maps = torch.zeros(2, 3, 8, 8, 8, dtype=torch.float64), make.maps(2, maps=length // 12)
    pattern = drawn(NoiseSampler("look-up", "per frame"), 0, clips, maps)[0]
    intervals = [place // 12 for place in instants(length, 8)]
    for one, other in itertools.product(range(8), repeat=2):
        same = torch.equal(pattern[:, one], pattern[:, other])
        assert same == (intervals[one] == intervals[other])


def test_motion_of_another_number_or_type_is_refused():
    noise, motion = torch.zeros(1, 3, 8, 8), torch.zeros(1, 4, 4, 2, dtype=torch.int64)
    for bad in (motion.repeat(2, 1, 1, 1), motion + 0.5):
        with pytest.raises(ValueError, match="expected as many, and integers"):
            look_up(noise, bad)


def test_without_motion(make):
    clips = make.clips(2)
    assert drawn(NoiseSampler("one-noise"), 0, clips, None).shape == (2, 3, 1, 8, 8)
    assert drawn(NoiseSampler("multi-noise"), 0, clips, None).shape == (2, 3, 4, 8, 8)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], "clip 0 has no motion map; there are 0"),
        ([torch.zeros(1, 8, 8, 2, dtype=torch.int64)], "clip 1 has no motion map"),
        ([torch.zeros(8, 8, 2, dtype=torch.int64)] * 2, r"clip 0: motion maps have shape \(8, 8, 2\)"),
        ([torch.zeros(1, 4, 8, 2, dtype=torch.int64)] * 2, r"expected \(maps, 8, 8, 2\)"),
        ([torch.zeros(0, 8, 8, 2, dtype=torch.int64)] * 2, "clip 0: motion maps"),
        ([torch.zeros(1, 8, 8, 2)] * 2, "float32, expected integers"),
    ],
)
def test_maps_that_do_not_fit_are_refused(make, maps, message):
    with pytest.raises(ValueError, match=message):
        Motion(maps, [0, 1], make.clips(2))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="sampler = 'flow' is not one of look-up, warp"):
        NoiseSampler("flow")
    with pytest.raises(ValueError, match="period = 0"):
        NoiseSampler(period=0)


def test_a_tensor_of_numbers_finds_its_maps_in_a_mapping(make):
    clips, maps = make.clips(2), make.maps(2)
    by_number = {7: maps[1], 4: maps[0]}
    for ids in (torch.tensor([4, 7]), [4, 7]):
        found = Motion(by_number, ids, clips)
        assert all(torch.equal(mine.maps, given) for mine, given in zip(found.clips, maps, strict=True))
    with pytest.raises(ValueError, match="clip 3 has no motion map; there are 2"):
        Motion(by_number, torch.tensor([4, 3]), clips)
