"""Codes in a bundle: the exported look-up is the model's, ties included, and parity counts what differs."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from export import ExportReport
from export.code_parity import with_same_codes
from export.graphs import plan_graphs
from export.onnx_file import write_onnx
from runtime.bundle.consistency import contradictions
from runtime.bundle.manifest import Manifest, TensorSpec
from runtime.encoder import Encoder
from runtime.engines.onnx import OnnxEngine
from tests.numerics.small import MODEL, small_tokenizer
from training.model import PairModel, VisualDictionaryConfig


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8))


def test_pictures_have_codes(small_export: ExportReport):
    encoder = Encoder.load(small_export.bundle, provider="cpu")
    found = encoder.embed_images([picture(0), picture(1), picture(0)])
    assert found.codes is not None
    assert found.codes.dtype == np.int64
    assert found.codes.shape == (3, 16)
    assert np.array_equal(found.codes[0], found.codes[2])
    assert found.codes.min() >= 0
    assert found.codes.max() < 12
    assert len(np.unique(found.codes)) > 1


def test_parity_of_codes_is_on_record(small_export: ExportReport):
    decisions = small_export.manifest.decisions
    assert decisions is not None
    assert decisions.codes is not None
    assert decisions.codes >= 0.99


def test_codes_of_another_number_of_patches_contradict_the_manifest(small_export: ExportReport):
    manifest = small_export.manifest
    image = manifest.graphs["image_encoder"]
    wrong = TensorSpec(name="codes", dtype="int64", shape=("batch", 15))
    outputs = tuple(wrong if spec.name == "codes" else spec for spec in image.outputs)
    graphs = {**manifest.graphs, "image_encoder": image.model_copy(update={"outputs": outputs})}
    said = list(contradictions(Manifest(**{**manifest.model_dump(), "graphs": graphs})))
    assert any("codes of image_encoder has 15" in sentence for sentence in said)


def dictionary_model(*, begins: bool) -> PairModel:
    torch.manual_seed(0)
    dictionary = VisualDictionaryConfig(size=12, share=0.5, start_step=1)
    model = dataclasses.replace(MODEL, visual_dictionary=dictionary).build(small_tokenizer().get_vocab_size()).eval()
    if begins and model.visual_dictionary is not None:
        model.visual_dictionary.advance(model.image_encoder(torch.randn(8, 3, 32, 32)))
    return model


def test_of_two_equal_codes_the_graph_takes_the_first_as_the_model_does(tmp_path: Path):
    model = dictionary_model(begins=True)
    dictionary = model.visual_dictionary
    assert dictionary is not None
    dictionary.vectors.copy_(torch.cat([dictionary.vectors[:6]] * 2))
    pixels = torch.randn(5, 3, 32, 32)
    plan, *_ = plan_graphs(model, pixels=pixels, max_subwords=8, vocab_size=10)
    write_onnx(plan, tmp_path / "image.onnx", max_subwords=8)
    engine = OnnxEngine(tmp_path / "image.onnx", provider="cpu", num_threads=1)
    found = engine.run({"pixels": pixels.numpy()}, ["codes", "patch_tokens"])
    with torch.no_grad():
        expected = model.encode_images(pixels)
    assert expected.codes is not None
    assert np.array_equal(found["codes"], expected.codes.numpy())
    assert found["codes"].max() < 6
    np.testing.assert_allclose(found["patch_tokens"], expected.tokens.numpy(), atol=1e-4)


def test_a_dictionary_that_has_not_begun_is_not_exported():
    plan, *_ = plan_graphs(
        dictionary_model(begins=False), pixels=torch.zeros(2, 3, 32, 32), max_subwords=8, vocab_size=10
    )
    assert "codes" not in [spec.name for spec in plan.outputs]
    assert len(plan.module(torch.zeros(2, 3, 32, 32))) == len(plan.outputs)


def test_tokens_are_compared_where_the_code_is_the_same():
    rng = np.random.default_rng(0)
    expected = {"codes": np.array([[0, 1, 2]]), "patch_tokens": rng.standard_normal((1, 3, 2))}
    found = {"codes": np.array([[0, 5, 2]]), "patch_tokens": expected["patch_tokens"] + 1.0}
    put, is_same = with_same_codes(expected, found)
    assert is_same.tolist() == [[True, False, True]]
    np.testing.assert_allclose(put["patch_tokens"] - expected["patch_tokens"], [[[1, 1], [0, 0], [1, 1]]])
