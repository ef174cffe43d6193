"""The proof-reader: two branches through the text encoder's own layers, and its graph."""

import dataclasses
from pathlib import Path

import onnxruntime as ort
import pytest
import torch

from export.graphs import GraphPlan, TorchEngine, plan_graphs
from export.onnx_file import write_onnx
from runtime.engines.protocol import Arrays
from tests.numerics.small import MODEL, small_batch, small_model, small_tokenizer
from training.model import ModelConfig, PairModel, ProofReaderConfig
from training.model.bert_fusion import BertFusionConfig
from training.model.features import ImageLevels
from training.model.proof_reader import CrossAttention
from training.model.public import architecture
from training.model.public_heads import FirstTokenConfig
from training.model.text_tower import TextTowerConfig
from training.model.transformer import key_bias
from training.model.vision_tower import VisionTowerConfig

READER = ProofReaderConfig(heads=2)
TALL = dataclasses.replace(
    MODEL,
    image=dataclasses.replace(MODEL.image, depth=3),
    text=dataclasses.replace(MODEL.text, depth=2),
    proof_reader=READER,
)
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def reading_model(config: ModelConfig = TALL, **changes: bool) -> PairModel:
    torch.manual_seed(0)
    reader = dataclasses.replace(READER, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(config, proof_reader=reader).build(small_tokenizer().get_vocab_size()).eval()


def towers(image: str, text: str) -> ModelConfig:
    return ModelConfig(
        image=VisionTowerConfig(architecture=image),
        text=TextTowerConfig(architecture=text),
        fusion=BertFusionConfig(architecture=architecture("bert", **SIZES), first_layer=1, relevance_layer=0),
        dim=8,
        pools=2,
        text_head=FirstTokenConfig(),
        proof_reader=READER,
    )


VIT = architecture("vit", image_size=32, patch_size=8, **SIZES)
BERT = architecture("bert", max_position_embeddings=16, **SIZES)


def test_local_branch_is_the_text_encoder_with_a_look_at_one_image_block_per_layer():
    model, batch = reading_model(), small_batch()
    reader, text = model.proof_reader, model.text_encoder
    assert reader is not None
    image = model.encode_images(batch.pixels).levels
    assert image is not None

    # by hand: the first and the second of three image blocks
    after = model.image_encoder.project(model.image_encoder.stem(batch.pixels).flatten(2).transpose(1, 2))
    after = after + model.image_encoder.position
    blocks = [after := block(after) for block in model.image_encoder.blocks]
    torch.testing.assert_close(image.levels, torch.stack([blocks[0], blocks[1]], dim=1))
    tokens = text.words(batch.ids) + text.position[: batch.ids.shape[1]]
    for layer, block in enumerate(text.blocks):
        normed = block.norm_attention(tokens)
        tokens = tokens + block.attention(normed, normed, key_bias(batch.mask))
        look = reader.crossings[layer]
        tokens = tokens + look.attention(look.norm(tokens), look.norm_patches(blocks[layer]))
        tokens = tokens + block.feed(block.norm_feed(tokens))
    found = model.proof_tokens(batch.ids, batch.mask, image)
    torch.testing.assert_close(found["local"], text.norm(tokens))


def test_global_branch_adds_the_embedding_to_every_word_vector():
    model, batch = reading_model(), small_batch()
    assert model.proof_reader is not None
    features = model.encode_images(batch.pixels)
    assert features.levels is not None
    torch.testing.assert_close(features.levels.summary, features.embedding)
    found = model.proof_tokens(batch.ids, batch.mask, features.levels)["global"]
    with torch.no_grad():  # adding to all word vectors is the same as adding to all positions
        for row in range(len(batch.ids)):
            before = model.text_encoder.position.clone()
            model.text_encoder.position += model.proof_reader.fit_summary(features.embedding[row])
            by_hand = model.encode_texts(batch.ids[row : row + 1], batch.mask[row : row + 1]).tokens
            model.text_encoder.position.copy_(before)
            torch.testing.assert_close(found[row : row + 1], by_hand)


def test_a_look_does_not_depend_on_how_large_patches_grow_between_blocks():
    torch.manual_seed(0)
    look, tokens, patches = CrossAttention(16, 24, 2), torch.randn(2, 5, 16), torch.randn(2, 9, 24)
    torch.testing.assert_close(look(tokens, 20 * patches + 3), look(tokens, patches), rtol=1e-3, atol=1e-4)


def test_plain_encoding_does_not_know_of_the_proof_reader():
    plain, batch = dataclasses.replace(TALL, proof_reader=None), small_batch()
    model = reading_model()
    torch.manual_seed(1)
    other = plain.build(small_tokenizer().get_vocab_size()).eval()
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("proof_reader.")}
    other.load_state_dict(weights)
    ours = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    theirs = other.encode_pairs(batch.pixels, batch.ids, batch.mask)
    torch.testing.assert_close(ours.text_tokens, theirs.text_tokens, rtol=0, atol=0)
    torch.testing.assert_close(ours.image_embedding, theirs.image_embedding, rtol=0, atol=0)
    assert theirs.image_levels is None
    assert theirs.image_summary is None


def test_branches_are_averaged_as_probabilities():
    model, batch = reading_model(), small_batch()
    image = model.encode_images(batch.pixels).levels
    assert image is not None
    tokens = model.proof_tokens(batch.ids, batch.mask, image).values()
    found = model.proofread(batch.ids, batch.mask, image)
    error = torch.stack([torch.sigmoid(model.word_errors(branch)) for branch in tokens]).mean(0)
    torch.testing.assert_close(torch.sigmoid(found.word_error), error)
    words = torch.stack([torch.softmax(model.corrections(branch), dim=-1) for branch in tokens]).mean(0)
    assert found.correction_ids.shape == (*batch.ids.shape, min(16, words.shape[-1]))
    torch.testing.assert_close(found.correction_scores.exp(), words.gather(-1, found.correction_ids))
    assert (found.correction_scores.diff(dim=-1) <= 0).all()
    torch.testing.assert_close(found.correction_ids[..., 0], words.argmax(dim=-1))


@pytest.mark.parametrize(("has_local", "has_global"), [(True, False), (False, True)])
def test_a_branch_may_be_left_out(has_local: bool, has_global: bool):
    model, batch = reading_model(has_local=has_local, has_global=has_global), small_batch()
    image = model.encode_images(batch.pixels).levels
    assert image is not None
    tokens = model.proof_tokens(batch.ids, batch.mask, image)
    assert list(tokens) == (["local"] if has_local else ["global"])
    (branch,) = tokens.values()
    torch.testing.assert_close(model.proofread(batch.ids, batch.mask, image).word_error, model.word_errors(branch))


@pytest.mark.parametrize(
    ("image_depth", "text_depth", "blocks"),
    [(12, 6, (0, 2, 4, 6, 8, 10)), (2, 2, (0, 1)), (6, 3, (0, 2, 4)), (3, 3, (0, 1, 2)), (1, 2, (0, 0))],
)
def test_blocks_are_evenly_chosen_from_the_first(image_depth: int, text_depth: int, blocks: tuple[int, ...]):
    config = dataclasses.replace(
        TALL,
        image=dataclasses.replace(MODEL.image, depth=image_depth),
        text=dataclasses.replace(MODEL.text, depth=text_depth),
    )
    reader = reading_model(config).proof_reader
    assert reader is not None
    assert reader.blocks == blocks


def test_public_towers():
    model, batch = reading_model(towers(VIT, BERT)), small_batch()
    ids, mask = batch.ids % 12, batch.mask
    features = model.encode_images(batch.pixels)
    assert features.levels is not None
    assert features.levels.levels.shape == (4, 2, 16, 16)  # no class token among the patches
    hidden = model.image_encoder.tower(pixel_values=batch.pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(features.levels.levels[:, 1], hidden[2][:, 1:])
    torch.testing.assert_close(features.levels.summary, hidden[2][:, 0])  # before the last norm
    torch.testing.assert_close(model.text_encoder.crossed(ids, mask), model.text_encoder(ids, mask))
    found = model.proof_tokens(ids, mask, features.levels)
    other = model.proof_tokens(
        ids, mask, ImageLevels(levels=features.levels.levels.flip(-1), summary=features.levels.summary + 1.0)
    )
    for name, tokens in found.items():
        assert (tokens[mask] - other[name][mask]).abs().amax(dim=-1).min() > 1e-3  # every word has looked


def test_encoders_that_cannot_be_looked_into_are_refused():
    swin = architecture(
        "swin", image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4
    )
    with pytest.raises(ValueError, match="Swin"):
        reading_model(towers(swin, BERT))
    clip = architecture("clip_text_model", max_position_embeddings=16, **SIZES)
    with pytest.raises(ValueError, match="both directions"):
        reading_model(dataclasses.replace(towers(VIT, clip), fusion=None))
    with pytest.raises(ValueError, match="has_local or has_global"):
        reading_model(has_local=False, has_global=False)
    with pytest.raises(ValueError, match="no proof-reader"):
        small_model().word_errors(torch.zeros(1, 2, 16))


def in_onnx(plan: GraphPlan, folder: Path, inputs: Arrays) -> Arrays:
    file = folder / f"{plan.name}.onnx"
    write_onnx(plan, file, max_subwords=32)
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in plan.outputs], session.run(None, dict(inputs)), strict=True))


def test_exported_graphs_say_what_the_model_says(tmp_path: Path):
    model, batch = reading_model(), small_batch()
    vocab_size = small_tokenizer().get_vocab_size()
    plans = plan_graphs(model, pixels=batch.pixels, max_subwords=32, vocab_size=vocab_size)
    assert [plan.name for plan in plans] == ["image_encoder", "text_encoder", "fusion", "word_maps", "proof_reader"]
    image, reader = plans[0], plans[-1]
    assert [output.name for output in image.outputs[-2:]] == ["image_levels", "image_summary"]
    pixels = {"pixels": batch.pixels[:3].numpy()}
    seen = in_onnx(image, tmp_path, pixels)
    inputs = {
        "ids": batch.ids[:3, :5].numpy(),
        "mask": batch.mask[:3, :5].long().numpy(),
        "image_levels": seen["image_levels"],
        "image_summary": seen["image_summary"],
    }
    said = in_onnx(reader, tmp_path, inputs)
    expected = TorchEngine(image).run(pixels) | TorchEngine(reader).run(inputs)
    assert list(said) == ["word_error", "correction_ids", "correction_scores"]
    for name, found in (seen | said).items():
        torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(expected[name]), rtol=1e-3, atol=1e-4)
