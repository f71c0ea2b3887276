"""The project as a whole: what is declared in two places agrees, and what the house forbids is not there."""

import ast
import dataclasses
import functools
import importlib
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from thesislib.companion import cli, house, records
from thesislib.evidence import Finding

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11.4", "3.11.9", "3.12.3", "3.13.1")
CHAPTERS = house.chapters()
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
PAGES = [ROOT / "index.md", *sorted((ROOT / "book").glob("*.md")), *SCRIPTS]
# Their code is tested in tests/book/test_howto.py; one of them adds an artefact that is not there.
HOWTO = sorted(p for p in (ROOT / "book" / "howto").glob("*.md") if p.stem != "add_artefact")


def shown(path):
    return path.relative_to(ROOT).as_posix()


# ---- the environment, declared three times


@functools.cache
def lock():
    """Requirement and its hashes, line by line."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line.split("--hash=") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(Requirement(first.strip()), [h.strip() for h in hashes]) for first, *hashes in lines]


def locked(python):
    """Name to version on Linux with one Python."""
    environment = {
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    chosen = [r for r, _ in lock() if r.marker is None or r.marker.evaluate(environment)]
    names = [canonicalize_name(r.name) for r in chosen]
    assert len(names) == len(set(names)), f"locked twice for {python}"
    return {n: Version(str(r.specifier).removeprefix("==")) for n, r in zip(names, chosen, strict=True)}


def wanted():
    table = PROJECT["project"]
    everything = [*table["dependencies"], *PROJECT["build-system"]["requires"]]
    for extra in table["optional-dependencies"].values():
        everything += extra
    return [Requirement(line) for line in everything]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_satisfies_the_project(python):
    """With --no-deps and --no-build-isolation nothing else brings what is missing, the build backend included."""
    have = locked(python)
    for need in wanted():
        name = canonicalize_name(need.name)
        assert name in have, f"{name} is not locked for {python}"
        assert need.specifier.contains(have[name], prereleases=True), (
            f"{name} {have[name]} for {python}: {need}"
        )


def test_every_locked_line_has_one_version_and_hashes():
    assert len(lock()) > 50
    for requirement, hashes in lock():
        (pin,) = requirement.specifier
        assert pin.operator == "==" and "*" not in pin.version, requirement
        assert requirement.url is None and not requirement.extras, requirement
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), requirement.name


def test_the_lock_names_no_place():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    options = {word for line in text.splitlines() for word in line.split() if word.startswith("-")}
    assert {o.partition("=")[0] for o in options} == {"--hash"}


def test_conda_takes_the_same_python_and_the_lock():
    found = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [d for d in found["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in found["dependencies"] if isinstance(d, dict)]
    (python,) = [d.removeprefix("python") for d in conda if re.match(r"python\W", d)]
    assert SpecifierSet(python) == SpecifierSet(PROJECT["project"]["requires-python"])
    assert "pip" in conda and pip == ["-r requirements.lock"]


def test_every_supported_python_is_tested():
    supported = SpecifierSet(PROJECT["project"]["requires-python"])
    minors = [f"3.{n}" for n in range(8, 20) if supported.contains(f"3.{n}.5")]
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())
    assert flow["jobs"]["test"]["strategy"]["matrix"]["python"] == minors
    assert {".".join(p.split(".")[:2]) for p in PYTHONS} == set(minors)
    low, high = (tuple(map(int, m.split("."))) for m in (minors[0], minors[-1]))
    assert f"{low} <= v < ({high[0]}, {high[1] + 1})" in (ROOT / "Makefile").read_text()


def test_make_help_lists_the_two_commands():
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert {"book", "test"} <= set(listed)
    assert all(len(line.split()) > 1 for line in done.stdout.splitlines())


def test_the_citation_names_the_version():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    assert str(found["version"]) == PROJECT["project"]["version"]
    assert found["license"] == PROJECT["project"]["license"]
    assert f"## {found['version']} ({found['date-released']})" in (ROOT / "CHANGELOG.md").read_text()


# ---- notebooks


@pytest.fixture(params=SCRIPTS, ids=lambda p: p.stem)
def script(request):
    return request.param


def chapter_of(script):
    (chapter,) = [c for c in CHAPTERS.values() if c.slug == script.stem]
    return chapter


def test_the_two_halves_of_a_notebook_agree(script):
    percent = jupytext.read(script)
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    advice = "run `make notebooks`"
    assert [c.cell_type for c in percent.cells] == [c.cell_type for c in notebook.cells], advice
    for ours, theirs in zip(percent.cells, notebook.cells, strict=True):
        assert ours.source == theirs.source, advice
        assert ours.metadata == theirs.metadata, advice
    for half in (percent, notebook):
        half.metadata.pop("jupytext", None)  # filters of the pairing, written into one half only
    assert percent.metadata == notebook.metadata, advice


def test_a_notebook_is_committed_unexecuted(script):
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        assert "injected-parameters" not in tags
        assert not cell.get("outputs") and cell.get("execution_count") is None
    assert sum("parameters" in c.metadata.get("tags", []) for c in notebook.cells) == 1


def test_no_two_test_modules_have_one_name():
    """Folders of tests are no packages, so pytest could import only one of them."""
    names = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), sorted(n for n in set(names) if names.count(n) > 1)


def test_every_notebook_has_both_halves():
    halves = {p.stem for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert halves == {p.stem for p in SCRIPTS}
    assert halves <= {c.slug for c in CHAPTERS.values()}


def test_the_parameters_are_settings_of_the_chapter(script):
    chapter = chapter_of(script)
    (cell,) = [c for c in jupytext.read(script).cells if "parameters" in c.metadata.get("tags", [])]
    names = {node.targets[0].id for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)}
    profiles = importlib.import_module(f"thesislib.{chapter.package}.settings").PROFILES
    assert {"profile", "dataset", "seed", "device"} <= names
    assert set(profiles) == {"smoke", "laptop", "paper"}
    assert names <= {f.name for f in dataclasses.fields(profiles["laptop"])}
    # And what is set by default changes nothing, or the plain run would never enter the book.
    defaults = {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(cell.source).body}
    assert profiles[defaults.pop("profile")].override(**defaults) == profiles["laptop"]


def test_no_cell_is_longer_than_a_screen(script):
    long = {
        cell.source.splitlines()[0]: n
        for cell in jupytext.read(script).cells
        if cell.cell_type == "code" and (n := len(cell.source.splitlines())) > 40
    }
    assert not long


def test_a_chapter_records_its_artefacts_in_order(script):
    called = re.findall(r'^page\.record\(\s*"([^"]+)"', script.read_text(), re.M)
    assert sorted(called) == sorted(a.id for a in chapter_of(script).artefacts)
    kinds = [i for i in called if not i.startswith("extra")]
    sections = {a.id: a.section for a in chapter_of(script).artefacts}
    assert kinds == sorted(kinds, key=lambda i: (sections[i].split("."), house.reading_order(i)))


# ---- the house


def imports(path):
    """Absolute names that a module of the package imports, wherever in it."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*up, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


ROOMS = {c.package for c in CHAPTERS.values() if c.package}
MIDDLE = {"blackbox", "longtail"}
MODULES = sorted((ROOT / "thesislib").rglob("*.py"))
METHODS = [m for m in MODULES if m.relative_to(ROOT).parts[1] != "companion"]


def room_of(name):
    """``thesislib.spi_mm.settings`` lies in ``spi_mm``; other people's names lie nowhere."""
    parts = name.split(".")
    return parts[1] if parts[0] == "thesislib" and len(parts) > 1 else None


@pytest.mark.parametrize("module", METHODS, ids=shown)
def test_a_method_knows_no_book_and_does_not_draw(module):
    names = list(imports(module))
    assert not [n for n in names if room_of(n) == "companion"]
    assert not [n for n in names if n.partition(".")[0] in ("matplotlib", "seaborn", "IPython")]
    calls = [n.func.id for n in ast.walk(ast.parse(module.read_text()))
             if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]  # fmt: skip
    assert "print" not in calls


@pytest.mark.parametrize("module", METHODS, ids=shown)
def test_floors(module):
    """Chapters stand on the middle floor and the ground, and on no other chapter."""
    mine = room_of(".".join(module.relative_to(ROOT).with_suffix("").parts))
    below = {None: set(), **{room: MIDDLE | {room} for room in ROOMS}, **{m: MIDDLE for m in MIDDLE}}
    allowed = below.get(mine, set())
    upstairs = [n for n in imports(module) if room_of(n) in (ROOMS | MIDDLE) - allowed]
    assert not upstairs


def test_the_rooms_are_where_the_list_of_artefacts_says():
    for chapter in CHAPTERS.values():
        if chapter.written:
            package = ROOT / "thesislib" / chapter.package
            for name in ("__init__", "settings", "experiments", "claims"):
                assert (package / f"{name}.py").is_file()


# ---- numbers and sections typed in prose


ids = {a.id for c in CHAPTERS.values() for a in c.artefacts}
TYPED = re.compile(
    r"\b(?P<kind>fig|tab|extra)(?:ures?|les?|s?)?(?:\.\s*|\s+|-)(?P<number>\d[.-][\dA-Z]+)\b(?!\.\d)",
    re.IGNORECASE,
)


# The example of own_thesis.md is another thesis.
@pytest.mark.parametrize("page", [p for p in (*PAGES, *HOWTO) if p.stem != "own_thesis"], ids=shown)
def test_every_figure_and_table_named_exists(page):
    for found in TYPED.finditer(page.read_text()):
        identity = f"{found['kind'].lower()}-{found['number'].replace('-', '.')}"
        assert identity in ids, f"{found[0]!r} is not in data/artefacts.yml"


def test_the_pattern_finds_what_it_should():
    text = "Figure 6.2, Table 2.4, figures 6.1, Fig. 3.4; fig-6.2.csv (fig-6-2)= tab-2.1 Extra 6.A, extra-6.A"
    found = [f"{m['kind'].lower()} {m['number']}" for m in TYPED.finditer(text)]
    assert found == [
        "fig 6.2",
        "tab 2.4",
        "fig 6.1",
        "fig 3.4",
        "fig 6.2",
        "fig 6-2",
        "tab 2.1",
        "extra 6.A",
        "extra 6.A",
    ]


def headings(page):
    text = page.read_text()
    if page.suffix == ".py":
        text = "\n".join(c.source for c in jupytext.read(page).cells if c.cell_type == "markdown")
    return re.findall(r"^#+ (\d+(?:\.\d+)*)\.? ", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)


@pytest.mark.parametrize("chapter", CHAPTERS.values(), ids=lambda c: c.name)
def test_sections_have_the_chapters_number_and_stand_in_order(chapter):
    page = chapter.script if chapter.package else ROOT / "book" / f"{chapter.slug}.md"
    if not page.is_file():
        pytest.skip(f"{chapter.name} is not written")
    sections = [tuple(map(int, s.split("."))) for s in headings(page)]
    assert sections and sections == sorted(set(sections))
    assert {s[0] for s in sections} == {chapter.number}
    for before, after in zip([(chapter.number, 0), *sections], sections, strict=False):
        assert after[-1] == 1 or (*after[:-1], after[-1] - 1) == before[: len(after)], (
            f"{before} then {after}"
        )
    named = {tuple(map(int, a.section.split("."))) for a in chapter.artefacts}
    assert named <= set(sections)


# ---- what no file may hold


def own_files():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / n for n in names if n and (ROOT / n).is_file()]


def test_no_file_names_the_machine_it_was_written_on_or_a_registry():
    # In two halves each, so that this file does not find itself.
    places = ["../" + "shared", "/work" + "/", "/root" + "/", "/home" + "/"]
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "npmjs" + ".com", "deb.debian" + ".org",
             "anaconda" + ".org"]  # fmt: skip
    found = []
    for path in own_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{shown(path)}: {word}" for word in places + hosts if word in text]
    assert not found


def test_no_file_is_large():
    large = {shown(p): p.stat().st_size for p in own_files() if p.stat().st_size > 300_000}
    assert not large


# ---- commands that the prose shows


def commands():
    """Every ``thesis …`` line of a shell block, with what stands for a hash filled in."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]:
        for block in re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", page.read_text(), re.M | re.S):
            for line in block.splitlines():
                if re.match(r"\s*(\$ )?thesis ", line):
                    words = shlex.split(re.sub(r"<\w+>", "0", line), comments=True)
                    yield pytest.param(
                        words[words.index("thesis") + 1 :], id=f"{page.name}: {' '.join(words)}"
                    )


@pytest.mark.parametrize("words", list(commands()))
def test_a_command_in_the_prose_is_understood(words):
    arguments = cli._parser().parse_args(words)
    if getattr(arguments, "chapter", None):
        chapter = house.chapter(arguments.chapter)
        if chapter.written:
            from thesislib.companion import runs

            names = set(runs.declared(chapter))
            if getattr(arguments, "only", None):  # takes every setting
                profiles = importlib.import_module(f"thesislib.{chapter.package}.settings").PROFILES
                names = {f.name for f in dataclasses.fields(profiles["laptop"])}
            assert {name for name, _ in arguments.values} <= names
    if getattr(arguments, "id", None) and arguments.id not in CHAPTERS:
        house.artefact(arguments.id)


# ---- committed long runs


def equal(ours, theirs):
    if isinstance(ours, float) and isinstance(theirs, int | float):
        return ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)  # the CSV has twelve digits
    return ours == theirs


def test_committed_runs_are_whole_clean_and_decided_as_they_say():
    kept = records.recorded()
    if not kept:
        pytest.skip("no long run is committed yet")
    for record in kept:
        place = f"{record.folder.name}/{record.id}"
        assert record.folder.name == f"{record.dataset[0]}-{record.profile}", place
        assert len(record.dataset) == 1, place
        for suffix in ("csv", "json"):
            assert record.file(suffix).stat().st_size <= records.MAX_RECORDED, f"{place}.{suffix}"
        assert re.fullmatch(r"[0-9a-f]{40}", record.provenance["commit"]), place
        assert record.provenance["dirty"] is False, place
        frame = record.frame()  # refuses a CSV with another hash
        assert len(frame) == record.rows and not frame.duplicated(record.keys).any(), place
        assert not frame[record.values].isna().any(axis=None), place
        package = CHAPTERS[f"ch{record.artefact.chapter}"].package
        claims = importlib.import_module(f"thesislib.{package}.claims").CLAIMS.get(record.id, ())
        again = json.loads(json.dumps([dataclasses.asdict(c.decide(frame)) for c in claims]))
        assert len(again) == len(record.claims), place
        for ours, theirs in zip(again, record.claims, strict=True):
            assert set(theirs) == {f.name for f in dataclasses.fields(Finding)}, place
            unlike = [k for k in ours if not equal(ours[k], theirs[k])]
            assert not unlike, f"{place}: {ours['sentence']}: {unlike}"
