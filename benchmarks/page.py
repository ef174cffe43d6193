"""Measures the web page as a first visitor meets it: first paint, first pictures, bytes on the wire, and who is asked.

    make serve
    python -m benchmarks.page [--url http://127.0.0.1:8000] [--visits 5] [--json OUT]

Real Chromium with an empty cache. `as it is` is this machine; `slow phone` is 390 px wide, with a line of 1.6 Mbit/s
and 150 ms and a processor four times as slow, as Lighthouse has it. `page_bytes` are those of the page itself as they
came over the wire, heads included; `all_bytes` also those of the data and of the pictures on the first screen.
"""

import argparse
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.report import made_by, write_report

PAGE_BYTES_AT_MOST = 300_000

SLOW_LINE = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 93_750}
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {"width": 1280},
    "slow phone": {"width": 390, "line": SLOW_LINE, "slower": 4},
}
QUESTION = "a yellow cross"


def main() -> int:
    """Visit, measure and print; 1 when the page is too large or asks elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    chromium = os.environ.get("VERNIER_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        report = {
            "provenance": made_by("benchmarks.page"),
            "chromium": browser.version,
            "ways": {
                name: summed([visit(browser, given.url, **way) for _ in range(given.visits)])
                for name, way in WAYS.items()
            },
        }
        browser.close()
    write_report(report, given.json)
    good = all(way["page_bytes"] <= PAGE_BYTES_AT_MOST and not way["elsewhere"] for way in report["ways"].values())
    return 0 if good else 1


def visit(
    browser: Browser, url: str, *, width: int, line: dict[str, Any] | None = None, slower: int = 1
) -> dict[str, Any]:
    """Open the page with an empty cache, look at the gallery, and search once."""
    context = browser.new_context(viewport={"width": width, "height": 844})
    page = context.new_page()
    tools = context.new_cdp_session(page)
    tools.send("Network.enable")
    tools.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    if line is not None:
        tools.send("Network.emulateNetworkConditions", line)
    addresses: dict[str, str] = {}
    sizes: dict[str, int] = {}
    tools.on("Network.requestWillBeSent", lambda event: addresses.update({event["requestId"]: event["request"]["url"]}))
    tools.on(
        "Network.loadingFinished", lambda event: sizes.update({event["requestId"]: int(event["encodedDataLength"])})
    )
    page.goto(url)
    page.locator("#results img").first.wait_for()
    first_picture = wait_for_pictures(page)
    page_bytes = sum(size for at, size in sizes.items() if is_of_the_page(addresses[at], url))
    all_bytes = sum(sizes.values())
    paints = page.evaluate(
        "Object.fromEntries(performance.getEntriesByType('paint').map(entry => [entry.name, entry.startTime]))"
    )
    before = page.evaluate("performance.now()")
    page.get_by_role("searchbox").fill(QUESTION)
    page.keyboard.press("Enter")
    page.get_by_text("The best").wait_for()
    searched = page.evaluate("performance.now()") - before
    elsewhere = sorted({address for address in addresses.values() if not address.startswith((url, "data:", "blob:"))})
    context.close()
    return {
        "first_paint_ms": paints["first-paint"],
        "first_contentful_paint_ms": paints["first-contentful-paint"],
        "first_screen_ms": first_picture,
        "search_to_hits_ms": searched,
        "page_bytes": page_bytes,
        "page_requests": sum(is_of_the_page(address, url) for address in addresses.values()),
        "all_bytes": all_bytes,
        "elsewhere": elsewhere,
    }


def wait_for_pictures(page: Page) -> float:
    """Wait until every picture on the first screen is there; milliseconds since the page was asked for."""
    are_there = (
        "[...document.querySelectorAll('#results img')]"
        ".filter(image => image.getBoundingClientRect().top < innerHeight).every(image => image.complete)"
    )
    while not page.evaluate(are_there):  # the page's policy forbids what Playwright would wait with
        page.wait_for_timeout(20)
    return float(page.evaluate("Math.max(...performance.getEntriesByType('resource').map(entry => entry.responseEnd))"))


def is_of_the_page(address: str, url: str) -> bool:
    """Whether a request is for the page itself and not for what it shows."""
    path = address.removeprefix(url)
    return path in ("", "/") or path.startswith("/web/")


def summed(visits: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of every number, and whatever was asked elsewhere."""
    numbers = {name: round(statistics.median(one[name] for one in visits)) for name in visits[0] if name != "elsewhere"}
    return {"visits": len(visits), **numbers, "elsewhere": sorted({at for one in visits for at in one["elsewhere"]})}


if __name__ == "__main__":
    sys.exit(main())
