"""The chapters' sources: room for results, plumbing folded, equations beside code, notation, the way to Colab."""

import ast
import dataclasses
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jupytext
import pytest
import yaml

from thesislib.companion import blocks, book, house, summary
from thesislib.companion.house import CompanionError

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
HIDDEN = {"hide-input", "remove-input", "remove-cell"}
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())


@pytest.fixture(params=SCRIPTS, ids=lambda p: p.stem)
def cells(request):
    return jupytext.read(request.param).cells


def tags(cell):
    return set(cell.metadata.get("tags", []))


def code(cells):
    return [cell for cell in cells if cell.cell_type == "code"]


# ---- what a chapter begins with


def test_a_chapter_begins_with_thirty_seconds_and_room_for_results(cells):
    text = cells[0].source
    (box,) = re.findall(r"^:::::\{admonition\} In thirty seconds\n(.*?)^:::::$", text, re.M | re.S)
    assert re.findall(r"^\*\*(\w+)\.\*\*", box, re.M) == ["Question", "Idea", "Claim"]
    assert text.count(summary.MARK) == 1 and box.rstrip().endswith(summary.MARK)
    for name in ("Question", "Idea"):
        said = re.search(rf"\*\*{name}\.\*\*(.*?)(?=\n\n)", box, re.S)[1]
        assert len(re.findall(r"[.?](?=\s|$)", said.strip())) == 2, f"{name} has two sentences"


def test_plumbing_is_folded_and_the_method_is_open(cells):
    plumbing = re.compile(
        r"^page\.(record|settings_table|source)\(|^settings = chapter\.resolve|^from thesislib\.companion",
        re.M,
    )
    shown = [
        c.source.splitlines()[0] for c in code(cells) if plumbing.search(c.source) and not tags(c) & HIDDEN
    ]
    assert not shown
    assert sum(not tags(c) & (HIDDEN | {"parameters"}) for c in code(cells)) >= 2


def test_the_librarys_lines_stand_below_an_equation(cells):
    found = [k for k, c in enumerate(cells) if re.search(r"^page\.source\(", c.source, re.M)]
    assert len(found) >= 3
    for k in found:
        assert (
            cells[k - 1].cell_type == "markdown"
            and "$" in cells[k - 1].source.split("\n\n")[-1] + cells[k - 1].source[-400:]
        )
        assert "remove-input" in tags(cells[k])


def test_a_term_is_linked_once_where_it_first_occurs(cells):
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    linked = [
        (m[1] or m[2]).replace("\n", " ")
        for m in re.finditer(r"\{term\}`(?:[^`<]*<([^>]+)>|([^`<]+))`", text)
    ]
    assert len(linked) >= 5
    assert len(linked) == len(set(linked)), "a term is linked twice"


# ---- lines of the library


def added(a, b):
    """A sum.

    Returns
    -------
    float
    """
    c = a + b  # the sum
    return c


def test_source_shows_a_function_without_its_docstring():
    title, text = blocks.source([added])
    assert text == "def added(a, b):\n    c = a + b  # the sum\n    return c"
    assert title == f"In `{__name__}`: {{py:obj}}`added <{__name__}.added>`"
    assert blocks.source([added], first="c =", last="c =")[1] == "c = a + b  # the sum"
    assert (
        blocks.source([summary._tally])[0].count("{py:obj}") == 0
    )  # the reference documents no private names


@pytest.mark.parametrize("ends", [{"first": "d ="}, {"last": "d ="}, {"first": "return", "last": "c = a"}])
def test_lines_that_are_not_there_are_refused(ends):
    with pytest.raises(CompanionError, match="added has no lines from"):
        blocks.source([added], **ends)


# ---- notation

ROW = re.compile(r"^\| (\$.+?\$) \| (\d) \| (.+?) \| (.+?) \|$", re.M)


def notation():
    return ROW.findall((ROOT / "book" / "notation.md").read_text())


def test_every_row_of_the_notation_is_read():
    text = (ROOT / "book" / "notation.md").read_text()
    assert len(notation()) == len(re.findall(r"^\| \$", text, re.M)) > 80


def named(path):
    """The object behind a dotted name below ``thesislib``; True for a field, an argument or an attribute."""
    parts = path.split(".")
    at = len(parts)
    while at:
        try:
            thing = importlib.import_module(".".join(["thesislib", *parts[:at]]))
            break
        except ModuleNotFoundError:
            at -= 1
    assert at, path
    for part in parts[at:]:
        inner = getattr(thing, part, None)
        if inner is None:
            known = set(getattr(thing, "__annotations__", {}))
            known |= set(inspect.signature(thing).parameters) if callable(thing) else set()
            if part not in known and not (
                inspect.isclass(thing) and f"self.{part}" in inspect.getsource(thing)
            ):
                return None
            return True
        thing = inner
    return thing


@pytest.mark.parametrize("row", notation(), ids=lambda r: f"{r[0]} {r[1]}")
def test_a_name_in_the_notation_exists(row):
    if not row[3].startswith("none"):
        (name,) = re.findall(r"^`([\w.]+)`$", row[3])
        assert named(name) is not None, name
        assert inspect.ismodule(named(name)) is False


def test_a_name_that_is_gone_would_be_noticed():
    assert named("spi_mm.spi_mm.SPIMM.rho") and named("meta_attack.meta_attack.MetaAttack.beta")
    assert named("spi_mm.spi_mm.SPIMM.no_such") is None and named("blackbox.goals.no_such") is None


def test_rows_of_one_symbol_stand_together_and_differ_in_chapter():
    rows = [(symbol, chapter) for symbol, chapter, *_ in notation()]
    assert len(rows) == len(set(rows))


def test_settings_have_the_symbols_of_the_notation():
    known = {(chapter, s.strip()) for symbol, chapter, *_ in notation() for s in symbol.strip("$").split(",")}
    for chapter in house.chapters().values():
        if chapter.package:
            profile = importlib.import_module(f"thesislib.{chapter.package}.settings").PROFILES["laptop"]
            symbols = {f.metadata["symbol"] for f in dataclasses.fields(profile)} - {""}
            assert {(str(chapter.number), s) for s in symbols} <= known


# ---- Colab

URL = "https://github.com/someone/the-book"


def first_code(script):
    return next(c for c in jupytext.read(script).cells if c.cell_type == "code")


def test_the_first_code_cell_is_one_and_the_same_and_names_the_repository():
    sources = {first_code(script).source for script in SCRIPTS}
    assert len(sources) == 1
    assert all(tags(first_code(script)) == {"remove-cell"} for script in SCRIPTS)
    assigned = {n.targets[0].id: n.value for n in ast.parse(sources.pop()).body if isinstance(n, ast.Assign)}
    assert ast.literal_eval(assigned["REPOSITORY"]) == CONFIG["repository"]["url"]


def setup(tmp_path, *options, repository=URL):
    """Run the cell in a process of its own, with a git and a pip that write down what they are asked."""
    text = re.sub(
        r'^REPOSITORY = ".*?"', f'REPOSITORY = "{repository}"', first_code(SCRIPTS[0]).source, flags=re.M
    )
    log = tmp_path / "asked"
    (tmp_path / "bin").mkdir()
    git = tmp_path / "bin" / "git"
    git.write_text(
        f'#!/bin/sh\necho git "$@" >> {log}\nmkdir -p thesis/thesislib\ntouch thesis/thesislib/__init__.py\n'
    )
    git.chmod(0o755)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "pip.py").write_text(
        f"import sys\nopen({str(log)!r}, 'a').write(' '.join(['pip', *sys.argv[1:]]))\n"
    )
    script = tmp_path / "cell.py"
    script.write_text(text + "\nimport thesislib\nprint(thesislib.__file__)\n")
    (tmp_path / "work").mkdir()
    environment = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "modules"), *([] if options else [str(ROOT)])]),
    }
    command = [sys.executable, *options, str(script)]
    done = subprocess.run(command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True)
    return done, log.read_text().splitlines() if log.is_file() else []


def test_where_the_package_is_the_cell_does_nothing(tmp_path):
    done, asked = setup(tmp_path)
    assert done.returncode == 0, done.stderr
    assert asked == [] and Path(done.stdout.strip()).is_relative_to(ROOT)


def test_where_it_is_not_the_cell_fetches_and_installs_it(tmp_path):
    done, asked = setup(tmp_path, "-S")  # no site-packages: this Python has nothing
    assert done.returncode == 0, done.stderr
    assert asked == [f"git clone --depth=1 {URL} thesis", "pip install --quiet -e thesis[book]"]
    assert Path(done.stdout.strip()) == tmp_path / "work" / "thesis" / "thesislib" / "__init__.py"


def test_without_an_address_it_says_what_would_do(tmp_path):
    done, asked = setup(tmp_path, "-S", repository="")
    assert done.returncode and "make env" in done.stderr.splitlines()[-1]
    assert asked == []


def test_no_button_without_an_address(tmp_path):
    path = tmp_path / "_config.yml"
    path.write_text(
        (ROOT / "_config.yml").read_text().replace(f'url: "{CONFIG["repository"]["url"]}"', 'url: ""')
    )
    assert "launch_buttons" not in yaml.safe_load(book._config(path, "laptop"))
    path.write_text(path.read_text().replace('url: ""', f'url: "{URL}"'))
    found = yaml.safe_load(book._config(path, "laptop"))
    assert found["launch_buttons"] and found["repository"]["url"] == URL


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_the_buttons_address_is_a_notebook_of_the_tree(script):
    """By the theme's own function, since it is the theme that makes the button."""
    from sphinx_book_theme.header_buttons.launch import add_launch_buttons

    name = f"notebooks/{script.stem}"
    options = {
        "launch_buttons": CONFIG["launch_buttons"],
        "repository_branch": CONFIG["repository"]["branch"],
    }
    app = SimpleNamespace(
        env=SimpleNamespace(doc2path=lambda n: str(ROOT / f"{n}.ipynb"), metadata={name: {"kernelspec": "python3"}}),
        config={"html_theme_options": options},
    )  # fmt: skip
    context = {
        "header_buttons": [], "pagename": name, "sourcename": f"{name}.ipynb", "github_url": "https://github.com",
        "github_user": "someone", "github_repo": "the-book",
    }  # fmt: skip
    add_launch_buttons(app, name, "", context, None)
    (button,) = [b for group in context["header_buttons"] for b in group["buttons"]]
    base, path = button["url"].split(f"/blob/{CONFIG['repository']['branch']}/")
    assert base == "https://colab.research.google.com/github/someone/the-book"
    assert (ROOT / path).is_file()
