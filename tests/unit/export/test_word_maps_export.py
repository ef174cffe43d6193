"""Word maps as a graph: the traced gradient says what autograd says, whatever the batch and the length of the texts."""

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from export import ExportReport
from export.assemble import graph_inputs
from export.drawn import drawn_cases
from export.graphs import GraphPlan, TorchEngine, plan_graphs
from export.onnx_file import write_onnx
from export.parity import TOLERANCE, agreement, check, measure, samples_of
from export.variants import Variant, write_variant
from runtime.bundle.digest import space_of
from runtime.encoder import Encoder
from runtime.engines import Engine, start_engine
from runtime.errors import ExportError
from tests.numerics.small import MODEL
from tests.unit.training.test_towers import WORDS, base
from training.checkpoint import load_trained
from training.data.source import Sample
from training.model import FusionConfig, ModelConfig
from training.model.bert_fusion import BertFusionConfig


def bert(relevance_layer: int) -> ModelConfig:
    config = base()
    assert isinstance(config.fusion, BertFusionConfig)
    return dataclasses.replace(config, fusion=dataclasses.replace(config.fusion, relevance_layer=relevance_layer))


def of_our_own(relevance_layer: int) -> ModelConfig:
    return dataclasses.replace(MODEL, fusion=FusionConfig(depth=2, heads=2, relevance_layer=relevance_layer))


MODELS = {"bert": bert(0), "our own": of_our_own(0)}


def plans_of(config: ModelConfig, seed: int) -> dict[str, GraphPlan]:
    torch.manual_seed(seed)
    model = config.build(WORDS).eval()
    plans = plan_graphs(model, pixels=torch.randn(2, 3, 32, 32), max_subwords=16, vocab_size=WORDS)
    return {plan.name: plan for plan in plans}


def inputs_of(plan: GraphPlan, lengths: list[int], *, padded_to: int, seed: int) -> dict[str, np.ndarray]:
    """Pairs of random tokens; padding positions are as random as the rest."""
    rng = np.random.default_rng(seed)
    widths = {name: plan.example[name].shape for name in ("word_tokens", "patch_tokens")}
    mask = np.arange(padded_to) < np.asarray(lengths)[:, None]
    return {
        "word_tokens": rng.normal(size=(len(lengths), padded_to, widths["word_tokens"][2])).astype(np.float32),
        "mask": mask.astype(np.int64),
        "patch_tokens": rng.normal(size=(len(lengths), *widths["patch_tokens"][1:])).astype(np.float32),
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_says_what_autograd_says(name: str, tmp_path: Path):
    plan = plans_of(MODELS[name], seed=1)["word_maps"]
    file = tmp_path / "word_maps.onnx"
    write_onnx(plan, file, max_subwords=16)
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [output.shape for output in session.get_outputs()] == [["batch", "subwords", 16]]
    for seed, (lengths, padded_to) in enumerate([([7, 7], 7), ([5], 5), ([2, 9, 16, 4, 3], 16), ([2], 2), ([3], 11)]):
        given = inputs_of(plan, lengths, padded_to=padded_to, seed=seed)
        expected = TorchEngine(plan).run(given)["word_maps"]
        (found,) = session.run(None, given)
        assert expected.shape == (len(lengths), padded_to, 16)
        assert expected.min() >= 0
        assert expected.max() > 0
        np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max(), rtol=1e-3)
        for row, length in enumerate(lengths):
            assert not found[row, length:].any(), "padding is nowhere"
            alone = {
                key: value[[row], :length] if key != "patch_tokens" else value[[row]] for key, value in given.items()
            }
            np.testing.assert_allclose(session.run(None, alone)[0][0], found[row, :length], atol=1e-3 * expected.max())


@pytest.mark.parametrize("config", [bert(1), of_our_own(1), dataclasses.replace(MODEL, fusion=None)])
def test_no_graph_where_no_word_would_be_anywhere(config: ModelConfig):
    """The match is read from the first token, so in the last layer no other token's attention has a slope."""
    assert "word_maps" not in plans_of(config, seed=0)


def test_the_bundle_has_the_maps_and_keeps_its_space(small_export: ExportReport, served: Encoder, by_torch: Encoder):
    manifest = small_export.manifest
    assert manifest.parity["word_maps.word_maps"].smallest_cosine > 0.9999
    without = {name: graph for name, graph in manifest.graphs.items() if name != "word_maps"}
    assert space_of(without, manifest.text, manifest.image, manifest.files) == manifest.space
    cases = drawn_cases(3, size_px=32)
    images = served.embed_images([case.image for case in cases])
    texts = served.embed_texts([case.caption for case in cases])
    found, expected = served.word_maps(texts, images), by_torch.word_maps(texts, images)
    assert found.shape == (3, texts.batch.ids.shape[1], 16)
    np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max())
    np.testing.assert_allclose(served.word_maps(texts[[1]], images[[1]])[0], found[1], atol=1e-3 * expected.max())


def test_other_weights_are_refused_by_name(served: Encoder, by_torch: Encoder):
    samples = samples_of(served, drawn_cases(6, size_px=32))
    check(measure(served.manifest.graphs, by_torch.engines, served.engines, samples), TOLERANCE["fp32"])
    turned = {**served.engines, "word_maps": _Reversed(served.engines["word_maps"])}
    with pytest.raises(ExportError, match=r"parity failed for word_maps\.word_maps"):
        check(measure(served.manifest.graphs, by_torch.engines, turned, samples), TOLERANCE["fp32"])
    elsewhere = Encoder(served.manifest, served.text_transform, turned, lexicon=served.lexicon)
    decisions = agreement(by_torch, elsewhere, drawn_cases(6, size_px=32))
    assert decisions.hottest_patch is not None
    assert decisions.hottest_patch < 0.9
    assert decisions.best_box == 1


class _Reversed:
    """The maps of a picture that is upside down."""

    provider = "test"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, inputs, outputs=None):
        return {name: value[:, :, ::-1] for name, value in self._engine.run(inputs, outputs).items()}


@pytest.mark.parametrize("variant", ["fp16", "int8_dynamic", "int8_static"])
def test_the_maps_at_other_precisions(
    variant: Variant, small_checkpoint: Path, small_export: ExportReport, served: Encoder, tmp_path: Path
):
    trained = load_trained(small_checkpoint)
    source = trained.config.data.open(None, tokenizer=trained.tokenizer, batch_size=2, seed=3)
    samples: list[Sample] = list(source.held_out(16))
    batches = graph_inputs(served, samples)["word_maps"]
    file = tmp_path / f"{variant}.onnx"
    write_variant(variant, small_export.bundle / "word_maps.onnx", file, samples=batches)
    engine = start_engine(file)
    for batch in batches:
        found, expected = engine.run(batch)["word_maps"], served.engines["word_maps"].run(batch)["word_maps"]
        assert found.dtype == np.float32
        assert found.min() >= 0
        cosine = np.sum(found * expected) / np.linalg.norm(found) / np.linalg.norm(expected)
        assert cosine > (0.999 if variant == "fp16" else 0.9)
