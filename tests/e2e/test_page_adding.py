"""Adding pictures on the page: a folder, its progress, and what became of each picture; and keys."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.conftest import RunningServer, start_server
from tests.e2e.pages import as_file, drop, find, keep, watched_page
from tests.unit.server.drawing import jpeg

pytestmark = pytest.mark.browser

READ, WRITE = "r" * 24, "w" * 24


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that wants keys, with one picture."""
    running = start_server(tmp_path_factory.mktemp("guarded"), VERNIER_API_KEYS=f"read:{READ},write:{WRITE}")
    stored = httpx.put(
        f"{running.url}/galleries/default/items/red",
        files={"image": ("a.jpg", jpeg("red"))},
        headers={"Authorization": f"Bearer {WRITE}"},
    )
    assert stored.status_code == 201
    yield running
    running.stop()


@pytest.fixture
def mine(filled: RunningServer) -> Iterator[str]:
    """An empty gallery of its own; the address of its page."""
    assert httpx.post(f"{filled.url}/galleries", json={"name": "mine"}).status_code == 201
    yield f"{filled.url}/?gallery=mine"
    assert httpx.delete(f"{filled.url}/galleries/mine").status_code == 204


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty pictures in two folders, one that is broken, and a file that is none."""
    holiday = tmp_path / "holiday"
    (holiday / "deep").mkdir(parents=True)
    for number in range(19):
        where = holiday / "deep" if number % 2 else holiday
        (where / f"{number:02}.jpg").write_bytes(jpeg(("red", "green", "blue")[number % 3]))
    (holiday / "broken.jpg").write_bytes(jpeg()[:700])
    (holiday / "notes.txt").write_text("no picture")
    return holiday


def test_a_dropped_folder_is_added_with_progress_and_an_outcome_for_each(page: Page, mine: str, folder: Path) -> None:
    page.goto(mine)
    expect(page.get_by_role("status")).to_contain_text("This gallery is empty")
    drop(page, folder)
    dialog = page.get_by_role("dialog", name="Add pictures to mine")
    expect(dialog).to_contain_text("20 pictures; 1 file left out that is no picture")
    dialog.get_by_role("button", name="Add 20 pictures").click()
    expect(dialog.get_by_role("status")).to_contain_text("Done: 19 pictures added, 1 failed")
    expect(dialog.get_by_role("progressbar")).to_have_js_property("value", 20)
    outcomes = dialog.get_by_role("list", name="What became of each picture").get_by_role("listitem")
    expect(outcomes).to_have_count(20)
    expect(outcomes.first).to_contain_text("holiday/broken.jpg")
    expect(outcomes.first).to_contain_text("failed")
    expect(outcomes.filter(has_text="holiday/deep/01.jpg")).to_contain_text("added")
    keep(page, "added")
    dialog.get_by_role("button", name="Done", exact=True).click()
    expect(page.locator("#results > li")).to_have_count(19)
    expect(page.get_by_role("button", name="What is running")).to_contain_text("19")
    find(page, "blue")
    expect(page.locator("#results > li").first).to_have_attribute("data-id", re.compile("holiday/"))

    page.get_by_role("button", name="Add pictures").click()
    dialog.get_by_label("Choose a folder").set_input_files(folder)
    dialog.get_by_role("button", name="Add 20 pictures").click()
    expect(dialog.get_by_role("status")).to_contain_text("0 pictures added, 19 there already, 1 failed")
    dialog.get_by_role("button", name="holiday/04.jpg").click()
    expect(page.get_by_role("dialog", name="holiday/04.jpg")).to_be_visible()
    expect(page).to_have_url(re.compile(r"gallery=mine.*open=holiday%2F04\.jpg"))


def test_a_busy_server_is_waited_for_and_what_was_stopped_goes_on(page: Page, mine: str, folder: Path) -> None:
    page.goto(mine)
    answers = ["busy", "fine", "gone"]

    def write(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        now = answers.pop(0) if answers else "fine"
        if now == "busy":
            route.fulfill(status=429, headers={"Retry-After": "0.1"}, json={"title": "Busy", "code": "overloaded"})
        elif now == "gone":
            route.abort()
        else:
            route.continue_()

    page.route("**/galleries/mine/items", write)
    expect(page.get_by_role("status")).to_contain_text("This gallery is empty")
    drop(page, folder)
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Add 20 pictures").click()
    expect(dialog.get_by_role("alert")).to_contain_text("The server cannot be reached")
    expect(dialog.get_by_role("status")).to_contain_text("Stopped: ")
    keep(page, "adding-stopped")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog.get_by_role("status")).to_contain_text("Done: 19 pictures added, 1 failed")


def test_a_key_is_asked_for_and_writing_wants_one_that_may(browser: Browser, guarded: RunningServer) -> None:
    with watched_page(browser, guarded.url) as page:
        page.goto(guarded.url)
        page.get_by_label("Key", exact=True).fill("wrong" * 5)
        page.get_by_role("button", name="Use it").click()
        expect(page.get_by_label("Key", exact=True)).to_have_value("")
        page.get_by_label("Key", exact=True).fill(READ)
        keep(page, "key")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#results img")).to_have_js_property("naturalWidth", 128)
        page.get_by_role("button", name="Add pictures").click()
        dialog = page.get_by_role("dialog", name="Add pictures to default")
        dialog.get_by_label("Choose pictures").set_input_files([as_file("blue"), as_file("green")])
        dialog.get_by_role("button", name="Add 2 pictures").click()
        wanted = page.get_by_role("dialog", name="Adding needs a key that may write")
        wanted.get_by_label("Key", exact=True).fill(WRITE)
        wanted.get_by_role("button", name="Use it").click()
        expect(dialog.get_by_role("status")).to_contain_text("Done: 2 pictures added")
        dialog.get_by_role("button", name="Done", exact=True).click()
        expect(page.locator("#results img")).to_have_count(3)


def test_without_a_key_one_is_told_so(browser: Browser, guarded: RunningServer) -> None:
    with watched_page(browser, guarded.url) as page:
        page.goto(guarded.url)
        expect(page.get_by_role("dialog", name="This server wants a key")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_role("alert")).to_contain_text("A key is needed")
