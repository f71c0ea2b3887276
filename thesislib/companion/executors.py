"""Where the points of a sweep run: processes of this machine, or a Dask cluster by its address."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import AbstractContextManager
from typing import TypeVar

from thesislib.companion.house import CompanionError

T = TypeVar("T")
R = TypeVar("R")
BEAT = 1.0  # seconds between two looks at what runs

Opener = Callable[[int], AbstractContextManager[Executor]]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """A pool of processes that end with this one, however it ends."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of ours hold
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()  # or leaving would wait for points of an hour
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """The workers of a running Dask scheduler.

    Raises
    ------
    CompanionError
        If dask.distributed is not installed, nothing answers at `address`, or a worker has several threads.
    """
    try:
        from distributed import Client
    except ImportError:
        raise CompanionError(f"--on {address} needs dask.distributed: `pip install -e .[cluster]`") from None
    try:
        client = Client(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CompanionError(f"no Dask scheduler answers at {address} ({type(error).__name__})") from None
    with client:
        crowded = [name for name, threads in client.nthreads().items() if threads > 1]
        if crowded:
            raise CompanionError(
                f"{len(crowded)} Dask workers have several threads, {crowded[0]} first; a notebook needs a "
                "process: start them with --nthreads 1 --nworkers N"
            )
        executor = client.get_executor(pure=False)
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)


def outcomes(
    work: Callable[[T], R], items: Sequence[T], opened: Opener, width: int, beat: Callable[[], None]
) -> Iterator[tuple[T, R | Exception]]:
    """What `work` returns or raises for each item, as they finish.

    A pool breaks as a whole when one of its processes is killed, and nobody says by whose fault. So whatever
    was under way is tried once more, each item in a pool of its own after all others: one that ends its
    process there, too, is to blame.

    Parameters
    ----------
    opened
        Number of processes to an executor, as a context.
    width
        Items under way at a time.
    beat
        Called about once a second.

    Yields
    ------
    item, result
        Where the result is an exception, the item failed.
    """
    waiting, suspects, lost = deque(items), deque(), Counter()
    while waiting or suspects:
        queue, size = (waiting, width) if waiting else (suspects, 1)
        running: dict[Future[R], T] = {}
        try:
            with opened(size) as executor:
                while queue or running:
                    while queue and len(running) < size:
                        running[executor.submit(work, queue[0])] = queue[0]
                        queue.popleft()
                    done, _ = wait(running, timeout=BEAT, return_when=FIRST_COMPLETED)
                    beat()
                    for future in done:
                        result = _result(future)
                        yield running.pop(future), result
        except BrokenExecutor:
            for item in running.values():
                lost[id(item)] += 1
                if lost[id(item)] == 1:
                    suspects.append(item)
                else:
                    yield item, CompanionError("its process was killed, twice; is there enough memory?")


def _result(future: Future[R]) -> R | Exception:
    try:
        return future.result()
    except BrokenExecutor:
        raise
    except CancelledError:
        return CompanionError("the scheduler let it go; is it still there?")
    except Exception as error:
        return error


def _end_with_parent() -> None:
    """Let this process end when the one that started it is gone; its kernel then notices by itself."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
