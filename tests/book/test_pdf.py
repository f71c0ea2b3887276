"""The PDF of the book: whole, in order, and nothing cut at the paper's edge."""

import html
import re

import pytest
from built import BOOK, ROOT, needs_book

from thesislib.companion import house, pdf
from thesislib.companion.house import CompanionError

SIDE, FOOT = pdf.SIDE - 2, pdf.BOTTOM  # millimetres: letters may reach a little out of their boxes


@pytest.fixture
def printed(tmp_path, browser, monkeypatch):
    """The built book, printed into a folder of its own."""
    pdfium = pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed")
    (tmp_path / "data").mkdir()
    for name in ("_toc.yml", "data/artefacts.yml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "_build").mkdir()
    (tmp_path / "_build" / "html").symlink_to(BOOK)
    monkeypatch.setenv("THESISLIB_ROOT", str(tmp_path))
    document = pdfium.PdfDocument(pdf.printed(browser, pdf.compose()))
    yield document
    document.close()


def squeezed(text):
    return re.sub(r"\W", "", text)


def titles():
    for name in pdf.reading_order():
        article = (BOOK / name).read_text(encoding="utf-8").partition("<article")[2]
        found = re.search(r"<h1>(.*?)<a ", article, re.S)
        yield squeezed(html.unescape(re.sub(r"<[^>]*>", "", found[1])))


def not_white(page):
    """Where ink lies outside the text: beside it, or between it and the foot."""
    scale = 0.75  # 54 dots an inch
    dots = scale * 72 / 25.4
    ink = page.render(scale=scale, grayscale=True).to_numpy() < 200
    side, below = int(SIDE * dots), ink.shape[0] - int(FOOT * dots)
    places = {
        "left of the text": ink[:below, :side],
        "right of the text": ink[:below, -side:],
        "below the text": ink[below : below + int(3 * dots), side:-side],
    }
    return [place for place, part in places.items() if part.any()] or ([] if ink[:below].any() else ["empty"])


def addresses(document, page):
    """What the links of a sheet that leave the document lead to."""
    import pypdfium2.raw as raw

    position, link = raw.c_int(0), raw.FPDF_LINK()
    while raw.FPDFLink_Enumerate(page, position, link):
        action = raw.FPDFLink_GetAction(link)
        if length := raw.FPDFAction_GetURIPath(document, action, None, 0) if action else 0:
            buffer = raw.ctypes.create_string_buffer(length)
            raw.FPDFAction_GetURIPath(document, action, buffer, length)
            yield buffer.value.decode()


@needs_book
def test_the_printed_book(printed):
    """In order, whole, and sheet by sheet nothing cut; links lead within, or to the web."""
    sheets = [squeezed(page.get_textpage().get_text_bounded()) for page in printed]
    marks = [(squeezed(m.get_title()), m.get_dest().get_index()) for m in printed.get_toc() if m.level == 0]
    assert [title for title, _ in marks] == list(titles())
    assert not [title for title, sheet in marks if title not in sheets[sheet]]

    text = "".join(sheets)
    artefacts = [a for chapter in house.chapters().values() for a in chapter.artefacts]
    assert not [a.id for a in artefacts if squeezed(f"{a.label}. {a.title}") not in text]

    assert not {n: places for n, page in enumerate(printed, 1) if (places := not_white(page))}

    leave = {address for page in printed for address in addresses(printed, page)}
    assert leave
    assert not [a for a in leave if not a.startswith(("https://", "http://")) or "127.0.0.1" in a]


PAGE = """<html><head><title>T — B</title></head><body>
<article class="bd-article"><h1>{name}<a class="headerlink">#</a></h1>{body}</article></body></html>"""


def test_links_between_pages_become_links_within():
    pages = {
        "index.html": PAGE.format(
            name="One",
            body='<a href="book/b.html#x">b</a><a href="book/b.html">c</a><a href="x.csv">d</a>'
            '<a href="https://example.org/b.html#x">e</a><p>Download: <a class="download" href="y">y</a></p>'
            '<img src="_images/i.svg"><details class="hide"><summary>s</summary>code</details>',
        ),
        "book/b.html": PAGE.format(
            name="Two",
            body='<p id="x">there</p><a href="#x">up</a><a href="../index.html">home</a><img src="../_images/j.svg">'
            "<details><summary>Rows</summary><table>" + "<tr><td>row</td></tr>" * 41 + "</table></details>"
            "<details><summary>Few</summary><p>kept</p></details>",
        ),
    }
    text = pdf.one_page(pages, "../html")
    assert re.findall(r'href="([^"]*)"', text.partition('<article')[2]) == [
        "#book-b--x", "#book-b", "https://example.org/b.html#x", "#book-b", "#book-b--x", "#index",
    ]  # fmt: skip
    assert re.findall(r'src="([^"]*)"', text) == ["../html/_images/i.svg", "../html/_images/j.svg"]
    assert set(re.findall(r' id="([^"]*)"', text)) == {"index", "book-b", "book-b--x"}
    assert "code" not in text and "Download" not in text
    assert "not printed" in text and "row</td>" not in text
    assert re.search(r'<details open="">\s*<summary>Few</summary><p>kept</p>', text)


@pytest.mark.parametrize(
    "body",
    ['<pre style="white-space: pre">' + "x" * 300 + "</pre>", '<img style="height: 40cm; width: 2cm">',
     '<table style="width: 40cm"><tr><td>wide</td></tr></table>'],
    ids=["code", "picture", "table"],
)  # fmt: skip
def test_what_would_be_cut_is_refused(tmp_path, browser, body):
    source = tmp_path / "book.html"
    article = PAGE.format(name="One", body=body)
    source.write_text(pdf.one_page({"index.html": article}, "../html"))
    with pytest.raises(CompanionError, match=r"does not fit on the paper: index: <\w+> \d+ x \d+"):
        pdf.printed(browser, source)


def test_without_a_browser_or_a_book_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    with pytest.raises(CompanionError, match="install Chromium or Chrome"):
        pdf.browser()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "artefacts.yml").write_text("chapters: []")
    monkeypatch.setenv("THESISLIB_ROOT", str(tmp_path))
    with pytest.raises(CompanionError, match="`thesis book` renders it"):
        pdf.compose()
