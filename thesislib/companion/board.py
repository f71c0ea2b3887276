"""The scoreboard: what stands where, for the command line and for the book."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from typing import Any

from thesislib.companion import blocks, house, provenance, records
from thesislib.companion.house import Artefact


@dataclass(frozen=True)
class Row:
    """An artefact, its state, and the record behind it, if there is one."""

    artefact: Artefact
    state: str
    record: records.Record | None

    def as_dict(self) -> dict[str, Any]:
        """The stable form that ``thesis list --json`` prints."""
        record = self.record
        claims = [
            {
                "sentence": c["sentence"],
                "source": c["source"],
                "verdict": c["verdict"],
                "estimate": c["estimate"],
                "interval": None if c["low"] is None else [c["low"], c["high"]],
                "unit": c["unit"],
                "reason": c["reason"],
            }
            for c in (record.claims if record else [])
        ]
        return {
            "id": self.artefact.id,
            "chapter": self.artefact.chapter,
            "title": self.artefact.title,
            "state": self.state,
            "profile": record.profile if record else None,
            "dataset": record.dataset if record else [],
            "claims": claims,
        }


def rows(profile: str) -> list[Row]:
    """All artefacts as the last run of a profile left them."""
    found = []
    for chapter in house.chapters().values():
        folder = house.root() / "_build" / profile / chapter.slug / "records"
        kept = records.read_folder(folder)
        found += [_row(artefact, kept.get(artefact.id), chapter) for artefact in chapter.artefacts]
    return found


def recorded_rows() -> list[Row]:
    """The committed long runs, one row each."""
    return [Row(r.artefact, "stale" if provenance.changed(r) else r.state(), r) for r in records.recorded()]


def totals(found: list[Row]) -> dict[str, int]:
    """How many of the thesis's artefacts are in each state; extras are not the thesis's, so not counted."""
    count = Counter(row.state for row in found if row.artefact.kind != "Extra")
    return {state: count[state] for state in house.STATES}


def totals_line(found: list[Row]) -> str:
    """The totals in words."""
    count = totals(found)
    return " · ".join(f"{n} {name}" for name, n in count.items() if n or name != "stale")


def scoreboard(found: list[Row], kept: list[Row], profile: str) -> str:
    """The scoreboard in MyST: a heading and a table a chapter, `profile` and long runs in columns of their own."""
    parts = []
    for chapter in house.chapters().values():
        if chapter.artefacts:
            mine = [row for row in found if row.artefact.chapter == chapter.number]
            title = f"## {chapter.number} {chapter.short}\n\n{totals_line(mine)}"
            parts.append(f"{title}\n\n{_table(mine, kept, profile)}")
    return "\n\n".join(parts) + "\n"


def _table(found: list[Row], kept: list[Row], profile: str) -> str:
    lines = [f"| Artefact | State | Verdicts, {profile} | Verdicts, recorded runs |", "|---|---|---|---|"]
    for row in found:
        link = f"{{ref}}`{row.artefact.label} <{blocks.target(row.artefact.id)}>`"
        record = row.record
        data = ", ".join(record.dataset) or "made by the notebook" if record else ""
        long = [_recorded_cell(r) for r in kept if r.artefact.id == row.artefact.id]
        cells = [
            f"{link}<br>{row.artefact.title}",
            blocks.state(row.state),
            f"{_verdicts(record)}<br>{data}" if record else "",
            "<br>".join(long),
        ]
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)


def verdicts_by_chapter(found: list[Row], kept: list[Row]) -> str:
    """Every decided claim, chapter by chapter, for the conclusion."""
    parts = []
    for chapter in house.chapters().values():
        mine = [r for r in [*found, *kept] if r.artefact.chapter == chapter.number and r.record]
        items = [
            f"- {{ref}}`{r.artefact.label} <{blocks.target(r.artefact.id)}>` ({_where(r)}) "
            + blocks.finding(claim).removeprefix("- ")
            for r in sorted(mine, key=lambda r: house.reading_order(r.artefact.id))
            for claim in r.record.claims
        ]
        if chapter.artefacts:
            text = "{.findings}\n" + "\n".join(items) if items else "Not regenerated yet: no verdict."
            parts.append(f"**Chapter {chapter.number}, {chapter.short}**\n\n{text}")
    return "\n\n".join(parts) + "\n"


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


def _where(row: Row) -> str:
    assert row.record is not None
    return f"{', '.join(row.record.dataset) or 'made by the notebook'}, {row.record.profile}"


def _verdicts(record: records.Record | None) -> str:
    """How many claims came out which way."""
    if record is None:
        return ""
    count = Counter(claim["verdict"] for claim in record.claims)
    shown = [f"{blocks.verdict(word)} {count[word]} ×" for word in house.VERDICTS if count[word]]
    return ", ".join(shown) or "no claim"


def _recorded_cell(row: Row) -> str:
    assert row.record is not None
    stale = " (stale)" if row.state == "stale" else ""
    return f"{', '.join(row.record.dataset)}, {row.record.profile}{stale}: {_verdicts(row.record)}"
