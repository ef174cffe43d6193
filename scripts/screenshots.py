"""Takes the pictures of the web page for the documentation: `make serve`, then `python scripts/screenshots.py`."""

import argparse
import io
import os
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

OUT = Path(__file__).resolve().parent.parent / "docs" / "images"
TRUE = "three lime hats are left of a pink mug"
WRONG = "three lime hats are left of a blue mug"


def main() -> None:
    """Search in the light, look closely in the dark, ask what a thing is on a phone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    url = parser.parse_args().url
    OUT.mkdir(exist_ok=True)
    chromium = os.environ.get("VERNIER_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = opened(browser, 1200, 760, "light")
        page.goto(f"{url}/?q={TRUE}&rerank=1")
        page.get_by_text("The best").wait_for()
        keep(page, "page-search")
        page.locator("#results .card").first.click()
        page.get_by_label("Text to hold against the picture").fill(WRONG)
        expect(page.locator(".word.error").first).to_contain_text("blue")
        keep(page, "page-look-closer")
        link = page.url
        page = opened(browser, 1200, 760, "dark")
        page.goto(link.replace("blue", "pink"))
        page.locator(".phrases button").first.click()
        page.get_by_role("img", name="Heat map").wait_for()
        keep(page, "page-dark")
        page = opened(browser, 390, 780, "light")
        page.goto(link)
        hats = page.locator(".box[data-phrase='three lime hats']").bounding_box()
        assert hats is not None
        page.mouse.click(hats["x"] + hats["width"] / 2, hats["y"] + hats["height"] / 2)
        page.locator(".part span").wait_for()
        keep(page, "page-phone")
        browser.close()


def opened(browser: Browser, width: int, height: int, scheme: str) -> Page:
    """A new page of that size in light or dark."""
    return browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()  # type: ignore[arg-type]


def keep(page: Page, name: str) -> None:
    """Write what is seen as a PNG of 256 colours."""
    page.mouse.move(2, 2)
    page.wait_for_timeout(700)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    file = OUT / f"{name}.png"
    picture.quantize(256, kmeans=4, dither=Image.Dither.FLOYDSTEINBERG).save(file, optimize=True)
    print(f"{file}  {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
