"""A record: what one run found for one artefact. Its CSV holds the numbers, its JSON what they are.

``images`` are a figure's files by suffix, ``want`` the keys that rows must have, ``name`` is the record's, for the
error; ``keys`` are its columns.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import itertools
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thesislib.companion import house
from thesislib.companion.house import CompanionError
from thesislib.memo import write_atomic

if TYPE_CHECKING:
    import pandas as pd

# Rows are the full product of a mapping from key to values, or the union of several blocks of that kind.
Grid = Mapping[str, Sequence] | Sequence[Mapping[str, Sequence]]

MAX_RECORDED = 200_000
FORMAT = 1

# What the JSON holds: a type, a list of such, or fields by name, of which there may be more.
_NUMBER = (int, float, type(None))
_CLAIM = {
    **dict.fromkeys(("sentence", "source", "verdict", "pairs", "unit", "reason"), str),
    **dict.fromkeys(("estimate", "low", "high", "n"), _NUMBER),
}
_ORIGIN = {
    "commit": (str, type(None)),
    "dirty": (bool, type(None)),
    "seconds": (int, float),
    **dict.fromkeys(("inputs", "machine", "device", "started"), str),
    "files": {},
    "data": {},
    "versions": {},
}
_SHAPE = {
    **dict.fromkeys(("id", "profile", "sha256", "alt", "spread"), str),
    "dataset": [str],
    "keys": [str],
    "values": [str],
    "rows": int,
    "seeds": [int],
    "claims": [_CLAIM],
    "settings": {"dataset": [str]},
    "parameters": {},
    "provenance": _ORIGIN,
    "stands_for": {},
    "same_as": (str, type(None)),
}


class HollowRecord(CompanionError):
    """A record that looks complete and is not."""


@dataclass(frozen=True)
class Record:
    """One artefact as one run found it.

    Attributes
    ----------
    id, profile : str
        Artefact and profile.
    dataset : list of str
        The data sets the run used.
    keys, values : list of str
        Columns of the CSV that say which observation a row is, and those that hold measurements.
    rows : int
    sha256 : str
        Of the CSV's bytes.
    claims : list of dict
        :class:`thesislib.evidence.Finding` as dictionaries.
    settings, parameters : dict
        All settings; and those that differ from the profile's own.
    seeds : list of int
    alt : str
        What the figure shows, for those who cannot see it.
    spread : str
        How much the numbers may differ on another machine.
    provenance : dict
        Commit, whether the tree was dirty when the run started, input hash, files behind the numbers, data
        fingerprints, versions, machine, device, start (UTC), seconds and ``peak_mb``. ``made`` is ``experiment`` if no
        notebook was run, and then ``threads`` says on how many.
    folder : Path
        Where it was read from; not stored.
    """

    id: str
    profile: str
    dataset: list[str]
    keys: list[str]
    values: list[str]
    rows: int
    sha256: str
    claims: list[dict[str, Any]]
    settings: dict[str, Any]
    parameters: dict[str, Any]
    seeds: list[int]
    alt: str
    spread: str
    provenance: dict[str, Any]
    stands_for: dict[str, str] = field(default_factory=dict)
    same_as: str | None = None
    format: int = FORMAT
    folder: Path = field(default=Path(), compare=False)

    @property
    def artefact(self) -> house.Artefact:
        return house.artefact(self.id)

    def file(self, suffix: str) -> Path:
        """Path of one of its files, ``csv``, ``json``, ``svg`` or ``png``.

        Parameters
        ----------
        suffix : str
        """
        return self.folder / f"{self.id}.{suffix}"

    def frame(self) -> pd.DataFrame:
        """The numbers.

        Raises
        ------
        HollowRecord
            If the CSV is not the one that was recorded, or lacks a column that the record names.
        """
        import pandas as pd

        content = _read(self.file("csv"))
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise HollowRecord(f"{self.file('csv').name} is not the file its record describes; run it again")
        # Text keys may be empty or read "None": only an empty measurement is a missing one.
        empty = {value: [""] for value in self.values}
        found = pd.read_csv(io.BytesIO(content), keep_default_na=False, na_values=empty)
        if absent := [c for c in [*self.keys, *self.values] if c not in found]:
            raise HollowRecord(
                f"{self.file('csv').name} has no column {', '.join(absent)}, which its record names; run it again"
            )
        return found

    def state(self) -> str:
        """``no-data``, ``stand-in``, ``thesis-data`` or ``paper``; ``stale`` is for who knows the current inputs."""
        known = self.artefact.datasets
        if not known and not self.dataset:
            return "no-data"
        if not known or not self.dataset or not set(self.dataset) <= set(known):
            return "stand-in"
        changed = set(self.parameters) - {"dataset"}  # a long run is made one data set at a time
        return "paper" if self.profile == "paper" and not changed else "thesis-data"


def write(record: Record, frame: pd.DataFrame, images: Mapping[str, bytes] | None = None) -> Record:
    """Write a record's files into its folder, the JSON last, so that a record with a JSON is whole.

    Returns
    -------
    Record
        With row count and hash filled in.

    Raises
    ------
    CompanionError
        If the frame lacks its columns.
    """
    absent = [c for c in [*record.keys, *record.values] if c not in frame.columns]
    if absent:
        raise CompanionError(f"{record.id}: the frame has no column {', '.join(absent)}")
    table = frame[[*record.keys, *record.values]]
    content = table.to_csv(index=False, float_format="%.12g", lineterminator="\n").encode()
    record = dataclasses.replace(record, rows=len(table), sha256=hashlib.sha256(content).hexdigest())
    record.file("json").unlink(missing_ok=True)
    write_atomic(record.file("csv"), content)
    for suffix, image in (images or {}).items():
        write_atomic(record.file(suffix), image)
    write_json(record)
    return record


def write_json(record: Record) -> None:
    """Write a record's JSON alone."""
    facts = {f.name: getattr(record, f.name) for f in dataclasses.fields(record) if f.name != "folder"}
    text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(record.file("json"), text.encode())


def read(path: Path) -> Record:
    """The record in a JSON file.

    Raises
    ------
    HollowRecord
        If the file is not there, is no JSON, lacks a field or has another kind of value in it, or is of no artefact
        that is known here.

    Parameters
    ----------
    path : Path
    """
    try:
        facts = json.loads(_read(path))
        if facts.get("format") != FORMAT:
            raise HollowRecord(
                f"{house.short(path)} has format {facts.get('format')}, this version reads {FORMAT}"
            )
        record = Record(**facts, folder=path.parent)
        for name, shape in _SHAPE.items():
            _fits(name, getattr(record, name), shape)
        house.artefact(record.id)
    except HollowRecord:
        raise
    except (ValueError, TypeError, AttributeError, CompanionError) as error:
        raise HollowRecord(f"{house.short(path)} is no record ({error}); run the chapter again") from None
    return record


def read_folder(folder: Path, *, lenient: bool = False) -> dict[str, Record]:
    """All records of a folder by artefact; empty where there is no folder.

    Parameters
    ----------
    folder : Path
    lenient : bool
        Whether a file that is no record is said on standard error and counts as missing, so that it keeps nobody from
        looking at the others. A book must not be made so: it would lack what was recorded.

    Raises
    ------
    HollowRecord
        As :func:`read`, if not `lenient`.
    """
    found = _each(folder.glob("*.json"), lenient)
    return {r.id: r for r in sorted(found, key=lambda r: house.reading_order(r.id))}


def recorded(*, lenient: bool = False) -> list[Record]:
    """The committed long runs, in reading order; `lenient` and errors as for :func:`read_folder`."""
    files = (house.root() / "data" / "recorded").glob("*-*/*.json")
    return sorted(_each(files, lenient), key=lambda r: (house.reading_order(r.id), r.folder.name))


def keys_of(grid: Grid) -> list[str]:
    """The key columns of a grid, in order."""
    return list(_blocks(grid)[0])


def cells(name: str, keys: Sequence[str], grid: Grid) -> dict[tuple[str, ...], None]:
    """The rows that a grid declares, as text: a CSV does not know 0.10 from 0.1 nor 1 from 1.0.

    Parameters
    ----------
    name
        The artefact, for the error.
    keys
        The order of the key columns.

    Raises
    ------
    HollowRecord
        If the grid has other keys.
    CompanionError
        If its blocks overlap.
    """
    found: dict[tuple[str, ...], None] = {}
    for block in _blocks(grid):
        if sorted(block) != sorted(keys):
            declared = ", ".join(block)
            raise HollowRecord(f"{name}: keys are {', '.join(keys)}, its settings declare {declared}")
        new = dict.fromkeys(itertools.product(*([_text(v) for v in block[key]] for key in keys)))
        if twice := next((cell for cell in new if cell in found), None):
            raise CompanionError(f"{name}: two blocks of its grid declare {twice}")
        found |= new
    return found


def rows_of(keys: Sequence[str], frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """The key columns of each row, as :func:`cells` writes them."""
    return [tuple(_text(v) for v in row) for row in frame[list(keys)].itertuples(index=False)]


def by_text(keys: Sequence[str], frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with its key columns as :func:`cells` writes them, so that 1 meets 1.0 and a name meets a number.

    Parameters
    ----------
    keys
        Its key columns.
    """
    import pandas as pd

    text = pd.DataFrame(rows_of(keys, frame), columns=list(keys), index=frame.index, dtype=object)
    return frame.assign(**{key: text[key] for key in keys})


def check_cells(name: str, keys: Sequence[str], frame: pd.DataFrame, want: Collection[tuple]) -> None:
    """Refuse a frame whose rows are not those of :func:`cells`.

    Raises
    ------
    HollowRecord
        With the number of missing or surplus rows and the first one.
    """
    have = dict.fromkeys(rows_of(keys, frame))
    if lacking := [cell for cell in want if cell not in have]:
        raise HollowRecord(f"{name}: {len(lacking)} of {len(want)} cells missing, first {lacking[0]}")
    if extra := [cell for cell in have if cell not in want]:
        raise HollowRecord(f"{name}: {len(extra)} cells its settings do not declare, first {extra[0]}")


def check(record: Record, grid: Grid | None) -> None:
    """Refuse a hollow record: rows missing or doubled, measurements missing, files missing.

    Parameters
    ----------
    grid
        What the rows must be, see :func:`cells`. None checks only what the record says of itself.

    Raises
    ------
    HollowRecord
        Saying what is missing.
    """
    frame = record.frame()
    if len(frame) != record.rows:
        raise HollowRecord(f"{record.id}: {len(frame)} rows, its record says {record.rows}")
    if frame.empty:
        raise HollowRecord(f"{record.id}: no rows")
    holes = frame[record.values].replace([float("inf"), float("-inf")], float("nan")).isna().sum()
    if holes.any():
        where = ", ".join(f"{n} in {column}" for column, n in holes.items() if n)
        raise HollowRecord(f"{record.id}: missing values, {where}")
    if frame.duplicated(record.keys).any():
        raise HollowRecord(f"{record.id}: rows are doubled on {', '.join(record.keys)}")
    if grid is not None:
        check_cells(record.id, record.keys, frame, cells(record.id, record.keys, grid))
    if record.alt:
        for suffix in ("svg", "png"):
            if not record.file(suffix).is_file():
                raise HollowRecord(f"{record.id}: {record.id}.{suffix} is missing")


def _each(files: Iterable[Path], lenient: bool) -> Iterator[Record]:
    for file in files:
        try:
            yield read(file)
        except HollowRecord as error:
            if not lenient:
                raise
            _say(f"thesis: {error}; until then it counts as missing")


@functools.cache  # once a process
def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _fits(name: str, value: Any, shape: Any) -> None:
    """Refuse a value that is not of its shape, see ``_SHAPE``."""
    if isinstance(shape, dict) and isinstance(value, dict):
        if absent := [key for key in shape if key not in value]:
            raise ValueError(f"{name} has no {', '.join(absent)}")
        for key, inner in shape.items():
            _fits(f"{name}: {key}", value[key], inner)
    elif isinstance(shape, list) and isinstance(value, list):
        for item in value:
            _fits(name, item, shape[0])
    elif isinstance(shape, dict | list) or not isinstance(value, shape):
        would = {dict: "fields by name", list: "a list"}.get(type(shape), "another kind")
        raise ValueError(f"{name} is {str(value)[:40]!r}, expected {would}")


def _blocks(grid: Grid) -> Sequence[Mapping[str, Sequence]]:
    return [grid] if isinstance(grid, Mapping) else grid


def _text(value: Any) -> str:
    try:
        return f"{float(value):.10g}"
    except (TypeError, ValueError):
        return str(value)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HollowRecord(f"cannot read {path.name}: {error.strerror}") from None
