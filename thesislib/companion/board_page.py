"""The scoreboard as the book shows it: HTML, because Markdown has no table whose rows open."""

from __future__ import annotations

import html
import json
from collections import Counter
from typing import Any

from thesislib.companion import blocks, house

SHOWN = 6  # pairs of reported and repeated numbers; the artefact's own page has them all


def totals_table(board: dict[str, Any], address: str) -> str:
    """Artefacts and verdicts a state, this copy's apart from the long runs'; extras are not counted.

    Parameters
    ----------
    board
        What :func:`thesislib.companion.board.document` gives.
    address
        The scoreboard's, as the page sees it; each state leads to its rows there.
    """
    head = ("State", "Artefacts", *(word.split(" at ")[0] for word in house.VERDICTS))
    lines = [_line("th", head)]
    mine = [e for e in board["artefacts"] if e["kind"] != "Extra"]
    here = [(e, e["state"], [r for r in e["runs"] if not r["recorded"]]) for e in mine]
    long = [(e, run["state"], [run]) for e in mine for run in e["runs"] if run["recorded"]]
    for title, part in ((f"This copy, profile {board['profile']}", here), ("Recorded long runs", long)):
        if part:
            lines.append(f'<tr><th colspan="{len(head)}" scope="colgroup">{title}</th></tr>')
        for state in house.STATES:
            found = [(e, runs) for e, s, runs in part if s == state]
            if found:
                count = Counter(c["verdict"] for _, runs in found for run in runs for c in run["claims"])
                link = f'<a href="{address}?state={state}">{_state(state)}</a><br>{blocks.STATE_WORDS[state]}'
                number = len({e["id"] for e, _ in found})
                lines.append(_line("td", (link, number, *(count[word] for word in house.VERDICTS))))
    return _whole("totals", lines)


def minute(board: dict[str, Any]) -> str:
    """For the front page: of each chapter the first claim that an abstract makes, and how every run decided it.

    The same sentence may stand under several tables, one a data set; all of them count.
    """
    lines = [_line("th", ("Chapter", "Claim", "Did it hold here?", "To repeat it"))]
    for chapter in house.chapters().values():
        mine = [e for e in board["artefacts"] if e["chapter"] == chapter.number]
        claiming = [e for e in mine if e["claim"]]
        if not claiming:
            continue
        entry = next((e for e in claiming if e["claim_from"] == "abstract"), claiming[0])
        decided = _by_sentence(entry)
        key = next((key for key in decided if key[0] == entry["claim_from"]), next(iter(decided)))
        outcomes = [(e, run, claim) for e in mine for run, claim in _by_sentence(e).get(key, [])]
        told: dict[str, list[str]] = {}
        for e, run, claim in sorted(outcomes, key=lambda o: o[1]["recorded"] is None):  # long runs first
            told.setdefault(f"{_verdict(claim['verdict'])} {_on(run)}", []).append(_link(e))
        held = [f"{outcome}, {', '.join(links)}" for outcome, links in told.items()]
        for state in house.STATES:  # one claim may flatter; these are all of them
            said = [
                c
                for e in mine
                for r in e["runs"]
                if (r["recorded"], r["state"]) == (None, state)
                for c in r["claims"]
            ]
            held += [f"All claims ({state}, {board['profile']}): {_counted(said)}"] if said else []
        command = next((run["command"] for _, run, _ in outcomes), f"thesis run {chapter.name}")
        claims = sum(len(_by_sentence(e)) for e in mine)
        every = f"All {claims} claims" if claims > 1 else "The claim"
        cells = [
            f'<a href="notebooks/{chapter.slug}.html">{chapter.number}. {html.escape(chapter.short)}</a>',
            html.escape(_said(*key)),
            "<br>".join(held) or "not regenerated yet",
            f'{_code(command)}<br><a href="book/scoreboard.html?chapter={chapter.number}">'
            f"{every} of chapter {chapter.number}</a>",
        ]
        lines.append(_line("td", cells))
    return _whole("minute", lines)


def scoreboard(board: dict[str, Any]) -> str:
    """A heading and a table a chapter, in MyST; every row opens, with JavaScript or without."""
    parts = [totals_table(board, "scoreboard.html"), '<div id="filters"></div>']
    for chapter in house.chapters().values():
        if chapter.artefacts:
            mine = [e for e in board["artefacts"] if e["chapter"] == chapter.number]
            profile = board["profile"]
            head = ("Artefact", f"State, {profile}", f"Verdicts, {profile}", "Recorded runs")
            rows = [f"<thead>{_line('th', head)}</thead>", *map(_body, mine)]
            parts += [
                f"## {chapter.number} {chapter.short}",
                _whole("board", rows, f' data-chapter="{chapter.number}"'),
            ]
    return "\n\n".join(parts) + "\n"


def _line(tag: str, cells: Any) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"


def _whole(name: str, lines: list[str], more: str = "") -> str:
    return f'<table class="table {name}"{more}>\n' + "\n".join(lines) + "\n</table>"


def _body(entry: dict[str, Any]) -> str:
    here = [run for run in entry["runs"] if not run["recorded"]]
    long = [run for run in entry["runs"] if run["recorded"]]
    # One run has to meet all of a reader's wishes, so what can be filtered is listed run by run.
    facts = [[r["state"], r["dataset"], sorted({c["verdict"] for c in r["claims"]})] for r in entry["runs"]]
    data = html.escape(json.dumps(facts or [[entry["state"], [], []]], ensure_ascii=False))
    link = f'<a href="../{entry["page"]}">{_label(entry)}</a><br>{html.escape(entry["title"])}'
    own = [f"{_data(run)}: {_counted(run['claims'])}" for run in here]
    others = [f"{_data(run)} ({run['state']}): {_counted(run['claims'])}" for run in long]
    cells = [f"<td>{cell}</td>" for cell in (_state(entry["state"]), "<br>".join(own), "<br>".join(others))]
    claims = _by_sentence(entry)
    more = f" And {len(claims) - 1} more." if len(claims) > 1 else ""
    first = f"{html.escape(_said(*next(iter(claims))))}{more}" if claims else "No claim: nothing to decide."
    return (
        f'<tbody data-kind="{entry["kind"]}" data-runs="{data}">\n'
        f'<tr><th scope="row">{link}</th>{"".join(cells)}</tr>\n'
        f'<tr class="more"><td colspan="4"><details><summary>{first}</summary>{_opened(entry, claims)}</details>'
        "</td></tr>\n</tbody>"
    )


def _opened(entry: dict[str, Any], claims: dict[tuple[str, str], list]) -> str:
    """Claims run by run, what is reported, and the commands."""
    parts = []
    for i, ((source, sentence), outcomes) in enumerate(claims.items()):
        items = "".join(f"<li>{_outcome(run, claim)}</li>" for run, claim in outcomes)
        items = items or "<li>Not regenerated yet.</li>"
        said = (
            f"<p>{html.escape(_said(source, sentence))}</p>" if i else ""
        )  # the first is the line that opens
        parts.append(f'{said}<ul class="findings">{items}</ul>')
    parts.append(_reported(entry))
    commands = [f"<li>{_code(run['command'])} {_on(run)}</li>" for run in entry["runs"]]
    commands += [
        f"<li>{_code('thesis keep --replay ' + run['recorded'] + '/' + entry['id'])} first rows of it again</li>"
        for run in entry["runs"]
        if run["recorded"]
    ]
    commands = commands or [f"<li>{_code('thesis run ch' + str(entry['chapter']))}</li>"]
    parts.append(f"<p><strong>To repeat it</strong></p><ul>{''.join(commands)}</ul>")
    return "".join(parts)


def _reported(entry: dict[str, Any]) -> str:
    """Reported beside repeated in a few lines, or why there is nothing to set beside."""
    known = sum(row["value"] is not None for row in entry["reported"])
    total = len(entry["reported"])
    text = html.escape(entry["reported_note"] or "no number is known") if entry["kind"] != "Extra" else ""
    text += f" ({known} of {total} numbers known)" if total else ""
    parts = [f"<p><strong>Reported:</strong> {text}.</p>"] if text else []
    pairs = [p for run in entry["runs"] for p in run["repeated"] if p["reported"] is not None]
    pairs.sort(key=lambda pair: pair["run on"] != pair["dataset"])  # what can be compared comes first
    if pairs:
        lines = [_line("th", ("data", "who", "measure", "reported", "repeated"))]
        lines += [_line("td", _pair(pair)) for pair in pairs[:SHOWN]]
        ordering = "Where two data sets are named, compare the ordering only. "
        rest = f"The first {SHOWN} of {len(pairs)} pairs; the others stand" if len(pairs) > SHOWN else "Also"
        parts.append(
            f'<div class="pairs" tabindex="0" role="region" aria-label="Reported beside repeated, {_label(entry)}">'
            f'<table class="table">{"".join(lines)}</table></div>'
            f"<p>{ordering if pairs[-1]['run on'] != pairs[-1]['dataset'] else ''}{rest} "
            f'<a href="../{entry["page"]}">under {_label(entry)}</a>.</p>'
        )
    return "".join(parts)


def _pair(pair: dict[str, Any]) -> list[str]:
    theirs = blocks.with_unit(pair["reported"], pair["unit"])
    sd = "" if pair["sd"] is None else f" ± {blocks.number(pair['sd'])}"
    cells = [blocks.pair_data(pair), pair["who"], pair["metric"], f"{theirs} ({pair['confidence']})"]
    return [*map(html.escape, cells), f"{blocks.number(pair['repeated'])}{sd}"]


def _by_sentence(entry: dict[str, Any]) -> dict[tuple[str, str], list[tuple[dict, dict]]]:
    """Source and sentence of each claim, with its outcome in every run; what no run decided has none."""
    found: dict[tuple[str, str], list[tuple[dict, dict]]] = {}
    for run in entry["runs"]:
        for claim in run["claims"]:
            found.setdefault((claim["source"], claim["sentence"]), []).append((run, claim))
    if not found and entry["claim"]:
        found[entry["claim_from"] or "inferred", entry["claim"]] = []
    return found


def _outcome(run: dict[str, Any], claim: dict[str, Any]) -> str:
    text = f"{_verdict(claim['verdict'])} {_on(run)}"
    if claim["estimate"] is None:
        return text + (f": {html.escape(claim['reason'])}." if claim["reason"] else ".")
    low, high = (blocks.number(x, sign=True) for x in claim["interval"])
    text += f": <strong>{blocks.number(claim['estimate'], sign=True)}</strong> [{low}, {high}] "
    text += html.escape(
        f"{claim['unit']}, {claim['n']} {claim['pairs']}; {blocks.speaks(claim)} speaks for it"
    )
    return text + (f"; decided by {html.escape(claim['reason'])}." if claim["reason"] else ".")


def _counted(claims: list[dict[str, Any]]) -> str:
    """How many claims came out which way."""
    count = Counter(claim["verdict"] for claim in claims)
    return ", ".join(f"{_verdict(w)} {count[w]}\u00a0×" for w in house.VERDICTS if count[w]) or "no claim"


def _on(run: dict[str, Any]) -> str:
    return f"on {_data(run)} ({run['state']}, {'recorded' if run['recorded'] else run['profile']})"


def _data(run: dict[str, Any]) -> str:
    return html.escape(", ".join(run["dataset"]) or "what the notebook makes")


def _said(source: str, sentence: str) -> str:
    return f"{blocks.ORIGIN[source]}: {_sentence(sentence)}"


def _sentence(text: str) -> str:
    first = text[0] if text[1:2].isupper() else text[0].upper()  # cRT keeps its name
    return f"{first}{text[1:].rstrip('.')}."


def _link(entry: dict[str, Any]) -> str:
    return f'<a href="{entry["page"]}">{_label(entry)}</a>'


def _label(entry: dict[str, Any]) -> str:
    return house.artefact(entry["id"]).label


def _verdict(word: str) -> str:
    return f'<span class="verdict {blocks.style_of(word)}">{word}</span>'


def _state(word: str) -> str:
    return f'<span class="state {word}">{word}</span>'


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"
