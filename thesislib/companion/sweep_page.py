"""The summary page of a sweep: one HTML file that a browser opens from disk, without the book."""

from __future__ import annotations

import html
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from thesislib.companion import gather, house, provenance, records
from thesislib.companion.blocks import number, style_of, typed

if TYPE_CHECKING:
    import pandas as pd

    from thesislib.companion.sweep import State, Sweep

MARKS = {"holds": "✓", "does not hold": "✗", "undecided": "?", "not tested at this profile": "–"}
MOST_ROWS = 300  # a longer table is for a program, which has the CSV

STYLE = """
:root { color-scheme: light dark; --ok: light-dark(#0b6e4f, #6fd0ab); --no: light-dark(#a4262c, #ff9d9d);
  --open: light-dark(#6b5200, #e8c766); --line: light-dark(#d0d4d9, #444b53); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 0.25rem 0.7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
.wide { overflow-x: auto; } .holds { color: var(--ok); } .does-not-hold, .failed { color: var(--no); }
.undecided { color: var(--open); } code { overflow-wrap: anywhere; }
figure { display: inline-block; width: 24rem; max-width: 100%; margin: 0 1rem 1rem 0; }
img { max-width: 100%; background: #fff; }
"""


def page(sweep: Sweep, tables: dict[str, pd.DataFrame], state: State) -> str:
    """The page as HTML; its links are relative to the sweep's folder.

    Parameters
    ----------
    tables
        See :func:`thesislib.companion.gather.tables`.
    """
    name = f"{sweep.chapter.short}: a sweep over {', '.join(sweep.grid) or 'nothing'}"
    body = [
        f"<h1>{html.escape(name)}</h1>",
        _about(sweep, tables, state),
        "<h2>Points</h2>",
        _points(sweep, state),
        "<h2>Which claim holds where</h2>",
        _verdicts(tables["verdicts"]),
        "<h2>Means over seeds</h2>",
        _means(tables["means"]),
        "<h2>Figures</h2>",
        _figures(sweep),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>{html.escape(name)}</title>'
        f"<style>{STYLE}</style></head>\n<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"
    )


def command(sweep: Sweep) -> str:
    """What makes the sweep again."""
    words = [f"thesis sweep {sweep.chapter.name} --profile {sweep.profile}"]
    words += [f"-p {name} {typed(values)}" for name, values in sweep.grid.items()]
    return " ".join(words)


def _about(sweep: Sweep, tables: dict[str, pd.DataFrame], state: State) -> str:
    git = provenance.git_state(sweep.chapter)
    commit = (git["commit"] or "no git clone")[:12] + (", with uncommitted changes" if git["dirty"] else "")
    links = ", ".join(f'<a href="{t}.csv">{t}.csv</a> ({len(rows)} rows)' for t, rows in tables.items())
    smoke = (
        "<p><strong>Smoke profile: it shows that everything runs, its numbers are no results.</strong></p>"
    )
    return (
        f"<p>{state.done} of {state.total} points done, {len(state.failed)} failed. Profile {sweep.profile}. "
        f"Commit {commit}.</p>{smoke if sweep.profile == 'smoke' else ''}"
        f"<p>Made by <code>{html.escape(command(sweep))}</code></p><p>Tables: {links}</p>"
    )


def _points(sweep: Sweep, state: State) -> str:
    rows = []
    for point in sweep.points:
        place = f"points/{quote(point.name)}"
        log = (
            _link(f"{place}.log", "log") if sweep.place(point).with_name(f"{point.name}.log").exists() else ""
        )
        if error := state.failed.get(point.name):
            rows.append(
                [html.escape(point.label), f'<span class="failed">failed: {html.escape(error)}</span>', log]
            )
        elif (sweep.place(point) / "run.json").is_file():
            links = [
                _link(f"{place}/{sweep.chapter.slug}.ipynb", "notebook"),
                _link(f"{place}/records/", "records"),
            ]
            rows.append([html.escape(point.label), "done", ", ".join(filter(None, [*links, log]))])
        else:
            rows.append([html.escape(point.label), "not run", log])
    return _table(["point", "state", "files"], rows)


def _verdicts(verdicts: pd.DataFrame) -> str:
    """A table for each artefact: parts of the grid down, claims across, counts over seeds in the cells."""
    if verdicts.empty:
        return "<p>No finished point has a claim.</p>"
    others = [c for c in verdicts.columns if c.startswith(gather.PREFIX) and c != f"{gather.PREFIX}seed"]
    seed = f"{gather.PREFIX}seed"
    parts = []
    for identity, mine in verdicts.groupby("artefact", sort=False):
        claims = list(dict.fromkeys(mine["claim"]))
        rows = []
        # By none but the artefact where only seeds were swept: one row.
        for values, part in mine.groupby(others or ["artefact"], sort=False, dropna=False):
            cells = [html.escape(str(v)) for v in values] if others else ["all points"]
            rows.append(cells + [_cell(part[part["claim"] == claim], seed) for claim in claims])
        names = [c.removeprefix(gather.PREFIX) for c in others] or ["part"]
        title = f"<h3>{house.artefact(str(identity)).label}</h3>"
        parts.append(title + _table([*names, *map(html.escape, claims)], rows))
    return "\n".join(parts)


def _cell(rows: pd.DataFrame, seed: str) -> str:
    """Verdicts of one claim in one part of the grid: how often each, and what all seeds together say."""
    pooled = rows[rows[seed] == gather.ALL] if seed in rows else rows.iloc[:0]
    single = rows.drop(pooled.index)
    count = Counter(single["verdict"])
    lines = [f"{_word(w)} ×{count[w]}" if len(single) > 1 else _word(w) for w in house.VERDICTS if count[w]]
    shown = pooled if len(pooled) else single if len(single) == 1 else pooled
    for row in shown.to_dict("records"):
        together = f"all seeds: {_word(row['verdict'])}" if len(pooled) else ""
        if row["estimate"] == row["estimate"] and row["estimate"] is not None:
            interval = f"[{number(row['low'], True)}, {number(row['high'], True)}]"
            together += f" {number(row['estimate'], True)} {interval} {html.escape(str(row['unit']))}"
        lines.append(together)
    return "<br>".join(filter(None, lines))


def _word(verdict: str) -> str:
    return f'<span class="{style_of(verdict)}">{MARKS[verdict]} {verdict}</span>'


def _means(means: pd.DataFrame) -> str:
    """The table of means, or where it is if it is long."""
    if len(means) > MOST_ROWS:
        return f'<p>{len(means)} rows, in <a href="means.csv">means.csv</a>.</p>'
    shown = means.dropna(axis="columns", how="all")
    rows = [[html.escape(number(v)) for v in row] for row in shown.astype(object).to_numpy().tolist()]
    return _table([html.escape(c.removeprefix(gather.PREFIX)) for c in shown.columns], rows)


def _figures(sweep: Sweep) -> str:
    found: dict[str, list[str]] = {}
    for point in sweep.points:
        for record in records.read_folder(sweep.place(point) / "records").values():
            if record.alt:
                path = f"points/{quote(point.name)}/records/{record.id}.svg"
                picture = f'<img loading="lazy" src="{path}" alt="{html.escape(record.alt, quote=True)}">'
                caption = f"<figcaption>{html.escape(point.label)}</figcaption>"
                found.setdefault(record.id, []).append(f"<figure>{picture}{caption}</figure>")
    parts = [
        f"<details><summary>{house.artefact(i).label}: {html.escape(house.artefact(i).title)}</summary>"
        f"{''.join(pictures)}</details>"
        for i, pictures in found.items()
    ]
    return "\n".join(parts) or "<p>No finished point has a figure.</p>"


def _link(path: str, text: str) -> str:
    return f'<a href="{path}">{text}</a>'


def _table(head: list[str], rows: list[list[Any]]) -> str:
    """HTML of a table whose cells are HTML already."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
