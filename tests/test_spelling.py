"""What readers read is spelt as a British dictionary and the project's own list have it."""

import ast
import functools
import os
import re
from pathlib import Path

import jupytext
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORDS = ROOT / "tests" / "words.txt"
BRITISH = [
    Path(p) / "en_GB" for p in ("/usr/share/hunspell", "/usr/share/myspell", "/usr/local/share/hunspell")
]
PROSE = [ROOT / n for n in ("index.md", "README.md", "CONTRIBUTING.md")] + sorted(
    (ROOT / "book").rglob("*.md")
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
MODULES = sorted((ROOT / "thesislib").rglob("*.py"))

# What is not prose, in the order in which it is taken out.
NOT_PROSE = [
    r"^(```+|~~~+).*?^\1",  # code
    r"^\s*:[\w-]+:|:\w+:(?=`)",  # names of a directive's options, roles in docstrings
    r"\$\$.*?\$\$",
    r"(?<!\\)\$[^$]+\$",
    r"\{cite:\w+\}`[^`]*`",
    r"(?<=`)[^`<]*<[^>`]*>(?=`)",  # a role's target
    r"``[^`]+``",
    r"`[^`]*`",
    r"\]\([^)]*\)",
    r"\bhttps?://\S+",
    r"\[[A-Z][a-z]\]\w+",  # a regular expression
    r"<[^>]*>",
    r"\{[^}]*\}",
    r"^>>> .*$|^\.\.\. .*$",
    r"^\s*\*{0,2}\w+(, \*{0,2}\w+)*( : .*)?$",  # the head of a parameter in a docstring
    r"\S*[\w)][._/\\=@^|][\w(]\S*",  # paths, names with dots, formulas
]


def prose(text):
    for pattern in NOT_PROSE:
        text = re.sub(pattern, " ", text, flags=re.M | re.S if ".*?" in pattern else re.M)
    return text


def spelt(text):
    """Words of a text; not those with digits or capitals inside, which are names."""
    for word in re.findall(r"[^\W_]+(?:['’][^\W_]+)*", prose(text)):
        word = re.sub(r"['’]s?$", "", word.replace("’", "'"))
        if len(word) > 1 and word.isascii() and not re.search(r"\d|.[A-Z]", word):
            yield word


def sentences(source):
    """Docstrings and other texts of at least four words in Python source."""
    for node in ast.walk(ast.parse(source)):
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if len(text.split()) > 3 and not re.search(r"^\s*<|=>|\{ [\w-]+:", text):  # for a browser
            yield text


def texts():
    """Place and text of all that is read."""
    for page in PROSE:
        yield page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8")
    for notebook in NOTEBOOKS:
        for cell in jupytext.read(notebook).cells:
            parts = [cell.source] if cell.cell_type == "markdown" else sentences(cell.source)
            yield from ((notebook.relative_to(ROOT).as_posix(), part) for part in parts)
    for module in MODULES:
        for part in sentences(module.read_text(encoding="utf-8")):
            yield module.relative_to(ROOT).as_posix(), part
    listed = yaml.safe_load((ROOT / "data" / "artefacts.yml").read_text(encoding="utf-8"))
    for row in [*listed["chapters"], *listed["artefacts"], *listed.get("extras", [])]:
        for key in ("title", "claim", "reported_note"):
            yield "data/artefacts.yml", row.get(key) or ""


@functools.cache
def own_words():
    return WORDS.read_text(encoding="utf-8").split()


def test_words_are_spelt_as_the_dictionaries_have_them():
    """And the project's own list is sorted, and holds no word that no text needs."""
    hunspell = pytest.importorskip("spylls.hunspell", reason="spylls is not installed")
    path = next((p for p in BRITISH if p.with_suffix(".dic").is_file()), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no British dictionary: install hunspell-en-gb")
        pytest.skip("no British dictionary (hunspell-en-gb) is installed")
    known = functools.cache(hunspell.Dictionary.from_files(str(path)).lookup)
    unknown = {word: place for place, text in texts() for word in spelt(text) if not known(word)}
    own = WORDS.read_text(encoding="utf-8").split()
    wrong = {w: place for w, place in unknown.items() if not {w, w.lower()} & set(own)}
    assert not wrong, "mend them, or add a proper name or term to tests/words.txt"
    assert own == sorted(set(own), key=lambda w: (w.lower(), w))
    assert not [w for w in own if w not in {u for v in unknown for u in (v, v.lower())}], "no longer needed"


def test_what_is_not_prose_is_left_out():
    text = "A ``misspeld`` $wrnog$ {cite:p}`badd2020` word `x_y` at <b>hx</b> thesislib.qq/rr, `vrbatim`:\n```\nxqz\n```\n"
    assert list(spelt(text)) == ["word", "at", "hx"]
    assert list(spelt("the modell's collor, SPI-MM and ResNet18")) == ["the", "modell", "collor", "and"]
