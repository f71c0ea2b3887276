"""Films: they show the motion they are said to show, the same everywhere, and a frame tells only what it should."""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from thesislib.datasets import DatasetError, fingerprint, load_clips, load_images, moving
from thesislib.datasets.catalogue import available
from thesislib.datasets.moving import MOTIONS, PRESETS, Filming, clip, film, shown

SMALL = dataclasses.replace(PRESETS["moves"], train=2, test=1, length=12)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path))


def number_of(motion):
    return MOTIONS.index(motion)  # class k of "moves" moves like motion k, and classes take turns


def test_the_catalogue_lists_every_preset_and_counts_it():
    drawn = [entry for entry in available() if entry.drawn_by == "moving.py"]
    assert [entry.name for entry in drawn] == list(PRESETS)
    for entry in drawn:
        filming = PRESETS[entry.name]
        assert entry.counts == {
            "train clips": filming.train * filming.classes,
            "test clips": filming.test * filming.classes,
            "classes": filming.classes,
        }
        assert f"{filming.length} frames of {filming.side} × {filming.side}" in entry.size


@pytest.mark.parametrize(
    ("motion", "sign"), [("left", (-1, 0)), ("right", (1, 0)), ("up", (0, -1)), ("down", (0, 1))]
)
def test_things_go_where_their_class_says_at_a_speed_of_the_range(motion, sign):
    shot = film(PRESETS["moves"], "test", number_of(motion))
    for start, stop in ((0, 1), (3, 14), (14, 3)):
        way = shot.motion(start, stop)
        thing = shot.layer[stop] == 1
        np.testing.assert_allclose(way[thing] - way[thing][0], 0, atol=1e-9)
        speed = way[thing][0] / (stop - start)
        assert (np.sign(speed.round(9)) == sign).all() and 1.2 <= np.abs(speed).max() <= 3.6
        assert not way[shot.layer[stop] == 0].any()


@pytest.mark.parametrize(("part", "number"), [("val", 0), ("test", -1)])
def test_a_clip_that_there_is_not(part, number):
    with pytest.raises(ValueError, match="expected train or test, and 0 or more"):
        film(PRESETS["moves"], part, number)


def test_growing_and_turning_have_their_sense():
    nearer, clockwise = (film(PRESETS["moves"], "test", number_of(m)) for m in ("nearer", "clockwise"))
    size = (nearer.layer == 1).sum(axis=(1, 2))
    assert (np.diff(size) > 0).all() and size[-1] > 1.5 * size[0]
    thing = clockwise.layer[1] == 1
    rows, columns = np.nonzero(thing)
    x, y = columns - columns.mean(), rows - rows.mean()
    way = clockwise.motion(0, 1)[thing]
    assert np.corrcoef(way[:, 0], -y)[0, 1] > 0.99 and np.corrcoef(way[:, 1], x)[0, 1] > 0.99


def test_a_shake_comes_back_and_what_is_still_stays():
    shake = film(PRESETS["moves"], "test", number_of("shake"))
    thing = shake.layer[moving.PERIOD] == 1
    np.testing.assert_allclose(shake.motion(0, moving.PERIOD)[thing], 0, atol=1e-9)
    assert np.abs(shake.motion(0, moving.PERIOD // 2)[shake.layer[moving.PERIOD // 2] == 1]).max() > 4
    still = film(PRESETS["moves"], "test", number_of("still"))
    assert (still.frames == still.frames[0]).all() and not still.motion(0, 23).any()


@pytest.mark.parametrize("name", PRESETS)
def test_the_truth_about_motion_agrees_with_the_pixels(name):
    shots = (film(PRESETS[name], "test", k) for k in range(12))
    shot = next(shot for shot in shots if np.abs(shot.motion(5, 7)).max() > 2)
    way, side = shot.motion(5, 7), shot.frames.shape[1]
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    x, y = columns - way[..., 0].astype(np.float32), rows - way[..., 1].astype(np.float32)
    fetched = cv2.remap(shot.frames[5], x, y, cv2.INTER_LINEAR)
    layer = cv2.remap(shot.layer[5].astype(np.uint8), x, y, cv2.INTER_NEAREST, borderValue=9)
    visible = layer == shot.layer[7]  # in both frames
    error, unmoved = (
        np.abs(each.astype(int) - shot.frames[7]).mean(axis=-1)[visible & (np.abs(way).max(axis=-1) > 1)]
        for each in (fetched, shot.frames[5])
    )
    assert error.size > 500 and error.mean() < 0.4 * unmoved.mean()


def test_the_codec_keeps_the_picture_but_not_exactly():
    error = np.abs(clip(SMALL, 0).astype(int) - film(SMALL, "test", 0).frames)
    assert 0.5 < error.mean() < 4


def test_the_ground_pans_where_it_is_said_to():
    pans = [film(PRESETS["moves_panning"], "test", k).motion(0, 1) for k in range(20)]
    speeds = np.array([np.linalg.norm(way[0, 0]) for way in pans])
    limit = PRESETS["moves_panning"].pan
    assert (0.4 * limit <= speeds).all() and (speeds <= limit).all()


def test_two_processes_film_the_same():
    code = (
        "import dataclasses, hashlib; from thesislib.datasets.moving import PRESETS, film, clip; "
        "small = dataclasses.replace(PRESETS['moves'], length=12); "
        "print(hashlib.sha256(film(small, 'train', 5).frames.tobytes() + clip(small, 5).tobytes()).hexdigest())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = film(SMALL, "train", 5).frames.tobytes() + clip(SMALL, 5).tobytes()
    assert found.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_no_clip_comes_twice_and_the_parts_differ():
    clips = np.concatenate([shown(SMALL, "train", 24, 4, 16), shown(SMALL, "test", 24, 4, 16)])
    assert len(np.unique(clips.reshape(48, -1), axis=0)) == 48


def test_a_set_is_what_its_films_show():
    clips = load_clips("moves", frames=4, size=16, train=1, test=1)
    assert clips.train_clips.shape == clips.test_clips.shape == (12, 4, 16, 16, 3)
    assert clips.classes == MOTIONS and clips.test_labels.tolist() == list(range(12))
    whole = clips.whole(3)
    assert whole.shape == (24, 128, 128, 3) and whole.dtype == np.uint8
    # A frame as the model sees it is the whole one's, 8 × 8 pixels to one; the first of four is frame 3 of 24.
    mean = whole[3].reshape(16, 8, 16, 8, 3).mean(axis=(1, 3))
    assert np.abs(mean - clips.test_clips[3, 0]).max() <= 1


def test_frames_of_a_training_clip_are_those_a_model_sees_of_the_whole_film():
    whole = film(SMALL, "train", 7).frames
    chosen = film(SMALL, "train", 7, np.array([2, 9])).frames
    np.testing.assert_array_equal(chosen, whole[[2, 9]])


def test_one_frame_tells_the_class_where_looks_do_and_a_part_of_it_where_motion_does():
    def accuracy(name):
        """From the colours of the ground and of what differs from it most, learnt on half of the clips."""
        filming = PRESETS[name]
        clips = shown(filming, "train", 40 * filming.classes, 1, 16)
        pixels = clips.reshape(len(clips), -1, 3) / 255
        ground = np.median(pixels, axis=1, keepdims=True)
        far = pixels - ground
        weight = np.square(far - far.mean(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True) ** 2
        ink = (weight * far).sum(axis=1) / weight.sum(axis=1)
        features = np.concatenate(
            [ground[:, 0] - ground.mean(axis=(1, 2))[:, None], ink, ink - ink.mean(axis=1, keepdims=True)],
            axis=1,
        )
        labels, half = np.arange(len(clips)) % filming.classes, len(clips) // 2
        forest = RandomForestClassifier(100, random_state=0).fit(features[:half], labels[:half])
        return forest.score(features[half:], labels[half:])

    looks, moves = accuracy("looks"), accuracy("moves")
    assert looks > 0.55 and 2 / 12 < moves < 0.45


def test_the_fingerprint_is_of_the_code_and_another_loader_says_which_to_use():
    assert fingerprint("moves") == hashlib.sha256(Path(moving.__file__).read_bytes()).hexdigest()
    with pytest.raises(DatasetError, match="use load_clips"):
        load_images("moves")
    with pytest.raises(DatasetError, match="use load_images"):
        load_clips("glyphs")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"motions": ("left", "sideways")}, "sideways"),
        ({"classes": 1}, "classes = 1"),
        ({"length": 1}, "length = 1"),
        ({"side": 127}, "side = 127"),
        ({"look_tells": 1.5}, "look_tells = 1.5"),
        ({"radius": (30.0, 20.0)}, r"radius = \(30.0, 20.0\)"),
    ],
)
def test_an_impossible_film_is_refused(changes, said):
    with pytest.raises(DatasetError, match=said):
        dataclasses.replace(SMALL, **changes)


def test_presets_differ_in_what_matters():
    motion = [p for p in PRESETS.values() if p.motion_tells == 1]
    looks = [p for p in PRESETS.values() if p.look_tells == 1]
    assert len(motion) == len(looks) == 2
    for one, other in (motion, looks):
        assert (
            one.classes != other.classes and one.length != other.length and (one.pan == 0) != (other.pan == 0)
        )
    assert isinstance(motion[0], Filming)
