"""Clips from files: publishers' layouts in miniature, and what comes of damaged, odd and misnamed ones."""

import json
import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from thesislib.datasets import DatasetError, fingerprint, load_clips
from thesislib.datasets.clip_lists import holds_clips, listing
from thesislib.datasets.clips import SPAN, whole_clip
from thesislib.datasets.video import decode, encode, instants, seen, steady_frames

CODECS = {".avi": "mpeg4", ".mp4": "libx264", ".webm": "libvpx", ".mkv": "libx264"}


@pytest.fixture(autouse=True)
def no_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(path, count=16, height=48, width=64, times=None, seed=0, options=None):
    """A video whose frame t is grey of value 8 t, or more exactly of that and a texture that stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texture = (
        np.random.default_rng(seed).integers(0, 8, (height // 8, width // 8, 1)).repeat(8, 0).repeat(8, 1)
    )
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(CODECS[path.suffix], rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.bit_rate = 4_000_000
        for t in range(count):
            grey = np.repeat(
                np.pad(texture, ((0, height % 8), (0, width % 8), (0, 0)), "edge") + 8 * t, 3, axis=2
            )
            frame = av.VideoFrame.from_ndarray(grey.astype(np.uint8), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[t], Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def instants_shown(clip):
    return np.rint((clip.mean(axis=(1, 2, 3)) - 3.5) / 8).astype(int).tolist()


# ---- one file


@pytest.mark.parametrize("suffix", CODECS)
def test_a_file_comes_back_frame_by_frame(tmp_path, suffix):
    path = write(tmp_path / f"clip{suffix}", 16)
    clip = whole_clip(path)
    assert clip.shape == (16, 48, 48, 3) and clip.dtype == np.uint8
    assert instants_shown(clip) == list(range(16))


def test_of_a_long_clip_the_middle_is_used(tmp_path):
    times = instants_shown(whole_clip(write(tmp_path / "long.mp4", SPAN + 11, 16, 16)))
    # Grey values end at 255, so the later frames cannot be told apart.
    assert len(times) == SPAN and times[:20] == list(range(5, 25))


def test_the_central_square_is_used(tmp_path):
    path = write(tmp_path / "wide.mp4", 3, 48, 80)
    np.testing.assert_array_equal(whole_clip(path), decode(path)[:, :, 16:64])
    path = write(tmp_path / "tall.mp4", 3, 80, 48)
    np.testing.assert_array_equal(whole_clip(path), decode(path)[:, 16:64])


def test_odd_sides_are_no_trouble(tmp_path):
    path = tmp_path / "odd.gif"
    frames = np.random.default_rng(0).integers(0, 256, (4, 33, 35, 3), dtype=np.uint8)
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    assert whole_clip(path).shape == (4, 33, 33, 3)


def test_a_frame_stands_until_the_next_one_is_due(tmp_path):
    path = write(tmp_path / "varies.mkv", 8, times=[0, 1, 2, 3, 8, 9, 10, 11])
    assert steady_frames(path).tolist() == [0, 1, 2, 3, 3, 3, 3, 3, 4, 5, 6, 7]
    assert instants_shown(whole_clip(path)) == [0, 1, 2, 3, 3, 3, 3, 3, 4, 5, 6, 7]
    assert steady_frames(write(tmp_path / "steady.mkv", 8)).tolist() == list(range(8))


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def audio(path):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    return path


DAMAGED = {
    "empty": (lambda d: (d / "a.mp4").touch() or d / "a.mp4", "cannot be read as a video: it is empty"),
    "missing": (lambda d: d / "none.mp4", "is not there"),
    "folder": (lambda d: d, "is not there, or no file"),
    "text": (
        lambda d: (d / "a.avi").write_text("no video " * 99) and d / "a.avi",
        "cannot be read as a video",
    ),
    "sound": (lambda d: audio(d / "a.wav"), "holds audio, expected a video"),
    "no index": (lambda d: cut(write(d / "a.mp4", 30), 0.5), "cannot be read as a video"),
    "cut short": (
        lambda d: cut(write(d / "a.mp4", 60, options={"movflags": "faststart"}), 0.6),
        "a.mp4 (is cut short: it promises 60|cannot be read)",
    ),
    "matroska cut short": (
        lambda d: cut(write(d / "a.mkv", 60), 0.5),
        r"a\.mkv (is cut short: it promises 2\.4 s and has|cannot be read)",
    ),
    "avi cut short": (
        lambda d: cut(write(d / "a.avi", 60), 0.5),
        "a.avi (is cut short: it promises 60|cannot be read)",
    ),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_told_with_the_name_of_the_file(tmp_path, kind):
    make, said = DAMAGED[kind]
    path = make(tmp_path)
    with pytest.raises(DatasetError, match=said) as error:
        whole_clip(path)
    assert str(path) in str(error.value)


def test_too_few_frames_are_refused_with_both_numbers(tmp_path):
    with pytest.raises(DatasetError, match=r"short\.mp4 has 3 frames, expected 16 or more"):
        whole_clip(write(tmp_path / "short.mp4", 3), least=16)


def test_there_is_no_frame_after_the_last():
    stream = encode(np.zeros((4, 32, 32, 3), np.uint8), "mpeg4", {})
    assert len(decode(stream, 2)) == 2 and len(decode(stream, 1, 3)) == 2
    with pytest.raises(DatasetError, match="no frame 4"):
        decode(stream, 4)


@pytest.mark.parametrize(("length", "frames"), [(24, 8), (36, 8), (64, 32), (12, 12), (30, 7)])
def test_frames_are_in_the_middles_of_equal_parts(length, frames):
    chosen = instants(length, frames)
    assert len(chosen) == frames and (np.diff(chosen) > 0).all()
    centres = (np.arange(frames) + 0.5) * length / frames
    assert (np.abs(chosen + 0.5 - centres) <= 0.5).all()


def test_what_a_model_sees_is_the_mean_over_each_pixels_area():
    whole = np.random.default_rng(0).integers(0, 256, (6, 24, 24, 3), dtype=np.uint8)
    expected = whole[[1, 4]].reshape(2, 8, 3, 8, 3, 3).mean(axis=(2, 4))
    assert np.abs(seen(whole, 2, 8) - expected).max() <= 0.5 + 1e-9
    for clip, frames, size in ((whole, 0, 8), (whole, 2, -1), (whole[:0], 2, 8)):
        with pytest.raises(ValueError, match="expected 1 or more of each"):
            seen(clip, frames, size)
    with pytest.raises(DatasetError, match="train = -1; expected 0 or more"):
        load_clips("moves", train=-1)


# ---- a folder of them, as published


def ucf101(folder):
    lists = folder / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\n2 Archery\n")
    train = [f"{c}/v_{c}_g0{g}_c01.avi" for c in ("ApplyEyeMakeup", "Archery") for g in (8, 9)]
    test = [f"{c}/v_{c}_g01_c01.avi" for c in ("ApplyEyeMakeup", "Archery")]
    (lists / "trainlist01.txt").write_text("".join(f"{f} {1 + ('Arch' in f)}\r\n" for f in train))
    (lists / "testlist01.txt").write_text("".join(f"{f}\r\n" for f in test))
    for k, file in enumerate(train + test):
        write(folder / "UCF-101" / file, seed=k)
    return ("ApplyEyeMakeup", "Archery"), 4, 2


def hmdb51(folder):
    lists = folder / "testTrainMulti_7030_splits"
    lists.mkdir(parents=True)
    for name in ("brush_hair", "wave"):
        rows = {f"{name}_{k}.avi": part for k, part in enumerate((1, 1, 2, 0))}
        (lists / f"{name}_test_split1.txt").write_text("".join(f"{f} {p} \n" for f, p in rows.items()))
        (lists / f"{name}_test_split2.txt").write_text("".join(f"{f} 2 \n" for f in rows))
        for file in rows:
            write(folder / "hmdb51_org" / name / file)
    return ("brush_hair", "wave"), 4, 2


def kinetics400(folder):
    (folder / "annotations").mkdir(parents=True)
    classes = ("abseiling", "air drumming")
    for split, count in (("train", 2), ("val", 1)):
        rows = ["label,youtube_id,time_start,time_end,split"]
        for k, name in enumerate(classes):
            for n in range(count):
                video = f"-id_{split}{k}{n}"
                rows.append(f"{name},{video},{7 * n},{7 * n + 10},{split}")
                home = folder / split / (name.replace(" ", "_") if n else "")
                write(home / f"{video}_{7 * n:06}_{7 * n + 10:06}.mp4")
        (folder / "annotations" / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return classes, 4, 2


def sthsth_v2(folder):
    (folder / "labels").mkdir(parents=True)
    names = ("Putting something on a surface", "Approaching something with your camera")
    (folder / "labels" / "labels.json").write_text(json.dumps({names[1]: "1", names[0]: "0"}))
    number = 100
    for split, count in (("train", 2), ("validation", 1)):
        rows = []
        for name in names:
            for _ in range(count):
                template = name.replace("something", "[something]")
                rows.append(
                    {"id": str(number), "label": name, "template": template, "placeholders": ["a cup"]}
                )
                write(folder / "20bn-something-something-v2" / f"{number}.webm")
                number += 1
        (folder / "labels" / f"{split}.json").write_text(json.dumps(rows))
    return names, 4, 2


def tree(folder):
    for split, count in (("train", 2), ("test", 1)):
        for name in ("fall", "jump"):
            for k in range(count):
                write(folder / split / name / f"{k}.mp4")
        (folder / split / "jump" / ".DS_Store").touch()
    return ("fall", "jump"), 4, 2


PUBLISHED = {"ucf101": ucf101, "hmdb51": hmdb51, "kinetics400": kinetics400, "sthsth_v2": sthsth_v2}


@pytest.mark.parametrize("make", [*PUBLISHED.values(), tree])
def test_a_layout_is_read_with_its_classes_and_parts(tmp_path, make):
    classes, train, test = make(tmp_path / "set")
    clips = load_clips(tmp_path / "set", frames=4, size=16)
    assert clips.classes == classes and not clips.skipped
    assert clips.train_clips.shape == (train, 4, 16, 16, 3) and clips.test_clips.shape == (test, 4, 16, 16, 3)
    assert np.bincount(clips.train_labels).tolist() == [2, 2] and sorted(clips.test_labels) == [0, 1]
    for k in range(test):
        np.testing.assert_array_equal(seen(clips.whole(k), 4, 16), clips.test_clips[k])


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_set_goes_by_its_name(monkeypatch, tmp_path, name):
    monkeypatch.setenv("THESISLIB_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=f"{name}: no {name}/.* under THESISLIB_DATA"):
        load_clips(name)
    PUBLISHED[name](tmp_path / name)
    clips = load_clips(name, frames=2, size=8, train=0, test=1)
    assert clips.name == name and len(clips.test_clips) == 2 and clips.train_clips.shape == (0, 2, 8, 8, 3)
    assert fingerprint(name) == fingerprint(tmp_path / name)


def test_so_many_of_each_class_are_drawn_and_always_the_same(tmp_path):
    tree(tmp_path)
    for k in range(2, 8):
        write(tmp_path / "train" / "fall" / f"{k}.mp4", seed=k)
    clips = load_clips(tmp_path, frames=2, size=8, train=3)
    assert np.bincount(clips.train_labels).tolist() == [3, 2]
    np.testing.assert_array_equal(
        load_clips(tmp_path, frames=2, size=8, train=3).train_clips, clips.train_clips
    )


def test_clips_read_once_are_kept_until_a_file_changes(tmp_path, monkeypatch):
    tree(tmp_path)
    first = load_clips(tmp_path, frames=2, size=8)
    monkeypatch.setattr("thesislib.datasets.clips.seen", None)  # not to be called again
    again = load_clips(tmp_path, frames=2, size=8)
    np.testing.assert_array_equal(first.test_clips, again.test_clips)
    assert again.whole(0).shape == (16, 48, 48, 3)
    write(tmp_path / "test" / "fall" / "0.mp4", 20)
    with pytest.raises(TypeError):
        load_clips(tmp_path, frames=2, size=8)


def test_bad_clips_are_reported_and_left_out(tmp_path):
    ucf101(tmp_path)
    videos = tmp_path / "UCF-101"
    (videos / "Archery" / "v_Archery_g08_c01.avi").write_bytes(b"")
    (videos / "ApplyEyeMakeup" / "v_ApplyEyeMakeup_g09_c01.avi").unlink()
    with pytest.warns(UserWarning, match="2 clips are listed and left out") as caught:
        clips = load_clips(tmp_path, frames=4, size=16)
    assert np.bincount(clips.train_labels).tolist() == [1, 1]
    assert len(clips.skipped) == 2 and "g09_c01.avi is not there" in " ".join(clips.skipped)
    assert clips.skipped[0] in str(caught[0].message)


def test_another_of_its_class_takes_a_bad_clips_place(tmp_path):
    tree(tmp_path)
    for part in ("train", "test"):
        for k in range(6):
            (tmp_path / part / "jump" / f"bad{k}.mp4").write_bytes(b"")
    with pytest.warns(UserWarning, match="clips are listed and left out"):
        clips = load_clips(tmp_path, frames=4, size=16, train=1, test=1)
    assert np.bincount(clips.train_labels).tolist() == np.bincount(clips.test_labels).tolist() == [1, 1]


def test_a_test_clip_too_short_for_a_motion_map_is_left_out(tmp_path):
    tree(tmp_path)
    write(tmp_path / "test" / "fall" / "short.mp4", 11)
    with pytest.warns(UserWarning, match=r"short\.mp4 has 11 frames, expected 12 or more"):
        clips = load_clips(tmp_path, frames=4, size=16)
    assert len(clips.test_clips) == 2


def test_nothing_to_read_is_an_error(tmp_path):
    tree(tmp_path)
    for file in (tmp_path / "test").glob("*/*.mp4"):
        file.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"none of 2 clips under .* can be read: .* it is empty"):
        load_clips(tmp_path, frames=4, size=16)


@pytest.mark.parametrize(
    ("make", "file", "content", "said"),
    [
        (ucf101, "ucfTrainTestlist/classInd.txt", "1 Archery\n", "class 'ApplyEyeMakeup', which .*classInd.txt"),
        (ucf101, "ucfTrainTestlist/classInd.txt", "", "classInd.txt is empty"),
        (ucf101, "ucfTrainTestlist/classInd.txt", "Archery\n", "line 'Archery', expected 2 words"),
        (ucf101, "ucfTrainTestlist/testlist01.txt", None, "testlist01.txt cannot be read"),
        (hmdb51, "testTrainMulti_7030_splits/wave_test_split1.txt", "a.avi 3\n", "part '3', expected 0, 1 or 2"),
        (kinetics400, "annotations/val.csv", "label,video\nx,y\n", "val.csv has not the columns label"),
        (kinetics400, "annotations/val.csv", "label,youtube_id,time_start,time_end\nski,a,1,2\n", "class 'ski'"),
        (sthsth_v2, "labels/train.json", '[{"id": "1"', "train.json is no JSON, or cut short"),
        (sthsth_v2, "labels/labels.json", "{}", "class 'Putting something on a surface', which .*labels.json"),
    ],
)  # fmt: skip
def test_a_list_that_does_not_fit_is_named(tmp_path, make, file, content, said):
    make(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(DatasetError, match=said):
        load_clips(tmp_path)


def test_a_class_of_one_part_only_is_named(tmp_path):
    tree(tmp_path)
    write(tmp_path / "test" / "swim" / "0.mp4")
    with pytest.raises(DatasetError, match="class swim has clips in only one of"):
        load_clips(tmp_path)


def test_a_folder_of_something_else_is_refused_with_what_would_do(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "0.png").touch()
    assert not holds_clips(tmp_path)
    with pytest.raises(DatasetError, match=r"expected train/<class>/\*\.mp4 .* UCF-101"):
        load_clips(tmp_path)
    with pytest.raises(DatasetError, match=r"no data set 'no_such'.* moves_panning"):
        load_clips("no_such")


@pytest.mark.parametrize("asked", [{"frames": 0}, {"size": 0}, {"test": 0}])
def test_nothing_of_something_is_refused(asked):
    (name,) = asked
    with pytest.raises(DatasetError, match=f"{name} = 0, expected 1 or more"):
        load_clips("moves", **asked)


def test_a_fingerprint_changes_with_lists_and_clips_and_not_with_the_place(tmp_path):
    for name in ("one", "other"):
        ucf101(tmp_path / name)
    before = fingerprint(tmp_path / "one")
    assert before == fingerprint(tmp_path / "other")
    write(tmp_path / "one" / "UCF-101" / "Archery" / "v_Archery_g01_c01.avi", 20)
    assert fingerprint(tmp_path / "one") != before
    (tmp_path / "other" / "ucfTrainTestlist" / "classInd.txt").write_text("1 ApplyEyeMakeup\n2 Archery\n\n")
    assert fingerprint(tmp_path / "other") != before


def test_of_hmdb_split_1_is_read_and_what_is_in_no_part_is_left(tmp_path):
    hmdb51(tmp_path)
    found = listing(tmp_path)
    assert [file.name for file, _ in found.test] == ["brush_hair_2.avi", "wave_2.avi"]
    assert all(file.is_file() for file, _ in found.train + found.test)
