"""Which clips a folder holds and which class each has, as its publisher lists them.

Only names are read here, no video. Imports nothing but the standard library.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from thesislib.datasets.catalogue import DatasetError

SUFFIXES = (".avi", ".mp4", ".webm", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".gif")
UCF = "ucfTrainTestlist"
HMDB = "testTrainMulti_7030_splits"
EXPECTED = (
    "expected train/<class>/*.mp4 and test/<class>/*.mp4 (or .avi, .webm, .mkv, .mov, .gif), or the folders of "
    f"UCF-101 (UCF-101, {UCF}), HMDB-51 (hmdb51_org, {HMDB}), Kinetics-400 (train, val, annotations) or "
    "Something-Something V2 (20bn-something-something-v2, labels)"
)


class Listing(NamedTuple):
    """What a folder of clips holds.

    Attributes
    ----------
    classes : tuple of str
        Names, in the publisher's order.
    train, test : list of (path, int)
        Files, which need not be there, and their class numbers. The validation part stands for the test where
        the publisher keeps the test's labels to himself.
    lists : list of path
        The files that say so.
    """

    classes: tuple[str, ...]
    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]
    lists: list[Path]


def holds_clips(folder: Path) -> bool:
    """Whether a folder has one of the layouts that `listing` knows."""
    return _reader(folder) is not None


def listing(folder: Path) -> Listing:
    """Read the lists of a folder of clips (split 1 of UCF-101 and HMDB-51).

    Raises
    ------
    DatasetError
        If the layout is none of those known, a list is damaged, or a clip's class is in no list of classes.
    """
    reader = _reader(folder)
    if reader is None:
        raise DatasetError(f"{folder} holds no clips that can be read: {EXPECTED}")
    return reader(folder)


def inventory(folder: Path) -> tuple[list[Path], list[str]]:
    """What tells one folder of clips from another: its lists, and a line for each clip that is there.

    Raises
    ------
    DatasetError
        As `listing`.
    """
    found = listing(folder)
    files = [file for file, _ in (*found.train, *found.test) if file.is_file()]
    return found.lists, [f"{f.stat().st_size}  {f.relative_to(folder).as_posix()}\n" for f in files]


def _reader(folder: Path):
    if (folder / UCF).is_dir():
        return _ucf101
    if (folder / HMDB).is_dir():
        return _hmdb51
    if (folder / "annotations").is_dir():
        return _kinetics400
    if (folder / "labels").is_dir():
        return _sthsth
    if any(file.suffix.lower() in SUFFIXES for file in (folder / "train").glob("*/*")):
        return _tree
    return None


def _ucf101(folder: Path) -> Listing:
    lists = [folder / UCF / name for name in ("classInd.txt", "trainlist01.txt", "testlist01.txt")]
    classes, train, test = map(_rows, lists)
    names = tuple(_field(lists[0], row, 1) for row in classes)
    number = _numbers(names)
    parts = [
        [
            (folder / "UCF-101" / row[0], _class_of(file, Path(row[0]).parent.name, number, lists[0]))
            for row in rows
        ]
        for file, rows in zip(lists[1:], (train, test), strict=True)
    ]
    return Listing(names, *parts, lists)


def _hmdb51(folder: Path) -> Listing:
    lists = sorted((folder / HMDB).glob("*_test_split1.txt"))
    if not lists:
        raise DatasetError(f"{folder / HMDB} has no *_test_split1.txt, one a class")
    names = tuple(file.name.removesuffix("_test_split1.txt") for file in lists)
    parts: dict[str, list] = {"1": [], "2": [], "0": []}  # training, test, neither
    for k, file in enumerate(lists):
        for row in _rows(file):
            if (part := _field(file, row, 1)) not in parts:
                raise DatasetError(f"{file} puts {row[0]} in part {part!r}, expected 0, 1 or 2")
            parts[part].append((folder / "hmdb51_org" / names[k] / row[0], k))
    return Listing(names, parts["1"], parts["2"], lists)


def _kinetics400(folder: Path) -> Listing:
    lists = [folder / "annotations" / name for name in ("train.csv", "val.csv")]
    rows = [list(csv.DictReader(_text(file).splitlines())) for file in lists]
    columns = {"label", "youtube_id", "time_start", "time_end"}
    for file, part in zip(lists, rows, strict=True):
        if not part or columns - set(part[0]):
            raise DatasetError(f"{file} has not the columns {', '.join(sorted(columns))}, or no row")
    names = tuple(sorted({row["label"] for row in rows[0]}))
    number = _numbers(names)
    parts = []
    for file, split, part in zip(lists, ("train", "val"), rows, strict=True):
        found = []
        for row in part:
            try:
                start, end = (int(float(row[time])) for time in ("time_start", "time_end"))
            except (TypeError, ValueError):
                raise DatasetError(
                    f"{file}: clip {row['youtube_id']} has no time_start and time_end in seconds"
                ) from None
            video = f"{row['youtube_id']}_{start:06}_{end:06}.mp4"
            # All in one folder, or a folder a class: both are about.
            homes = ("", row["label"], row["label"].replace(" ", "_"))
            places = [folder / split / home / video for home in homes]
            place = next((place for place in places if place.is_file()), places[0])
            found.append((place, _class_of(file, row["label"], number, lists[0])))
        parts.append(found)
    return Listing(names, *parts, lists)


def _sthsth(folder: Path) -> Listing:
    lists = [folder / "labels" / name for name in ("labels.json", "train.json", "validation.json")]
    classes, *rows = map(_json, lists)
    for file, part in zip(lists[1:], rows, strict=True):
        if not all({"id", "template"} <= set(row) for row in part):
            raise DatasetError(f"{file} has a clip without id or template")
    names = tuple(sorted(classes, key=lambda name: int(classes[name])))
    number = _numbers(names)
    parts = [
        [
            (
                folder / "20bn-something-something-v2" / f"{row['id']}.webm",
                _class_of(file, row["template"].replace("[", "").replace("]", ""), number, lists[0]),
            )
            for row in part
        ]
        for file, part in zip(lists[1:], rows, strict=True)
    ]
    return Listing(names, *parts, lists)


def _tree(folder: Path) -> Listing:
    parts, found = [], []
    for split in ("train", "test"):
        files = sorted(
            file
            for file in (folder / split).glob("*/*")
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
        )
        found.append({file.parent.name for file in files})
        parts.append(files)
    if odd := sorted(found[0] ^ found[1]):
        raise DatasetError(f"{folder}: class {odd[0]} has clips in only one of train/ and test/")
    names = tuple(sorted(found[0]))
    number = _numbers(names)
    return Listing(names, *([(file, number[file.parent.name]) for file in files] for files in parts), [])


def _numbers(names: Iterable[str]) -> dict[str, int]:
    return {name: k for k, name in enumerate(names)}


def _class_of(file: Path, name: str, number: dict[str, int], source: Path) -> int:
    if name not in number:
        raise DatasetError(f"{file} has a clip of class {name!r}, which {source} does not list")
    return number[name]


def _rows(file: Path) -> list[list[str]]:
    rows = [line.split() for line in _text(file).splitlines() if line.strip()]
    if not rows:
        raise DatasetError(f"{file} is empty")
    return rows


def _field(file: Path, row: list[str], place: int) -> str:
    if len(row) <= place:
        raise DatasetError(f"{file} has a line {' '.join(row)!r}, expected {place + 1} words")
    return row[place]


def _json(file: Path):
    try:
        return json.loads(_text(file))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{file} is no JSON, or cut short: {error}") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{file} is no UTF-8 text: {error.reason} at byte {error.start}; save it as such"
        ) from error
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}; it lists the clips") from error
