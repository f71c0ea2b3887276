"""What a data set's files hold: the layouts of an image folder, the hash of the bytes a run would read.

``path`` is a file or folder; ``optional`` are names of arrays that an archive may lack.
"""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from thesislib.datasets.catalogue import IDX_FILES, DatasetError
from thesislib.datasets.clip_lists import holds_clips, inventory
from thesislib.datasets.places import locate

ARCHIVES = ("train.npz", "test.npz")
SPLITS = ("train", "test")
SUFFIXES = (".png", ".jpg", ".jpeg")


def fingerprint(name_or_path: str | os.PathLike) -> str:
    """SHA-256 of the content a run would read, in hexadecimal.

    Of a single file it is what ``sha256sum`` prints; of several, the hash of their ``sha256sum`` lines with
    paths relative to the data set's folder. So it changes with any byte and with an image's class, and not
    with the place or the date. Of an embedded set, the file that the package ships is hashed. Of clips, which
    would take hours to read, it is the hash of the lists' lines and of each clip's size and path. Each file is
    read once a process, until its size or time of change differs.

    Parameters
    ----------
    name_or_path : str or path
        As the loaders take it.

    Raises
    ------
    DatasetError
        If there is no such data set, or its folder has none of the known layouts.
    """
    path = locate(name_or_path).path
    if path.is_file():
        return _digest(path)
    files, sizes = inventory(path) if holds_clips(path) else (image_files(path), [])
    lines = [f"{_digest(file)}  {file.relative_to(path).as_posix()}\n" for file in files] + sizes
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def layout(folder: Path) -> str:
    """How a folder holds images: ``"idx"`` (as MNIST comes), ``"npz"`` or ``"tree"`` (a folder a class).

    Raises
    ------
    DatasetError
        If it is none of the three.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is a file; images come as a folder: {_LAYOUTS}")
    if all((folder / file).is_file() for file in IDX_FILES):
        return "idx"
    if all((folder / file).is_file() for file in ARCHIVES):
        return "npz"
    if all((folder / split).is_dir() for split in SPLITS):
        return "tree"
    raise DatasetError(f"{folder} holds no images that can be read: {_LAYOUTS}")


_LAYOUTS = (
    "expected train.npz and test.npz, or train/<class>/*.png|jpg and test/<class>/*.png|jpg, "
    f"or the four files of MNIST ({IDX_FILES[0]}, ...)"
)


def hidden(path: Path) -> bool:
    """Whether desktop or notebook tools put it there; such files and folders are no part of a data set."""
    return path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """The files that make up a folder of images, in the order they are read."""
    match layout(folder):
        case "idx":
            return [folder / file for file in IDX_FILES]
        case "npz":
            return [folder / file for file in ARCHIVES]
    return [
        file
        for split in SPLITS
        for file in sorted((folder / split).glob("*/*"))
        if file.suffix.lower() in SUFFIXES and not hidden(file) and not hidden(file.parent)
    ]


def read_npz(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Arrays of an .npz archive by name; nothing is unpickled.

    Raises
    ------
    DatasetError
        If the file is damaged or lacks a required array.
    """
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path} is no .npz archive, or is cut short")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            arrays = {name: archive[name] for name in (*required, *optional) if name in names}
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on a damaged file
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if lacking := [name for name in required if name not in arrays]:
        raise DatasetError(f"{path} lacks {' and '.join(lacking)}; it holds {', '.join(names) or 'nothing'}")
    return arrays


def _digest(path: Path) -> str:
    status = path.stat()
    return _digest_of(path.resolve(), status.st_size, status.st_mtime_ns)


@functools.cache
def _digest_of(path: Path, _size: int, _mtime: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
