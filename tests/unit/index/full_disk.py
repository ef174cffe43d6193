"""What a gallery does when the disk is full; run as a program in a small file system of its own.

python -m tests.unit.index.full_disk FOLDER
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from index import LocalGallery, local, open_gallery
from runtime.errors import GalleryError
from tests.unit.index.conftest import DIM, SPACE, new_item, rounded, unit


@contextlib.contextmanager
def no_room(folder: Path, *, left: int) -> Iterator[None]:
    """Fill the disk but for so many bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(b"x" * 4096):
            pass
    with ballast.open("r+b") as stream:
        stream.truncate(ballast.stat().st_size - left)
    try:
        yield
    finally:
        ballast.unlink()


def refused(call: object) -> bool:
    try:
        call()  # type: ignore[operator]
    except GalleryError as error:
        assert error.code == "gallery_full", error
        return True
    return False


def answers(gallery: LocalGallery) -> list:
    return rounded(gallery.search(unit(np.random.default_rng(5), 8, DIM), top_k=20))


def main(folder: Path) -> None:
    local.EXACT_UP_TO = 100
    rng = np.random.default_rng(0)

    def items(name: str, number: int) -> list:
        return [new_item(f"{name}{at}", rng, picture=b"p" * 500) for at in range(number)]

    def opened() -> LocalGallery:
        return open_gallery(folder / "gallery", space=SPACE, dim=DIM, create=True)

    gallery = opened()
    gallery.upsert(items("i", 2000))
    before = answers(gallery)
    with no_room(folder, left=20_000):
        assert refused(lambda: gallery.upsert(items("more", 500)))
        assert refused(lambda: gallery.tune(kind="ivf-pq"))
        assert answers(gallery) == before
        assert gallery.info().index_kind == "flat"
    gallery.upsert(items("more", 10))
    (tuning,) = gallery.tune(kind="ivf-pq")
    assert tuning.kind == "ivf-pq"
    gallery.upsert(items("late", 900))
    before = answers(gallery)
    with no_room(folder, left=8_000):
        assert refused(gallery.snapshot)
        assert answers(gallery) == before
        gallery.close()  # which cannot write its snapshot either
        with open_gallery(folder / "gallery", read_only=True) as reader:
            assert answers(reader) == before
    gallery = opened()
    assert answers(gallery) == before
    gallery.snapshot()
    assert gallery.verify() == []
    gallery.close()
    with opened() as gallery:
        assert answers(gallery) == before
        assert gallery.info().items == 2910


if __name__ == "__main__":
    main(Path(sys.argv[1]))
