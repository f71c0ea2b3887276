"""Optical flow: chained over an interval it agrees with the motion that was drawn, on any number of threads."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from thesislib.datasets.moving import PRESETS, film
from thesislib.datasets.video import instants, seen
from thesislib.motion_sampler.flow import flow_map, flow_stack


@pytest.fixture(scope="module")
def shot():
    return film(PRESETS["moves"], "test", 2)  # up


@pytest.mark.parametrize(("method", "frames", "share"), [("dis", 12, 0.6), ("tvl1", 3, 0.9)])
def test_chained_flow_is_the_way_since_the_first_frame(shot, method, frames, share):
    found = flow_map(shot.frames[:frames], method)
    true, thing = shot.motion(0, frames - 1), shot.layer[frames - 1] > 0
    assert found.dtype == np.int16 and np.abs(true[thing]).max() > 4
    assert np.mean(np.abs(found - true).max(axis=-1)[thing] <= 1.5) > share
    assert np.abs(np.median(found[thing], axis=0) - np.median(true[thing], axis=0)).max() <= 2


def test_one_flow_over_the_whole_interval_would_not_do(shot):
    # Which is why flows are chained.
    true, thing = shot.motion(0, 11), shot.layer[11] > 0
    jump = flow_map(shot.frames[[0, 11]])
    chained = flow_map(shot.frames[:12])
    error = [np.linalg.norm(each - true, axis=-1)[thing].mean() for each in (jump, chained)]
    assert error[0] > 3 * error[1]


def test_the_number_of_threads_changes_nothing_and_is_left_alone(shot):
    before = cv2.getNumThreads()
    found = []
    for threads in (1, 2, 4):
        cv2.setNumThreads(threads)
        found.append(flow_map(shot.frames[:4]))
        assert cv2.getNumThreads() == threads
    cv2.setNumThreads(before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_stack_has_the_motion_of_each_pair_in_units_of_the_reach(shot):
    chosen = instants(24, 8)
    clip = seen(shot.frames, 8, 32).transpose(3, 0, 1, 2)[None] / np.float32(255)
    stack = flow_stack(clip, reach=0.1)
    assert stack.shape == (1, 14, 32, 32) and stack.dtype == np.float32
    pixels = (stack[0].reshape(7, 2, 32, 32) - 0.5) * 2 * 0.1 * 32
    for k, (first, second) in enumerate(pairwise(chosen)):
        true = -shot.motion(second, first)[2::4, 2::4] / 4  # attached to the earlier frame, in 32 pixels
        thing = shot.layer[first][2::4, 2::4] > 0
        assert np.abs(np.median(pixels[k][:, thing], axis=1) - np.median(true[thing], axis=0)).max() < 0.4


def test_a_still_clip_is_grey_and_far_motion_is_cut_off(shot):
    still = np.repeat(seen(shot.frames, 1, 32).transpose(3, 0, 1, 2)[None], 4, axis=2) / np.float32(255)
    np.testing.assert_array_equal(flow_stack(still), np.full((1, 6, 32, 32), 0.5, np.float32))
    fast = seen(shot.frames, 8, 32).transpose(3, 0, 1, 2)[None] / np.float32(255)
    stack = flow_stack(fast, reach=0.01)
    assert stack.min() == 0 and stack.max() <= 1


@pytest.mark.parametrize(
    ("clips", "reach", "said"),
    [
        (np.full((1, 3, 2, 16, 16), 255.0), 0.1, "within 0 and 1"),
        (np.full((1, 3, 2, 16, 16), np.nan), 0.1, "within 0 and 1"),
        (np.zeros((1, 2, 3, 16, 16)), 0.1, r"shape \(1, 2, 3, 16, 16\)"),
        (np.zeros((1, 3, 2, 16, 16)), 0, "reach = 0, expected a share"),
    ],
)
def test_what_is_no_clip_or_reach_is_refused(clips, reach, said):
    with pytest.raises(ValueError, match=said):
        flow_stack(clips, reach=reach)
    assert flow_stack(np.zeros((0, 3, 4, 16, 16))).shape == (0, 6, 16, 16)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (np.zeros((0, 32, 32, 3), np.uint8), r"uint8 of shape \(0, 32, 32, 3\), expected uint8"),
        (np.zeros((2, 32, 32, 3)), r"float64 of shape \(2, 32, 32, 3\), expected uint8"),
        (
            np.zeros((32, 32, 3), np.uint8),
            r"shape \(32, 32, 3\), expected uint8 \(frames, height, width, 3\)",
        ),
    ],
)
def test_what_is_no_interval_is_refused(frames, said):
    with pytest.raises(ValueError, match=said):
        flow_map(frames)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="dis, tvl1"):
        flow_map(np.zeros((2, 32, 32, 3), np.uint8), "farneback")
