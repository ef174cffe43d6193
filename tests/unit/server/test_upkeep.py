"""The server looks after its galleries by itself, also while one of them cannot be looked after."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index import NewItem, open_gallery
from server.galleries import Galleries
from server.upkeep import Upkeep

DIM = 8


def fill(gallery: object, number: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((number, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery.upsert(  # type: ignore[attr-defined]
        [NewItem(id=f"i{at}", image_embedding=vector, content_digest=str(at)) for at, vector in enumerate(vectors)]
    )


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    assert condition()


def test_what_is_due_is_done_while_the_server_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Many changes make a snapshot due; one gallery cannot have one, which is told, and holds up nobody."""
    for name in ("broken", "whole"):
        open_gallery(tmp_path / name, space="s", dim=DIM, create=True).close()
    (tmp_path / "broken" / "snapshot").write_text("a file where the folder should be")
    galleries = Galleries(tmp_path, default=None, space="s", dim=DIM, has_model=lambda _: False)
    fill(galleries.get("broken"), 1200)
    fill(galleries.get("whole"), 1200)
    with caplog.at_level(logging.WARNING):
        upkeep = Upkeep(galleries, pause_s=0.05)
        wait_for(lambda: (tmp_path / "whole" / "snapshot" / "manifest.json").exists())
        wait_for(lambda: "upkeep failed" in caplog.text)
        upkeep.stop()
        galleries.close()
        upkeep.join()
    assert sum(record.message == "upkeep failed" for record in caplog.records) == 1
