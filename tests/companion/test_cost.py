"""The cost page counts what was spent, once, and finds the power that costs grow with."""

import itertools

import pandas as pd
import pytest

from thesislib.companion import cost, records
from thesislib.companion.records import Record


def made(folder, identity, frame, keys, seconds=60.0, **provenance):
    record = Record(
        id=identity, profile="laptop", dataset=["digits"], keys=keys, values=[c for c in frame if c not in keys], rows=0,
        sha256="", claims=[], settings={}, parameters={}, seeds=[1], alt="", spread="", folder=folder,
        provenance={"machine": "a machine", "device": "cpu", "seconds": seconds, **provenance},
    )  # fmt: skip
    return records.write(record, frame)


def attacks(queries, method="ZOO", **more):
    return pd.DataFrame({"method": method, "image": range(len(queries)), "queries": queries, **more})


def test_an_attack_that_two_artefacts_show_counts_once(tmp_path):
    keys = ["method", "image"]
    untargeted, targeted = attacks([100, 100, 7]), attacks([100, 9, 9])
    both = pd.concat([untargeted.assign(goal="untargeted"), targeted.assign(goal="targeted")])
    group = [
        made(tmp_path, "tab-2.4", untargeted, keys),
        made(tmp_path, "tab-2.5", targeted, keys),
        made(tmp_path, "fig-2.1", both, [*keys, "goal"]),
        made(tmp_path, "tab-2.8", attacks([3, 3], method="Bandits"), keys),
        made(tmp_path, "tab-2.3", pd.DataFrame({"model": ["a"], "accuracy": [1.0]}), ["model"]),
    ]
    # Image 0 spent 100 queries for either goal: two rows of one record are two attacks, even if they are equal.
    assert cost.spent(group, "queries") == 100 + 100 + 7 + 100 + 9 + 9 + 6
    assert cost.spent(group[-1:], "queries") is None


def test_equal_costs_on_two_data_sets_are_two_costs(tmp_path):
    keys = ["dataset", "method", "image"]
    group = [
        made(tmp_path, "tab-2.4", attacks([100, 7], dataset="digits"), keys),
        made(tmp_path, "tab-2.5", attacks([100, 7], dataset="glyphs"), keys),
        made(tmp_path, "fig-2.1", attacks([100, 7], dataset="digits"), keys),  # the first one's attacks again
    ]
    assert cost.spent(group, "queries") == 2 * 107


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_the_power_is_found(tmp_path, power):
    rows = [
        {
            "eps": eps,
            "n": n,
            "method": "SPI-MM",
            "seed": seed,
            "ifo": round(n**power * 1000 * (1 + seed) / eps),
        }
        for eps, n, seed in itertools.product((0.1, 0.01), (100, 400, 1600, 6400), (0, 1))
    ]
    record = made(tmp_path, "extra-6.A", pd.DataFrame(rows), ["eps", "n", "method", "seed"])
    identity, table = cost.growth([record])
    assert identity == "extra-6.A"
    (row,) = table.to_dict("records")
    assert row["power of the size"] == f"{power:g}"
    assert (
        row["small"] == f"{100**power * 150_000:,.0f} (100 samples)"
    )  # the smaller eps, the mean of both seeds
    assert row["large"].endswith("(6400 samples)")


def test_images_are_counted_from_the_first(tmp_path):
    record = made(tmp_path, "tab-2.4", attacks([1, 1, 1, 1, 10, 10, 10, 10]), ["method", "image"])
    (row,) = cost.growth([record])[1].to_dict("records")
    assert [row[c] for c in ("small", "middle", "large")] == ["2 (2 images)", "4 (4 images)", "44 (8 images)"]


def test_of_several_records_the_dearest_tells_and_few_images_tell_nothing(tmp_path):
    keys = ["method", "image"]
    many = made(tmp_path, "tab-2.6", attacks([1] * 100), keys)
    dear = made(tmp_path, "tab-2.4", attacks([1000] * 8), keys)
    assert cost.growth([many, dear])[0] == "tab-2.4"
    assert cost.growth([made(tmp_path, "tab-2.5", attacks([5, 5]), keys)]) is None


def test_the_page_has_a_row_for_each_run(tmp_path):
    frame, keys = attacks([5] * 8), ["method", "image"]
    page = cost.tables([
        made(tmp_path / "_build" / "records", "tab-2.4", frame, keys, 30.0, peak_mb=1500),
        made(tmp_path / "_build" / "records", "tab-2.5", frame, keys, 90.0, peak_mb=900),
        made(tmp_path / "recorded" / "mnist-paper", "tab-2.4", frame * 2, keys, 7200.0),
    ])  # fmt: skip
    rows = [line for line in page.splitlines() if line.startswith("| 2 |")]
    assert rows == [
        "| 2 | `laptop`, this copy | 2 | 2 min | 40 victim queries | 1.5 GB |",
        "| 2 | recorded, `mnist-paper` | 1 | 2.0 h | 80 victim queries | not measured |",
    ]
    assert page.count("::::{dropdown}") == 2 and page.count("a machine, cpu") == 1


def test_training_images_are_those_that_the_records_name(tmp_path):
    frame = pd.DataFrame({"method": ["CE"], "accuracy": [90.0]})
    page = cost.tables([
        made(tmp_path / "_build" / "records", "tab-5.4", frame, ["method"], training_images=12_000),
        made(tmp_path / "_build" / "records", "tab-5.5", frame, ["method"], training_images=0),
        made(tmp_path / "recorded" / "cifar100_lt-paper", "tab-5.5", frame, ["method"]),
    ])  # fmt: skip
    rows = [line for line in page.splitlines() if line.startswith("| 5 |")]
    assert "12,000 training images" in rows[0] and "not counted" in rows[1]


def test_seconds_tell_the_growth_where_nothing_is_counted(tmp_path):
    rows = [{"method": "CE", "n": n, "seconds": 0.002 * n} for n in (100, 200, 400)]
    record = made(tmp_path, "extra-5.C", pd.DataFrame(rows), ["method", "n"])
    (row,) = cost.growth([record])[1].to_dict("records")
    assert row["small"] == "0.2 (100 samples)" and row["power of the size"] == "1"


def test_without_records_the_page_says_so():
    assert cost.tables([]) == "No run is recorded yet.\n"
