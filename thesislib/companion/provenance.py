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
from typing import TYPE_CHECKING

from thesislib import datasets, sources
from thesislib.companion import house
from thesislib.datasets.catalogue import known

if TYPE_CHECKING:
    from thesislib.companion.records import Record

# A record has the fingerprint of its data, and `changed` compares that of embedded ones, which glyphs.py draws.
NEUTRAL = (
    *(f"{sources.PACKAGE.name}/{name}" for name in sources.SCAFFOLD),
    "thesislib/datasets/glyphs.py",
)


def git_state(chapter: house.Chapter) -> dict[str, str | bool | None]:
    """The commit, and whether a run of a chapter would be of other code; None where this is no git clone.

    It would be if a tracked file differs from the commit, records aside, or a file behind the chapter's numbers is
    in no commit at all.
    """
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    status = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)data/recorded")
    tracked = _git("ls-files")
    if status is None or tracked is None:
        return {"commit": commit, "dirty": True}  # whatever git cannot tell
    return {
        "commit": commit,
        "dirty": bool(status) or not method_files(chapter).keys() <= {*tracked.split("\n")},
    }


def method_files(chapter: house.Chapter) -> dict[str, str]:
    """The files that decide a chapter's numbers (no drawing, nothing neutral), each with its code's hash."""
    hashes = _hashes(sources.closure(sources.PACKAGE / str(chapter.package) / "experiments.py")[0])
    return {name: print_ for name, print_ in hashes.items() if name not in NEUTRAL}


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
    files += (data / "recorded" / chapter.name).glob("*")  # what is kept for its page alone
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


def peak_memory() -> int | None:
    """The most memory that this process has held so far, in MB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (
        1_000_000 if sys.platform == "darwin" else 1000
    )


def changed(record: Record) -> list[str]:
    """What a committed record was made from and is different now: files, and embedded data sets.

    A file that the chapter does not import any more cannot matter. What stopped importing it has changed, and
    is named itself.
    """
    recorded, data = record.provenance["files"], record.provenance["data"]
    now = method_files(house.chapter(f"ch{record.artefact.chapter}"))
    files = [name for name, print_ in now.items() if recorded.get(name) != print_]
    embedded = [name for name in data if (entry := known(name)) and entry.package and entry.present]
    return files + [name for name in embedded if data_prints([name])[name] != data[name]]


def _hashes(files: Iterable[Path]) -> dict[str, str]:
    base = sources.PACKAGE.parent
    return {file.relative_to(base).as_posix(): _print_of(file) for file in files}


def _print_of(file: Path) -> str:
    return _print_as_of(file, file.stat().st_mtime_ns) if file.is_file() else "missing"


@functools.cache
def _print_as_of(file: Path, modified: int) -> str:
    """Read once and not for each of a chapter's records; `modified` tells a file that has changed since."""
    return sources.code_fingerprint([file])[:16]


def _git(*words: str) -> str | None:
    command = ["git", "-C", str(house.root()), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
