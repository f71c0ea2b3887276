"""One browser and one server for all tests of the built book."""

import threading
from http.server import ThreadingHTTPServer

import pytest
from built import SERVED, Visit

from thesislib.companion import pdf
from thesislib.companion.house import CompanionError


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    try:
        path = pdf.browser()
    except CompanionError as error:
        pytest.skip(str(error))
    with playwright.sync_playwright() as engine:
        flags = ["--no-sandbox", "--disable-quic", "--disable-background-networking",
                 "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip
        running = engine.chromium.launch(executable_path=path, args=flags)
        yield running
        running.close()


@pytest.fixture(scope="session")
def address():
    """The book on a local server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), SERVED)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def visit(browser, address):
    """Opens a page for a reader of its own, with an empty cache: ``visit(name, theme="dark")``."""
    opened = []

    def open_(name, base=address, **options):
        opened.append(Visit(browser, base, name, **options))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def reader(browser, address):
    """One reader, so that what pages share is loaded once: ``reader(name)``."""
    seen = Visit(browser, address, "index.html")

    def open_(name):
        seen.page.close()
        seen.open(address, name)
        return seen

    yield open_
    seen.close()
