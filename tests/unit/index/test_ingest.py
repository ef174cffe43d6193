"""Folders and JSONL go in, broken pictures are named, and a second run does nothing twice."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from index import LocalGallery, open_gallery, parse_filter
from index.ingest import add
from runtime.encoder import Encoder
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import DataError, GalleryError


class Counting:
    """An engine that counts the rows it was given."""

    def __init__(self, engine: Any) -> None:
        self.provider = engine.provider
        self.engine = engine
        self.rows = 0

    def run(self, inputs: Mapping[str, Any], *outputs: Any) -> dict[str, Any]:
        self.rows += len(next(iter(inputs.values())))
        return self.engine.run(inputs, *outputs)


@pytest.fixture
def encoder() -> Encoder:
    encoder = fake_encoder()
    encoder.engines.update({name: Counting(engine) for name, engine in encoder.engines.items()})
    return encoder


@pytest.fixture
def gallery(encoder: Encoder, tmp_path: Path) -> Any:
    with open_gallery(tmp_path / "gallery", space=encoder.space, dim=encoder.dim, create=True) as gallery:
        yield gallery


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "warm" / "deep").mkdir(parents=True)
    paint("red").save(folder / "warm" / "red.jpg", quality=95)
    paint("orange", size=(900, 300)).save(folder / "warm" / "deep" / "orange.PNG")
    paint("blue").save(folder / "blue.webp")
    (folder / "notes.txt").write_text("no picture, and not called one")
    (folder / ".hidden.jpg").write_bytes(b"x")
    return folder


def paint(colour: str, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, PALETTE[colour])


def rows_encoded(encoder: Encoder) -> tuple[int, int]:
    return encoder.engines["image_encoder"].rows, encoder.engines["text_encoder"].rows  # type: ignore[attr-defined]


def best(gallery: LocalGallery, encoder: Encoder, text: str, **options: Any) -> str:
    return gallery.search(encoder.embed_texts([text]).embedding, top_k=1, **options)[0][0].id


def test_a_folder_goes_in_and_is_found(gallery: LocalGallery, encoder: Encoder, pictures: Path) -> None:
    told: list[tuple[int, int]] = []
    report = add(gallery, encoder, [pictures], batch_size=2, progress=lambda done, total: told.append((done, total)))
    assert (report.created, report.replaced, report.unchanged, report.broken) == (3, 0, 0, [])
    assert [item.id for item in gallery.page().items] == ["blue.webp", "warm/red.jpg", "warm/deep/orange.PNG"]
    for colour, item_id in (("red", "warm/red.jpg"), ("orange", "warm/deep/orange.PNG"), ("blue", "blue.webp")):
        assert best(gallery, encoder, colour) == item_id
    assert told == [(2, 3), (3, 3)]


def test_thumbnails_are_small_jpegs_and_never_enlarged(gallery: LocalGallery, encoder: Encoder, pictures: Path) -> None:
    add(gallery, encoder, [pictures])
    for item_id, size in (("warm/deep/orange.PNG", (512, 171)), ("warm/red.jpg", (64, 48))):
        picture = Image.open(io.BytesIO(gallery.picture(item_id) or b""))
        assert (picture.format, picture.size) == ("JPEG", size)


def test_a_second_run_changes_and_encodes_nothing(gallery: LocalGallery, encoder: Encoder, pictures: Path) -> None:
    add(gallery, encoder, [pictures])
    before, version = rows_encoded(encoder), gallery.info().version
    report = add(gallery, encoder, [pictures])
    assert (report.created, report.replaced, report.unchanged) == (0, 0, 3)
    assert rows_encoded(encoder) == before
    assert gallery.info().version == version

    paint("green").save(pictures / "blue.webp")
    report = add(gallery, encoder, [pictures])
    assert (report.created, report.replaced, report.unchanged) == (0, 1, 2)
    assert rows_encoded(encoder)[0] == before[0] + 1
    assert best(gallery, encoder, "green") == "blue.webp"
    assert gallery.verify() == []


def test_broken_pictures_are_named_and_the_rest_goes_in(
    gallery: LocalGallery, encoder: Encoder, pictures: Path
) -> None:
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "JPEG")
    (pictures / "truncated.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (pictures / "text.jpg").write_text("I am a text")
    (pictures / "empty.png").touch()
    (pictures / "control\x01.png").write_bytes(whole.getvalue())
    (pictures / "gone.jpg").symlink_to(pictures / "nowhere.jpg")
    huge = Image.new("1", (7000, 7000))
    huge.save(pictures / "huge.png")

    report = add(gallery, encoder, [pictures])
    assert report.created == 3
    reasons = {Path(name).name: reason for name, reason in report.broken}
    assert reasons.keys() == {"truncated.jpg", "text.jpg", "empty.png", "control\x01.png", "gone.jpg", "huge.png"}
    assert "damaged" in reasons["truncated.jpg"]
    assert "not a picture" in reasons["text.jpg"]
    assert "control character" in reasons["control\x01.png"]
    assert "No such file" in reasons["gone.jpg"]
    assert "7000" in reasons["huge.png"]


def test_lines_with_texts_metadata_and_mistakes(
    gallery: LocalGallery, encoder: Encoder, pictures: Path, tmp_path: Path
) -> None:
    lines: list[Any] = [
        {"image": "warm/red.jpg", "text": "a red circle", "metadata": {"year": 1999}, "split": "dev"},
        {"image": "blue.webp", "id": "the blue one", "captions": ["a blue square", "blue"]},
        {"id": "words", "text": "green and yellow"},
        {"text": "without an id"},
        {"image": "../secret.jpg"},
        {"image": "/etc/passwd"},
        {"image": 3},
        {"image": "warm/red.jpg"},
        {"image": "missing.jpg"},
        {"image": "blue.webp", "id": "x", "metadata": {"or": 1}},
        {"image": "blue.webp", "id": "long", "text": "red " * 100_000},
        [1],
    ]
    file = tmp_path / "lines.jsonl"
    file.write_text("\n".join([*map(json.dumps, lines), "", "{not json"]))
    report = add(gallery, encoder, [file], images_dir=pictures)
    assert report.created == 3
    assert [name.split(" ")[0].rpartition(":")[2] for name, _ in report.broken] == [
        *("4", "5", "6", "7", "10", "12", "14"),  # seen from the line alone
        "8",  # the id of line 1 once more
        *("9", "11"),
    ]
    red = gallery.get("warm/red.jpg")
    assert red is not None
    assert (red.text, red.metadata) == ("a red circle", {"split": "dev", "year": 1999})
    assert set(red.targets) == {"image", "text"}
    blue = gallery.get("the blue one")
    assert blue is not None
    assert (blue.text, blue.metadata, set(blue.targets)) == (None, {}, {"image"})
    assert best(gallery, encoder, "yellow", target="text") == "words"
    assert best(gallery, encoder, "red", filter=parse_filter({"year": {"lt": 2000}})) == "warm/red.jpg"


def test_captions_become_texts_when_asked(
    gallery: LocalGallery, encoder: Encoder, pictures: Path, tmp_path: Path
) -> None:
    file = pictures.parent / "captions.jsonl"
    pictures.rename(tmp_path / "images")
    file.write_text(
        "\n".join(
            json.dumps({"image": f"{path}", "captions": [f"a {colour} picture", "something"]})
            for path, colour in (("warm/red.jpg", "red"), ("blue.webp", "blue"))
        )
    )
    assert add(gallery, encoder, [file]).created == 2  # found in images/ beside the file
    report = add(gallery, encoder, [file], captions_as_text=True)
    assert (report.replaced, report.broken) == (2, [])
    red = encoder.embed_images([paint("red")]).embedding
    hit = gallery.search(red, top_k=1, target="text")[0][0]
    assert hit.id == "warm/red.jpg"
    item = gallery.get(hit.id)
    assert item is not None
    assert item.text == "a red picture"


def test_new_metadata_alone_encodes_nothing(
    gallery: LocalGallery, encoder: Encoder, pictures: Path, tmp_path: Path
) -> None:
    file = tmp_path / "lines.jsonl"
    for year in (1999, 2001):
        file.write_text(json.dumps({"image": "blue.webp", "text": "blue", "year": year}))
        report = add(gallery, encoder, [file], images_dir=pictures)
    assert report.replaced == 1
    assert rows_encoded(encoder) == (1, 1)
    item = gallery.get("blue.webp")
    assert item is not None
    assert item.metadata == {"year": 2001}
    assert item.has_picture
    assert gallery.verify() == []


def test_single_files_and_two_folders_with_one_name(
    gallery: LocalGallery, encoder: Encoder, pictures: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    paint("green").save(other / "blue.webp")
    report = add(gallery, encoder, [pictures / "warm" / "red.jpg", pictures, other])
    assert report.created == 4
    assert [name for name, _ in report.broken] == [str(other / "blue.webp")]
    assert "already taken" in report.broken[0][1]


def test_a_place_that_is_not_there(gallery: LocalGallery, encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        add(gallery, encoder, [tmp_path / "nowhere"])
    assert refused.value.code == "source_missing"


def test_nothing_to_add(gallery: LocalGallery, encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = add(gallery, encoder, [tmp_path / "empty"])
    assert (report.created, report.broken) == (0, [])


def test_what_was_written_before_a_failure_stays(gallery: LocalGallery, encoder: Encoder, pictures: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(gallery, encoder, [pictures], batch_size=1, progress=stop)
    written = gallery.info().items
    assert 1 <= written <= 2
    report = add(gallery, encoder, [pictures])
    assert (report.created, report.unchanged) == (3 - written, written)


def test_an_encoder_of_another_space_cannot_open_the_gallery(gallery: LocalGallery, encoder: Encoder) -> None:
    folder = gallery.folder
    gallery.close()
    other = fake_encoder(name="other")
    with pytest.raises(GalleryError) as refused:
        open_gallery(folder, space=other.space, dim=other.dim)
    assert refused.value.code == "space_mismatch"


@pytest.mark.photos
def test_photos_go_in_and_are_found_by_their_like(
    gallery: LocalGallery, encoder: Encoder, photos_dir: Path, tmp_path: Path
) -> None:
    lines = (photos_dir / "flickr8k" / "captions.jsonl").read_text().splitlines()[:40]
    file = tmp_path / "captions.jsonl"
    file.write_text("\n".join(lines))
    report = add(gallery, encoder, [file], images_dir=photos_dir / "flickr8k" / "images")
    assert (report.created, report.broken) == (40, [])
    first = json.loads(lines[0])["image"]
    vector = gallery.vector(first)
    assert vector is not None
    assert gallery.search(vector[None], top_k=1)[0][0].id == first
    assert gallery.page(filter=parse_filter({"split": {"exists": True}})).items


def test_larger_pictures_are_kept_when_wanted(tmp_path: Path) -> None:
    Image.new("RGB", (900, 300), "red").save(tmp_path / "wide.png")
    encoder = fake_encoder()
    with open_gallery(tmp_path / "gallery", space=encoder.space, dim=encoder.dim, create=True) as gallery:
        add(gallery, encoder, [tmp_path / "wide.png"], picture_px=800)
        assert Image.open(io.BytesIO(gallery.picture("wide.png"))).size == (800, 267)
