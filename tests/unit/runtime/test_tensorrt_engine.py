"""TensorRT engines as far as a CPU goes: built, kept, checked, chosen and run over stand-ins for NVIDIA's libraries."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.tensorrt import PARITY_SAMPLES, build_engines, profile_shapes
from runtime.bundle import read_bundle
from runtime.encoder import Encoder
from runtime.engines.fake import PALETTE
from runtime.engines.tensorrt import TensorRtEngine
from runtime.errors import BundleError, EngineError, ExportError
from tests.unit.runtime.stand_in_nvidia import Device, install
from tests.unit.vernier.colour_bundle import write_colour_bundle

NAME = "9.0-trt11.4.0-fp32"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    assert PARITY_SAMPLES >= 100
    monkeypatch.setattr("export.tensorrt.PARITY_SAMPLES", 5)  # what is compared is the same; only how often
    return install(monkeypatch)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_colour_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def built(bundle: Path, device: Device) -> Path:
    build_engines(bundle, batches=(4, 1))
    return bundle


PICTURES = [Image.new("RGB", (48, 32), rgb) for rgb in PALETTE.values()] * 2


def test_engines_say_what_onnx_runtime_says_at_every_size(built: Path) -> None:
    reference, encoder = Encoder.load(built, provider="cpu"), Encoder.load(built, provider="tensorrt")
    assert {engine.provider for engine in encoder.engines.values()} == {"tensorrt"}
    assert encoder.fallback is None
    for count in (1, 2, 4, 5, 9, 16):  # below, at and above the profiles
        ours, theirs = (one.embed_images(PICTURES[:count]) for one in (encoder, reference))
        np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=1e-6)
        np.testing.assert_allclose(ours.patch_tokens, theirs.patch_tokens, atol=1e-6)
    for texts in (["red"], ["red", "a blue star and a green one", "black"], ["white " * 30] * 7):
        ours_text, theirs_text = encoder.embed_texts(texts), reference.embed_texts(texts)
        assert ours_text.word_tokens.shape == theirs_text.word_tokens.shape
        np.testing.assert_allclose(ours_text.embedding, theirs_text.embedding, atol=1e-6)


def test_what_was_in_the_buffers_before_does_not_leak_into_a_smaller_batch(built: Path) -> None:
    encoder = Encoder.load(built, provider="tensorrt")
    encoder.embed_texts(["yellow " * 6] * 4)
    again = encoder.embed_texts(["red"]).embedding
    np.testing.assert_allclose(again, Encoder.load(built, provider="cpu").embed_texts(["red"]).embedding, atol=1e-6)


def test_a_size_is_recorded_once_and_launched_from_then_on(built: Path, device: Device) -> None:
    encoder = Encoder.load(built, provider="tensorrt")
    encoder.embed_images(PICTURES[:3])
    before = device.kernels, device.launches
    encoder.embed_images(PICTURES[:4])
    encoder.embed_images(PICTURES[:2])
    assert (device.kernels - before[0], device.launches - before[1]) == (2, 2)


def test_a_graph_that_cannot_be_recorded_runs_all_the_same(
    built: Path, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    device.records, before = False, device.launches
    encoder, reference = Encoder.load(built, provider="tensorrt"), Encoder.load(built, provider="cpu")
    for count in (3, 2, 4):
        ours, theirs = (one.embed_images(PICTURES[:count]).embedding for one in (encoder, reference))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert device.launches == before
    assert "cannot be recorded" in caplog.text


def test_an_output_that_is_not_wanted_is_not_copied(built: Path) -> None:
    engine = TensorRtEngine.of_bundle(read_bundle(built), "image_encoder")
    pixels = np.zeros((2, 3, 32, 32), np.float32)
    assert set(engine.run({"pixels": pixels}, ["image_embedding"])) == {"image_embedding"}
    with pytest.raises(EngineError, match="does not give"):
        engine.run({"pixels": pixels}, ["regions"])
    with pytest.raises(EngineError, match="not given"):
        engine.run({"images": pixels, "pixels_": pixels}, ["image_embedding"])
    with pytest.raises(EngineError, match="does not fit"):
        engine.run({"pixels": np.zeros((2, 3, 64, 64), np.float32)})


def test_the_record_says_what_they_are(bundle: Path, device: Device) -> None:
    told: list[tuple[int, int]] = []
    report = build_engines(bundle, batches=(4, 1), progress=lambda done, total: told.append((done, total)))
    assert report.folder == bundle / "engines" / NAME
    assert report.built == ("image_encoder", "text_encoder")
    plan = report.record.plans["text_encoder"]
    assert plan.key.graph == read_bundle(bundle).manifest.files["text_encoder.onnx"]
    assert (plan.key.tensorrt, plan.key.compute_capability, plan.key.precision) == ("11.4.0", "9.0", "fp32")
    assert plan.batches == (1, 4)
    assert plan.parity["text_encoder.text_embedding"].samples == 5
    assert told == sorted(told)
    assert told[-1] == (200, 200)
    assert (bundle / "engines" / "timing-9.0-trt11.4.0.cache").read_bytes().startswith(b"timing")
    assert build_engines(bundle, batches=(1, 4)).built == ()
    assert build_engines(bundle, batches=(1, 8)).built == ("image_encoder", "text_encoder")
    assert [path.name for path in (bundle / "engines").glob(".building*")] == []


def test_only_what_is_missing_is_built(built: Path, device: Device) -> None:
    (built / "engines" / NAME / "image_encoder.plan").unlink()
    assert build_engines(built, batches=(1, 4)).built == ("image_encoder",)
    Encoder.load(built, provider="tensorrt")


def test_engines_that_disagree_never_serve(bundle: Path, device: Device) -> None:
    device.skew = 0.5
    with pytest.raises(ExportError, match="parity failed for image_encoder") as caught:
        build_engines(bundle)
    assert caught.value.code == "parity_failed"
    device.skew = 0.0
    with pytest.raises(EngineError, match="vernier engines") as refused:
        Encoder.load(bundle, provider="tensorrt")
    assert refused.value.code == "provider_unavailable"
    assert Encoder.load(bundle).fallback is None


def test_auto_takes_them(built: Path) -> None:
    assert Encoder.load(built).engines["image_encoder"].provider == "tensorrt"


def test_another_gpu_or_another_tensorrt_is_refused_by_name(
    built: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.capability = (8, 6)
    with pytest.raises(EngineError, match=f"compute capability 8.6.*found: {NAME}"):
        Encoder.load(built, provider="tensorrt")
    install(monkeypatch, version="10.16.1")
    with pytest.raises(EngineError, match=r"TensorRT 10\.16\.1"):
        Encoder.load(built, provider="tensorrt")
    encoder = Encoder.load(built)
    assert encoder.engines["image_encoder"].provider == "cpu"
    assert encoder.fallback is not None


def test_engines_of_an_older_export_are_not_taken(built: Path, tmp_path: Path) -> None:
    """The bundle was exported again; engines of its former graphs were copied into it."""
    kept = tmp_path / "kept"
    shutil.copytree(built / "engines", kept)
    record = kept / NAME / "engines.json"
    digest = read_bundle(built).manifest.files["text_encoder.onnx"]
    record.write_text(record.read_text().replace(digest, "0" * 64))
    shutil.rmtree(built / "engines")
    shutil.copytree(kept, built / "engines")
    with pytest.raises(EngineError, match="no TensorRT engine of text_encoder") as caught:
        Encoder.load(built, provider="tensorrt")
    assert caught.value.code == "provider_unavailable"


@pytest.mark.parametrize("damage", ["flip", "remove", "record"])
def test_damaged_engines_are_named_at_the_start(built: Path, damage: str) -> None:
    plan = built / "engines" / NAME / "text_encoder.plan"
    if damage == "flip":
        plan.write_bytes(plan.read_bytes()[:-1] + b"?")
    elif damage == "remove":
        plan.unlink()
    else:
        (plan.parent / "engines.json").write_text("{")
    with pytest.raises(EngineError, match="plan" if damage != "record" else r"engines\.json"):
        Encoder.load(built, provider="tensorrt")


def test_no_gpu(bundle: Path, device: Device) -> None:
    device.gpus = 0
    with pytest.raises(EngineError, match="cudaErrorNoDevice") as caught:
        build_engines(bundle)
    assert caught.value.code == "provider_unavailable"


def test_no_tensorrt(bundle: Path) -> None:
    with pytest.raises(EngineError, match="TensorRT cannot be loaded"):
        build_engines(bundle)


def test_what_is_no_bundle_is_said_first(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds no bundle"):
        build_engines(tmp_path)


def test_profiles_by_hand(bundle: Path) -> None:
    graph = read_bundle(bundle).manifest.graphs["text_encoder"]
    shapes = profile_shapes(graph, at_least=1, batch=8, max_subwords=64)
    assert shapes == {"ids": ((1, 1), (8, 32), (8, 64)), "mask": ((1, 1), (8, 32), (8, 64))}
    image = read_bundle(bundle).manifest.graphs["image_encoder"]
    assert profile_shapes(image, at_least=2, batch=4, max_subwords=9)["pixels"] == (
        (2, 3, 32, 32), (4, 3, 32, 32), (4, 3, 32, 32),
    )  # fmt: skip
