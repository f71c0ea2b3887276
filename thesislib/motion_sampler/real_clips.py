"""Motion of a few real clips, to be shown beside the filmed ones (fig. 3.3, 3.6, 3.7).

Too few to train or to attack anything with. They are sought under ``THESISLIB_DATA/video`` and known by their
content, so that frames are shown only of clips whose source permits it; of others only the motion is. What was
found can be kept, small enough to be committed, for those who have no clips.

Thesis, section 3.3.2.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from thesislib.datasets.catalogue import VARIABLE, DatasetError
from thesislib.datasets.clip_lists import SUFFIXES
from thesislib.datasets.clips import whole_clip
from thesislib.memo import write_atomic
from thesislib.motion_sampler.codec import GROUP
from thesislib.motion_sampler.motion_map import motion_energy, motion_maps, sampled

# By the first 16 digits of the file's SHA-256: what it shows, and the source that carries the licence.
MMACTION, DECORD = "open-mmlab/mmaction2, Apache-2.0", "dmlc/decord, Apache-2.0"
ART = "Trusted-AI/adversarial-robustness-toolbox, MIT"
SHOWABLE = {
    "071e60535eaf0aed": ("arm wrestling (Kinetics-400)", MMACTION),
    "38eff15224f44090": ("cleaning a pool (Kinetics-400)", MMACTION),
    "019048c7c7e6ceb3": ("cleaning a pool, one second (Kinetics-400)", MMACTION),
    "ed105408e9bf71c2": ("basketball (Kinetics-400)", MMACTION),
    "56279fa0f498d4fe": ("flipping a pancake (Kinetics-400)", DECORD),
    "c84fac0c02dc6d04": ("basketball, in 256 colours (Kinetics-400)", ART),
    "cc3ebb11e80d2900": ("applying eye make-up (UCF-101)", MMACTION),
}


SIDE, GRID = 84, 28
"""Pixels of a frame and vectors of a map as they are shown, along one side."""


@dataclass(frozen=True, eq=False)
class RealClip:
    """The interval of a real clip that has the most motion.

    Attributes
    ----------
    title : str
        What the clip shows; the file's name where that is not known.
    source : str
        Who published it under which licence; empty where frames may not be shown.
    frame : array of uint8, shape (SIDE, SIDE, 3), or None
        The last of the interval, which the map belongs to.
    motion : array of int16, shape (GRID, GRID, 2)
        The map at every few pixels; displacements in pixels of the clip as recorded.
    energy : float
        `motion_energy` of the whole map.
    """

    title: str
    source: str
    frame: np.ndarray | None
    motion: np.ndarray
    energy: float


def real_clips() -> list[RealClip]:
    """The real clips under ``THESISLIB_DATA/video``, by name; none if there is no such folder.

    Warns
    -----
    UserWarning
        If files cannot be read, or are shorter than an interval: they are passed over, for nothing depends on them.
    """
    folder = Path(os.environ.get(VARIABLE) or os.devnull) / "video"
    found, unread = [], []
    for file in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if file.suffix.lower() not in SUFFIXES:
            continue
        try:
            whole = whole_clip(file, least=GROUP)
        except DatasetError as error:
            unread.append(error)
            continue
        known = SHOWABLE.get(hashlib.sha256(file.read_bytes()).hexdigest()[:16])
        maps = motion_maps(whole)
        energy = motion_energy(maps)
        most = int(energy.argmax())
        frame = cv2.resize(whole[GROUP * (most + 1) - 1], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        title, licence = known or (file.stem, "")
        motion = sampled(maps[most : most + 1], GRID, GRID)[0]
        found.append(RealClip(title, licence, frame if known else None, motion, float(energy[most])))
    if unread:
        warnings.warn(
            f"{len(unread)} of {len(unread) + len(found)} clips passed over, first: {unread[0]}", stacklevel=2
        )
    return found


def keep(clips: list[RealClip], folder: Path) -> None:
    """Write clips for :func:`kept` to read: ``clips.json``, and a JPEG of each frame.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    facts = []
    for number, clip in enumerate(clips):
        image = None
        if clip.frame is not None:
            image = f"{number}.jpg"
            content = io.BytesIO()
            Image.fromarray(clip.frame).save(content, "JPEG", quality=85)
            write_atomic(folder / image, content.getvalue())
        rows = [" ".join(f"{x},{y}" for x, y in row) for row in clip.motion.tolist()]
        facts.append({"title": clip.title, "source": clip.source, "frame": image, "energy": round(clip.energy, 3),
                      "motion": rows})  # fmt: skip
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    write_atomic(folder / "clips.json", (text + "\n").encode())


def kept(folder: Path) -> list[RealClip]:
    """The clips that :func:`keep` wrote into a folder; none if it did not.

    Raises
    ------
    OSError, ValueError
        If what it wrote is not whole.
    """
    if not (folder / "clips.json").is_file():
        return []
    found = []
    for facts in json.loads((folder / "clips.json").read_text(encoding="utf-8")):
        frame = facts["frame"] and np.asarray(Image.open(folder / facts["frame"]).convert("RGB"))
        rows = [[vector.split(",") for vector in row.split()] for row in facts["motion"]]
        motion = np.array(rows, np.int16)
        found.append(RealClip(facts["title"], facts["source"], frame, motion, facts["energy"]))
    return found
