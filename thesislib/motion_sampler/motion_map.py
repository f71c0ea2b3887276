"""Motion maps (thesis section 3.3.2): how far each pixel moved over an interval of the clip."""

from __future__ import annotations

import numpy as np

from thesislib.motion_sampler.codec import GROUP, Vectors, motion_vectors


def motion_maps(clip: np.ndarray, source: str = "mv", codec: str = "mpeg4") -> np.ndarray:
    """Motion maps of a clip, one for each whole interval of `GROUP` frames.

    Parameters
    ----------
    clip : array of uint8, shape (frames, height, width, 3)
    source : {"mv"}
    codec : {"mpeg4", "h264"}

    Returns
    -------
    array of int16, shape (n_maps, height, width, 2)
        Way of each pixel of an interval's last frame since its first, x first, in pixels, positive to the right
        and down.
    """
    vectors = motion_vectors(clip, codec)
    height, width = clip.shape[1:3]
    return np.stack(
        [
            accumulate(vectors[s + 1 : s + GROUP], height, width)
            for s in range(0, len(clip) - GROUP + 1, GROUP)
        ]
    )


def accumulate(vectors: list[Vectors], height: int, width: int) -> np.ndarray:
    """Follow the vectors of successive predicted frames back to the frame before the first of them.

    Each pixel keeps where it came from. A block takes the origins of where it was fetched from; a pixel without a
    vector, with a zero one, or fetched from outside the frame keeps what it had (as the released code's loader
    has it).

    Returns
    -------
    array of int16, shape (height, width, 2)
    """
    grid = np.stack(np.mgrid[:height, :width][::-1], axis=-1)
    origin = grid.copy()
    for frame in vectors:
        shift = np.zeros((height, width, 2), int)
        # Towards zero, as the integer fields of the codec library have it.
        for left, top, w, h, way in zip(
            frame.left, frame.top, frame.width, frame.height, np.trunc(frame.shift).astype(int), strict=True
        ):
            if way.any():
                shift[max(top, 0) : top + h, max(left, 0) : left + w] = way
        source = grid - shift
        inside = ((source >= 0) & (source < (width, height))).all(axis=-1)
        source[~inside] = grid[~inside]
        origin = origin[source[..., 1], source[..., 0]]
    return (grid - origin).astype(np.int16)


def resized(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Maps of the clip at another size: nearest pixel, displacement scaled and rounded.

    Returns
    -------
    array of int16, shape (n_maps, height, width, 2)
    """
    old_height, old_width = maps.shape[1:3]
    rows = ((np.arange(height) + 0.5) * old_height / height).astype(int)
    columns = ((np.arange(width) + 0.5) * old_width / width).astype(int)
    scale = np.array([width / old_width, height / old_height])
    return np.rint(maps[:, rows][:, :, columns] * scale).astype(np.int16)


def lookup(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Motion maps as places in a noise picture of the size that the model sees (released code's normalisation).

    The least value of a map, over both its channels, is subtracted, so that all are 0 or more; no pixel is far
    enough from another to leave the picture, or it is clipped to its edge (the released code wraps at 256).

    Parameters
    ----------
    maps : array of int, shape (n_maps, any height, any width, 2)
        As `motion_maps` gives them.
    height, width : int
        What the model sees.

    Returns
    -------
    array of int64, shape (n_maps, height, width, 2)
        x from 0 to width - 1, and y from 0 to height - 1.
    """
    small = resized(maps, height, width).astype(np.int64)
    small -= small.min(axis=(1, 2, 3), keepdims=True)
    return np.minimum(small, (width - 1, height - 1))
