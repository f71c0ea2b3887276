"""What a chapter found, in thirty seconds, and its records in one file; both made when the book is put together."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from thesislib.companion import blocks, house, provenance
from thesislib.companion.house import Chapter, CompanionError
from thesislib.companion.records import Record

MARK = "<!-- results -->"
"""Where a notebook's first cell has room for :func:`results`; until the book is made nothing shows there."""

STATED = ("caption", "abstract")  # sources of a claim that are the thesis's own words
AGAINST = ("does not hold", "undecided")
WORST_FIRST = (*AGAINST, *(word for word in house.VERDICTS if word not in AGAINST))

Claimed = tuple[str, str]
"""The verdict that counts most against a claim, and its list item in MyST."""


def filled(notebook: bytes, text: str) -> bytes:
    """An executed notebook with `text` in the place of :data:`MARK`.

    The cell that Papermill injected is kept out of the book: it repeats what the parameters' cell says.

    Raises
    ------
    CompanionError
        If the mark is not in the notebook's first cell.
    """
    import nbformat

    book = nbformat.reads(notebook.decode(), as_version=4)
    if MARK not in book.cells[0].source:
        raise CompanionError(f"the first cell of the notebook has no {MARK}, so its results have no place")
    book.cells[0].source = book.cells[0].source.replace(MARK, text)
    for cell in book.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"] = [*cell.metadata["tags"], "remove-cell"]
    return nbformat.writes(book).encode()


def results(chapter: Chapter, found: Sequence[Record], kept: Sequence[Record], archive: str) -> str:
    """What came of a chapter's claims, what did not hold, and how to repeat it, in MyST.

    Parameters
    ----------
    found, kept
        Records of this run and of the committed long ones, in reading order.
    archive
        Name of the file of :func:`packed`.
    """
    stated, others = claims(found, kept)
    parts = [f"**Result.**\n\n{_tally(found, kept)}"]
    if stated:
        parts.append(f"**What the thesis states, what did not hold first:**\n\n{listed(stated)}")
    if against := [c for c in others if c[0] in AGAINST]:
        title = "What did not hold, or is undecided, of what one would expect and of our own checks"
        parts.append(blocks.dropdown(f"{title} ({len(against)} of {len(others)})", listed(against)))
    parts.append(_repeat(chapter, found))
    number = chapter.number
    parts.append(
        f"**Take it with you:** {{download}}`the notebook of chapter {number}, executed <{chapter.slug}.ipynb>`; "
        f"{{download}}`records of chapter {number}: numbers and figures (ZIP) <{archive}>`."
    )
    return blocks.joined(parts)


def packed(chapter: Chapter, found: Sequence[Record], kept: Sequence[Record], pictures: Path) -> bytes:
    """All records of a chapter in one ZIP file; equal records make equal bytes.

    Parameters
    ----------
    found, kept
        As for :func:`results`.
    pictures
        The run's folder of records: it has the figures of the long runs too, as ``fig-6.2@a9a-paper.svg``.
    """
    files = {"README.txt": _readme(chapter, found, kept).encode()}
    places = [(r, r.profile, r.id) for r in found]
    places += [(r, r.folder.name, f"{r.id}@{r.folder.name}") for r in kept]
    for record, place, picture in places:
        paths = [record.file("csv"), record.file("json"), pictures / f"{picture}.svg"]
        files |= {f"{place}/{record.id}{p.suffix}": p.read_bytes() for p in paths if p.is_file()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{chapter.slug}/{name}")  # its date is 1980, whenever it is made
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            zipped.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _runs(found: Sequence[Record], kept: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Records run by run, each with what the page calls it."""
    long = sorted(kept, key=lambda r: r.folder.name)
    groups = [list(group) for _, group in itertools.groupby(long, lambda r: r.folder.name)]
    return [("this run", list(found)), *((f"recorded run, {group[0].profile}", group) for group in groups)]


def _data(group: Sequence[Record]) -> list[str]:
    """Data sets on which a run has decided anything."""
    return list(dict.fromkeys(name for r in group if r.claims for name in r.dataset))


def _tally(found: Sequence[Record], kept: Sequence[Record]) -> str:
    """A line for each run and state: profile, data, how many claims came out which way; states are never added."""
    lines = []
    for name, group in _runs(found, kept):
        title = name if name != "this run" else f"{name}, {group[0].profile}"
        states: dict[str, list[Record]] = {}
        for record in group:
            stale = name != "this run" and provenance.changed(record)
            states.setdefault("stale" if stale else record.state(), []).append(record)
        for state in (s for s in house.STATES if s in states):
            count = Counter(claim["verdict"] for r in states[state] for claim in r.claims)
            if not count:
                continue
            verdicts = [f"{blocks.verdict(word)} {count[word]}" for word in house.VERDICTS if count[word]]
            data = ", ".join(_data(states[state]))
            where = (
                f" on *{data}* ({blocks.STATE_WORDS[state]})" if data else f" ({blocks.STATE_WORDS[state]})"
            )
            claims = f"{count.total()} claim{'s' * (count.total() > 1)}"
            lines.append(f"- **{title[0].upper() + title[1:]}**{where}. {claims}: {' · '.join(verdicts)}")
    return "\n".join(lines) or "No claim has been put to a run."


def claims(found: Sequence[Record], kept: Sequence[Record]) -> tuple[list[Claimed], list[Claimed]]:
    """Every sentence once, with how it came out: of the thesis, and all others; what counts against it first.

    Parameters
    ----------
    found, kept
        As for :func:`results`.
    """
    told: dict[tuple[bool, str], dict[str, dict[str, list[str]]]] = {}
    for name, group in _runs(found, kept):
        for record in sorted(group, key=lambda r: house.reading_order(r.id)):
            # A run is called by its data, but for the one that the page shows, where this is all of it.
            whole = name == "this run" and set(record.dataset) == set(_data(group))
            where = name if whole or not record.dataset else ", ".join(record.dataset)
            link = f"{{ref}}`{record.artefact.label} <{blocks.target(record.id)}>`"
            for claim in record.claims:
                cases = told.setdefault((claim["source"] in STATED, claim["sentence"]), {})
                cases.setdefault(claim["verdict"], {}).setdefault(where, []).append(link)
    lists: tuple[list[Claimed], list[Claimed]] = [], []
    for (stated, sentence), cases in told.items():
        worst, *rest = [word for word in WORST_FIRST if word in cases]
        line = f"- {blocks.verdict(worst)} {sentence.rstrip('.')}. {_places(cases[worst])}."
        # That it was not tested elsewhere is no news.
        line += "".join(f" {blocks.verdict(w)}: {_places(cases[w])}." for w in rest if w != WORST_FIRST[-1])
        lists[not stated].append((worst, line))
    for claimed in lists:
        claimed.sort(key=lambda c: WORST_FIRST.index(c[0]))
    return lists


def _places(places: dict[str, list[str]]) -> str:
    return "; ".join(f"{', '.join(links)} ({where})" for where, links in places.items())


def listed(told: Sequence[Claimed]) -> str:
    """Claims of :func:`claims` as a list."""
    return "{.findings}\n" + "\n".join(line for _, line in told)


def _repeat(chapter: Chapter, found: Sequence[Record]) -> str:
    """The command of this run, and how long it took."""
    if not found:
        return ""
    minutes = max(1, round(sum(r.provenance["seconds"] for r in found) / 60))
    return (
        f"**Repeat it:** `thesis run {chapter.name} --profile {found[0].profile}`. Took {minutes} "
        f"minute{'s' * (minutes > 1)} on one core of {found[0].provenance['machine']}."
    )


def _readme(chapter: Chapter, found: Sequence[Record], kept: Sequence[Record]) -> str:
    """What is in the file of :func:`packed`, and where it comes from."""
    lines = [
        f"Chapter {chapter.number}, {chapter.short}: records of its figures and tables",
        "",
        "A record is a CSV (the numbers, keys first) and a JSON (which columns are keys, the claims with verdict",
        "and interval, settings, seeds, provenance, the CSV's SHA-256); a figure has its SVG beside them.",
        "Folders are runs: a profile's name is the run that the chapter's page shows, the others are long runs.",
    ]
    for name, group in _runs(found, kept):
        for r in group:
            p = r.provenance
            lines += [
                "",
                f"{r.artefact.label}: {r.artefact.title}",
                f"  {name}, profile {r.profile}; data: {', '.join(r.dataset) or 'none'}; {r.rows} rows",
                f"  commit {p['commit'] or 'unknown'}{', with uncommitted changes' if p['dirty'] else ''}; "
                f"started {p['started']}; SHA-256 of the CSV {r.sha256}",
                f"  made again by: {blocks.command(r)}",
            ]
    return "\n".join(lines) + "\n"
