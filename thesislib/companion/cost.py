"""What runs cost, from their records alone: time, queries, memory, and how they grow with the problem."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from thesislib.companion import blocks, house
from thesislib.companion.records import Record

if TYPE_CHECKING:
    import pandas as pd

COUNTED = {"queries": "victim queries", "ifo": "gradient evaluations"}
"""Columns that count what a method spends, whatever the machine."""

GROWING = {**COUNTED, "seconds": "CPU seconds an epoch"}
"""Columns from which the growth with the problem is read, the first that a record has."""

ITEMS = ("image", "clip")


def tables(kept: Sequence[Record]) -> str:
    """The cost page's tables in MyST.

    Parameters
    ----------
    kept
        Records of this copy and of long runs, in reading order.
    """
    import pandas as pd

    runs = [
        (chapter, place, list(group))
        for (chapter, place), group in itertools.groupby(sorted(kept, key=_run), _run)
    ]
    if not runs:
        return "No run is recorded yet.\n"
    totals = pd.DataFrame([_total(chapter, place, group) for chapter, place, group in runs])
    machines = dict.fromkeys(f"{r.provenance['machine']}, {r.provenance['device']}" for r in kept)
    parts = [
        "## Chapter by chapter",
        blocks.table(totals),
        f"Run on: {'; '.join(machines)}.",
        "## How it grows",
    ]
    for chapter, place, group in runs:
        if (grown := growth(group)) is not None:
            identity, table = grown
            title = f"Chapter {chapter}, {place}: {house.artefact(identity).label}"
            parts.append(blocks.dropdown(title, blocks.table(table)))
    return blocks.joined(parts) + "\n"


def spent(group: Sequence[Record], column: str) -> int | None:
    """Sum of a counting column over the records of one run; None if none has it.

    Several artefacts may show one attack. A row that is the same in two records (method, item, count and
    whatever else both name) is therefore one row, as often as the record that has it most often says.
    """
    import pandas as pd

    frames = [r.frame() for r in group if column in r.values]
    if not frames:
        return None
    common = [c for c in ("dataset", "method", *ITEMS, column) if any(c in f for f in frames)]
    counts = [f.reindex(columns=common).astype(str).value_counts(dropna=False) for f in frames]
    most = pd.concat(counts, axis="columns").max(axis="columns")
    return int(sum(float(row[-1]) * n for row, n in most.items()))


def growth(group: Sequence[Record]) -> tuple[str, pd.DataFrame] | None:
    """Each method's cost at three sizes of one run, and the power of the size that it grows with.

    Sizes are the values of a key ``n``, or the first quarter, the first half and all of the images (clips)
    attacked. Of several records that could tell, the one that spent most does.

    Returns
    -------
    str, DataFrame
        The artefact, and a row for each method; None if no record tells.
    """
    import pandas as pd

    able = [(r, r.frame()) for r in group if "method" in r.keys and _size_of(r) and _column_of(r)]
    for record, frame in sorted(able, key=lambda pair: -pair[1][_column_of(pair[0])].sum()):
        size, column = _size_of(record), _column_of(record)
        # Several accuracies would each have their own cost: the hardest is the one that costs most.
        by = [k for k in record.keys if k not in (size, "seed", "eps")]
        if "eps" in frame:
            frame = frame[frame["eps"] == frame["eps"].min()]
        rows = []
        for names, part in frame.groupby(by, sort=False):
            costs = _at_three(part, size, column)
            if len(costs) == 3:
                rows.append({"": ", ".join(map(str, names)), **_cells(costs, size)})
        if rows:
            return record.id, pd.DataFrame(rows).rename(columns={"": GROWING[column]})
    return None


def _at_three(part: pd.DataFrame, size: str, column: str) -> dict[int, float]:
    """Size to cost, smallest, middle and largest."""
    once = part.groupby(size)[column].mean().sort_index()  # over seeds
    if size in ITEMS:
        total, n = once.cumsum().to_numpy(), len(once)
        return {k: float(total[k - 1]) for k in (n // 4, n // 2, n) if k}
    where = sorted({0, len(once) // 2, len(once) - 1})
    return {int(once.index[i]): float(once.iloc[i]) for i in where}


def _cells(costs: dict[int, float], size: str) -> dict[str, str]:
    unit = "samples" if size == "n" else f"{size}s"
    cells = {
        name: f"{cost:,.0f} ({k} {unit})" if cost >= 100 else f"{cost:.3g} ({k} {unit})"
        for name, (k, cost) in zip(("small", "middle", "large"), costs.items(), strict=True)
    }
    (low, first), *_, (high, last) = costs.items()
    power = math.log(last / first) / math.log(high / low) if first > 0 and last > 0 else math.nan
    return {**cells, "power of the size": blocks.number(round(power, 2))}


def _total(chapter: int, place: str, group: Sequence[Record]) -> dict[str, str]:
    counts = {name: spent(group, column) for column, name in COUNTED.items()}
    trained = [n for r in group if (n := r.provenance.get("training_images")) is not None]
    counts["training images"] = sum(trained) if trained else None
    memory = [r.provenance["peak_mb"] for r in group if r.provenance.get("peak_mb")]
    return {
        "Chapter": str(chapter),
        "Run": place,
        "Artefacts": str(len(group)),
        "Wall time": duration(sum(r.provenance["seconds"] for r in group)),
        "Counted": ", ".join(f"{n:,} {name}" for name, n in counts.items() if n is not None) or "not counted",
        "Peak memory": f"{max(memory) / 1000:.1f} GB" if memory else "not measured",
    }


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, to two digits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _run(record: Record) -> tuple[int, str]:
    """Chapter, and the run a record is of: the copy's profile, or a folder of long runs."""
    long = record.folder.parent.name == "recorded"
    return (
        record.artefact.chapter,
        f"recorded, `{record.folder.name}`" if long else f"`{record.profile}`, this copy",
    )


def _size_of(record: Record) -> str | None:
    return next((k for k in ("n", *ITEMS) if k in record.keys), None)


def _column_of(record: Record) -> str | None:
    return next((c for c in GROWING if c in record.values), None)
