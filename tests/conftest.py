"""What every test may use: the development photos where they are, and a browser where there is one."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", max_examples=500)
settings.load_profile("repeatable")  # the same examples every time; `--hypothesis-profile explore` looks for new ones

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def photos_dir() -> Path:
    """The folder of development photos (`VERNIER_DATA`, or `shared/data` beside the checkout)."""
    folder = Path(os.environ.get("VERNIER_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "flickr8k" / "captions.jsonl").is_file():
        pytest.skip(f"no development photos at {folder}; name their folder in VERNIER_DATA")
    return folder


@pytest.fixture(scope="session")
def demo_bundle() -> Path:
    """The bundle that `make serve` uses."""
    return ROOT / "bundles" / "demo"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the browser tests last: Playwright's sync interface keeps an event loop running, which async tests refuse."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
