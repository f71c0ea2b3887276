"""Motion maps (thesis section 3.3.2): how far each pixel came over an interval of the clip.

>>> import numpy as np
>>> from thesislib.motion_sampler.motion_map import motion_maps, sampled
>>> still = np.zeros((24, 64, 64, 3), np.uint8)
>>> maps = motion_maps(still)
>>> maps.shape, bool(maps.any())
((2, 64, 64, 2), False)
>>> sampled(maps, 32, 32).shape
(2, 32, 32, 2)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numba import njit

from thesislib.motion_sampler.codec import GROUP, Vectors, motion_vectors
from thesislib.motion_sampler.flow import flow_map

SOURCES = ("mv", "mv_h264", "flow", "flow_tvl1")


def motion_maps(clip: np.ndarray, source: str = "mv") -> np.ndarray:
    """Motion maps of a clip, one for each whole interval of `GROUP` frames; an incomplete last one has none.

    Parameters
    ----------
    clip : array of uint8, shape (frames, height, width, 3)
        RGB, at the rate and size it was recorded.
    source : {"mv", "mv_h264", "flow", "flow_tvl1"}
        Motion vectors of MPEG-4 part 2 (the released code's) or of H.264, or optical flow: DIS, or TV-L1, which
        takes fifty times as long.

    Returns
    -------
    array of int16, shape (n_maps, height, width, 2)
        Way of what is seen in each pixel of an interval's last frame since its first: x first, pixels of the clip
        as given, positive to the right and down.

    Raises
    ------
    ValueError
        If `clip` is not as described or shorter than an interval, or the source is none of these.
    """
    checked(clip, GROUP)
    starts = range(0, len(clip) - GROUP + 1, GROUP)
    height, width = clip.shape[1:3]
    match source:
        case "mv" | "mv_h264":
            vectors = motion_vectors(clip, "mpeg4" if source == "mv" else "h264")
            maps = [accumulate(vectors[s + 1 : s + GROUP], height, width) for s in starts]
        case "flow" | "flow_tvl1":
            method = "dis" if source == "flow" else "tvl1"
            maps = [flow_map(clip[s : s + GROUP], method) for s in starts]
        case _:
            raise ValueError(f"source = {source!r}, expected one of {', '.join(SOURCES)}")
    return np.stack(maps)


def checked(clip: np.ndarray, least: int) -> None:
    """Refuse what is no clip of `least` frames or more.

    Raises
    ------
    ValueError
        With what was passed and what would do.
    """
    if not isinstance(clip, np.ndarray):
        raise ValueError(f"the clip is a {type(clip).__name__}, expected an array of uint8")
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3 or not clip.size:
        raise ValueError(
            f"the clip is {clip.dtype} of shape {clip.shape}, expected uint8 (frames, height, width, 3)"
        )
    if len(clip) < least:
        raise ValueError(f"the clip has {len(clip)} frames, motion maps need {least} or more")
    if min(clip.shape[1:3]) < 16:
        raise ValueError(f"the clip is {clip.shape[1]} × {clip.shape[2]} pixels, a codec's block is 16 × 16")


def accumulate(vectors: Sequence[Vectors], height: int, width: int) -> np.ndarray:
    """Follow the vectors of successive predicted frames back to the frame before the first of them.

    Returns
    -------
    array of int16, shape (height, width, 2)
        As `followed` gives it, errors too; zero everywhere if there are no vectors.
    """
    length = len(vectors) + 1
    return followed(vectors, height, width, (length,))[length]


def followed(
    vectors: Sequence[Vectors], height: int, width: int, lengths: Collection[int]
) -> dict[int, np.ndarray]:
    """Motion maps of intervals of some lengths that start at one frame.

    Each pixel keeps where it came from. A block takes over the origins of where it was fetched from; a pixel keeps
    its own where there is no vector, a zero one, or one from outside the frame. Vectors lose what they have
    below a whole pixel. All this is the loader's rule that the released code uses (CoViAR, Wu et al. 2018).

    Parameters
    ----------
    vectors : sequence of Vectors
        Of each frame after the first.
    height, width : int
    lengths : collection of int
        Numbers of frames, the first one counted; those beyond the last of `vectors` have no map.

    Returns
    -------
    dict of int to array of int16, shape (height, width, 2)

    Raises
    ------
    ValueError
        If one of `vectors` is None: an intra frame begins another interval.
    """
    if intra := [k for k, frame in enumerate(vectors) if frame is None]:
        raise ValueError(
            f"vectors[{intra[0]}] is None, an intra frame's; pass those between two intra frames"
        )
    grid = np.stack(np.mgrid[:height, :width][::-1], axis=-1).astype(np.int16)
    origin, maps = grid, {}
    for length in range(1, len(vectors) + 2):
        if length > 1:
            frame = vectors[length - 2]
            origin = _fetched(origin, frame.boxes, np.trunc(frame.ways).astype(np.int64))
        if length in lengths:
            maps[length] = grid - origin
    return maps


@njit(cache=True)
def _fetched(origin, boxes, ways):
    """Origins after one more frame; `boxes` are left, top, width and height, `ways` whole pixels."""
    height, width = origin.shape[:2]
    after = origin.copy()
    for k in range(len(boxes)):
        left, top, box_width, box_height = boxes[k]
        right, down = ways[k]
        if right == 0 and down == 0:
            continue
        for y in range(max(top, 0, down), min(top + box_height, height, height + down)):
            for x in range(max(left, 0, right), min(left + box_width, width, width + right)):
                for axis in range(2):
                    after[y, x, axis] = origin[y - down, x - right, axis]
    return after


def sampled(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Motion maps at the pixels of a smaller (or larger) frame: the nearest pixel's, displacements as they are.

    Parameters
    ----------
    maps : array, shape (n_maps, height, width, 2)
    height, width : int
        Of the frame that a model sees.

    Returns
    -------
    array, shape (n_maps, height, width, 2)

    Raises
    ------
    ValueError
        If `maps` has another shape, one map's say, which wants ``map[None]``.
    """
    if maps.ndim != 4 or maps.shape[3] != 2:
        raise ValueError(f"maps have shape {maps.shape}, expected (n_maps, height, width, 2)")
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in ((height, maps.shape[1]), (width, maps.shape[2]))
    )
    return maps[:, rows][:, :, columns]


def motion_energy(maps: np.ndarray) -> np.ndarray:
    """Mean length of the displacements of each map, pixels; shape (n_maps,)."""
    return np.linalg.norm(np.asarray(maps, float), axis=-1).mean(axis=(1, 2))
