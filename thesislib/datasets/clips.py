"""Labelled clips with a training and a test part, in one shape whatever they come from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from thesislib.datasets import moving
from thesislib.datasets.catalogue import DatasetError
from thesislib.datasets.clip_lists import listing
from thesislib.datasets.places import locate
from thesislib.datasets.video import decode, seen, steady_frames
from thesislib.memo import memoised

SPAN = 64  # frames: no more than these, from the middle of a clip; I3D's 32 with a stride of 2
SHORTEST = 12  # frames of a test clip, or it would have no motion map


@dataclass(frozen=True, eq=False)
class Clips:
    """A data set of clips.

    Attributes
    ----------
    name : str
        What the figures call it.
    train_clips, test_clips : array of uint8, shape (n, frames, size, size, 3)
        What a model sees, RGB, 0 to 255. The training part may be empty.
    train_labels, test_labels : array of int64, shape (n,)
        Class numbers, 0 to ``len(classes) - 1``.
    classes : tuple of str
        Names of the classes.
    whole : callable
        ``whole(k)`` is what test clip `k` was taken from, at its full rate and size: uint8 of shape
        (length, side, side, 3). Motion is taken from this.
    skipped : tuple of str
        Clips that were listed and could not be read, each with the reason.
    """

    name: str
    train_clips: np.ndarray
    train_labels: np.ndarray
    test_clips: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    whole: Callable[[int], np.ndarray]
    skipped: tuple[str, ...] = field(default=())


def load_clips(
    name_or_path: str | os.PathLike,
    *,
    frames: int = 8,
    size: int = 32,
    train: int | None = None,
    test: int | None = None,
) -> Clips:
    """Load a data set of clips.

    Parameters
    ----------
    name_or_path : str or path
        ``"moves"``, ``"moves_panning"``, ``"looks"`` and ``"looks_many"`` need nothing; ``"ucf101"``,
        ``"hmdb51"``, ``"kinetics400"`` and ``"sthsth_v2"`` are read from ``THESISLIB_DATA``. Or a folder of
        your own, laid out as one of these or as ``train/<class>/*.mp4`` and ``test/<class>/*.mp4``.
    frames, size : int
        Frames that a model sees of a clip, evenly spread, and their side in pixels.
    train, test : int, optional
        Clips of each class, at most; all if not given. Of real clips they are drawn at random, always the same
        ones (the thesis attacks one clip of each class).

    Returns
    -------
    Clips

    Raises
    ------
    DatasetError
        If it is unknown or missing, its lists are damaged, or no clip of it can be read.

    Warns
    -----
    UserWarning
        If clips that are listed cannot be read, with the first of them. Others of their class take their place.

    Notes
    -----
    Of a real clip the middle `SPAN` frames are used and the central square of each. Where the frame rate varies,
    a frame stands until the next one is due.
    """
    _positive(frames=frames, size=size, test=1 if test is None else test)
    if train is not None and train < 0:
        raise DatasetError(f"train = {train}; expected 0 or more clips of each class, or None for all")
    found = locate(name_or_path, "clips")
    if found.entry and found.entry.drawn_by:
        return _filmed(found.name, frames, size, train, test)
    return _recorded(found.name, found.path, frames, size, train, test)


def whole_clip(path: str | os.PathLike, least: int = 1) -> np.ndarray:
    """One video file: the middle `SPAN` frames at even steps of time, the central square of each.

    Parameters
    ----------
    path : path
        Any format that FFmpeg reads.
    least : int
        Frames it has to have.

    Returns
    -------
    array of uint8, shape (length, side, side, 3)

    Raises
    ------
    DatasetError
        If it is missing, empty, damaged, cut short, no video, or has fewer frames.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"{path} is not there, or no file")
    shown = steady_frames(path)
    if len(shown) < least:
        raise DatasetError(f"{path} has {len(shown)} frames, expected {least} or more")
    start = (len(shown) - SPAN) // 2
    shown = shown[start : start + SPAN] if start > 0 else shown
    frames = decode(path, shown[0], shown[-1] + 1)[shown - shown[0]]
    side = min(frames.shape[1:3])
    top, left = (frames.shape[1] - side) // 2, (frames.shape[2] - side) // 2
    return frames[:, top : top + side, left : left + side]


def _filmed(name: str, frames: int, size: int, train: int | None, test: int | None) -> Clips:
    filming = moving.PRESETS[name]
    parts = []
    for part, wanted in (("train", train), ("test", test)):
        each = getattr(filming, part)
        count = filming.classes * (each if wanted is None else min(wanted, each))
        parts += [moving.shown(filming, part, count, frames, size), np.arange(count) % filming.classes]
    return Clips(name, *parts, filming.names, lambda k: moving.clip(filming, k))


def _recorded(name: str, folder: Path, frames: int, size: int, train: int | None, test: int | None) -> Clips:
    place, classes = str(folder.resolve()), listing(folder).classes
    parts = [_read(place, "train", train, frames, size, frames)]
    parts.append(_read(place, "test", test, frames, size, max(frames, SHORTEST)))
    skipped = tuple(reason for part in parts for reason in part["skipped"])
    if skipped:
        warnings.warn(
            f"{name}: {len(skipped)} clips are listed and left out, since they cannot be read; {skipped[0]}",
            stacklevel=3,
        )
    arrays = [part[kind] for part in parts for kind in ("clips", "labels")]
    files = parts[1]["files"]
    return Clips(name, *arrays, classes, lambda k: whole_clip(files[k]), skipped)


@memoised(data="folder")
def _read(folder: str, part: str, wanted: int | None, frames: int, size: int, least: int) -> dict:
    """The training or the test part of real clips: what a model sees, labels, files, and why others are not here."""
    found = listing(Path(folder))
    listed = getattr(found, part)
    order = np.random.default_rng(("train", "test").index(part)).permutation(len(listed))
    left = dict.fromkeys(range(len(found.classes)), len(listed) if wanted is None else wanted)
    clips, labels, files, skipped = [], [], [], []
    for file, label in tqdm([listed[k] for k in order], desc=f"clips to {part} with", leave=False):
        if not left[label]:
            continue
        try:
            clips.append(seen(whole_clip(file, least), frames, size))
        except DatasetError as error:
            skipped.append(str(error))
            continue
        left[label] -= 1
        labels.append(label)
        files.append(str(file))
    if not clips and wanted != 0:
        raise DatasetError(f"none of {len(listed)} clips under {folder} can be read: {skipped[-1]}")
    return {
        "clips": np.stack(clips) if clips else np.zeros((0, frames, size, size, 3), np.uint8),
        "labels": np.array(labels, np.int64),
        "files": files,
        "skipped": skipped,
    }


def _positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise DatasetError(f"{name} = {number}, expected 1 or more")
