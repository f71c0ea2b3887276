"""Video streams through PyAV: frames to bytes, bytes or files to frames, and what a codec knows of motion."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags2
from av.video.reformatter import VideoReformatter

from thesislib.datasets.catalogue import DatasetError

FASTEST = 1_000_000_000  # bits/s: a limit that never bites, so that quantisers alone decide


def encode(
    frames: np.ndarray, codec: str, options: Mapping[str, str], quantiser: tuple[int, int] | None = None
) -> bytes:
    """Compress frames in memory.

    Parameters
    ----------
    frames : array of uint8, shape (frames, height, width, 3)
        RGB. Both sides even, as the codecs' 4:2:0 sampling asks.
    codec : str
        Name of an encoder, ``"mpeg4"`` or ``"libx264"``.
    options : mapping of str to str
        What the encoder is told.
    quantiser : tuple of int, optional
        Least and largest quantiser (MPEG-4 only; 1 is best).

    Returns
    -------
    bytes
        A NUT file: it holds any codec, and unlike MP4 needs no seeking to be written.
    """
    stream_of_bytes = io.BytesIO()
    reformatter = VideoReformatter()
    with av.open(stream_of_bytes, "w", format="nut") as container:
        stream = container.add_stream(codec, rate=25, options=dict(options))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_type = "NONE"  # a clip is too short to share, and some encoders differ by threads
        if quantiser:
            context = stream.codec_context
            context.qmin, context.qmax = quantiser
            context.bit_rate = FASTEST
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(reformatter.reformat(picture, format="yuv420p")))
        container.mux(stream.encode(None))
    return stream_of_bytes.getvalue()


def decode(source: bytes | str | Path, limit: int | None = None) -> np.ndarray:
    """All frames of a video.

    Parameters
    ----------
    source : bytes or path
        What `encode` returned, or a file of any format the codec library reads.
    limit : int, optional
        Stop after so many frames.

    Returns
    -------
    array of uint8, shape (frames, height, width, 3)
    """
    reformatter = VideoReformatter()  # one for all frames: to make it costs more than a frame
    frames = []
    for frame in pictures(source):
        frames.append(reformatter.reformat(frame, format="rgb24").to_ndarray())
        if len(frames) == limit:
            break
    return np.stack(frames)


def pictures(source: bytes | str | Path, motion: bool = False) -> Iterator[av.VideoFrame]:
    """Decoded frames one by one, with the codec's motion vectors as side data if asked for."""
    where = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    name = "a stream in memory" if isinstance(source, bytes) else source
    try:
        with av.open(where) as container:
            if not container.streams.video:
                raise DatasetError(f"{name} holds no pictures, only {container.streams[0].type}")
            stream = container.streams.video[0]
            if motion:  # has to be said before the first frame; as an option of av.open it is ignored
                stream.codec_context.flags2 |= Flags2.export_mvs
            yield from container.decode(stream)
    except av.FFmpegError as error:
        raise DatasetError(f"{name} cannot be decoded: {error}") from error
