"""Results on disk: found again, never found wrongly, never found half-written."""

import contextlib
import itertools
import os
import pickle
import sys
import threading
import time
import types
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thesislib import datasets, memo, sources
from thesislib.memo import memoised, saved_seconds, took_before, unfinished, write_atomic

calls: list[str] = []


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5


@dataclass(frozen=True)
class OtherInner:
    rate: float = 0.5


@dataclass(frozen=True)
class Options:
    size: int = 1
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class OtherOptions:
    size: int = 1
    inner: Inner = field(default_factory=Inner)


@memoised()
def work(value, options=None, *, flag=False):
    calls.append("work")
    return {"value": value, "options": options, "array": np.arange(3)}


@memoised()
def same_body(value, options=None, *, flag=False):
    calls.append("same_body")
    return value


@memoised(data="dataset")
def fit(dataset, seed):
    calls.append("fit")
    return f"{dataset} {seed}"


@memoised()
def fails(value):
    calls.append("fails")
    if len(calls) == 1:
        raise KeyboardInterrupt
    return value


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("THESISLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(memo, "_saved", {})
    monkeypatch.setattr(memo, "_made", set())
    monkeypatch.setattr(memo, "_waited", [])
    monkeypatch.setattr(memo, "_edited", set())
    calls.clear()
    return tmp_path / "cache"


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def test_the_second_call_reads(cache):
    first = work(1, Options())
    again = work(1, Options())
    assert calls == ["work"]
    assert again["value"] == 1 and again["options"] == Options()
    assert np.array_equal(again["array"], first["array"])
    assert [p.parent.name for p in files(cache)] == [__name__]


def test_one_call_however_it_is_written(cache):
    work(1, Options())
    work(1, options=Options())
    work(value=1, options=Options(), flag=False)
    work(options=Options(size=1, inner=Inner(0.5)), value=1)
    assert calls == ["work"]


def test_a_result_is_a_copy(cache):
    work(1)["value"] = "spoilt"
    assert work(1)["value"] == 1


DISTINCT = [
    ((1,), {}),
    ((2,), {}),
    ((1.5,), {}),
    ((True,), {}),
    (("1",), {}),
    ((None,), {}),
    (((1,),), {}),
    (((1, 2),), {}),
    (((2, 1),), {}),
    (("a,b",), {}),
    ((("a", "b"),), {}),
    (({"a": 1},), {}),
    (({"a": {"a": 1}},), {}),
    ((1,), {"flag": True}),
    ((1, Options()), {}),
    ((1, Options(size=2)), {}),
    ((1, Options(inner=Inner(0.25))), {}),
    ((1, OtherOptions()), {}),
    ((1, Options(inner=OtherInner())), {}),
    ((Options(),), {}),
]


def test_different_arguments_are_different_results(cache):
    for args, kwargs in DISTINCT:
        work(*args, **kwargs)
    assert len(calls) == len(files(cache)) == len(DISTINCT)


def test_different_functions_are_different_results(cache):
    work(1)
    same_body(1)
    assert calls == ["work", "same_body"]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.tuples(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(plain, plain)
def test_two_calls_share_a_result_only_if_their_arguments_are_equal(tmp_path, one, two):
    def strictly(value):
        if isinstance(value, dict):
            return repr(sorted((k, strictly(v)) for k, v in value.items()))
        return repr([strictly(v) for v in value] if isinstance(value, tuple) else value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THESISLIB_CACHE", str(tmp_path / str(next(counter))))
        calls.clear()
        work(one)
        work(two)
    assert (len(calls) == 1) == (strictly(one) == strictly(two))


counter = itertools.count()


@pytest.mark.parametrize("value", [np.zeros(2), {1, 2}, object(), print, np.float32(1)])
def test_an_argument_that_makes_no_key_is_refused_before_work(cache, value):
    with pytest.raises(TypeError, match="cannot make a cache key of"):
        work(value)
    assert not calls and not files(cache)


def test_the_data_sets_content_is_part_of_the_key(cache, monkeypatch):
    content = {"mine": "v1", "yours": "v1"}
    monkeypatch.setattr(datasets, "fingerprint", lambda name: content[name])
    fit("mine", 0), fit("mine", 0), fit("yours", 0), fit(seed=0, dataset="mine")
    assert len(calls) == 2
    content["mine"] = "v2"
    assert fit("mine", 0) == "mine 0"
    assert len(calls) == 3
    content["mine"] = "v1"
    fit("mine", 0)
    assert len(calls) == 3


# ---- the source


MODULE = """
from thesislib.memo import memoised
from {name} import helper
{extra}
@memoised()
def compute(x):
    return helper.scale * x
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A package of a memoised module and its helper; a function that edits them and calls as a new process would."""
    name = f"toy{next(counter)}"
    root = tmp_path / name
    root.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sources, "PACKAGE", root)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def run(scale=2, extra="", other=""):
        for loaded in [m for m in sys.modules if m.partition(".")[0] == name]:
            del sys.modules[loaded]
        memo._source.cache_clear()
        sources._imports.cache_clear()
        texts = {
            "__init__": "",
            "compute": MODULE.format(name=name, extra=extra),
            "helper": f"scale = {scale}",
            "other": other,
        }
        for stem, text in texts.items():
            (root / f"{stem}.py").write_text(text)
        sys.path_importer_cache.clear()
        return __import__(f"{name}.compute").compute.compute(10)

    yield run
    for loaded in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[loaded]
    memo._source.cache_clear()


def test_an_imported_modules_source_is_part_of_the_key(module, cache):
    assert module(scale=2) == module(scale=2) == 20
    assert len(files(cache)) == 1
    assert module(scale=3) == 30  # the memoised function's own text did not change
    assert len(files(cache)) == 2
    assert module(scale=2) == 20
    assert len(files(cache)) == 2


def test_code_edited_after_it_was_loaded_is_not_kept_under_the_name_of_the_new(module, cache, tmp_path):
    """The old code's result would be read by every later process as the new code's."""
    module(scale=2)
    (old,) = files(cache)
    (root,) = (p for p in tmp_path.iterdir() if p.name.startswith("toy"))
    memo._source.cache_clear()
    sources._imports.cache_clear()
    (root / "helper.py").write_text("scale = 5")
    soon = time.time() + 10
    os.utime(root / "helper.py", (soon, soon))
    compute = sys.modules[f"{root.name}.compute"].compute
    with pytest.warns(UserWarning, match=r"helper\.py was edited while this process ran"):
        assert compute(10) == 20  # what is loaded is the old code
    assert files(cache) == [old]
    os.utime(root / "helper.py", (soon - 100, soon - 100))
    memo._edited.clear()
    assert module(scale=5) == 50 and len(files(cache)) == 2


def test_a_module_that_is_not_imported_does_not_matter(module, cache):
    module(other="x = 1")
    module(other="x = 2")
    assert len(files(cache)) == 1


def test_the_functions_own_module_and_library_versions_are_part_of_the_key(module, cache, monkeypatch):
    module()
    module(extra="# a comment")  # decides nothing
    assert len(files(cache)) == 1
    module(extra="other = 1")
    module(extra="import yaml")
    assert len(files(cache)) == 3
    monkeypatch.setattr(sources, "_distributions", lambda modules: ["pyyaml==0"])
    module(extra="import yaml")
    assert len(files(cache)) == 4


# ---- damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"not a pickle",
        lambda content: pickle.dumps("not a pair"),
        lambda content: pickle.dumps((1, 2, 3)),
        lambda content: b"cno_such_module\nthing\n.",
    ],
    ids=["end cut", "half", "empty", "text", "no pair", "three", "unknown class"],
)
def test_a_damaged_result_is_computed_again(cache, damage):
    work(1)
    (path,) = files(cache)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert work(1)["value"] == 1
    assert calls == ["work", "work"]
    assert work(1)["value"] == 1
    assert len(calls) == 2 and files(cache) == [path]


def test_a_result_too_large_for_the_memory_left_is_not_thrown_away(cache, monkeypatch):
    work(1)
    (path,) = files(cache)

    def full(_):
        raise MemoryError

    monkeypatch.setattr(memo.pickle, "loads", full)
    with pytest.raises(MemoryError):
        work(1)
    monkeypatch.undo()
    monkeypatch.setenv("THESISLIB_CACHE", str(cache))
    assert work(1)["value"] == 1 and calls == ["work"] and files(cache) == [path]


def test_an_interrupted_call_leaves_nothing_and_is_made_again(cache):
    with pytest.raises(KeyboardInterrupt):
        fails(1)
    assert not files(cache)
    assert fails(1) == fails(1) == 1
    assert len(calls) == 2


def test_who_wants_a_result_that_is_being_made_waits_for_it(cache):
    """Threads stand in for processes: each opens the lock for itself, as those do."""
    entered, go = threading.Event(), threading.Event()

    @memoised()
    def slow(n):
        calls.append("slow")
        entered.set()
        assert go.wait(30)
        return n

    results = []
    callers = [threading.Thread(target=lambda: results.append(slow(7))) for _ in range(3)]
    callers[0].start()
    assert entered.wait(30)
    for thread in callers[1:]:
        thread.start()
    callers[1].join(0.3)
    assert callers[1].is_alive() and not results  # waits, and does not compute
    go.set()
    for thread in callers:
        thread.join()
    assert results == [7, 7, 7] and calls == ["slow"]
    assert [p.suffix for p in files(cache)] == [".pickle"]


def test_a_lock_that_went_while_one_waited_for_it_holds_nobody_else_off(tmp_path, monkeypatch):
    """Its holder removed it, and a newcomer made another: who had waited for the first has to wait for that."""
    fcntl = pytest.importorskip("fcntl")
    lock, plain, taken = tmp_path / "result.lock", fcntl.flock, []

    def flock(handle, how):
        plain(handle, how)
        taken.append(handle)
        if len(taken) == 1:
            lock.unlink()
            lock.touch()

    monkeypatch.setattr(fcntl, "flock", flock)
    with memo.alone(tmp_path / "result.pickle") as held:
        assert held and len(taken) == 2
        with open(lock) as newcomer, pytest.raises(BlockingIOError):
            plain(newcomer, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert files(tmp_path) == []


def test_what_cannot_be_locked_is_made_all_the_same(cache, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refused(*_):
        raise OSError("no locks on this disk")

    monkeypatch.setattr(fcntl, "flock", refused)
    with memo.alone(cache / "result.pickle") as held:
        assert not held
    assert work(1)["value"] == 1
    assert [p.suffix for p in files(cache)] == [".pickle"]


def test_a_lock_that_a_killed_process_left_holds_nobody(cache):
    work(1)
    (path,) = files(cache)
    path.unlink()
    path.with_suffix(".lock").touch()
    assert work(1)["value"] == 1
    assert files(cache) == [path]


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_computed(cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(OSError):
        work(1)
    assert calls == []
    assert cache.read_text() == "a file where the folder should be"


# ---- atomic writing


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "er" / "result"
    write_atomic(path, b"old")

    def refuse(*_):
        raise OSError("disk full")

    for broken in ("replace", "chmod"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
            patch.setattr(os, broken, refuse)
            write_atomic(path, b"new")
    with pytest.raises(TypeError):
        write_atomic(path, "text where bytes should be")
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == [path]


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError):
        write_atomic(tmp_path / "file" / "result", b"new")
    assert files(tmp_path) == [tmp_path / "file"]


def test_the_new_file_appears_whole(tmp_path, monkeypatch):
    """At the moment before the switch the old file is untouched and the new one is complete beside it."""
    path, seen = tmp_path / "result", []
    write_atomic(path, b"old")
    switch = os.replace

    def watch(source, target):
        with open(source, "rb") as stream:
            seen.append((path.read_bytes(), stream.read()))
        switch(source, target)

    monkeypatch.setattr(os, "replace", watch)
    write_atomic(path, b"new" * 100_000)
    assert seen == [(b"old", b"new" * 100_000)]
    assert path.stat().st_mode & 0o777 == 0o644


def test_readers_and_writers_at_once_see_whole_files(tmp_path):
    path, wrong = tmp_path / "result", []
    versions = {bytes([letter]) * 200_000 for letter in b"abcd"}
    write_atomic(path, min(versions))
    done = threading.Event()

    def read():
        while not done.is_set():
            if path.read_bytes() not in versions:
                wrong.append(1)

    def write(content):
        for _ in range(50):
            write_atomic(path, content)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=[v]) for v in versions]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not wrong
    assert files(tmp_path) == [path]


# ---- time


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when told to."""
    now = [100.0]
    monkeypatch.setattr(memo, "time", types.SimpleNamespace(perf_counter=lambda: now[0], time=time.time))

    def sleep(seconds):
        now[0] += seconds

    return sleep


@pytest.fixture
def new_process(monkeypatch):
    """Forget what this process computed and was spared."""

    def forget():
        monkeypatch.setattr(memo, "_saved", {})
        monkeypatch.setattr(memo, "_made", set())
        monkeypatch.setattr(memo, "_waited", [])

    return forget


def test_saved_seconds_are_what_was_spared_once_each(cache, clock, new_process):
    @memoised()
    def slow(n):
        clock(n)
        return n

    slow(3), slow(5)
    slow(5)
    assert saved_seconds() == 0  # its five seconds passed in this process
    new_process()
    slow(5)
    assert saved_seconds() == pytest.approx(5)
    slow(3), slow(5)
    assert saved_seconds() == pytest.approx(8)


def test_waiting_is_no_cost_of_the_result_that_waits(cache, clock, new_process, monkeypatch):
    """Another process makes the inner result, of 5 seconds, while the outer one waits for it."""

    @memoised()
    def inner():
        clock(5)
        return 1

    @memoised()
    def outer():
        clock(2)
        return inner()

    inner()
    (made,) = files(cache)
    content = made.read_bytes()
    made.unlink()
    plain = memo.alone

    @contextlib.contextmanager
    def meanwhile(path):
        with plain(path) as held:
            if path == made:
                clock(4)  # it had begun a second ago
                write_atomic(path, content)
            yield held

    monkeypatch.setattr(memo, "alone", meanwhile)
    new_process()
    assert outer() == 1
    new_process()
    outer()
    assert saved_seconds() == pytest.approx(7)

    # Where no result waits but the run itself, wall time and what was spared make five seconds, not nine.
    made.unlink()
    new_process()
    since = memo.time.perf_counter()
    inner()
    assert memo.time.perf_counter() - since + saved_seconds() == pytest.approx(5)


def test_what_several_results_were_made_from_counts_once(cache, clock, new_process):
    """Two outer results cost 2 each and share an inner one of 5, whoever computed it and when."""

    @memoised()
    def inner():
        clock(5)
        return 1

    @memoised()
    def outer(n):
        clock(2)
        return inner() + n

    outer(1)  # computes the inner one
    new_process()
    outer(2)  # reads it
    assert saved_seconds() == pytest.approx(5)
    for order in ((1, 2), (2, 1)):
        new_process()
        for n in order:
            outer(n)
        assert saved_seconds() == pytest.approx(9)


def test_a_failed_call_leaves_no_cost_behind(cache, clock, new_process):
    @memoised()
    def failing():
        clock(4)
        raise ValueError

    @memoised()
    def outer():
        clock(1)
        try:
            failing()
        except ValueError:
            return 0

    outer()
    assert not memo._open
    new_process()
    outer()
    assert saved_seconds() == pytest.approx(1)


def test_the_caches_own_code_does_not_join_the_key(cache, monkeypatch):
    work(1)
    seen = []
    monkeypatch.setattr(memo.sources, "code_fingerprint", lambda files, *rest: seen.extend(files) or "x")
    memo._source.__wrapped__(str(memo.sources.PACKAGE / "spi_mm" / "runs.py"))
    names = {file.name for file in seen}
    # A new entry of the catalogue, or another address to fetch a set from, makes no result anew.
    assert "runs.py" in names and not names & {
        "memo.py",
        "sources.py",
        "catalogue.py",
        "download.py",
        "places.py",
    }


def test_a_killed_call_goes_on_where_it_was(cache, clock, new_process):
    """Three parts of 2 seconds: the first process is killed after two, the second makes the third."""
    seen = []

    @memoised()
    def inner(n):
        seen.append(unfinished())
        return n

    @memoised()
    def outer(n):
        kept = unfinished()
        parts = int(kept.read_text()) if kept.exists() else 0
        took_before(2 * parts)
        inner(n)
        assert unfinished() == kept  # and not that of the call inside
        for part in range(parts, 3):
            seen.append(part)
            clock(2)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(str(part + 1))
            if part == 1 and not parts:
                raise KeyboardInterrupt
        return kept

    with pytest.raises(KeyboardInterrupt):
        outer(1)
    left = [p for p in files(cache) if p.suffix == ".unfinished"]
    assert len(left) == 1 and [s for s in seen if isinstance(s, int)] == [0, 1]
    new_process()
    assert outer(1) == left[0] and [s for s in seen if isinstance(s, int)] == [0, 1, 2]
    assert left[0] not in seen and not left[0].exists()
    assert saved_seconds() == pytest.approx(4)  # with its own two, this process knows of six
    new_process()
    outer(1)
    assert saved_seconds() == pytest.approx(6)


def test_what_is_not_kept_has_no_place(cache, monkeypatch):
    @memoised()
    def place(n):
        return unfinished()

    assert unfinished() is None and place(1) is not None
    monkeypatch.setattr(memo, "_edited", {"some file"})
    assert place(2) is None
