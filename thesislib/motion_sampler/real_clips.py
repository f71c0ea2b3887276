"""Motion maps of a few real clips, where they are at hand, to be shown beside the filmed ones (fig. 3.3, 3.6, 3.7).

Too few to train or to attack anything with. They are sought under ``THESISLIB_DATA/video`` and known by their
content, so that frames are shown only of clips whose source permits it; of others only the motion is.

Thesis, section 3.3.2.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thesislib.datasets.catalogue import VARIABLE, DatasetError
from thesislib.datasets.clip_lists import SUFFIXES
from thesislib.datasets.clips import whole_clip
from thesislib.motion_sampler.codec import GROUP
from thesislib.motion_sampler.motion_map import motion_maps

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


@dataclass(frozen=True, eq=False)
class RealClip:
    """A real clip's motion, and its frames where they may be shown.

    Attributes
    ----------
    title : str
        What it shows; the file's name where that is not known.
    source : str
        Who published it under which licence; empty where frames may not be shown.
    frames : array of uint8, shape (n_maps, side, side, 3), or None
        The last frame of each interval, which its map belongs to.
    maps : array of int16, shape (n_maps, side, side, 2)
        As `motion_maps` gives them.
    """

    title: str
    source: str
    frames: np.ndarray | None
    maps: np.ndarray


def real_clips(source: str = "mv") -> list[RealClip]:
    """The real clips under ``THESISLIB_DATA/video``, by name; none if there is no such folder.

    Parameters
    ----------
    source : str
        As `motion_maps` takes it.

    Notes
    -----
    A file that cannot be read, or is shorter than an interval, is passed over: nothing depends on it.
    """
    folder = Path(os.environ.get(VARIABLE) or os.devnull) / "video"
    found = []
    for file in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if file.suffix.lower() not in SUFFIXES:
            continue
        try:
            whole = whole_clip(file, least=GROUP)
        except DatasetError:
            continue
        known = SHOWABLE.get(hashlib.sha256(file.read_bytes()).hexdigest()[:16])
        maps = motion_maps(whole, source)
        last = whole[GROUP - 1 :: GROUP][: len(maps)]
        title, licence = known or (file.stem, "")
        found.append(RealClip(title, licence, last if known else None, maps))
    return found
