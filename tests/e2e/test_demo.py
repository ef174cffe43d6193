"""What `make serve` serves, in a real browser: the committed bundle over drawn scenes; and photos where they are."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from evaluation.grounding import hottest, is_in
from scenes import generate
from tests.conftest import ROOT
from tests.e2e.conftest import free_port
from tests.e2e.pages import find, keep

pytestmark = pytest.mark.browser

PHOTOS_BUNDLE = Path(os.environ.get("VERNIER_PHOTOS_BUNDLE", ROOT / "runs" / "photos" / "bundle"))
COLOURS = {"red", "orange", "yellow", "green", "blue", "purple", "violet", "pink", "brown", "black"}


@contextmanager
def command_serving(folder: Path, *arguments: object) -> Iterator[str]:
    """The command line's own server; its address."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERNIER_")}
    command = [sys.executable, "-m", "vernier", "serve", "--port", str(port), *map(str, arguments)]
    log = folder / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=environment | {"PYTHONPATH": str(ROOT)}, stdout=stream, stderr=stream
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            assert process.poll() is None, log.read_text()
            try:
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with command_serving(tmp_path_factory.mktemp("demo")) as url:
        yield url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    yield context.new_page()
    context.close()


def scenes_of(url: str) -> list[tuple[str, str]]:
    """(id, caption) of the first forty items."""
    items = httpx.get(f"{url}/galleries/default/items", params={"limit": 40}).json()["items"]
    return [(item["id"], item["metadata"]["caption"]) for item in items]


def test_words_are_where_they_are_drawn(demo: str) -> None:
    """Over a real socket, on scenes whose truth is known: the hottest place of a phrase lies in its thing."""
    hits = []
    for number in range(12):
        scene = generate(3, number, split="test", size_px=192)
        stream = io.BytesIO()
        scene.image.save(stream, "PNG")
        image = {"base64": base64.b64encode(stream.getvalue()).decode()}
        asked = {"image": image, "phrases": [phrase.text for phrase in scene.phrases], "heatmap": "grid"}
        answer = httpx.post(f"{demo}/ground", json=asked).json()
        assert answer["heatmap_method"] == "grad_cam"
        for phrase, grounding in zip(scene.phrases, answer["groundings"], strict=True):
            point = hottest(np.asarray(grounding["heatmap"]))
            hits.append(any(is_in(point, box) for box in phrase.boxes))
    assert np.mean(hits) > 0.75
    text = {"text": scene.caption, "top_k": 1, "explain": True, "heatmap": "grid"}
    found = httpx.post(f"{demo}/search", json=text).json()
    assert found["heatmap_method"] == "grad_cam"
    assert all(len(word["heatmap"]) == 8 for word in found["hits"][0]["words"])


def test_a_caption_finds_its_scene(demo: str) -> None:
    scenes = scenes_of(demo)
    assert len(scenes) == 40
    found = [
        httpx.post(f"{demo}/search", json={"text": caption, "top_k": 1}).json()["hits"][0]["id"] == item
        for item, caption in scenes
    ]
    assert sum(found) >= 28  # of 600 scenes: chance is 0.07 of 40


def test_a_scene_is_found_boxed_and_proofread(demo: str, page: Page) -> None:
    item, caption = next(
        (item, caption)
        for item, caption in scenes_of(demo)
        if COLOURS & set(caption.split())
        and httpx.post(f"{demo}/search", json={"text": caption, "top_k": 1}).json()["hits"][0]["id"] == item
    )
    page.goto(demo)
    find(page, caption)
    hit = page.locator("#results > li").first
    expect(hit).to_have_attribute("data-id", item)
    keep(page, "demo-results")
    hit.locator("button").first.click()
    viewer = page.get_by_role("dialog")
    expect(viewer.locator(".box").first).to_be_visible()
    expect(viewer.locator(".word").first).to_be_visible()
    keep(page, "demo-viewer")
    right = next(word for word in caption.split() if word in COLOURS)
    wrong = next(colour for colour in ("black", "pink", "green") if colour not in caption)
    viewer.get_by_label("Text to hold against the picture").fill(caption.replace(right, wrong, 1))
    expect(viewer.locator(".word.error", has_text=wrong)).to_be_visible()
    keep(page, "demo-wrong-word")


@pytest.mark.photos
def test_a_photo_is_found_boxed_and_proofread(photos_dir: Path, tmp_path: Path, page: Page) -> None:
    """The photo bundle cannot be committed; `make photos` leaves it in runs/photos/bundle."""
    if not (PHOTOS_BUNDLE / "manifest.json").is_file():
        pytest.skip(f"no photo bundle at {PHOTOS_BUNDLE}; `make photos` makes one")
    rows = [json.loads(line) for line in (photos_dir / "flickr8k" / "captions.jsonl").read_text().splitlines()]
    photos = [photos_dir / "flickr8k" / "images" / row["image"] for row in rows if row["split"] == "dev"][:100]
    add = [sys.executable, "-m", "vernier", "index", "add", tmp_path / "gallery", "--bundle", PHOTOS_BUNDLE, *photos]
    subprocess.run([str(part) for part in add], check=True, capture_output=True, cwd=ROOT)
    with command_serving(tmp_path, "--bundle", PHOTOS_BUNDLE, "--gallery", tmp_path / "gallery") as url:
        page.goto(url)
        find(page, "a dog runs through the grass")
        keep(page, "photo-results")
        page.locator("#results > li button").first.click()
        viewer = page.get_by_role("dialog")
        expect(viewer.locator(".box").first).to_be_visible()
        keep(page, "photo-viewer")
        viewer.get_by_label("Text to hold against the picture").fill("a dog runs through the snow")
        expect(viewer.locator(".word.error").first).to_be_visible()
        keep(page, "photo-wrong-word")
