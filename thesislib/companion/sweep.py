"""A sweep: one chapter at every point of a grid, each point a run with the book's own runner and gate."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thesislib.companion import executors, gather, grid, house, runner, sweep_page
from thesislib.companion.grid import Point
from thesislib.companion.house import Chapter, CompanionError
from thesislib.memo import write_atomic


@dataclass(frozen=True)
class Sweep:
    """What is to be run, and where its results go.

    Attributes
    ----------
    chapter, profile
        As ``thesis run`` takes them.
    grid : dict
        Parameter to its values.
    folder : Path
        ``sweep.json``, ``points/``, the tables and ``index.html``.
    points : tuple of Point
        The grid's points, validated.
    """

    chapter: Chapter
    profile: str
    grid: dict[str, list]
    folder: Path
    points: tuple[Point, ...]

    def place(self, point: Point) -> Path:
        """Folder of a point's results; its log lies beside it."""
        return self.folder / "points" / point.name

    def whole(self, point: Point) -> bool:
        """Whether a point's results are there, and made from what is on disk here and now."""
        return runner.up_to_date(self.chapter, point.settings, self.place(point))

    def card(self) -> dict[str, Any]:
        """What ``sweep.json`` holds, and tells one sweep from another."""
        return {"chapter": self.chapter.name, "profile": self.profile, "grid": self.grid}


@dataclass
class State:
    """How far a sweep is."""

    total: int
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for people."""
        parts = [f"{self.done} of {self.total} points done"]
        if self.failed:
            parts.append(f"{len(self.failed)} failed")
        more = f" and {len(self.running) - 3} more" if len(self.running) > 3 else ""
        parts.append(f"running {'; '.join(self.running[:3])}{more}" if self.running else "nothing runs")
        return " · ".join(parts)


def plan(chapter: Chapter, profile: str, values: Mapping[str, Sequence], folder: Path | None = None) -> Sweep:
    """A sweep with all its points validated; nothing is written.

    Parameters
    ----------
    folder
        None takes ``runs/sweep-<chapter>-<hash>``, the hash over profile and grid.

    Raises
    ------
    CompanionError
        As :func:`thesislib.companion.grid.points`.
    """
    own = {name: list(several) for name, several in values.items()}
    points = tuple(grid.points(chapter, profile, own))
    whole = Sweep(chapter, profile, own, folder or Path(), points)
    if folder is None:
        key = Point(whole.card(), points[0].settings).name.rpartition("-")[2]
        folder = house.root() / "runs" / f"sweep-{chapter.name}-{key}"
    return Sweep(chapter, profile, own, folder.resolve(), points)


def run(
    sweep: Sweep, opened: executors.Opener, width: int, *, resume: bool, report: Callable[[State, str], None]
) -> State:
    """Run the points that are not there yet, then gather all of them.

    Parameters
    ----------
    opened, width
        Executor, and how many points are handed to it at a time; see :func:`executors.outcomes`.
    resume
        Go on in a folder that holds this sweep already.
    report
        Called with the state about once a second, and with a line of text when a point has ended.

    Raises
    ------
    CompanionError
        If another sweep runs in the folder, or it holds something else, or it cannot be written.
    """
    with _locked(sweep.folder):
        _claim(sweep, resume)
        state = State(len(sweep.points))
        waiting = [p for p in sweep.points if not sweep.whole(p)]
        state.done = len(sweep.points) - len(waiting)
        _tidy(sweep)
        try:
            _drive(sweep, waiting, state, opened, width, report)
        finally:
            _tidy(sweep)
        gathered = gather.tables(sweep.chapter, [(p, sweep.place(p)) for p in sweep.points if sweep.whole(p)])
        with _disk(sweep.folder):
            for name, frame in gathered.items():
                content = frame.to_csv(index=False, float_format="%.12g", lineterminator="\n")
                write_atomic(sweep.folder / f"{name}.csv", content.encode())
            write_atomic(sweep.folder / "index.html", sweep_page.page(sweep, gathered, state).encode())
    return state


def execute(chapter: str, profile: str, values: dict[str, Any], target: str) -> str:
    """Run one point, wherever this is called: in a process of a pool, or on a cluster's machine.

    Returns
    -------
    str
        Why it failed; empty if it did not. No exception leaves, since not every one survives the way back.
    """
    try:
        runner.run(house.chapter(chapter), profile, values, target=Path(target), progress=False)
    except CompanionError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _drive(
    sweep: Sweep,
    waiting: list[Point],
    state: State,
    opened: executors.Opener,
    width: int,
    report: Callable[[State, str], None],
) -> None:
    """Execute points and keep the state."""
    since = time.monotonic()

    def beat(text: str = "") -> None:
        parts = {p.name.rsplit(".", 2)[0][1:] for p in (sweep.folder / "points").glob(".*.part")}
        state.running = [p.label for p in waiting if p.name in parts]
        report(state, text)

    work = functools.partial(_at, sweep.chapter.name, sweep.profile, str(sweep.folder / "points"))
    jobs = {p.name: p for p in waiting}
    items = [(name, _from_anywhere(point)) for name, point in jobs.items()]
    for (name, _), result in executors.outcomes(work, items, opened, width, beat):
        point = jobs[name]
        failure = result if isinstance(result, str) else str(result) or type(result).__name__
        error = failure or _misfit(sweep, point)
        if error:
            state.failed[name] = error
        else:
            state.done += 1
        ended = f"FAILED: {error}" if error else "done"
        beat(f"{point.label}: {ended} ({time.monotonic() - since:.0f} s)")


def _from_anywhere(point: Point) -> dict[str, Any]:
    """A point's values with the paths of data sets of one's own from the root: a worker may stand in another folder."""
    own = {"dataset": point.settings.dataset} if "dataset" in point.values else {}
    return {**point.values, **own}


def _at(chapter: str, profile: str, points: str, item: tuple[str, dict[str, Any]]) -> str:
    """:func:`execute` of an item of the queue."""
    name, values = item
    return execute(chapter, profile, values, f"{points}/{name}")


def _misfit(sweep: Sweep, point: Point) -> str:
    """Why results that a worker calls finished are none here; empty if they are."""
    if not sweep.place(point).is_dir():
        return f"its worker wrote to {sweep.place(point)}, which is not there: no folder shared with this machine"
    if sweep.whole(point):
        return ""
    return (
        "code, data or library versions are others than here and now: the worker's own, or edited meanwhile"
    )


def _claim(sweep: Sweep, resume: bool) -> None:
    """Make sure that the folder holds this sweep and no other."""
    card, held = sweep.folder / "sweep.json", None
    with contextlib.suppress(OSError, ValueError):
        held = json.loads(card.read_text())
    ready = sum(sweep.whole(p) for p in sweep.points) if held == sweep.card() else 0
    if ready and not resume:
        raise CompanionError(
            f"{sweep.folder} holds this sweep, {ready} of {len(sweep.points)} points done: --resume goes on"
        )
    if held is None and any(p.name != ".lock" for p in sweep.folder.iterdir()):
        raise CompanionError(f"{sweep.folder} is not empty and holds no sweep; give another --out")
    if held not in (None, sweep.card()):
        raise CompanionError(f"{sweep.folder} holds another sweep, {json.dumps(held)}; give another --out")
    with _disk(sweep.folder):
        write_atomic(card, json.dumps(sweep.card(), indent=1).encode())
        (sweep.folder / "points").mkdir(exist_ok=True)


def _tidy(sweep: Sweep) -> None:
    """Remove unfinished points; whoever holds the lock knows that nobody works on them."""
    for leftover in (sweep.folder / "points").glob(".*.*"):
        if leftover.suffix in (".part", ".old"):
            shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder against a second sweep; the lock goes with the process, be it killed."""
    with contextlib.ExitStack() as stack:
        with _disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = stack.enter_context(open(folder / ".lock", "a+"))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise CompanionError(f"another sweep runs in {folder} ({handle.read().strip()})") from None
        with _disk(folder):
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {socket.gethostname()}")
            handle.flush()
        yield


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """A user's line for what the disk refuses."""
    try:
        yield
    except OSError as error:
        raise CompanionError(f"cannot write to {folder}: {error.strerror}") from None
