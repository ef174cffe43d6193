"""The model's parts: shapes, padding, what looks where."""

import dataclasses

import pytest
import torch
from torch import nn

from tests.numerics.small import MODEL, small_batch, small_model
from training.model import ConvPatchConfig, FusionConfig
from training.model.fusion_encoder import TransformerFusion
from training.model.heads import PooledProjection


@pytest.mark.parametrize(
    "config",
    [
        ConvPatchConfig(stem_blocks=(0, 0, 0)),
        ConvPatchConfig(size_px=32, stem_channels=(8, 16), stem_strides=(2, 4), stem_blocks=(0, 0)),
        ConvPatchConfig(size_px=30, stem_channels=(8, 16), stem_strides=(1, 5), stem_blocks=(0, 0)),
    ],
)
def test_a_patch_looks_at_its_own_square(config: ConvPatchConfig):
    """What a patch of the stem depends on is centred on the square of pixels that the patch stands for."""
    stem = config.build().stem
    for part in stem:
        if isinstance(part, nn.Conv2d):
            nn.init.ones_(part.weight)
    pixels = torch.rand(1, 3, config.size_px, config.size_px, requires_grad=True)
    side = config.size_px // config.patch_px
    row, column = side // 2, side // 2 - 1
    stem(pixels)[0, :, row, column].sum().backward()
    assert pixels.grad is not None
    seen = pixels.grad[0].abs().sum(0) > 0
    for at, place in ((seen.any(dim=1), row), (seen.any(dim=0), column)):
        first, last = at.nonzero().flatten()[[0, -1]].tolist()
        assert (first + last + 1) / 2 == (place + 0.5) * config.patch_px


def test_shapes_and_lengths():
    model, batch = small_model(), small_batch()
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    assert features.image_tokens.shape == (4, 16, 16)
    assert features.patch_embeddings.shape == (4, 16, 8)
    assert features.image_embedding.shape == features.text_embedding.shape == (4, 8)
    for unit in (features.image_embedding, features.text_embedding, features.patch_embeddings):
        assert torch.allclose(unit.norm(dim=-1), torch.ones(unit.shape[:-1]), atol=1e-5)
    fused = model.fuse(features.text_tokens, features.text_mask, features.image_tokens)
    assert fused.relevance.shape == (4, batch.ids.shape[1], 16)
    assert torch.allclose(fused.relevance.sum(-1), torch.ones(4, batch.ids.shape[1]), atol=1e-5)
    assert model.match(fused).shape == (4,)
    assert model.masked_words(fused.tokens).shape == (*batch.ids.shape, batch.special.vocab_size)


def test_padding_changes_no_text():
    model, batch = small_model().eval(), small_batch()
    longer_ids = nn.functional.pad(batch.ids, (0, 5), value=batch.special.pad)
    longer_mask = nn.functional.pad(batch.mask, (0, 5))
    images = model.encode_images(batch.pixels)
    short, long = model.encode_texts(batch.ids, batch.mask), model.encode_texts(longer_ids, longer_mask)
    assert torch.allclose(short.embedding, long.embedding, atol=1e-5)
    matches = [model.match(model.fuse(text.tokens, text.mask, images.tokens)) for text in (short, long)]
    assert torch.allclose(*matches, atol=1e-5)


def test_the_fusion_encoder_reads_in_both_directions():
    """The first word's fused token depends on the last word: nothing is causal."""
    model = small_model().eval()
    words = torch.randn(1, 5, 16, requires_grad=True)
    fused = model.fuse(words, torch.ones(1, 5, dtype=torch.bool), torch.randn(1, 16, 16))
    fused.tokens[0, 0, 0].backward()
    assert words.grad is not None
    assert (words.grad[0].abs().sum(-1) > 0).all()


def test_a_token_alone_has_the_embedding_that_it_gives_the_pool():
    head = PooledProjection(6, 4, pools=2)
    pooled, each = head(torch.randn(3, 1, 6))
    assert torch.allclose(pooled, each[:, 0], atol=1e-6)


def test_without_fusion_encoder_fusing_is_refused():
    model = dataclasses.replace(MODEL, fusion=None).build(20)
    with pytest.raises(ValueError, match="fusion"):
        model.fuse(torch.zeros(1, 2, 16), torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 16, 16))


def test_configs_that_cannot_be_built():
    with pytest.raises(ValueError, match="multiple of the patch side"):
        ConvPatchConfig(size_px=97).build()
    with pytest.raises(ValueError, match="same length"):
        ConvPatchConfig(stem_strides=(2, 2)).build()
    with pytest.raises(ValueError, match="heads"):
        ConvPatchConfig(heads=3).build()
    with pytest.raises(ValueError, match="relevance_layer"):
        TransformerFusion(FusionConfig(depth=2, relevance_layer=2), text_width=16, image_width=16)
    with pytest.raises(ValueError, match="pools"):
        PooledProjection(6, 5, pools=2)
    with pytest.raises(ValueError, match="initial_temperature"):
        dataclasses.replace(MODEL, initial_temperature=0.9).build(20)
