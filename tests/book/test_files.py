"""The built book's files, read one by one without a browser."""

import functools
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from built import BOOK, PAGES, ROOT, WRITTEN, needs_book

from thesislib.companion import blocks, house

pytestmark = needs_book

TEXT = {".html", ".js", ".json", ".ipynb", ".csv", ".svg", ".md", ".txt", ".css", ".xml", ""}
PICTURES = {".svg", ".png", ".jpg", ".jpeg", ".gif", ".webp"}
MAX_PICTURE, MAX_PAGE = 300_000, 2_000_000  # bytes
# Tag and attribute of what a browser fetches by itself.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}


class Parsed(HTMLParser):
    """Anchors, references, loaded files, images, language and titles of a page."""

    def __init__(self, name):
        super().__init__()
        self.anchors, self.references, self.loads, self.images = set(), [], [], []
        self.lang, self.titles, self.article = "", 0, 0
        self.feed((BOOK / name).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[a] for a in ("id", "name") if given.get(a)}
        self.references += [given[a] for a in ("href", "src", "data") if given.get(a) and tag != "base"]
        if given.get(LOADED.get(tag)):
            self.loads.append(given[LOADED[tag]])
        if tag == "link" and given.get("rel") not in ("canonical", "author"):
            self.loads.append(given.get("href", ""))
        if tag == "img":
            self.images.append(given)
        if tag == "html":
            self.lang = given.get("lang", "")
        self.article += tag == "article"
        self.titles += tag == "h1" and self.article > 0  # the theme has one outside, for print only

    def handle_endtag(self, tag):
        self.article -= tag == "article"


@functools.cache
def parsed(name):
    return Parsed(name)


def elsewhere(reference):
    return bool(urlsplit(reference).scheme) or reference.startswith("//")


def file_of(name, reference):
    """The file that a reference of page `name` means."""
    path = unquote(urlsplit(reference).path)
    return ((BOOK / name).parent / path).resolve() if path else BOOK / name


def test_links_and_anchors_resolve():
    broken = []
    for name in PAGES:
        for reference in set(parsed(name).references):
            address, fragment = urldefrag(reference)
            if elsewhere(address):
                continue
            path = file_of(name, address)
            if not path.is_file():
                broken.append(f"{name}: {reference}: no such file")
            elif fragment and path.suffix == ".html":
                target = path.relative_to(BOOK).as_posix()
                if unquote(fragment) not in parsed(target).anchors:
                    broken.append(f"{name}: {reference}: no such place on the page")
    assert not broken


def test_only_links_lead_out():
    """What a page loads lies in the book; only what a reader clicks may lie elsewhere."""
    found = [
        f"{name}: {x}" for name in PAGES for x in parsed(name).loads if elsewhere(x) and x[:5] != "data:"
    ]
    assert not found


def test_images_say_what_they_show():
    found = []
    for name in WRITTEN:
        for image in parsed(name).images:
            alt = (image.get("alt") or "").strip()
            if len(alt.split()) < 4 or re.search(r"\.(svg|png|jpe?g|gif)\b", alt):
                found.append(f"{name}: {image.get('src', '')[:80]}: {alt!r}")
    assert not found


def test_a_page_has_a_language_and_one_title():
    found = {name: (parsed(name).lang, parsed(name).titles) for name in WRITTEN}
    assert not {name: facts for name, facts in found.items() if facts != ("en", 1)}


def own_pictures(name):
    """Pictures on a page that lie in files of the book."""
    sources = [image["src"] for image in parsed(name).images if image.get("src")]
    return {file_of(name, source) for source in sources if not elsewhere(source)}


def test_pictures_are_small():
    places = [BOOK / "_images", BOOK / "_downloads"]
    pictures = {p for place in places for p in place.rglob("*") if p.suffix in PICTURES}
    pictures |= {p for name in PAGES for p in own_pictures(name)}
    assert pictures
    assert not {p.name: size for p in pictures if (size := p.stat().st_size) > MAX_PICTURE}


def test_pages_are_light():
    """A page's HTML and its own pictures; the theme and MathJax are loaded once and kept."""
    weights = {
        name: (BOOK / name).stat().st_size + sum(p.stat().st_size for p in own_pictures(name))
        for name in PAGES
    }
    assert not {name: weight for name, weight in weights.items() if weight > MAX_PAGE}


def test_nothing_names_the_machine_that_built_it():
    places = [f"{ROOT}/", f'{ROOT}"', f"{Path.home()}/"]
    found = []
    for path in BOOK.rglob("*"):
        if path.is_file() and path.suffix in TEXT and "mathjax" not in path.parts:
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{path.relative_to(BOOK)}: {place}" for place in places if place in text]
    assert not found


ARTEFACTS = [a for c in house.chapters().values() for a in c.artefacts]


def test_there_are_62():
    assert len([a for a in ARTEFACTS if a.kind != "Extra"]) == 62


def words(text):
    return html.unescape(re.sub(r"<[^>]*>", " ", text))


@pytest.fixture(scope="module")
def scoreboard():
    """Link text to the addresses it has on the scoreboard."""
    text = (BOOK / "book" / "scoreboard.html").read_text(encoding="utf-8")
    found = {}
    for address, label in re.findall(r'<a [^>]*href="([^"#]*#[^"]*)"[^>]*>(.*?)</a>', text, re.S):
        found.setdefault(html.unescape(re.sub(r"<[^>]*>", "", label)).strip(), set()).add(address)
    return found


def test_the_scoreboard_leads_to_each_artefact(scoreboard):
    """Its link says the thesis's number, and where it leads the same number is printed."""
    wrong = []
    for artefact in ARTEFACTS:
        slug = house.chapter(f"ch{artefact.chapter}").slug
        anchor = blocks.target(artefact.id)
        wanted = {f"../notebooks/{slug}.html#{anchor}"}
        if scoreboard.get(artefact.label) != wanted:
            wrong.append(f"{artefact.label} leads to {scoreboard.get(artefact.label)}, not {wanted}")
            continue
        text = (BOOK / "notebooks" / f"{slug}.html").read_text(encoding="utf-8")
        below = text.partition(f'id="{anchor}"')[2].partition(">")[2]
        printed = re.search(r"(Figure|Table|Extra) (\d+\.\w+)", words(below[:20_000]))
        if not printed or printed[0] != artefact.label:
            wrong.append(f"{artefact.label} leads to {printed and printed[0]}")
    assert not wrong
