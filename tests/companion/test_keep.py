"""Committed long runs: shards, staleness, replay."""

import json

import pandas as pd
import pytest

pytestmark = pytest.mark.slow


def shard(project, *words):
    out = project.thesis("run", "ch1", "--profile", "paper", *words).stdout
    return out.rsplit(", ", 1)[1].strip()


def recorded_states(project):
    document = json.loads(project.thesis("list", "--recorded", "--json").stdout)
    return {entry["id"]: run["state"] for entry in document["artefacts"] for run in entry["runs"]}


def test_shards_are_merged_and_replayed(project):
    base = project.root / "data" / "recorded" / "digits-paper"
    shards = [
        shard(project, "-p", "repeats", "3", "-p", "seed", "0"),
        shard(project, "-p", "repeats", "3", "-p", "seed", "1"),
    ]
    for folder in shards:
        project.thesis("keep", folder, "--part")
    assert len(list((base / "parts").glob("*/fig-1.1.json"))) == 2
    project.thesis("keep", "--merge", "digits-paper")
    assert not (base / "parts").exists()
    record = json.loads((base / "fig-1.1.json").read_text())
    frame = pd.read_csv(base / "fig-1.1.csv")
    assert len(frame) == record["rows"] == 12
    assert frame.seed.nunique() == 6
    # Three seeds a shard decide nothing; the six of the merged record do.
    assert record["claims"][0]["verdict"] == "holds"
    assert record["claims"][0]["n"] == 6

    assert recorded_states(project) == {"fig-1.1": "thesis-data", "tab-1.1": "thesis-data"}


def test_parts_of_one_artefact_are_merged_and_replace_no_longer_record(project):
    base = project.root / "data" / "recorded" / "digits-paper"
    alone = ["-p", "repeats", "2"]
    for identity, seed in (("fig-1.1", "0"), ("fig-1.1", "1"), ("tab-1.1", "0")):
        project.thesis("keep", shard(project, "--only", identity, *alone, "-p", "seed", seed), "--part")
    project.thesis("keep", "--merge", "digits-paper/fig-1.1")
    assert [p.name for p in base.glob("*.json")] == ["fig-1.1.json"]
    assert [p.name for p in base.glob("parts/*/*.json")] == ["tab-1.1.json"]
    project.thesis("keep", shard(project, "--only", "fig-1.1", *alone, "-p", "seed", "2"), "--part")
    before = (base / "fig-1.1.csv").read_bytes()
    refused = project.thesis("keep", "--merge", "digits-paper/fig-1.1", code=2).stderr
    assert (
        "has 8 rows, which 4 would replace; --part keeps a shard" in refused
        and (base / "fig-1.1.csv").read_bytes() == before
    )
    forgotten = shard(project, "--only", "fig-1.1", *alone, "-p", "seed", "3")
    assert "has 8 rows, which 4 would replace" in project.thesis("keep", forgotten, code=2).stderr
    assert (base / "fig-1.1.csv").read_bytes() == before
    assert "no parts of fig-2.1" in project.thesis("keep", "--merge", "digits-paper/fig-2.1", code=2).stderr


def test_a_root_seed_may_be_of_another_machine(project):
    alone = ["--only", "fig-1.1", "-p", "repeats", "2"]
    first = shard(project, *alone, "-p", "seed", "0")
    project.git("commit", "-q", "--allow-empty", "-m", "no file behind a number")
    second = shard(project, *alone, "-p", "seed", "1", "-p", "precision", "bf16")
    project.thesis("keep", first, second)
    shown = project.thesis("show", "fig-1.1", "--recorded").stdout
    both = [json.loads((project.root / f / "records" / "fig-1.1.json").read_text()) for f in (first, second)]
    assert "Commit " + ", ".join(one["provenance"]["commit"][:12] for one in both) + ";" in shown
    frame = pd.read_csv(project.root / "data" / "recorded" / "digits-paper" / "fig-1.1.csv")
    assert frame.groupby("made on").seed.nunique().tolist() == [2, 2]
    assert frame.groupby("seed")["made on"].nunique().eq(1).all()


def test_seeds_of_one_root_are_shards_of_one_run(project):
    whole = project.root / shard(project, "--only", "fig-1.1")
    for start, count in (("2", "1"), ("3", "2"), ("0", "2")):
        words = ("--only", "fig-1.1", "-p", "first_repeat", start, "-p", "repeats", count)
        project.thesis("keep", shard(project, *words), "--part")
    project.thesis("keep", "--merge", "digits-paper")
    file = project.root / "data" / "recorded" / "digits-paper" / "fig-1.1.json"
    merged, once = (json.loads(f.read_text()) for f in (file, whole / "records" / "fig-1.1.json"))
    assert merged["sha256"] == once["sha256"] and merged["claims"][0]["n"] == 5
    assert merged["settings"] == once["settings"] and merged["parameters"] == {"dataset": ["digits"]}


def test_stale_until_a_replay_agrees(project):
    folder = shard(project, "-p", "seed", "1")
    project.thesis("keep", folder)
    path = project.root / "data" / "recorded" / "digits-paper" / "fig-1.1.json"
    project.edit("thesislib/toy_shared.py", "GAIN = 1.0", "GAIN = 2.0 / 2  # the same, otherwise written")
    assert '"state": "stale"' in project.thesis("list", "--recorded", "--json").stdout
    refused = project.thesis("keep", "--replay", "digits-paper/fig-1.1", code=2).stderr
    assert "uncommitted changes" in refused
    project.git("commit", "-aqm", "otherwise written")
    record = json.loads(path.read_text())
    first, second = record["claims"][0]["verdict"], "undecided"
    record["claims"][0]["verdict"] = second  # as if the claim had been another one then
    path.write_text(json.dumps(record))
    assert "2 of 10 rows run again" in project.thesis("keep", "--replay", "digits-paper/fig-1.1").stdout
    assert json.loads(path.read_text())["claims"][0]["verdict"] == first != second
    assert recorded_states(project) == {"fig-1.1": "thesis-data", "tab-1.1": "stale"}
    shown = project.thesis("show", "fig-1.1", "--recorded").stdout
    assert "2 of its 10 rows were run again" in shown
    assert project.thesis("show", "tab-2.1", "--recorded", "--json", code=2).stdout == ""
    record = json.loads(path.read_text())
    record["provenance"]["carried"] = "a name changed"
    path.write_text(json.dumps(record))
    shown = project.thesis("show", "fig-1.1", "--recorded").stdout
    assert "2 of its 10 rows were run again" in shown and "as recorded; a name changed" in shown

    before = path.read_bytes()
    project.edit("thesislib/toy_shared.py", "2.0 / 2", "1.5")
    project.git("commit", "-aqm", "another number")
    done = project.thesis("keep", "--replay", "digits-paper/fig-1.1", code=2)
    assert "rows differ in value" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize("case", ["overlap", "dirty", "other code", "one seed on two machines"])
def test_what_keep_refuses(project, case):
    first = shard(project, "-p", "seed", "1", "-p", "repeats", "2")
    second = first
    said = "shards overlap"
    if case == "dirty":
        project.edit("thesislib/toy_shared.py", "GAIN = 1.0", "GAIN = 3.0")
        first = second = shard(project, "-p", "seed", "2", "-p", "repeats", "2")
        words, said = [first], "uncommitted changes"
    elif case == "other code":
        project.edit("thesislib/toy_shared.py", "GAIN = 1.0", "GAIN = 3.0")
        project.git("commit", "-aqm", "changed")
        second = shard(project, "-p", "seed", "2", "-p", "repeats", "2")
        words, said = [first, second], "shards differ in files"
    elif case == "one seed on two machines":
        one = "run", "ch3", "--only", "tab-3.1", "--profile", "paper"
        parts = ["-p", "methods", "old"], ["-p", "methods", "new", "-p", "precision", "bf16"]
        words = [project.thesis(*one, *part).stdout.rsplit(", ", 1)[1].strip() for part in parts]
        said = "shards of seed 0 differ in precision"
    else:
        words = [first, second]
    assert said in project.thesis("keep", *words, code=2).stderr
    assert not list((project.root / "data" / "recorded").rglob("*.json"))
    assert not list((project.root / "data" / "recorded").glob(".keep-*"))
