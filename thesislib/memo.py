"""Results kept on disk, keyed by what they were computed from: arguments, source and library versions."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from thesislib import sources

P = ParamSpec("P")
R = TypeVar("R")
# What this process was spared, by result; what it computed itself; and, for each memoised call under way, its
# results so far with their own seconds and the seconds that calls inside it took.
_saved: dict[str, float] = {}
_made: set[str] = set()
_open: list[tuple[dict[str, float], list[float]]] = []
calls: dict[str, tuple[str, dict[str, Any]]] = {}
"""What this process has asked for, made or read: result to the function's module and name, and its arguments."""


def folder() -> Path:
    """Where results are kept: ``THESISLIB_CACHE``, or ``_build/cache`` beside the package."""
    return Path(os.environ.get("THESISLIB_CACHE") or sources.PACKAGE.parent / "_build" / "cache")


def saved_seconds() -> float:
    """Computing time that this process was spared so far; added to wall time, it gives a run's true cost.

    A result that several others were made from counts once, however often it was read.
    """
    return sum(_saved.values())


def memoised(data: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: compute once, then read from disk until an argument or the source changes.

    The key holds the function's name, its arguments (plain values, tuples, dataclasses), the code of every
    file of this package that its module imports (but for the caches themselves), and the versions of the
    libraries these import. A file that cannot be read back is computed again. Writing is atomic, so an
    interrupted run leaves complete results or none.

    Parameters
    ----------
    data
        Name of the argument that names a data set; the fingerprint of that set's content joins the key.
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = inspect.signature(function).bind(*args, **kwargs)
            bound.apply_defaults()
            name = f"{function.__qualname__}-{_key(function, bound, data)}.pickle"
            path = folder() / function.__module__ / name
            calls[name] = f"{function.__module__}.{function.__qualname__}", dict(bound.arguments)
            try:
                result, costs = pickle.loads(path.read_bytes())
                costs = dict(costs)
            except OSError:
                pass
            except Exception:  # pickle raises nearly anything on a damaged file
                path.unlink(missing_ok=True)
            else:
                _saved.update({key: seconds for key, seconds in costs.items() if key not in _made})
                if _open:
                    _open[-1][0].update(costs)
                return result
            _open.append(({}, []))
            start = time.perf_counter()
            try:
                result = function(*args, **kwargs)
            finally:
                elapsed = time.perf_counter() - start
                costs, inner = _open.pop()
                if _open:
                    _open[-1][1].append(elapsed)
            costs = {**costs, name: elapsed - sum(inner)}
            _made.add(name)
            if _open:
                _open[-1][0].update(costs)
            write_atomic(path, pickle.dumps((result, costs), protocol=pickle.HIGHEST_PROTOCOL))
            return result

        return call

    return wrap


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


def _key(function: Callable, bound: inspect.BoundArguments, data: str | None) -> str:
    source = _source(inspect.getsourcefile(function))
    parts = [source, json.dumps(bound.arguments, sort_keys=True, default=_plain)]
    if data is not None:
        from thesislib.datasets import fingerprint  # here, because data sets may themselves be memoised

        parts.append(fingerprint(bound.arguments[data]))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


@functools.cache
def _source(file: str) -> str:
    """Hash of a module's closure; taken once a process, since loaded code does not change either."""
    files, versions = sources.closure(Path(file))
    mine = {Path(__file__).resolve(), Path(sources.__file__).resolve()}  # decide when, never what
    return sources.code_fingerprint(set(files) - mine, *versions)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {"type": type(value).__qualname__, **dataclasses.asdict(value)}
    raise TypeError(f"cannot make a cache key of {type(value).__name__}; pass plain values or a dataclass")
