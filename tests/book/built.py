"""The built book as its tests see it: its pages, and a reader who opens them."""

import functools
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "_build" / "html"
needs_book = pytest.mark.skipif(not (BOOK / "index.html").is_file(), reason="no _build/html: make book first")
PAGES = sorted(p.relative_to(BOOK).as_posix() for p in BOOK.rglob("*.html") if "_static" not in p.parts)
PAGES = PAGES or ["index.html"]
# The others are the theme's own: search, indices.
WRITTEN = [p for p in PAGES if "/" in p or p == "index.html"]
CHAPTER_6 = "notebooks/ch6_spi_mm.html"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


SERVED = functools.partial(Quiet, directory=str(BOOK))


class Visit:
    """A page as one reader opened it, and what went wrong meanwhile."""

    def __init__(self, browser, base, name, theme="light", **options):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
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

    def complaints(self):
        """What the browser asked for elsewhere, could not have, or complained of."""
        return {k: v for k in ("outside", "failed", "errors") if (v := getattr(self, k))}

    def close(self):
        self.context.close()
