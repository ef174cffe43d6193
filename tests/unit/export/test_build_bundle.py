"""From three training steps to a bundle that says the same as the model, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from export import ExportReport, build
from export.assemble import PARITY_SAMPLES
from runtime.bundle import read_bundle
from runtime.bundle.digest import file_digest
from runtime.encoder import Encoder
from runtime.errors import BundleError, ExportError
from runtime.grounding import ground
from runtime.proofread import proofread
from runtime.word_judges import method_of
from training.checkpoint import load_trained
from training.data.source import Sample
from training.errors import TrainingError


@pytest.fixture(scope="module")
def samples(small_checkpoint: Path) -> list[Sample]:
    trained = load_trained(small_checkpoint)
    source = trained.config.data.open(None, tokenizer=trained.tokenizer, batch_size=2, seed=99)
    return list(source.held_out(10))


def test_the_served_encoder_says_what_the_model_says(
    small_checkpoint: Path, small_export: ExportReport, samples: list[Sample]
):
    trained = load_trained(small_checkpoint)
    encoder = Encoder.load(small_export.bundle, provider="cpu")
    images = encoder.embed_images([sample.image for sample in samples])
    texts = encoder.embed_texts([sample.caption for sample in samples])
    fused = encoder.fuse(texts, images)
    with torch.no_grad():
        pixels = np.stack([encoder.image_input(sample.image) for sample in samples])
        image = trained.model.encode_images(torch.from_numpy(pixels))
        text = trained.model.encode_texts(torch.from_numpy(texts.batch.ids), torch.from_numpy(texts.batch.mask).bool())
        expected = trained.model.fuse(text.tokens, text.mask, image.tokens)
        match = trained.model.match(expected)
    for ours, theirs in ((images.embedding, image.embedding), (texts.embedding, text.embedding)):
        assert np.sum(ours * theirs.numpy(), axis=1).min() > 0.9999
        assert np.linalg.norm(ours, axis=1) == pytest.approx(1, abs=1e-5)
    assert images.patch_embeddings is not None
    assert np.linalg.norm(images.patch_embeddings, axis=-1) == pytest.approx(1, abs=1e-5)
    assert fused.match == pytest.approx(match.numpy(), abs=1e-4)
    assert fused.relevance is not None
    assert fused.relevance.sum(axis=-1) == pytest.approx(1, abs=1e-5)
    assert fused.suggestions is not None
    assert fused.suggestions.shape[-1] == trained.tokenizer.get_vocab_size()


def test_padding_changes_nothing(small_export: ExportReport):
    encoder = Encoder.load(small_export.bundle, provider="cpu")
    alone = encoder.embed_texts(["a red circle"]).embedding[0]
    padded = encoder.embed_texts(["a red circle", "a big red circle is to the left of a small blue star"]).embedding[0]
    assert alone == pytest.approx(padded, abs=1e-5)


def test_the_bundle_grounds_and_proofreads(small_export: ExportReport, samples: list[Sample]):
    encoder = Encoder.load(small_export.bundle, provider="cpu")
    image = encoder.embed_images([samples[0].image], to_proofread=True)
    assert ground(encoder, image, [samples[0].phrases[0][0]])[0].method == "regions"
    assert proofread(encoder, image, samples[0].caption).method == method_of(encoder)
    del encoder.engines["proof_reader"]
    assert proofread(encoder, image, samples[0].caption).method == "masked_words"


def test_the_manifest_tells_where_it_comes_from(small_checkpoint: Path, small_export: ExportReport):
    manifest = read_bundle(small_export.bundle).manifest
    assert manifest == small_export.manifest
    assert manifest.name == "small"
    assert manifest.provenance.recipe == "tests"
    assert manifest.provenance.steps == 3
    assert manifest.provenance.data == "drawn scenes"
    assert manifest.provenance.checkpoint == file_digest(small_checkpoint / "average.safetensors")
    assert manifest.temperature == pytest.approx(0.07, abs=1e-2)
    assert (manifest.image.patch_rows, manifest.image.patch_columns) == (4, 4)
    assert "circle" in read_bundle(small_export.bundle).lexicon()


def test_parity_is_in_the_manifest(small_export: ExportReport):
    manifest = small_export.manifest
    assert set(manifest.parity) == {
        f"{name}.{output.name}"
        for name, graph in manifest.graphs.items()
        for output in graph.outputs
        if output.dtype != "int64"
    }
    assert PARITY_SAMPLES >= 100
    for parity in manifest.parity.values():
        assert parity.samples == PARITY_SAMPLES
        assert parity.smallest_cosine > 0.99999
        assert parity.largest_difference < 1e-3
    decisions = manifest.decisions
    assert decisions is not None
    assert decisions.samples == PARITY_SAMPLES
    assert decisions.best_box is not None
    assert decisions.hottest_patch is not None
    assert min(decisions.top_hit, decisions.flagged_word or 0, decisions.best_box, decisions.hottest_patch) > 0.97


def test_progress_reaches_its_end(export_progress: list[tuple[int, int]], small_export: ExportReport):
    total = len(small_export.manifest.graphs) + 4
    assert export_progress == [(done, total) for done in range(1, total + 1)]


def test_an_unknown_precision_is_refused(small_checkpoint: Path, tmp_path: Path):
    with pytest.raises(ExportError, match="fp8") as caught:
        build(small_checkpoint, tmp_path / "bundle", precision="fp8")
    assert caught.value.code == "precision_unsupported"
    assert not (tmp_path / "bundle").exists()


def test_the_same_checkpoint_gives_the_same_bytes(small_checkpoint: Path, small_export: ExportReport, tmp_path: Path):
    """Exported by another process, from another folder: neither may be in the files."""
    code = """
import sys; from pathlib import Path; from export import build
build(Path(sys.argv[1]), Path(sys.argv[2]), name="small")
"""
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "7"}
    again = tmp_path / "elsewhere" / "bundle"
    subprocess.run(
        [sys.executable, "-c", code, str(small_checkpoint), str(again)], cwd=tmp_path, env=environment, check=True
    )
    manifest = read_bundle(again).manifest
    assert manifest.space == small_export.manifest.space
    assert manifest.files == small_export.manifest.files
    for name in manifest.graphs:
        body = (again / f"{name}.onnx").read_bytes()
        assert str(root).encode() not in body
        assert b"forward" not in body


def test_what_is_no_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(TrainingError, match="no checkpoint"):
        build(tmp_path, tmp_path / "bundle")


def test_another_directory_is_not_overwritten(small_checkpoint: Path, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="not empty"):
        build(small_checkpoint, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
