"""Motion maps: what moved as told is found to have moved so; bounds are those measured before this was written."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thesislib.datasets.moving import MOTIONS, PRESETS, clip, film
from thesislib.motion_sampler.codec import GROUP, Vectors, motion_vectors
from thesislib.motion_sampler.handcrafted_map import s_value, u_sample
from thesislib.motion_sampler.improved_map import improved_maps
from thesislib.motion_sampler.motion_map import (
    SOURCES,
    accumulate,
    followed,
    motion_energy,
    motion_maps,
    sampled,
)

SIDE, SQUARE = 192, 80
START = np.array([56, 56])


def texture(height, width, seed, grain=4):
    coarse = np.random.default_rng(seed).integers(30, 226, (-(-height // grain), -(-width // grain), 1))
    fine = coarse.repeat(grain, axis=0).repeat(grain, axis=1)[:height, :width]
    return np.repeat(fine, 3, axis=2).astype(np.uint8)


def moving_square(velocity, frames=GROUP, pan=(0, 0), start=START, square=None, ground=None):
    """A square that moves over a ground that pans, in whole pixels; frames and where the square is at last."""
    square = texture(SQUARE, SQUARE, 1) if square is None else square
    ground = texture(SIDE + 200, SIDE + 200, 2) if ground is None else ground
    clip = []
    for t in range(frames):
        left, top = 100 - np.multiply(pan, t)
        picture = ground.copy()
        x, y = start + np.multiply(velocity, t)
        picture[top + y : top + y + SQUARE, left + x : left + x + SQUARE] = square
        clip.append(picture[top : top + SIDE, left : left + SIDE])
    return np.stack(clip), (slice(y, y + SQUARE), slice(x, x + SQUARE))


def inner_blocks(frame, box, around):
    """Ways of the blocks that lie in a box, and of those that do not touch another."""
    left, top = frame.boxes[:, 0], frame.boxes[:, 1]
    right, bottom = left + frame.boxes[:, 2], top + frame.boxes[:, 3]
    rows, columns = box
    inside = (left >= columns.start) & (right <= columns.stop) & (top >= rows.start) & (bottom <= rows.stop)
    rows, columns = around
    apart = (left >= columns.stop) | (right <= columns.start) | (top >= rows.stop) | (bottom <= rows.start)
    return frame.ways[inside], frame.ways[apart]


# ---- what the codec says


@pytest.mark.parametrize("codec", ["mpeg4", "h264"])
@pytest.mark.parametrize("velocity", [(5, 3), (-4, 2), (2, -1), (1, 1), (8, 6)])
def test_blocks_move_as_what_they_show(codec, velocity):
    start = START - 5 * np.array(velocity)
    within, around = [], []
    for t, frame in enumerate(motion_vectors(moving_square(velocity, start=start)[0], codec)):
        if frame is None:
            continue
        (x, y), (left, top) = start + np.multiply(velocity, t), start + np.multiply(velocity, t - 1)
        both = slice(min(y, top), max(y, top) + SQUARE), slice(min(x, left), max(x, left) + SQUARE)
        inside, apart = inner_blocks(frame, (slice(y, y + SQUARE), slice(x, x + SQUARE)), both)
        within.append(np.abs(inside - velocity).max(axis=1))
        around.append(np.abs(apart).max(axis=1))
    assert np.mean(np.concatenate(within) < 0.26) > 0.95
    assert np.mean(np.concatenate(around) < 0.26) > 0.99


@pytest.mark.parametrize(("codec", "bound"), [("mpeg4", 0.36), ("h264", 0.1)])
def test_vectors_tell_fractions_of_a_pixel(codec, bound):
    fine = texture(8 * SIDE + 800, 8 * SIDE + 800, 3, grain=40).astype(float)
    clip = []
    for t in range(6):  # a pan of 2.25 and -1.75, drawn eight times finer
        left, top = 200 + np.array([-18, 14]) * t
        part = fine[top : top + 8 * SIDE, left : left + 8 * SIDE]
        clip.append(part.reshape(SIDE, 8, SIDE, 8, 3).mean(axis=(1, 3)))
    ways = np.concatenate([f.ways for f in motion_vectors(np.array(clip).astype(np.uint8), codec) if f])
    assert np.median(np.linalg.norm(ways - (2.25, -1.75), axis=1)) < bound


@pytest.mark.parametrize("codec", ["mpeg4", "h264"])
def test_a_cut_moves_no_intra_frame(codec):
    cut = moving_square((3, 2), 30)[0]
    cut[7:] = moving_square((2, 1), 23, square=texture(SQUARE, SQUARE, 5), ground=texture(400, 400, 6))[0]
    vectors = motion_vectors(cut, codec)
    assert [t for t, frame in enumerate(vectors) if frame is None] == [0, 12, 24]


@pytest.mark.parametrize("codec", ["mpeg4", "h264"])
def test_there_is_one_intra_frame_if_one_is_asked_for(codec):
    vectors = motion_vectors(moving_square((3, 2), 30)[0], codec, group=30)
    assert [t for t, frame in enumerate(vectors) if frame is None] == [0]


# ---- following it back

BOUNDS = {"mv": 0.5, "mv_h264": 0.7}  # share of the square's pixels that are right to a pixel


@pytest.mark.parametrize("source", BOUNDS)
@pytest.mark.parametrize("velocity", [(5, 3), (-4, 2), (2, -1), (1, 1)])
def test_the_map_is_the_way_since_the_first_frame(source, velocity):
    clip, box = moving_square(velocity, start=START - 5 * np.array(velocity))
    (found,) = motion_maps(clip, source)
    true = np.multiply(velocity, GROUP - 1)
    np.testing.assert_array_equal(np.median(found[box], axis=(0, 1)), true)
    assert np.mean(np.abs(found[box] - true).max(axis=-1) <= 1) > BOUNDS[source]
    still = np.ones((SIDE, SIDE), bool)
    rows, columns = box
    # What the square uncovers was never seen before, and what a block shares with it moves along.
    path = [
        np.minimum(0, -np.multiply(velocity, GROUP - 1)) - 16,
        np.maximum(0, -np.multiply(velocity, GROUP - 1)) + 16,
    ]
    still[
        max(rows.start + path[0][1], 0) : rows.stop + path[1][1],
        max(columns.start + path[0][0], 0) : columns.stop + path[1][0],
    ] = False
    assert np.mean(found[still] == 0) > 0.99


@pytest.mark.parametrize("source", ["mv", "mv_h264", "flow"])
def test_a_pan_moves_everything(source):
    (found,) = motion_maps(moving_square((-5, -2), pan=(-5, -2))[0], source)
    right = np.abs(found - (-55, -22)).max(axis=-1) <= 1
    assert right.mean() > 0.6


@pytest.mark.parametrize("source", ["mv", "mv_h264", "flow"])
def test_what_stands_still_and_what_has_no_texture_give_no_motion(source):
    still = np.repeat(texture(64, 64, 0)[None], 24, axis=0)
    assert not motion_maps(still, source).any()
    assert not motion_maps(np.full((12, 64, 64, 3), 90, np.uint8), source).any()


@pytest.mark.parametrize("source", SOURCES[:3])
def test_intervals_know_nothing_of_each_other(source):
    first = moving_square((4, 2))[0]
    other = moving_square((-3, 1), square=texture(SQUARE, SQUARE, 5), ground=texture(400, 400, 6))[0]
    maps = motion_maps(np.concatenate([first, other]), source)
    for found, alone in zip(maps, (first, other), strict=True):
        assert np.mean(found == motion_maps(alone, source)[0]) > 0.98


@pytest.mark.parametrize("source", ["mv", "mv_h264"])
@pytest.mark.parametrize("motion", ["left", "right", "up", "down"])
def test_maps_of_a_filmed_clip_tell_its_truth_less_what_is_below_a_pixel(source, motion):
    filming, number = PRESETS["moves"], MOTIONS.index(motion) + 12
    shot = film(filming, "test", number)
    (found, _), true = motion_maps(clip(filming, number), source), shot.motion(0, GROUP - 1)
    thing = shot.layer[GROUP - 1] == 1
    core = thing & np.roll(thing, 8, (0, 1)) & np.roll(thing, -8, (0, 1))
    axis = np.abs(true[core][0]).argmax()
    speed = true[core][0][axis] / (GROUP - 1)
    way = np.median(found[core][:, axis]) / (GROUP - 1)
    assert np.sign(way) == np.sign(speed) and abs(np.trunc(speed)) - 0.3 <= abs(way) <= abs(speed) + 0.1
    assert np.median(found[core][:, 1 - axis]) == 0
    assert np.mean(found[shot.layer[:GROUP].max(axis=0) == 0] == 0) > 0.9


def test_an_incomplete_interval_has_no_map_and_changes_no_other():
    clip = moving_square((2, 1), 35)[0]
    maps = motion_maps(clip)
    assert maps.shape == (2, SIDE, SIDE, 2) and maps.dtype == np.int16
    np.testing.assert_array_equal(motion_maps(clip[:24]), maps)


@pytest.mark.parametrize("source", ["mv", "mv_h264", "flow"])
def test_sides_may_be_odd(source):
    clip = moving_square((3, 0))[0][:, 20:171, 20:173]
    (found,) = motion_maps(clip, source)
    assert found.shape == (151, 153, 2)
    assert np.abs(np.median(found[60:100, 90:110], axis=(0, 1)) - (33, 0)).max() <= 1


def naive(vectors, height, width):
    """Pixel by pixel, in the words of the docstring."""
    origin = {(x, y): (x, y) for x in range(width) for y in range(height)}
    for boxes, ways in vectors:
        before = dict(origin)
        for (left, top, w, h), (right, down) in zip(boxes, ways, strict=True):
            step = (int(right), int(down))  # towards zero
            if step == (0, 0):
                continue
            for x in range(left, min(left + w, width)):
                for y in range(top, min(top + h, height)):
                    if (source := (x - step[0], y - step[1])) in before:
                        origin[x, y] = before[source]
    return np.array(
        [[(x - origin[x, y][0], y - origin[x, y][1]) for x in range(width)] for y in range(height)]
    )


@st.composite
def frames_of_blocks(draw):
    """Vectors of a few frames of 20 × 24 pixels, in blocks of 8 that may be cut in halves or quarters."""
    frames = []
    for _ in range(draw(st.integers(0, 4))):
        boxes = []
        for top in range(0, 20, 8):
            for left in range(0, 24, 8):
                width, height = draw(st.sampled_from([(8, 8), (4, 8), (8, 4), (4, 4)]))
                boxes += [
                    (left + x, top + y, width, height)
                    for x in range(0, 8, width)
                    for y in range(0, 8, height)
                ]
        kept = draw(st.lists(st.sampled_from(boxes), unique=True, max_size=len(boxes)))
        ways = draw(arrays(np.int64, (len(kept), 2), elements=st.integers(-30, 30))) / 4
        frames.append((kept, ways))
    return frames


@settings(max_examples=40)
@given(frames_of_blocks())
def test_following_is_what_its_docstring_says_pixel_by_pixel(frames):
    vectors = [Vectors(np.array(boxes, int).reshape(-1, 4), ways) for boxes, ways in frames]
    np.testing.assert_array_equal(accumulate(vectors, 20, 24), naive(frames, 20, 24))
    maps = followed(vectors, 20, 24, range(1, 9))
    assert list(maps) == list(range(1, len(frames) + 2))
    for length, found in maps.items():
        np.testing.assert_array_equal(found, naive(frames[: length - 1], 20, 24))


# ---- seen by a model

MAPS = arrays(np.int16, (2, 6, 8, 2), elements=st.integers(-9, 9))


@given(MAPS)
def test_a_smaller_frame_has_the_motion_of_its_pixels(maps):
    np.testing.assert_array_equal(sampled(maps, 6, 8), maps)
    larger = maps.repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(sampled(larger, 6, 8), maps)
    np.testing.assert_array_equal(sampled(maps, 18, 24), larger)


def test_energy_is_the_mean_length():
    maps = np.zeros((2, 4, 4, 2), np.int16)
    maps[0, :2] = (3, -4)
    np.testing.assert_allclose(motion_energy(maps), [2.5, 0])


# ---- the improved map


def test_an_interval_covers_the_movement_and_no_more():
    clip = np.concatenate([np.repeat(moving_square((0, 0), 1)[0], 14, axis=0), moving_square((4, 2), 10)[0]])
    maps, intervals = improved_maps(clip)
    start, length = max(zip(intervals, maps, strict=True), key=lambda pair: motion_energy(pair[1][None]))[0]
    assert start <= 13 and start + length >= 23
    (fixed,) = motion_maps(clip[:12])
    assert not fixed.any()


def test_there_and_back_is_cut_where_it_turns():
    there = moving_square((4, 0), 9)[0]
    clip = np.concatenate([there, there[-2::-1], there[1:]])  # 25 frames, turns at 8 and 16
    maps, intervals = improved_maps(clip)
    best = intervals[int(motion_energy(maps).argmax())]
    assert motion_energy(maps).max() > 1.2 * motion_energy(motion_maps(clip)).max()
    legs = [set(range(turn, turn + 9)) for turn in (0, 8, 16)]
    assert max(len(leg & set(range(best.start, sum(best)))) for leg in legs) >= 0.75 * best.length


def test_intervals_are_few_ordered_and_mostly_apart():
    maps, intervals = improved_maps(moving_square((2, 1), 36)[0])
    assert len(maps) == len(intervals) <= 3 and intervals == sorted(intervals)
    for one in intervals:
        for other in intervals:
            if one != other:
                common = set(range(one.start, sum(one))) & set(range(other.start, sum(other)))
                assert 2 * len(common) <= min(one.length, other.length)


def test_a_clip_longer_than_an_encoder_goes_without_an_intra_frame():
    still = np.repeat(moving_square((0, 0), 1)[0], 597, axis=0)
    maps, intervals = improved_maps(np.concatenate([still, moving_square((1, 1), 18)[0]]))
    energy = dict(zip(intervals, motion_energy(maps), strict=True))
    assert not any(start < 600 < start + length for start, length in intervals)
    best = max(energy, key=energy.__getitem__)
    assert best.start >= 600 and energy[best] > 0


# ---- maps made by hand


def test_handcrafted_maps_have_the_values_they_are_named_for():
    drawn = u_sample(3, 20, 30, top=7, seed=1)
    assert drawn.dtype == np.int16 and drawn.shape == (3, 20, 30, 2)
    counts = np.bincount(drawn.ravel())
    assert len(counts) == 8 and np.abs(counts / counts.sum() - 1 / 8).max() < 0.03
    assert (u_sample(3, 20, 30, seed=1) != u_sample(3, 20, 30, seed=2)).any()
    ordered = s_value(2, 20, 30, top=7)
    assert ordered.dtype == np.int16 and ordered.shape == (2, 20, 30, 2)
    assert (np.diff(ordered[0, ..., 0].ravel()) >= 0).all() and ordered.min() == 0 and ordered.max() == 7
    np.testing.assert_array_equal(ordered[0], ordered[1])


# ---- what is refused


@pytest.mark.parametrize(
    ("clip", "said"),
    [
        (np.zeros((12, 32, 32, 3)), "float64"),
        (np.zeros((12, 32, 32), np.uint8), r"\(12, 32, 32\)"),
        (np.zeros((12, 3, 32, 32), np.uint8), r"\(12, 3, 32, 32\)"),
        (np.zeros((3, 32, 32, 3), np.uint8), "3 frames, motion maps need 12"),
        (np.zeros((12, 8, 32, 3), np.uint8), "8 × 32 pixels"),
        ([[0]], "a list, expected an array"),
    ],
)
@pytest.mark.parametrize("call", [motion_maps, improved_maps])
def test_what_is_no_clip_is_refused(call, clip, said):
    with pytest.raises(ValueError, match=said):
        call(clip)


@pytest.mark.parametrize("top", [-1, 7.5, 40_000, np.nan])
@pytest.mark.parametrize("call", [s_value, u_sample])
def test_a_top_that_16_bits_do_not_hold_is_refused(call, top):
    with pytest.raises(ValueError, match=f"top = {top}, expected a whole number"):
        call(1, 4, 4, top=top)


def test_one_map_is_no_stack_of_maps():
    with pytest.raises(
        ValueError, match=r"maps have shape \(64, 48, 2\), expected \(n_maps, height, width, 2\)"
    ):
        sampled(np.zeros((64, 48, 2), np.int16), 32, 32)


@pytest.mark.parametrize("group", [0, -3, 2.5])
def test_a_group_of_no_frames_is_refused(group):
    with pytest.raises(ValueError, match=f"group = {group}, expected a whole number from 1"):
        motion_vectors(np.zeros((12, 32, 32, 3), np.uint8), group=group)


def test_an_intra_frame_cannot_be_followed():
    vectors = motion_vectors(np.zeros((14, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r"vectors\[0\] is None, an intra frame's"):
        accumulate(vectors, 32, 32)
    with pytest.raises(ValueError, match=r"vectors\[11\] is None, an intra frame's"):
        accumulate(vectors[1:], 32, 32)
    assert not accumulate(vectors[1:12], 32, 32).any()


def test_sources_and_codecs_are_named_in_the_refusal():
    clip = np.zeros((12, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match=", ".join(SOURCES)):
        motion_maps(clip, "vp9")
    with pytest.raises(ValueError, match="mpeg4, h264"):
        motion_vectors(clip, "vp9")
