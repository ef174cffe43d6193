"""Looking closely at a picture on the page: boxes and heat, wrong words, phrases, parts."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e.conftest import RunningServer
from tests.e2e.pages import POINTER, TEXT, as_file, card, drop, find, keep, open_hit, stop_time
from tests.unit.server.drawing import jpeg

pytestmark = pytest.mark.browser


def heat_at(canvas: Locator, x: float, y: float) -> int:
    """How opaque the heat map is at a place, 0..255."""
    alpha = canvas.evaluate(
        """(canvas, [x, y]) => canvas.getContext('2d')
            .getImageData(Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data[3]""",
        [x, y],
    )
    return int(alpha)


def test_phrases_are_boxed_heated_and_words_coloured_with_suggestions(page: Page) -> None:
    find(page, "a blue square")
    viewer = open_hit(page, "blue")
    box = viewer.locator(".box")
    expect(box).to_have_count(1)
    expect(box).to_contain_text("blue square")
    frame, drawn = viewer.locator("#picture").bounding_box(), box.bounding_box()
    assert frame is not None
    assert drawn is not None
    assert abs(drawn["x"] - frame["x"]) < 4  # the square is in the top left quarter
    assert abs(drawn["y"] - frame["y"]) < 4
    assert drawn["width"] < 0.75 * frame["width"]
    expect(viewer.locator(".verdict")).to_contain_text("Every word fits the picture.")
    viewer.get_by_role("button", name=re.compile("^blue square")).click()
    heat = viewer.get_by_role("img", name="Heat map of blue square")
    expect(heat).to_be_visible()
    assert heat_at(heat, 0.2, 0.2) > 150
    assert heat_at(heat, 0.9, 0.9) < 60
    viewer.locator(".word", has_text=re.compile("^blue")).hover()
    of_word = viewer.get_by_role("img", name="Heat map of blue", exact=True)
    expect(of_word).to_be_visible()
    assert heat_at(of_word, 0.2, 0.2) > 150
    assert heat_at(of_word, 0.9, 0.9) < 60
    expect(viewer.locator(".scale")).to_contain_text("blue")
    expect(viewer.locator(".scale")).to_contain_text("where the words look")
    viewer.locator(".word", has_text=re.compile("^square")).focus()
    expect(viewer.get_by_role("img", name="Heat map of square", exact=True)).to_be_visible()
    keep(page, "viewer-word")
    facts = viewer.locator(".facts")
    for told in ("score", "number", "cold"):
        expect(facts).to_contain_text(told)
    keep(page, "viewer")
    viewer.get_by_label(TEXT).fill("a red square, and no red circle")
    wrong = viewer.locator(".word.error")
    expect(wrong).to_have_count(2)
    expect(wrong.first).to_contain_text("red")
    right = viewer.locator(".word", has_text="square").evaluate("word => getComputedStyle(word).backgroundColor")
    assert wrong.first.evaluate("word => getComputedStyle(word).backgroundColor") != right
    keep(page, "viewer-wrong")
    viewer.get_by_role("button", name="Replace red with blue").first.click()
    expect(viewer.get_by_label(TEXT)).to_have_value("a blue square, and no red circle")
    expect(wrong).to_have_count(1)
    expect(page).to_have_url(re.compile(r"open=blue&caption=a\+blue\+square"))


def test_an_opened_hit_is_in_the_link_and_back_closes_it(page: Page, filled: RunningServer) -> None:
    find(page, "a red square")
    viewer = open_hit(page, "red")
    link = page.url
    viewer.get_by_role("button", name="Next picture").click()
    expect(page.get_by_role("dialog", name="red")).to_have_count(0)
    page.get_by_role("button", name="Previous picture").click()
    expect(page.get_by_role("dialog", name="red")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("searchbox")).to_have_value("a red square")
    page.goto(f"{link}&caption=a+green+square")
    expect(page.get_by_label(TEXT)).to_have_value("a green square")
    expect(page.locator(".word.error")).to_contain_text("green")
    page.get_by_role("button", name="Find similar pictures").click()
    expect(page).to_have_url(f"{filled.url}/?like=red")


def test_typing_is_waited_for_and_old_answers_are_dropped(page: Page) -> None:
    find(page, "a red square")
    viewer = open_hit(page, "red")
    expect(viewer.locator(".verdict")).to_contain_text("Every word fits")
    asked: list[str] = []
    held: list[Route] = []

    def hold(route: Route) -> None:
        text = json.loads(route.request.post_data or "{}")["text"]
        asked.append(text)
        if text == "a green square":
            held.append(route)
        else:
            route.continue_()

    page.route("**/proofread", hold)
    stop_time(page)
    text = viewer.get_by_label(TEXT)
    text.fill("")
    expect(viewer.locator(".read")).to_contain_text("Write what the picture shows")
    text.press_sequentially("a green square")
    page.clock.run_for(200)
    assert asked == []
    page.clock.run_for(100)
    expect(viewer.locator(".read")).to_have_attribute("aria-busy", "true")
    text.fill("a blue square")
    page.clock.run_for(300)
    expect(viewer.locator(".word.error")).to_contain_text("blue")
    assert asked == ["a green square", "a blue square"]  # one question for fourteen keys
    held[0].fulfill(json={"words": [], "corrected_text": "", "match": 1.0, "timings_ms": {}})
    page.clock.run_for(3000)
    expect(viewer.locator(".word.error")).to_contain_text("blue")
    expect(viewer.locator(".verdict")).to_contain_text("One word does not fit")


def test_a_caption_is_checked_against_any_picture(page: Page, tmp_path: Path) -> None:
    page.get_by_role("button", name="Check a caption").click()
    viewer = page.get_by_role("dialog", name="Check a caption")
    keep(page, "check-empty")
    viewer.get_by_label("Choose a picture").set_input_files(as_file("purple", "mine.jpg"))
    viewer = page.get_by_role("dialog", name="mine.jpg")
    viewer.get_by_label(TEXT).fill("a green square")
    expect(viewer.locator(".word.error")).to_contain_text("green")
    expect(viewer.locator(".box")).to_have_count(1)
    viewer.get_by_role("button", name="Replace green with purple").click()
    expect(viewer.locator(".verdict")).to_contain_text("Every word fits")
    (tmp_path / "other.jpg").write_bytes(jpeg("orange"))
    drop(page, tmp_path / "other.jpg")
    expect(page.get_by_role("dialog", name="other.jpg")).to_be_visible()
    page.get_by_label(TEXT).fill("an orange square")
    expect(page.locator(".verdict")).to_contain_text("Every word fits")


def test_a_phrase_is_found_by_typing(page: Page) -> None:
    viewer = open_hit(page, "green")
    viewer.get_by_label("Find a phrase in the picture").fill("something green")
    expect(viewer.locator(".box[data-phrase='something green']")).to_have_count(1)
    expect(viewer.get_by_role("img", name="Heat map of something green")).to_be_visible()
    viewer.get_by_label("Find a phrase in the picture").fill("")
    expect(viewer.get_by_role("img", name=re.compile("Heat map"))).to_have_count(0)


def test_what_is_this_is_asked_by_clicking_drawing_and_by_keys(page: Page) -> None:
    viewer = open_hit(page, "blue")
    pointer = viewer.get_by_role("button", name=re.compile(re.escape(POINTER)))
    place = pointer.bounding_box()
    assert place is not None
    pointer.click(position={"x": 0.25 * place["width"], "y": 0.25 * place["height"]})
    names = viewer.locator(".names button")
    expect(names.first).to_contain_text("blue square")
    expect(viewer.locator(".part")).to_contain_text("blue square?")
    expect(viewer.get_by_text("The gallery's own words")).to_be_visible()
    keep(page, "what-is-this")
    names.first.click()
    expect(viewer.get_by_label("Find a phrase in the picture")).to_have_value("blue square")
    expect(viewer.get_by_role("img", name="Heat map of blue square")).to_be_visible()

    pointer.focus()
    with page.expect_request("**/identify") as sent:
        for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "+", "-", "+", "Enter"):
            page.keyboard.press(key)
    x0, y0, x1, y1 = sent.value.post_data_json["box"]
    assert (round(x0), round(y0)) == (round(0.28 * 128), round(0.32 * 128))  # two steps of 0.04 left, one up, grown
    assert x1 - x0 == pytest.approx(y1 - y0, abs=0.1)

    page.mouse.move(place["x"] + 4, place["y"] + 4)
    page.mouse.down()
    page.mouse.move(place["x"] + 0.45 * place["width"], place["y"] + 0.45 * place["height"], steps=3)
    page.mouse.up()
    expect(names.first).to_contain_text("blue square")
    viewer.get_by_role("button", name="Search with this part").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#results > li").first).to_have_attribute("data-id", "blue")
    expect(card(page, "blue")).to_be_visible()


def test_what_one_half_cannot_say_does_not_hide_the_other(page: Page) -> None:
    problem = {
        "title": "The model cannot do this",
        "detail": "it cannot ground.",
        "code": "graph_missing",
        "status": 501,
    }
    page.route("**/ground", lambda route: route.fulfill(status=501, json=problem))
    viewer = open_hit(page, "red")
    expect(viewer.get_by_role("alert")).to_contain_text("The model cannot do this")
    expect(viewer.locator(".verdict")).to_contain_text("Every word fits")
    page.unroute("**/ground")
    viewer.get_by_role("button", name="Try again").click()
    expect(viewer.locator(".box")).to_have_count(1)
    expect(viewer.get_by_role("alert")).to_have_count(0)
