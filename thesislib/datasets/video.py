"""Video streams through PyAV: frames to bytes, and bytes or files to frames."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.codec.context import Flags2
from av.video.reformatter import VideoReformatter

from thesislib.datasets.catalogue import DatasetError

UNBOUND = 1_000_000_000  # bits/s: a limit that never bites, so that the quantisers decide
STEADY = (0.5, 1.5)  # gaps between frames, in the median gap; beyond, the rate varies
WHOLE = 0.9  # share of the frames promised that have to be there


def encode(
    frames: np.ndarray, codec: str, options: Mapping[str, str], quantiser: tuple[int, int] | None = None
) -> bytes:
    """Compress frames in memory, at 25 a second.

    Parameters
    ----------
    frames : array of uint8, shape (frames, height, width, 3)
        RGB; both sides even, as the codecs want it.
    codec : {"mpeg4", "libx264"}
        An encoder of the codec library.
    options : mapping of str to str
        What the encoder is told.
    quantiser : tuple of int, optional
        Least and largest quantiser (MPEG-4 only; 1 is best).

    Returns
    -------
    bytes
        A NUT file: it holds any codec, and is written without seeking.
    """
    target = io.BytesIO()
    reformatter = VideoReformatter()
    with av.open(target, "w", format="nut") as container:
        stream = container.add_stream(codec, rate=25, options=dict(options))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_type = "NONE"
        if quantiser:
            stream.codec_context.qmin, stream.codec_context.qmax = quantiser
            stream.codec_context.bit_rate = UNBOUND
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(reformatter.reformat(picture, format="yuv420p", threads=1)))
        container.mux(stream.encode(None))
    return target.getvalue()


def decode(source: bytes | Path, start: int = 0, stop: int | None = None) -> np.ndarray:
    """Frames of a video, all or a part.

    Parameters
    ----------
    source : bytes or path
        What `encode` returned, or a file of any format the codec library reads.
    start, stop : int
        First frame, and the one after the last.

    Returns
    -------
    array of uint8, shape (frames, height, width, 3)
        RGB; all of the first one's size, if a stream changes it.

    Raises
    ------
    DatasetError
        If it cannot be decoded, or ends before it starts.
    """
    reformatter = VideoReformatter()  # one for all frames: to make it costs more than a frame
    frames: list[np.ndarray] = []
    for picture in islice(pictures(source), start, stop):
        height, width = frames[0].shape[:2] if frames else (picture.height, picture.width)
        rgb = reformatter.reformat(picture, width=width, height=height, format="rgb24", threads=1)
        frames.append(rgb.to_ndarray())
    if not frames:
        raise DatasetError(f"{_name(source)} has no frame {start}")
    return np.stack(frames)


def pictures(source: bytes | Path, motion: bool = False) -> Iterator[av.VideoFrame]:
    """Decoded frames one by one, in the codec's own colours.

    Parameters
    ----------
    source : bytes or path
    motion : bool
        Whether frames carry the codec's motion vectors as side data.

    Raises
    ------
    DatasetError
        If there is no such file, it is empty, damaged or no video, or has sound only.
    """
    try:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
            if not container.streams.video:
                kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
                raise DatasetError(f"{_name(source)} holds {kinds}, expected a video")
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            if motion:  # to be said before the first frame; as an option of av.open it is ignored
                stream.codec_context.flags2 |= Flags2.export_mvs
            yield from container.decode(stream)
    except av.FFmpegError as error:
        empty = isinstance(source, Path) and source.is_file() and not source.stat().st_size
        reason = "it is empty" if empty else error.strerror
        raise DatasetError(f"{_name(source)} cannot be read as a video: {reason}") from error


def steady_frames(path: Path) -> np.ndarray:
    """Which frames of a file a screen shows at even steps of time.

    Where the rate is constant, and the odd millisecond of some containers is no change, that is 0, 1, 2, ...;
    where it varies, a frame stands until the next one is due, and one that is replaced at once is left out.

    Parameters
    ----------
    path : path

    Returns
    -------
    array of int64
        Numbers of frames, ascending, some more than once or never.

    Raises
    ------
    DatasetError
        If the file cannot be read, or ends long before the end it promises.
    """
    times = [frame.time for frame in pictures(path)]
    with av.open(str(path)) as container:
        promised = container.streams.video[0].frames  # 0 of Matroska and WebM, which do not say
        length = _length(container)
    if len(times) < WHOLE * promised:
        raise DatasetError(f"{path} is cut short: it promises {promised} frames and has {len(times)}")
    if len(times) < 3 or None in times:
        return np.arange(len(times))
    gaps = np.diff(times)
    step = float(np.median(gaps))
    if not promised and (seconds := times[-1] + step - times[0]) < WHOLE * length:
        raise DatasetError(f"{path} is cut short: it promises {length:.3g} s and has {seconds:.3g}")
    if step <= 0 or ((gaps >= STEADY[0] * step).all() and (gaps <= STEADY[1] * step).all()):
        return np.arange(len(times))
    ticks = np.arange(times[0], times[-1] + step / 2, step)
    return np.searchsorted(times, ticks + step / 4, side="right") - 1


def _length(container: av.container.InputContainer) -> float:
    """Seconds that the video stream lasts by its header; 0 where that is not told, or may be another stream's."""
    stream = container.streams.video[0]
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    hours, colon, rest = stream.metadata.get("DURATION", "").partition(":")  # Matroska's 00:00:06.400000000
    if colon:
        minutes, _, seconds = rest.partition(":")
        return 3600 * float(hours) + 60 * float(minutes) + float(seconds)
    return (container.duration or 0) / av.time_base if len(container.streams) == 1 else 0.0


def instants(length: int, frames: int) -> np.ndarray:
    """Numbers of `frames` frames in the middles of equal parts of a clip of `length` frames."""
    return ((np.arange(frames) + 0.5) * length / frames).astype(int)


def seen(whole: np.ndarray, frames: int, size: int) -> np.ndarray:
    """What a model sees of a clip.

    Parameters
    ----------
    whole : array of uint8, shape (length, side, side, 3)
    frames, size : int
        How many frames, and their side in pixels.

    Returns
    -------
    array of uint8, shape (frames, size, size, 3)
        The frames of `instants`, each pixel the mean of the area it covers.

    Raises
    ------
    ValueError
        If a number is below 1, or there is no frame.
    """
    if not (len(whole) and frames >= 1 and size >= 1):
        raise ValueError(f"{frames} frames of {size} pixels from {len(whole)}; expected 1 or more of each")
    chosen = whole[instants(len(whole), frames)]
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in chosen])


def _name(source: bytes | Path) -> str:
    return "the stream in memory" if isinstance(source, bytes) else str(source)
