"""The thesis's numbers, and a run's beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from thesislib.companion import house

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("dataset", "model", "setting", "method", "metric", "value", "unit", "source", "confidence")
WHO = ("model", "setting", "method", "metric")
ORDERING = "another data set: compare the ordering only"


def read(identity: str) -> pd.DataFrame:
    """Every row reported for an artefact; no rows where nothing is on file.

    Parameters
    ----------
    identity : str
        ``tab-2.4``.
    """
    import pandas as pd

    path = house.root() / "data" / "reported" / f"{identity}.csv"
    if not path.is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.read_csv(path, dtype={c: str for c in COLUMNS if c != "value"}, keep_default_na=False,
                       na_values={"value": [""]})  # fmt: skip


def beside(frame: pd.DataFrame, reported: pd.DataFrame, stands_for: Mapping[str, str]) -> pd.DataFrame:
    """Reported rows joined to a run's, one line a pair.

    Parameters
    ----------
    frame
        A run's tidy frame with ``dataset``, ``metric``, ``value`` and any of ``model``, ``setting``,
        ``method``. Rows that agree on these are repeats (seeds): their mean and standard deviation are shown,
        without missing values; of successes and failures, 1 and 0, the mean alone.
    reported
        As :func:`read` gives it.
    stands_for
        The thesis's data set that each embedded one stands in for, ``{"digits": "mnist"}``.

    Returns
    -------
    DataFrame
        Columns ``dataset``, ``who``, ``metric``, ``unit``, ``reported``, ``source``, ``confidence``, ``repeated``,
        ``sd``, ``run on`` and ``difference``: a number where the data set is the thesis's, else a sentence. Rows of
        either side without a partner stay, with the other side empty. Pairs come first, in the order of the reported
        rows, then this run's others, then the others reported.
    """

    who = [c for c in WHO if c in frame.columns]
    frame = frame.assign(**{c: frame[c].astype(object).fillna("") for c in who})  # or grouping drops rows
    ours = frame.groupby(["dataset", *who], sort=False)["value"].agg(["mean", _spread]).reset_index()
    ours["run on"], ours["row"] = ours["dataset"], range(len(ours))
    ours["dataset"] = ours["dataset"].map(lambda name: stands_for.get(name, name))
    theirs = reported.assign(line=range(len(reported)))
    both = theirs.merge(ours, on=["dataset", *who], how="outer", indicator="side")
    both["side"] = both["side"].map({"both": 0, "right_only": 1, "left_only": 2}).astype(int)
    both = both.sort_values(["side", "line", "row"], kind="stable", ignore_index=True)
    both["who"] = [
        ", ".join(row[c] for c in WHO[:-1] if isinstance(row.get(c), str) and row[c])
        for row in both.to_dict("records")
    ]
    both = both.rename(columns={"value": "reported", "mean": "repeated", "_spread": "sd"})
    both["difference"] = [_difference(row) for row in both.to_dict("records")]
    both["unit"] = both["unit"].fillna("")
    columns = ["dataset", "who", "metric", "reported", "unit", "source", "confidence",
               "repeated", "sd", "run on", "difference"]  # fmt: skip
    return both[columns]


def _spread(values: pd.Series) -> float:
    """Standard deviation; none of a rate, which says it all."""
    return float("nan") if values.isin((0, 1, 100)).all() else values.std()


def file_of(identity: str, kept: str = "") -> str:
    """Name of the CSV, among a run's records, with what :func:`beside` gave.

    Parameters
    ----------
    identity
        Of the artefact.
    kept
        Folder of the committed run whose numbers they are; empty: this run's.
    """
    return f"{identity}{f'@{kept}' if kept else ''}.beside.csv"


def _difference(row: dict) -> float | str:
    if row["reported"] != row["reported"] or row["repeated"] != row["repeated"]:  # nan: one side is empty
        return ""
    return row["repeated"] - row["reported"] if row["run on"] == row["dataset"] else ORDERING
