"""Executes a chapter and lets its results in only if they are whole."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thesislib.companion import house, making, provenance, records, runs
from thesislib.companion.house import Chapter, CompanionError
from thesislib.datasets.catalogue import VARIABLE
from thesislib.memo import write_atomic
from thesislib.settings import ChapterSettings

# One thread a kernel: chapters run side by side, and oversubscribed pools are slower than none.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# A kernel takes its folder and environment from the process that starts it, so a process runs one at a time.
ONE_AT_A_TIME = threading.Lock()


def up_to_date(chapter: Chapter, settings: ChapterSettings, target: Path) -> bool:
    """Whether `target` holds a whole run made from what is on disk now."""
    try:
        stamp = json.loads((target / "run.json").read_text())
        found = records.read_folder(target / "records")
        for record in found.values():
            records.check(record, None)
    except (OSError, ValueError, records.HollowRecord):
        return False
    names = {a.id for a in chapter.artefacts}
    whole = names <= set(found) and (target / f"{chapter.slug}.ipynb").is_file()
    inputs = stamp.get("inputs") if isinstance(stamp, dict) else None
    return whole and inputs == provenance.page_inputs(chapter, settings.dataset)


def run(
    chapter: Chapter,
    profile: str,
    values: dict[str, Any],
    *,
    force: bool = False,
    target: Path | None = None,
    progress: bool = True,
    workers: int = 1,
) -> tuple[Path, bool]:
    """Execute a chapter unless its results are up to date.

    The notebook is converted afresh from its script, executed in a folder of its own, inspected, and moved
    into place; until then nothing of the last good run is touched.

    Parameters
    ----------
    values
        Parameters to change.
    force
        Execute even if up to date.
    target
        Where the results go; None takes the book's folder, or ``runs/<hash>`` with changed parameters.
    progress
        Show a bar of cells.
    workers
        With several, that many processes first compute what the notebook will read, see
        :func:`thesislib.companion.ahead.compute`.

    Returns
    -------
    folder : Path
    executed : bool

    Raises
    ------
    CompanionError
        If a parameter is refused, the notebook raises, the disk is full, or the gate refuses the result; the
        message names the log that stays behind.
    """
    settings = runs.settle(chapter, profile, values)
    provenance.data_prints(settings.dataset)  # refuses what is not there
    for artefact in chapter.artefacts:
        making.grid_of(chapter, settings, artefact.id)  # and settings that leave nothing of one
    target = target or runs.folder(chapter, settings, book=True)
    if not force and up_to_date(chapter, settings, target):
        return target, False
    if workers > 1:
        from thesislib.companion import ahead  # which needs this module

        ahead.compute(chapter, settings, workers)
    log = target.parent / f"{target.name}.log"
    with ONE_AT_A_TIME, fresh(target) as part:
        try:
            _execute(chapter, settings, part, log, progress)
            gate(chapter, settings, part)
        except (CompanionError, OSError) as error:
            notebook = part / f"{chapter.slug}.ipynb"
            with contextlib.suppress(OSError):
                write_atomic(log.with_suffix(".failed.ipynb"), notebook.read_bytes())
            raise CompanionError(f"{error}; log: {house.short(log)}") from None
    log.with_suffix(".failed.ipynb").unlink(missing_ok=True)
    return target, True


@contextlib.contextmanager
def fresh(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `target` if its block ends well, and goes if it does not."""
    _sweep(target)
    part = target.parent / f".{target.name}.{os.getpid()}.part"
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise CompanionError(f"cannot write to {target.parent}: {error.strerror}") from None
    try:
        yield part
        _replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def gate(chapter: Chapter, settings: ChapterSettings, folder: Path) -> None:
    """Refuse a run that is not whole.

    Raises
    ------
    CompanionError
        If a cell raised or was not executed, an artefact of the chapter was not recorded, or a record's rows
        are not the grid that its settings declare.
    """
    import nbformat

    notebook = nbformat.read(folder / f"{chapter.slug}.ipynb", as_version=4)
    cells = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    for index, cell in enumerate(cells, 1):
        for output in cell.outputs:
            if output.output_type == "error":
                first = " ".join(output.evalue.split())[:300]
                raise CompanionError(f"{chapter.slug}: cell {index} raised {output.ename}: {first}")
        if cell.execution_count is None:
            raise CompanionError(f"{chapter.slug}: cell {index} of {len(cells)} was not executed")
    found = records.read_folder(folder / "records")
    if absent := [a.id for a in chapter.artefacts if a.id not in found]:
        raise CompanionError(f"{chapter.slug}: not recorded: {', '.join(absent)}")
    grids = importlib.import_module(f"thesislib.{chapter.package}.settings").grids(settings)
    for identity, record in found.items():
        records.check(record, grids.get(identity))


def _execute(chapter: Chapter, settings: ChapterSettings, folder: Path, log: Path, progress: bool) -> None:
    """Convert, execute, clean."""
    import jupytext
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    source, executed = folder / "source.ipynb", folder / f"{chapter.slug}.ipynb"
    notebook = jupytext.read(chapter.script)
    # Most scripts name the kernel in a header; Papermill goes by it.
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata.setdefault("kernelspec", python)
    nbformat.write(notebook, source)
    changed = runs.changes(chapter, settings)
    parameters = {"profile": settings.profile} | making.plain(changed)
    start = time.perf_counter()
    stamp = {
        "chapter": chapter.name,
        "profile": settings.profile,
        "parameters": parameters,
        "inputs": provenance.page_inputs(chapter, settings.dataset),
    }
    kernel = {"THESISLIB_OUT": str(folder / "records"), "IPYTHONDIR": str(_plain_ipython(folder))}
    # The kernel runs in another folder than the command was given in.
    places = (VARIABLE, "THESISLIB_CACHE", "THESISLIB_ROOT")
    kernel |= {name: os.path.abspath(value) for name in places if (value := os.environ.get(name))}
    with _environment(**kernel, **dict.fromkeys(THREADS, "1")), open(log, "w") as out:
        try:
            papermill.execute_notebook(
                str(source),
                str(executed),
                parameters,
                cwd=str(house.root()),
                progress_bar=progress and {"desc": chapter.name, "file": sys.stderr},
                stdout_file=out,
                stderr_file=out,
            )
        except papermill.PapermillExecutionError as error:
            out.write("\n".join(error.traceback))
            first = " ".join(str(error.evalue).split())[:300]
            raise CompanionError(f"{chapter.slug} stopped: {error.ename}: {first}") from None
        except DeadKernelError:
            raise CompanionError(
                f"{chapter.slug} stopped: its kernel was killed; is there enough memory?"
            ) from None
    notebook = nbformat.read(executed, as_version=4)
    nbformat.write(_clean(notebook), executed)
    source.unlink()
    shutil.rmtree(folder / "ipython", ignore_errors=True)
    stamp["seconds"] = round(time.perf_counter() - start, 1)
    write_atomic(folder / "run.json", json.dumps(stamp, indent=1).encode())


def _plain_ipython(folder: Path) -> Path:
    """An IPython without the reader's own start-up files, and without its note on local TCP."""
    home = folder / "ipython"
    config = home / "profile_default" / "ipython_kernel_config.py"
    write_atomic(config, b"get_config().IPKernelApp.log_level = 40\n")
    return home


def _clean(notebook: Any) -> Any:
    """Without timings, paths and progress bars: equal runs give equal notebooks. The log has the rest."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    return notebook


def _replace(part: Path, target: Path) -> None:
    old = target.parent / f".{target.name}.{os.getpid()}.old"
    if target.exists():
        os.replace(target, old)
    os.replace(part, target)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove what killed runs of the same chapter left behind, and put back the good run that one had moved away."""
    for leftover in target.parent.glob(f".{target.name}.*"):
        owner = leftover.name.rsplit(".", 2)[1]
        # In containers numbers of processes come again: what bears our own is not ours, we have not begun.
        gone = owner.isdigit() and (int(owner) == os.getpid() or not _alive(int(owner)))
        if leftover.suffix in (".part", ".old") and gone:
            if leftover.suffix == ".old" and not target.exists():  # killed within _replace
                os.replace(leftover, target)
            else:
                shutil.rmtree(leftover, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
