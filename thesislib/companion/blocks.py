"""How a record reads on the page: MyST text for the book, plain HTML for a notebook open elsewhere."""

from __future__ import annotations

import ast
import base64
import dataclasses
import html
import inspect
import json
import math
import shlex
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from thesislib.companion import house, reported
from thesislib.companion.house import CompanionError
from thesislib.companion.records import Record
from thesislib.settings import ChapterSettings

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

ORIGIN = {
    "caption": "The thesis states (caption)",
    "abstract": "The thesis states (abstract)",
    "inferred": "One would expect",
    "ours": "Our own check",
}
STATE_WORDS = {
    "missing": "not regenerated yet",
    "no-data": "needs no data set",
    "stand-in": "stand-in data",
    "thesis-data": "the thesis's data, reduced budget",
    "paper": "the thesis's data and settings",
    "stale": "its code or data changed since",
}

OPEN_ROWS = 15  # a longer comparison is folded


def target(identity: str) -> str:
    """The anchor of an artefact."""
    return identity.replace(".", "-").lower()


def verdict(word: str) -> str:
    """A verdict as a coloured word; the word itself says it, the colour only helps."""
    return f"[{word}]{{.verdict .{style_of(word)}}}"


def style_of(word: str) -> str:
    """Class of a verdict in style sheets: ``does-not-hold``."""
    return word.split(" at ")[0].replace(" ", "-")


def state(word: str) -> str:
    """A state as a coloured word."""
    return f"[{word}]{{.state .{word}}}"


def number(value: Any, sign: bool = False) -> str:
    """Three significant digits, large numbers whole, or the text itself; empty for a missing number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    value += 0.0  # no minus before a zero
    if 999.5 <= abs(value) < 1e12 or (abs(value) < 1000 and value.is_integer()):
        grouped = "," if abs(value) >= 10_000 else ""
        return f"{value:{'+' if sign else ''}{grouped}.0f}"
    return f"{value:+.3g}" if sign else f"{value:.3g}"


def spread(values: ArrayLike) -> str:
    """Mean and standard deviation of a few values, seeds say, as a table shows them."""
    import numpy as np

    values = np.asarray(values, float)
    sd = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{sd}"


def searched(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """A line a data set and method of a search: its candidates, best mean first, with their :func:`spread` over seeds.

    Parameters
    ----------
    frame
        With ``dataset``, ``method``, ``candidate``, ``seed`` and `value`, an accuracy in percent.
    value
        The column that decides.
    """
    import pandas as pd

    rows = []
    for (name, method), part in frame.groupby(["dataset", "method"], sort=False):
        seeds = part.groupby("candidate", sort=False)[value]
        best = seeds.mean().sort_values(ascending=False, kind="stable").index
        words = "; ".join(f"{one}: {spread(seeds.get_group(one))}" for one in best)
        found = {"accuracy (%), best first": words, "seeds": part["seed"].nunique()}
        rows.append({"dataset": name, "method": method, **found})
    return pd.DataFrame(rows)


def interval(values: ArrayLike) -> str:
    """Mean of many values, images say, and its 95 % bootstrap interval; a dash for none."""
    import numpy as np

    values = np.asarray(values, float)
    if not len(values):
        return "–"
    means = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    digits = 2 if values.max() < 100 else 0
    return f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def named(record: Record) -> str:
    """``Figure 6.2 on a9a``: which record a link leads to, for who hears links alone."""
    data = ", ".join(record.dataset)
    return f"{record.artefact.label} on {data}" if data else record.artefact.label


def finding(claim: dict[str, Any]) -> str:
    """One claim with its verdict, estimate and reason, as a list item."""
    text = f"- {verdict(claim['verdict'])} {ORIGIN[claim['source']]}: {claim['sentence'].rstrip('.')}."
    if claim["estimate"] is not None:
        low, high = number(claim["low"], sign=True), number(claim["high"], sign=True)
        text += (
            f" Measured: **{number(claim['estimate'], sign=True)}** [{low}, {high}] {claim['unit']},"
            f" {claim['n']} {claim['pairs']}; {speaks(claim)} speaks for the claim."
        )
        if claim["reason"]:
            text += f" Decided by {claim['reason']}."
    elif claim["reason"]:
        text += f" Reason: {claim['reason']}."
    return text


def speaks(claim: dict[str, Any]) -> str:
    """Which differences speak for a claim: positive ones, or those above its threshold."""
    return f"more than {number(claim['threshold'], sign=True)}" if claim.get("threshold") else "positive"


def findings(claims: list[dict[str, Any]]) -> str:
    """All claims of a record as a list."""
    return "{.findings}\n" + "\n".join(finding(claim) for claim in claims) if claims else ""


def table(frame: pd.DataFrame, align: str = "") -> str:
    """A frame as a MyST pipe table, numbers to three digits."""
    cells = [[_cell(number(value)) for value in row] for row in frame.astype(object).to_numpy().tolist()]
    lines = [[_cell(str(c)) for c in frame.columns], [align or "---"] * len(frame.columns), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def dropdown(title: str, body: str) -> str:
    """Folded text."""
    return f"::::{{dropdown}} {title}\n{body}\n::::"


def beside(both: pd.DataFrame) -> str:
    """What this run measured beside what is reported of it; what else is reported, folded."""
    ran = both["run on"].notna()
    ours, others = both[ran], both[~ran]
    parts = []
    if 0 < len(ours) <= OPEN_ROWS:
        parts.append(beside_table(ours))
    else:
        met = ours["reported"].notna()
        titles = {"Measured and reported": ours[met], "Measured, with nothing to compare": ours[~met]}
        parts += [
            dropdown(f"{t} ({len(rows)} rows)", beside_table(rows)) for t, rows in titles.items() if len(rows)
        ]
    if len(others):
        parts.append(
            dropdown(f"Reported, and not measured by this run ({len(others)} rows)", _sourced(others))
        )
    return joined(parts)


def beside_table(both: pd.DataFrame) -> str:
    """Reported beside repeated: six columns, or five and a sentence if all differences are that sentence."""
    rows = both.to_dict("records")
    shown = both[["who", "metric"]].copy()
    shown.insert(0, "data", [pair_data(r) for r in rows])
    shown["reported"] = [_reported(r) for r in rows]
    shown["this run"] = [_repeated(r) for r in rows]
    differences = {r["difference"] for r in rows}
    if differences <= {"", reported.ORDERING} and differences != {""}:
        return joined([f"*{reported.ORDERING.capitalize()}.*", table(shown)])
    shown["difference"] = [number(r["difference"], sign=True) for r in rows]
    return table(shown)


def block(
    record: Record,
    images: str,
    numbers: str,
    command: str,
    both: pd.DataFrame | None,
    summary: pd.DataFrame | None,
    downloads: dict[str, str],
) -> str:
    """A record as MyST.

    Parameters
    ----------
    images
        Path of the figure's SVG as the page sees it; empty for a table.
    numbers
        Path of the CSV: the text alternative of a figure, so it is linked in the caption.
    command
        What reruns it.
    both
        Reported beside repeated, or None where nothing is reported.
    summary
        The numbers of a figure in a few rows, or the table itself.
    downloads
        Title to path, as the page sees them; a title alone says what it leads to, see :func:`named`.
    """
    artefact = record.artefact
    title = f"**{artefact.label}.** {artefact.title}."
    parts = []
    csv = f"{{download}}`{named(record)} as numbers (CSV) <{numbers}>`"
    caption = f"{title} {_data_line(record)} {csv}"
    if images:
        alt = " ".join(record.alt.split())
        parts.append(f"::::{{figure}} {images}\n:alt: {alt}\n:width: 100%\n\n{caption}\n::::")
    else:
        parts.append(caption)
    if record.same_as:
        other = f"{house.artefact(record.same_as).label} <{target(record.same_as)}>"
        parts.append(f"Same run as {{ref}}`{other}`: on this data the two are one.")
    if summary is not None and not images:
        parts.append(table(summary))
    parts.append(findings(record.claims) or "*No claim is attached to it.*")
    if both is not None and len(both):
        parts.append(f"**Reported beside repeated.**\n\n{beside(both)}")
    elif artefact.kind != "Extra":
        parts.append(f"**Reported:** {artefact.reported_note or 'no number is known'}.")
    if summary is not None and images:
        parts.append(dropdown("The numbers in a few rows", table(summary)))
    parts.append(dropdown("Where this comes from, and how to rerun it", provenance(record, command)))
    links = " · ".join(f"{{download}}`{name} <{path}>`" for name, path in downloads.items())
    parts.append(f"Download: {links}")
    return "\n\n".join(parts)


def source(functions: Iterable[Callable], first: str = "", last: str = "") -> tuple[str, str]:
    """The library's own lines, without docstrings, and where they stand.

    Parameters
    ----------
    functions
        In the order in which they are shown.
    first, last
        Pieces of the first and the last line to show of each; empty for the whole.

    Returns
    -------
    title, code : str
        MyST with links, and Python.

    Raises
    ------
    CompanionError
        If a function has no such line.
    """
    modules: dict[str, list[str]] = {}
    codes = []
    for function in functions:
        lines = textwrap.dedent(inspect.getsource(function)).splitlines()
        node = ast.parse("\n".join(lines)).body[0]
        if ast.get_docstring(node) is not None:
            del lines[node.body[0].lineno - 1 : node.body[0].end_lineno]
        name = function.__qualname__
        start = next((k for k, line in enumerate(lines) if first in line), None)
        stop = next((k for k, line in enumerate(lines) if last and last in line and k >= (start or 0)), None)
        if start is None or (last and stop is None):
            raise CompanionError(f"{name} has no lines from {first!r} to {last!r}; look at its source")
        codes.append(textwrap.dedent("\n".join(lines[start : None if stop is None else stop + 1])))
        private = any(part.startswith("_") for part in name.split(".") if not part.endswith("__"))
        link = f"`{name}`" if private else f"{{py:obj}}`{name} <{function.__module__}.{name}>`"
        modules.setdefault(function.__module__, []).append(link)
    where = "; ".join(f"`{module}`: {', '.join(links)}" for module, links in modules.items())
    return f"In {where}", "\n\n".join(codes)


def provenance(record: Record, command: str) -> str:
    """What a record was made from, as a list."""
    p = record.provenance
    commits = ", ".join(c[:12] for c in p.get("commits", [p["commit"] or "no git clone"]))
    commit = commits + (", with uncommitted changes" if p["dirty"] else "")
    made = ", ".join(f"{name} {version}" for name, version in p["versions"].items())
    data = ", ".join(f"{name} `{print_}`" for name, print_ in p["data"].items()) or "none read"
    changed = ", ".join(f"{k} = {v}" for k, v in record.parameters.items()) or "none: the profile's own"
    threads = f", threads {p['threads']}" if "threads" in p else ""
    memory = f", {p['peak_mb']} MB at most" if p.get("peak_mb") else ""
    images = f", {p['training_images']:,} training images" if p.get("training_images") else ""
    lines = [
        f"Rerun: `{command}`",
        f"Profile {record.profile}; parameters changed: {changed}; seeds {', '.join(map(str, record.seeds))}",
        f"Data: {data}",
        f"Commit {commit}; inputs `{p['inputs'][:12]}`; started {p['started']}"
        + (f"; {again}" if (again := replayed(record)) else ""),
        f"Made with {made}",
        f"On {p['machine']}, device {p['device']}{threads}, {p['seconds']:.0f} s{images}{memory}",
        f"Spread to expect elsewhere: {record.spread}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def replayed(record: Record) -> str:
    """How it is known that a committed record stands on changed code; empty if it never had to be.

    Of a replay, how much was run again and on which code; of what changed without one, what its maker wrote under
    ``carried``.
    """
    note, found = record.provenance.get("replayed"), []
    if note:
        commit = (note["commit"] or "no git clone")[:12] + (
            " with uncommitted changes" if note["dirty"] else ""
        )
        found.append(
            f"{note['rows']:,} of its {record.rows:,} rows were run again on {note['date']} ({commit}), as recorded"
        )
    return "; ".join([*found, *filter(None, [record.provenance.get("carried")])])


def plain_html(record: Record, summary: pd.DataFrame | None, png: bytes | None) -> str:
    """The same in plain HTML, for JupyterLab and viewers that know no MyST."""
    artefact = record.artefact
    parts = [f"<p><strong>{artefact.label}.</strong> {html.escape(artefact.title)}. "
             f"{html.escape(_data_line(record).strip('*'))}</p>"]  # fmt: skip
    if png:
        parts.append(picture(png, record.alt))
    elif summary is not None:
        parts.append(summary.to_html(index=False, border=0))
    items = [f"<li><strong>{c['verdict']}</strong>: {html.escape(c['sentence'])}</li>" for c in record.claims]
    parts.append(f"<ul>{''.join(items)}</ul>")
    return "\n".join(parts)


def picture(png: bytes, alt: str) -> str:
    """An image inside HTML."""
    code = base64.b64encode(png).decode()
    alt = html.escape(alt, quote=True)
    return f'<img alt="{alt}" src="data:image/png;base64,{code}" style="max-width:100%">'


def settings_rows(settings: ChapterSettings) -> pd.DataFrame:
    """Name, value, symbol, unit and source of every setting."""
    import pandas as pd

    rows = []
    for field in dataclasses.fields(settings):
        value, facts = getattr(settings, field.name), field.metadata
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        symbol = f"${facts['symbol']}$" if facts["symbol"] else ""
        rows.append((f"`{field.name}`", symbol, shown, facts["unit"], facts["source"]))
    return pd.DataFrame(rows, columns=["setting", "symbol", "value", "unit", "source"])


def command(record: Record) -> str:
    """The command that makes a record again."""
    words = [f"thesis run ch{record.artefact.chapter} --profile {record.profile}"]
    if record.provenance.get("made") == "experiment":
        words.append(f"--only {record.id}")
    words += [f"-p {name} {typed(value)}" for name, value in record.parameters.items()]
    return " ".join(words)


def typed(value: Any) -> str:
    """A parameter's value, or several, as typed into a shell: ``a,b``, in quotes and brackets only where it must be."""
    items = list(value) if isinstance(value, list | tuple) else [value]
    plain = items and not any(isinstance(item, list | tuple) or "," in str(item) for item in items)
    return shlex.quote(",".join(map(str, items)) if plain else json.dumps(items, ensure_ascii=False))


def _data_line(record: Record) -> str:
    data = f"Data: {', '.join(record.dataset)}" if record.dataset else "Made by the notebook"
    # Rows without a seed are of one at most, however many the run has; a search has seeds of its own.
    count = record.frame()["seed"].nunique() if "seed" in record.keys else 0
    seeds = f", {count} seed{'s' if count != 1 else ''}" if count else ""
    return f"*{data} ({STATE_WORDS[record.state()]}); profile {record.profile}{seeds}.*"


def _sourced(rows: pd.DataFrame) -> str:
    """Reported rows with source and confidence."""
    value = [with_unit(v, u) for v, u in zip(rows["reported"], rows["unit"], strict=True)]
    return table(rows.assign(value=value)[["dataset", "who", "metric", "value", "source", "confidence"]])


def pair_data(row: Mapping[str, Any]) -> str:
    """The thesis's data set of a pair, and what it was run on where that is another."""
    run = row["run on"]
    return (
        row["dataset"] if not isinstance(run, str) or run == row["dataset"] else f"{row['dataset']} / {run}"
    )


def _reported(row: dict) -> str:
    if not isinstance(row["source"], str):
        return ""
    return f"{with_unit(row['reported'], row['unit'])} ({row['source']}; {row['confidence']})"


def with_unit(value: float, unit: str) -> str:
    """A reported number with its unit; "unknown" where there is none."""
    return f"{number(value)} {unit}".strip() if number(value) else "unknown"


def _repeated(row: dict) -> str:
    if math.isnan(row["repeated"]):
        return "no value"
    sd = "" if math.isnan(row["sd"]) else f" ± {number(row['sd'])}"
    return number(row["repeated"]) + sd


def _cell(text: str) -> str:
    # A mean and its spread stay on one line, however narrow the column.
    return text.replace("|", "\\|").replace("\n", " ").replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def joined(parts: Iterable[str]) -> str:
    """Blocks of MyST with blank lines between them."""
    return "\n\n".join(part for part in parts if part)
