"""The scoreboard keeps what this copy found apart from what long runs found."""

from thesislib.companion import board, house
from thesislib.companion.board import Row
from thesislib.companion.records import Record


def row(identity, verdicts, state="stand-in", **changes):
    claims = [{"verdict": v} for v in verdicts]
    facts = dict(
        id=identity, profile="laptop", dataset=["digits"], keys=[], values=[], rows=0, sha256="", claims=claims,
        settings={}, parameters={}, seeds=[], alt="", spread="", provenance={},
    )  # fmt: skip
    return Row(house.artefact(identity), state, Record(**(facts | changes)))


def test_this_copy_and_long_runs_have_columns_of_their_own():
    mine = row("tab-2.4", ["holds", "holds", "undecided"])
    none = Row(house.artefact("tab-2.5"), "missing", None)
    long = [
        row("tab-2.4", ["does not hold"], "paper", profile="paper", dataset=["mnist"]),
        row("tab-2.5", ["undecided"], "stale", profile="paper", dataset=["cifar10"]),
    ]
    lines = board.scoreboard([mine, none], long, "laptop").splitlines()
    head = next(line for line in lines if line.startswith("| Artefact"))
    assert [c.strip() for c in head.strip("|").split("|")] == [
        "Artefact", "State", "Verdicts, laptop", "Verdicts, recorded runs",
    ]  # fmt: skip
    cells = {
        i: next(line for line in lines if f"<{i}>" in line).strip("|").split("|")
        for i in ("tab-2-4", "tab-2-5")
    }
    assert (
        "[holds]" in cells["tab-2-4"][2]
        and "digits" in cells["tab-2-4"][2]
        and "[does" not in cells["tab-2-4"][2]
    )
    assert "mnist, paper: [does not hold]" in cells["tab-2-4"][3] and "[holds]" not in cells["tab-2-4"][3]
    assert cells["tab-2-5"][2].strip() == "" and "cifar10, paper (stale): [undecided]" in cells["tab-2-5"][3]
