"""Motion as a codec sees it: a clip is encoded again on a fixed grid of frames, and its vectors are read.

Section 3.3.2 of the thesis. As in the released code, the clip goes through an MPEG-4 part 2 encoder at its best
quality, with an intra frame every twelve frames and no bidirectional ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thesislib.datasets.video import encode, pictures

GROUP = 12  # frames from one intra frame to the next; the released code counts on the encoder's default
BEST = (1, 2)  # quantisers
NO_CUTS = "1000000000"  # score at which a change counts as a cut, and would get an intra frame of its own
INTRA, PREDICTED = 1, 2  # numbers of the picture types I and P
ENCODERS = {"mpeg4": "mpeg4", "h264": "libx264"}


@dataclass(frozen=True)
class Vectors:
    """The motion vectors of one predicted frame, one row a block.

    Attributes
    ----------
    left, top, width, height : array of int64, shape (blocks,)
        The block in the frame, in pixels. It may reach over the frame's edge.
    shift : array of float64, shape (blocks, 2)
        Way of the content since the frame before, x first, in pixels, positive to the right and down. The codec's
        own sign is the other one: it says where to fetch a block from.
    """

    left: np.ndarray
    top: np.ndarray
    width: np.ndarray
    height: np.ndarray
    shift: np.ndarray


def motion_vectors(clip: np.ndarray, codec: str = "mpeg4", group: int = GROUP) -> list[Vectors | None]:
    """Encode a clip again and read the vectors of each frame; None for an intra frame.

    Parameters
    ----------
    clip : array of uint8, shape (frames, height, width, 3)
    codec : {"mpeg4", "h264"}
    group : int
        An intra frame comes every so many frames.
    """
    options = {
        "mpeg4": {"g": str(group), "bf": "0", "sc_threshold": NO_CUTS},
        # One reference, no B frames, no intra frame at cuts: else vectors cannot be followed back in time.
        "h264": {
            "preset": "fast",
            "crf": "10",
            "x264-params": f"ref=1:bframes=0:keyint={group}:min-keyint={group}:scenecut=0:weightp=0:threads=1",
        },
    }[codec]
    quantiser = BEST if codec == "mpeg4" else None
    read = []
    for frame in pictures(encode(clip, ENCODERS[codec], options, quantiser), motion=True):
        if int(frame.pict_type) == INTRA:
            read.append(None)
            continue
        rows = frame.side_data.get("MOTION_VECTORS").to_ndarray()
        width, height = rows["w"].astype(int), rows["h"].astype(int)
        shift = -np.stack([rows["motion_x"], rows["motion_y"]], axis=1) / rows["motion_scale"][:, None]
        read.append(Vectors(rows["dst_x"] - width // 2, rows["dst_y"] - height // 2, width, height, shift))
    return read
