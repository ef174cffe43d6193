"""The web page in a real browser on a real server: what a person does, and what they see."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.conftest import RunningServer, start_server
from tests.e2e.test_serving import fill
from tests.unit.server.drawing import jpeg

pytestmark = pytest.mark.browser

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
KEY = "k" * 24


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = start_server(tmp_path_factory.mktemp("page"))
    fill(running.url, *COLOURS)
    yield running
    running.stop()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, filled: RunningServer) -> Iterator[Page]:
    page = context.new_page()
    said: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    expected = "Failed to load resource"  # the browser's own note of an answer that is a problem
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda request: elsewhere.append(request.url) if _is_elsewhere(request.url, filled.url) else None
    )
    page.goto(filled.url)
    yield page
    assert [line for line in said if not line.startswith(expected)] == []
    assert elsewhere == []


def _is_elsewhere(url: str, home: str) -> bool:
    return not url.startswith((home, "data:", "blob:"))


def keep(page: Page, name: str) -> None:
    """Keep a screenshot where `VERNIER_SCREENSHOTS` says, for people to look at."""
    if folder := os.environ.get("VERNIER_SCREENSHOTS"):
        page.wait_for_timeout(300)
        page.screenshot(path=Path(folder) / f"{name}.png")


def find(page: Page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("The best")


def cards(page: Page) -> list[str | None]:
    return [card.get_attribute("data-id") for card in page.locator("#results > li").all()]


def test_the_start_shows_the_gallery_and_examples(page: Page) -> None:
    expect(page.locator("#results img")).to_have_count(6)
    for _ in range(100):  # the page's policy forbids the eval that Playwright's own waiting uses
        if page.evaluate("[...document.images].every(image => image.complete)"):
            break
        page.wait_for_timeout(50)
    assert page.evaluate("[...document.images].every(image => image.complete)")
    expect(page.locator("#running")).to_contain_text("fake")
    keep(page, "start")
    page.get_by_role("button", name="a red square", exact=True).click()
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "red")


def test_a_text_finds_a_picture_boxes_it_and_colours_a_wrong_word(page: Page) -> None:
    find(page, "a blue square")
    assert cards(page)[0] == "blue"
    assert "q=a+blue+square" in page.url
    keep(page, "results")
    page.locator("#results > li button").first.click()
    viewer = page.get_by_role("dialog")
    expect(viewer).to_be_visible()
    box = viewer.locator(".box")
    expect(box).to_have_count(1)
    expect(box).to_contain_text("blue square")
    frame, drawn = viewer.locator("#picture").bounding_box(), box.bounding_box()
    assert frame is not None
    assert drawn is not None
    assert abs(drawn["x"] - frame["x"]) < 4  # the square is in the top left quarter
    assert drawn["width"] < 0.75 * frame["width"]
    expect(viewer.locator("#reading-hint")).to_have_text("Every word fits the picture.")
    viewer.get_by_label("Text to hold against the picture").fill("a red square")
    wrong = viewer.locator(".word.error")
    expect(wrong).to_have_text("red")
    assert wrong.evaluate("element => getComputedStyle(element).backgroundColor") != "rgba(0, 0, 0, 0)"
    keep(page, "viewer")
    viewer.get_by_role("button", name="Replace red with blue").click()
    expect(viewer.locator(".word.error")).to_have_count(0)
    expect(viewer.locator("#caption")).to_have_value("a blue square")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()


def test_a_picture_is_searched_with_and_removed(page: Page) -> None:
    page.set_input_files("#file", {"name": "green.jpg", "mimeType": "image/jpeg", "buffer": jpeg("green")})
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "green")
    expect(page.locator("#chosen")).to_be_visible()
    keep(page, "with-picture")
    page.get_by_role("button", name="Remove the picture").click()
    expect(page.locator("#chosen")).to_be_hidden()


def test_a_dropped_picture_is_searched_with(page: Page) -> None:
    page.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], 'a.jpg', {type: 'image/jpeg'}));
            for (const kind of ['dragover', 'drop'])
                document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
        }""",
        list(jpeg("purple")),
    )
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "purple")


def test_similar_pictures_and_the_way_back(page: Page) -> None:
    find(page, "a yellow square")
    page.locator("#results > li button").first.click()
    page.get_by_role("button", name="Find similar pictures").click()
    expect(page).to_have_url(re.compile("like=yellow"))
    expect(page.get_by_role("status")).to_contain_text("The best 5")
    assert "yellow" not in cards(page)
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("a yellow square")
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "yellow")


def test_captions_and_second_looks(page: Page) -> None:
    page.get_by_text("Captions", exact=True).click()
    find(page, "orange")
    expect(page.locator("#results .name").first).to_have_text("a orange square")
    page.get_by_text("Pictures", exact=True).click()
    page.get_by_text("Look twice").click()
    expect(page.locator("#results .score").first).to_contain_text("match")
    assert cards(page)[0] == "orange"
    keep(page, "reranked")


def test_trouble_is_told_and_passes(page: Page, filled: RunningServer) -> None:
    page.set_input_files("#file", {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": jpeg()[:700]})
    alert = page.locator("#trouble")
    expect(alert).to_contain_text("The picture cannot be decoded")
    keep(page, "trouble")
    page.get_by_role("button", name="Remove the picture").click()
    expect(alert).to_be_hidden()


def test_the_keyboard_is_enough(page: Page) -> None:
    page.get_by_role("searchbox").focus()
    page.keyboard.type("a green square")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The best")
    page.locator("#results button").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator(".box")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_every_control_has_a_name(page: Page) -> None:
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select, textarea, img')].filter(element =>
            element.tagName === 'IMG' ? !element.hasAttribute('alt')
            : !(element.labels?.length || element.getAttribute('aria-label') || element.textContent.trim())
        ).map(element => element.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen(browser: Browser, filled: RunningServer, scheme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{filled.url}/?q=a+red+square")
    expect(page.get_by_role("status")).to_contain_text("The best")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    keep(page, f"fits-{scheme}-{width}")
    page.locator("#results button").first.click()
    expect(page.locator(".box")).to_have_count(1)
    keep(page, f"viewer-{scheme}-{width}")
    context.close()


def test_an_empty_gallery_says_so(context: BrowserContext, server: RunningServer) -> None:
    page = context.new_page()
    page.goto(server.url)
    expect(page.get_by_role("status")).to_contain_text("This gallery is empty")
    page.get_by_role("searchbox").fill("red")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("This gallery is empty")


def test_a_key_is_asked_for_and_used(context: BrowserContext, tmp_path: Path) -> None:
    server = start_server(tmp_path, VERNIER_API_KEYS=f"write:{KEY}")
    try:
        stored = httpx.put(
            f"{server.url}/galleries/default/items/red",
            files={"image": ("a.jpg", jpeg("red"))},
            headers={"Authorization": f"Bearer {KEY}"},
        )
        assert stored.status_code == 201
        page = context.new_page()
        page.goto(server.url)
        page.get_by_role("textbox", name="Key").fill(KEY)
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#results img")).to_have_count(1)
        expect(page.locator("#results img")).to_have_js_property("naturalWidth", 128)
    finally:
        server.stop()
