"""Where things are, and what the thesis holds: its chapters and its 62 figures and tables."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

VERDICTS = ("holds", "does not hold", "undecided", "not tested at this profile")
STATES = ("missing", "no-data", "stand-in", "thesis-data", "paper", "stale")


class CompanionError(Exception):
    """A user's mistake or an unfit environment; the command line prints it as one line."""


def root() -> Path:
    """The project's folder: ``THESISLIB_ROOT``, else the folder above the installed package.

    Raises
    ------
    CompanionError
        If that folder holds no ``data/artefacts.yml``: the book needs a clone, not only the package.
    """
    folder = Path(os.environ.get("THESISLIB_ROOT") or Path(__file__).resolve().parents[2]).resolve()
    if not (folder / "data" / "artefacts.yml").is_file():
        raise CompanionError(
            f"no data/artefacts.yml in {folder}; `pip install -e .` in a clone, or set THESISLIB_ROOT"
        )
    return folder


def short(path: Path) -> Path:
    """A path below the project's folder without that folder; any other as it is."""
    return path.relative_to(root()) if path.is_relative_to(root()) else path


@dataclass(frozen=True)
class Artefact:
    """A figure or table of the thesis, or an extra that the thesis does not have.

    Attributes
    ----------
    id : str
        ``fig-6.2``, ``tab-2.4``, or ``extra-6.A``.
    chapter : int
    section, title : str
    claim : str or None
        What it is expected to show.
    claim_from : str or None
        ``caption``, ``abstract`` or ``inferred``.
    datasets : tuple of str or None
        The thesis's data sets for it; empty where it needs none, None where they are not known.
    reported_note : str
        Why nothing, or not everything, is known of the thesis's numbers.
    """

    id: str
    chapter: int
    section: str
    title: str
    claim: str | None = None
    claim_from: str | None = None
    datasets: tuple[str, ...] | None = None
    reported_note: str = ""

    @property
    def kind(self) -> str:
        return {"fig": "Figure", "tab": "Table", "extra": "Extra"}[self.id.partition("-")[0]]

    @property
    def number(self) -> str:
        return self.id.partition("-")[2]

    @property
    def label(self) -> str:
        """As it is printed: ``Figure 6.2``."""
        return f"{self.kind} {self.number}"


@dataclass(frozen=True)
class Chapter:
    """A chapter of the thesis and the files that belong to it.

    Attributes
    ----------
    number : int
    title, slug, short : str
        ``slug`` names its page and notebook.
    package : str or None
        Name below ``thesislib``; None for the prose chapters.
    source : str
        The paper or pre-print it came from.
    reconstruction : bool
        Whether the method had to be rebuilt without the thesis's text.
    artefacts : tuple of Artefact
        In the thesis's order, extras last.
    """

    number: int
    title: str
    slug: str
    short: str
    package: str | None
    source: str
    reconstruction: bool
    artefacts: tuple[Artefact, ...]

    @property
    def name(self) -> str:
        return f"ch{self.number}"

    @property
    def script(self) -> Path:
        """The percent half of the notebook."""
        return root() / "notebooks" / f"{self.slug}.py"

    @property
    def written(self) -> bool:
        return self.script.is_file()


@functools.cache
def chapters() -> dict[str, Chapter]:
    """All chapters by name, ``ch1`` to ``ch7``, read from ``data/artefacts.yml``."""
    text = (root() / "data" / "artefacts.yml").read_text(encoding="utf-8")
    table = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    found = {}
    for entry in table["chapters"]:
        number = entry["number"]
        artefacts = tuple(
            _artefact(row, entry)
            for row in [*table["artefacts"], *table.get("extras", [])]
            if _chapter_of(row["id"]) == number
        )
        found[f"ch{number}"] = Chapter(
            number=number,
            title=entry["title"],
            slug=entry["slug"],
            short=entry["short"],
            package=entry.get("package"),
            source=entry.get("source", ""),
            reconstruction=entry.get("reconstruction", False),
            artefacts=artefacts,
        )
    return found


def chapter(name: str) -> Chapter:
    """The chapter called `name` (``ch6``, ``6`` or its slug).

    Raises
    ------
    CompanionError
        If there is none, with the known names.
    """
    for known in chapters().values():
        if name in (known.name, str(known.number), known.slug):
            return known
    raise CompanionError(f"no chapter {name!r}; known: {', '.join(chapters())}")


def artefact(identity: str) -> Artefact:
    """The artefact called `identity`.

    Raises
    ------
    CompanionError
        If there is none.
    """
    everything = [a for c in chapters().values() for a in c.artefacts]
    for known in everything:
        if known.id == identity:
            return known
    first, last = everything[0], everything[-1]
    hint = f"`thesis list` has all, {first.id} to {last.id}; `thesis show ch{last.chapter}` takes a chapter"
    raise CompanionError(f"no artefact {identity!r}; {hint}")


def reading_order(identity: str) -> tuple[int, str, int, str]:
    """Sort key of an artefact's `identity`: chapter, then figures, tables, extras in the order of their numbers."""
    kind, _, number = identity.partition("-")
    major, _, minor = number.partition(".")
    rank = {"fig": "0", "tab": "1", "extra": "2"}[kind]
    return int(major), rank, int(minor) if minor.isdigit() else 0, minor


def _chapter_of(identity: str) -> int:
    return reading_order(identity)[0]


def _artefact(row: dict, chapter: dict) -> Artefact:
    datasets = row.get("datasets", chapter.get("datasets"))
    return Artefact(
        id=row["id"],
        chapter=chapter["number"],
        section=str(row["section"]),
        title=row["title"],
        claim=row.get("claim"),
        claim_from=row.get("claim_from"),
        datasets=None if datasets is None else tuple(datasets),
        reported_note=row.get("reported_note", ""),
    )
