"""Pictures with their captions: a caption finds its picture, a picture its caption, and each its like."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from export.drawn import drawn_cases
from index import LocalGallery, NewItem, open_gallery
from runtime.encoder import Encoder

NUMBER = 64


@pytest.fixture(scope="module")
def vectors(demo_bundle: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the demo bundle makes of drawn scenes and of their captions."""
    encoder = Encoder.load(demo_bundle, provider="cpu", num_threads=1)
    cases = drawn_cases(NUMBER, size_px=encoder.manifest.image.size_px)
    pictures = encoder.embed_images([case.image for case in cases]).embedding
    return pictures, encoder.embed_texts([case.caption for case in cases]).embedding


@pytest.fixture
def captioned(tmp_path: Path, vectors: tuple[np.ndarray, np.ndarray]) -> Iterator[LocalGallery]:
    """A gallery of scenes with captions, of captions alone, and of pictures alone: a third each."""
    pictures, captions = vectors
    with open_gallery(tmp_path / "captions", space="demo", dim=pictures.shape[1], create=True) as gallery:
        gallery.upsert(
            [
                NewItem(
                    id=f"{number:03d}",
                    image_embedding=pictures[number] if number % 3 != 1 else None,
                    text_embedding=captions[number] if number % 3 != 2 else None,
                    text="a caption" if number % 3 != 2 else None,
                    content_digest=str(number),
                )
                for number in range(NUMBER)
            ]
        )
        yield gallery


@pytest.mark.parametrize(
    ("asked", "target"), [("text", "image"), ("image", "text"), ("text", "text"), ("image", "image")]
)
def test_hits_are_those_of_brute_force(
    captioned: LocalGallery, vectors: tuple[np.ndarray, np.ndarray], asked: str, target: str
) -> None:
    of = {"image": vectors[0], "text": vectors[1]}
    lacks = {"image": 1, "text": 2}
    scores = of[asked] @ of[target].T
    scores[:, np.arange(NUMBER) % 3 == lacks[target]] = -np.inf
    found = captioned.search(of[asked], top_k=10, target=target)
    for line, hits in zip(scores, found, strict=True):
        best = np.sort(line)[::-1][:10]
        np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-5)
        assert [line[int(hit.id)] for hit in hits] == pytest.approx(best.tolist(), abs=1e-5)


@pytest.mark.parametrize(("asked", "target"), [("text", "image"), ("image", "text")])
def test_a_caption_finds_its_picture_and_a_picture_its_caption(
    captioned: LocalGallery, vectors: tuple[np.ndarray, np.ndarray], asked: str, target: str
) -> None:
    of = {"image": vectors[0], "text": vectors[1]}
    whole = [number for number in range(NUMBER) if number % 3 == 0]
    found = captioned.search(of[asked][whole], top_k=5, target=target)
    right = [f"{number:03d}" in {hit.id for hit in hits} for number, hits in zip(whole, found, strict=True)]
    assert np.mean(right) >= 0.6  # chance is 5 of 43
