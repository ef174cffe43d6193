"""What the tests of the page share: a person's steps, and a gallery to take them in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Locator, Page, expect

from tests.unit.server.drawing import jpeg

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
NUM_NOTES = 24
TEXT = "Text to hold against the picture"
POINTER = "What is this?"


def fill_gallery(url: str) -> None:
    """Six squares with captions and metadata, and 24 texts without pictures."""
    for number, colour in enumerate(COLOURS):
        tags = ["warm" if colour in ("red", "yellow", "orange") else "cold"]
        files = {
            "image": (f"{colour}.jpg", jpeg(colour)),
            "text": (None, f"a {colour} square"),
            "metadata": (None, httpx.Response(200, json={"number": number, "tags": tags}).text),
        }
        assert httpx.put(f"{url}/galleries/default/items/{colour}", files=files).status_code == 201
    lines = "\n".join(f'{{"id": "note-{n:02}", "text": "a written note {n:02}"}}' for n in range(NUM_NOTES))
    answer = httpx.post(
        f"{url}/galleries/default/items", content=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    assert answer.json()["created"] == NUM_NOTES


@contextmanager
def watched_page(browser: Browser, home: str, **options: object) -> Iterator[Page]:
    """A page that may say no error and ask nothing of another place."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})  # type: ignore[arg-type]
    page = context.new_page()
    said: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith((home, "data:", "blob:")) else elsewhere.append(request.url),
    )
    try:
        yield page
        expected = "Failed to load resource"  # the browser's own note of an answer that is a problem
        assert [line for line in said if not line.startswith(expected)] == []
        assert elsewhere == []
    finally:
        context.close()


def keep(page: Page, name: str) -> None:
    """Keep a screenshot where `VERNIER_SCREENSHOTS` says, for people to look at."""
    if folder := os.environ.get("VERNIER_SCREENSHOTS"):
        page.wait_for_timeout(300)
        page.screenshot(path=Path(folder) / f"{name}.png")


def stop_time(page: Page) -> None:
    """Stop the page's clock; `page.clock.run_for` moves it."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    page.clock.install(time=now)
    page.clock.pause_at(now + timedelta(minutes=1))


def find(page: Page, text: str) -> None:
    """Search for a text and wait for its hits."""
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("The best")


def cards(page: Page) -> list[str | None]:
    """The ids that are shown, in order."""
    return [card.get_attribute("data-id") for card in page.locator("#results > li").all()]


def card(page: Page, item: str) -> Locator:
    """The card of an item."""
    return page.locator(f"#results > li[data-id='{item}']")


def open_hit(page: Page, item: str) -> Locator:
    """Open a hit and wait for its picture; gives the dialog."""
    card(page, item).locator("button.card").click()
    viewer = page.get_by_role("dialog")
    expect(viewer.locator("#picture")).to_have_js_property("complete", True)
    return viewer


def as_file(colour: str, name: str | None = None) -> dict[str, object]:
    """A picture for a file input."""
    return {"name": name or f"{colour}.jpg", "mimeType": "image/jpeg", "buffer": jpeg(colour)}


def drop(page: Page, *paths: Path) -> None:
    """Drop files or folders from the disk, as a person does from a file manager."""
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    browser = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 500, "data": data})
    browser.detach()


def paste(page: Page, colour: str) -> None:
    """Paste a picture."""
    page.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], 'pasted.jpg', {type: 'image/jpeg'}));
            document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}));
        }""",
        list(jpeg(colour)),
    )
