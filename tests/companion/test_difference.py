"""``thesis diff``: each kind of difference is found, and nothing else is called one."""

import dataclasses

import pandas as pd
import pytest

from thesislib.companion import cli, difference, records
from thesislib.companion.house import CompanionError
from thesislib.companion.records import Record

CLAIM = {
    "sentence": "It is better.", "source": "caption", "verdict": "holds", "estimate": 1.0, "low": 0.5, "high": 1.5,
    "n": 50, "pairs": "images", "unit": "queries", "reason": "",
}  # fmt: skip
SETTINGS = {"profile": "smoke", "dataset": ["digits"], "q": 5, "seed": 0}
FRAME = pd.DataFrame(
    {"method": ["old", "new", "new"], "image": [0, 0, 1], "queries": [5, 3, 4], "seconds": [0.1, 0.2, 0.3]}
)


def made(folder, frame=FRAME, identity="tab-2.4", **changes):
    facts = dict(
        id=identity, profile="smoke", dataset=["digits"], keys=["method", "image"], values=["queries", "seconds"],
        rows=0, sha256="", claims=[CLAIM], settings=SETTINGS, parameters={}, seeds=[1],
        alt="", spread="", folder=folder,
        provenance={
            "commit": "a", "dirty": False, "inputs": "x", "versions": {"numpy": "2.4"}, "files": {"zoo.py": "f"}, "data": {},
            "machine": "a machine", "device": "cpu", "started": "2026-01-01", "seconds": 1.0,
        },
    )  # fmt: skip
    return records.write(Record(**(facts | changes)), frame)


@pytest.mark.parametrize(
    ("changes", "frame", "said"),
    [
        ({}, FRAME.assign(queries=[5, 3, 9]),
         "queries: 1 of 3 rows differ, most by 5 (4 -> 9) at method new, image 1; mean 4 -> 5.67"),
        ({}, FRAME[:2], "rows: 1 only in the first"),
        ({"claims": [{**CLAIM, "verdict": "undecided", "low": -0.5}]}, FRAME,
         "claim It is better.: holds +1 [+0.5, +1.5] -> undecided +1 [-0.5, +1.5]"),
        ({"claims": []}, FRAME, "claim It is better.: holds +1 [+0.5, +1.5] -> none"),
        ({"settings": SETTINGS | {"q": 7}}, FRAME, "parameter q: 5 -> 7"),
        ({"profile": "laptop"}, FRAME, "profile: smoke -> laptop"),
        ({"values": ["queries"]}, FRAME, "column seconds: only in the first"),
    ],
)  # fmt: skip
def test_what_differs_is_said_and_nothing_else(tmp_path, changes, frame, said):
    one, two = made(tmp_path / "a"), made(tmp_path / "b", frame, **changes)
    assert list(difference.compared(one, two)) == [said]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"versions": {"numpy": "2.5"}}, "version numpy: 2.4 -> 2.5"),
        ({"files": {"zoo.py": "g"}}, "file zoo.py: f -> g"),
        ({"data": {"digits": "x"}}, "data digits: none -> x"),
        ({"commit": "b"}, "commit: a -> b"),
        ({"threads": 2}, "threads: None -> 2"),
    ],
)
def test_what_it_was_made_from(tmp_path, changes, said):
    one = made(tmp_path / "a")
    two = dataclasses.replace(one, provenance={**one.provenance, **changes})
    assert list(difference.compared(one, two)) == [said]


def test_keys_meet_as_text_whatever_they_were_read_as(tmp_path):
    """Images numbered in one record and named in the other: rows differ, and nothing is raised."""
    one, two = made(tmp_path / "a"), made(tmp_path / "b", FRAME.assign(image=["0", "0", "cat"]))
    assert list(difference.compared(one, two)) == ["rows: 1 only in the first", "rows: 1 only in the second"]
    assert not list(difference.compared(one, made(tmp_path / "c", FRAME.assign(image=[0.0, 0.0, 1.0]))))


def test_times_are_no_difference(tmp_path):
    one = made(tmp_path / "a")
    two = made(tmp_path / "b", FRAME.assign(seconds=9.0), provenance={**one.provenance, "seconds": 99.0})
    assert not list(difference.compared(one, two))


def test_folders_are_compared_by_artefact(tmp_path):
    for place, identities in (("a", ["tab-2.4", "tab-2.5"]), ("b", ["tab-2.5", "fig-2.1"])):
        for identity in identities:
            made(tmp_path / place / "records", identity=identity)
    one, two = str(tmp_path / "a"), str(tmp_path / "b")
    assert difference.between(one, two) == [f"tab-2.4: only in {one}", f"fig-2.1: only in {two}"]
    with pytest.raises(CompanionError, match="no artefact in common"):
        difference.between(f"{one}/records/tab-2.4.json", two)
    with pytest.raises(CompanionError, match="holds no record"):
        difference.between(one, str(tmp_path))


def test_the_command_ends_like_diff_does(capsys):
    assert cli.main(["diff", "a9a-paper", "a9a-paper"]) == 0
    assert cli.main(["diff", "a9a-paper/fig-6.2", "w8a-paper/fig-6.2"]) == 1
    assert "data: ['a9a'] -> ['w8a']" in capsys.readouterr().out
    assert cli.main(["diff", "a9a-paper", "nowhere"]) == 2
