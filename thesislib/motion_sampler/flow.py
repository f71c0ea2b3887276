"""Motion as optical flow sees it: the other source of motion maps (table 3.2), and a motion stream's input (3.6).

The released code has no optical flow. Here flows from frame to frame are chained over the interval that a motion
vector map covers, so that only the source of motion differs. Flow over the whole interval at once fails where
things move far.

Thesis, section 3.3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import cv2
import numpy as np

METHODS = ("dis", "tvl1")


def flow_map(frames: np.ndarray, method: str = "dis") -> np.ndarray:
    """Way of what is seen in each pixel of the last frame since the first.

    Parameters
    ----------
    frames : array of uint8, shape (frames, height, width, 3)
        One interval.
    method : {"dis", "tvl1"}
        Dense inverse search (Kroeger et al. 2016), or duality-based TV-L1 (Zach et al. 2007).

    Returns
    -------
    array of int16, shape (height, width, 2)
        x first, pixels, positive to the right and down; rounded.

    Raises
    ------
    ValueError
        If `frames` is not as described or empty, or the method is none of these.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ValueError(
            f"frames are {frames.dtype} of shape {frames.shape}, expected uint8 (frames, height, width, 3)"
        )
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    height, width = grey[0].shape
    grid = np.stack(np.mgrid[:height, :width][::-1], axis=-1).astype(np.float32)
    origin = grid
    with _flow(method) as flow:
        for before, after in pairwise(grey):
            came_from = grid + flow(after, before)  # attached to the later frame, as a codec's vectors are
            origin = cv2.remap(
                origin,
                came_from[..., 0],
                came_from[..., 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
    return np.rint(grid - origin).astype(np.int16)


def flow_stack(clips: np.ndarray, method: str = "dis", reach: float = 20 / 256) -> np.ndarray:
    """Optical flow between successive frames, stacked as a motion stream reads it (Simonyan and Zisserman 2014).

    Parameters
    ----------
    clips : array of float32, shape (n, 3, frames, height, width)
        RGB, 0 to 1.
    method : {"dis", "tvl1"}
    reach : float
        The largest displacement that is told from larger ones, as a share of the height; 20 pixels of 256 is
        usual.

    Returns
    -------
    array of float32, shape (n, 2 (frames - 1), height, width)
        x and y of each pair in turn; 0.5 is no motion, 0 and 1 are `reach` to the left or up, right or down.

    Raises
    ------
    ValueError
        If the clips have another shape or leave [0, 1], or `reach` is not above 0.
    """
    clips = np.asarray(clips)
    if clips.ndim != 5 or clips.shape[1] != 3 or not ((clips >= 0) & (clips <= 1)).all():
        raise ValueError(
            f"clips are {clips.dtype} of shape {clips.shape}, expected (n, 3, frames, height, width) within 0 and 1"
        )
    if not 0 < reach < np.inf:
        raise ValueError(f"reach = {reach!r}, expected a share of the height above 0")
    count, _, frames, height, width = clips.shape
    stack = np.empty((count, frames - 1, 2, height, width), np.float32)
    with _flow(method) as flow:
        for clip, out in zip(clips, stack, strict=True):
            pictures = np.rint(255 * clip).astype(np.uint8).transpose(1, 2, 3, 0)
            grey = [cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY) for picture in pictures]
            for k in range(frames - 1):
                out[k] = flow(grey[k], grey[k + 1]).transpose(2, 0, 1)
    return np.clip(0.5 + stack / (2 * reach * height), 0, 1).reshape(count, 2 * (frames - 1), height, width)


@contextmanager
def _flow(method: str) -> Iterator:
    """A function of two grey frames: way from the first to the second at each pixel of the first.

    On one thread: the result of dense inverse search depends on the number of them.
    """
    match method:
        case "dis":
            solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        case "tvl1":
            solver = cv2.optflow.DualTVL1OpticalFlow_create()
        case _:
            raise ValueError(f"method = {method!r}, expected one of {', '.join(METHODS)}")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield lambda before, after: solver.calc(before, after, None)
    finally:
        cv2.setNumThreads(threads)
