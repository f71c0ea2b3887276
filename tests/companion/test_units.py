"""Pieces of the companion, one at a time, without a notebook."""

import dataclasses
import errno
import hashlib
import io
import itertools
import json
import math
import os
import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from thesislib.companion import (
    blocks,
    board,
    book,
    cli,
    figures,
    house,
    keep,
    making,
    page,
    provenance,
    records,
    reported,
    runner,
    runs,
)
from thesislib.companion.board import Row
from thesislib.companion.cli import main
from thesislib.companion.house import Artefact, CompanionError
from thesislib.companion.records import HollowRecord, Record
from thesislib.evidence import Finding

PNG, SVG = b"\x89PNG", b"<svg/>"
ORIGIN = {
    "commit": None, "dirty": None, "inputs": "x", "files": {}, "data": {}, "versions": {}, "machine": "a machine",
    "device": "cpu", "started": "2026-01-01", "seconds": 1.0,
}  # fmt: skip


def record_of(folder, keys, values, **changes):
    facts = dict(
        id="tab-2.4",
        profile="smoke",
        dataset=["digits"],
        keys=list(keys),
        values=list(values),
        rows=0,
        sha256="",
        claims=[],
        settings={"dataset": ["digits"]},
        parameters={},
        seeds=[1, 2],
        alt="",
        spread="none",
        provenance=ORIGIN,
        folder=folder,
    )
    return Record(**(facts | changes))


def frame_of(grid, values=("value",), seed=0):
    rows = pd.DataFrame(list(itertools.product(*grid.values())), columns=list(grid))
    noise = np.random.default_rng(seed).normal(size=(len(rows), len(values)))
    return rows.join(pd.DataFrame(noise, columns=list(values)))


GRID = {"method": ("old", "new"), "seed": (3, 4, 5), "rate": (0.1, 1.0)}


# ---- records: what goes in comes out


letters = st.text("abcXYZ é,;|\"'\n=+", min_size=1, max_size=6).filter(lambda t: t.strip() == t)
keys_of = st.one_of(
    st.lists(letters, min_size=1, max_size=4, unique=True),
    st.lists(st.integers(-(2**31), 2**32), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(-1000, 1000).map(lambda n: n / 8), min_size=1, max_size=4, unique=True),
)
grids = st.dictionaries(st.sampled_from(["dataset", "method", "n", "eps"]), keys_of, min_size=1, max_size=3)


@settings(max_examples=60)
@given(grids, st.integers(0, 99), st.integers(1, 2))
def test_a_full_grid_round_trips(tmp_path_factory, grid, seed, width):
    values = ["value", "seconds"][:width]
    frame = frame_of(grid, values, seed)
    folder = tmp_path_factory.mktemp("records")
    written = records.write(record_of(folder, grid, values), frame)
    assert written.rows == len(frame)
    again = records.read(written.file("json"))
    assert again == written and again.folder == folder
    records.check(again, grid)
    back = again.frame()
    assert list(back.columns) == [*grid, *values]
    for key in grid:
        assert [records._text(v) for v in back[key]] == [records._text(v) for v in frame[key]]
    np.testing.assert_allclose(back[values], frame[values], rtol=1e-11)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("word", ["", "None", "NA", "n/a", "null", "nan"])
def test_a_key_is_text_even_if_it_reads_like_a_missing_value(tmp_path, word):
    """A method called None, or the empty setting that half of the reported rows have."""
    grid = {"setting": (word, "other"), "seed": (1, 2)}
    written = records.write(record_of(tmp_path, grid, ["value"]), frame_of(grid))
    assert list(written.frame()["setting"]) == [word, word, "other", "other"]
    records.check(written, grid)


def test_equal_runs_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        records.write(record_of(tmp_path / name, GRID, ["value"]), frame_of(GRID), {"svg": SVG})
    for suffix in ("csv", "json", "svg"):
        a, b = (tmp_path / n / f"tab-2.4.{suffix}" for n in ("a", "b"))
        assert a.read_bytes() == b.read_bytes()


# ---- records: what is refused


@settings(max_examples=60)
@given(grids, st.data())
def test_any_row_lost_is_noticed(tmp_path_factory, grid, data):
    frame = frame_of(grid)
    row = data.draw(st.integers(0, len(frame) - 1))
    short = frame.drop(index=row)
    assume(len(short))
    written = records.write(record_of(tmp_path_factory.mktemp("r"), grid, ["value"]), short)
    with pytest.raises(HollowRecord, match=rf"1 of {len(frame)} cells missing"):
        records.check(written, grid)


@settings(max_examples=60)
@given(grids, st.data())
def test_any_value_lost_is_noticed(tmp_path_factory, grid, data):
    frame = frame_of(grid, ["value", "seconds"])
    row, column = data.draw(st.integers(0, len(frame) - 1)), data.draw(st.sampled_from(["value", "seconds"]))
    frame.loc[row, column] = float("nan")
    written = records.write(record_of(tmp_path_factory.mktemp("r"), grid, ["value", "seconds"]), frame)
    for known in (grid, None):
        with pytest.raises(HollowRecord, match=f"missing values, 1 in {column}"):
            records.check(written, known)


@settings(max_examples=40)
@given(grids, st.data())
def test_any_row_doubled_or_foreign_is_noticed(tmp_path_factory, grid, data):
    frame = frame_of(grid)
    row = data.draw(st.integers(0, len(frame) - 1))
    key = data.draw(st.sampled_from(list(grid)))
    doubled = pd.concat([frame, frame.iloc[[row]].assign(value=0.0)])
    written = records.write(record_of(tmp_path_factory.mktemp("r"), grid, ["value"]), doubled)
    for known in (grid, None):
        with pytest.raises(HollowRecord, match="rows are doubled on"):
            records.check(written, known)
    foreign = pd.concat([frame, frame.iloc[[row]].assign(**{key: "elsewhere"})])
    written = records.write(record_of(tmp_path_factory.mktemp("r"), grid, ["value"]), foreign)
    with pytest.raises(HollowRecord, match="1 cells its settings do not declare, first"):
        records.check(written, grid)


@pytest.fixture
def written(tmp_path):
    return records.write(
        record_of(tmp_path, GRID, ["value"], alt="what it shows"), frame_of(GRID), {"svg": SVG, "png": PNG}
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: r.file("csv").unlink(), "cannot read tab-2.4.csv: No such file"),
        (lambda r: r.file("csv").write_bytes(b""), "is not the file its record describes"),
        (lambda r: r.file("csv").write_bytes(r.file("csv").read_bytes()[:-1]), "is not the file"),
        (lambda r: r.file("csv").write_bytes(r.file("csv").read_bytes() + b"\n"), "is not the file"),
        (lambda r: r.file("svg").unlink(), "tab-2.4.svg is missing"),
        (lambda r: r.file("png").unlink(), "tab-2.4.png is missing"),
    ],
)
def test_files_that_are_missing_or_changed(written, damage, said):
    records.check(written, GRID)
    damage(written)
    for grid in (GRID, None):
        with pytest.raises(HollowRecord, match=said):
            records.check(written, grid)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": 11}, "12 rows, its record says 11"),
        ({"keys": ["method", "seed"]}, "doubled on method, seed"),
    ],
)
def test_a_record_that_contradicts_its_rows(written, change, said):
    changed = dataclasses.replace(written, **change)
    with pytest.raises(HollowRecord, match=said):
        records.check(changed, GRID)


def test_no_rows_and_other_keys(tmp_path):
    empty = records.write(record_of(tmp_path, GRID, ["value"]), frame_of(GRID)[:0])
    for grid in (GRID, None):
        with pytest.raises(HollowRecord, match="no rows"):
            records.check(empty, grid)
    whole = records.write(record_of(tmp_path, GRID, ["value"]), frame_of(GRID))
    with pytest.raises(
        HollowRecord, match=r"keys are method, seed, rate, its settings declare method, seed$"
    ):
        records.check(whole, {k: GRID[k] for k in ("method", "seed")})
    with pytest.raises(HollowRecord, match=r"6 of 18 cells missing, first \('newer', '3', '0.1'\)"):
        records.check(whole, GRID | {"method": ("old", "new", "newer")})
    reordered = dataclasses.replace(whole, keys=["rate", "seed", "method"])
    records.check(reordered, GRID)


# ---- records: grids of several blocks

BLOCKS = [{"method": ("old",), "image": range(3)}, {"image": range(5), "method": ("new",)}]


def block_rows():
    return pd.concat([frame_of(block) for block in BLOCKS], ignore_index=True)


def test_a_grid_may_be_a_union_of_blocks(tmp_path):
    keys = records.keys_of(BLOCKS)
    assert keys == ["method", "image"] == records.keys_of(BLOCKS[0])
    whole = records.write(record_of(tmp_path, keys, ["value"]), block_rows())
    records.check(whole, BLOCKS)
    records.check(whole, [*BLOCKS, {"method": ("none",), "image": ()}])
    for row in range(8):
        short = records.write(record_of(tmp_path, keys, ["value"]), block_rows().drop(index=row))
        with pytest.raises(HollowRecord, match="1 of 8 cells missing, first"):
            records.check(short, BLOCKS)
    full = records.write(
        record_of(tmp_path, keys, ["value"]), frame_of(BLOCKS[1] | {"method": ("new", "old")})
    )
    with pytest.raises(HollowRecord, match=r"2 cells its settings do not declare, first \('old', '3'\)"):
        records.check(full, BLOCKS)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"method": ("old", "x"), "image": (2, 7)}, r"two blocks of its grid declare \('old', '2'\)"),
        ({"method": ("old",), "image": (2.0,)}, "two blocks"),
        ({"method": ("x",), "picture": (1,)}, "keys are method, image, its settings declare method, picture"),
    ],
)
def test_blocks_that_overlap_or_have_other_keys(tmp_path, more, said):
    whole = records.write(record_of(tmp_path, ["method", "image"], ["value"]), block_rows())
    with pytest.raises(CompanionError, match=said):
        records.check(whole, [*BLOCKS, more])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"format": 99}',
        b'{"format": 1}',
        b'{"format": 1, "id": "tab-2.4", "surplus": 1}',
        b"\xff\xfe\xfa",
        None,
    ],
    ids=str,
)
def test_a_file_that_is_no_record(tmp_path, content):
    path = tmp_path / "tab-2.4.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HollowRecord, match=r"tab-2\.4\.json"):
        records.read(path)


def edited(record, change):
    """The record's JSON after `change` of its content."""
    facts = json.loads(record.file("json").read_text())
    change(facts)
    record.file("json").write_text(json.dumps(facts))
    return record.file("json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.update(id="tab-9.9"), "no artefact 'tab-9.9'"),
        (lambda f: f.update(id=7), "id is '7', expected another kind"),
        (lambda f: f.update(claims="x"), "claims is 'x', expected a list"),
        (lambda f: f.update(claims=[{"sentence": "It is."}]), "claims has no source, verdict"),
        (lambda f: f.update(claims=["holds"]), "claims is 'holds', expected fields by name"),
        (lambda f: f.update(settings={}), "settings has no dataset"),
        (lambda f: f.update(settings=[]), r"settings is '\[\]', expected fields by name"),
        (lambda f: f.update(keys=["method", 3]), "keys is '3', expected another kind"),
        (lambda f: f.update(rows="12"), "rows is '12', expected another kind"),
        (lambda f: f["provenance"].pop("inputs"), "provenance has no inputs"),
        (lambda f: f["provenance"].update(data=None), "provenance: data is 'None', expected fields by name"),
    ],
)
def test_a_record_with_a_damaged_interior_is_none(written, change, said):
    with pytest.raises(HollowRecord, match=rf"tab-2\.4\.json is no record \({said}"):
        records.read(edited(written, change))


def test_a_record_that_names_a_column_its_numbers_lack_is_refused(written):
    changed = records.read(edited(written, lambda f: f["values"].append("seconds")))
    for look in (changed.frame, lambda: records.check(changed, GRID)):
        with pytest.raises(
            HollowRecord, match=r"tab-2\.4\.csv has no column seconds, which its record names"
        ):
            look()


@pytest.mark.parametrize(
    "damage", [lambda text: text[: len(text) // 2], lambda text: text.replace('"claims": []', '"claims": 1')]
)
def test_a_damaged_record_keeps_nobody_from_the_others(tmp_path, monkeypatch, capsys, damage):
    """It is said in a line and counts as missing; who stores or compares records is refused."""
    place = tmp_path / "data" / "recorded" / "digits-smoke"
    for identity in ("tab-2.4", "tab-2.5"):
        records.write(record_of(place, GRID, ["value"], id=identity), frame_of(GRID))
    broken = place / "tab-2.4.json"
    broken.write_text(damage(broken.read_text()))
    (tmp_path / "data" / "artefacts.yml").write_text("")
    monkeypatch.setenv("THESISLIB_ROOT", str(tmp_path))
    assert main(["list", "--recorded"]) == 0
    told = capsys.readouterr()
    assert "tab-2.5" in told.out and "tab-2.4" not in told.out
    assert told.err.startswith("thesis: data/recorded/digits-smoke/tab-2.4.json is no record (")
    assert told.err.count("\n") == 1 and told.err.endswith("until then it counts as missing\n")
    assert main(["show", "tab-2.5", "--recorded"]) == 0
    assert main(["show", "tab-2.4", "--recorded"]) == 2
    assert list(records.read_folder(place, lenient=True)) == ["tab-2.5"]
    for anything_else in (lambda: records.read_folder(place), records.recorded, board.recorded_rows):
        with pytest.raises(HollowRecord, match="is no record"):  # a book would lack it, and nobody would know
            anything_else()
    assert main(["keep", str(place)]) == 2 and main(["diff", str(place), str(place)]) == 2


def test_a_run_that_lost_rows_is_not_up_to_date(tmp_path, monkeypatch):
    """The book shows what `up_to_date` lets through, so it has to look at the numbers, not only at their names."""
    monkeypatch.setattr(provenance, "page_inputs", lambda *_: "inputs")
    chapter, run = (
        SimpleNamespace(artefacts=[house.artefact("tab-2.4")], slug="ch2"),
        SimpleNamespace(dataset=("digits",)),
    )
    (tmp_path / "run.json").write_text('{"inputs": "inputs"}')
    (tmp_path / "ch2.ipynb").write_text("{}")
    record = records.write(record_of(tmp_path / "records", GRID, ["value"]), frame_of(GRID))
    assert runner.up_to_date(chapter, run, tmp_path)
    for other in ("{}", "[]", '"inputs"', "", '{"inputs": "others"}'):
        (tmp_path / "run.json").write_text(other)
        assert not runner.up_to_date(chapter, run, tmp_path)
    (tmp_path / "run.json").write_text('{"inputs": "inputs"}')
    (tmp_path / "ch2.ipynb").rename(tmp_path / "away")  # the book would miss it
    assert not runner.up_to_date(chapter, run, tmp_path)
    (tmp_path / "away").rename(tmp_path / "ch2.ipynb")
    whole = record.file("csv").read_bytes()
    record.file("csv").write_bytes(whole[: len(whole) // 2])
    assert not runner.up_to_date(chapter, run, tmp_path)
    record.file("csv").unlink()
    assert not runner.up_to_date(chapter, run, tmp_path)


# ---- records: what is not written


def test_what_a_killed_run_of_our_own_number_left_behind_is_in_nobody_s_way(tmp_path):
    """In a container the numbers of processes come again: it is not this process's, which has not begun."""
    left = tmp_path / f".ch2.{os.getpid()}.part"
    left.mkdir()
    (left / "half").write_text("")
    with runner.fresh(tmp_path / "ch2") as part:
        (part / "whole").write_text("")
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["whole"]


@pytest.mark.parametrize(
    ("there", "alive", "stays"),
    [
        (["old", "part"], False, "of the killed run"),  # killed within _replace: the last good run
        (["old", ""], False, "in place"),  # killed after it
        (["part"], False, None),
        (["old", "part"], True, None),  # of a run that is not killed: left to it
    ],
)
def test_what_a_killed_run_left_behind(tmp_path, there, alive, stays):
    target, ended = tmp_path / "ch2", subprocess.Popen(["true"])
    ended.wait()
    left = {word: tmp_path / f".ch2.{os.getppid() if alive else ended.pid}.{word}" for word in there if word}
    for word in there:
        folder = left.get(word, target)
        folder.mkdir()
        (folder / "run.json").write_text("of the killed run" if word else "in place")
    with pytest.raises(KeyError), runner.fresh(target):
        raise KeyError("a run that fails touches nothing of the last good one")
    assert (target / "run.json").read_text() == stays if stays else not target.exists()
    assert set(tmp_path.glob(".*")) == (set(left.values()) if alive else set())
    with runner.fresh(target) as part:
        (part / "run.json").write_text("new")
    assert (target / "run.json").read_text() == "new"


def test_a_frame_without_its_columns_writes_nothing(tmp_path):
    with pytest.raises(CompanionError, match=r"tab-2\.4: the frame has no column seed, seconds"):
        records.write(record_of(tmp_path, GRID, ["value", "seconds"]), frame_of(GRID).drop(columns="seed"))
    assert not list(tmp_path.iterdir())


def test_a_record_names_the_sets_that_its_frame_holds():
    settings = SimpleNamespace(dataset=("digits", "glyphs", "glyphs_many"))
    for held, named in (
        (["glyphs_many", "digits"], ("digits", "glyphs_many")),
        (["synthetic"], ("synthetic",)),
    ):
        assert making._data_of(pd.DataFrame({"dataset": held}), settings) == named
    assert making._data_of(pd.DataFrame({"step": [1]}), settings) == ()


def test_a_record_with_a_json_is_whole(written, monkeypatch):
    """Whatever file a crash stops at, no JSON describes files that are not its own."""
    real = records.write_atomic
    for stop in range(4):
        left = itertools.count()

        def crash(path, content, left=left, stop=stop):
            if next(left) == stop:
                raise KeyboardInterrupt
            real(path, content)

        monkeypatch.setattr(records, "write_atomic", crash)
        with pytest.raises(KeyboardInterrupt):
            records.write(written, frame_of(GRID, seed=7), {"svg": SVG * 2, "png": PNG * 2})
        assert records.read_folder(written.folder) == {}
        monkeypatch.setattr(records, "write_atomic", real)
        records.write(written, frame_of(GRID), {"svg": SVG, "png": PNG})


# ---- the state of a record


@pytest.mark.parametrize(
    ("known", "used", "profile", "parameters", "state"),
    [
        # The thesis's data, all or some of them
        (("mnist", "cifar10"), ["mnist", "cifar10"], "paper", {}, "paper"),
        (("mnist", "cifar10"), ["mnist"], "paper", {}, "paper"),
        (("mnist", "cifar10"), ["mnist"], "paper", {"steps": 3}, "thesis-data"),
        (("mnist", "cifar10"), ["mnist"], "laptop", {}, "thesis-data"),
        (("mnist", "cifar10"), ["cifar10", "mnist"], "smoke", {"steps": 3}, "thesis-data"),
        # Others, or others among them, or none where the thesis used some
        (("mnist", "cifar10"), ["digits"], "paper", {}, "stand-in"),
        (("mnist", "cifar10"), ["mnist", "digits"], "paper", {}, "stand-in"),
        (("mnist", "cifar10"), [], "paper", {}, "stand-in"),
        # It needs no data
        ((), [], "paper", {}, "no-data"),
        (None, [], "laptop", {"steps": 3}, "no-data"),
        ((), ["mnist"], "paper", {}, "stand-in"),
        # Nobody knows
        (None, ["a9a"], "paper", {}, "stand-in"),
    ],
)
def test_state_of_a_record(tmp_path, monkeypatch, known, used, profile, parameters, state):
    artefact = Artefact("tab-2.4", 2, "2.4", "A table", datasets=known)
    monkeypatch.setattr(house, "artefact", lambda _: artefact)
    record = record_of(tmp_path, GRID, ["value"], dataset=used, profile=profile, parameters=parameters)
    assert record.state() == state
    assert state in house.STATES and state in blocks.STATE_WORDS


# ---- the scoreboard's sums


def artefact_rows(states):
    ids = [a.id for c in house.chapters().values() for a in c.artefacts]
    return [Row(house.artefact(i), s, None) for i, s in zip(ids, states, strict=True)]


every = [a for c in house.chapters().values() for a in c.artefacts]


@given(st.lists(st.sampled_from(house.STATES), min_size=len(every), max_size=len(every)))
def test_totals_count_the_thesiss_artefacts_each_in_one_state(states):
    found = board.totals(artefact_rows(states))
    mine = [s for a, s in zip(every, states, strict=True) if a.kind != "Extra"]
    assert found == {state: mine.count(state) for state in house.STATES}
    assert sum(found.values()) == 62
    # Moving a stand-in to missing takes it out of one number and leaves all others as they were.
    fewer = board.totals(artefact_rows(["missing" if s == "stand-in" else s for s in states]))
    assert {k: v for k, v in fewer.items() if k not in ("missing", "stand-in")} == {
        k: v for k, v in found.items() if k not in ("missing", "stand-in")
    }


def test_extras_are_never_counted():
    extras = [a for a in every if a.kind == "Extra"]
    assert extras, "no extra to test with"
    assert set(board.totals([Row(a, "paper", None) for a in extras]).values()) == {0}


# ---- reported beside repeated


def reported_rows(*rows):
    """Rows of dataset, method, metric, value."""
    frame = pd.DataFrame(rows, columns=["dataset", "method", "metric", "value"])
    return frame.assign(
        model="net", setting="", unit="%", source="thesis, table 1", confidence="recalled, unverified"
    )[list(reported.COLUMNS)]


def run_rows(*rows):
    """Rows of dataset, method, seed, value."""
    frame = pd.DataFrame(rows, columns=["dataset", "method", "seed", "value"])
    return frame.assign(model="net", setting="", metric="accuracy")


def beside(frame, rows, stands_for):
    return {
        (r["dataset"], r["who"], r["run on"]): r
        for r in reported.beside(frame, rows, stands_for).to_dict("records")
    }


def test_the_same_data_set_is_subtracted():
    theirs = reported_rows(("mnist", "ours", "accuracy", 90.0))
    found = beside(run_rows(("mnist", "ours", 1, 92.0), ("mnist", "ours", 2, 94.0)), theirs, {})
    (row,) = found.values()
    assert row["difference"] == 3.0
    assert (row["reported"], row["repeated"], row["sd"]) == (90.0, 93.0, pytest.approx(math.sqrt(2)))
    assert (row["unit"], row["source"], row["confidence"]) == ("%", "thesis, table 1", "recalled, unverified")


def test_a_stand_in_is_never_subtracted():
    theirs = reported_rows(("mnist", "ours", "accuracy", 90.0))
    found = beside(run_rows(("digits", "ours", 1, 92.0)), theirs, {"digits": "mnist"})
    assert list(found) == [("mnist", "net, ours", "digits")]
    (row,) = found.values()
    assert row["difference"] == reported.ORDERING == "another data set: compare the ordering only"
    assert (row["reported"], row["repeated"]) == (90.0, 92.0)


def test_the_thesiss_data_and_its_stand_in_side_by_side():
    theirs = reported_rows(("mnist", "ours", "accuracy", 90.0))
    ours = run_rows(("digits", "ours", 1, 50.0), ("mnist", "ours", 1, 91.0))
    found = beside(ours, theirs, {"digits": "mnist"})
    assert found["mnist", "net, ours", "mnist"]["difference"] == 1.0
    assert found["mnist", "net, ours", "digits"]["difference"] == reported.ORDERING


def test_rows_without_a_partner_stay_and_an_empty_cell_stays_empty():
    theirs = reported_rows(
        ("mnist", "ours", "accuracy", 90.0),
        ("mnist", "theirs", "accuracy", 80.0),
        ("mnist", "new", "accuracy", np.nan),
    )
    ours = run_rows(("mnist", "ours", 1, 92.0), ("mnist", "new", 1, 70.0), ("cifar10", "extra", 1, 60.0))
    found = {r["who"]: r for r in beside(ours, theirs, {}).values()}
    assert set(found) == {"net, ours", "net, theirs", "net, new", "net, extra"}
    assert found["net, theirs"]["reported"] == 80.0 and math.isnan(found["net, theirs"]["repeated"])
    assert math.isnan(found["net, extra"]["reported"]) and found["net, extra"]["repeated"] == 60.0
    assert math.isnan(found["net, new"]["reported"]) and found["net, new"]["repeated"] == 70.0
    for who in ("net, theirs", "net, extra", "net, new"):
        assert found[who]["difference"] == ""
    shown, _, folded = blocks.beside(reported.beside(ours, theirs, {})).partition("{dropdown}")
    assert "net, theirs" not in shown and "unknown" in shown
    assert "Reported, and not measured by this run (1 rows)" in folded and "net, theirs" in folded


@given(
    st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=1, max_size=9),
    st.floats(-1e3, 1e3),
    st.randoms(),
)
def test_mean_and_spread_over_seeds(values, value, random):
    rows = [("mnist", "ours", i, v) for i, v in enumerate(values)] + [("mnist", "other", 0, 7.0)]
    random.shuffle(rows)
    found = beside(run_rows(*rows), reported_rows(("mnist", "ours", "accuracy", value)), {})
    row = found["mnist", "net, ours", "mnist"]
    assert row["repeated"] == pytest.approx(np.mean(values))
    assert row["difference"] == pytest.approx(np.mean(values) - value, abs=1e-9)
    if len(values) == 1 or set(values) <= {0, 1, 100}:  # of successes the share says it all
        assert math.isnan(row["sd"])
    else:
        assert row["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-9)


def test_a_missing_measurement_is_no_zero_and_no_row_is_lost():
    theirs = reported_rows(("mnist", "ours", "accuracy", 90.0), ("mnist", "none", "accuracy", 80.0))
    ours = run_rows(("mnist", "ours", 1, 92.0), ("mnist", "ours", 2, np.nan), ("mnist", "none", 1, np.nan))
    for setting in ("", None, np.nan):
        found = beside(ours.assign(setting=setting), theirs, {})
        assert found["mnist", "net, ours", "mnist"]["repeated"] == 92.0
        empty = found["mnist", "net, none", "mnist"]
        assert math.isnan(empty["repeated"]) and empty["difference"] == "" and empty["reported"] == 80.0
        assert len(found) == 2
    assert "| no value |" in blocks.beside(reported.beside(ours, theirs, {}))


def test_a_long_list_of_reported_rows_does_not_bury_the_run():
    """Pairs first, in the order of the file; then this run's own; what nobody ran is folded, with its source."""
    theirs = reported.read("tab-2.4")
    ours = theirs[theirs["method"].isin(["ZOO", "Meta attack"]) & (theirs["dataset"] == "mnist")][::-1]
    ours = pd.concat([ours.head(1).assign(method="A new one", value=2.0), ours.assign(value=1.0)])
    both = reported.beside(ours[["dataset", "model", "setting", "method", "metric", "value"]], theirs, {})
    pairs = both[both["run on"].notna() & both["source"].notna()]
    assert list(both.index[: len(pairs)]) == list(pairs.index) and len(pairs) >= 6
    names = [f"{r.model}, {r.setting}, {r.method}" for r in theirs.itertuples()]
    assert [names.index(w) for w in pairs["who"]] == sorted(names.index(w) for w in pairs["who"])
    assert both["who"][len(pairs)].endswith("A new one") and both["run on"][len(pairs) + 1 :].isna().all()
    shown, _, folded = blocks.beside(both).partition("::::{dropdown} ")
    assert shown.count("\n| ") == len(pairs) + 2 and "authors' run log" in folded
    for text in (shown, folded):
        assert {
            len(re.split(r"(?<!\\)\|", line)) - 2 for line in text.splitlines() if line.startswith("|")
        } == {6}


def test_a_sentence_that_holds_for_every_row_is_said_once():
    theirs = reported_rows(("mnist", "ours", "accuracy", 90.0), ("mnist", "theirs", "accuracy", 80.0))
    ours = run_rows(("digits", "ours", 1, 92.0), ("digits", "theirs", 1, 82.0), ("digits", "new", 1, 1.0))
    text = blocks.beside(reported.beside(ours, theirs, {"digits": "mnist"}))
    assert text.count("ompare the ordering only") == text.count("nother data set") == 1
    assert "difference" not in text
    mixed = pd.concat([ours, run_rows(("mnist", "ours", 1, 91.0))])
    text = blocks.beside(reported.beside(mixed, theirs, {"digits": "mnist"}))
    assert "difference" in text and text.count("ompare the ordering only") == 2 and "| +1 |" in text


def test_what_is_set_beside_the_reported_rows(monkeypatch):
    theirs = reported_rows(("mnist", "ours", "accuracy", 90.0))
    wide = pd.DataFrame({"dataset": ["mnist"] * 2, "image": [1, 2], "right": [True, False]})

    def compare(frame):
        return run_rows(("mnist", "ours", 0, 100 * frame["right"].mean()))

    monkeypatch.setattr(reported, "read", lambda _: theirs)
    assert page._beside("tab-2.4", wide, compare, {})["difference"].tolist() == [-40.0]
    for made in (None, lambda frame: frame.assign(metric="accuracy")):
        with pytest.raises(CompanionError, match=r"tab-2\.4: .* has (metric, )?value; give compare="):
            page._beside("tab-2.4", wide, made, {})
    monkeypatch.setattr(reported, "read", lambda _: theirs[:0])
    assert page._beside("tab-2.4", wide, None, {}) is None


def test_a_record_reads_back_beside_what_is_reported(tmp_path):
    """From the CSV, as the page does it: rows whose model or setting is empty keep their partners."""
    ours = run_rows(("mnist", "ours", 1, 92.0), ("mnist", "ours", 2, 94.0))
    keys = ["dataset", "model", "setting", "method", "metric", "seed"]
    record = records.write(record_of(tmp_path, keys, ["value"]), ours)
    (row,) = beside(record.frame(), reported_rows(("mnist", "ours", "accuracy", 90.0)), {}).values()
    assert row["difference"] == 3.0


# ---- figures


@pytest.fixture
def style():
    with matplotlib.rc_context():
        figures.use_style()
        yield
        plt.close("all")


def luminance(colour):
    """Relative luminance, WCAG 2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def lightness(colour):
    """CIE L*, 0 to 100: what is left in grey, in steps that look equal."""
    y = luminance(colour)
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


@pytest.mark.parametrize("colour", figures.PALETTE)
def test_every_line_stands_out_from_white(colour):
    """3:1 is what WCAG 2.1 (1.4.11) asks of lines that carry meaning."""
    assert 1.05 / (luminance(colour) + 0.05) >= 3


@pytest.mark.parametrize(("first", "second"), list(itertools.pairwise(figures.PALETTE)))
def test_neighbours_are_told_apart_in_grey(first, second):
    """Five steps of L* are about the least that two separate thin lines can show."""
    assert abs(lightness(first) - lightness(second)) >= 5


@given(st.integers(1, len(figures.PALETTE)))
def test_every_name_has_a_look_of_its_own(count):
    names = [f"m{i}" for i in range(count)]
    for kind in figures.look(names).values():
        assert list(kind) == names
        assert len({str(v) for v in kind.values()}) == count
    # The look of the first names does not depend on how many follow.
    assert figures.look(names[:1])["palette"]["m0"] == figures.look(names)["palette"]["m0"]


def test_more_names_than_colours():
    with pytest.raises(ValueError, match="9 curves, the palette tells 8 apart"):
        figures.look([f"m{i}" for i in range(9)])


def some_figure():
    figure, axes = plt.subplots()
    axes.plot(np.linspace(0, 1, 40), np.sin(np.linspace(0, 9, 40)), label="a line")
    axes.scatter(np.arange(5) / 5, np.arange(5) / 5, c=np.arange(5))
    axes.imshow(np.arange(12).reshape(3, 4), extent=(0, 0.3, 0, 0.3))
    axes.fill_between([0, 1], [0, 0], [0.2, 0.3], alpha=0.2)
    axes.set(title="A title with $\\theta_t$", xlabel="x", yscale="symlog")
    axes.legend()
    return figure


def test_equal_figures_are_equal_bytes(style):
    first, second = figures.render(some_figure()), figures.render(some_figure())
    assert set(first) == {"svg", "png"}
    assert first == second


def test_an_image_holds_no_date_and_no_path(style):
    images = figures.render(some_figure())
    for content in images.values():
        assert not re.search(rb"20\d\d-\d\d-\d\d", content)
        for place in (Path.cwd(), Path.home(), Path(figures.__file__).parents[2]):
            assert f"{place}/".encode() not in content
    assert b"<dc:date>" not in images["svg"]
    assert not Image.open(io.BytesIO(images["png"])).info.keys() & {"Creation Time", "date:create"}


NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def test_an_svg_draws_what_matplotlib_drew(style):
    """What is done to the file afterwards may move a point by a hundredth, and must not scale anything."""
    plain = io.BytesIO()
    some_figure().savefig(plain, format="svg", metadata={"Date": None})
    plain, ours = plain.getvalue().decode(), figures.render(some_figure())["svg"].decode()
    plain = re.sub(r"\n +<", "\n<", plain)  # a file needs no indentation
    scales = re.compile(r"(?:scale|matrix)\([^)]*\)")
    assert scales.findall(ours) == scales.findall(plain)
    assert NUMBER.sub("", scales.sub("", ours)) == NUMBER.sub("", scales.sub("", plain))
    before, after = ([float(n) for n in NUMBER.findall(scales.sub("", text))] for text in (plain, ours))
    np.testing.assert_allclose(after, before, atol=0.0101)


def test_the_png_shows_the_same_as_the_svg_was_drawn_from(style):
    """Fewer colours than matplotlib's, but none that an eye would miss."""
    figure = some_figure()
    plain = io.BytesIO()
    figure.savefig(plain, format="png", dpi=140)
    ours = np.asarray(Image.open(io.BytesIO(figures.render(figure)["png"])).convert("RGB"), float)
    theirs = np.asarray(Image.open(plain).convert("RGB"), float)
    assert ours.shape == theirs.shape
    moved = np.abs(ours - theirs).max(axis=-1)
    assert moved.mean() < 0.5 and (moved > 32).mean() < 0.001


# ---- text


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [
        (None, "", ""),
        (float("nan"), "", ""),
        ("text", "text", "text"),
        ("", "", ""),
        (True, "True", "True"),
        (0, "0", "+0"),
        (0.0, "0", "+0"),
        (-0.0, "0", "+0"),
        (5, "5", "+5"),
        (-5, "-5", "-5"),
        (5.0, "5", "+5"),
        (9999, "9999", "+9999"),
        (999.6, "1000", "+1000"),
        (999.4, "999", "+999"),
        (12345, "12,345", "+12,345"),
        (252009.0, "252,009", "+252,009"),
        (3.14159, "3.14", "+3.14"),
        (-0.012345, "-0.0123", "-0.0123"),
        (99.96, "100", "+100"),
        (1e-9, "1e-09", "+1e-09"),
        (3379578.0, "3,379,578", "+3,379,578"),
        (1e12, "1e+12", "+1e+12"),
        (float("inf"), "inf", "+inf"),
        (np.float64(2.5), "2.5", "+2.5"),
    ],
)
def test_numbers(value, plain, signed):
    assert blocks.number(value) == plain
    assert blocks.number(value, sign=True) == signed


@given(st.floats(-1e9, 1e9).filter(lambda x: x != 0))
def test_a_number_is_right_to_three_digits(value):
    assert float(blocks.number(value).replace(",", "")) == pytest.approx(value, rel=0.00501)
    assert blocks.number(value, sign=True)[0] == ("-" if value < 0 else "+")


@pytest.mark.parametrize("word", house.VERDICTS)
def test_a_verdict_has_a_class_that_the_style_sheet_colours(word):
    css = (house.root() / "book" / "_static" / "companion.css").read_text()
    name = re.fullmatch(rf"\[{word}\]\{{\.verdict \.([a-z-]+)\}}", blocks.verdict(word))[1]
    assert name == "not-tested" or f".verdict.{name}" in css
    assert ".verdict {" in css  # of a verdict without a rule of its own


def test_a_table_survives_bars_and_line_breaks():
    text = blocks.table(pd.DataFrame({"a|b": ["x|y", "two\nlines"], "n": [1.23456, None]}))
    lines = text.splitlines()
    assert len(lines) == 4
    assert all(len(re.split(r"(?<!\\)\|", line)) == 4 for line in lines)
    assert "1.23" in lines[2]


def test_anchors_are_one_a_piece():
    anchors = [blocks.target(a.id) for a in every]
    assert len(set(anchors)) == len(every)
    assert all(re.fullmatch(r"(fig|tab|extra)-\d-[\da-z]+", a) for a in anchors)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("3.5", 3.5),
        ("1e-3", 0.001),
        ("1e5", 1e5),
        ("-2", -2),
        ("true", True),
        ("digits", "digits"),
        ("a,b", ["a", "b"]),
        ("a, b,", ["a", "b"]),
        ("1,2", [1, 2]),
        ("0.5,1", [0.5, 1]),
        ("1e-3,1e-2", [0.001, 0.01]),
        ("[1e-3, 0.5]", [0.001, 0.5]),
        ("[a, b]", ["a", "b"]),
        ("./mine", "./mine"),
        ("./mine,digits", ["./mine", "digits"]),
        ("/data/w8a.bz2", "/data/w8a.bz2"),
        ("batch MM", "batch MM"),
        ("0", 0),
        ("0.5", 0.5),
        ("True", True),
        ("no", "no"),
        ("yes,off", ["yes", "off"]),
        ("[on, y]", ["on", "y"]),
        ("2024-01-02", "2024-01-02"),
    ],
)
def test_a_value_as_typed(text, value):
    found = cli._value(text)
    assert found == value
    assert type(found) is type(value)
    if isinstance(value, list):
        assert [type(v) for v in found] == [type(v) for v in value]


NAMES = st.sampled_from(
    ["CE", "CE, longer", "Joint, then phase II", "Meta attack", "Ours†", "./mine", "it's"]
)


@given(
    st.lists(NAMES, max_size=4)
    | st.lists(st.floats(-1e9, 1e9), max_size=4)
    | st.integers()
    | st.booleans()
    | NAMES
)
def test_a_parameter_typed_in_a_shell_is_read_back(value):
    """The command below an artefact repeats it, whatever its parameters' names hold."""
    (word,) = shlex.split(blocks.typed(value))
    found = cli._value(word)
    assert found == value or [found] == value or found == [value]


@pytest.mark.parametrize(
    "text",
    [
        *("[a", "@x", "a: b: c", "{a", "'a", "[[a]]", "a: 1", "inf", "digits,.nan", "", " ", "~"),
        *("[null]", "a,~", "010", "-08", "1:30", "1,020", "[1:30]"),
    ],
)
def test_a_value_that_cannot_be_read_is_one_line(text, capsys):
    """A user's mistake like any other: exit code 2 and a sentence, no traceback."""
    assert cli.main(["run", "ch6", "--profile", "smoke", "-p", "dataset", text]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("thesis: ") and "\n" not in said


def test_a_number_that_could_be_two_is_refused_by_name(capsys):
    """YAML 1.1 reads 010 as 8 and 1:30 as 90."""
    for text in ("010", "1:30"):
        assert main(["run", "ch6", "--profile", "smoke", "-p", "seed", text]) == 2
        said = f"cannot use '{text}' as a number; give it without leading zeros and colons"
        assert said in capsys.readouterr().err


def test_names_with_commas_are_shown_as_they_are_typed(capsys):
    assert cli.main(["run", "ch4", "-p", "methods", "Joint"]) == 2
    assert """'["CE, longer"]'""" in capsys.readouterr().err
    assert cli.main(["show", "ch4"]) == 0
    assert 'list of CE, "CE, longer", ' in capsys.readouterr().out


# ---- a replay


def test_a_replay_says_which_columns_differ_and_keys_meet_as_text():
    record = SimpleNamespace(id="tab-9.1", keys=["size", "name"], values=["accuracy", "note"])
    stored = pd.DataFrame({"size": [1.0, 2.5], "name": [7, 8], "accuracy": [0.5, 1.0], "note": "a"})
    assert keep._compare(record, stored, stored.astype({"size": object, "name": str})[:1]) == 1
    assert keep._compare(record, stored, stored.astype({"size": str})) == 2  # "1.0"
    for again, said in (
        (stored.drop(columns="note"), "columns differ, note only in the record"),
        (stored.assign(loss=1.0), "columns differ, loss only in the rows run again"),
        (stored.drop(columns="name"), "name is recorded, and no column of the rows run again"),
        (stored.assign(accuracy="high"), "2 of 2 rows differ in accuracy"),
        (stored.assign(note=1.0), "2 of 2 rows differ in note"),
    ):
        with pytest.raises(CompanionError, match=said):
            keep._compare(record, stored, again)


def test_a_replay_compares_numbers_and_words_but_no_times_and_no_machines():
    record = SimpleNamespace(id="tab-9.1", keys=["seed"], values=["accuracy", "note", "seconds", "made on"])
    stored = pd.DataFrame({"seed": ["1"], "accuracy": [0.5], "note": "a", "seconds": 3.0, "made on": "a GPU"})
    assert keep._compare(record, stored, stored.assign(**{"seconds": 9.0, "made on": "a CPU"})) == 1
    for other in ({"accuracy": 0.51}, {"note": "b"}):
        with pytest.raises(CompanionError, match=f"1 of 1 rows differ in {next(iter(other))}"):
            keep._compare(record, stored, stored.assign(**other))
    with pytest.raises(CompanionError, match="1 of 1 replayed rows are not in the record"):
        keep._compare(record, stored, stored.assign(seed="2"))


# ---- the record a reader downloads


def test_a_record_is_enough_to_check_itself(written):
    """With the standard library only, as `how_to_read` promises."""
    facts = json.loads(written.file("json").read_text())
    content = written.file("csv").read_bytes()
    assert hashlib.sha256(content).hexdigest() == facts["sha256"]
    header, *rows = content.decode().splitlines()
    assert header.split(",") == facts["keys"] + facts["values"]
    assert len(rows) == facts["rows"]


# ---- blocks: what the page must say


def test_a_block_names_stand_ins_shared_runs_and_where_numbers_come_from(tmp_path):
    provenance = {
        "commit": "abcdef0123456789", "dirty": True, "inputs": "0" * 64, "started": "2026-01-01", "data": {"digits": "77"},
        "versions": {"python": "3.11"}, "machine": "a machine", "device": "cpu", "seconds": 3.0,
    }  # fmt: skip
    claim = Finding(
        "the new one is better", "caption", "undecided", 0.1, -0.2, 0.4, 5, "seeds", "points", "reason"
    )
    record = record_of(tmp_path, ["dataset", "method", "metric"], ["value"], same_as="tab-2.5", provenance=provenance,
                       claims=[dataclasses.asdict(claim)], parameters={"seed": 3})  # fmt: skip
    ours = pd.DataFrame({"dataset": ["digits"], "method": ["ZOO"], "metric": ["queries"], "value": [900.0]})
    theirs = pd.DataFrame([["mnist", "", "", "ZOO", "queries", 384.0, "queries", "table 2", "recalled, unverified"]],
                          columns=list(reported.COLUMNS))  # fmt: skip
    both = reported.beside(ours, theirs, {"digits": "mnist"})
    text = blocks.block(record, "", "x.csv", blocks.command(record), both, None, {"the record": "x.json"})
    for said in (
        "stand-in data", "Same run as {ref}`Table 2.5 <tab-2-5>`", "mnist / digits", "384 queries (table 2; recalled, unverified)",
        "compare the ordering only", "[undecided]{.verdict .undecided}", "The thesis states (caption)", "[-0.2, +0.4] points",
        "with uncommitted changes", "thesis run ch2 --profile smoke -p seed 3", "a machine",
        "{download}`Table 2.4 on digits as numbers (CSV) <x.csv>`", "{download}`the record <x.json>`",
    ):  # fmt: skip
        assert said in text, said


def test_a_long_comparison_is_folded_pairs_apart_from_the_rest():
    theirs = reported.read("tab-2.4")
    ours = theirs[(theirs["dataset"] == "mnist") & theirs["value"].notna()].assign(value=1.0)
    ours = pd.concat([ours, ours.head(2).assign(method="A new one")])
    text = blocks.beside(
        reported.beside(ours[["dataset", "model", "setting", "method", "metric", "value"]], theirs, {})
    )
    assert len(ours) > blocks.OPEN_ROWS and text.startswith("::::{dropdown} Measured and reported (")
    assert "::::{dropdown} Measured, with nothing to compare (2 rows)" in text


# ---- the command, for programs


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "full"), "cannot read or write: full; set THESISLIB_CACHE (now /c/d) to"),
        (PermissionError(errno.EACCES, "no", "/c/d/a.pickle"), "write /c/d/a.pickle: no; set THESISLIB_CACHE"),
        (PermissionError(errno.EACCES, "no", "/c"), "write /c: no; set THESISLIB_CACHE"),
        (PermissionError(errno.EACCES, "no", "/e/f"), "cannot read or write /e/f: no; see that it is there"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), f"ConnectionRefusedError: [Errno {errno.ECONNREFUSED}] no"),
        (OSError("two\nlines"), "OSError: two lines"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_one_line(error, said, monkeypatch, capsys):
    def refused(everything):
        raise error

    monkeypatch.setenv("THESISLIB_CACHE", "/c/d")
    monkeypatch.setattr(book, "clean", refused)
    assert main(["clean"]) == 1
    told = capsys.readouterr().err
    assert said in told and told.startswith("thesis: ") and told.count("\n") == 1


def test_data_sets_are_told_to_programs_as_they_are(capsys):
    assert main(["data", "--json"]) == 0
    entries = {e["name"]: e for e in json.loads(capsys.readouterr().out)}
    assert entries["digits"]["present"] is True and entries["digits"]["kinds"] == ["images", "features"]
    assert entries["digits"]["chapters"] and all(type(n) is int for n in entries["digits"]["chapters"])


def test_a_chapter_is_shown_by_its_number_and_has_no_recorded_runs_of_its_own(capsys):
    for name in ("6", "ch6", "ch6_spi_mm"):
        assert main(["show", name]) == 0
        assert "rho_factor" in capsys.readouterr().out
    assert main(["show", "ch6", "--recorded"]) == 2
    assert "`thesis list --recorded`" in capsys.readouterr().err


def test_a_book_refuses_two_files_of_one_name(tmp_path, monkeypatch):
    # Chapters share a folder of pictures; the later one's would stand on the earlier one's page.
    monkeypatch.setattr(
        book, "_executed", lambda chapter, profile: {"records/picture-1.svg": chapter.name.encode()}
    )
    with pytest.raises(CompanionError, match="another page has a file"):
        book._stage(tmp_path, "smoke")
    assert not any(tmp_path.iterdir())


def test_settings_that_leave_an_artefact_without_a_row_are_refused_before_anything_runs():
    chapter = house.chapter("ch4")
    settings = runs.settle(chapter, "smoke", {"methods": ["CE"]})
    with pytest.raises(CompanionError, match=r"leave nothing of extra-4\.A; .*--only"):
        making.grid_of(chapter, settings, "extra-4.A")
    for name, one in house.chapters().items():
        if one.written and one.package:
            for artefact in one.artefacts:
                assert making.grid_of(one, runs.settle(one, "smoke", {}), artefact.id), name


def test_a_file_of_ones_own_is_meant_from_where_the_command_is_given(tmp_path, monkeypatch):
    """The notebook is executed in the repository's root, where another file may have its name."""
    (tmp_path / "mine.npz").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    chapter = house.chapter("ch6")
    for name in ("mine.npz", "./mine.npz", str(tmp_path / "mine.npz")):
        assert runs.settle(chapter, "smoke", {"dataset": [name]}).dataset == (str(tmp_path / "mine.npz"),)
    assert runs.settle(chapter, "smoke", {"dataset": "digits"}).dataset == ("digits",)


def test_what_was_only_named_is_not_kept_as_run_on(tmp_path):
    """A table that describes networks for MNIST, made by a run on digits, is no long run on MNIST."""
    named = record_of(
        tmp_path,
        ["layer"],
        ["size"],
        dataset=["mnist", "cifar10"],
        provenance=ORIGIN | {"data": {"digits": "x"}},
    )
    frame = pd.DataFrame({"layer": [1, 2], "size": [3, 4]})
    assert list(keep._of_each_set(named, frame)) == []
    read = dataclasses.replace(named, provenance=ORIGIN | {"data": {"mnist": "x"}})
    assert [name for name, _ in keep._of_each_set(read, frame)] == ["mnist"]
    drawn = dataclasses.replace(named, dataset=["synthetic", "mnist"])  # made up, so nothing was read
    ((name, rows),) = keep._of_each_set(drawn, frame.assign(dataset=["synthetic", "digits"]))
    assert name == "synthetic" and rows["layer"].tolist() == [1]


def test_a_crash_while_a_record_is_kept_leaves_no_json_over_other_numbers(tmp_path, monkeypatch):
    def merged(found, place, folder, part):
        ((record, rows),) = found
        return records.write(dataclasses.replace(record, folder=folder), rows)

    monkeypatch.setattr(keep, "_merged", merged)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "artefacts.yml").write_text("")
    monkeypatch.setenv("THESISLIB_ROOT", str(tmp_path))
    grid = {"dataset": ("digits",), "seed": (1, 2)}
    for seed in (0, 1):
        records.write(record_of(tmp_path / str(seed), grid, ["value"]), frame_of(grid, seed=seed))
    (path,) = keep.keep([tmp_path / "0"])
    plain, left = Path.replace, itertools.count()

    def crash(source, target):
        if next(left) == 1:
            raise KeyboardInterrupt
        return plain(source, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        keep.keep([tmp_path / "1"])
    assert records.read_folder(path.parent) == {}
    assert keep.keep([tmp_path / "1"]) == [path]
    records.check(records.read(path), grid)


def test_a_run_on_data_of_ones_own_is_not_kept(tmp_path):
    """Its folder would be called by a path, and lie outside the repository."""
    record = record_of(tmp_path / "records", GRID, ["value"])
    record = dataclasses.replace(record, dataset=[str(tmp_path / "mine.npz")])
    records.write(record, frame_of(GRID))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CompanionError, match="only runs on data sets that others can get are kept"):
        keep.keep([tmp_path])
    assert sorted(tmp_path.rglob("*")) == before


def test_means_as_a_table_shows_them():
    assert blocks.spread([1, 3]) == "2.0 ± 1.4" and blocks.spread([7.25]) == "7.2"
    assert blocks.interval([]) == "–" and blocks.interval([5.0] * 3) == "5.00 [5.00, 5.00]"
    values = np.random.default_rng(1).normal(500, 40, 400)
    mean, low, high = map(float, re.findall(r"\d+", blocks.interval(values)))
    assert mean == round(values.mean())
    assert [mean - low, high - mean] == pytest.approx([1.96 * values.std() / 20] * 2, abs=1)


def test_a_search_is_told_best_mean_first():
    frame = pd.DataFrame(
        [("digits", "a", c, s, v) for c, pair in (("x", (1, 3)), ("y", (4, 4))) for s, v in enumerate(pair)],
        columns=["dataset", "method", "candidate", "seed", "All"],
    )
    (row,) = blocks.searched(frame, "All").to_dict("records")
    assert row == {"dataset": "digits", "method": "a",
                   "accuracy (%), best first": "y: 4.0 ± 0.0; x: 2.0 ± 1.4", "seeds": 2}  # fmt: skip


def test_a_book_that_does_not_render_leaves_the_last_one(tmp_path):
    site = tmp_path / "html"
    site.mkdir()
    (site / "index.html").write_text("before")
    with pytest.raises(KeyboardInterrupt), book._aside(site):
        assert not site.exists()
        site.mkdir()
        (site / "index.html").write_text("half")
        raise KeyboardInterrupt
    assert (site / "index.html").read_text() == "before" and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "html").rename(tmp_path / ".html-before")  # as a kill leaves them
    site.mkdir()
    with pytest.raises(CompanionError), book._aside(site):
        raise CompanionError("no")
    assert (site / "index.html").read_text() == "before"
    with book._aside(site):
        site.mkdir()
    assert not list(site.iterdir()) and len(list(tmp_path.iterdir())) == 1
