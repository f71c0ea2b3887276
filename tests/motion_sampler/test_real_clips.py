"""Real clips: shown only where their source permits it, and nothing is missed where there are none."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from thesislib.datasets.clips import whole_clip
from thesislib.datasets.moving import CODEC, PRESETS, QUANTISER, film
from thesislib.datasets.video import encode
from thesislib.motion_sampler import real_clips as module
from thesislib.motion_sampler.motion_map import motion_energy, motion_maps
from thesislib.motion_sampler.real_clips import real_clips

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
    known, unknown = real_clips()
    assert (known.title, known.source, unknown.title, unknown.source) == (
        *("a thing", "somebody, MIT"),
        *("unknown", ""),
    )
    assert unknown.frames is None and known.frames.shape == (2, 128, 128, 3)
    assert known.maps.shape == unknown.maps.shape == (2, 128, 128, 2)
    assert np.abs(known.frames[1].astype(int) - film(PRESETS["moves"], "test", 0).frames[23]).mean() < 4


@pytest.mark.skipif(not VIDEO.is_dir(), reason="no real clips under THESISLIB_DATA/video")
def test_real_clips_move_and_codecs_agree_on_where():
    clips = real_clips()
    assert any(clip.source for clip in clips)
    for clip in clips:
        assert (clip.frames is not None) == clip.source.endswith(("Apache-2.0", "MIT"))
        assert motion_energy(clip.maps).max() > 0.05
    frames = whole_clip(next(file for file in sorted(VIDEO.rglob("*")) if file.suffix == ".mp4"))
    ways = [
        np.linalg.norm(motion_maps(frames, source).astype(float), axis=-1).ravel()
        for source in ("mv", "mv_h264")
    ]
    assert np.corrcoef(*ways)[0, 1] > 0.3
