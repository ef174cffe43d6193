"""Word maps against brute force: the slope of the matching logit by finite differences, attention weight by weight."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from tests.numerics.small import small_batch, small_model
from tests.unit.training.test_towers import base
from training.model.fusion_encoder import FusionLayer, TransformerFusion
from training.model.pair_model import PairModel
from training.model.transformer import Attention, key_bias
from training.model.word_maps import word_maps

_STEP = 1e-5


@contextmanager
def added_to_attention(layer: FusionLayer, added: Tensor) -> Iterator[None]:
    """Let the layer's cross-attention gather with its weights plus `added`, [pairs, heads, subwords, patches]."""
    attention = layer.cross_attention

    def shifted(queries: Tensor, memory: Tensor, bias: Tensor | None = None) -> Tensor:
        query, key, value = attention._heads(queries, memory)
        weights = torch.softmax(query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5, dim=-1) + added
        return attention._merge(weights @ value)

    attention.forward = shifted  # type: ignore[method-assign]
    try:
        yield
    finally:
        del attention.forward  # type: ignore[method-assign]


def tokens_of(model: PairModel) -> tuple[Tensor, Tensor, Tensor]:
    batch = small_batch()
    features = model.encode_pairs(batch.pixels.double(), batch.ids, batch.mask)
    return features.text_tokens[:2].detach(), features.text_mask[:2], features.image_tokens[:2].detach()


def attention_of(model: PairModel, tokens: tuple[Tensor, Tensor, Tensor], layer: int) -> Tensor:
    assert isinstance(model.fusion_encoder, TransformerFusion)
    return model.fusion_encoder.with_attention(*tokens, layer=layer)[1].detach()


def slope_by_steps(model: PairModel, tokens: tuple[Tensor, Tensor, Tensor], layer: int) -> Tensor:
    """d match / d attention by central differences, each pair by itself."""
    assert isinstance(model.fusion_encoder, TransformerFusion)
    assert len(model.fusion_encoder.layers) == 2
    part = model.fusion_encoder.layers[layer]
    assert isinstance(part, FusionLayer)
    slope = torch.zeros_like(attention_of(model, tokens, layer))
    model.fusion_encoder.relevance_layer = 1 - layer  # the changed layer goes through `forward`
    with torch.no_grad():
        for at in range(slope[0].numel()):
            added = torch.zeros_like(slope)
            added.flatten(1)[:, at] = _STEP
            found = []
            for sign in (1, -1):
                with added_to_attention(part, sign * added):
                    found.append(model.match(model.fuse(*tokens)))
            slope.flatten(1)[:, at] = (found[0] - found[1]) / (2 * _STEP)
    return slope


@pytest.mark.parametrize("layer", [0, 1])
def test_maps_are_attention_times_the_rising_slope(layer: int):
    torch.manual_seed(3)
    model = small_model().double().eval()
    tokens = tokens_of(model)
    attention = attention_of(model, tokens, layer)
    expected = (attention * slope_by_steps(model, tokens, layer).clamp(min=0)).mean(dim=1) * tokens[1][:, :, None]
    found = word_maps(model, *tokens, layer=layer)
    assert expected.abs().max() > 1e-5
    torch.testing.assert_close(found.double(), expected, atol=1e-7, rtol=1e-3)
    assert (found >= 0).all()


def test_maps_leave_no_trace_and_need_no_gradients():
    """Waiting gradients stay, no graph hangs on the maps, and they are the same without gradients and frozen."""
    model = small_model().eval()
    batch = small_batch()
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    tokens = features.text_tokens, features.text_mask, features.image_tokens
    maps = word_maps(model, *tokens)
    assert not maps.requires_grad
    assert all(weight.grad is None for weight in model.parameters())
    with torch.no_grad():
        torch.testing.assert_close(word_maps(model, *tokens), maps)
    model.requires_grad_(False)
    torch.testing.assert_close(word_maps(model, *tokens), maps)


def test_maps_of_a_pair_do_not_depend_on_the_others_nor_on_padding():
    model = small_model().eval()
    batch = small_batch()
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    tokens = features.text_tokens, features.text_mask, features.image_tokens
    maps = word_maps(model, *tokens)
    for row in range(len(maps)):
        one = tuple(part[row : row + 1] for part in tokens)
        torch.testing.assert_close(word_maps(model, *one)[0], maps[row], atol=1e-7, rtol=1e-4)
        assert not maps[row, ~tokens[1][row]].any()
        assert maps[row, tokens[1][row]].any()


def test_maps_of_public_towers():
    """BERT's upper layers give maps of their relevance layer."""
    torch.manual_seed(0)
    model = base().build(40).eval()
    words, patches = torch.randn(2, 5, 16), torch.randn(2, 9, 16)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    encoder = model.fusion_encoder
    assert encoder is not None
    maps = word_maps(model, words, mask, patches)
    assert maps.shape == (2, 5, 9)
    assert (maps >= 0).all()
    assert maps[0].max() > 0
    assert not maps[1, 3:].any()
    torch.testing.assert_close(maps, word_maps(model, words, mask, patches, layer=encoder.relevance_layer))


def test_what_has_no_maps_says_so():
    model = small_model()
    batch = small_batch()
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    tokens = features.text_tokens, features.text_mask, features.image_tokens
    with pytest.raises(ValueError, match="layer 7 is not one of"):
        word_maps(model, *tokens, layer=7)
    model.fusion_encoder = None
    with pytest.raises(ValueError, match="has none"):
        word_maps(model, *tokens)


@pytest.mark.parametrize("masked", [False, True])
def test_fused_attention_gathers_what_written_out_attention_gathers(masked: bool) -> None:
    torch.manual_seed(2)
    attention = Attention(8, 2, memory_width=6).double()
    queries, memory = torch.randn(3, 4, 8, dtype=torch.float64), torch.randn(3, 5, 6, dtype=torch.float64)
    bias = key_bias(torch.tensor([[True] * 5, [True] * 2 + [False] * 3, [True] + [False] * 4])) if masked else None
    results = []
    for gather in (attention.fused, lambda *given: attention.with_weights(*given)[0]):
        leaf = memory.clone().requires_grad_()
        out = gather(queries, leaf, bias)
        results.append((out, torch.autograd.grad(out.square().sum(), leaf)[0]))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
