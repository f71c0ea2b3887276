"""The API reference: every public name is documented, explained, placed in the thesis, and in the built book."""

import doctest
import importlib
import inspect
import pkgutil
import re
import zlib
from pathlib import Path

import pytest

import thesislib
from thesislib.companion import house, sections

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "book" / "api").glob("*.md"))
LISTED = [name for page in PAGES for name in re.findall(r"automodule:: (\S+)", page.read_text())]
MODULES = [m.name for m in pkgutil.walk_packages(thesislib.__path__, "thesislib.")]
PUBLIC = [m for m in MODULES if m in LISTED]
ELSEWHERE = re.compile(r"\b(?:as for|as in|as :|arguments|the same)\b", re.IGNORECASE)
ROOMS = {c.package for c in house.chapters().values() if c.package} | {"blackbox", "longtail", "models"}
# What a reader is likeliest to call first; each shows itself at work.
SHOWN = {
    "thesislib.blackbox": ["__doc__"],
    "thesislib.datasets": ["__doc__"],
    "thesislib.datasets.longtail": ["__doc__", "longtail_counts"],
    "thesislib.models": ["__doc__"],
    "thesislib.recipe": ["learning_rate"],
    "thesislib.training": ["__doc__"],
    "thesislib.evidence": ["paired_t", "pairs", "Claim"],
    "thesislib.longtail": ["__doc__"],
    "thesislib.longtail.shots": ["head_classes"],
    "thesislib.longtail.metrics": ["class_accuracies", "balanced_accuracy"],
    "thesislib.longtail.balanced_softmax": ["adjusted_logits"],
    "thesislib.meta_attack.zoo": ["ZOO"],
    "thesislib.meta_attack.meta_attack": ["MetaAttack"],
    "thesislib.motion_sampler": ["__doc__"],
    "thesislib.motion_sampler.motion_map": ["__doc__"],
    "thesislib.dual_phase.gradient_distortion": ["__doc__"],
    "thesislib.dual_phase.memory_retentive": ["__doc__"],
    "thesislib.dual_phase.exemplar_bank": ["exemplar_bank"],
    "thesislib.heterotopic.ensemble": ["HeterotopicEnsemble"],
    "thesislib.spi_mm.minimise": ["minimise"],
    "thesislib.spi_mm.prox": ["soft"],
}


def members(name):
    """Public functions and classes that a module defines, of one with `__all__` those in it."""
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    for key, item in vars(module).items():
        ours = getattr(item, "__module__", None) == name
        ours = ours and not key.startswith("_") and (listed is None or key in listed)
        if ours and (inspect.isfunction(item) or inspect.isclass(item)):
            yield key, item


def methods(cls):
    for key, item in vars(cls).items():
        function = getattr(item, "__func__", item)
        own = inspect.isfunction(function) and function.__qualname__.startswith(
            cls.__name__
        )  # no default of a field
        if own and not key.startswith("_") and key != "forward":
            yield key, function


def unexplained(item, text):
    """Arguments that a text names nowhere."""
    names = [n for n in inspect.signature(item).parameters if n not in ("self", "cls") and n[0] != "_"]
    return [n for n in names if not re.search(rf"(?<!\w){n}(?!\w)", text)]


def test_every_module_is_listed_once():
    assert len(LISTED) == len(set(LISTED))
    left = [m for m in MODULES if m not in LISTED and not m.startswith("thesislib.companion.")]
    assert not left, "list it on a page of book/api"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_says_what_it_is_and_what_its_arguments_are(name):
    """In its own docstring, its class's or its module's; or it refers to where they are explained."""
    above, faults = inspect.getdoc(importlib.import_module(name)) or "", []
    for key, item in members(name):
        text = inspect.getdoc(item)
        if not text:
            faults.append(f"{key} has no docstring")
        elif inspect.isfunction(item) and not ELSEWHERE.search(text):
            faults += [f"{key} does not explain {n}" for n in unexplained(item, f"{text} {above}")]
        if not text or not inspect.isclass(item):
            continue
        for method, function in methods(item):
            own = inspect.getdoc(getattr(item, method))  # a base's, if it has none
            if not own:
                faults.append(f"{key}.{method} has no docstring")
            elif not ELSEWHERE.search(own):
                missing = unexplained(function, f"{own} {text} {above}")
                faults += [f"{key}.{method} does not explain {n}" for n in missing]
    assert not faults, "\n".join(faults)


def headings():
    scripts = "\n".join(c.script.read_text() for c in house.chapters().values() if c.written)
    return set(re.findall(r"^# #+ (\d(?:\.\d+)+)\.? ", scripts, re.M))


@pytest.mark.parametrize("name", [n for n in PUBLIC if n.split(".")[1] in ROOMS])
def test_every_name_of_a_chapter_has_its_section_of_the_thesis(name):
    there = headings()
    for key, item in members(name):
        found = sections.sections(item)
        assert found, f"{key}: neither it nor its module names a section"
        assert set(found) <= there, f"{key}: {found} is not all in the notebooks"


def test_sections_are_found_in_words():
    def one():
        """Of chapter 2 (thesis, sections 2.3.1 and 3.3.1), and section\n        4.4."""

    def tab_2_4(settings):
        """Section 9.9."""

    assert sections.sections(one) == ["2.3.1", "3.3.1", "4.4"]
    assert sections.sections(tab_2_4) == [house.artefact("tab-2.4").section]
    assert sections.sections(doctest.DocTestFinder) == []


def test_the_built_reference_has_every_name():
    inventory = ROOT / "_build" / "html" / "objects.inv"
    if not inventory.is_file():
        pytest.skip("the book is not built")
    lines = zlib.decompress(inventory.read_bytes().split(b"\n", 4)[4]).decode().splitlines()
    there = {line.split(" ", 1)[0] for line in lines if " py:" in line}
    exported = {
        id(getattr(module, key)): f"{name}.{key}"
        for name in PUBLIC
        if hasattr(module := importlib.import_module(name), "__path__")
        for key in getattr(module, "__all__", ())
    }
    left = []
    for name in PUBLIC:
        if name == "thesislib.companion.page":  # of which only Page is for readers
            continue
        for key, item in members(name):
            if not {f"{name}.{key}", exported.get(id(item))} & there:
                left.append(f"{name}.{key}")
    assert not left


@pytest.mark.parametrize("name", SHOWN)
def test_examples_do_what_they_show(name):
    module = importlib.import_module(name)
    found = {t.name: t for t in doctest.DocTestFinder().find(module, name) if t.examples}
    for key in SHOWN[name]:
        test = found[name if key == "__doc__" else f"{name}.{key}"]
        assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
