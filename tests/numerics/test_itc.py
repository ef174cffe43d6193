"""ITC against hand-computed numbers and finite differences."""

import math

import pytest
import torch
from torch.nn import functional as F

from tests.numerics.small import small_batch, small_model
from training.objectives.itc import ItcConfig, itc_loss, same_caption


def unit(*rows: tuple[float, ...]) -> torch.Tensor:
    return F.normalize(torch.tensor(rows, dtype=torch.float64), dim=1)


def test_two_orthogonal_pairs_by_hand():
    image = text = unit((1, 0), (0, 1))
    loss = itc_loss(image, text, torch.tensor(0.5, dtype=torch.float64), torch.tensor([1, 2]))
    # each row scores 1/0.5 for its own and 0 for the other
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-12)


def test_both_directions_count_alike():
    image, text = unit((1, 0), (1, 0)), unit((1, 0), (0, 1))
    loss = itc_loss(image, text, torch.tensor(1.0, dtype=torch.float64), torch.tensor([1, 2]))
    e = math.e
    # image to text: rows score (1, 0) twice, own columns 0 and 1; text to image: both columns score alike
    image_to_text = (-math.log(e / (e + 1)) - math.log(1 / (e + 1))) / 2
    text_to_image = math.log(2)
    assert loss.item() == pytest.approx((image_to_text + text_to_image) / 2, abs=1e-12)


def test_equal_captions_share_the_target():
    image, text = unit((1, 0), (0, 1), (1, 1)), unit((1, 0), (1, 0), (0, 1))
    keys = torch.tensor([7, 7, 8])
    scores = image @ text.T / 0.3
    targets = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]], dtype=torch.float64)
    by_hand = sum(
        -(targets * torch.log_softmax(direction, dim=1)).sum(dim=1).mean() / 2 for direction in (scores, scores.T)
    )
    loss = itc_loss(image, text, torch.tensor(0.3, dtype=torch.float64), keys)
    assert loss.item() == pytest.approx(float(by_hand), abs=1e-12)


def test_a_text_that_is_equally_right_is_not_pushed_away():
    """With three equal captions and equal pictures the loss is at its least: nothing to gain, no gradient."""
    image = unit((1, 2), (1, 2), (1, 2)).requires_grad_()
    text = unit((1, 2), (1, 2), (1, 2))
    itc_loss(image, text, torch.tensor(0.1, dtype=torch.float64), torch.tensor([5, 5, 5])).backward()
    assert image.grad is not None
    assert image.grad.abs().max() < 1e-12


def test_extra_texts_are_wrong_for_every_image_only():
    image = text = unit((1, 0), (0, 1))
    extra = unit((1, 0))
    temperature = torch.tensor(1.0, dtype=torch.float64)
    e = math.e
    rows = [-math.log(e / (e + 1 + e)), -math.log(e / (1 + e + 1))]
    text_to_image = -math.log(e / (e + 1))
    loss = itc_loss(image, text, temperature, torch.tensor([1, 2]), extra_texts=extra)
    assert loss.item() == pytest.approx((sum(rows) / 2 + text_to_image) / 2, abs=1e-12)


def test_label_smoothing_spreads_over_all_columns():
    image, text = unit((1, 0), (1, 1)), unit((1, 0), (0, 1))
    scores = image @ text.T / 0.2
    targets = torch.eye(2, dtype=torch.float64) * 0.9 + 0.1 / 2
    by_hand = sum(-(targets * torch.log_softmax(s, dim=1)).sum(dim=1).mean() / 2 for s in (scores, scores.T))
    loss = itc_loss(image, text, torch.tensor(0.2, dtype=torch.float64), torch.tensor([1, 2]), label_smoothing=0.1)
    assert loss.item() == pytest.approx(float(by_hand), abs=1e-12)


def test_gradients_against_finite_differences():
    torch.manual_seed(0)
    image = F.normalize(torch.randn(4, 3, dtype=torch.float64), dim=1).requires_grad_()
    text = F.normalize(torch.randn(4, 3, dtype=torch.float64), dim=1).requires_grad_()
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    keys = torch.tensor([1, 2, 1, 3])
    assert torch.autograd.gradcheck(lambda a, b, t: itc_loss(a, b, t, keys), (image, text, temperature))


def test_same_caption_is_symmetric_with_a_true_diagonal():
    same = same_caption(torch.tensor([3, 4, 3]))
    assert same.tolist() == [[True, False, True], [False, True, False], [True, False, True]]


def test_objective_reports_what_it_saw():
    model, batch = small_model(), small_batch()
    objective = ItcConfig().build(model)
    output = objective(model, batch, model.encode_pairs(batch.pixels, batch.ids, batch.mask))
    assert 0.0 <= output.report["right"].item() <= 1.0
    assert output.report["temperature"].item() == pytest.approx(0.07, abs=1e-6)
    assert not output.report["temperature"].requires_grad


def test_temperature_stays_in_its_range_and_can_come_back():
    model = small_model()
    low, high = model.config.temperature_range
    for logit in (-50.0, 50.0):
        model.temperature_logit.data.fill_(logit)
        assert low - 1e-6 <= model.temperature.item() <= high + 1e-6
    model.temperature_logit.data.fill_(8.0)
    model.temperature.backward()
    assert model.temperature_logit.grad is not None
    assert model.temperature_logit.grad.item() > 0
