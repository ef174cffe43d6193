"""A bundle is read whole or refused with a message that names what is wrong."""

import json
from pathlib import Path

import pytest

from runtime.bundle import Graph, ImageInput, Manifest, Provenance, TensorSpec, TextInput, read_bundle, write_bundle
from runtime.bundle.manifest import SCHEMA_VERSION
from runtime.errors import BundleError, GraphMissingError


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / "sources"
    folder.mkdir()
    contents = {"image_encoder.onnx": b"image", "text_encoder.onnx": b"text", "tokenizer.json": b"{}"}
    for name, body in contents.items():
        (folder / name).write_bytes(body)
    return {name: folder / name for name in contents}


SHAPES: dict[str, tuple[int | str, ...]] = {
    "pixels": ("batch", 3, 32, 32),
    "image_embedding": ("batch", 4),
    "patch_tokens": ("batch", 16, 6),
    "ids": ("batch", "subwords"),
    "mask": ("batch", "subwords"),
    "text_embedding": ("batch", 4),
    "word_tokens": ("batch", "subwords", 5),
    "match": ("batch",),
    "image_levels": ("batch", 3, 16, 6),
    "image_summary": ("batch", 6),
    "word_error": ("batch", "subwords"),
    "correction_ids": ("batch", "subwords", 16),
    "correction_scores": ("batch", "subwords", 16),
}


def graph(file: str, inputs: str, outputs: str, **shapes: tuple[int | str, ...]) -> Graph:
    def specs(names: str) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                name=name, dtype="int64" if name in ("ids", "mask") else "float32", shape=(SHAPES | shapes)[name]
            )
            for name in names.split()
        )

    return Graph(file=file, precision="fp32", opset=18, inputs=specs(inputs), outputs=specs(outputs))


IMAGES = graph("image_encoder.onnx", "pixels", "image_embedding patch_tokens")
TEXTS = graph("text_encoder.onnx", "ids mask", "text_embedding word_tokens")
LEVELS = graph("image_encoder.onnx", "pixels", "image_embedding patch_tokens image_levels image_summary")
READ = ("ids mask image_levels image_summary", "word_error correction_ids correction_scores")
READER = graph("text_encoder.onnx", *READ)


def write(out: Path, sources: dict[str, Path], **changes: object) -> Manifest:
    arguments: dict[str, object] = {
        "name": "tiny",
        "files": sources,
        "image": ImageInput(size_px=32, patch_rows=4, patch_columns=4),
        "text": TextInput(max_subwords=16),
        "graphs": {"image_encoder": IMAGES, "text_encoder": TEXTS},
        "embedding_dim": 4,
        "temperature": 0.07,
        "provenance": Provenance(recipe="none", data="none"),
    }
    return write_bundle(out, **(arguments | changes))  # type: ignore[arg-type]


def edit_manifest(bundle: Path, **changes: object) -> None:
    file = bundle / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_what_was_written_is_read(tmp_path: Path, sources: dict[str, Path]) -> None:
    written = write(tmp_path / "bundle", sources)
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.manifest == written
    assert bundle.graph("image_encoder").file == "image_encoder.onnx"
    assert bundle.lexicon() == []


def test_a_proof_reader_is_a_graph_like_the_others(tmp_path: Path, sources: dict[str, Path]) -> None:
    sources = {**sources, "proof_reader.onnx": sources["text_encoder.onnx"]}
    reader = graph("proof_reader.onnx", *READ)
    out = tmp_path / "bundle"
    graphs = {"image_encoder": LEVELS, "text_encoder": TEXTS, "proof_reader": reader}
    assert write(out, sources, graphs=graphs).graphs["proof_reader"] == reader
    assert read_bundle(out).graph_file("proof_reader") == out / "proof_reader.onnx"
    (out / "proof_reader.onnx").write_bytes(b"torn")
    with pytest.raises(BundleError, match=r"proof_reader\.onnx has digest") as damaged:
        read_bundle(out)
    assert damaged.value.code == "bundle_damaged"
    (out / "proof_reader.onnx").unlink()
    with pytest.raises(BundleError, match=r"incomplete: proof_reader\.onnx is missing"):
        read_bundle(out)


def test_the_space_follows_the_weights_and_the_transform(tmp_path: Path, sources: dict[str, Path]) -> None:
    first = write(tmp_path / "a", sources)
    again = write(tmp_path / "b", sources, name="another name")
    assert first.space == again.space
    other_input = ImageInput(size_px=32, patch_rows=4, patch_columns=4, resize="crop")
    assert write(tmp_path / "c", sources, image=other_input).space != first.space
    bilinear = ImageInput(size_px=32, patch_rows=4, patch_columns=4, resample="bilinear")
    assert write(tmp_path / "e", sources, image=bilinear).space != first.space
    sources["text_encoder.onnx"].write_bytes(b"other weights")
    assert write(tmp_path / "d", sources).space != first.space


def test_a_new_bundle_replaces_the_old_but_nothing_else(tmp_path: Path, sources: dict[str, Path]) -> None:
    out = tmp_path / "bundle"
    write(out, sources)
    write(out, sources, name="second")
    assert read_bundle(out).manifest.name == "second"
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    with pytest.raises(BundleError, match="holds no bundle"):
        write(home, sources)
    assert (home / "letter.txt").read_text() == "dear"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_file_that_the_manifest_would_name_must_be_given(tmp_path: Path, sources: dict[str, Path]) -> None:
    del sources["tokenizer.json"]
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        write(tmp_path / "bundle", sources)


@pytest.mark.parametrize("name", ["image_encoder.onnx", "text_encoder.onnx", "tokenizer.json"])
def test_a_flipped_byte_is_found(tmp_path: Path, sources: dict[str, Path], name: str) -> None:
    out = tmp_path / "bundle"
    write(out, sources)
    body = bytearray((out / name).read_bytes())
    body[0] ^= 1
    (out / name).write_bytes(bytes(body))
    with pytest.raises(BundleError, match=name) as caught:
        read_bundle(out)
    assert caught.value.code == "bundle_damaged"


@pytest.mark.parametrize("name", ["image_encoder.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, sources: dict[str, Path], name: str) -> None:
    out = tmp_path / "bundle"
    write(out, sources)
    (out / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing") as caught:
        read_bundle(out)
    assert caught.value.code == "bundle_damaged"


def test_a_manifest_of_tomorrow_is_refused(tmp_path: Path, sources: dict[str, Path]) -> None:
    out = tmp_path / "bundle"
    write(out, sources)
    edit_manifest(out, schema_version=SCHEMA_VERSION + 1, something_new=True)
    with pytest.raises(BundleError, match="Upgrade vernier") as caught:
        read_bundle(out)
    assert caught.value.code == "bundle_too_new"


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"embedding_dim": "many"}, "embedding_dim"), ({"surprise": 1}, "surprise"), ({"image": {}}, "image")],
)
def test_a_manifest_that_is_none_is_refused(
    tmp_path: Path, sources: dict[str, Path], changes: dict[str, object], named: str
) -> None:
    out = tmp_path / "bundle"
    write(out, sources)
    edit_manifest(out, **changes)
    with pytest.raises(BundleError, match=named):
        read_bundle(out)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        read_bundle(tmp_path)
    assert caught.value.code == "bundle_missing"
    (tmp_path / "manifest.json").write_text("{ not json")
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(tmp_path)


def test_a_file_outside_the_bundle_is_never_read(tmp_path: Path, sources: dict[str, Path]) -> None:
    out = tmp_path / "bundle"
    manifest = write(out, sources)
    edit_manifest(out, files={**manifest.files, "../sources/tokenizer.json": manifest.files["tokenizer.json"]})
    with pytest.raises(BundleError, match="incomplete"):
        read_bundle(out)


def test_a_missing_graph_is_named(tmp_path: Path, sources: dict[str, Path]) -> None:
    out = tmp_path / "bundle"
    write(out, sources)
    with pytest.raises(GraphMissingError, match="fusion"):
        read_bundle(out).graph("fusion")
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["graphs"]["text_encoder"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(GraphMissingError, match="text_encoder"):
        read_bundle(out)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_encoder": graph("image_encoder.onnx", "mask", "image_embedding patch_tokens")}, "takes mask in place"),
        ({"text_encoder": graph("text_encoder.onnx", "ids mask", "text_embedding")}, "gives no word_tokens"),
        (
            {"image_encoder": graph("image_encoder.onnx", "pixels", "image_embedding patch_tokens",
                                    pixels=("batch", 3, 48, 48))},
            "pixels of image_encoder has 48",
        ),
        (
            {"image_encoder": graph("image_encoder.onnx", "pixels", "image_embedding patch_tokens",
                                    patch_tokens=("batch", 9, 6))},
            "patch_tokens of image_encoder has 9 where the rest of the manifest says 16",
        ),
        (
            {"text_encoder": graph("text_encoder.onnx", "ids mask", "text_embedding word_tokens",
                                   text_embedding=("batch", 5))},
            "text_embedding of text_encoder has 5",
        ),
        (
            {"fusion": graph("text_encoder.onnx", "word_tokens mask patch_tokens", "match",
                             word_tokens=("batch", "subwords", 7))},
            r"text_encoder gives word_tokens of shape \[batch, subwords, 5\], fusion takes \[batch, subwords, 7\]",
        ),
        ({"proof_reader": READER}, "image_encoder gives no image_levels, which proof_reader takes"),
        (
            {"image_encoder": LEVELS, "proof_reader": graph("text_encoder.onnx", *READ,
                                                            image_levels=("batch", 6, 16, 6))},
            r"image_levels of shape \[batch, 3, 16, 6\], proof_reader takes \[batch, 6, 16, 6\]",
        ),
        (
            {"image_encoder": LEVELS, "proof_reader": graph("text_encoder.onnx", READ[0], "word_error")},
            "proof_reader gives no correction_ids; proof_reader gives no correction_scores",
        ),
    ],
)  # fmt: skip
def test_a_manifest_that_contradicts_itself_is_refused(
    tmp_path: Path, sources: dict[str, Path], changes: dict[str, Graph], said: str
) -> None:
    out = tmp_path / "bundle"
    write(out, sources, graphs={"image_encoder": IMAGES, "text_encoder": TEXTS, **changes})
    with pytest.raises(BundleError, match=said):
        read_bundle(out)


def test_a_manifest_of_another_bundle_is_refused(tmp_path: Path, sources: dict[str, Path]) -> None:
    """Its digests were made to fit, as by somebody who swapped a graph by hand; the space still tells."""
    manifest = write(tmp_path / "a", sources)
    sources["text_encoder.onnx"].write_bytes(b"another model")
    other = write(tmp_path / "b", sources)
    (tmp_path / "a" / "text_encoder.onnx").write_bytes(b"another model")
    edit_manifest(tmp_path / "a", files=other.files)
    assert manifest.space != other.space
    with pytest.raises(BundleError, match="do not make the space"):
        read_bundle(tmp_path / "a")


def test_the_demo_of_schema_1_is_still_read(demo_bundle: Path) -> None:
    assert read_bundle(demo_bundle).manifest.schema_version <= SCHEMA_VERSION
