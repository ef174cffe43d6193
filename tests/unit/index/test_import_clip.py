"""Folders as clip-retrieval and autofaiss write them, into a gallery: vectors as they are, and only of our model."""

from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from index import LocalGallery, open_folder
from index.clip_folder import read_clip_folder
from index.import_clip import ImportReport, import_clip_folder, prove_clip_folder
from index.ingest import Progress
from runtime.encoder import Encoder
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import DataError

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "white")
CUT = 4  # the first file of each kind has so many rows


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return fake_encoder()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for colour in COLOURS:
        Image.new("RGB", (64, 48), PALETTE[colour]).save(folder / f"{colour}.png")
    return folder


Vectors = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def vectors(encoder: Encoder, pictures: Path) -> Vectors:
    """Of the pictures, and of their captions."""
    images = [Image.open(pictures / f"{colour}.png").convert("RGB") for colour in COLOURS]
    texts = [f"a {colour} thing" for colour in COLOURS]
    return encoder.embed_images(images).embedding, encoder.embed_texts(texts).embedding


def write_metadata(folder: Path, pictures: Path, *, captions: bool = True, paths: bool = True) -> None:
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "image_path": str(pictures / f"{colour}.png"),
            "caption": f"a {colour} thing",
            "width": 64,
            "nsfw": float("nan"),
        }
        for colour in COLOURS
    ]
    for row in rows:
        if not captions:
            del row["caption"]
        if not paths:
            row["image_path"] = "/gone/" + Path(str(row["image_path"])).name
    for number, part in enumerate((rows[:CUT], rows[CUT:])):
        pq.write_table(pa.Table.from_pylist(part), folder / "metadata" / f"metadata_{number}.parquet")


def write_npy(folder: Path, name: str, found: np.ndarray) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number, part in enumerate((found[:CUT], found[CUT:])):
        np.save(folder / name / f"{name}_{number}.npy", part.astype(np.float16))  # as clip-retrieval writes them


def write_index(folder: Path, name: str, found: np.ndarray, kind: str = "Flat") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    index = faiss.index_factory(found.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.train(found)
    index.add(found)
    faiss.write_index(index, str(folder / f"{name}.index"))


Import = Callable[..., tuple[ImportReport, LocalGallery]]


@pytest.fixture
def imported(tmp_path: Path, encoder: Encoder) -> Import:
    def run(
        folder: Path, *, images_dir: Path | None = None, is_trusted: bool = False, progress: Progress | None = None
    ) -> tuple[ImportReport, LocalGallery]:
        proved = prove_clip_folder(encoder, folder, images_dir=images_dir, is_trusted=is_trusted)
        gallery = open_folder(tmp_path / "gallery", space=encoder.space, dim=encoder.dim, create=True)
        return import_clip_folder(gallery, encoder, proved, images_dir=images_dir, progress=progress), gallery

    return run


def test_a_folder_of_embeddings(imported: Import, vectors: Vectors, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    write_npy(folder, "img_emb", 3 * vectors[0])  # of any length
    write_npy(folder, "text_emb", vectors[1])
    write_metadata(folder, pictures)
    told: list[tuple[int, int]] = []
    report, gallery = imported(folder, progress=lambda *done: told.append(done))
    with gallery:
        assert (report.created, report.pictures, told[-1]) == (7, 7, (7, 7))
        assert report.cosine is not None
        assert report.cosine > 0.99
        for number, colour in enumerate(COLOURS):
            name = f"{pictures}/{colour}.png".lstrip("/")
            item = gallery.get(name)
            assert item is not None
            assert (item.text, item.metadata["width"], item.has_picture) == (f"a {colour} thing", 64, True)
            assert "nsfw" not in item.metadata
            for target, wanted in (("image", vectors[0]), ("text", vectors[1])):
                np.testing.assert_allclose(gallery.vector(name, target=target), wanted[number], atol=2e-3)  # type: ignore[arg-type]
        again = import_clip_folder(gallery, fake_encoder(), prove_clip_folder(fake_encoder(), folder))
        assert (again.created, again.unchanged) == (0, 7)


@pytest.mark.parametrize("kind", ["Flat", "HNSW8", "IVF2,Flat", "SQ8"])
def test_a_folder_of_indices(imported: Import, vectors: Vectors, pictures: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "clip"
    write_index(folder, "image", vectors[0], kind)
    write_metadata(folder, pictures)
    report, gallery = imported(folder)
    with gallery:
        assert report.created == 7
        (hits,) = gallery.search(vectors[0][2:3], top_k=1)
        assert hits[0].id.endswith("blue.png")
        (hits,) = gallery.search(vectors[1][2:3], top_k=1, target="text")  # captions without vectors were embedded
        assert hits[0].id.endswith("blue.png")


def test_embeddings_of_autofaiss_alone_are_taken_on_trust_alone(
    imported: Import, vectors: Vectors, tmp_path: Path
) -> None:
    folder = tmp_path / "embeddings"
    folder.mkdir()
    np.save(folder / "part.npy", vectors[0])
    with pytest.raises(DataError, match="--trust") as caught:
        imported(folder)
    assert caught.value.code == "space_unproved"
    report, gallery = imported(folder, is_trusted=True)
    with gallery:
        assert (report.created, report.pictures, report.cosine) == (7, 0, None)
        assert gallery.get("row-000000003") is not None


def test_pictures_that_have_moved_are_found(imported: Import, vectors: Vectors, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    write_npy(folder, "img_emb", vectors[0])
    write_metadata(folder, pictures, captions=False, paths=False)
    with pytest.raises(DataError, match="--images"):
        imported(folder)
    report, gallery = imported(folder, images_dir=pictures)
    with gallery:
        assert report.pictures == 7


@pytest.mark.parametrize("paths", [True, False])
def test_vectors_of_another_model_are_refused_even_on_trust(
    imported: Import, vectors: Vectors, pictures: Path, tmp_path: Path, paths: bool
) -> None:
    folder = tmp_path / "clip"
    other = np.linalg.qr(np.random.default_rng(0).normal(size=(vectors[0].shape[1],) * 2))[0]
    write_npy(folder, "img_emb", vectors[0] @ other)
    write_npy(folder, "text_emb", vectors[1] @ other)
    write_metadata(folder, pictures, paths=paths)
    with pytest.raises(DataError, match="another model made the vectors") as caught:
        imported(folder, is_trusted=True)
    assert caught.value.code == "space_mismatch"
    assert not (tmp_path / "gallery").exists()


def test_another_number_of_dimensions(imported: Import, tmp_path: Path) -> None:
    write_npy(tmp_path / "clip", "img_emb", np.eye(7, 512))
    with pytest.raises(DataError, match="512 numbers"):
        imported(tmp_path / "clip", is_trusted=True)


def test_parts_that_do_not_belong_together(vectors: Vectors, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    write_npy(folder, "img_emb", vectors[0][:6])
    write_metadata(folder, pictures)
    with pytest.raises(DataError, match="6 pictures' vectors, 7 rows of metadata"):
        read_clip_folder(folder)


@pytest.mark.parametrize("harm", ["nothing", "no folder", "npy", "index", "parquet", "zero"])
def test_what_cannot_be_read(vectors: Vectors, pictures: Path, tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "clip"
    if harm != "no folder":
        folder.mkdir()
    if harm == "npy":
        (folder / "a.npy").write_bytes(b"no array")
    elif harm == "index":
        (folder / "image.index").write_bytes(b"no index")
    elif harm in ("parquet", "zero"):
        np.save(folder / "a.npy", np.zeros((7, 8)))
        write_metadata(folder, pictures)
    if harm == "parquet":
        (folder / "metadata" / "metadata_0.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError):
        list(read_clip_folder(folder).rows(4))
