"""Damaged bundles: each is refused when it is opened, by name, and never by the first request."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from runtime.bundle.digest import file_digest, space_of
from runtime.bundle.manifest import SCHEMA_VERSION, Manifest
from runtime.encoder import Encoder
from runtime.errors import BundleError, EngineError, VernierError
from tests.unit.vernier.colour_bundle import write_colour_bundle


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "colours"
    write_colour_bundle(out)
    return out


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "bundle")
    Encoder.load(tmp_path / "bundle", provider="cpu", num_threads=1)
    return tmp_path / "bundle"


def seal(bundle: Path, **changes: object) -> None:
    """Make digests and space fit again, as an attacker or a clumsy hand would: only running it tells then."""
    file = bundle / "manifest.json"
    raw = json.loads(file.read_text()) | changes
    raw["files"] = {name: file_digest(bundle / name) for name in raw["files"]}
    manifest = Manifest.model_validate(raw)
    raw["space"] = space_of(manifest.graphs, manifest.text, manifest.image, manifest.files)
    file.write_text(json.dumps(raw))


def flip(file: Path, at: int) -> None:
    body = bytearray(file.read_bytes())
    body[at % len(body)] ^= 0x40
    file.write_bytes(bytes(body))


FILES = ("image_encoder.onnx", "text_encoder.onnx", "tokenizer.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0, 57, -1])
def test_one_flipped_byte(bundle: Path, name: str, where: int) -> None:
    flip(bundle / name, where)
    with pytest.raises(BundleError, match=f"{name} has digest") as caught:
        Encoder.load(bundle)
    assert caught.value.code == "bundle_damaged"


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file(bundle: Path, name: str) -> None:
    body = (bundle / name).read_bytes()
    (bundle / name).write_bytes(body[: len(body) // 2])
    with pytest.raises(BundleError, match=name):
        Encoder.load(bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Encoder.load(bundle)


def test_a_folder_in_place_of_a_file(bundle: Path) -> None:
    (bundle / "text_encoder.onnx").unlink()
    (bundle / "text_encoder.onnx").mkdir()
    with pytest.raises(BundleError, match=r"text_encoder\.onnx is missing"):
        Encoder.load(bundle)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_an_unreadable_file(bundle: Path, name: str) -> None:
    (bundle / name).chmod(0)
    with pytest.raises(BundleError, match=name):
        Encoder.load(bundle)


def test_a_file_that_the_disk_cannot_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk, for every user: the digest is where a file is first read."""

    def broken(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("runtime.bundle.reader.file_digest", broken)
    with pytest.raises(BundleError, match=r"image_encoder\.onnx cannot be read \(Input/output error\)"):
        Encoder.load(bundle)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 1}'])
def test_a_manifest_that_is_none(bundle: Path, body: bytes) -> None:
    (bundle / "manifest.json").write_bytes(body)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Encoder.load(bundle)


def test_a_manifest_of_tomorrow(bundle: Path) -> None:
    file = bundle / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": SCHEMA_VERSION + 1, "new": []}))
    with pytest.raises(BundleError, match="Upgrade vernier") as caught:
        Encoder.load(bundle)
    assert caught.value.code == "bundle_too_new"


def other_outputs(model: onnx.ModelProto) -> None:
    """Embeddings of another width, as another model's."""
    for tensor in model.graph.initializer:
        if tensor.name == "table":
            table = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.concatenate([table, table], axis=1), "table"))
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[-1].dim_value = 6


def smaller_vocabulary(model: onnx.ModelProto) -> None:
    """A text encoder of another tokenizer."""
    for tensor in model.graph.initializer:
        if tensor.name == "table":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:10], "table"))


def no_numbers(model: onnx.ModelProto) -> None:
    """Weights that overflowed."""
    for tensor in model.graph.initializer:
        if tensor.name == "table":
            table = numpy_helper.to_array(tensor).copy()
            table[:] = np.nan
            tensor.CopyFrom(numpy_helper.from_array(table, "table"))


def other_input(model: onnx.ModelProto) -> None:
    """A graph whose inputs have other names."""
    for node in model.graph.node:
        node.input[:] = ["tokens" if name == "ids" else name for name in node.input]
    model.graph.input[0].name = "tokens"


@pytest.mark.parametrize("change", [other_outputs, smaller_vocabulary, no_numbers, other_input])
def test_a_graph_of_another_model_with_digests_that_fit(
    bundle: Path, change: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load(bundle / "text_encoder.onnx")
    change(model)
    onnx.save(model, bundle / "text_encoder.onnx")
    seal(bundle)
    with pytest.raises((BundleError, EngineError), match=r"text_encoder\.onnx"):
        Encoder.load(bundle, provider="cpu")


@pytest.mark.parametrize("provider", ["cpu", "auto"])
def test_a_file_that_is_no_graph_with_a_digest_that_fits(bundle: Path, provider: str) -> None:
    (bundle / "image_encoder.onnx").write_bytes(b"no graph at all")
    seal(bundle)
    with pytest.raises(EngineError, match=r"image_encoder\.onnx"):
        Encoder.load(bundle, provider=provider)


def test_a_tokenizer_that_is_none_with_a_digest_that_fits(bundle: Path) -> None:
    (bundle / "tokenizer.json").write_text("{}")
    seal(bundle)
    with pytest.raises(BundleError, match=r"tokenizer\.json is not a tokenizer"):
        Encoder.load(bundle)


@pytest.mark.parametrize("body", ["{}", "[1]", "nothing", "\ud800"])
def test_a_lexicon_that_is_none_with_a_digest_that_fits(bundle: Path, body: str) -> None:
    (bundle / "lexicon.json").write_bytes(body.encode("utf-8", "surrogatepass"))
    raw = json.loads((bundle / "manifest.json").read_text())
    seal_with = {"files": raw["files"] | {"lexicon.json": ""}, "text": raw["text"] | {"lexicon": "lexicon.json"}}
    seal(bundle, **seal_with)
    with pytest.raises(BundleError, match=r"lexicon\.json is not a list of words"):
        Encoder.load(bundle)


def test_every_refusal_is_a_sentence_without_a_traceback(bundle: Path) -> None:
    flip(bundle / "tokenizer.json", 3)
    with pytest.raises(VernierError) as caught:
        Encoder.load(bundle)
    assert str(bundle) in str(caught.value)
    assert str(caught.value).endswith("again.")
