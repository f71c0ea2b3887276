"""Which files a module depends on: on packages small enough to count by hand."""

import importlib.metadata
import itertools
import os
import textwrap

import pytest
from hypothesis import given, settings
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
    assert {"memo.py", "sources.py", "datasets/__init__.py"} <= names(base / "memo.py")
    assert sources.closure(base / "evidence.py")[1][0].startswith("numpy==")


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


@settings(deadline=None)
@given(contents, contents)
def test_a_fingerprint_is_of_names_and_contents_and_nothing_else(tmp_path_factory, one, two):
    """Equal trees in two places have one fingerprint; different trees have two; the order is no matter."""
    assert (prints(tmp_path_factory, one) == prints(tmp_path_factory, two)) == (one == two)


def test_extra_strings_join_the_fingerprint(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("x")
    found = [sources.fingerprint([file], *extra) for extra in ((), ("1",), ("2",), ("1", "2"), ("12",))]
    assert len(set(found)) == 5
