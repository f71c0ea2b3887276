"""Motion maps whose intervals follow the movement (figure 3.5), instead of lying on a fixed grid.

The thesis shows that they help and that start and length are chosen for each clip; how they are chosen is not
known. Here every interval of a few lengths and starts is tried, and those that show most movement are kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from thesislib.motion_sampler.codec import GROUP, motion_vectors
from thesislib.motion_sampler.motion_map import checked, followed, painted

LENGTHS = (6, 9, 12, 18, 24)
STEP = 3  # frames between the starts that are tried
MOVED = 1  # pixels: what is farther from where it was has moved


class Interval(NamedTuple):
    """A part of a clip: its first frame, and its number of frames."""

    start: int
    length: int


def improved_maps(clip: np.ndarray) -> tuple[np.ndarray, list[Interval]]:
    """Motion maps of the intervals of a clip that show most movement.

    An interval's movement is the share of pixels that its map moves by more than a pixel; of equal ones the map
    with more distinct displacements is better. The best is taken first, then the next best that has at most
    half of its frames in common with any taken, until there are as many as `motion_maps` gives, or none is left.

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
    vectors = motion_vectors(clip, group=len(clip))  # one intra frame, so that any frame can be a start
    ways = [painted(frame, height, width) for frame in vectors[1:]]
    ways = [painted(frame, height, width) for frame in vectors[1:]]
    candidates = {
        Interval(start, length): found
        for start in range(0, len(clip) - min(LENGTHS) + 1, STEP)
        for length, found in followed(ways[start : start + max(LENGTHS) - 1], height, width, LENGTHS).items()
    }
    best = sorted(candidates, key=lambda interval: _movement(candidates[interval]), reverse=True)
    taken: list[Interval] = []
    for interval in best:
        if len(taken) < len(clip) // GROUP and not any(_overlap(interval, other) for other in taken):
            taken.append(interval)
    taken.sort()
    return np.stack([candidates[interval] for interval in taken]), taken


def _movement(found: np.ndarray) -> tuple[float, int]:
    moved = np.abs(found).max(axis=-1) > MOVED
    distinct = len(np.unique(found.astype(np.int32) @ (1 << 16, 1)))
    return float(moved.mean()), distinct


def _overlap(one: Interval, other: Interval) -> bool:
    """Whether more than half of the first lies in the second."""
    common = min(sum(one), sum(other)) - max(one.start, other.start)
    return 2 * common > one.length
