"""Results kept on disk, keyed by what they were computed from: arguments, source and library versions."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import os
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from thesislib import sources

try:
    import fcntl
except ImportError:  # not on Windows; two processes may then compute the same result
    fcntl = None  # type: ignore[assignment]

P = ParamSpec("P")
R = TypeVar("R")
# What this process was spared, by result; what it computed itself; and, for each memoised call under way, its
# results so far with their own seconds, the seconds that are not its own, and where its result will be.
_saved: dict[str, float] = {}
_made: set[str] = set()
_waited: list[float] = []  # seconds outside of memoised calls; a call under way keeps its own
_open: list[tuple[dict[str, float], list[float], Path]] = []
_BEGAN = time.time()
_edited: set[Path] = set()
calls: dict[str, tuple[str, dict[str, Any]]] = {}
"""What this process has asked for, made or read: result to the function's module and name, and its arguments."""


def folder() -> Path:
    """Where results are kept: ``THESISLIB_CACHE``, or ``_build/cache`` beside the package."""
    return Path(os.environ.get("THESISLIB_CACHE") or sources.PACKAGE.parent / "_build" / "cache")


def saved_seconds() -> float:
    """Computing time that this process was spared so far; added to wall time, it gives a run's true cost.

    A result that several others were made from counts once, however often it was read. What was waited for another
    process is taken off: that process computed meanwhile, and its result counts in full.
    """
    return sum(_saved.values()) - sum(_waited)


def unfinished() -> Path | None:
    """Where the memoised call under way can keep what it has so far, for a later process to go on from.

    The file's name goes with the result's, so that whoever asks again for the same result finds it; once the result
    is kept, it is removed. None outside of memoised calls, and where results are not kept.
    """
    return None if _edited or not _open else _open[-1][2].with_suffix(".unfinished")


def took_before(seconds: float) -> None:
    """Count what an earlier process spent on the memoised call under way: this one was spared it.

    Parameters
    ----------
    seconds : float
    """
    if _open:
        _, others, path = _open[-1]
        others.append(-seconds)
        _saved[path.name] = seconds


def memoised(data: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: compute once, then read from disk until an argument or the source changes.

    The key holds the function's name, its arguments (plain values, tuples, dataclasses), the code of every
    file of this package that its module imports (but for the caches themselves), and the versions of the
    libraries these import. A file that cannot be read back is computed again. Writing is atomic, so an
    interrupted run leaves complete results or none; a folder that cannot be made raises before anything is computed.
    Of several processes that want the same result, one computes it and the others wait. Where a file was edited after
    this process had loaded it, results are computed, and neither read nor kept: they would be the old code's under
    the new one's name.

    Parameters
    ----------
    data
        Name of the argument that names a data set; the fingerprint of that set's content joins the key.
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        since = time.time()

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            name = f"{function.__qualname__}-{_key(function, since, bound, data)}.pickle"
            path = folder() / function.__module__ / name
            calls[name] = f"{function.__module__}.{function.__qualname__}", dict(bound.arguments)
            if _edited:
                return function(*args, **kwargs)
            if (found := _read(path)) is not None:
                return _taken(*found)
            asked = time.perf_counter()
            with alone(path):
                (_open[-1][1] if _open else _waited).append(time.perf_counter() - asked)
                if (found := _read(path)) is not None:  # another process made it meanwhile
                    return _taken(*found)
                return make(path, *args, **kwargs)

        def make(path: Path, *args: P.args, **kwargs: P.kwargs) -> R:
            path.parent.mkdir(
                parents=True, exist_ok=True
            )  # what cannot be kept is not worth hours of computing
            _open.append(({}, [], path))
            start = time.perf_counter()
            try:
                result = function(*args, **kwargs)
            finally:
                elapsed = time.perf_counter() - start
                costs, inner, _ = _open.pop()
                if _open:
                    _open[-1][1].append(elapsed)
            costs = {**costs, path.name: elapsed - sum(inner)}
            _made.add(path.name)
            if _open:
                _open[-1][0].update(costs)
            write_atomic(path, pickle.dumps((result, costs), protocol=pickle.HIGHEST_PROTOCOL))
            path.with_suffix(".unfinished").unlink(missing_ok=True)
            return result

        return call

    return wrap


def _read(path: Path) -> tuple[Any, dict[str, float]] | None:
    """A result and what it and those inside it cost; None if it is not there or cannot be read."""
    try:
        result, costs = pickle.loads(path.read_bytes())
        return result, dict(costs)
    except MemoryError:
        raise
    except Exception:  # pickle raises nearly anything on a damaged file, which the next result replaces
        return None


def _taken(result: R, costs: dict[str, float]) -> R:
    """A result that was read, its cost put down as spared."""
    _saved.update({key: seconds for key, seconds in costs.items() if key not in _made})
    if _open:
        _open[-1][0].update(costs)
    return result


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Hold a file that is to be made against other processes, which wait here until it is.

    What cannot be locked is not, and may be made twice. Nobody waits in a circle: a result waits only for those
    that it is made from.

    Parameters
    ----------
    path : Path
        The file; the lock lies beside it, and goes when the block ends.

    Yields
    ------
    bool
        Whether it is held.
    """
    lock = path.with_suffix(".lock")
    with contextlib.ExitStack() as stack:
        held = False
        with contextlib.suppress(OSError):
            if fcntl is not None:
                lock.parent.mkdir(parents=True, exist_ok=True)
                stack.callback(os.close, _locked(lock))
                stack.callback(lock.unlink, missing_ok=True)
                held = True
        yield held


def _locked(lock: Path) -> int:
    """The lock's open file; it goes with the process, be it killed."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a disk without locks
            os.close(handle)
            lock.unlink(missing_ok=True)
            raise
        # Who held it before has removed the file, and whoever comes next locks a new one of its name.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(lock), os.fstat(handle)):
                return handle
        os.close(handle)


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file or the whole new one.

    Raises
    ------
    OSError
        If the folder cannot be made or written; no part of the file is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def source_hash(*files: str | Path, since: float = _BEGAN) -> str:
    """One hash of the code of some files and of all that they import, without the scaffold of data and caches.

    Parameters
    ----------
    *files : path
    since : float
        When their code was loaded, in seconds of the epoch: if a file is younger, nothing more is read from the
        cache or kept in it by this process, and a warning says so once.
    """
    found, times = _source(*map(str, files))
    edited = {file for file, when in times.items() if when > since}
    if edited and not _edited:
        warnings.warn(
            f"{min(edited)} was edited while this process ran: what it computes from here on is neither read from the "
            "cache nor kept; start the process, or the notebook's kernel, anew",
            stacklevel=2,
        )
    _edited.update(edited)
    return found


def _key(function: Callable, since: float, bound: inspect.BoundArguments, data: str | None) -> str:
    source = source_hash(inspect.getsourcefile(function), since=since)
    parts = [source, json.dumps(bound.arguments, sort_keys=True, default=_plain)]
    if data is not None:
        from thesislib.datasets import fingerprint  # here, because data sets may themselves be memoised

        parts.append(fingerprint(bound.arguments[data]))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


@functools.cache
def _source(*starts: str) -> tuple[str, dict[Path, float]]:
    """The hash, and when each file was changed; taken once a process, since loaded code does not change either."""
    files, versions = zip(*(sources.closure(Path(start)) for start in starts), strict=True)
    found = set().union(*files) - {sources.PACKAGE / name for name in sources.SCAFFOLD}
    times = {file: file.stat().st_mtime for file in found}
    return sources.code_fingerprint(found, *sorted(set().union(*versions))), times


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"type": type(value).__qualname__, **fields}  # a dataclass among them comes here again
    raise TypeError(f"cannot make a cache key of {type(value).__name__}; pass plain values or a dataclass")
