"""Motion as a codec sees it: a clip is encoded again on a fixed grid of frames, and its vectors are read.

Thesis section 3.3.2. The released code encodes each clip as MPEG-4 part 2 at the best quality and counts on what
the encoder does by default: an intra frame every twelve frames, no bidirectional ones. Here that grid is asked for,
since the encoder would else put another intra frame at a cut, and all that follows it would be lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thesislib.blackbox.victim import is_whole
from thesislib.datasets.video import encode, pictures

GROUP = 12  # frames from one intra frame to the next
BEST = (1, 2)  # quantisers of MPEG-4
INTRA = 1  # number of the picture type I
NO_CUT = "1000000000"  # a score no cut reaches
CODECS = ("mpeg4", "h264")


@dataclass(frozen=True, eq=False)
class Vectors:
    """The motion vectors of one predicted frame, one row a block.

    Attributes
    ----------
    boxes : array of int64, shape (blocks, 4)
        Left, top, width and height of each block, pixels. A block may reach over the frame's right and lower edge.
    ways : array of float64, shape (blocks, 2)
        Way of a block's content since the frame before, x first, pixels, positive to the right and down; in
        halves (MPEG-4) or quarters (H.264). The codec's own sign is the other one: where to fetch a block from.
    """

    boxes: np.ndarray
    ways: np.ndarray


def motion_vectors(clip: np.ndarray, codec: str = "mpeg4", group: int = GROUP) -> list[Vectors | None]:
    """Encode a clip again and read the vectors of each frame; None for an intra frame.

    Parameters
    ----------
    clip : array of uint8, shape (frames, height, width, 3)
        RGB; a side of odd length is lengthened by a copy of its last pixels, as the codecs want it even.
    codec : {"mpeg4", "h264"}
    group : int
        Frames 0, `group`, 2 `group`, ... are intra frames, and no others.

    Raises
    ------
    ValueError
        If the codec is none of the two, or `group` no whole number from 1 on.
    """
    if codec not in CODECS:
        raise ValueError(f"codec = {codec!r}, expected one of {', '.join(CODECS)}")
    if not (is_whole(group) and group >= 1):
        raise ValueError(f"group = {group!r}, expected a whole number from 1")
    height, width = clip.shape[1:3]
    odd = height % 2 or width % 2
    even = np.pad(clip, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge") if odd else clip
    if codec == "mpeg4":
        options = {"g": str(group), "bf": "0", "sc_threshold": NO_CUT}
        stream = encode(even, "mpeg4", options, quantiser=BEST)
    else:
        # Vectors name no reference frame, so that it is the one before has to be the only possibility.
        grid = f"ref=1:bframes=0:keyint={group}:min-keyint={group}:scenecut=0:weightp=0:threads=1"
        stream = encode(even, "libx264", {"preset": "veryfast", "crf": "5", "x264-params": grid})
    return [_vectors(frame) for frame in pictures(stream, motion=True)]


def _vectors(frame) -> Vectors | None:
    if int(frame.pict_type) == INTRA:
        return None
    found = frame.side_data.get("MOTION_VECTORS")
    if found is None:  # every block is new
        return Vectors(np.zeros((0, 4), np.int64), np.zeros((0, 2)))
    rows = found.to_ndarray()
    sides = np.stack([rows["w"], rows["h"]], axis=1).astype(np.int64)
    corners = np.stack([rows["dst_x"], rows["dst_y"]], axis=1) - sides // 2  # given are the centres
    ways = -np.stack([rows["motion_x"], rows["motion_y"]], axis=1) / rows["motion_scale"][:, None]
    return Vectors(np.concatenate([corners, sides], axis=1), ways)
