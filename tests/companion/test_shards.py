"""Artefacts made alone, in shards, and put together again."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from thesislib.companion import house, runs

pytestmark = pytest.mark.slow
HALVES = [["-p", "methods", m, "-p", "images", "30", "-p", "first", f] for m in ("old", "new") for f in ("0", "30")]  # fmt: skip


def only(project, *words, profile="paper"):
    """Folder of a run of tab-3.1 alone, and whether it was executed."""
    out = project.thesis("run", "ch3", "--only", "tab-3.1", "--profile", profile, *words).stdout
    return out.rsplit(", ", 1)[1].strip(), "executed" in out


def record_in(folder, identity="tab-3.1"):
    return json.loads((folder / f"{identity}.json").read_text())


def test_an_artefact_alone_needs_no_notebook_and_is_made_once(project):
    folder, executed = only(project)
    assert executed and not only(project)[1] and project.computed() == 1
    assert {p.name for p in (project.root / folder).rglob("*.*")} == {"tab-3.1.csv", "tab-3.1.json"}
    record = record_in(project.root / folder / "records")
    assert record["rows"] == 110 and record["keys"] == ["dataset", "method", "image"]
    assert record["dataset"] == ["digits"] and record["parameters"] == {} and record["alt"] == ""
    made = record["provenance"]
    assert made["made"] == "experiment" and made["threads"] == 1 and not made["dirty"]
    assert "thesislib/gamma/experiments.py" in made["files"] and set(made["data"]) == {"digits"}
    assert record["claims"][0]["verdict"] == "holds" and record["claims"][0]["n"] == 50

    assert only(project, "--force", "--threads", "2") == (folder, True)
    assert record_in(project.root / folder / "records")["provenance"]["threads"] == 2
    assert not only(project, "--threads", "2")[1] and only(project)[1]  # seconds are of so many threads
    for name, line in (("experiments", "def tab_3_2"), ("claims", "def fewer")):  # a comment decides nothing
        project.edit(f"thesislib/gamma/{name}.py", line, f"# why\n{line}")
    assert not only(project)[1]
    # What it was made from changed, or its tree is clean now and was not: keep would refuse it.
    project.edit("thesislib/toy_shared.py", "GAIN = 1.0", "GAIN = 2.0")
    assert only(project)[1] and not only(project)[1]
    project.git("commit", "-aqm", "changed")
    assert only(project)[1] and not only(project)[1]
    # A damaged record is made again; the notebook, of which there is none, and other chapters do not matter.
    csv = project.root / folder / "records" / "tab-3.1.csv"
    csv.write_text(csv.read_text()[:-5])
    project.edit("thesislib/beta/settings.py", "setting(3,", "setting(4,")
    assert only(project)[1]
    # No column names a data set, so none is claimed.
    out = project.thesis("run", "ch3", "--only", "tab-3.2").stdout.rsplit(", ", 1)[1].strip()
    assert record_in(project.root / out / "records", "tab-3.2")["dataset"] == []
    assert "names a data set" in project.thesis("keep", out, code=2).stderr


def test_a_run_alone_and_a_notebooks_share_no_folder(project):
    chapter = house.chapter("ch6")
    settings = runs.settle(chapter, "smoke", {"seed": 3})
    places = [
        runs.folder(chapter, settings, book=False, only=o) for o in ((), ["fig-6.1"], ["fig-6.1", "fig-6.2"])
    ]
    assert len(set(places)) == 3
    both = [project.thesis("run", "ch2", *o).stdout.rsplit(", ", 1)[1] for o in ([], ["--only", "tab-2.1"])]
    assert both[0] != both[1]
    several = ["tab-1.1, fig-1.1", "fig-1.1,tab-1.1,fig-1.1"]  # in any order, once
    out = [project.thesis("run", "ch1", "--only", words).stdout for words in several]
    assert "executed" in out[0] and out[1] == out[0].replace("executed", "nothing changed")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("for c in itertools.product", "for c in list(itertools.product", "1 of 110 cells missing, first ('digits', 'old', '49')"),
        ("success=True", "success=None", "missing values, 110 in success"),
        ("int), ", "int), image=1, ", "rows are doubled on dataset, method, image"),
        ("def tab_3_1", "def tab_3_one", "experiments.py has no function tab_3_1"),
    ],
)  # fmt: skip
def test_a_frame_that_is_not_its_grid_is_refused(project, old, new, said):
    folder = project.root / only(project)[0]
    before = (folder / "records" / "tab-3.1.json").read_bytes()
    project.edit("thesislib/gamma/experiments.py", old, new)
    if "list(" in new:
        project.edit("thesislib/gamma/experiments.py", "product(*block.values())]", "product(*block.values()))[: 49 + 60 * (block['method'] == ('new',))]]")  # fmt: skip
    done = project.thesis("run", "ch3", "--only", "tab-3.1", "--profile", "paper", code=2)
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert (folder / "records" / "tab-3.1.json").read_bytes() == before
    project.thesis("run", "ch3", "--only", "tab-3.1", "-p", "seed", "2", code=2)
    assert [p.name for p in (project.root / "runs").iterdir()] == [folder.name]  # nothing half-written


def test_blocks_of_a_grid_that_overlap_are_refused(project):
    project.edit("thesislib/gamma/settings.py", "for m in settings.methods]", "for m in ('old', 'old')]")
    done = project.thesis("run", "ch3", "--only", "tab-3.1", code=2)
    assert "tab-3.1: two blocks of its grid declare ('digits', 'old', '0')" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ch3", "--only", "tab-3.9"], "tab-3.9 is no artefact of ch3"),
        (["ch1", "--only", "fig-1.1,tab-3.1"], "tab-3.1 is no artefact of ch1"),
        (["ch3", "--only", "tab-3.1", "-p", "size", "2"], "ch3 has no parameter size; it has dataset (list of"),
        (["ch3", "--only", "tab-3.1", "-p", "methods", "newer"], "methods = 'newer' is not one of old, new"),
        (["ch3", "--only", "tab-3.1", "--threads", "0"], "--threads goes with --only, and is at least 1"),
        (["ch1", "--threads", "2"], "--threads goes with --only"),
        (["ch3", "--only", ","], "--only names no artefact"),
        (["ch3", "-p", "first", "2"], "ch3 is not written yet"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(project, words, said):
    done = project.thesis("run", *words, code=2)
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (project.root / "runs").exists()


def test_threads_are_those_asked_for(project):
    """Also of numpy, which is imported before the command line is read."""
    code = (
        "import os, numpy\n"
        "from thesislib.companion import shards\n"
        "shards.limit_threads(1)\n"
        "import threadpoolctl\n"
        "print({p['num_threads'] for p in threadpoolctl.threadpool_info()}, os.environ['OMP_NUM_THREADS'])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=project.root, env=project.environment() | {"OMP_NUM_THREADS": "2"},
                         capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert out.split() == ["{1}", "1"]


def test_unequal_shards_become_one_record(project):
    base = project.root / "data" / "recorded" / "digits-paper"
    for words in HALVES:
        folder, _ = only(project, *words)
        claim = record_in(project.root / folder / "records")["claims"][0]
        assert claim["verdict"] == "not tested at this profile" and "no rows with method" in claim["reason"]
        project.thesis("keep", folder, "--part")
    project.thesis("keep", "--merge", "digits-paper")
    record, frame = record_in(base), pd.read_csv(base / "tab-3.1.csv")
    assert frame.groupby("method")["image"].agg(["min", "max", "size"]).to_numpy().tolist() == [
        [0, 59, 60],
        [0, 49, 50],
    ]
    # The whole is the profile's own, though all shards agree on 30 images.
    assert record["parameters"] == {"dataset": ["digits"]}
    assert [record["settings"][k] for k in ("methods", "first", "images")] == [["old", "new"], 0, 60]
    assert record["claims"][0]["verdict"] == "holds" and record["claims"][0]["n"] == 50
    assert record["provenance"]["shards"] == 4
    shown = project.thesis("show", "tab-3.1", "--recorded").stdout
    assert "Rerun: thesis run ch3 --profile paper --only tab-3.1 -p dataset digits" in shown

    # It is stale until its experiment alone, on the first images, comes out the same.
    project.edit("thesislib/toy_shared.py", "GAIN = 1.0", "GAIN = 2.0 / 2")
    assert '"state": "stale"' in project.thesis("list", "--recorded", "--json").stdout
    project.git("commit", "-aqm", "otherwise written")
    project.computed()
    assert "4 of 110 rows run again" in project.thesis("keep", "--replay", "digits-paper/tab-3.1").stdout
    assert project.computed() == 1 and not (project.root / "_build").exists()
    assert '"state": "stand-in"' in project.thesis("list", "--recorded", "--json").stdout
    before = (base / "tab-3.1.json").read_bytes()
    project.edit("thesislib/toy_shared.py", "2.0 / 2", "1.5")
    project.git("commit", "-aqm", "another number")
    assert (
        "rows differ in queries" in project.thesis("keep", "--replay", "digits-paper/tab-3.1", code=2).stderr
    )
    assert (base / "tab-3.1.json").read_bytes() == before


@pytest.mark.parametrize(
    ("shards", "said"),
    [
        (HALVES[:3], "digits-paper/tab-3.1: 30 of 110 cells missing, first ('digits', 'new', '30')"),
        (HALVES[:2], "60 of 110 cells missing, first ('digits', 'new', '0')"),  # a method that nobody ran
        ([*HALVES, ["-p", "methods", "new", "-p", "images", "1", "-p", "first", "59"]], "shards overlap"),
        ([["-p", "methods", "new"]], "one of its claims cannot be decided: \"no rows with method = 'old'"),
        ([HALVES[0], [*HALVES[1], "-p", "repeats", "2"]], "cells missing"),
    ],
)  # fmt: skip
def test_shards_that_are_no_whole_are_refused(project, shards, said):
    folders = [only(project, *words)[0] for words in shards]
    done = project.thesis("keep", *folders, code=2)
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not list((project.root / "data" / "recorded").rglob("*.json"))


def of_first_chapter(project, *words):
    out = project.thesis("run", "ch1", "--profile", "paper", "--only", "tab-1.1", *words).stdout
    return out.rsplit(", ", 1)[1].strip()


def test_shards_of_other_settings_are_refused(project):
    """Their whole would be recorded as of the profile's own size, with which none of them was run."""
    folders = [
        of_first_chapter(project, "-p", "size", n, "-p", "seed", s) for n, s in (("2", "1"), ("9", "2"))
    ]
    said = "tab-1.1: shards differ in size, 2 and 9, which tells no rows apart; run all with one value"
    assert said in project.thesis("keep", *folders, code=2).stderr
    assert not list((project.root / "data" / "recorded").rglob("*.json"))


def test_shards_may_differ_in_a_list_that_tells_rows_apart(project):
    line = "    size: int = setting(3"
    field = '    methods: tuple[str, ...] = setting(("old", "new"), choices=("old", "new"))'
    project.edit("thesislib/alpha/settings.py", line, f"{field}\n{line}")
    project.edit("thesislib/alpha/settings.py", '"method": ("old", "new")', '"method": settings.methods')
    project.edit("thesislib/alpha/experiments.py", 'for m in ("old", "new")', "for m in settings.methods")
    project.git("commit", "-aqm", "methods")
    project.thesis("keep", *(of_first_chapter(project, "-p", "methods", name) for name in ("old", "new")))
    record = record_in(project.root / "data" / "recorded" / "digits-paper", "tab-1.1")
    assert record["rows"] == 10 and record["settings"]["methods"] == ["old", "new"]
    assert record["parameters"] == {"dataset": ["digits"]}


def test_a_smaller_run_is_kept_as_what_it_is(project):
    """One shard is a whole of its own, and its parameters say of what."""
    project.thesis("keep", only(project, "-p", "images", "50")[0])
    record = record_in(project.root / "data" / "recorded" / "digits-paper")
    assert record["rows"] == 100 and record["parameters"] == {"images": 50, "dataset": ["digits"]}


def test_shards_of_other_data_or_a_notebook_are_refused(project):
    folders = [only(project, *words)[0] for words in HALVES]
    for field, value in (("data", {"digits": "0" * 16}), ("made", "notebook"), ("dirty", True)):
        path = project.root / folders[1] / "records" / "tab-3.1.json"
        before = path.read_text()
        facts = json.loads(before)
        facts["provenance"][field] = value
        path.write_text(json.dumps(facts))
        said = "uncommitted changes" if field == "dirty" else f"shards differ in {field}"
        assert said in project.thesis("keep", *folders, code=2).stderr
        path.write_text(before)
    project.thesis("keep", *folders)
