"""``thesis sweep`` and ``thesis diff``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from thesislib.companion import house
from thesislib.companion.house import CompanionError
from thesislib.settings import PROFILES

if TYPE_CHECKING:
    from thesislib.companion.sweep import State


def add(command: Callable[[str, Any, str], argparse.ArgumentParser]) -> None:
    """Add both sub-commands; `command` is the one of :mod:`thesislib.companion.cli`."""
    sub = command("sweep", _sweep, "Execute a chapter at every point of a grid, on cores or a cluster.")
    sub.add_argument("chapter", help="ch6, say")
    sub.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "V1,V2,..."), dest="values",
                     help="the values of a parameter; one that is itself a list in brackets: [[a,b],[c]]")  # fmt: skip
    sub.add_argument("--seeds", metavar="A:B", help="root seeds A to B-1, or a list A,B,C")
    sub.add_argument("--profile", choices=PROFILES, default="laptop", help="default: laptop")
    sub.add_argument("--on", default="local", metavar="local|tcp://HOST:PORT",
                     help="processes of this machine (default), or the Dask scheduler at an address")  # fmt: skip
    sub.add_argument("--workers", type=int, metavar="N", help="local processes (default: one a core)")
    sub.add_argument("--resume", action="store_true", help="go on with a sweep that was begun")
    sub.add_argument("--out", type=Path, metavar="DIR", help="default: runs/sweep-<chapter>-<hash>")

    sub = command("diff", _diff, "What differs between two records: numbers, verdicts, parameters, versions.")
    for name in ("first", "second"):
        sub.add_argument(name, help="a record's JSON file, a run's folder, or PLACE[/ID] of data/recorded")


def _sweep(a: argparse.Namespace) -> int:
    from thesislib.companion import executors, sweep

    values = [(name, several(text)) for name, text in a.values]
    values += [] if a.seeds is None else [("seed", seeds(a.seeds))]
    if len(grid := dict(values)) < len(values):
        raise CompanionError("a parameter is given twice; --seeds sets seed")
    if a.workers is not None and (a.workers < 1 or a.on != "local"):
        raise CompanionError("--workers goes with --on local, and is at least 1")
    if not grid:
        raise CompanionError(
            "a sweep goes over something: give -p NAME V1,V2 or --seeds 0:5; one run is `thesis run`"
        )
    planned = sweep.plan(house.chapter(a.chapter), a.profile, grid, a.out)
    if a.on == "local":
        width = min(a.workers or executors.cores(), len(planned.points))
        opened: executors.Opener = executors.processes
    elif "://" in a.on:
        width, opened = len(planned.points), lambda _: executors.cluster(a.on)
    else:
        raise CompanionError(f"--on {a.on!r} is neither local nor an address like tcp://host:8786")
    print(f"{len(planned.points)} points, into {house.short(planned.folder)}", flush=True)
    with _Bar(len(planned.points), planned.chapter.name) as report:
        state = sweep.run(planned, opened, width, resume=a.resume, report=report)
    print(f"{state.done} of {state.total} points done; open {house.short(planned.folder / 'index.html')}")
    for point in planned.points:
        if error := state.failed.get(point.name):
            print(f"failed: {point.label}: {error}", file=sys.stderr)
    if state.failed:
        raise CompanionError(f"{len(state.failed)} of {state.total} points failed; --resume tries them again")
    return 0


class _Bar:
    """A bar of points with the state beside it on a terminal; in a file, a line for each point that ended."""

    def __init__(self, total: int, name: str) -> None:
        from tqdm import tqdm

        shape = "{desc} {bar:20} {elapsed}<{remaining}{postfix}"
        hidden = not sys.stderr.isatty()
        self.bar = tqdm(total=total, desc=name, bar_format=shape, disable=hidden, dynamic_ncols=True)

    def __enter__(self) -> Callable[[State, str], None]:
        return self.show

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, state: State, text: str) -> None:
        ended = state.done + len(state.failed)
        if text:
            self.bar.write(f"[{ended}/{state.total}] {text}", file=sys.stderr)
        self.bar.n = ended
        self.bar.set_postfix_str(state.line())


def several(text: str) -> list[Any]:
    """The values of a parameter as typed: ``a,b``, or YAML's brackets where a value is itself a list.

    Raises
    ------
    CompanionError
        If it is neither, or one of them is no plain value.
    """
    from thesislib.companion.cli import _number, _read, _usable, _value

    if text.lstrip().startswith("["):
        try:
            found = _read(text)
        except yaml.YAMLError:
            raise CompanionError(f"cannot read the values {text!r}; give a,b or [[a,b],[c]]") from None
        found = [list(map(_number, item)) if isinstance(item, list) else _number(item) for item in found]
        if not all(_usable(one) for item in found for one in (item if isinstance(item, list) else [item])):
            raise CompanionError(
                f"cannot use the values {text!r}; give finite numbers or words, a,b or [[a,b],[c]]"
            )
        return found
    value = _value(text)
    return value if isinstance(value, list) else [value]


def seeds(text: str) -> list[int]:
    """Root seeds as typed: ``0:5`` is 0 to 4, ``1,3`` is those two.

    Raises
    ------
    CompanionError
        If it is neither, or names none.
    """
    try:
        if ":" in text:
            low, high = map(int, text.split(":"))
            found = list(range(low, high))
        else:
            found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found:
        raise CompanionError(f"--seeds {text!r} names no seeds; give 0:5 for 0 to 4, or 1,3")
    return found


def _diff(a: argparse.Namespace) -> int:
    from thesislib.companion import difference

    lines = difference.between(a.first, a.second)
    print("\n".join(lines) or "no difference")
    return 1 if lines else 0
