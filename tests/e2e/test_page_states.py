"""Every state of the page has its face, and none of them keeps anybody out."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.conftest import RunningServer
from tests.e2e.pages import POINTER, TEXT, as_file, find, keep, open_hit, stop_time, watched_page
from tests.unit.server.drawing import jpeg

pytestmark = pytest.mark.browser


def test_an_empty_gallery_says_so_and_offers_to_add(browser: Browser, server: RunningServer) -> None:
    with watched_page(browser, server.url) as page:
        page.goto(server.url)
        expect(page.get_by_role("status")).to_contain_text("This gallery is empty")
        keep(page, "empty")
        page.locator("main").get_by_role("button", name="Add pictures").click()
        expect(page.get_by_role("dialog")).to_contain_text("Drop a folder or pictures here")


def test_waiting_and_slowness_show(page: Page) -> None:
    expect(page.locator("#results > li")).to_have_count(24)
    held: list[Route] = []
    page.route("**/search", lambda route: held.append(route))
    stop_time(page)
    page.get_by_role("searchbox").fill("a red square")
    page.keyboard.press("Enter")
    page.clock.run_for(500)
    expect(page.get_by_role("status")).to_have_text("Searching …")
    expect(page.locator(".ghost")).to_have_count(12)
    page.clock.run_for(3000)
    expect(page.get_by_role("status")).to_have_text("Still working …")
    keep(page, "slow")
    held[0].continue_()
    expect(page.get_by_role("status")).to_contain_text("The best 6")


def test_trouble_is_told_and_passes(page: Page) -> None:
    chooser = page.get_by_label("Search with a picture", exact=True)
    chooser.set_input_files({"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": jpeg()[:700]})
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The picture cannot be decoded")
    keep(page, "trouble")
    page.get_by_role("button", name="Remove the picture").click()
    expect(alert).to_have_count(0)
    busy = {"title": "The server has more work than it can take", "detail": "later.", "code": "overloaded"}
    page.route("**/search", lambda route: route.fulfill(status=429, headers={"Retry-After": "3"}, json=busy))
    page.get_by_role("searchbox").fill("red")
    page.keyboard.press("Enter")
    expect(alert).to_contain_text("In 3 s it may go better")
    page.unroute("**/search")
    page.route("**/search", lambda route: route.abort())
    page.get_by_role("button", name="Try again").click()
    expect(alert).to_contain_text("The server cannot be reached")
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("status")).to_contain_text("The best")
    expect(alert).to_have_count(0)


def test_a_link_to_what_is_gone_says_so(page: Page, filled: RunningServer) -> None:
    page.goto(f"{filled.url}/?open=nobody")
    expect(page.get_by_role("dialog").get_by_role("alert").first).to_contain_text("There is no such item")
    page.goto(f"{filled.url}/?gallery=nowhere")
    expect(page.get_by_role("alert")).to_contain_text("There is no such gallery")


def findings(page: Page) -> list[str]:
    """What axe finds on the page as it is, grave or not, with the elements."""
    found = Axe().run(page).response["violations"]
    return [f"{one['impact']} {one['id']}: {[node['html'][:160] for node in one['nodes']]}" for one in found]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(browser: Browser, filled: RunningServer, scheme: str, width: int) -> None:
    with watched_page(
        browser,
        filled.url,
        color_scheme=scheme,
        viewport={"width": width, "height": 844},
        reduced_motion="reduce",
    ) as page:
        page.goto(filled.url)
        expect(page.locator("#results > li")).to_have_count(24)
        assert findings(page) == []
        page.get_by_role("button", name=re.compile("^Filter")).click()
        page.get_by_role("checkbox", name="warm").check()
        page.get_by_text("Look twice").click()
        find(page, "a red square, and no blue circle")
        assert findings(page) == []
        viewer = open_hit(page, "red")
        expect(viewer.get_by_label(TEXT)).not_to_have_value("")
        expect(viewer.locator(".word.error")).to_have_count(1)
        viewer.get_by_role("button", name=POINTER).click(position={"x": 60, "y": 60})
        expect(viewer.locator(".names button").first).to_be_visible()
        viewer.locator(".phrases button").first.click()
        keep(page, f"axe-{scheme}-{width}")
        assert findings(page) == []
        viewer.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="What is running").click()
        expect(page.get_by_role("dialog").locator(".stages").first).to_be_visible()
        assert findings(page) == []
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Add pictures").click()
        assert findings(page) == []
        bad = {"name": "bad.jpg", "mimeType": "image/jpeg", "buffer": b"none"}
        page.get_by_label("Choose pictures").set_input_files([bad])
        page.get_by_role("button", name="Add 1 picture").click()
        expect(page.get_by_role("dialog").get_by_role("status")).to_contain_text("1 failed")
        assert findings(page) == []
        page.keyboard.press("Escape")
        page.goto(f"{filled.url}/?q=red&filter={{%22number%22:99}}")
        expect(page.get_by_role("status")).to_contain_text("No item passes")
        assert findings(page) == []
        page.get_by_label("Search with a picture", exact=True).set_input_files(bad)
        expect(page.get_by_role("alert")).to_be_visible()
        assert findings(page) == []


def test_axe_would_find_something(page: Page) -> None:
    page.evaluate("document.body.append(Object.assign(document.createElement('img'), {src: '/web/icon.svg'}))")
    assert any("image-alt" in one for one in findings(page))


def test_a_picture_that_the_browser_cannot_show_is_said_to_be_so(page: Page) -> None:
    page.get_by_role("button", name="Check a caption").click()
    page.get_by_label("Choose a picture").set_input_files(as_file("red") | {"buffer": b"nothing", "name": "odd.ppm"})
    expect(page.get_by_role("dialog")).to_contain_text("This browser cannot show the picture")
