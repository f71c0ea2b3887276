"""Puts the pages together and renders them; executes nothing."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from thesislib import datasets, sources
from thesislib.companion import blocks, board, board_page, citation, cost, house, records, summary
from thesislib.companion.house import Chapter, CompanionError
from thesislib.memo import write_atomic

MATHJAX = ("tex-mml-chtml.js", "output/chtml/fonts", "input/tex/extensions")


def build(profile: str) -> tuple[Path, bool]:
    """Render the book of a profile from its executed chapters.

    Returns
    -------
    index : Path
        The page to open.
    rendered : bool
        False if the last build already shows exactly this.

    Raises
    ------
    CompanionError
        If a written chapter has no executed notebook, or Sphinx warns of anything.
    """
    base = house.root() / "_build"
    site, index, stamp = base / "site", base / "html" / "index.html", base / "html" / ".stamp"
    print_ = _stage(site, profile)
    if index.is_file() and stamp.is_file() and stamp.read_text() == print_:
        return index, False
    with _aside(base / "html"):  # or pages that are gone would stay
        _render(site, index)
    write_atomic(stamp, print_.encode())
    return index, True


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[None]:
    """Put a folder out of the way; back again if what takes its place does not come about."""
    before = folder.with_name(f".{folder.name}-before")
    if before.exists():  # a killed process left it, and half of what was to take its place
        shutil.rmtree(folder, ignore_errors=True)
    elif folder.exists():
        folder.rename(before)
    try:
        yield
    except BaseException:  # Ctrl-C too
        if before.exists():
            shutil.rmtree(folder, ignore_errors=True)
            before.rename(folder)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _render(site: Path, index: Path) -> None:
    base = site.parent
    log = base / "book.log"
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    words = [str(site), "--path-output", str(base.parent), "-n", "-W", "--keep-going"]
    with open(log, "w") as out:
        code = subprocess.run([*jupyter_book, *words], stdout=out, stderr=out).returncode
    if code or not index.is_file():
        lines = [line for line in log.read_text().splitlines() if "WARNING" in line or "ERROR" in line]
        raise CompanionError(f"the book did not build: {lines[0] if lines else ''} (log: _build/book.log)")


def _stage(site: Path, profile: str) -> str:
    """Write the sources of the book into `site`; a hash over them.

    Files that are already as they should be keep their dates, so Sphinx renders only what changed.
    """
    base = house.root()
    pages: dict[str, bytes] = {"index.md": (base / "index.md").read_bytes()}
    for file in sorted((base / "book").rglob("*")):
        if file.is_file():
            pages[file.relative_to(base).as_posix()] = file.read_bytes()
    for file in sorted((base / "data" / "recorded").glob("*-*/*.*")):
        pages[file.relative_to(base).as_posix()] = file.read_bytes()
    pages["_toc.yml"] = (base / "_toc.yml").read_bytes()
    pages["_config.yml"] = _config(base / "_config.yml", profile)
    pages |= _mathjax()
    for chapter in house.chapters().values():
        if chapter.package and chapter.written:
            mine = _executed(chapter, profile)
            if taken := sorted(pages.keys() & mine.keys()):  # one chapter would show the other's picture
                raise CompanionError(
                    f"{chapter.name}: another page has a file {taken[0]}; give it another name"
                )
            pages |= mine
    found, kept = board.rows(profile), board.recorded_rows()
    every = [row.record for row in [*found, *kept] if row.record]
    whole = board.document(found, kept, profile)
    written = {
        "generated/cost.md": cost.tables(every),
        "generated/scoreboard.md": board_page.scoreboard(whole),
        "generated/minute.md": board_page.minute(whole),
        "generated/totals.md": board_page.totals_table(whole, "book/scoreboard.html"),
        "generated/verdicts.md": board.verdicts_by_chapter(found, kept),
        "generated/datasets.md": _datasets(),
        "generated/cite.md": citation.bibtex(base / "CITATION.cff"),
        "book/_static/scoreboard.json": board.as_json(whole),
        "book/_static/scoreboard.csv": board.as_csv(whole),
    }
    pages |= {name: text.encode() for name, text in written.items()} | _cover(found)
    for name, content in pages.items():
        path = site / name
        if not path.is_file() or path.read_bytes() != content:
            write_atomic(path, content)
    for path in sorted(site.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(site).as_posix() not in pages:
            path.unlink()
    code = sorted(sources.PACKAGE.rglob("*.py"))  # the API pages come from docstrings
    parts = [f"{n} {hashlib.sha256(c).hexdigest()}" for n, c in sorted(pages.items())]
    return sources.fingerprint(code, *parts)


def _config(path: Path, profile: str) -> bytes:
    """The book's configuration: a banner where the profile is no result, Colab buttons where they lead somewhere."""
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not config["repository"]["url"]:
        del config["repository"], config["launch_buttons"]
    if profile == "smoke":
        config["sphinx"]["config"]["html_theme_options"]["announcement"] = (
            "This copy was built at the smoke profile: it shows that everything runs, its numbers are no results."
        )
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode()


def _cover(found: list[board.Row]) -> dict[str, bytes]:
    """The strip of pictures on the front page; what they show is for the book to say, in ``book/cover.py``."""
    cards = runpy.run_path(str(house.root() / "book" / "cover.py"))["cards"]
    pages, items = {}, []
    for card in cards({row.artefact.id: row.record for row in found if row.record}):
        name = f"generated/cover-{card.record.id}.svg"
        pages[name] = card.image
        items.append(
            f":::{{grid-item-card}} {card.title}\n:img-top: {name}\n:img-alt: {card.alt}\n"
            f":link: {blocks.target(card.record.id)}\n:link-type: ref\n\n"
            f"{card.text} *Chapter {card.record.artefact.chapter}.*\n:::"
        )
    grid = ["::::{grid} 2 3 5 5\n:gutter: 2\n:class-container: cover", *items, "::::"]
    return pages | {"generated/cover.md": "\n\n".join(grid).encode()}


def _executed(chapter: Chapter, profile: str) -> dict[str, bytes]:
    folder = house.root() / "_build" / profile / chapter.slug
    notebook = folder / f"{chapter.slug}.ipynb"
    if not notebook.is_file():
        raise CompanionError(
            f"{chapter.name} has not been run at {profile}: `thesis run {chapter.name} --profile {profile}`"
        )
    pages = {f"records/{f.name}": f.read_bytes() for f in sorted((folder / "records").iterdir())}
    found = list(records.read_folder(folder / "records").values())
    kept = [r for r in records.recorded() if r.artefact.chapter == chapter.number]
    archive = f"{chapter.slug}-records.zip"
    text = summary.results(chapter, found, kept, archive)
    return pages | {
        f"notebooks/{notebook.name}": summary.filled(notebook.read_bytes(), text),
        f"notebooks/{archive}": summary.packed(chapter, found, kept, folder / "records"),
    }


def _datasets() -> str:
    """The table of data sets; whether a file is there is this machine's business, so it is left out."""
    lines = ["| Name | Holds | Size | Lies in | Terms | Chapters |", "|---|---|---|---|---|---|"]
    for e in datasets.available():
        place = f"`{e.path}`" if e.path else f"the package {e.package}"
        chapters = ", ".join(map(str, e.chapters))
        lines.append(f"| `{e.name}` | {', '.join(e.kinds)} | {e.size} | {place} | {e.terms} | {chapters} |")
    return "\n".join(lines)


@functools.cache
def _mathjax() -> dict[str, bytes]:
    """MathJax from its package, so that the book needs no network."""
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise CompanionError("sphinx-mathjax-offline is not installed: `pip install -e .[book]`")
    base = Path(spec.origin).parent / "static" / "mathjax"
    found = {}
    for name in MATHJAX:
        files = [base / name] if (base / name).is_file() else sorted((base / name).rglob("*"))
        for file in (f for f in files if f.is_file()):
            found[f"book/_static/mathjax/{file.relative_to(base).as_posix()}"] = file.read_bytes()
    return found


def clean(everything: bool) -> list[str]:
    """Remove what was generated; memoised experiments and other runs only if `everything`."""
    base = house.root() / "_build"
    keep = set() if everything else {"cache"}
    gone = [p for p in base.glob("*") if p.name not in keep] if base.is_dir() else []
    if everything and (runs := house.root() / "runs").is_dir():
        gone.append(runs)
    for path in gone:
        # A link, to a disk with room say, goes; what it leads to is its owner's.
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return [path.relative_to(house.root()).as_posix() for path in gone]
