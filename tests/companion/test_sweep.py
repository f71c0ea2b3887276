"""Sweeps: the grid, where its points run, what becomes of faults, and the tables that come out."""

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from thesislib.companion import executors, gather, grid, house, making, records, sweep_cli
from thesislib.companion.house import CompanionError
from thesislib.companion.records import Record
from thesislib.evidence import Claim, paired_t, pairs

CH6 = house.chapter("ch6")


# ---- the grid


def test_a_grid_is_the_product_in_the_order_given():
    found = grid.points(CH6, "smoke", {"dataset": ["digits", "breast_cancer"], "seed": [0, 1]})
    assert [p.label for p in found] == [
        "dataset=digits, seed=0",
        "dataset=digits, seed=1",
        "dataset=breast_cancer, seed=0",
        "dataset=breast_cancer, seed=1",
    ]
    assert [(p.settings.dataset, p.settings.seed) for p in found][2] == (("breast_cancer",), 0)
    assert len({p.name for p in found}) == 4
    again = grid.points(CH6, "smoke", {"seed": [1], "dataset": ["digits"]})
    assert again[0].settings == found[1].settings


def test_names_of_points_are_fit_for_a_disk_and_tell_alike_values_apart():
    names = [
        grid.Point({"dataset": value}, None).name
        for value in ("../a b", "../a_b", ["x", "y"], "x,y", "é" * 300, "[{*}]")
    ]
    assert len(set(names)) == 6
    for name in names:
        assert (
            len(name) < 80 and "/" not in name and not name.startswith(".") and not set("[]{}* ") & set(name)
        )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"seed": [0, -1]}, "1 of 2 points refused, nothing was started: ch6: seed = -1 is out of range"),
        ({"sed": [0]}, "ch6 has no parameter sed"),
        ({"dataset": ["digits", "mnist"], "seed": [0, 1]}, "2 of 4 points refused"),
        ({"seed": []}, "seed is given no value"),
        ({"passes": [10, 10.0]}, "two points are the same run: passes=10 and passes=10.0"),
        ({"repeats": [None, 2]}, "two points are the same run: repeats=None and repeats=2"),
    ],
)
def test_a_grid_is_refused_as_a_whole(values, said):
    with pytest.raises(CompanionError, match=said):
        grid.points(CH6, "smoke", values)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("digits,glyphs", ["digits", "glyphs"]),
        ("digits", ["digits"]),
        ("1e-3,2", [1e-3, 2]),
        ("[[Meta attack, ZOO], [ZOO]]", [["Meta attack", "ZOO"], ["ZOO"]]),
        ("[[1e-3], [0.1, 1]]", [[1e-3], [0.1, 1]]),
        ('[["CE, longer", CE], [CE]]', [["CE, longer", "CE"], ["CE"]]),
        ('["CE, longer", CE]', ["CE, longer", "CE"]),
    ],
)
def test_values_as_typed(text, values):
    assert sweep_cli.several(text) == values


@pytest.mark.parametrize(
    "text", ["[null]", "[1, ~]", "[[a], [null]]", "[.nan]", "[{a: 1}]", "[[[a]]]", "[010]"]
)
def test_values_in_brackets_are_plain_too(text):
    """None would stand for the profile's own value, and the table would say it was swept."""
    with pytest.raises(CompanionError, match="cannot use"):
        sweep_cli.several(text)


def test_a_variable_of_the_shell_that_is_not_set_is_no_value():
    with pytest.raises(CompanionError, match="a parameter has no value"):
        sweep_cli.several("")


@pytest.mark.parametrize(("text", "found"), [("0:3", [0, 1, 2]), ("4", [4]), ("1,3", [1, 3])])
def test_seeds_as_typed(text, found):
    assert sweep_cli.seeds(text) == found


@pytest.mark.parametrize("text", ["3:3", "a", "0:1:2", ""])
def test_seeds_that_name_none(text):
    with pytest.raises(CompanionError, match="names no seeds"):
        sweep_cli.seeds(text)


# ---- a pool whose processes may die


def job(item):
    """``(what, file)``: count the attempt in the file, then do it."""
    what, file = item
    with open(file, "a") as out:
        out.write("x")
    if what == "raise":
        raise ValueError("no")
    if what == "wait":  # or a slow start of the other process leaves it to the second killer to end both
        soon(Path(file).with_name("1").exists)
        time.sleep(2)
    if what == "die" or (what == "die once" and Path(file).stat().st_size == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return what


def test_who_kills_its_process_is_found_out_and_the_others_finish(tmp_path):
    kinds = ["wait", "die", "well", "raise", "die once", "well"]
    items = [(kind, str(tmp_path / str(n))) for n, kind in enumerate(kinds)]
    results = dict(executors.outcomes(job, items, executors.processes, 2, lambda: None))
    assert len(results) == 6
    told = [str(results[item]) for item in items]
    assert told == [
        "wait",
        "its process was killed, twice; is there enough memory?",
        "well",
        "no",
        "die once",
        "well",
    ]
    assert isinstance(results[items[1]], CompanionError) and isinstance(results[items[3]], ValueError)
    attempts = [Path(file).stat().st_size for _, file in items]
    assert attempts[1] == 2 and attempts[4] == 2 and max(attempts) == 2


def test_nobody_survives_an_interrupt(tmp_path):
    """A beat that raises stands for Ctrl-C: the jobs under way would take a minute."""

    def beat():
        if (tmp_path / "0").exists():
            raise KeyboardInterrupt

    since = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(executors.outcomes(sleep_long, [str(tmp_path / "0")], executors.processes, 1, beat))
    assert time.monotonic() - since < 40


def sleep_long(file):
    Path(file).touch()
    time.sleep(60)


# ---- tables


def table_of(values, **more):
    rows = [{"p_seed": p, "artefact": "tab-1.1", "method": "new", "seed": s, "image": i, "metric": "m",
             "value": v, "wall_seconds": 1.0, **more} for (p, s, i), v in values.items()]  # fmt: skip
    return pd.DataFrame(rows)


def test_means_are_over_seeds_with_the_interval_of_a_paired_t():
    rng = np.random.default_rng(0)
    values = {(p, s, i): rng.normal() for p in range(3) for s in range(2) for i in range(4)}
    (row,) = gather._means(table_of(values)).to_dict("records")
    once = np.array([np.mean([values[p, s, i] for i in range(4)]) for p in range(3) for s in range(2)])
    want = paired_t(once, np.zeros(6), unit="")
    assert row["seeds"] == 6
    assert [row["mean"], row["low"], row["high"]] == pytest.approx([want.estimate, want.low, want.high])


def test_four_seeds_have_a_mean_and_no_interval():
    values = {(0, s, 0): float(s) for s in range(4)}
    (row,) = gather._means(table_of(values)).to_dict("records")
    assert row["mean"] == 1.5 and np.isnan(row["low"]) and np.isnan(row["high"])


def test_truth_counts_as_one_and_text_is_left_out():
    table = pd.concat([
        table_of({(0, 0, 0): True, (0, 0, 1): False, (0, 0, 2): "True"}),
        table_of({(0, 0, 0): "conv"}).assign(metric="layer"),
    ])  # fmt: skip
    (row,) = gather._means(table).to_dict("records")
    assert row["mean"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("item", ["image", "clip", "draw"])
def test_items_are_averaged_over_before_seeds_are(item):
    """Two seeds count alike, however many items each has."""
    values = {(0, 0, 0): 1.0, (0, 0, 1): 2.0, (0, 0, 2): 3.0, (0, 1, 0): 8.0}
    (row,) = gather._means(table_of(values).rename(columns={"image": item})).to_dict("records")
    assert row["seeds"] == 2 and row["mean"] == 5.0


# ---- verdicts on all root seeds together

GAIN = Claim(
    "it is better",
    "caption",
    lambda f: paired_t(*pairs(f, "score", "new", "old", on=["seed"]), unit="points"),
)


def seed_runs(folder, points, inner, column="score"):
    """A record of each point, of one inner seed: the new method gains 1, 2, 3, ... points."""
    runs = []
    for place, values in enumerate(points):
        frame = pd.DataFrame(
            {"method": ["old", "new"], "seed": inner[place], "score": [0.0, 1.0 + place % 5]}
        )
        record = Record(
            id="tab-2.4", profile="smoke", dataset=["digits"], keys=["method", "seed"], values=[column], rows=0, sha256="",
            claims=[dataclasses.asdict(GAIN.decide(frame))], settings={"dataset": ["digits"]}, parameters={}, seeds=[1],
            alt="", spread="", folder=folder / str(place) / "records",
            provenance={"commit": None, "dirty": None, "inputs": "", "files": {}, "data": {}, "versions": {}, "machine": "",
                        "device": "cpu", "started": "", "seconds": 1.0},
        )  # fmt: skip
        records.write(record, frame.rename(columns={"score": column}))
        runs.append((grid.Point(values, None), folder / str(place)))
    return runs


def test_claims_are_decided_again_on_all_root_seeds_together(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "claims_of", lambda *_: (GAIN,))
    points = [{"size": size, "seed": seed} for size in (2, 3) for seed in range(5)]
    verdicts = gather.tables(CH6, seed_runs(tmp_path, points, [10, 11, 12, 13, 14] * 2))["verdicts"]
    alone, pooled = (verdicts[(verdicts["p_seed"] == "all") == is_all] for is_all in (False, True))
    assert len(alone) == 10 and set(alone["verdict"]) == {"not tested at this profile"}
    assert pooled["p_size"].tolist() == [2, 3] and pooled["n"].tolist() == [5, 5]
    want = paired_t(np.arange(1.0, 6), np.zeros(5), unit="points")
    for row in pooled.to_dict("records"):
        assert (row["verdict"], row["estimate"], row["pairs"]) == ("holds", 3.0, "seeds")
        assert [row["low"], row["high"]] == pytest.approx([want.low, want.high])


def test_a_column_called_value_is_a_measurement_like_any_other(tmp_path):
    points = [{"seed": 0}, {"seed": 1}]
    table = gather.tables(CH6, seed_runs(tmp_path, points, [10, 11], "value"))["table"]
    assert table["value"].tolist() == [0, 1, 0, 2] and set(table["metric"]) == {"value"}


@pytest.mark.parametrize("inner", [[10, 11, 12, 13, 10], [10] * 5])
def test_root_seeds_with_an_inner_seed_in_common_are_not_put_together(tmp_path, monkeypatch, inner):
    """Its rows would count twice."""
    monkeypatch.setattr(making, "claims_of", lambda *_: (GAIN,))
    runs = seed_runs(tmp_path, [{"seed": seed} for seed in range(5)], inner)
    verdicts = gather.tables(CH6, runs)["verdicts"]
    assert verdicts["p_seed"].tolist() == [0, 1, 2, 3, 4]


# ---- whole sweeps of a small thesis


def untimed(text):
    """A table without what differs from run to run."""
    return pd.read_csv(io.StringIO(text)).drop(columns="wall_seconds").to_csv(index=False)


def tables(folder):
    return [untimed((folder / "table.csv").read_text())] + [
        (folder / f"{name}.csv").read_text() for name in ("means", "verdicts")
    ]


GRID = ["ch1", "-p", "size", "2,3", "--profile", "smoke"]


def sweep(project, *words, code=0, out="out"):
    return project.thesis("sweep", *GRID, "--out", out, *words, code=code)


def started(project, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "thesislib.companion.cli", "sweep", *words], cwd=project.root,
        env=project.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background job ignores Ctrl-C, and so would a sweep that tests in the background start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def slow(project, seconds=0.5):
    """A second or so a computation, so that something can be killed in its middle."""
    line = f"def tally(name):\n    import time; time.sleep({seconds})"
    project.edit("thesislib/toy_shared.py", "def tally(name):", line)


def soon(true, seconds=60):
    """What `true` returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def forget(project):
    """Without the cache, what is computed is computed anew."""
    shutil.rmtree(project.root / "_build", ignore_errors=True)
    project.computed()


LOOP = """
import sys
from pathlib import Path
from thesislib.companion import gather, grid, house, runner
chapter, out = house.chapter("ch1"), Path(sys.argv[1])
points = grid.points(chapter, "smoke", {"size": [2, 3]})
for point in points:
    runner.run(chapter, "smoke", point.values, target=out / point.name, progress=False)
for name, frame in gather.tables(chapter, [(p, out / p.name) for p in points]).items():
    (out / f"{name}.csv").write_text(frame.to_csv(index=False, float_format="%.12g"))
"""


@contextlib.contextmanager
def dask(project, workers=2):
    """A scheduler and its workers, started by hand; yields its address."""
    pytest.importorskip("distributed")
    card = project.root / "scheduler.json"
    mine = dict(cwd=project.root, env=project.environment(), stderr=subprocess.DEVNULL)
    dask = [sys.executable, "-m", "dask"]
    begun = [subprocess.Popen([*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                               "--scheduler-file", str(card)], **mine)]  # fmt: skip
    try:
        begun += [
            subprocess.Popen([*dask, "worker", "--scheduler-file", str(card), "--nthreads", "1", "--no-dashboard"], **mine)
            for _ in range(workers)
        ]  # fmt: skip
        soon(lambda: card.exists() and card.stat().st_size)
        yield (json.loads(card.read_text())["address"],)
    finally:
        for process in reversed(begun):
            process.terminate()
        for process in begun:
            process.wait()


@pytest.mark.slow
def test_results_do_not_depend_on_where_they_ran(project):
    (project.root / "loop").mkdir()
    subprocess.run(
        [sys.executable, "-c", LOOP, "loop"], cwd=project.root, env=project.environment(), check=True
    )
    found = {"a plain loop": tables(project.root / "loop")}
    for workers in ("1", "2"):
        forget(project)
        sweep(project, "--workers", workers, out=f"pool{workers}")
        assert project.computed() == 20  # two sizes, two methods, five seeds, none from the cache
        found[f"{workers} processes"] = tables(project.root / f"pool{workers}")
    forget(project)
    with dask(project) as (address,):
        sweep(project, "--on", address, out="dask")
    found["Dask"] = tables(project.root / "dask")
    assert all(other == found["a plain loop"] for other in found.values()), found
    table = pd.read_csv(project.root / "dask" / "table.csv")
    assert list(table.columns) == [
        "p_size",
        "artefact",
        "dataset",
        "method",
        "seed",
        "metric",
        "value",
        "wall_seconds",
    ]
    assert (table["metric"] == "score").sum() == 40 and set(table["p_size"]) == {2, 3}
    for name in ("ch1_alpha.ipynb", "run.json", "records/fig-1.1.svg"):
        assert len(list((project.root / "pool2" / "points").glob(f"size=*/{name}"))) == 2
    (record,) = (project.root / "pool2" / "points").glob("size=2*/records/tab-1.1.json")
    assert json.loads(record.read_text())["provenance"]["peak_mb"] > 50  # a kernel with pandas
    page = (project.root / "pool2" / "index.html").read_text()
    assert "2 of 2 points done" in page and "✓ holds" in page and page.count("<img") == 2


@pytest.mark.slow
def test_a_killed_sweep_resumes_and_repeats_nothing(project):
    sweep(project, "--seeds", "0:2", "--workers", "2", out="whole")
    forget(project)
    slow(project, 0.2)
    words = [*GRID, "--seeds", "0:2", "--workers", "2", "--out", "cut"]
    process = started(project, *words)
    points = project.root / "cut" / "points"
    soon(lambda: list(points.glob("size=*/run.json")) and list(points.glob(".size=*.part")))
    second = sweep(project, "--seeds", "0:2", "--resume", out="cut", code=2)  # while the first one runs
    assert f"another sweep runs in {project.root / 'cut'} (process {process.pid} on" in second.stderr
    process.send_signal(signal.SIGKILL)  # only the one: its workers and their kernels must notice
    process.communicate()
    soon(lambda: not running_in(project))
    assert not (project.root / "cut" / "table.csv").exists()
    finished = {p: p.stat().st_mtime_ns for p in points.glob("size=*/run.json")}
    assert 0 < len(finished) < 4

    refused = sweep(project, "--seeds", "0:2", out="cut", code=2)
    assert f"holds this sweep, {len(finished)} of 4 points done: --resume goes on" in refused.stderr
    other = sweep(project, "--seeds", "0:3", "--resume", out="cut", code=2)
    assert "holds another sweep" in other.stderr
    done = sweep(project, "--seeds", "0:2", "--resume", out="cut")
    assert "4 of 4 points done" in done.stdout
    assert finished == {p: p.stat().st_mtime_ns for p in finished}
    assert tables(project.root / "cut") == tables(project.root / "whole")
    assert not list(points.glob(".*"))


def running_in(project):
    """Processes that compute for this project."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"PYTHONPATH={project.root}\0".encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
    return found


@pytest.mark.slow
def test_an_interrupted_sweep_ends_at_once_and_whole(project):
    slow(project, 20)
    process = started(project, *GRID, "--out", "out")
    points = project.root / "out" / "points"
    soon(lambda: len(list(points.glob(".size=*.part"))) == 2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in error and "--resume" in error, error
    soon(lambda: not running_in(project))
    assert not list(points.glob(".*")) and not list(points.glob("*/run.json"))


@pytest.mark.slow
def test_what_another_code_made_is_not_taken(project):
    """The files change while a point runs, as they would differ on a cluster's machine."""
    slow(project)
    process = started(project, "ch1", "-p", "size", "2", "--profile", "smoke", "--out", "out")
    soon(lambda: list((project.root / "out" / "points").glob(".*.part/ipython")))
    soon(lambda: (project.root / "tally").exists())
    project.edit("thesislib/alpha/experiments.py", "import numpy as np", "import numpy as np\nX = 1")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2 and "are others than here and now" in error, error


@pytest.mark.slow
def test_a_failed_point_takes_no_other_down(project):
    project.edit(
        "thesislib/alpha/experiments.py", "def numbers(settings):",
        "def numbers(settings):\n    if settings.size == 3:\n        raise ValueError('three is too many')",
    )  # fmt: skip
    done = sweep(project, "--workers", "2", code=2)
    assert "1 of 2 points failed; --resume tries them again" in done.stderr
    assert (
        "failed: size=3: ch1_alpha stopped: ValueError: three is too many; log: out/points/size=3"
        in done.stderr
    )
    (log,) = (project.root / "out" / "points").glob("size=3*.log")
    assert "three is too many" in log.read_text()
    assert set(pd.read_csv(project.root / "out" / "table.csv")["p_size"]) == {2}
    assert "three is too many" in (project.root / "out" / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", "dask"])
def test_a_killed_worker_is_replaced(project, place):
    slow(project)
    with dask(project) if place == "dask" else contextlib.nullcontext(["local"]) as (address, *_):
        process = started(project, *GRID, "--on", address, "--out", "out")
        points = project.root / "out" / "points"
        parts = soon(lambda: len(found := list(points.glob(".size=*.part"))) == 2 and found)
        os.kill(int(parts[0].name.rsplit(".", 2)[1]), signal.SIGKILL)
        out, error = process.communicate(timeout=120)
    assert process.returncode == 0 and "2 of 2 points done" in out, error
    assert not list(points.glob(".*"))


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(project):
    place = project.root / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount a small disk")
    try:
        filler = place / "filler"
        filler.write_bytes(b"x" * (2**21 - 60 * 1024))  # room for a log, not for a notebook with its figure
        done = sweep(project, "--workers", "1", out="small/out", code=2)
        assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
        assert not list(place.rglob("*.part")) and not list(place.rglob("run.json"))
        for record in place.rglob("*.json"):
            json.loads(record.read_text())
        filler.unlink()
        done = sweep(project, "--workers", "1", "--resume", out="small/out")
        assert "2 of 2 points done" in done.stdout
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["-p", "size", "2,12"],
            "1 of 2 points refused, nothing was started: ch1: size = 12 is out of range",
        ),
        (["-p", "size", "2", "-p", "size", "3"], "a parameter is given twice"),
        (["-p", "seed", "2", "--seeds", "0:2"], "a parameter is given twice"),
        (["--seeds", "2:2"], "names no seeds"),
        (["--workers", "0"], "is at least 1"),
        ([], "a sweep goes over something: give -p NAME V1,V2 or --seeds 0:5"),
        (["--seeds", "0:2", "--on", "somewhere"], "neither local nor an address"),
        (["--seeds", "0:2", "--on", "tcp://127.0.0.1:9"], "no Dask scheduler answers at tcp://127.0.0.1:9"),
        (["-p", "dataset", "a9a"], "set THESISLIB_DATA"),
    ],
)
@pytest.mark.slow
def test_a_mistake_is_one_line_and_nothing_starts(project, words, said):
    done = project.thesis("sweep", "ch1", *words, code=2)
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not list((project.root).rglob("run.json"))
