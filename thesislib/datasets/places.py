"""From a name or a path to the file or folder that holds the data set.

``counts`` are numbers of a part's items.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from thesislib.datasets.catalogue import ENTRIES, VARIABLE, DatasetError, Entry, known


class Found(NamedTuple):
    """A data set that is there: its name, its file or folder, its entry (None: the user's own)."""

    name: str
    path: Path
    entry: Entry | None

    def check(self, counts: Mapping[str, int]) -> None:
        """Refuse content that does not amount to what the catalogue promises.

        Raises
        ------
        DatasetError
            With what was found and what was expected.
        """
        for what, expected in (self.entry.counts if self.entry else {}).items():
            if counts[what] != expected:
                raise DatasetError(
                    f"{self.name}: {self.path} holds {counts[what]} {what}, expected {expected}; "
                    "the file is cut short or another one: remove it and get it again"
                )


def root() -> Path:
    """The folder ``THESISLIB_DATA`` names.

    Raises
    ------
    DatasetError
        If the variable is not set.
    """
    if not os.environ.get(VARIABLE):
        raise DatasetError(f"set {VARIABLE} to the folder that holds, or shall hold, the data sets")
    return Path(os.environ[VARIABLE])


def locate(name_or_path: str | os.PathLike, kind: str | None = None) -> Found:
    """Find a data set. A name of the catalogue goes before a file under ``libsvm``, that before a path.

    Parameters
    ----------
    name_or_path : str or path
        ``"digits"``, the name of a file under ``THESISLIB_DATA/libsvm`` (without ``.bz2``), or a path. To
        reach a folder that is named like a data set, write ``"./digits"`` or give a ``Path``.
    kind : {"images", "features", "clips"}, optional
        What the caller reads; an entry of the other kind is refused.

    Raises
    ------
    DatasetError
        If the name is unknown and no path, the files are missing, or the kind is the other one.
    """
    text = os.fspath(name_or_path)
    is_name = isinstance(name_or_path, str) and Path(text).name == text
    if is_name and (entry := known(text)):
        if kind and kind not in entry.kinds:
            raise DatasetError(f"{text} holds {entry.kinds[0]}, not {kind}: use load_{entry.kinds[0]}")
        if place := entry.place():
            return Found(text, place, entry)
        raise DatasetError(_missing(entry))
    base = os.environ.get(VARIABLE)
    if base and is_name and kind in (None, "features"):
        for place in (Path(base, "libsvm", f"{text}.bz2"), Path(base, "libsvm", text)):
            if place.is_file():
                return Found(text, place, None)
    if text and Path(text).exists():
        return Found(Path(text).resolve().name, Path(text), None)
    names = ", ".join(entry.name for entry in ENTRIES)
    raise DatasetError(f"no data set {text!r}: not a file or folder here, and not one of {names}")


def _missing(entry: Entry) -> str:
    if entry.package:
        return f"{entry.name} {entry.get}, and that is not here or not whole: install it anew"
    if not os.environ.get(VARIABLE):
        return f"{entry.name}: set {VARIABLE} to the folder that holds {entry.path}; {entry.get}"
    base = Path(os.environ[VARIABLE])
    lacking = next(file for file in entry.files if not (base / file).is_file())
    return f"{entry.name}: no {lacking} under {VARIABLE}={base}; {entry.get}"
