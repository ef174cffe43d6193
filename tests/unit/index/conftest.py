"""Items made by hand and galleries on the disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import LocalGallery, Match, NewItem, open_gallery

DIM = 16
SPACE = "space-of-the-tests"


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def new_item(
    item_id: str, rng: np.random.Generator, *, metadata: dict[str, Any] | None = None, **parts: Any
) -> NewItem:
    given = {"image_embedding": unit(rng, DIM), "content_digest": f"digest of {item_id}", **parts}
    return NewItem(id=item_id, metadata=metadata or {}, **given)


def rounded(answers: list[list[Match]]) -> list[list[tuple[str, float]]]:
    """Ids and scores, but for the last bits of a score, which depend on where a vector lies."""
    return [[(hit.id, round(hit.score, 4)) for hit in hits] for hits in answers]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def open_here(tmp_path: Path) -> Iterator[Callable[..., LocalGallery]]:
    """Opens the gallery of this test, again and again if wanted; what is open at the end is closed."""
    opened: list[LocalGallery] = []

    def open_it(**options: Any) -> LocalGallery:
        gallery = open_gallery(tmp_path / "gallery", **{"space": SPACE, "dim": DIM, "create": True, **options})
        opened.append(gallery)
        return gallery

    yield open_it
    for gallery in opened:
        gallery.close()


@pytest.fixture
def gallery(open_here: Callable[..., LocalGallery]) -> LocalGallery:
    return open_here()
