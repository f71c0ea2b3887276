"""The whole book as one PDF, printed from its HTML by a headless browser."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urldefrag, urlsplit

import yaml

from thesislib.companion import house
from thesislib.companion.house import CompanionError
from thesislib.memo import write_atomic

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Millimetres of A4, and how much smaller than on a screen things are printed.
WIDTH, HEIGHT, SIDE, TOP, BOTTOM, SCALE = 210, 297, 18, 16, 20, 0.8
FOOT = (
    '<div style="width: 100%; margin: 0 18mm; font: 7pt sans-serif; display: flex; '
    'justify-content: space-between"><span class="title"></span><span class="pageNumber"></span></div>'
)
LONG_TABLE = 40  # rows; a longer one that is folded on the page is not printed
REFERS = ("aria-labelledby", "aria-describedby", "aria-controls", "for")  # attributes that hold an id
STYLE = """
@page { size: A4; }
body { background: #fff; }
.bd-main .bd-content { margin: 0; }
.bd-main .bd-content .bd-article-container { padding: 0; }
article.bd-article { break-before: page; padding: 0 !important; }
article.bd-article:first-of-type { break-before: avoid; }
nav.contents { break-inside: avoid; }
"""
# Sets formulas that are too wide smaller, and lets words break in tables that are.
FIT = """() => {
  for (const m of document.querySelectorAll('mjx-container[display="true"]')) {
    const wide = m.scrollWidth / m.clientWidth;
    if (wide > 1) m.style.fontSize = `${(parseFloat(m.style.fontSize) || 100) / wide * 0.98}%`;
  }
  for (const t of document.querySelectorAll('table')) {
    if (t.getBoundingClientRect().right > t.parentElement.getBoundingClientRect().right + 1) t.classList.add('tight');
  }
}"""
# What is wider than the paper, and pictures that are taller than a page.
CUT = """height => [...document.querySelectorAll('article :is(img, figure, table, pre, p, li, mjx-container)')]
  .filter(e => e.checkVisibility()).map(e => [e, e.getBoundingClientRect()])
  .filter(([e, box]) => box.right > innerWidth + 2
    || (e.matches('img, figure') && box.height > height)
    || (e.matches('pre, mjx-container[display]') && e.scrollWidth > e.clientWidth + 2))
  .map(([e, box]) =>
    `${e.closest('[id]').id}: <${e.localName}> ${Math.round(box.right)} x ${Math.round(box.height)} pixels`)
"""


def make() -> Path:
    """Print the rendered book to ``_build/pdf/thesis-companion.pdf``.

    Folded text and tables are printed open, long tables by their title alone; folded code, which is plumbing, is left
    out, and so are links to downloads.

    Raises
    ------
    CompanionError
        If no book was rendered, there is no browser to print it with, or something would be cut at the paper's edge.
    """
    from playwright.sync_api import sync_playwright

    path, source = browser(), compose()
    target = source.with_name("thesis-companion.pdf")
    with sync_playwright() as engine:
        running = engine.chromium.launch(executable_path=path, args=["--no-sandbox"])
        write_atomic(target, printed(running, source))
    return target


def compose() -> Path:
    """Write all pages of the rendered book into one, ``_build/pdf/book.html``."""
    base = house.root() / "_build"
    if not (base / "html" / "index.html").is_file():
        raise CompanionError("no _build/html to print; `thesis book` renders it")
    pages = {name: (base / "html" / name).read_text(encoding="utf-8") for name in reading_order()}
    source = base / "pdf" / "book.html"
    write_atomic(source, one_page(pages, "../html").encode())
    return source


def browser() -> str:
    """The Chromium or Chrome of this machine.

    Raises
    ------
    CompanionError
        If there is none on the path.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise CompanionError(f"no browser to print with; install Chromium or Chrome (looked for {BROWSERS})")
    return found


def reading_order() -> list[str]:
    """The pages of the book, ``index.html`` first, as ``_toc.yml`` has them."""

    def files(entry: dict[str, Any]) -> Iterator[str]:
        for key in ("root", "file"):
            if key in entry:
                yield f"{entry[key]}.html"
        for below in itertools.chain.from_iterable(
            entry.get(k, []) for k in ("parts", "chapters", "sections")
        ):
            yield from files(below)

    return list(files(yaml.safe_load((house.root() / "_toc.yml").read_text(encoding="utf-8"))))


def one_page(pages: dict[str, str], place: str) -> str:
    """All pages in one, with links between them turned into links within.

    Parameters
    ----------
    pages
        Name below the book's folder to HTML, in reading order.
    place
        Path of the book's folder as the result sees it.
    """
    from bs4 import BeautifulSoup

    soups = {name: BeautifulSoup(text, "html.parser") for name, text in pages.items()}
    styles, scripts, articles, contents = {}, {}, [], []
    for name, soup in soups.items():
        for link in soup.select('link[rel="stylesheet"]'):
            href = f"{place}/{_beside(name, link['href'])}"
            styles.setdefault(href, f'<link rel="stylesheet" href="{href}">')
        for script in soup.find_all("script"):
            if "mathjax" in (script.get("src") or "").lower():
                script["src"] = f"{place}/{_beside(name, script['src'])}"
                scripts.setdefault(script["src"], str(script))
            elif "MathJax" in (script.string or ""):
                scripts.setdefault(script.string, str(script))
        article = soup.select_one("article.bd-article")
        if article is None:
            raise CompanionError(f"{name} has no article; was it rendered by another theme?")
        title = article.find("h1")
        contents.append(f'<li><a href="#{_inner(name)}">{title.get_text().rstrip("#")}</a></li>')
        _prepare(article, name, pages, place)
        articles.append(str(article))
    title = soups["index.html"].title.get_text().split(" — ")[0]
    listed = f'<nav class="contents"><p><strong>Contents</strong></p><ol>{"".join(contents[1:])}</ol></nav>'
    return "\n".join(
        [
            '<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">',
            f"<title>{title}</title>",
            *styles.values(),
            f"<style>{STYLE}</style>",
            *scripts.values(),
            '</head><body><main class="bd-main"><div class="bd-content"><div class="bd-article-container">',
            articles[0].removesuffix("</article>") + listed + "</article>",
            *articles[1:],
            "</div></div></main></body></html>",
        ]
    )


def _prepare(article: Any, name: str, pages: dict[str, str], place: str) -> None:
    """Make an article fit to stand among the others: ids with its name in front, links, pictures, what is folded."""
    for code in article.select("details.hide"):
        code.decompose()
    for line in article.find_all("p"):
        if line.select_one("a.download") and line.get_text().strip().startswith("Download"):
            line.decompose()
    for folded in article.find_all("details"):
        if folded.decomposed:
            continue
        if len(folded.find_all("tr")) > LONG_TABLE:
            title = folded.select_one(".sd-summary-text") or folded.summary
            title.append(" (not printed: see the book or its CSV)")
            for rest in folded.summary.find_next_siblings():
                rest.decompose()
        folded["open"] = ""
    for link in article.find_all("a", href=True):
        address, fragment = urldefrag(link["href"])
        if urlsplit(address).scheme:
            continue
        page = _beside(name, address) if address else name
        if page in pages:
            link["href"] = f"#{_inner(page, unquote(fragment))}"
        else:
            link.unwrap()  # a file of the book's folder, which does not travel with the PDF
    for image in article.find_all("img", src=True):
        image["loading"] = "eager"
        if not urlsplit(image["src"]).scheme:
            image["src"] = f"{place}/{_beside(name, image['src'])}"
    for element in article.find_all(True):
        if element.get("id"):
            element["id"] = _inner(name, element["id"])
        for attribute in REFERS:
            if element.get(attribute):
                element[attribute] = " ".join(_inner(name, word) for word in element[attribute].split())
    article["id"] = _inner(name)


def _beside(name: str, reference: str) -> str:
    """A reference on page `name`, seen from the book's folder."""
    return normpath(str(PurePosixPath(name).parent / urlsplit(reference).path))


def _inner(name: str, fragment: str = "") -> str:
    """The id that a place on page `name` has among all pages."""
    page = name.removesuffix(".html").replace("/", "-")
    return quote(f"{page}--{fragment}" if fragment else page)


def printed(running: Browser, source: Path) -> bytes:
    """The PDF of a page that :func:`compose` wrote, by a browser that is running.

    Raises
    ------
    CompanionError
        If something would be cut at the paper's edge.
    """
    page = running.new_page(viewport={"width": _pixels(WIDTH - 2 * SIDE), "height": 900})
    page.emulate_media(media="print")
    page.goto(source.as_uri(), wait_until="load", timeout=120_000)
    page.evaluate("window.MathJax?.startup?.promise")
    page.evaluate("Promise.all([...document.images].map(i => i.decode().catch(() => null)))")
    page.evaluate(FIT)
    if cut := page.evaluate(CUT, _pixels(HEIGHT - TOP - BOTTOM)):
        raise CompanionError(f"does not fit on the paper: {'; '.join(cut)}")
    margin = {"top": f"{TOP}mm", "bottom": f"{BOTTOM}mm", "left": f"{SIDE}mm", "right": f"{SIDE}mm"}
    content = page.pdf(
        format="A4", margin=margin, scale=SCALE, outline=True, tagged=True, print_background=True,
        display_header_footer=True, header_template="<span></span>", footer_template=FOOT,
    )  # fmt: skip
    page.close()
    return content


def _pixels(millimetres: float) -> int:
    """Pixels of the page as the browser lays it out, before it is scaled onto the paper."""
    return int(millimetres / 25.4 * 96 / SCALE)
