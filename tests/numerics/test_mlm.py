"""MLM: the loss by hand, and what masking does to a text."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.numerics.small import small_batch, small_model
from training.data.batch import SpecialTokens
from training.data.masked_words import mask_words
from training.objectives.mlm import MlmConfig, mlm_loss

SPECIAL = SpecialTokens(pad=0, unknown=1, start=2, end=3, mask=4, vocab_size=50)


def test_loss_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]], dtype=torch.float64)
    by_hand = (-math.log(3 / 4) - math.log(1 / 2)) / 2
    assert mlm_loss(logits, torch.tensor([1, 0])).item() == pytest.approx(by_hand)


def test_loss_gradient_against_finite_differences():
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: mlm_loss(x, torch.tensor([1, 0, 3])), (logits,))


def test_nothing_chosen_is_a_zero_that_can_be_differentiated():
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = mlm_loss(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0.0


def test_shares_of_masking():
    torch.manual_seed(0)
    ids = torch.randint(5, 50, (400, 40))
    ids[:, 0], ids[:, -1] = SPECIAL.start, SPECIAL.end
    shown, hidden = mask_words(ids, torch.ones_like(ids, dtype=torch.bool), SPECIAL, masked_share=0.15)
    share = hidden.chosen[:, 1:-1].float().mean().item()
    assert share == pytest.approx(0.15, abs=0.01)
    became = shown[hidden.chosen]
    was = hidden.ids[hidden.chosen]
    assert torch.equal(hidden.ids, ids)
    assert (became == SPECIAL.mask).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (became == was).float().mean().item() == pytest.approx(0.1 + 0.1 / 45, abs=0.02)
    assert not torch.isin(became, torch.tensor([0, 1, 2, 3])).any()


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_only_words_are_chosen_and_at_least_one(lengths: list[int], share: float, seed: int):
    torch.manual_seed(seed)
    ids = torch.zeros(len(lengths), 12, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, : length + 2] = torch.tensor([2, *([7] * length), 3])
    mask = ids != SPECIAL.pad
    shown, hidden = mask_words(ids, mask, SPECIAL, masked_share=share)
    is_word = ids == 7
    assert not (hidden.chosen & ~is_word).any()
    assert torch.equal(shown[~hidden.chosen], ids[~hidden.chosen])
    assert (hidden.chosen.any(dim=1) == torch.tensor([length > 0 for length in lengths])).all()


def test_objective_uses_the_picture():
    """Another picture gives another loss for the same masks."""
    model, batch = small_model(), small_batch()
    objective = MlmConfig().build(model)
    losses = []
    for pixels in (batch.pixels, batch.pixels.flip(0)):
        torch.manual_seed(3)
        losses.append(objective(model, batch, model.encode_pairs(pixels, batch.ids, batch.mask)).loss.item())
    assert losses[0] != losses[1]
