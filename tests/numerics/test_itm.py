"""ITM: the loss by hand, and which partners may be drawn."""

import math

import pytest
import torch

from tests.numerics.small import small_batch, small_model
from training.objectives.itc import same_caption
from training.objectives.itm import ItmConfig, draw_partners, itm_loss, partner_weights


def test_loss_by_hand():
    logits = torch.tensor([0.0, 2.0, -1.0], dtype=torch.float64)
    by_hand = (math.log(2) + math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 3
    assert itm_loss(logits, torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)).item() == pytest.approx(by_hand)


def test_loss_gradient_against_finite_differences():
    logits = torch.tensor([0.3, -2.0, 1.0], dtype=torch.float64, requires_grad=True)
    wanted = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: itm_loss(x, wanted), (logits,))


def test_weights_are_the_softmax_where_possible():
    similarity = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    possible = torch.tensor([[True, True], [False, True]])
    weights = partner_weights(similarity, possible)
    assert weights.tolist() == [
        pytest.approx([0.25, 0.75], abs=1e-4),
        pytest.approx([0.0, 0.5], abs=1e-4),
    ]


def test_never_the_own_caption_nor_an_equal_one():
    torch.manual_seed(0)
    keys = torch.tensor([1, 2, 1, 3])
    similarity = torch.full((4, 4), -1e4)
    similarity[same_caption(keys)] = 1e4  # the forbidden ones look best by far
    for _ in range(50):
        rows, columns = draw_partners(partner_weights(similarity, ~same_caption(keys)))
        assert rows.tolist() == [0, 1, 2, 3]
        assert (keys[rows] != keys[columns]).all()


def test_a_row_without_a_partner_draws_none():
    keys = torch.tensor([1, 1, 1])
    rows, columns = draw_partners(partner_weights(torch.zeros(3, 3), ~same_caption(keys)))
    assert len(rows) == len(columns) == 0
    keys = torch.tensor([1, 1, 2])
    similarity = torch.zeros(3, 3)
    rows, columns = draw_partners(partner_weights(similarity, ~same_caption(keys)))
    assert rows.tolist() == [0, 1, 2]
    assert columns.tolist()[:2] == [2, 2]


def test_similar_partners_are_drawn_more_often():
    torch.manual_seed(0)
    similarity = torch.tensor([[0.0, math.log(4.0), 0.0]]).repeat(3000, 1)
    possible = torch.ones_like(similarity, dtype=torch.bool)
    _, columns = draw_partners(partner_weights(similarity, possible))
    assert (columns == 1).float().mean().item() == pytest.approx(4 / 6, abs=0.03)


def test_a_batch_of_one_caption_still_gives_a_loss():
    model = small_model()
    batch = small_batch(("a red circle", "a red circle"))
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    output = ItmConfig().build(model)(model, batch, features)
    assert torch.isfinite(output.loss)


def test_max_pairs_bounds_the_fused_pairs(monkeypatch: pytest.MonkeyPatch):
    model, batch = small_model(), small_batch()
    asked: list[int] = []
    fuse = model.fuse
    monkeypatch.setattr(model, "fuse", lambda words, *rest: asked.append(len(words)) or fuse(words, *rest))
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    ItmConfig(max_pairs=2).build(model)(model, batch, features)
    assert asked == [6]


def test_gradients_reach_both_encoders():
    model, batch = small_model(), small_batch()
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    ItmConfig().build(model)(model, batch, features).loss.backward()
    assert model.text_encoder.words.weight.grad is not None
    assert next(model.image_encoder.parameters()).grad is not None


def test_without_fusion_encoder_it_is_refused():
    import dataclasses

    from tests.numerics.small import MODEL

    model = dataclasses.replace(MODEL, fusion=None).build(20)
    with pytest.raises(ValueError, match="fusion"):
        ItmConfig().build(model)
