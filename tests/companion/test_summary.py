"""A chapter's thirty seconds say what its records say, and its file of records is whole."""

import hashlib
import io
import json
import re
import zipfile

import nbformat
import pandas as pd
import pytest

from thesislib.companion import house, records, summary
from thesislib.companion.house import CompanionError
from thesislib.companion.records import Record

CHAPTER = house.chapter("ch2")
PROVENANCE = {
    "commit": "0" * 40, "dirty": False, "inputs": "", "files": {}, "data": {}, "versions": {},
    "machine": "a machine, 2 cores", "device": "cpu", "started": "2026-01-01T00:00:00+00:00", "seconds": 90.0,
}  # fmt: skip


def claim(sentence, verdict, source="caption"):
    return {
        "sentence": sentence, "source": source, "verdict": verdict, "estimate": 1.0, "low": 0.5, "high": 2.0,
        "unit": "queries", "n": 60, "pairs": "pairs", "reason": "",
    }  # fmt: skip


def written(folder, identity, claims, **changes):
    facts = dict(
        id=identity, profile="laptop", dataset=["digits"], keys=["image"], values=["queries"], rows=0, sha256="",
        claims=claims, settings={}, parameters={}, seeds=[0], alt="", spread="", provenance=PROVENANCE, folder=folder,
    )  # fmt: skip
    frame = pd.DataFrame({"image": range(3), "queries": [1.0, 2.5, 4.0]})
    return records.write(Record(**(facts | changes)), frame, {"svg": b"<svg/>"})


@pytest.fixture
def two_runs(tmp_path):
    """This run and a long one of the same two artefacts."""
    fewer = "the meta attack needs fewer queries"
    found = [
        written(
            tmp_path / "run", "fig-2.1", [claim(fewer, "does not hold"), claim("bands are narrow", "holds")]
        ),
        written(tmp_path / "run", "tab-2.4", [claim("a control agrees", "undecided", "ours")]),
    ]
    long = {"profile": "paper", "dataset": ["mnist"]}
    kept = [written(tmp_path / "mnist-paper", "fig-2.1", [claim(fewer, "holds")], **long)]
    return found, kept


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(summary.provenance, "changed", lambda record: [])


def test_the_counts_are_those_of_the_records(two_runs, fresh):
    text = summary.results(CHAPTER, *two_runs, "file.zip")
    mine, long = (line for line in text.splitlines() if re.match(r"- \*\*(This|Recorded) run", line))
    assert "This run, laptop" in mine and "*digits*" in mine and "stand-in" in mine and "3 claims" in mine
    counts = re.findall(r"\[(.*?)\]\{\.verdict .*?\}\s(\d)", mine)
    assert dict(counts) == {"holds": "1", "does not hold": "1", "undecided": "1"}
    assert "Recorded run, paper" in long and "*mnist*" in long and "1 claim:" in long and "[holds]" in long
    assert "[does not hold]" not in long


def test_the_thesis_claims_stand_open_with_data_and_links_and_the_worst_first(two_runs, fresh):
    text = summary.results(CHAPTER, *two_runs, "file.zip")
    stated, folded = text.split("{dropdown}")
    failed, held = [line for line in stated.splitlines() if re.match(r"- \[", line)]
    assert failed == (
        "- [does not hold]{.verdict .does-not-hold} the meta attack needs fewer queries. "
        "{ref}`Figure 2.1 <fig-2-1>` (this run). [holds]{.verdict .holds}: {ref}`Figure 2.1 <fig-2-1>` (mnist)."
    )
    assert held.startswith("- [holds]{.verdict .holds} bands are narrow. {ref}")
    assert "a control agrees" in folded and "a control agrees" not in stated
    assert folded.splitlines()[0].endswith("(1 of 1)")
    assert "`thesis run ch2 --profile laptop`" in text and "3 minutes on one core of a machine" in text


def test_one_sentence_of_several_artefacts_is_one_item(tmp_path, fresh):
    best, untested = "ours is best", "not tested at this profile"
    found = [
        written(tmp_path, "fig-2.1", [claim(best, "undecided")], dataset=["digits", "glyphs"]),
        written(tmp_path, "tab-2.4", [claim(best, "undecided"), claim("it scales", untested)]),
        written(tmp_path, "tab-2.5", [claim(best, untested)]),
    ]
    text = summary.results(CHAPTER, found, [], "file.zip")
    first, last = [line for line in text.splitlines() if re.match(r"- \[", line)]
    assert first == (
        f"- [undecided]{{.verdict .undecided}} {best}. {{ref}}`Figure 2.1 <fig-2-1>` (this run); "
        "{ref}`Table 2.4 <tab-2-4>` (digits)."
    )
    assert "it scales" in last and untested in last


def test_if_nothing_failed_nothing_is_folded(tmp_path, fresh):
    claims = [claim("it is so", "holds"), claim("it is sound", "holds", "ours")]
    text = summary.results(CHAPTER, [written(tmp_path, "fig-2.1", claims)], [], "file.zip")
    assert "it is so" in text and "it is sound" not in text and "dropdown" not in text


def test_a_stale_long_run_is_called_one(two_runs, monkeypatch):
    monkeypatch.setattr(summary.provenance, "changed", lambda record: ["thesislib/x.py"])
    text = summary.results(CHAPTER, *two_runs, "file.zip")
    lines = [line for line in text.splitlines() if "its code or data changed since" in line]
    assert len(lines) == 1 and "*mnist*" in lines[0]


def test_the_results_stand_in_the_first_cell_and_the_injected_cell_does_not_show():
    cells = [
        nbformat.v4.new_markdown_cell(f"# T\n\n{summary.MARK}\n"),
        nbformat.v4.new_code_cell("profile = 'smoke'", metadata={"tags": ["injected-parameters"]}),
        nbformat.v4.new_code_cell("1", metadata={"tags": ["parameters"]}),
    ]
    source = nbformat.writes(nbformat.v4.new_notebook(cells=cells)).encode()
    book = nbformat.reads(summary.filled(source, "RESULTS").decode(), as_version=4)
    assert "RESULTS" in book.cells[0].source and summary.MARK not in book.cells[0].source
    assert [c.metadata["tags"] for c in book.cells[1:]] == [
        ["injected-parameters", "remove-cell"],
        ["parameters"],
    ]
    with pytest.raises(CompanionError, match="no <!-- results -->"):
        summary.filled(summary.filled(source, "RESULTS"), "RESULTS")


def test_the_file_of_records_is_whole_and_the_same_twice(two_runs, tmp_path):
    found, kept = two_runs
    (tmp_path / "run" / "fig-2.1@mnist-paper.svg").write_bytes(b"<svg>long</svg>")
    content = summary.packed(CHAPTER, found, kept, tmp_path / "run")
    for path in tmp_path.rglob("*.*"):
        path.touch()
    assert content == summary.packed(CHAPTER, found, kept, tmp_path / "run")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert file.testzip() is None
        read = {name.removeprefix("ch2_meta_attack/"): file.read(name) for name in file.namelist()}
    places = {
        f"{p}.{s}"
        for p in ("laptop/fig-2.1", "laptop/tab-2.4", "mnist-paper/fig-2.1")
        for s in ("csv", "json", "svg")
    }
    assert set(read) == places | {"README.txt"}
    assert read["laptop/fig-2.1.svg"] == b"<svg/>" and read["mnist-paper/fig-2.1.svg"] == b"<svg>long</svg>"
    for place in ("laptop/fig-2.1", "mnist-paper/fig-2.1"):
        facts = json.loads(read[f"{place}.json"])
        assert facts["sha256"] == hashlib.sha256(read[f"{place}.csv"]).hexdigest()
        assert facts["sha256"] in read["README.txt"].decode()
    text = read["README.txt"].decode()
    assert "0" * 40 in text and "thesis run ch2 --profile laptop" in text and "mnist" in text
