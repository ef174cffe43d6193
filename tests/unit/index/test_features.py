"""What a gallery keeps of pictures beside their vectors: as good as it was given, and never without its item."""

import dataclasses
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import LocalGallery, NewItem, open_gallery, thumbnail
from index.copy import copy
from index.features import ARRAYS, Kept, Part, kept_parts, pack, unpack
from index.fill import fill
from index.ingest import add
from index.migrate import Migration
from index.near_duplicates import by_codes
from runtime.encoder import Encoder, ImageFeatures
from runtime.engines.fake import fake_encoder
from runtime.errors import GalleryError
from runtime.preprocess.image import decode_image
from tests.golden.make import HERE, encoder_of
from tests.unit.index.conftest import new_item
from tests.unit.server.drawing import jpeg, square

EVERYTHING: tuple[Part, ...] = tuple(ARRAYS)
COLOURS = ("red", "green", "blue")


def pictures(folder: Path, names: tuple[str, ...] = COLOURS) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.jpg").write_bytes(jpeg(name))
    return folder


def full_encoder(name: str = "fake") -> Encoder:
    return fake_encoder(proof_reader=True, regions=True, codes=True, name=name)


def opened(place: Path, encoder: Encoder, **options: object) -> LocalGallery:
    gallery = open_gallery(place, space=encoder.space, dim=encoder.dim, create=True, **options)  # type: ignore[arg-type]
    assert isinstance(gallery, LocalGallery)
    return gallery


def shown(encoder: Encoder, name: str) -> ImageFeatures:
    return encoder.embed_images([decode_image(jpeg(name))], to_proofread=True)


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 12)),
    st.floats(0.1, 1e3),
)
def test_int8_is_within_half_a_step_of_each_channel_and_fp16_within_its_precision(
    seed: int, shape: tuple[int, int, int], size: float
) -> None:
    rng = np.random.default_rng(seed)
    channels = rng.lognormal(size=shape[-1])
    tokens = (rng.standard_normal(shape) * channels * size).astype(np.float32)
    features = ImageFeatures(embedding=tokens[:, 0], patch_tokens=tokens, patch_embeddings=None)
    sizes = [(4, 3)] * len(tokens)
    steps = np.abs(tokens).max(axis=1, keepdims=True) / 127
    for precision, most in (("int8", steps * 0.5001), ("fp16", np.abs(tokens) / 1000)):
        kept = pack(features, sizes, ("patch_tokens",), precision)  # type: ignore[arg-type]
        again = unpack(kept, features.embedding, ("patch_tokens",))
        assert (np.abs(again.patch_tokens - tokens) <= most + 1e-6).all()
        twice = unpack(pack(again, sizes, ("patch_tokens",), precision), features.embedding, ("patch_tokens",))  # type: ignore[arg-type]
        np.testing.assert_allclose(twice.patch_tokens, again.patch_tokens, rtol=1e-5)


def test_blobs_of_two_precisions_lie_side_by_side(rng: np.random.Generator) -> None:
    tokens = rng.standard_normal((2, 4, 6)).astype(np.float32)
    features = ImageFeatures(embedding=tokens[:, 0], patch_tokens=tokens, patch_embeddings=None)
    first = pack(features[0:1], [(1, 1)], ("patch_tokens",), "int8")
    second = pack(features[1:2], [(1, 1)], ("patch_tokens",), "fp16")
    again = unpack(first + second, features.embedding, ("patch_tokens",))
    assert np.abs(again.patch_tokens - tokens).max() < 0.02


def test_what_half_precision_cannot_hold_is_refused() -> None:
    tokens = np.full((1, 2, 2), 1e6, np.float32)
    features = ImageFeatures(embedding=tokens[:, 0], patch_tokens=tokens, patch_embeddings=None)
    with pytest.raises(GalleryError, match="cannot be kept"):
        pack(features, [(1, 1)], ("patch_tokens",), "fp16")


def test_what_is_kept_is_what_the_bundle_can_use() -> None:
    assert set(kept_parts(full_encoder(), "int8")) == {"codes", "regions", "patch_tokens", "proof"}
    assert set(kept_parts(full_encoder(), "none")) == {"codes", "regions"}
    assert set(kept_parts(fake_encoder(), "fp16")) == {"patch_tokens", "patch_embeddings"}
    assert set(kept_parts(fake_encoder(fusion=False), "fp16")) == {"patch_embeddings"}


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_added_pictures_keep_what_the_encoder_said(tmp_path: Path, precision: str) -> None:
    encoder = full_encoder()
    with opened(tmp_path / "gallery", encoder, patch_tokens=precision) as gallery:
        add(gallery, encoder, [pictures(tmp_path / "in")])
        kept = gallery.features(["red.jpg"], EVERYTHING)["red.jpg"]
        assert gallery.info().patch_tokens == precision
        assert gallery.verify() == []
    assert kept.size_px == (128, 128)
    wanted = shown(encoder, "red")
    vector = wanted.embedding
    found = unpack([kept], vector, kept_parts(encoder, "int8"))
    for part in kept_parts(encoder, "int8"):
        for name in ARRAYS[part]:
            np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=0.01, err_msg=name)
    np.testing.assert_array_equal(found.codes, wanted.codes)


def test_features_go_with_their_item(open_here: Callable[..., LocalGallery], rng: np.random.Generator) -> None:
    gallery = open_here()
    kept = Kept(size_px=(3, 2), parts={"codes": codes_blob(rng)})
    gallery.upsert([new_item("a", rng, features=kept), new_item("b", rng, features=kept)])
    assert gallery.features(["a", "b", "c"], EVERYTHING) == {"a": kept, "b": kept}
    gallery.upsert([new_item("a", rng, content_digest="another")])
    assert gallery.features(["a"], EVERYTHING) == {}
    gallery.delete("b")
    assert gallery.stats().pictures_with_features == 0
    assert gallery.verify() == []


def codes_blob(rng: np.random.Generator, patches: int = 16) -> bytes:
    codes = rng.integers(0, 50, (1, patches))
    features = ImageFeatures(
        embedding=np.zeros((1, 2), np.float32),
        patch_tokens=np.zeros((1, 1, 1), np.float32),
        patch_embeddings=None,
        codes=codes,
    )
    return pack(features, [(1, 1)], ("codes",), "none")[0].parts["codes"]


def test_no_item_is_stored_without_its_features(
    open_here: Callable[..., LocalGallery], rng: np.random.Generator
) -> None:
    """The disk refuses the features: then there is no item either, and what was there stays as it was."""
    gallery = open_here()
    gallery.upsert([new_item("before", rng)])
    with sqlite3.connect(gallery.folder / "items.sqlite") as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON image_features BEGIN SELECT RAISE(ABORT, 'no room'); END")
    other.close()
    with pytest.raises(GalleryError, match="no room"):
        gallery.upsert([new_item("new", rng, features=Kept(size_px=(1, 1), parts={"codes": codes_blob(rng)}))])
    assert [item.id for item in gallery.page().items] == ["before"]
    assert gallery.verify() == []


def test_an_item_stored_by_an_older_program_gets_its_features_when_stored_again(
    open_here: Callable[..., LocalGallery], rng: np.random.Generator
) -> None:
    gallery = open_here()
    item = new_item("a", rng)
    gallery.upsert([item])
    kept = Kept(size_px=(3, 2), parts={"codes": codes_blob(rng)})
    assert gallery.upsert([dataclasses.replace(item, features=kept)]) == ["unchanged"]
    assert gallery.features(["a"], EVERYTHING) == {"a": kept}


def test_changed_metadata_keeps_features(tmp_path: Path) -> None:
    encoder = full_encoder()
    pictures(tmp_path / "in")
    lines = tmp_path / "in" / "all.jsonl"
    with opened(tmp_path / "gallery", encoder) as gallery:
        lines.write_text('{"image": "red.jpg", "n": 1}\n')
        add(gallery, encoder, [lines])
        before = gallery.features(["red.jpg"], EVERYTHING)
        lines.write_text('{"image": "red.jpg", "n": 2}\n')
        assert add(gallery, encoder, [lines]).replaced == 1
        assert gallery.features(["red.jpg"], EVERYTHING) == before
        assert before


def test_a_copy_has_them_too(tmp_path: Path) -> None:
    encoder = full_encoder()
    with opened(tmp_path / "one", encoder) as one, opened(tmp_path / "two", encoder) as two:
        add(one, encoder, [pictures(tmp_path / "in")])
        copy(one, two)
        ids = [f"{colour}.jpg" for colour in COLOURS]
        assert two.features(ids, EVERYTHING) == one.features(ids, EVERYTHING)
        one.compact()
        assert two.features(ids, EVERYTHING) == one.features(ids, EVERYTHING)


def test_another_model_brings_its_own_and_going_back_the_old_ones(tmp_path: Path) -> None:
    old, new = full_encoder("old"), fake_encoder(name="new")
    with opened(tmp_path / "gallery", old) as gallery:
        add(gallery, old, [pictures(tmp_path / "in")])
        before = gallery.features(["red.jpg"], EVERYTHING)
        moved = Migration(encoder=new).run(gallery)
        parts = moved.features(["red.jpg"], EVERYTHING)["red.jpg"].parts
        assert set(parts) == set(kept_parts(new, "int8"))
        assert moved.verify() == []
        assert gallery.features(["red.jpg"], EVERYTHING) == before  # who asks the old one gets what belongs to it
        back = Migration(encoder=old).run(moved)
        assert back.features(["red.jpg"], EVERYTHING) == before


def test_verify_finds_damaged_features(tmp_path: Path) -> None:
    encoder = full_encoder()
    with opened(tmp_path / "gallery", encoder) as gallery:
        add(gallery, encoder, [pictures(tmp_path / "in")])
        with sqlite3.connect(gallery.folder / "items.sqlite") as other:
            other.execute("UPDATE image_features SET patch_tokens = substr(patch_tokens, 1, 40) WHERE row = 1")
            other.execute("UPDATE image_features SET codes = NULL WHERE row = 2")
            other.execute("DELETE FROM image_vectors WHERE row = 3")
        other.close()
        problems = gallery.verify()
    assert any("patch_tokens" in problem for problem in problems)
    assert any("no vector" in problem for problem in problems)


def test_a_gallery_of_an_older_program_is_filled(tmp_path: Path) -> None:
    place = Path(shutil.copytree(HERE / "0.1" / "gallery", tmp_path / "gallery"))
    with open_gallery(place, read_only=True) as still:
        ids = [item.id for item in still.page().items if item.has_picture]
        assert still.features(ids, EVERYTHING) == {}
        assert still.patch_tokens == "none"
    encoder = encoder_of(HERE / "0.1" / "bundle")
    with open_gallery(place) as gallery:
        assert isinstance(gallery, LocalGallery)
        report = fill(gallery, encoder, patch_tokens="fp16")
        parts = kept_parts(encoder, "fp16")
        assert parts
        assert report.made == len(ids) > 0
        assert report.broken == []
        kept = gallery.features(ids, parts)
        assert set(kept) == set(ids)
        assert gallery.verify() == []
        assert fill(gallery, encoder).made == 0
        assert fill(gallery, encoder, patch_tokens="int8").made == len(ids)
        assert sum(k.nbytes for k in gallery.features(ids, parts).values()) < sum(k.nbytes for k in kept.values())


def test_filling_tells_what_it_cannot_read_and_goes_on(tmp_path: Path) -> None:
    encoder = full_encoder()
    vector = shown(encoder, "red").embedding[0]
    with opened(tmp_path / "gallery", encoder) as gallery:
        gallery.upsert(
            [
                NewItem(id="whole", image_embedding=vector, picture=thumbnail(square("red")), content_digest="1"),
                NewItem(id="torn", image_embedding=vector, picture=b"no picture", content_digest="2"),
                NewItem(id="bare", image_embedding=vector, content_digest="3"),
            ]
        )
        report = fill(gallery, encoder, batch_size=1)
        assert (report.made, report.without_picture, [name for name, _ in report.broken]) == (1, 1, ["torn"])
        with pytest.raises(GalleryError, match="space"):
            fill(gallery, fake_encoder(name="other"))


def test_milvus_refuses_to_keep_them() -> None:
    with pytest.raises(GalleryError, match="Milvus keeps no patch tokens"):
        open_gallery("milvus://127.0.0.1:1/x", space="s", dim=2, create=True, patch_tokens="int8")


def brute(codes: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    same = (codes[:, None] == codes[None]).mean(axis=-1)
    return {(a, b) for a in range(len(codes)) for b in range(a + 1, len(codes)) if same[a, b] >= threshold}


def test_planted_near_duplicates_are_found_without_comparing_all() -> None:
    rng = np.random.default_rng(3)
    codes = np.where(rng.random((400, 64)) < 0.5, 0, rng.integers(1, 60, (400, 64)))  # half of each is background
    for copy_of in range(40):  # each of the last 40 has up to 6 of 64 patches changed
        codes[360 + copy_of] = codes[copy_of]
        changed = rng.choice(64, copy_of % 7, replace=False)
        codes[360 + copy_of, changed] = rng.integers(60, 90, len(changed))
    wanted = brute(codes, 0.9)
    assert len(wanted) >= 40
    found = by_codes([str(row) for row in range(400)], codes)
    assert found.pairs >= 0.97 * len(wanted)
    assert found.compared < 400 * 399 / 2 / 10
    assert found.groups == 40 if found.pairs == len(wanted) else found.groups <= 40
    assert all(similarity >= 0.9 for *_, similarity in found.examples)


def test_a_hundred_times_the_same_picture_is_one_group() -> None:
    found = by_codes([str(row) for row in range(100)], np.ones((100, 16), np.int64))
    assert (found.groups, found.largest_group) == (1, 100)


def test_stats_find_them_in_a_gallery(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in")
    (folder / "red again.jpg").write_bytes(jpeg("red") + b"\n")
    for encoder, method in ((full_encoder(), "codes"), (fake_encoder(name="plain"), "vectors")):
        with opened(tmp_path / method, encoder) as gallery:
            add(gallery, encoder, [folder])
            found = gallery.near_duplicates()
            assert found.method == method
            assert found.pairs == 1
            assert {*found.examples[0][:2]} == {"red.jpg", "red again.jpg"}
