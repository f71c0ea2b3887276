"""Real clips: shown only where their source permits it, and nothing is missed where there are none."""

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from thesislib.datasets.clips import whole_clip
from thesislib.datasets.moving import CODEC, PRESETS, QUANTISER, film
from thesislib.datasets.video import encode
from thesislib.motion_sampler import real_clips as module
from thesislib.motion_sampler.motion_map import motion_energy, motion_maps
from thesislib.motion_sampler.real_clips import GRID, SIDE, RealClip, keep, kept, real_clips

VIDEO = Path(os.environ.get("THESISLIB_DATA") or os.devnull) / "video"


def test_without_data_there_are_none(monkeypatch, tmp_path):
    monkeypatch.delenv("THESISLIB_DATA", raising=False)
    assert real_clips() == []
    monkeypatch.setenv("THESISLIB_DATA", str(tmp_path))
    assert real_clips() == []


def test_frames_are_shown_of_known_content_only(monkeypatch, tmp_path):
    monkeypatch.setenv("THESISLIB_DATA", str(tmp_path))
    (tmp_path / "video" / "some").mkdir(parents=True)
    streams = [encode(film(PRESETS["moves"], "test", k).frames, CODEC, {}, QUANTISER) for k in (0, 1)]
    for name, stream in zip(("known.mkv", "unknown.mkv"), streams, strict=True):
        (tmp_path / "video" / "some" / name).write_bytes(stream)
    (tmp_path / "video" / "damaged.mp4").write_bytes(b"no video")
    (tmp_path / "video" / "notes.txt").write_text("no video either")
    print_ = hashlib.sha256(streams[0]).hexdigest()[:16]
    monkeypatch.setattr(module, "SHOWABLE", {print_: ("a thing", "somebody, MIT")})
    with pytest.warns(UserWarning, match=r"1 of 3 clips passed over, first: .*damaged\.mp4"):
        known, unknown = real_clips()
    assert (known.title, known.source, unknown.title, unknown.source) == (
        *("a thing", "somebody, MIT"),
        *("unknown", ""),
    )
    assert unknown.frame is None and known.frame.shape == (SIDE, SIDE, 3)
    assert known.motion.shape == unknown.motion.shape == (GRID, GRID, 2)
    filmed = film(PRESETS["moves"], "test", 0).frames
    energies = motion_energy(motion_maps(whole_clip(tmp_path / "video" / "some" / "known.mkv")))
    assert known.energy == energies.max()
    last = filmed[12 * (energies.argmax() + 1) - 1]
    away = [np.abs(known.frame.astype(int) - cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA)).mean()
            for f in (last, filmed[0])]  # fmt: skip
    assert away[0] < 4 < away[1]


def test_kept_clips_come_back_and_only_a_frame_that_may_be_shown_is_written(tmp_path):
    generator = np.random.default_rng(0)
    vectors = generator.integers(-40, 40, (2, GRID, GRID, 2)).astype(np.int16)
    ramp = np.stack(np.broadcast_arrays(*np.ogrid[0:224:2, 0:224:2], 100), axis=-1).astype(np.uint8)
    clips = [
        RealClip("a thing, seen", "somebody, MIT", ramp, vectors[0], 1.25),
        RealClip("é", "", None, vectors[1], 0.5),
    ]
    keep(clips, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.jpg", "clips.json"]
    for clip, back in zip(clips, kept(tmp_path), strict=True):
        assert (clip.title, clip.source, clip.energy) == (back.title, back.source, back.energy)
        assert np.array_equal(clip.motion, back.motion)
    first, second = kept(tmp_path)
    assert second.frame is None and np.abs(first.frame.astype(int) - ramp).mean() < 4
    assert kept(tmp_path / "nowhere") == []


def test_committed_clips_are_whole_licensed_and_move():
    clips = kept(Path(__file__).parents[2] / "data" / "recorded" / "ch3")
    assert len(clips) >= 5
    for clip in clips:
        assert (clip.frame is not None) == clip.source.endswith(("Apache-2.0", "MIT"))
        assert clip.motion.shape == (GRID, GRID, 2) and clip.energy > 0.05


@pytest.mark.skipif(not VIDEO.is_dir(), reason="no real clips under THESISLIB_DATA/video")
def test_real_clips_move_and_codecs_agree_on_where():
    clips = real_clips()
    assert any(clip.source for clip in clips)
    for clip in clips:
        assert (clip.frame is not None) == clip.source.endswith(("Apache-2.0", "MIT"))
        assert clip.energy > 0.05
    frames = whole_clip(next(file for file in sorted(VIDEO.rglob("*")) if file.suffix == ".mp4"))
    ways = [
        np.linalg.norm(motion_maps(frames, source).astype(float), axis=-1).ravel()
        for source in ("mv", "mv_h264")
    ]
    assert np.corrcoef(*ways)[0, 1] > 0.3
