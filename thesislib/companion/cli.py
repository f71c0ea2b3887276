"""The command ``thesis``."""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import yaml

from thesislib.companion import house, sweep_cli
from thesislib.companion.house import CompanionError
from thesislib.settings import PROFILES

# Sub-commands import what they need, so that listing needs neither pandas nor Sphinx.


def main(words: list[str] | None = None) -> int:
    """Entry point; returns the exit code. A user's mistake is one line and code 2, the system's refusal code 1."""
    arguments = _parser().parse_args(words)
    try:
        code = arguments.do(arguments) or 0
        sys.stdout.flush()  # at exit it is too late to say what goes wrong
        return code
    except CompanionError as error:
        print(f"thesis: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        note = "the same command goes on (a sweep needs --resume)"
        print(f"thesis: interrupted; what was finished is kept, {note}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # takes what is left to flush at exit
        return 0
    except OSError as error:
        print(f"thesis: {_refused(error)}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thesis",
        description="Regenerate the figures and tables of the thesis, and read what came out. A profile is how "
        "much is run: smoke in seconds and for tests, laptop in minutes and what the book shows, paper on the "
        "thesis's own data and for hours.",
        epilog="Start with `thesis list`, then `thesis show ch6` and `thesis run ch6 --profile smoke`. "
        "`thesis COMMAND --help` has the rest.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, do: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(do=do)
        return sub

    sub = command("list", _list, "All figures and tables with their state and verdicts.")
    _profile(sub)
    sub.add_argument("--recorded", action="store_true", help="the committed long runs instead")
    sub.add_argument("--json", action="store_true", help="for programs")

    sub = command("show", _show, "One artefact: claims, verdicts, origin; or a chapter and its parameters.")
    sub.add_argument("id", help="fig-6.2, say, or ch6")
    _profile(sub)
    sub.add_argument("--recorded", action="store_true", help="its committed long runs instead")
    sub.add_argument("--json", action="store_true", help="for programs")

    sub = command("run", _run, "Execute a chapter's notebook; with changed parameters into runs/<hash>.")
    sub.add_argument("chapter", help="ch6, say; `thesis show ch6` lists its parameters")
    _profile(sub)
    sub.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="values",
                     help="change a parameter; a list as a,b,c, in brackets where a name has a comma: "
                     "'[\"CE, longer\",CE]'")  # fmt: skip
    sub.add_argument("--force", action="store_true", help="execute even if nothing changed")
    sub.add_argument(
        "--workers",
        type=int,
        metavar="N",
        default=1,
        help="processes that compute data sets and methods side by side before the run reads them (default: 1)",
    )
    sub.add_argument("--only", metavar="ID[,ID...]",
                     help="make these artefacts alone, into runs/<hash>, straight from their experiments and "
                     "without the notebook; -p then changes any field of the chapter's settings")  # fmt: skip
    sub.add_argument("--threads", type=int, metavar="N",
                     help="threads to compute on, with --only (default: 1, as notebooks have)")  # fmt: skip

    sweep_cli.add(command)

    sub = command("book", _book, "Execute the chapters that changed, then render the book.")
    _profile(sub)

    command("pdf", _pdf, "Print the rendered book into one PDF; needs Chromium or Chrome.")

    sub = command("keep", _keep, "Store long runs under data/recorded, merge their parts, or replay one.")
    sub.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="runs/<hash>; several are merged")
    sub.add_argument("--part", action="store_true", help="store as a part, to be merged later")
    sub.add_argument("--merge", metavar="PLACE[/ID]", help="merge the parts of PLACE, a9a-paper, say")
    sub.add_argument("--replay", metavar="PLACE/ID", help="run its first items again and compare")

    sub = command("data", _data, "Which data sets are there, and where the others come from.")
    sub.add_argument("--fetch", metavar="NAME", help="download one, where its publisher allows")
    sub.add_argument("--json", action="store_true", help="for programs")

    sub = command("clean", _clean, "Remove the book and the executed chapters.")
    sub.add_argument("--all", action="store_true", help="also runs/ and memoised experiments in _build/cache")
    return parser


def _refused(error: OSError) -> str:
    """What the system refused, in one line, and what would do."""
    from thesislib import memo

    if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):  # a network, a library
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    cache, file = memo.folder().absolute(), Path(str(error.filename or memo.folder())).absolute()
    hint = "see that it is there, that you may read and write it, and that its disk has room"
    if cache.is_relative_to(file) or file.is_relative_to(cache):
        hint = f"set THESISLIB_CACHE (now {cache}) to a folder that you may write, on a disk with room"
    where = f" {error.filename}" if error.filename else ""  # a full disk does not say which file
    return f"cannot read or write{where}: {error.strerror}; {hint}"


def _profile(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--profile", choices=PROFILES, default="laptop", help="default: laptop")


def _list(a: argparse.Namespace) -> None:
    from thesislib.companion import board

    rows = board.recorded_rows(lenient=True) if a.recorded else board.rows(a.profile, lenient=True)
    if a.json:
        found, kept = ([], rows) if a.recorded else (rows, board.recorded_rows(lenient=True))
        print(board.as_json(board.document(found, kept, a.profile)), end="")
        return
    for row in rows:
        claims = row.record.claims if row.record else []
        verdicts = ", ".join(dict.fromkeys(c["verdict"] for c in claims))
        data = ",".join(row.record.dataset) if row.record else ""
        title = row.artefact.title if len(row.artefact.title) < 60 else f"{row.artefact.title[:57]}..."
        print(f"{row.artefact.id:9} {row.state:12} {title:60} {data:22} {verdicts}".rstrip())
    if not a.recorded:
        print(f"\n{board.totals_line(rows)}   (profile {a.profile})")


def _show(a: argparse.Namespace) -> None:
    from thesislib.companion import blocks, board

    try:
        chapter = house.chapter(a.id)
    except CompanionError:
        chapter = None
    if chapter and a.recorded:
        raise CompanionError(
            f"--recorded goes with an artefact; `thesis list --recorded` has those of {a.id}"
        )
    if chapter:
        return _show_chapter(chapter, a)
    artefact = house.artefact(a.id)
    rows = board.recorded_rows(lenient=True) if a.recorded else board.rows(a.profile, lenient=True)
    mine = [row for row in rows if row.artefact.id == a.id and (row.record or a.json)]
    if not mine:
        where = "has no committed long run" if a.recorded else f"is missing at profile {a.profile}"
        name = f"ch{artefact.chapter}"
        hint = f"`thesis run {name} --profile {a.profile}` makes it"
        if a.recorded:
            hint = f"`thesis run {name} --only {a.id} --profile paper`, then `thesis keep`, makes one"
        elif any(row.artefact.id == a.id for row in board.recorded_rows(lenient=True)):
            hint += f"; `thesis show {a.id} --recorded` has a committed long run"
        raise CompanionError(f"{a.id} {where}; {hint}")
    for row in mine:
        if row.record:
            row.record.frame()  # states and verdicts are of these numbers, which may be gone
    if a.json:
        found, kept = ([], mine) if a.recorded else (mine, [])
        print(board.as_json(board.document(found, kept, a.profile)), end="")
        return
    print(f"{artefact.label} (section {artefact.section}): {artefact.title}")
    for row in mine:
        record = row.record
        assert record is not None
        print(f"\nstate    {row.state}: {blocks.STATE_WORDS[row.state]}")
        print(f"data     {', '.join(record.dataset) or 'made by the notebook'}")
        for claim in record.claims:
            print(f"claim    {claim['verdict'].upper()}: {claim['sentence']} ({claim['source']})")
            if claim["estimate"] is not None:
                low, high = blocks.number(claim["low"], True), blocks.number(claim["high"], True)
                decided = f"; {claim['reason']}" if claim["reason"] else ""
                print(f"         {blocks.number(claim['estimate'], True)} [{low}, {high}] {claim['unit']}, "
                      f"{claim['n']} {claim['pairs']}; {blocks.speaks(claim)} speaks for it{decided}")  # fmt: skip
            elif claim["reason"]:
                print(f"         {claim['reason']}")
        numbers = record.file("csv").relative_to(house.root())
        print(f"numbers  {numbers} ({record.rows} rows)")
        for line in blocks.provenance(record, blocks.command(record)).splitlines():
            print(f"         {line.removeprefix('- ').replace('`', '')}")


def _show_chapter(chapter: house.Chapter, a: argparse.Namespace) -> None:
    """What a chapter holds, and what can be changed of a run of it."""
    from thesislib.companion import blocks, runs

    found = runs.parameters(chapter, a.profile)
    if a.json:
        names = [artefact.id for artefact in chapter.artefacts]
        print(json.dumps({"chapter": chapter.name, "artefacts": names, "parameters": found}, indent=1))
        return
    print(f"Chapter {chapter.number}: {chapter.title}. Figures, tables and extras: {len(chapter.artefacts)}.")
    print(f"\nparameters at profile {a.profile} (`thesis run {chapter.name} -p NAME VALUE`)")
    for name, (value, accepted) in found.items():
        print(f"  {name} = {blocks.typed(value)}; takes {accepted}")


def _run(a: argparse.Namespace) -> None:
    chapter = house.chapter(a.chapter)
    if len(names := [name for name, _ in a.values]) > len(set(names)):
        raise CompanionError("a parameter is given twice")
    values = {name: _value(text) for name, text in a.values}
    if "profile" in values:
        raise CompanionError(f"the profile is an option of its own: --profile {values['profile']}")
    if a.threads is not None and (a.only is None or a.threads < 1):
        raise CompanionError("--threads goes with --only, and is at least 1")
    if a.workers < 1:
        raise CompanionError("--workers is at least 1")
    if a.workers > 1 and (a.threads or 1) > 1:
        raise CompanionError(
            "each of several --workers computes on one thread; leave out --threads, or --workers"
        )
    if a.only is not None:
        from thesislib.companion import shards

        threads, ids = a.threads or 1, [word.strip() for word in a.only.split(",") if word.strip()]
        if not ids:
            raise CompanionError("--only names no artefact")
        shards.limit_threads(threads)
        folder, executed = shards.run(
            chapter, a.profile, values, ids, force=a.force, threads=threads, workers=a.workers
        )
    else:
        from thesislib.companion import runner

        folder, executed = runner.run(chapter, a.profile, values, force=a.force, workers=a.workers)
    done = "executed" if executed else "nothing changed"
    print(f"{chapter.name} ({a.profile}): {done}, {house.short(folder)}")


def _book(a: argparse.Namespace) -> None:
    from thesislib.companion import book, runner

    for chapter in house.chapters().values():
        if chapter.package and chapter.written:
            _, executed = runner.run(chapter, a.profile, {})
            if executed:
                print(f"{chapter.name} ({a.profile}): executed")
    index, rendered = book.build(a.profile)
    print(f"{'Rendered' if rendered else 'Nothing changed'}. Open {index.relative_to(house.root())}")


def _pdf(a: argparse.Namespace) -> None:
    from thesislib.companion import pdf

    print(house.short(pdf.make()))


def _keep(a: argparse.Namespace) -> None:
    from thesislib.companion import keep

    if sum(map(bool, (a.runs, a.merge, a.replay))) != 1:
        raise CompanionError("keep takes run folders, or --merge PLACE[/ID], or --replay PLACE/ID")
    if a.part and not a.runs:
        raise CompanionError("--part goes with run folders")
    if a.replay:
        print(keep.replay(a.replay.removesuffix(".json")))
        return
    for path in keep.merge(a.merge) if a.merge else keep.keep(a.runs, part=a.part):
        print(path.relative_to(house.root()))


def _data(a: argparse.Namespace) -> None:
    from thesislib import datasets

    try:
        if a.fetch:
            print(datasets.fetch(a.fetch))
            return
    except datasets.DatasetError as error:
        raise CompanionError(str(error)) from None
    entries = datasets.available()
    if a.json:
        keys = ("name", "kinds", "origin", "present", "path", "size", "terms", "get", "chapters")
        print(json.dumps([{k: getattr(e, k) for k in keys} for e in entries], indent=1, ensure_ascii=False))
        return
    for entry in entries:
        state = entry.origin if entry.package else "there" if entry.present else "missing"
        hint = "" if entry.present else entry.get
        print(f"{entry.name:18} {state:9} {'/'.join(entry.kinds):16} {entry.size:42} {hint}".rstrip())


def _clean(a: argparse.Namespace) -> None:
    from thesislib.companion import book

    print("removed", ", ".join(book.clean(a.all)) or "nothing")


class _Typed(yaml.SafeLoader):
    """YAML whose plain values are what one means: not the ``no`` that is False in YAML 1.1, nor its dates."""

    yaml_implicit_resolvers: ClassVar = {}


for _kind, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    _Typed.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)

AMBIGUOUS = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-9]+)+)")  # of base 8 and 60 in YAML 1.1


def _read(text: str) -> Any:
    return yaml.load(text, Loader=_Typed)


def _value(text: str) -> Any:
    """A value as typed: YAML, and a bare ``a,b`` is a list.

    Raises
    ------
    CompanionError
        If it is empty, or neither a plain value nor a list of them.
    """
    try:
        value = _read(text)
        if isinstance(value, str) and "," in value:
            value = [_read(item) for item in value.split(",") if item.strip()]
    except yaml.YAMLError:
        raise CompanionError(f"cannot read the value {text!r}; give a number, a word, or a,b,c") from None
    found = [_number(item) for item in (value if isinstance(value, list) else [value])]
    if value is None:
        raise CompanionError(
            "a parameter has no value; leave it out for the profile's own, or give [] for none"
        )
    if not all(map(_usable, found)):
        raise CompanionError(f"cannot use the value {text!r}; give a finite number, a word, or a,b,c")
    return found if isinstance(value, list) else found[0]


def _usable(item: Any) -> bool:
    """Whether it is a plain value, finite if it is a number."""
    nothing = item is None or isinstance(item, dict | list)
    return not nothing and not (isinstance(item, float) and not math.isfinite(item))


def _number(value: Any) -> Any:
    """The number that a word is, if it is one: 0.5 and 1e-3.

    Raises
    ------
    CompanionError
        If it could be two numbers.
    """
    if isinstance(value, str) and AMBIGUOUS.fullmatch(value):
        raise CompanionError(f"cannot use {value!r} as a number; give it without leading zeros and colons")
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


if __name__ == "__main__":
    sys.exit(main())
