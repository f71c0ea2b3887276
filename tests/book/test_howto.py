"""The how-to pages and the README do what they say: their code is run, and prints what they show.

A ``python`` block is run in the page's own namespace, in an empty folder; a ``bash`` block and a block whose caption
names a file are applied to a copy of the repository. The ``text`` block after one is what it prints: words to the
letter, numbers to 15 per cent or one unit in the last digit shown, a line of three dots any number of lines. A bash block
that begins with "# Not run by the tests" is only checked: its commands are understood, their values accepted.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from thesislib import memo
from thesislib.companion import cli, house, runs

ROOT = Path(__file__).resolve().parents[2]
HOWTO = sorted(p for p in (ROOT / "book" / "howto").glob("*.md") if p.stem != "index")
NOT_RUN = "# Not run by the tests: "
FENCE = re.compile(
    r"^```(?P<head>\{code-block\} \w+|\w+)\n(?::caption: (?P<caption>[^\n]*)\n\n)?(?P<body>.*?)^```$",
    re.M | re.S,
)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?(?![\w])")


@dataclass
class Block:
    """A piece of code, the file it changes if any, and what the page says that it prints."""

    language: str
    body: str
    caption: str = ""
    printed: str | None = None


def blocks(page):
    found = []
    for m in FENCE.finditer(page.read_text(encoding="utf-8")):
        language = m["head"].split()[-1]
        if language == "text" and found:
            found[-1].printed = m["body"]
        elif language in ("python", "bash", "yaml"):
            found.append(Block(language, m["body"], (m["caption"] or "").strip("'")))
    return found


def alike(shown, printed):
    """Whether a page shows what was printed."""
    pattern = r"(?:.*\n)*?".join(map(_escaped, re.split(r"^ *\.\.\.\n", shown, flags=re.M)))
    found = re.fullmatch(pattern, printed)
    if found is None:
        return False
    pairs = zip(NUMBER.findall(shown), filter(None, found.groups()), strict=True)
    return all(abs(float(a) - float(b)) <= max(0.15 * abs(float(a)), _unit(a)) * 1.001 for a, b in pairs)


def _escaped(text):
    """A pattern for the text with any number in place of its numbers, each of them a group."""
    words = NUMBER.split(re.sub(r" +", " ", text))
    return f" *({NUMBER.pattern}) *".join(re.escape(word).replace(r"\ ", " +") for word in words)


def _unit(number):
    digits, _, power = number.partition("e")
    return 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))


def test_what_counts_as_alike():
    assert alike("a 0.31, 12 of 20\n", "a 0.30,  12 of 20\n")
    assert alike("first 1\n...\nlast 2\n", "first 1\nbetween 7\nand 8\nlast 2\n")
    for other in ("a 0.25, 12 of 20\n", "a 0.31, 12 in 20\n", "a 0.31, 12 of 20\nand more\n", ""):
        assert not alike("a 0.31, 12 of 20\n", other)


def run_python(block, scope):
    """Run a block in a namespace; what it printed, or its error as the interpreter's last line has it."""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(block.body, "<page>", "exec"), scope)
    except Exception as error:
        if block.printed is None or "Error: " not in block.printed:
            raise
        print(f"{type(error).__name__}: {error}", file=out)
    return out.getvalue()


def check(block, printed, page):
    if block.printed is not None:
        assert alike(block.printed, printed), (
            f"{page.name} shows\n{block.printed}\nand the run printed\n{printed}"
        )
    return printed


def pages_of(language):
    return [p for p in HOWTO if any(b.language == language and not b.caption for b in blocks(p))]


@pytest.mark.parametrize("page", [*pages_of("python"), ROOT / "README.md"], ids=lambda p: p.stem)
def test_python_of_a_page_does_what_the_page_says(page, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THESISLIB_DATA", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine two spin for each other
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    scope = {}
    for block in blocks(page):
        if block.language == "python" and not block.caption:
            check(block, run_python(block, scope), page)


@pytest.fixture
def clone(tmp_path):
    """The repository as a stranger has it, committed."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    folder = tmp_path / "thesis"
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                           capture_output=True, check=True).stdout.decode().split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    made = ROOT / "_build" / "smoke" / "ch6_spi_mm"
    if made.is_dir():  # up to date or not, the page's own command sees to that
        shutil.copytree(made, folder / "_build" / "smoke" / made.name)
    git = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "as published"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return folder


def run_bash(block, folder):
    """A block's lines in a shell whose `thesis` is that of the folder; what they print, without progress bars."""
    here = folder.parent / "bin"
    here.mkdir(exist_ok=True)
    (here / "thesis").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m thesislib.companion.cli "$@"\n')
    (here / "thesis").chmod(0o755)
    path = os.pathsep.join([str(here), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("THESISLIB_")}
    environment |= {"PATH": path, "PYTHONPATH": str(folder), "HOME": str(folder.parent)}
    environment |= {
        "THESISLIB_CACHE": str(memo.folder()),
        "OMP_NUM_THREADS": "1",
    }  # as far as the code is the same
    done = subprocess.run(
        ["bash", "-c", block.body], cwd=folder, env=environment, capture_output=True, text=True
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("thesis: ")]
    return "".join(f"{line}\n" for line in [*done.stdout.splitlines(), *errors]), done


def apply(block, folder):
    """Change the file that a caption names: at its end, before a line, or as a new file."""
    name, _, where = block.caption.partition(", ")
    file = folder / name
    if where == "a new file":
        assert not file.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.body)
    elif where == "at its end":
        gap = "\n\n" if file.suffix == ".py" else ""
        file.write_text(file.read_text() + gap + block.body)
    else:
        line = re.fullmatch(r"before the line `(.*)`", where)[1]
        lines = file.read_text().split("\n")
        (at,) = [k for k, text in enumerate(lines) if text.strip() == line]
        file.write_text("\n".join([*lines[:at], *block.body.rstrip("\n").split("\n"), *lines[at:]]))


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_of("bash"), ids=lambda p: p.stem)
def test_commands_of_a_page_do_what_the_page_says(page, clone):
    for block in blocks(page):
        if block.caption:
            apply(block, clone)
        elif block.language == "bash" and not block.body.startswith(NOT_RUN):
            printed, done = run_bash(block, clone)
            if block.printed is None:
                assert done.returncode == 0, f"{block.body}\n{done.stdout}\n{done.stderr}"
            check(block, printed, page)


@pytest.mark.parametrize("page", HOWTO, ids=lambda p: p.stem)
def test_commands_that_are_not_run_are_accepted(page):
    for block in blocks(page):
        if block.body.startswith(NOT_RUN):
            assert len(block.body.splitlines()[0]) > len(NOT_RUN) + 10, "a reason, in words"
            for line in block.body.splitlines():
                if line.startswith("thesis run "):
                    a = cli._parser().parse_args(shlex.split(line.replace("<hash>", "0"), comments=True)[1:])
                    values = {name: cli._value(text) for name, text in a.values}
                    chapter = house.chapter(a.chapter)
                    runs.settle(chapter, a.profile, values, every=a.only is not None)
                    assert set((a.only or "").split(",")) - {""} <= {x.id for x in chapter.artefacts} | NEW


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_files_that_are_named_are_there(page):
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    named = re.findall(r"[`(\s]((?:tests|book|data|thesislib|notebooks)/[\w./-]+)[`)\s]", text)
    assert named and not [name for name in named if not (ROOT / name).exists()]


NEW = {"extra-6.B"}  # which add_artefact.md makes
