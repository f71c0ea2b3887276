"""Each page of the built book, opened in a real browser: desktop and phone, light and dark, with and without scripts."""

import re

import pytest
from built import BOOK, CHAPTER_6, PAGES, WRITTEN, needs_book

from thesislib.companion import blocks, house

pytestmark = needs_book

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}

# What axe finds serious or critical and we do not mend: page ("" for any), rule, elements, and why. A finding that is not
# listed fails the page's test; so does a listed one that is no longer found although its elements are there.
ACCEPTED = [
    (
        "book/bibliography.html",
        "aria-required-children",
        ".citation-list",
        "Sphinx's own markup: a list whose entries have the role of bibliography entries; readers announce them",
    ),
    (
        "",
        "summary-name",
        ".bd-sidebar-primary li.has-children > details > summary",
        "the theme's arrows in the list of pages have no name; the link beside each leads to the same pages",
    ),
]


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


def raw_text(page):
    """What is shown as its source: LaTeX that was not typeset, MyST that was not read."""
    found = page.evaluate(MATH)
    leftovers = re.findall(
        r"\\[()\[\]]|\\(?:begin|frac|theta)\b|\$\S[^$]*\S\$|:::|\*\*\w[^*\n]{0,60}\*\*|\{[a-z:]+\}`|\]\{\.[a-z]",
        found["text"],
    )
    return leftovers + [f"{n} formulas {what}" for what in ("bare", "wrong") if (n := found[what])]


def resize(page, size):
    """Another window, and the page at rest in it: the theme makes what scrolls reachable by keyboard after 300 ms."""
    page.set_viewport_size(size)
    page.wait_for_timeout(400)


def too_wide(page):
    width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    return width if width[0] > width[1] else []


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


def axe(page, rules):
    """Serious and critical findings of axe-core, as rule and place."""
    engine = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    found = engine.run(page, options={"resultTypes": ["violations"], "preload": False} | rules).response[
        "violations"
    ]
    return {
        (one["id"], " ".join(map(str, node["target"])))
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    }


def low_contrast(page, theme, selector="body"):
    page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
    found = page.evaluate(CONTRAST, selector)
    assert found["count"] > 0
    return found["low"]


MATCHES = "([place, elements]) => document.querySelector(place)?.matches(elements) ?? false"
# Contrast is looked at with our own function: axe's rule needs minutes for a long page, and passes over what is folded.
NO_CONTRAST = {"rules": {"color-contrast": {"enabled": False}}}


@pytest.mark.parametrize("name", PAGES)
def test_page(reader, name):
    """One visit, and all that is asked of every page."""
    seen = reader(name)
    page = seen.page
    found = {"shown as source": raw_text(page), "light": low_contrast(page, "light")}
    found["dark"] = low_contrast(page, "dark")
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = false })")
    places = axe(page, NO_CONTRAST)
    found["wider than a screen"] = too_wide(page)
    resize(page, PHONE)
    found["wider than a phone"] = too_wide(page)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    resize(page, PHONE)
    found["wider than a phone, unfolded"] = too_wide(page)
    places |= axe(page, NO_CONTRAST)
    for rule, elements in [(rule, css) for where, rule, css, _ in ACCEPTED if where in ("", name)]:
        listed = {one for one in places if one[0] == rule and page.evaluate(MATCHES, [one[1], elements])}
        if not listed and page.locator(elements).count():
            found[f"accepted, but no longer found: {rule}"] = [elements]
        places -= listed
    found["axe"] = sorted(places)
    resize(page, DESKTOP)
    found["wider than a screen, unfolded"] = too_wide(page)
    found |= seen.complaints()
    assert not {what: details for what, details in found.items() if details}


def test_accepted_findings_are_on_pages_that_exist():
    assert {where for where, *_ in ACCEPTED if where} <= set(PAGES)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_agrees_about_contrast(visit, theme):
    """An independent check of our own function, where axe is quick enough."""
    page = visit("index.html", theme=theme).page
    assert not axe(page, {"runOnly": ["color-contrast"]})
    page.add_style_tag(content="article p { color: #888 !important; background: #777 !important }")
    assert axe(page, {"runOnly": ["color-contrast"]}) and low_contrast(page, theme)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_verdicts_are_readable_and_do_not_rest_on_colour(visit, theme):
    """All five words, those that no run happens to show included."""
    page = visit("book/scoreboard.html", theme=theme).page
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    words = [blocks.verdict(w) for w in house.VERDICTS] + [blocks.state(w) for w in house.STATES]
    spans = [re.fullmatch(r"\[(.*)\]\{\.(\w+) \.([\w-]+)\}", w).groups() for w in words]
    markup = "".join(f'<p><span class="{kind} {name}">{word}</span></p>' for word, kind, name in spans)
    page.evaluate(
        "m => document.querySelector('article').insertAdjacentHTML('beforeend', `<div id=probe>${m}</div>`)",
        markup,
    )
    found = page.evaluate(CONTRAST, "#probe")
    assert found["count"] == len(words) == 10
    assert not found["low"]
    assert not low_contrast(page, theme, ".verdict, .state")


@pytest.mark.parametrize("name", ["index.html", "book/scoreboard.html", CHAPTER_6])
def test_the_book_opens_from_disk(visit, name):
    seen = visit(name, BOOK.as_uri())
    page = seen.page
    assert not seen.complaints()
    assert not raw_text(page)
    assert page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length") == 0
    # The style sheets arrived: the article is no wider than the theme makes it.
    assert page.evaluate("getComputedStyle(document.querySelector('.bd-article')).paddingTop") != "0px"


@pytest.mark.parametrize("served", [True, False], ids=["served", "from disk"])
def test_search_finds_the_chapter(visit, address, served):
    seen = visit("search.html?q=SPI-MM", address if served else BOOK.as_uri())
    seen.page.wait_for_selector(f'#search-results a[href*="{CHAPTER_6}"]', timeout=10_000)
    titles = seen.page.locator("#search-results li > a").all_inner_texts()
    assert any("SPI-MM" in title for title in titles)
    if served:  # browsers refuse fetch() of file: addresses, so from disk results come without excerpts
        assert not seen.complaints()


NO_SCRIPT = """() => {
  const article = document.querySelector('article');
  document.querySelectorAll('img').forEach(i => { i.loading = 'eager' });
  return Promise.all([...article.querySelectorAll('img')].map(i => i.decode().catch(() => null))).then(() => ({
    words: article.innerText.split(/\\s+/).length,
    images: [...article.querySelectorAll('img')]
      .filter(i => i.checkVisibility() && (!i.naturalWidth || i.clientWidth < 100 || i.clientHeight < 50)).map(i => i.src),
    tables: [...article.querySelectorAll('table')].filter(t => t.textContent.trim().split(/\\s+/).length < 5).length,
  }));
}"""


def test_without_javascript(visit, address):
    """Text, figures and tables are there, and what is folded opens."""
    seen = visit("index.html", java_script_enabled=False)
    page, folded, wrong = seen.page, 0, {}
    for name in WRITTEN:
        page.goto(f"{address}/{name}")
        found = page.evaluate(NO_SCRIPT)
        if found["words"] < 50 or found["images"] or found["tables"]:
            wrong[name] = found
        summaries = page.locator("article details > summary")
        if summaries.count():
            folded += 1
            summaries.first.click()
            if not summaries.first.locator("xpath=following-sibling::*[1]").is_visible():
                wrong[name] = "what is folded does not open"
    assert folded >= 5
    assert not wrong
    assert not seen.outside


def test_with_little_motion(visit):
    """Who asks for little motion sees the same page, and nothing that moves by itself."""
    seen = visit(CHAPTER_6, reduced_motion="reduce")
    assert not seen.complaints()
    running = (
        "document.getAnimations().filter(a => a.effect.getComputedTiming().iterations === Infinity).length"
    )
    assert seen.page.evaluate(running) == 0


def test_a_reader_switches_the_theme(visit):
    page = visit("index.html").page
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(3):  # the button goes round light, dark and what the system says
        page.locator("button.theme-switch-button:visible").first.click()
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
