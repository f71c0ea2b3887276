"""What differs between two records of one artefact: numbers, verdicts, parameters, what they were made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thesislib.companion import house, records
from thesislib.companion.blocks import number
from thesislib.companion.house import CompanionError
from thesislib.companion.records import Record

if TYPE_CHECKING:
    import pandas as pd

MADE_OF = ("versions", "files", "data")
MADE_WHERE = ("commit", "dirty", "device", "machine", "threads")


def between(first: str, second: str) -> list[str]:
    """Lines that say what differs; none if nothing but times does.

    Parameters
    ----------
    first, second
        A record's JSON file, a folder of records (a run, a point of a sweep), or ``PLACE`` or ``PLACE/ID`` of
        ``data/recorded``.

    Raises
    ------
    CompanionError
        If one of them is no record, or they have no artefact in common.
    """
    one, two = _read(first), _read(second)
    if not (shared := [i for i in one if i in two]):
        raise CompanionError(
            f"no artefact in common: {first} has {', '.join(one)}; {second} has {', '.join(two)}"
        )
    lines = [f"{i}: only in {first}" for i in one if i not in two]
    lines += [f"{i}: only in {second}" for i in two if i not in one]
    for identity in shared:
        lines += [f"{identity}: {line}" for line in compared(one[identity], two[identity])]
    return lines


def compared(first: Record, second: Record) -> Iterator[str]:
    """What differs between two records, line by line; how long they took is no difference."""
    yield from _changes("profile", {"": first.profile}, {"": second.profile})
    yield from _changes("data", {"": first.dataset}, {"": second.dataset})
    yield from _changes("parameter", first.settings, second.settings, but=("profile", "dataset"))
    yield from _verdicts(first.claims, second.claims)
    yield from _numbers(first, second)
    was, now = first.provenance, second.provenance
    for kind in MADE_OF:
        yield from _changes(kind.removesuffix("s"), was.get(kind, {}), now.get(kind, {}))
    for kind in MADE_WHERE:
        yield from _changes(kind, {"": was.get(kind)}, {"": now.get(kind)})


def _numbers(first: Record, second: Record) -> Iterator[str]:
    """Rows of one alone, and each measurement that differs: how many rows, by how much at most, and where."""
    one, two = first.frame(), second.frame()
    if sorted(first.keys) != sorted(second.keys):
        yield f"keys: {', '.join(first.keys)} -> {', '.join(second.keys)}"
        return
    sides = [records.by_text(first.keys, frame) for frame in (one, two)]
    both = sides[0].merge(sides[1], on=first.keys, how="outer", suffixes=("", " after"), indicator="side")
    side = both["side"].value_counts()
    for name, word in (("left_only", "first"), ("right_only", "second")):
        if side[name]:
            yield f"rows: {side[name]} only in the {word}"
    both = both[both["side"] == "both"]
    for value in first.values:
        if value not in second.values:
            yield f"column {value}: only in the first"
        elif "seconds" not in value and len(both):
            yield from _measurement(both, first.keys, value)
    yield from (f"column {value}: only in the second" for value in second.values if value not in first.values)


def _measurement(both: pd.DataFrame, keys: list[str], value: str) -> Iterator[str]:
    old, new = both[value], both[f"{value} after"]
    if not {old.dtype.kind, new.dtype.kind} <= set("biuf"):
        if unlike := int((old.astype(str) != new.astype(str)).sum()):
            yield f"{value}: {unlike} of {len(both)} rows differ"
        return
    gap = np.abs(new.to_numpy(float) - old.to_numpy(float))
    if unlike := int((gap > 0).sum()):
        row = both.iloc[int(np.nanargmax(gap))]
        where = ", ".join(f"{key} {row[key]}" for key in keys)
        change = f"{row[value]} -> {row[f'{value} after']}"
        yield (
            f"{value}: {unlike} of {len(both)} rows differ, most by {number(float(gap.max()))} ({change}) at "
            f"{where}; mean {number(float(old.mean()))} -> {number(float(new.mean()))}"
        )


def _verdicts(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> Iterator[str]:
    one, two = ({c["sentence"]: _decided(c) for c in claims} for claims in (first, second))
    yield from _changes("claim", one, two)


def _decided(claim: dict[str, Any]) -> str:
    if claim["estimate"] is None:
        return claim["verdict"]
    low, high = number(claim["low"], True), number(claim["high"], True)
    return f"{claim['verdict']} {number(claim['estimate'], True)} [{low}, {high}]"


def _changes(
    kind: str, first: Mapping[str, Any], second: Mapping[str, Any], but: tuple[str, ...] = ()
) -> Iterator[str]:
    for name in dict.fromkeys([*first, *second]):
        one, two = (side.get(name, "none") for side in (first, second))
        if one != two and name not in but:
            yield f"{kind} {name}: {one} -> {two}".replace(" :", ":")


def _read(place: str) -> dict[str, Record]:
    base = house.root() / "data" / "recorded"
    for path in (Path(place), base / place, base / f"{place}.json"):
        if path.is_file():
            record = records.read(path)
            return {record.id: record}
        if path.is_dir():
            inner = path / "records"
            if found := records.read_folder(inner if inner.is_dir() else path):
                return found
    raise CompanionError(
        f"{place} holds no record; give a record's JSON file, a run's folder, or PLACE/ID of data/recorded"
    )
