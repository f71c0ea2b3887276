"""The scoreboard and the front page as a reader uses them: with JavaScript, without, by keyboard, from disk."""

import csv
import json
import re

import pytest

from thesislib.companion import board, house

BOOK = house.root() / "_build" / "html"
PAGE = "book/scoreboard.html"
pytestmark = pytest.mark.skipif(not (BOOK / PAGE).is_file(), reason="no _build/html: make book first")
VISIBLE = "tbody[data-runs]:visible"


@pytest.fixture(scope="module")
def document():
    return json.loads((BOOK / "_static" / "scoreboard.json").read_text(encoding="utf-8"))


@pytest.fixture
def open_(browser, address):
    """A page for a reader of its own."""
    contexts = []

    def visit(name, base=address, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{base}/{name}")
        return page

    yield visit
    for context in contexts:
        context.close()


def labels(page):
    return [link.inner_text() for link in page.locator(f"{VISIBLE} th a").all()]


def wanted(document, **want):
    """What a filter should leave, worked out from the JSON."""
    kept = []
    for entry in document["artefacts"]:
        runs = [(r["state"], r["dataset"], {c["verdict"] for c in r["claims"]}) for r in entry["runs"]]
        runs = runs or [(entry["state"], [], set())]
        meets = [
            ("state" not in want or state == want["state"])
            and ("dataset" not in want or want["dataset"] in data)
            and ("verdict" not in want or want["verdict"] in verdicts)
            for state, data, verdicts in runs
        ]
        if any(meets) and all(str(entry[k]) == want.get(k, str(entry[k])) for k in ("chapter", "kind")):
            kept.append(house.artefact(entry["id"]).label)
    return kept


# ---- the files


def test_the_files_for_machines_are_those_of_the_command(document):
    # Written by the build from the same function as `thesis list --json`.
    assert document["format"] == board.FORMAT
    assert [e["id"] for e in document["artefacts"]] == [
        a.id for c in house.chapters().values() for a in c.artefacts
    ]
    assert (BOOK / "_static" / "scoreboard.csv").read_text(encoding="utf-8") == board.as_csv(document)
    text = (BOOK / PAGE).read_text(encoding="utf-8")
    for name in ("scoreboard.json", "scoreboard.csv"):
        assert f'href="../_static/{name}"' in text


def test_every_run_of_the_files_is_on_the_page(document):
    text = (BOOK / PAGE).read_text(encoding="utf-8")
    shown = [json.loads(facts.replace("&quot;", '"')) for facts in re.findall(r'data-runs="([^"]*)"', text)]
    said = [
        [[r["state"], r["dataset"], sorted({c["verdict"] for c in r["claims"]})] for r in e["runs"]]
        or [[e["state"], [], []]]
        for e in document["artefacts"]
    ]
    assert shown == said


def test_the_front_page_and_the_scoreboard_are_light():
    assert (BOOK / PAGE).stat().st_size < 400_000
    assert (BOOK / "index.html").stat().st_size < 100_000
    strip = [p for p in (BOOK / "_images").iterdir() if p.name.startswith("cover-")]
    assert len(strip) == 5
    assert sum(p.stat().st_size for p in strip) < 300_000


# ---- filters


@pytest.mark.parametrize(
    "want",
    [
        {"chapter": "3"},
        {"kind": "Table", "verdict": "does not hold"},
        {"dataset": "mnist", "verdict": "holds"},
        {"state": "stand-in", "dataset": "mnist"},
    ],
    ids=str,
)
def test_filters_show_what_was_asked_for(open_, document, want):
    page = open_(PAGE)
    for key, value in want.items():
        page.get_by_label({"dataset": "Data set"}.get(key, key.capitalize())).select_option(value)
    left = wanted(document, **want)
    assert labels(page) == left
    total = len(document["artefacts"])
    assert page.get_by_role("status").inner_text() == f"{len(left)} of {total} artefacts"
    # A chapter with nothing to show is gone with its heading.
    assert (
        page.locator("h2:visible").count() == len({house.chapter(x.split()[1][0]).number for x in left}) + 1
    )
    # The address says it all: who gets it sees the same.
    again = open_(page.url.split("/", 3)[3])
    assert labels(again) == left
    again.get_by_role("button", name="Show all").click()
    again.wait_for_url(lambda url: "?" not in url)
    assert len(labels(again)) == total


def test_the_number_of_rows_is_announced_politely(open_):
    status = open_(PAGE).get_by_role("status")
    assert status.count() == 1  # role status is aria-live polite
    assert re.fullmatch(r"(\d+) of \1 artefacts", status.inner_text())


def test_a_word_that_this_copy_does_not_have_filters_nothing(open_, document):
    assert len(labels(open_(f"{PAGE}?verdict=perhaps&colour=red"))) == len(document["artefacts"])


def test_the_keyboard_is_enough(open_):
    page = open_(PAGE)
    page.get_by_label("Chapter").focus()
    page.keyboard.press("ArrowDown")  # to the first chapter that has artefacts
    assert {label.split()[1][0] for label in labels(page)} == {"2"}
    for _ in range(4):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "dataset"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.type") == "reset"
    page.wait_for_function("document.querySelectorAll('tbody[data-runs][hidden]').length == 0")
    page.locator(f"{VISIBLE} summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(f"{VISIBLE} details[open]").count() == 1


def test_filters_work_from_disk(open_, document):
    page = open_(f"{PAGE}?chapter=6", base=BOOK.as_uri())
    assert labels(page) == wanted(document, chapter="6")
    page.get_by_label("Kind").select_option("Extra")
    assert labels(page) == wanted(document, chapter="6", kind="Extra")


# ---- without JavaScript


def test_without_javascript_it_is_a_table_whose_rows_open(open_, document):
    page = open_(f"{PAGE}?chapter=3", java_script_enabled=False)
    assert page.locator("form.filters").count() == 0
    assert labels(page) == [house.artefact(e["id"]).label for e in document["artefacts"]]
    entry = next(e for e in document["artefacts"] if e["id"] == "tab-3.2")
    row = page.locator("tbody[data-runs]", has=page.get_by_role("link", name="Table 3.2", exact=True).first)
    command = row.get_by_text(entry["runs"][0]["command"], exact=True)
    assert not command.is_visible()
    row.locator("summary").click()
    assert command.is_visible()
    text = " ".join(row.inner_text().split())
    for claim in entry["runs"][0]["claims"]:
        assert claim["sentence"].rstrip(".") in text
        assert f"{claim['verdict']} on {', '.join(entry['runs'][0]['dataset'])}" in text


def test_on_a_phone_cells_say_whose_verdict_they_hold_and_a_table_within_stays_one(open_, document):
    entry = next(
        e for e in document["artefacts"] if any(p["reported"] for r in e["runs"] for p in r["repeated"])
    )
    page = open_(PAGE, viewport={"width": 390, "height": 900})
    row = page.locator(
        VISIBLE, has=page.get_by_role("link", name=house.artefact(entry["id"]).label, exact=True).first
    )
    row.locator("summary").click()

    def says(cell):
        return cell.evaluate("cell => getComputedStyle(cell, '::before').content")

    assert says(row.locator("> tr > td").nth(1)) == '"This copy: "'
    pairs = row.locator(".pairs tr").nth(1).locator("td")
    assert {says(cell) for cell in pairs.all()} == {"none"}
    assert len({round(cell.bounding_box()["y"]) for cell in pairs.all()}) == 1


# ---- what a stranger finds from the front page


def test_a_stranger_finds_chapter_3_from_the_front_page(open_, document):
    """What it claims, whether it held here, on which data, and the command: at once, and in full one click away."""
    page = open_("index.html")
    entry = next(e for e in document["artefacts"] if e["id"] == "tab-3.2")
    run = entry["runs"][0]
    claim = next(c for c in run["claims"] if c["source"] == "abstract")
    line = page.locator("table.minute tr", has_text="3. ")
    text = " ".join(line.inner_text().split())
    assert claim["sentence"] in text and f"{claim['verdict']} on {', '.join(run['dataset'])}" in text
    assert run["command"] in text
    line.get_by_role("link", name=re.compile("claims of chapter 3")).click()
    page.wait_for_selector("form.filters")
    assert labels(page) == wanted(document, chapter="3")
    row = page.locator(VISIBLE, has=page.get_by_role("link", name="Table 3.2", exact=True).first)
    row.locator("summary").click()
    assert row.get_by_text(run["command"], exact=True).is_visible()


def test_each_picture_leads_to_the_artefact_it_was_drawn_from(open_):
    page = open_("index.html")
    cards = page.locator(".cover .sd-card")
    assert cards.count() == 5
    for i, chapter in enumerate((2, 3, 4, 5, 6)):
        card = cards.nth(i)
        address = card.locator("a").first.get_attribute("href")
        assert address.startswith(f"notebooks/{house.chapter(str(chapter)).slug}.html#")
        assert len(card.locator("img").get_attribute("alt").split()) > 8
        assert card.locator("img").evaluate("image => image.complete && image.naturalWidth > 0")


def test_the_totals_lead_to_their_rows(open_, document):
    page = open_("index.html")
    links = page.locator("table.totals a").all()
    assert links
    for link in links:
        state = link.inner_text()
        left = wanted(document, state=state)
        assert labels(open_(link.get_attribute("href"))) == left and left


def test_the_csv_opens_with_a_spreadsheets_reader():
    with (BOOK / "_static" / "scoreboard.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == list(board.COLUMNS) and {len(line) for line in lines} == {len(board.COLUMNS)}
