"""Motion maps whose intervals follow the movement (figure 3.5), instead of lying on a fixed grid.

The thesis shows that they help and that start and length are chosen for each clip; how they are chosen is not
known. Here every interval of a few lengths and starts is tried, and those that show most movement are kept.

Thesis, section 3.4.4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from thesislib.motion_sampler.codec import GROUP, motion_vectors
from thesislib.motion_sampler.motion_map import checked, followed, motion_energy

LENGTHS = (6, 9, 12, 18, 24)
STEP = 3  # frames between the starts that are tried
LONGEST = 600  # frames without an intra frame, as the encoder allows; a longer clip is encoded in parts


class Interval(NamedTuple):
    """A part of a clip: its first frame, and its number of frames."""

    start: int
    length: int


def improved_maps(clip: np.ndarray) -> tuple[np.ndarray, list[Interval]]:
    """Motion maps of the intervals of a clip that show most movement.

    An interval's movement is its map's energy: it grows while things move on, and falls once they turn back. The
    best is taken first, then the next best that shares at most half of the shorter one's frames with any taken,
    until there are as many as `motion_maps` gives, or none is left. In clips of more than 600 frames no interval
    spans a multiple of 600.

    Parameters
    ----------
    clip : array of uint8, shape (frames, height, width, 3)

    Returns
    -------
    maps : array of int16, shape (n_maps, height, width, 2)
        As `motion_maps` gives them, by MPEG-4's motion vectors.
    intervals : list of Interval
        In the order of time, as the maps.

    Raises
    ------
    ValueError
        If the clip is not as described or shorter than a fixed interval.
    """
    checked(clip, GROUP)
    height, width = clip.shape[1:3]
    candidates = {}
    for first in range(0, len(clip), LONGEST):
        part = clip[first : first + LONGEST]
        vectors = motion_vectors(part, group=len(part))  # one intra frame, so that any frame can be a start
        for start in range(0, len(part) - min(LENGTHS) + 1, STEP):
            onward = vectors[start + 1 : start + max(LENGTHS)]
            for length, found in followed(onward, height, width, LENGTHS).items():
                candidates[Interval(first + start, length)] = found
    energy = dict(zip(candidates, motion_energy(np.stack(list(candidates.values()))), strict=True))
    best = sorted(candidates, key=energy.__getitem__, reverse=True)
    taken: list[Interval] = []
    for interval in best:
        if len(taken) < len(clip) // GROUP and not any(_overlap(interval, other) for other in taken):
            taken.append(interval)
    taken.sort()
    return np.stack([candidates[interval] for interval in taken]), taken


def _overlap(one: Interval, other: Interval) -> bool:
    """Whether they have more than half of the shorter one in common."""
    common = min(sum(one), sum(other)) - max(one.start, other.start)
    return 2 * common > min(one.length, other.length)
