"""The scoreboard: what stands where, for the command line, for the book, and for machines."""

from __future__ import annotations

import csv
import functools
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thesislib.companion import blocks, house, provenance, records, reported, summary
from thesislib.companion.house import Artefact

FORMAT = 1  # of scoreboard.json
REPEATED = (
    "dataset",
    "run on",
    "who",
    "metric",
    "unit",
    "repeated",
    "sd",
    "reported",
    "confidence",
    "difference",
)
COLUMNS = (
    "id", "chapter", "section", "title", "recorded", "profile", "state", "dataset", "claim", "source", "verdict",
    "estimate", "low", "high", "threshold", "unit", "n", "pairs", "reason", "command", "commit",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """An artefact, its state, and the record behind it, if there is one."""

    artefact: Artefact
    state: str
    record: records.Record | None


def rows(profile: str, *, lenient: bool = False) -> list[Row]:
    """All artefacts as the last run of a profile left them; `lenient` as for :func:`records.read_folder`."""
    found = []
    for chapter in house.chapters().values():
        folder = house.root() / "_build" / profile / chapter.slug / "records"
        kept = records.read_folder(folder, lenient=lenient)
        found += [_row(artefact, kept.get(artefact.id), chapter) for artefact in chapter.artefacts]
    return found


def recorded_rows(*, lenient: bool = False) -> list[Row]:
    """The committed long runs, one row each; `lenient` as for :func:`records.read_folder`."""
    found = records.recorded(lenient=lenient)
    return [Row(r.artefact, "stale" if provenance.changed(r) else r.state(), r) for r in found]


def document(found: Iterable[Row], kept: Iterable[Row], profile: str) -> dict[str, Any]:
    """All that the scoreboard knows, as plain data: what ``thesis list --json`` prints and the book offers.

    Parameters
    ----------
    found
        This copy's rows; an artefact without a record has no run among its ``runs``.
    kept
        Long runs of any of these artefacts; artefacts that `found` lacks are added.
    """
    entries: dict[str, dict[str, Any]] = {}
    for row in found:
        entry = entries[row.artefact.id] = _entry(row.artefact)
        entry["state"] = row.state
        entry["runs"] += [_run(row, profile)] if row.record else []
    for row in kept:
        entry = entries.setdefault(row.artefact.id, _entry(row.artefact))
        entry["runs"].append(_run(row, profile))
    return {"format": FORMAT, "profile": profile, "artefacts": list(entries.values())}


def as_json(board: dict[str, Any]) -> str:
    """A document as text."""
    return json.dumps(board, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(board: dict[str, Any]) -> str:
    """A document as a flat table: one line for each claim of each run; without either, the line stays short."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for entry in board["artefacts"]:
        own = {k: entry[k] for k in ("id", "chapter", "section", "title")}
        if not entry["runs"]:
            writer.writerow(own | {"state": entry["state"]})
        for run in entry["runs"]:
            facts = {k: run[k] for k in ("recorded", "profile", "state", "command", "commit")}
            facts["dataset"] = " ".join(run["dataset"])
            for claim in run["claims"] or [{}]:
                low, high = claim.get("interval") or (None, None)
                kept = ("source", "verdict", "estimate", "threshold", "unit", "n", "pairs", "reason")
                said = {k: claim.get(k) for k in kept}
                writer.writerow(
                    own | facts | said | {"claim": claim.get("sentence"), "low": low, "high": high}
                )
    return out.getvalue()


def totals(found: Iterable[Row]) -> dict[str, int]:
    """How many of the thesis's artefacts are in each state; extras are not the thesis's, so not counted."""
    count = Counter(row.state for row in found if row.artefact.kind != "Extra")
    return {state: count[state] for state in house.STATES}


def totals_line(found: list[Row]) -> str:
    """The totals in words."""
    count = totals(found)
    return " · ".join(f"{n} {name}" for name, n in count.items() if n or name != "stale")


def verdicts_by_chapter(found: list[Row], kept: list[Row]) -> str:
    """Every claim once, chapter by chapter, with its verdicts, for the conclusion; the thesis's own are open."""
    parts = []
    for chapter in house.chapters().values():
        if not chapter.artefacts:
            continue
        here, long = (
            [r.record for r in part if r.artefact.chapter == chapter.number and r.record]
            for part in (found, kept)
        )
        stated, others = summary.claims(here, long)
        parts.append(f"**Chapter {chapter.number}, {chapter.short}**")
        parts.append(summary.listed(stated) if stated else "Of what the thesis states nothing was decided.")
        if others:
            title = f"What one would expect, and our own checks ({len(others)})"
            parts.append(blocks.dropdown(title, summary.listed(others)))
    return "\n\n".join(parts) + "\n"


def _entry(artefact: Artefact) -> dict[str, Any]:
    slug = house.chapter(f"ch{artefact.chapter}").slug
    return {
        "id": artefact.id,
        "chapter": artefact.chapter,
        "section": artefact.section,
        "kind": artefact.kind,
        "title": artefact.title,
        "page": f"notebooks/{slug}.html#{blocks.target(artefact.id)}",
        "claim": artefact.claim,
        "claim_from": artefact.claim_from,
        "state": None,
        "reported_note": artefact.reported_note,
        "reported": _read(house.root() / "data" / "reported" / f"{artefact.id}.csv", ("value",)),
        "runs": [],
    }


def _run(row: Row, profile: str) -> dict[str, Any]:
    record = row.record
    assert record is not None
    long = record.folder.parent == house.root() / "data" / "recorded"
    slug = house.chapter(f"ch{row.artefact.chapter}").slug
    name = reported.file_of(record.id, record.folder.name if long else "")
    pairs = _read(
        house.root() / "_build" / profile / slug / "records" / name,
        ("reported", "repeated", "sd", "difference"),
    )
    return {
        "recorded": record.folder.name if long else None,
        "profile": record.profile,
        "state": row.state,
        "dataset": record.dataset,
        "stands_for": record.stands_for,
        "parameters": record.parameters,
        "seeds": record.seeds,
        "commit": record.provenance.get("commit"),
        "dirty": record.provenance.get("dirty"),
        "command": blocks.command(record),
        "claims": [_claim(c) for c in record.claims],
        "repeated": [{k: p[k] for k in REPEATED} for p in pairs if p["repeated"] is not None],
    }


def _claim(claim: dict[str, Any]) -> dict[str, Any]:
    kept = ("sentence", "source", "verdict", "estimate", "threshold", "unit", "n", "pairs", "reason")
    interval = None if claim["low"] is None else [claim["low"], claim["high"]]
    return {k: claim.get(k) for k in kept} | {"interval": interval}


def _read(path: Path, numbers: Sequence[str]) -> list[dict[str, Any]]:
    """A CSV as dictionaries, without pandas; empty measurements are None, and no file is no rows."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {k: _number(v) if k in numbers else v for k, v in line.items()} for line in csv.DictReader(file)
        ]


def _number(text: str) -> float | str | None:
    try:
        return float(text) if text else None
    except ValueError:
        return text  # a difference may be a sentence


def _row(artefact: Artefact, record: records.Record | None, chapter: house.Chapter) -> Row:
    if record is None:
        return Row(artefact, "missing", None)
    try:
        now = _inputs(chapter.name, tuple(record.settings["dataset"]))
    except house.CompanionError:
        now = ""  # its data are gone, so nobody can say that it still stands
    return Row(artefact, record.state() if record.provenance["inputs"] == now else "stale", record)


@functools.cache
def _inputs(chapter: str, names: tuple[str, ...]) -> str:
    return provenance.page_inputs(house.chapter(chapter), names)
