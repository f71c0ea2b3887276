"""What a run was made from: files, data, versions, machine."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from thesislib import datasets, sources
from thesislib.companion import house

CACHES = ("memo.py", "sources.py")  # they decide when something is computed, never what


def git_state() -> dict[str, str | bool | None]:
    """Commit, and whether tracked files differ from it; None where this is no git clone."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def method_files(chapter: house.Chapter) -> dict[str, str]:
    """The files that decide a chapter's numbers (not its drawing, nor the caches), each with its hash."""
    start = sources.PACKAGE / str(chapter.package) / "experiments.py"
    return _hashes(file for file in sources.closure(start)[0] if file.name not in CACHES)


def data_prints(names: Iterable[str]) -> dict[str, str]:
    """Fingerprint of each data set of a run.

    Raises
    ------
    CompanionError
        If one is missing or unknown; before anything is executed, then.
    """
    try:
        return {name: datasets.fingerprint(name)[:16] for name in names}
    except datasets.DatasetError as error:
        raise house.CompanionError(str(error)) from None


def page_inputs(chapter: house.Chapter, names: Iterable[str]) -> str:
    """One hash over everything that a chapter's page depends on: if it changes, the page is stale.

    Notebook, every module it imports, the chapter's rows of the artefact list, its reported and recorded
    numbers, the data sets `names`, library versions. Profile and parameters choose the folder instead.
    """
    files, versions = sources.closure(chapter.script)
    ids = {a.id for a in chapter.artefacts}
    data = house.root() / "data"
    files.append(Path(__file__).with_name("book.mplstyle"))
    for folder in (data / "reported", data / "recorded"):
        files += [f for f in folder.rglob("*") if f.suffix in (".csv", ".json") and f.stem in ids]
    files += sources.closure(sources.PACKAGE / str(chapter.package) / "claims.py")[0]
    python = f"python {sys.version_info.major}.{sys.version_info.minor}"
    prints = sorted(data_prints(names).items())
    return sources.fingerprint(set(files), *versions, python, repr(chapter), repr(prints))


def versions(chapter: house.Chapter) -> dict[str, str]:
    """Python and the libraries behind a chapter's numbers."""
    found = sources.closure(sources.PACKAGE / str(chapter.package) / "experiments.py")[1]
    return {"python": platform.python_version(), **dict(line.split("==") for line in found)}


@functools.cache
def machine() -> str:
    """Processor and cores, in words."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file() and (named := re.search(r"model name\s*:\s*(.+)", info.read_text())):
        model = named[1].strip()
    return f"{model}, {os.cpu_count()} cores"


def changed(recorded: dict[str, str]) -> list[str]:
    """Those of a record's files that are gone or different now."""
    base = sources.PACKAGE.parent
    decisive = {name: print_ for name, print_ in recorded.items() if Path(name).name not in CACHES}
    return [name for name, print_ in decisive.items() if _print_of(base / name) != print_]


def _hashes(files: Iterable[Path]) -> dict[str, str]:
    base = sources.PACKAGE.parent
    return {file.relative_to(base).as_posix(): _print_of(file) for file in files}


def _print_of(file: Path) -> str:
    return sources.fingerprint([file])[:16] if file.is_file() else "missing"


def _git(*words: str) -> str | None:
    command = ["git", "-C", str(house.root()), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
