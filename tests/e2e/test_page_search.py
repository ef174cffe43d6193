"""Searching on the page, in a real browser on a real server: what a person does, and what they see."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import RunningServer
from tests.e2e.pages import COLOURS, NUM_NOTES, as_file, card, cards, drop, find, keep, paste, watched_page
from tests.unit.server.drawing import jpeg

pytestmark = pytest.mark.browser


def test_the_start_shows_the_gallery_examples_and_what_is_running(page: Page) -> None:
    expect(page.locator("#results img")).to_have_count(len(COLOURS))
    expect(page.locator("#results img").first).to_have_js_property("naturalWidth", 128)
    expect(card(page, "note-00")).to_contain_text("a written note 00")
    running = page.get_by_role("button", name="What is running")
    expect(running).to_contain_text("fake")
    keep(page, "start")
    page.get_by_role("button", name="a red square", exact=True).click()
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "red")
    expect(running).to_contain_text("in ")
    running.click()
    dialog = page.get_by_role("dialog", name="What is running")
    for told in ("fake", "image_encoder on fake", "default: 30 items", "Last /search"):
        expect(dialog).to_contain_text(told)
    assert dialog.locator(".stages dd").count() >= 3
    keep(page, "running")


def test_a_text_finds_pictures_with_scores_and_metadata_and_the_link_carries_it(page: Page) -> None:
    find(page, "a blue square")
    best = page.locator("#results > li").first
    expect(best).to_have_attribute("data-id", "blue")
    expect(best.locator(".score")).to_have_text(re.compile(r"^0\.\d{3}$"))
    expect(best.locator(".tags")).to_have_text("number: 2 · tags: cold")
    expect(page).to_have_url(re.compile(r"\?q=a\+blue\+square$"))
    scores = [float(score.inner_text()) for score in page.locator("#results .score").all()]
    assert scores == sorted(scores, reverse=True)
    before = cards(page)
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("a blue square")
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "blue")
    assert cards(page) == before
    keep(page, "results")


def test_a_picture_is_chosen_joined_by_words_and_removed(page: Page) -> None:
    page.get_by_label("Search with a picture", exact=True).set_input_files(as_file("green"))
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "green")
    expect(page.get_by_role("button", name="Look closer at green.jpg")).to_be_visible()
    keep(page, "with-picture")
    with page.expect_request("**/search") as sent:
        find(page, "red")
    assert sent.value.headers["content-type"].startswith("multipart/form-data")
    expect(page.get_by_role("status")).to_contain_text("The best")
    assert set(cards(page)[:2]) == {"green", "red"}  # both are in the sum of the two
    page.go_back()
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "green")
    expect(page.get_by_role("button", name="Look closer at green.jpg")).to_be_visible()
    page.get_by_role("button", name="Remove the picture").click()
    expect(page.locator(".chosen")).to_have_count(0)


def test_a_dropped_and_a_pasted_picture_are_searched_with(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "dropped.jpg"
    path.write_bytes(jpeg("purple"))
    expect(card(page, "red")).to_be_visible()
    drop(page, path)
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "purple")
    paste(page, "orange")
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "orange")
    (tmp_path / "notes.txt").write_text("no picture")
    drop(page, tmp_path / "notes.txt")
    expect(page.get_by_role("alert")).to_contain_text("This is not a picture")


def test_a_clicked_picture_is_searched_with_and_the_way_back(page: Page) -> None:
    find(page, "a yellow square")
    card(page, "yellow").hover()
    page.get_by_role("button", name="Search with the picture yellow").click()
    expect(page).to_have_url(re.compile(r"\?like=yellow$"))
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
    expect(page.locator("#results .score").first).to_contain_text(re.compile(r"\d+ % match"))
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "orange")
    expect(page).to_have_url(re.compile("rerank=1"))
    keep(page, "reranked")


def test_metadata_filters_and_the_link_carries_them(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Filter")).click()
    filters = page.get_by_role("region", name="Filter by metadata")
    filters.get_by_role("checkbox", name="warm").check()
    expect(page.locator("#results > li")).to_have_count(3)
    assert set(cards(page)) == {"red", "yellow", "orange"}
    filters.get_by_label("number from").fill("3")
    filters.get_by_label("number from").press("Tab")
    expect(page.locator("#results > li")).to_have_count(2)
    keep(page, "filter")
    find(page, "red")
    assert set(cards(page)) == {"yellow", "orange"}
    page.reload()
    expect(page.locator("#results > li")).to_have_count(2)
    page.get_by_role("button", name="Lift the filter tags warm").click()
    expect(page.locator("#results > li")).to_have_count(3)
    assert set(cards(page)) == {"yellow", "orange", "purple"}
    page.get_by_role("button", name=re.compile("^Filter")).click()
    page.get_by_text("As JSON").click()
    written = page.get_by_label("Filter as JSON")
    expect(written).to_have_value('{"number":{"gte":3}}')
    written.fill('{"or": [{"number": 0}, {"tags": "nothing"}]}')
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#results > li")).to_have_count(1)
    written.fill('{"number"')
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("alert")).to_contain_text("This is no JSON object")


def test_a_filter_that_nothing_passes_says_so_and_is_lifted(page: Page, filled: RunningServer) -> None:
    page.goto(f'{filled.url}/?q=red&filter={{"number": 99}}')
    expect(page.get_by_role("status")).to_contain_text("No item passes the filter")
    keep(page, "no-match")
    page.get_by_role("button", name="Lift the filter", exact=True).click()
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "red")


def test_one_pages_on(page: Page) -> None:
    expect(page.locator("#results > li")).to_have_count(24)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#results > li")).to_have_count(len(COLOURS) + NUM_NOTES)
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)
    page.get_by_text("Captions", exact=True).click()
    find(page, "written")
    expect(page.locator("#results > li")).to_have_count(24)
    first = cards(page)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#results > li")).to_have_count(30)
    assert cards(page)[:24] == first
    expect(page).to_have_url(re.compile("count=48"))


def test_another_gallery_is_chosen(page: Page, filled: RunningServer) -> None:
    assert httpx.post(f"{filled.url}/galleries", json={"name": "other"}).status_code == 201
    try:
        page.reload()
        page.get_by_label("Gallery").select_option("other")
        expect(page.get_by_role("status")).to_contain_text("This gallery is empty")
        expect(page).to_have_url(re.compile("gallery=other"))
    finally:
        httpx.delete(f"{filled.url}/galleries/other")


def test_the_keyboard_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
    page.get_by_role("searchbox").focus()
    page.keyboard.type("a green square")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The best")
    opened = page.get_by_role("button", name="Open green")
    opened.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator(".box")).to_have_count(1)
    for _ in range(30):  # the focus stays within the dialog, or in the browser's own bars
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(opened).to_be_focused()


@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_the_screen(browser: Browser, filled: RunningServer, width: int) -> None:
    with watched_page(browser, filled.url, viewport={"width": width, "height": 740}) as page:
        page.goto(f"{filled.url}/?q=a+red+square&rerank=1")
        expect(page.get_by_role("status")).to_contain_text("The best")
        page.get_by_role("button", name=re.compile("^Filter")).click()
        expect(page.get_by_role("checkbox", name="warm")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        keep(page, f"fits-{width}")
        page.locator("#results button").first.click()
        expect(page.locator(".box")).to_have_count(1)
        assert page.evaluate("document.querySelector('dialog').scrollWidth <= innerWidth")
        keep(page, f"viewer-{width}")
