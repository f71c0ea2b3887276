"""One table of many runs: numbers, their means over seeds with intervals, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thesislib.companion import grid, records, shards
from thesislib.companion.grid import Point
from thesislib.companion.house import Chapter
from thesislib.companion.records import Record
from thesislib.evidence import MIN_SEEDS

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "p_"  # of a swept parameter: a frame may have a key of the same name
FIRST = ("artefact", "dataset", "method", "seed")
LAST = ("metric", "value", "wall_seconds")
ITEMS = ("image", "clip", "draw")  # averaged over before seeds are
ALL = "all"


def tables(chapter: Chapter, runs: Sequence[tuple[Point, Path]]) -> dict[str, pd.DataFrame]:
    """The three tables of a sweep, in the order of its points, whatever order they ended in.

    Parameters
    ----------
    runs
        Finished points, each with its folder.

    Returns
    -------
    dict
        ``table``: a row for each number that a record holds, with the swept parameters (``p_``), the
        artefact, the record's keys, metric, value and the artefact's wall time in seconds.
        ``means``: over root and inner seeds, after images or clips were averaged over, with a t-interval
        from five seeds on. ``verdicts``: a row for each claim at each point, and, if records of several
        root seeds can be put together, a row with ``p_seed`` "all" for the claim on all of them.
    """
    found = [(point, records.read_folder(folder / "records")) for point, folder in runs]
    table = _table(found)
    return {"table": table, "means": _means(table), "verdicts": _verdicts(chapter, found)}


def _table(found: Sequence[tuple[Point, dict[str, Record]]]) -> pd.DataFrame:
    import pandas as pd

    parts = [
        _long(record).assign(**_parameters(point.values), artefact=record.id)
        for point, kept in found
        for record in kept.values()
    ]
    if not parts:
        return pd.DataFrame(columns=[*FIRST, *LAST])
    table = pd.concat(parts, ignore_index=True)
    swept = [c for c in table.columns if c.startswith(PREFIX)]
    ends = [*swept, *FIRST, *LAST]
    inner = [c for c in table.columns if c not in ends]
    return table.reindex(columns=[*swept, *FIRST, *inner, *LAST])


def _long(record: Record) -> pd.DataFrame:
    """A record with a row for each measurement; one that has metric and value already keeps them."""
    import pandas as pd

    frame, keys = record.frame(), list(record.keys)
    parts, others = [], list(record.values)
    if {"metric", "value"} <= set(frame.columns):
        keys = [k for k in keys if k != "metric"]
        parts.append(frame[[*keys, "metric", "value"]])
        others = [c for c in others if c not in ("metric", "value")]
    if others:
        melted = frame.melt(keys, others, var_name="metric", value_name="measured")  # "value" may be a column
        parts.append(melted.rename(columns={"measured": "value"}))
    long = pd.concat(parts, ignore_index=True)
    if "dataset" not in long and len(record.dataset) == 1:
        long["dataset"] = record.dataset[0]
    return long.assign(wall_seconds=record.provenance["seconds"])


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, number of seeds and 95 % t-interval (from five seeds on) of every number."""
    import pandas as pd
    from scipy import special

    value = pd.to_numeric(table["value"].replace({"True": 1, "False": 0, True: 1, False: 0}), errors="coerce")
    numbers = table.assign(value=value.astype(float))[value.notna()]
    seeds = [c for c in (f"{PREFIX}seed", "seed") if c in numbers]
    over = {*seeds, *ITEMS, "value", "wall_seconds"}
    by = [c for c in numbers.columns if c not in over]
    once = numbers.groupby([*by, *seeds], dropna=False, sort=False)["value"].mean()
    grouped = once.groupby(level=by, dropna=False, sort=False).agg(["mean", "std", "count"]).reset_index()
    n = grouped["count"].where(grouped["count"] >= MIN_SEEDS)
    reach = special.stdtrit(n - 1, 0.975) * grouped["std"] / np.sqrt(n)
    mean = grouped["mean"]
    return grouped[by].assign(seeds=grouped["count"], mean=mean, low=mean - reach, high=mean + reach)


def _verdicts(chapter: Chapter, found: Sequence[tuple[Point, dict[str, Record]]]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        {**_parameters(point.values), "artefact": record.id, **_finding(claim)}
        for point, kept in found
        for record in kept.values()
        for claim in record.claims
    ]
    return pd.DataFrame([*rows, *_pooled(chapter, found)])


def _pooled(chapter: Chapter, found: Sequence[tuple[Point, dict[str, Record]]]) -> list[dict[str, Any]]:
    """Claims decided again on the records of all root seeds together, as merged shards would be."""
    import pandas as pd

    groups: dict[tuple, list[tuple[Point, Record]]] = {}
    for point, kept in found:
        rest = tuple((k, grid.shown(v)) for k, v in point.values.items() if k != "seed")
        for record in kept.values():
            groups.setdefault((rest, record.id), []).append((point, record))
    rows = []
    for (_, identity), members in groups.items():
        point, first = members[0]
        frame = pd.concat([record.frame() for _, record in members], ignore_index=True)
        if len(members) < 2 or not first.claims or frame.duplicated(first.keys).any():
            continue
        values = _parameters({**point.values, "seed": ALL})
        findings = shards.findings(chapter, identity, frame)
        rows += [{**values, "artefact": identity, **_finding(claim)} for claim in findings]
    return rows


def _finding(claim: dict[str, Any]) -> dict[str, Any]:
    names = ("source", "verdict", "estimate", "low", "high", "n", "pairs", "unit", "reason")
    return {"claim": claim["sentence"], **{name: claim[name] for name in names}}


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    return {f"{PREFIX}{name}": grid.shown(v) if isinstance(v, list) else v for name, v in values.items()}
