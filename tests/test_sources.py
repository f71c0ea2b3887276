"""Which files a module depends on: on packages small enough to count by hand."""

import ast
import importlib.metadata
import itertools
import os
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thesislib import sources


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write files of a package ``house``; :func:`sources.closure` takes it for ours."""
    root = tmp_path / "house"
    monkeypatch.setattr(sources, "PACKAGE", root)

    def write(**files):
        for name, text in files.items():
            path = root.joinpath(*name.split("__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return root

    write(init="")
    (root / "init.py").rename(root / "__init__.py")
    return write


def names(start):
    """The closure's files relative to the package, without the package's own front page."""
    found = [f.relative_to(sources.PACKAGE).as_posix() for f in sources.closure(start)[0]]
    assert found == sorted(found, key=lambda n: sources.PACKAGE / n)
    return set(found) - {"__init__.py"}


@pytest.mark.parametrize(
    "line",
    [
        "import house.b",
        "import house.b as other",
        "from house import b",
        "from house.b import thing",
        "from . import b",
        "from .b import thing",
        "from .b import thing as other, more",
        "from .b import *",
        "def f():\n    from house.b import thing",
        "def f():\n    class C:\n        import house.b",
        "try:\n    import house.b\nexcept ImportError:\n    pass",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.b import Thing",
        "%matplotlib inline\n!ls\nimport house.b",
        "def f():\n    %time g()\n    import house.b",
    ],
)
def test_every_way_of_importing_counts(package, line):
    root = package(a=line, b="import house.c", c="", unrelated="")
    assert names(root / "a.py") == {"a.py", "b.py", "c.py"}


@pytest.mark.parametrize(
    "line", ["# import house.b", "'import house.b'", "house = 1; b = house", "import houses.b"]
)
def test_what_only_looks_like_an_import_does_not(package, line):
    root = package(a=line, b="")
    assert names(root / "a.py") == {"a.py"}


def test_relative_imports_count_from_their_own_folder(package):
    root = package(
        room__inner__deep="from .side import x\nfrom ..lower import y\nfrom ... import ground",
        room__inner__side="",
        room__inner__lower="",
        room__lower="",
        side="",
        lower="",
        ground="",
    )
    assert names(root / "room" / "inner" / "deep.py") == {
        "room/inner/deep.py",
        "room/inner/side.py",
        "room/lower.py",
        "ground.py",
    }


def test_importing_a_module_executes_the_packages_above_it(package):
    root = package(a="import house.room.inner.deep", room__inner__deep="", helper="", other="")
    (root / "room" / "__init__.py").write_text("from house import helper")
    (root / "room" / "inner" / "__init__.py").write_text("")
    assert names(root / "a.py") == {
        "a.py",
        "room/__init__.py",
        "room/inner/__init__.py",
        "room/inner/deep.py",
        "helper.py",
    }
    assert sources.PACKAGE / "__init__.py" in sources.closure(root / "a.py")[0]


def test_a_package_reexports_what_it_imports_relatively(package):
    root = package(a="from house.room import thing", room__b="from . import c", room__c="", room__d="")
    (root / "room" / "__init__.py").write_text("from .b import thing")
    assert names(root / "a.py") == {"a.py", "room/__init__.py", "room/b.py", "room/c.py"}


LAZY = """
from typing import TYPE_CHECKING
from house.room import always

if TYPE_CHECKING:
    from house.room.b import B, other as better
    from .c import C
    from house.elsewhere import far
else:
    from . import otherwise

def __getattr__(name): ...
"""


@pytest.fixture
def lazy(package):
    """A package ``house.room`` that exports B, better, C and far lazily."""
    room = {f"room__{name}": "" for name in ("always", "c", "d", "otherwise")}
    root = package(**room, room__b="from house.room import d", elsewhere="", helper="from house import room")
    (root / "room" / "__init__.py").write_text(LAZY)
    return package


@pytest.mark.parametrize(
    ("line", "more"),
    [
        ("from house.room import B", {"room/b.py", "room/d.py"}),
        ("from house.room import better as best", {"room/b.py", "room/d.py"}),
        ("def f():\n    from house.room import C", {"room/c.py"}),
        ("from .room import far", {"elsewhere.py"}),
        ("from house.room import C, far", {"room/c.py", "elsewhere.py"}),
        ("from house.room import other", set()),  # exported as `better`
        ("from house.room import always", set()),
        ("from house.room.c import C", {"room/c.py"}),
        ("import house.room.c as c", {"room/c.py"}),
    ],
)
def test_a_lazily_exported_name_brings_its_own_module(lazy, line, more):
    root = lazy(a=line)
    assert names(root / "a.py") == {
        "a.py",
        "room/__init__.py",
        "room/always.py",
        "room/otherwise.py",
        *more,
    }


@pytest.mark.parametrize(
    "line",
    [
        "import house.room",
        "import house.room as r",
        "import house.room.d",  # after it, house.room.C is there for the asking
        "from house import room",
        "from house import room as r",
        "from . import room",
        "from house.room import *",
        "from house.helper import room",
    ],
)
def test_a_package_as_a_whole_brings_all_that_it_exports(lazy, line):
    root = lazy(a=line)
    lazily = {"room/b.py", "room/c.py", "room/d.py", "elsewhere.py"}
    assert lazily <= names(root / "a.py")
    assert lazily <= names(root / "room" / "__init__.py")


def test_a_lazily_exported_package_counts_like_an_imported_one(package):
    root = package(
        a="from house.outer import deep, inner", outer__inner__b="", outer__inner__c="", outer__d=""
    )
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
    (root / "outer" / "__init__.py").write_text(typed + "from house.outer.inner import deep")
    (root / "outer" / "inner" / "__init__.py").write_text(typed + "from house.outer.inner.b import deep")
    found = {"a.py", "outer/__init__.py", "outer/inner/__init__.py", "outer/inner/b.py"}
    assert names(root / "a.py") == found
    (root / "outer" / "inner" / "__init__.py").write_text(typed + "from house.outer import deep  # a circle")
    os.utime(root / "outer" / "inner" / "__init__.py", (0, 0))
    assert names(root / "a.py") == found - {"outer/inner/b.py"}


def test_a_star_says_no_names_so_it_always_counts(package):
    root = package(a="from house.room import thing", room__b="")
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.room.b import *"
    (root / "room" / "__init__.py").write_text(text)
    assert names(root / "a.py") == {"a.py", "room/__init__.py", "room/b.py"}


def test_only_a_front_page_exports_lazily(package):
    """In any other module a type checker's imports count at once: nothing could ask for them later."""
    typed = "import typing\nif typing.TYPE_CHECKING:\n    from house.b import thing"
    root = package(a="from house.c import other", b="", c=typed, d="")
    assert names(root / "a.py") == {"a.py", "b.py", "c.py"}
    (root / "__init__.py").write_text(typed)
    assert names(root / "d.py") == {"d.py"}


def test_circles_end(package):
    root = package(a="import house.b", b="import house.c", c="import house.a\nimport house.c")
    assert names(root / "a.py") == names(root / "b.py") == {"a.py", "b.py", "c.py"}


def test_a_script_outside_the_package(package, tmp_path):
    root = package(b="")
    script = tmp_path / "page.py"
    script.write_text("# %%\n%load_ext thing\nfrom house import b\n")
    assert set(sources.closure(script)[0]) == {script, root / "__init__.py", root / "b.py"}


@pytest.mark.parametrize(
    "text",
    [
        "rest = (7\n    % 4)\nimport house.b",
        "text = '''\n% not a magic\n'''\nimport house.b",
        "text = f'''\n!{1}\n'''\nimport house.b",
    ],
)
def test_a_percent_sign_is_not_always_a_magic(package, text):
    """The formatter breaks lines before operators, so valid Python may begin a line with one."""
    compile(text, "a.py", "exec")
    root = package(a=text, b="")
    assert names(root / "a.py") == {"a.py", "b.py"}


def test_an_edit_is_seen(package):
    root = package(a="import house.b", b="", c="")
    assert names(root / "a.py") == {"a.py", "b.py"}
    package(a="import house.c")
    os.utime(root / "a.py", (0, 0))  # a later edit has a date of its own
    assert names(root / "a.py") == {"a.py", "c.py"}


def test_distributions_by_the_name_they_are_installed_under(package):
    root = package(
        a="import os, json\nimport yaml\nimport house.b\nimport no_such_module", b="from numpy import array"
    )
    expected = {f"{name}=={importlib.metadata.version(name)}" for name in ("numpy", "pyyaml")}
    assert {line.lower() for line in sources.closure(root / "a.py")[1]} == expected


def test_the_real_package():
    """Counted by hand: the memo needs the sources, the settings nothing of ours."""
    base = sources.PACKAGE
    assert names(base / "settings.py") == {"settings.py"}
    data = {f"datasets/{name}.py" for name in ("__init__", "catalogue", "clip_lists", "content", "places")}
    assert names(base / "memo.py") == {"memo.py", "sources.py"} | data
    assert sources.closure(base / "evidence.py")[1][0].startswith("numpy==")
    chapter = {name for name in names(base / "spi_mm" / "experiments.py") if name.startswith("datasets")}
    assert chapter == data | {"datasets/features.py"}  # what chapter 6 reads is no image


# ---- fingerprint


contents = st.dictionaries(
    st.sampled_from(["a.py", "b.py", "room/a.py", "room/b.py", "c.txt"]), st.binary(max_size=6), min_size=1
)


def prints(tmp_path_factory, files):
    base = tmp_path_factory.mktemp("prints")
    root = base / "house"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "PACKAGE", root)
        paths = [root / name for name in files]
        found = {sources.fingerprint(order) for order in itertools.permutations(paths[:4])}
        assert len(found) == 1
        return sources.fingerprint(paths)


@given(contents, contents)
def test_a_fingerprint_is_of_names_and_contents_and_nothing_else(tmp_path_factory, one, two):
    """Equal trees in two places have one fingerprint; different trees have two; the order is no matter."""
    assert (prints(tmp_path_factory, one) == prints(tmp_path_factory, two)) == (one == two)


def test_extra_strings_join_the_fingerprint(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("x")
    found = [sources.fingerprint([file], *extra) for extra in ((), ("1",), ("2",), ("1", "2"), ("12",))]
    assert len(set(found)) == 5


# ---- code


SOURCE = '''
"""What the module does."""

import math  # needed below


@cached
def area(r):
    """Of a circle."""
    text = f"""{r} # no comment

    kept"""
    return math.pi * r**2, text


class Empty:
    "Nothing."


ALL = (1, 2)
"""Every number."""


def short(): "on a line of its own"; return 1
'''


def changed(*edits):
    text = SOURCE
    for old, new in edits:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return sources.code(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # needed below", ""),
        ("  # needed below", "  # for pi"),
        ("What the module does", "What\n\nthe module\n# does"),
        ('    """Of a circle."""\n', ""),
        ('"Nothing."', '"""Nothing\n    at all."""'),
        ("\n\n\n@cached", "\n\n# speed\n@cached"),
        ("import math", "\n\nimport math"),
        ('"""Every number."""\n', ""),
    ],
)
def test_words_about_the_code_are_no_part_of_it(old, new):
    assert changed((old, new)) == sources.code(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r**2", "r**3"),
        ("@cached\n", ""),
        ("# no comment", "# a comment"),  # within a string
        ("no comment\n\n", "no comment\n"),
        ("    kept", "        kept"),
        ("return 1", "return 2"),  # beside a docstring
    ],
)
def test_whatever_decides_a_result_is_code(old, new):
    assert changed((old, new)) != sources.code(SOURCE)


def test_code_does_what_its_source_does():
    """Every file of the package, stripped, still parses to the same tree but for docstrings."""

    class Bare(ast.NodeTransformer):
        def visit(self, node):
            self.generic_visit(node)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                node.body = [n for n in node.body if not self.prose(n)]
            return node

        @staticmethod
        def prose(node):
            return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)

    for file in sources.PACKAGE.rglob("*.py"):
        text = file.read_text()
        try:
            stripped = ast.parse(sources.code(text))
        except IndentationError:  # a body that was nothing but a docstring
            continue
        assert ast.unparse(stripped) == ast.unparse(Bare().visit(ast.parse(text))), file
