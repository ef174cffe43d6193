"""The gallery of a folder keeps what every gallery promises."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import Gallery, open_gallery
from tests.contracts.gallery_contract import GalleryContract
from tests.unit.index.conftest import DIM, SPACE


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


class TestLocalGallery(GalleryContract):
    @pytest.fixture
    def open_it(self, tmp_path: Path) -> Iterator[Callable[..., Gallery]]:
        opened: list[Gallery] = []

        def open_it(**options: Any) -> Gallery:
            opened.append(open_gallery(tmp_path / "gallery", **{"space": SPACE, "dim": DIM, "create": True, **options}))
            return opened[-1]

        yield open_it
        for gallery in opened:
            gallery.close()
