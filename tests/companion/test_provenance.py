"""When a committed record is stale: what its chapter reads now, against what it read then."""

import subprocess
from types import SimpleNamespace

import pytest

from thesislib import datasets, sources
from thesislib.companion import house, provenance


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A package of one chapter; a function that edits it, another that makes a record of it."""
    root = tmp_path / "thesislib"
    (root / "alpha").mkdir(parents=True)
    monkeypatch.setattr(sources, "PACKAGE", root)
    toy = SimpleNamespace(package="alpha", name="ch1")
    monkeypatch.setattr(house, "chapter", {"ch1": toy}.__getitem__)

    def write(name, text):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        sources._imports.cache_clear()

    def record(*names):
        content = {"files": provenance.method_files(toy), "data": provenance.data_prints(names)}
        return SimpleNamespace(provenance=content, artefact=SimpleNamespace(chapter=1))

    write("alpha/__init__.py", "")
    write("alpha/experiments.py", "from thesislib import memo\nfrom thesislib.alpha import method\n")
    write("alpha/method.py", "from thesislib.alpha.step import step")
    write("alpha/step.py", "")
    write("alpha/unused.py", "")
    write("memo.py", "import thesislib.sources")
    write("sources.py", "")
    return SimpleNamespace(write=write, record=record)


def test_an_edit_of_a_method_is_seen_and_of_anything_else_is_not(chapter):
    record = chapter.record()
    assert provenance.changed(record) == []
    chapter.write("alpha/unused.py", "x = 1")
    assert provenance.changed(record) == []
    chapter.write("alpha/step.py", "x = 1")
    assert provenance.changed(record) == ["thesislib/alpha/step.py"]


def test_code_that_is_in_no_commit_makes_a_run_unclean(chapter, tmp_path, monkeypatch):
    def git(*words):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    monkeypatch.setattr(house, "root", lambda: tmp_path)
    toy = house.chapter("ch1")
    assert provenance.git_state(toy) == {"commit": None, "dirty": None}
    git("init", "-q")
    git("add", "-A")
    git("rm", "-q", "--cached", "thesislib/alpha/unused.py")
    git("commit", "-qm", "all but one")
    assert provenance.git_state(toy)["dirty"] is False  # nothing imports it
    git("rm", "-q", "--cached", "thesislib/alpha/step.py")
    git("commit", "-qm", "all but two")
    assert provenance.git_state(toy)["dirty"] is True
    git("add", "thesislib/alpha/step.py")
    assert provenance.git_state(toy)["dirty"] is True
    git("commit", "-qm", "there")
    assert provenance.git_state(toy)["dirty"] is False


def test_a_file_no_longer_imported_cannot_matter(chapter):
    record = chapter.record()
    chapter.write("alpha/method.py", "")
    chapter.write("alpha/step.py", "x = 1")
    assert provenance.changed(record) == ["thesislib/alpha/method.py"]
    # Nor one that an older version of us thought was imported.
    record.provenance["files"]["thesislib/alpha/unused.py"] = "0" * 16
    assert provenance.changed(record) == ["thesislib/alpha/method.py"]


def test_a_file_newly_imported_is_named(chapter):
    record = chapter.record()
    chapter.write("memo.py", "from thesislib.alpha import unused")  # the importing file itself is neutral
    assert provenance.changed(record) == ["thesislib/alpha/unused.py"]


@pytest.mark.parametrize("name", provenance.NEUTRAL)
def test_neutral_files_are_neither_recorded_nor_compared(chapter, name):
    chapter.write(name, "")
    module = name.removeprefix("thesislib/").removesuffix(".py").replace("/", ".")
    chapter.write(name.removeprefix("thesislib/"), "")
    chapter.write("alpha/step.py", f"import thesislib.{module}")
    record = chapter.record()
    assert name not in record.provenance["files"]
    record.provenance["files"][name] = "0" * 16  # as older records have it
    chapter.write(name.removeprefix("thesislib/"), "x = 1")
    assert provenance.changed(record) == []


def test_a_chapters_own_file_of_the_same_name_is_not_neutral(chapter):
    chapter.write("alpha/step.py", "from thesislib.alpha import places")
    chapter.write("alpha/places.py", "")
    record = chapter.record()
    chapter.write("alpha/places.py", "x = 1")
    assert provenance.changed(record) == ["thesislib/alpha/places.py"]


def test_neutral_files_exist():
    for name in provenance.NEUTRAL:
        assert (sources.PACKAGE.parent / name).is_file()


def test_embedded_data_that_changed_are_named_and_the_users_own_are_not_read(chapter, monkeypatch):
    """The neutral glyphs.py draws data, so their fingerprint has to take its place."""
    record = chapter.record("digits", "glyphs")
    record.provenance["data"]["mnist"] = record.provenance["data"]["no such set"] = "0" * 16
    assert provenance.changed(record) == []
    real = datasets.fingerprint
    monkeypatch.setattr(datasets, "fingerprint", lambda name: "new" if name == "glyphs" else real(name))
    assert provenance.changed(record) == ["glyphs"]
