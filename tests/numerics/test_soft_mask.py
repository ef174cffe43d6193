"""Soft masks: by hand, by properties, and without a gradient through the map."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.numerics.small import small_batch, small_model
from training.blocks import recompute_blocks
from training.data.batch import HiddenWords, SpecialTokens
from training.model.word_maps import word_maps
from training.objectives.soft_mask import SoftMaskConfig, as_blob, draw_words, soft_mask

SPECIAL = SpecialTokens(pad=0, unknown=1, start=2, end=3, mask=4, vocab_size=20, contentless=(5, 6))
MAPS = arrays("float32", (3, 12), elements=st.floats(0, 100, width=32)).map(torch.from_numpy)


def test_mask_by_hand():
    relevance = torch.tensor([[0.0, 1.0, 4.0], [2.0, 2.0, 2.0], [3.0, 3.0, 3.0 + 1e-7]])
    expected = torch.tensor([[1.0, 1 - 0.75 / 4, 0.25], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    torch.testing.assert_close(soft_mask(relevance, floor=0.25), expected)


@given(relevance=MAPS, floor=st.floats(0, 1))
def test_mask_keeps_to_its_floor(relevance: torch.Tensor, floor: float) -> None:
    mask = soft_mask(relevance, floor=floor)
    assert (mask >= floor - 1e-6).all()
    assert (mask <= 1).all()
    assert (mask.amax(dim=1) > 1 - 1e-6).all()
    most = relevance.argmax(dim=1, keepdim=True)
    assert torch.equal(mask.gather(1, most)[:, 0], mask.amin(dim=1))


@settings(deadline=None)
@given(relevance=MAPS, seed=st.integers(0, 9))
def test_blob_takes_as_much_in_one_spot(relevance: torch.Tensor, seed: int) -> None:
    torch.manual_seed(seed)
    mask = soft_mask(relevance, floor=0.2)
    blob = as_blob(mask, grid=(3, 4))
    assert torch.equal(blob.sort(dim=1).values, mask.sort(dim=1).values)
    places = torch.tensor([[row, column] for row in range(3) for column in range(4)]).float()
    for values in blob:
        order = values.argsort(stable=True)
        fits = False
        for centre in places:  # some patch is the centre: from it outwards nothing gets darker again
            distance = (places - centre).square().sum(dim=1)
            rings = [values[distance == ring] for ring in distance.unique()]
            fits |= all(a.max() <= b.min() for a, b in pairwise(rings))
        assert fits, values[order]


@settings(deadline=None, max_examples=60)
@given(
    words=st.lists(st.lists(st.integers(1, 19), max_size=8), min_size=1, max_size=4),
    hides=st.booleans(),
    seed=st.integers(0, 99),
)
def test_drawn_words_name_something(words: list[list[int]], hides: bool, seed: int) -> None:
    torch.manual_seed(seed)
    rows = [[2, *row, 3] + [0] * (10 - len(row)) for row in words]
    ids = torch.tensor(rows)
    mask = torch.tensor([[at < len(row) + 2 for at in range(12)] for row in words])
    hidden = torch.rand(ids.shape) < 0.4 if hides else torch.zeros_like(mask)
    drawn = draw_words(ids, mask, SPECIAL, hidden=hidden if hides else None)
    for row, at in enumerate(drawn.tolist()):
        plain = [place for place in range(12) if mask[row, place] and ids[row, place] > 4 and not hidden[row, place]]
        wanted = [place for place in plain if ids[row, place] > 6] or plain or [0]
        assert at in wanted


def test_every_word_that_names_something_is_drawn() -> None:
    torch.manual_seed(0)
    ids = torch.tensor([[2, 7, 5, 8, 9, 3, 0]]).expand(3000, -1)
    counts = torch.bincount(draw_words(ids, ids != 0, SPECIAL), minlength=7)
    assert counts[[0, 2, 5, 6]].sum() == 0
    assert (counts[[1, 3, 4]] - 1000).abs().max() < 120


def test_loss_is_that_of_masked_pairs_and_no_gradient_flows_through_the_mask() -> None:
    """The gradient of the patches is that of a mask that is a constant, made beforehand by hand."""
    model, batch = small_model(), small_batch()
    objective = SoftMaskConfig(floor=0.3).build(model)
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    tokens = features.image_tokens.detach().requires_grad_()
    features = dataclasses.replace(features, image_tokens=tokens, text_tokens=features.text_tokens.detach())
    torch.manual_seed(5)
    output = objective(model, batch, features)
    (found,) = torch.autograd.grad(output.loss, tokens)

    torch.manual_seed(5)
    maps = word_maps(model, features.text_tokens, features.text_mask, tokens)
    chosen = draw_words(batch.ids, batch.mask, batch.special)
    relevance = maps[range(4), chosen]
    least, most = relevance.min(dim=1, keepdim=True).values, relevance.max(dim=1, keepdim=True).values
    mask = (1 - 0.7 * (relevance - least) / (most - least)).detach()
    again = tokens.detach().requires_grad_()
    rows, wrong = objective._draw(batch, features, 4)
    masked = mask[..., None] * again
    fused = model.fuse(
        torch.cat([features.text_tokens, features.text_tokens[wrong]]),
        torch.cat([batch.mask, batch.mask[wrong]]),
        torch.cat([masked, masked[rows]]),
    )
    logits = model.match(fused)
    expected = (torch.nn.functional.softplus(-logits[:4]).sum() + torch.nn.functional.softplus(logits[4:]).sum()) / len(
        logits
    )
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(found, torch.autograd.grad(expected, again)[0])
    assert found.abs().max() > 0
    assert output.report["taken"] == pytest.approx((1 - mask).mean().item())


def test_wrong_texts_have_another_caption() -> None:
    model, batch = small_model(), small_batch()
    objective = SoftMaskConfig().build(model)
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    for seed in range(20):
        torch.manual_seed(seed)
        rows, wrong = objective._draw(batch, features, 4)
        assert rows.tolist() == [0, 1, 2, 3]
        assert all(batch.texts[row] != batch.texts[text] for row, text in zip(rows, wrong, strict=True))


def test_recomputed_blocks_give_the_same_loss_and_gradient() -> None:
    results = []
    for recompute in (False, True):
        model, batch = small_model(), small_batch()
        if recompute:
            recompute_blocks(model)
        torch.manual_seed(1)
        features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
        loss = SoftMaskConfig().build(model)(model, batch, features).loss
        loss.backward()
        results.append([loss.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_hidden_words_are_not_drawn_by_the_objective() -> None:
    """With every word hidden there is none to draw: the start's map is taken, and nothing fails."""
    model, batch = small_model(), small_batch()
    hidden = HiddenWords(ids=batch.ids, chosen=batch.mask)
    batch = dataclasses.replace(batch, hidden=hidden)
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    assert torch.isfinite(SoftMaskConfig(max_pairs=2).build(model)(model, batch, features).loss)


def test_what_cannot_be_built_says_so() -> None:
    model = small_model()
    with pytest.raises(ValueError, match="floor"):
        SoftMaskConfig(floor=1.5).build(model)
    model.fusion_encoder = None
    with pytest.raises(ValueError, match="fusion"):
        SoftMaskConfig().build(model)
