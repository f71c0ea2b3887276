"""The built book: its files read one by one, and its pages opened in a real browser."""

import functools
import html
import re
import shutil
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from thesislib.companion import blocks, house

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "_build" / "html"
CHAPTER_6 = "notebooks/ch6_spi_mm.html"
pytestmark = pytest.mark.skipif(not (BOOK / "index.html").is_file(), reason="no _build/html: make book first")

PAGES = sorted(p.relative_to(BOOK).as_posix() for p in BOOK.rglob("*.html") if "_static" not in p.parts)
PAGES = PAGES or ["index.html"]
WRITTEN = [
    p for p in PAGES if "/" in p or p == "index.html"
]  # the others are the theme's own: search, indices
TEXT = {".html", ".js", ".json", ".ipynb", ".csv", ".svg", ".md", ".txt", ".css", ".xml", ""}


# ---- the files


class Parsed(HTMLParser):
    """Anchors, references, images, language and title headings of a page."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.references, self.images, self.lang = set(), [], [], ""
        self.feed(text)
        # The theme has a second title outside the article, for print only.
        self.headings = len(re.findall(r"<h1[ >]", text.partition("<article")[2].partition("</article")[0]))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[a] for a in ("id", "name") if given.get(a)}
        self.references += [given[a] for a in ("href", "src", "data") if given.get(a) and tag != "base"]
        if tag == "img":
            self.images.append(given)
        if tag == "html":
            self.lang = given.get("lang", "")


@functools.cache
def parsed(name):
    return Parsed((BOOK / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PAGES)
def test_links_and_anchors_resolve(name):
    broken = []
    for reference in parsed(name).references:
        address, fragment = urldefrag(reference)
        if urlsplit(address).scheme or address.startswith("//"):
            continue
        path = (BOOK / name).parent / unquote(urlsplit(address).path) if address else BOOK / name
        if not path.resolve().is_file():
            broken.append(reference)
        elif fragment and path.suffix == ".html":
            target = path.resolve().relative_to(BOOK).as_posix()
            if unquote(fragment) not in parsed(target).anchors:
                broken.append(reference)
    assert not broken


@pytest.mark.parametrize("name", PAGES)
def test_only_links_lead_out(name):
    """What a page loads lies in the book; only what a reader clicks may lie elsewhere."""
    text = (BOOK / name).read_text(encoding="utf-8")
    loads = re.findall(r"<(?:script|img|iframe|source|video|object)\b[^>]*\b(?:src|data)=\"([^\"]*)\"", text)
    loads += re.findall(r"<link\b(?![^>]*rel=\"(?:canonical|author)\")[^>]*\bhref=\"([^\"]*)\"", text)
    assert not [x for x in loads if urlsplit(x).scheme in ("http", "https") or x.startswith("//")]


@pytest.mark.parametrize("name", WRITTEN)
def test_images_say_what_they_show(name):
    for image in parsed(name).images:
        alt = (image.get("alt") or "").strip()
        assert len(alt.split()) >= 4, image
        assert not re.search(r"\.(svg|png|jpe?g|gif)\b", alt), image


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_has_a_language_and_one_title(name):
    assert parsed(name).lang == "en"
    assert parsed(name).headings == 1


def test_images_are_small():
    images = [p for p in (BOOK / "_images").iterdir() if p.is_file()]
    images += [p for p in (BOOK / "_downloads").rglob("*") if p.suffix in (".svg", ".png")]
    assert images
    assert not {p.name: p.stat().st_size for p in images if p.stat().st_size > 300_000}


def test_nothing_names_the_machine_that_built_it():
    places = [f"{ROOT}/", f'{ROOT}"', f"{Path.home()}/"]
    found = []
    for path in BOOK.rglob("*"):
        if path.is_file() and path.suffix in TEXT and "mathjax" not in path.parts:
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{path.relative_to(BOOK)}: {place}" for place in places if place in text]
    assert not found


ARTEFACTS = [a for c in house.chapters().values() for a in c.artefacts]


@functools.cache
def scoreboard():
    """Link text to address, in the order of the page."""
    text = (BOOK / "book" / "scoreboard.html").read_text(encoding="utf-8")
    links = re.findall(r'<a [^>]*href="([^"#]*#[^"]*)"[^>]*>(.*?)</a>', text, re.S)
    return [(html.unescape(re.sub(r"<[^>]*>", "", label)).strip(), address) for address, label in links]


def test_there_are_62():
    assert len([a for a in ARTEFACTS if a.kind != "Extra"]) == 62


@pytest.mark.parametrize("artefact", ARTEFACTS, ids=lambda a: a.id)
def test_the_scoreboard_leads_to_each_artefact(artefact):
    """Its link says the thesis's number, and where it leads the same number is printed."""
    addresses = {address for label, address in scoreboard() if label == artefact.label}
    assert len(addresses) == 1, f"{artefact.label} on the scoreboard: {addresses}"
    page, anchor = addresses.pop().split("#")
    slug = house.chapter(f"ch{artefact.chapter}").slug
    assert (page, anchor) == (f"../notebooks/{slug}.html", blocks.target(artefact.id))
    text = (BOOK / "notebooks" / f"{slug}.html").read_text(encoding="utf-8")
    below = text.split(f'id="{anchor}"', 1)[1].split(">", 1)[1]
    printed = re.search(
        r"(Figure|Table|Extra) (\d+\.\w+)", html.unescape(re.sub(r"<[^>]*>", " ", below[:20_000]))
    )
    assert printed and printed[0] == artefact.label


# ---- in the browser


@pytest.fixture(scope="module")
def browser():
    found = [
        shutil.which(n) for n in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    ]
    path = next(filter(None, found), None)
    if path is None:
        pytest.skip("no Chromium or Chrome is installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as engine:
        flags = ["--no-sandbox", "--disable-quic", "--disable-background-networking",
                 "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip
        running = engine.chromium.launch(executable_path=path, args=flags)
        yield running
        running.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    """The book on a local server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(BOOK)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Visit:
    """A page as one reader opened it, and what went wrong meanwhile."""

    def __init__(self, browser, base, name, theme="light", **options):
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        for key in ("mode", "theme"):
            self.context.add_init_script(f"try {{ localStorage.setItem('{key}', '{theme}') }} catch (e) {{}}")
        self.open(base, name)

    def open(self, base, name):
        self.outside, self.errors, self.failed = [], [], []
        page = self.page = self.context.new_page()
        page.on(
            "request",
            lambda r: None if r.url.startswith((base, "data:", "blob:")) else self.outside.append(r.url),
        )
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("requestfailed", lambda r: self.failed.append(r.url))
        page.on("response", lambda r: self.failed.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.goto(f"{base}/{name}", wait_until="load")
        page.evaluate("window.MathJax?.startup?.promise")  # math is typeset once this resolves

    def close(self):
        self.context.close()


@pytest.fixture(scope="module")
def reader(browser, address):
    """One reader, so that what pages share is loaded once."""
    seen = Visit(browser, address, "index.html")
    seen.page.close()
    yield seen
    seen.close()


@pytest.fixture(scope="module", params=PAGES)
def opened(request, reader, address):
    reader.open(address, request.param)
    yield reader
    reader.page.close()


def check_quiet(seen):
    assert (seen.outside, seen.failed, seen.errors) == ([], [], [])


MATH = """() => {
  const raw = [], article = document.querySelector('article') ?? document.body;
  const walk = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const inside = walk.currentNode.parentElement;
    if (!inside.closest('code, pre, .sig, script, style, mjx-container')) raw.push(walk.currentNode.data);
  }
  return {
    text: raw.join(' '),
    bare: [...document.querySelectorAll('.math')].filter(m => !m.querySelector('mjx-container')).length,
    wrong: document.querySelectorAll('mjx-merror, [data-mjx-error]').length,
  };
}"""


def check_text(seen):
    """Nothing is shown as its source: no LaTeX, no MyST."""
    found = seen.page.evaluate(MATH)
    assert (found["bare"], found["wrong"]) == (0, 0)
    leftovers = re.findall(
        r"\\[()\[\]]|\\(?:begin|frac|theta)\b|\$\S[^$]*\S\$|:::|\*\*\w[^*\n]{0,60}\*\*|\{[a-z:]+\}`|\]\{\.[a-z]",
        found["text"],
    )
    assert not leftovers


def overflow(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    return page.evaluate(
        """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
             done(document.documentElement.scrollWidth))))"""
    )


# Contrast as WCAG 2 defines it, for every piece of text as it is laid out. Large type may have 3 in place of 4.5.
CONTRAST = """selector => {
  // Marks, not text: the theme draws them pale, and nothing is lost with them.
  const SKIPPED = 'script, style, noscript, svg, mjx-container, .headerlink, .search-button__kbd-shortcut';
  const pixel = document.createElement('canvas').getContext('2d', {willReadFrequently: true}), known = {};
  const rgba = colour => known[colour] ??= (() => {
    pixel.clearRect(0, 0, 1, 1); pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  })();
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const ground = e => e ? over(rgba(getComputedStyle(e).backgroundColor), ground(e.parentElement)) : [255, 255, 255];
  const luminance = c => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => {
    const x = c[i] / 255; return sum + w * (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4); }, 0);
  const still = document.createElement('style');  // or colours are read halfway between two themes
  still.textContent = '*, *::before, *::after { transition: none !important; animation: none !important }';
  document.head.append(still);
  const low = {}; let count = 0;
  document.querySelectorAll('details').forEach(d => { d.open = true });
  for (const root of document.querySelectorAll(selector)) {
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
      const e = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
      if (!text || e.closest(SKIPPED)) continue;
      if (!e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}) || !e.getClientRects().length) continue;
      const style = getComputedStyle(e), below = ground(e), size = parseFloat(style.fontSize);
      const pair = [over(rgba(style.color), below), below].map(luminance).sort((a, b) => b - a);
      const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
      const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      count++;
      if (ratio < (large ? 3 : 4.5)) {
        const key = `${e.tagName}.${e.className} ${style.color} on rgb(${below.map(Math.round)}) ${ratio.toFixed(2)}`;
        low[key] ??= text.slice(0, 40);
      }
    }
  }
  return {low, count};
}"""


def check_contrast(seen, selector="body"):
    found = seen.page.evaluate(CONTRAST, selector)
    assert found["count"] > 0 and not found["low"]


def test_page_loads_without_a_complaint(opened):
    check_quiet(opened)


def test_page_shows_no_source(opened):
    check_text(opened)


def test_page_fits_a_screen_and_a_phone(opened):
    page = opened.page
    assert overflow(page, 390) <= 390
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert overflow(page, 390) <= 390
    assert overflow(page, 1280) <= 1280


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_is_readable(opened, theme):
    opened.page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
    check_contrast(opened)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_verdicts_are_readable_and_do_not_rest_on_colour(browser, address, theme):
    """All five words, those that no run happens to show included."""
    seen = Visit(browser, address, "book/scoreboard.html", theme)
    assert seen.page.evaluate("document.documentElement.dataset.theme") == theme
    words = [blocks.verdict(w) for w in house.VERDICTS] + [blocks.state(w) for w in house.STATES]
    spans = [re.fullmatch(r"\[(.*)\]\{\.(\w+) \.([\w-]+)\}", w).groups() for w in words]
    markup = "".join(f'<p><span class="{kind} {name}">{word}</span></p>' for word, kind, name in spans)
    seen.page.evaluate(
        "m => document.querySelector('article').insertAdjacentHTML('beforeend', `<div id=probe>${m}</div>`)",
        markup,
    )
    found = seen.page.evaluate(CONTRAST, "#probe")
    assert found["count"] == len(words) == 9
    assert not found["low"]
    check_contrast(seen, ".verdict, .state")
    seen.close()


FROM_DISK = ["index.html", "book/scoreboard.html", CHAPTER_6]


@pytest.mark.parametrize("name", FROM_DISK)
def test_the_book_opens_from_disk(browser, name):
    seen = Visit(browser, BOOK.as_uri(), name)
    check_quiet(seen)
    check_text(seen)
    assert seen.page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length") == 0
    # The style sheets arrived: the article is no wider than the theme makes it.
    assert seen.page.evaluate("getComputedStyle(document.querySelector('.bd-article')).paddingTop") != "0px"
    seen.close()


@pytest.mark.parametrize("served", [True, False], ids=["served", "from disk"])
def test_search_finds_the_chapter(browser, address, served):
    seen = Visit(browser, address if served else BOOK.as_uri(), "search.html?q=SPI-MM")
    seen.page.wait_for_selector(f'#search-results a[href*="{CHAPTER_6}"]', timeout=10_000)
    titles = seen.page.locator("#search-results li > a").all_inner_texts()
    assert any("SPI-MM" in title for title in titles)
    if served:  # browsers refuse fetch() of file: addresses, so from disk results come without excerpts
        check_quiet(seen)
    seen.close()


def test_without_javascript(browser, address):
    """Text, figures and tables are there, and what is folded opens."""
    seen = Visit(browser, address, CHAPTER_6, java_script_enabled=False)
    page = seen.page
    article = page.locator("article").first
    assert "surrogate" in article.inner_text()
    figures = article.locator("img")
    assert figures.count() >= 3
    for i in range(figures.count()):
        figures.nth(i).scroll_into_view_if_needed()
        box = figures.nth(i).bounding_box()
        assert box["width"] > 200 and box["height"] > 50
    folded = article.locator("details:has(> summary)")
    assert folded.count() > 0
    for i in range(folded.count()):
        one = folded.nth(i)
        assert one.get_attribute("open") is None
        one.locator("> summary").click()
        assert one.get_attribute("open") is not None
        body = one.locator("> :not(summary)").first
        assert body.bounding_box()["height"] > 0
    tables = article.locator("table")
    assert tables.count() > 0
    for i in range(tables.count()):
        assert len(tables.nth(i).inner_text().split()) > 4
    assert not seen.outside
    seen.close()


def test_a_reader_switches_the_theme(browser, address):
    seen = Visit(browser, address, "index.html")
    page = seen.page
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(3):  # the button goes round light, dark and what the system says
        page.locator("button.theme-switch-button:visible").first.click()
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    check_contrast(seen)
    seen.close()
