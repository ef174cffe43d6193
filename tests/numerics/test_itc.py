"""ITC against hand-computed numbers and finite differences."""

import math

import pytest
import torch
from torch.nn import functional as F

from tests.numerics.small import small_batch, small_model
from training.objectives.itc import ItcConfig, SoftTargets, WrongTexts, itc_loss, same_caption
from training.objectives.queue import Candidates


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


def test_a_wrong_text_is_wrong_for_its_own_picture_alone():
    image = text = unit((1, 0), (0, 1))
    wrong = WrongTexts(embedding=unit((1, 0), (1, 1)), rows=torch.tensor([0, 0]))
    temperature = torch.tensor(1.0, dtype=torch.float64)
    e, diagonal = math.e, math.exp(math.sqrt(0.5))
    rows = [-math.log(e / (e + 1 + e + diagonal)), -math.log(e / (1 + e))]
    text_to_image = -math.log(e / (e + 1))
    loss = itc_loss(image, text, temperature, torch.tensor([1, 2]), wrong_texts=wrong)
    assert loss.item() == pytest.approx((sum(rows) / 2 + text_to_image) / 2, abs=1e-12)


def test_a_query_that_is_true_of_two_pictures_has_both_for_right_answers():
    image, text = unit((1, 0), (0, 1), (1, 1)), unit((1, 0), (1, 2), (0, 1))
    true_of = torch.tensor([[False] * 3, [True, True, False], [False] * 3])  # the second text, of the first picture too
    scores = image @ text.T / 0.5
    targets = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]], dtype=torch.float64)
    to_image = -(targets * torch.log_softmax(scores.T, dim=1)).sum(dim=1).mean()
    left_out = scores.clone()
    left_out[0, 1] = -math.inf  # it is no caption of the first picture, and not wrong of it
    to_text = -torch.log_softmax(left_out, dim=1).diagonal().mean()
    loss = itc_loss(
        image,
        text,
        torch.tensor(0.5, dtype=torch.float64),
        torch.tensor([1, 2, 3]),
        true_of=true_of,
        pictured=true_of.T,
    )
    assert loss.item() == pytest.approx((to_text + to_image).item() / 2, abs=1e-12)


def test_wrong_texts_take_no_share_of_smoothed_targets():
    image = text = unit((1, 0), (0, 1))
    wrong = WrongTexts(embedding=unit((0, 1)), rows=torch.tensor([1]))
    temperature, keys = torch.tensor(0.5, dtype=torch.float64), torch.tensor([1, 2])
    scores = torch.tensor([[2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    own = torch.cat([scores, torch.tensor([[-math.inf], [2.0]], dtype=torch.float64)], dim=1)
    targets = torch.eye(2, dtype=torch.float64) * 0.9 + 0.05
    to_text = -(targets * torch.log_softmax(own, dim=1)[:, :2]).sum(dim=1).mean()
    to_image = -(targets * torch.log_softmax(scores, dim=1)).sum(dim=1).mean()
    loss = itc_loss(image, text, temperature, keys, wrong_texts=wrong, label_smoothing=0.1)
    assert loss.item() == pytest.approx((to_text + to_image).item() / 2, abs=1e-12)


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


def written_out(image, text, temperature, keys, candidates, soft):
    """ALBEF's equations 1 and 6 as loops over rows and candidates."""
    total = 0.0
    for rows, columns, thought in (
        (image, candidates.text, soft.image_to_text),
        (text, candidates.image, soft.text_to_image),
    ):
        for i, row in enumerate(rows):
            scores = [float(row @ column) / temperature for column in columns]
            normaliser = math.log(sum(math.exp(score) for score in scores))
            equal = [j for j, key in enumerate(candidates.caption_keys) if key == keys[i]]
            for j, score in enumerate(scores):
                hard = 1 / len(equal) if j in equal else 0.0
                target = (1 - soft.share) * hard + soft.share * float(thought[i, j])
                total -= target * (score - normaliser) / len(rows)
    return total / 2


def test_with_queue_and_soft_targets_it_is_the_written_out_sum():
    torch.manual_seed(1)

    def vectors(count):
        return F.normalize(torch.randn(count, 4, dtype=torch.float64), dim=1)

    keys = torch.tensor([1, 2, 1])
    candidates = Candidates(image=vectors(7), text=vectors(7), caption_keys=torch.tensor([1, 2, 1, 9, 2, 8, 1]))
    soft = SoftTargets(
        image_to_text=torch.randn(3, 7, dtype=torch.float64).softmax(dim=1),
        text_to_image=torch.randn(3, 7, dtype=torch.float64).softmax(dim=1),
        share=0.4,
    )
    image, text, temperature = vectors(3), vectors(3), torch.tensor(0.2, dtype=torch.float64)
    loss = itc_loss(image, text, temperature, keys, candidates=candidates, soft_targets=soft)
    assert loss.item() == pytest.approx(written_out(image, text, 0.2, keys, candidates, soft), abs=1e-12)
    inputs = image.requires_grad_(), text.requires_grad_(), temperature.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b, t: itc_loss(a, b, t, keys, candidates=candidates, soft_targets=soft), inputs
    )


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


def test_gamma_zero_is_plain_contrast_bit_for_bit() -> None:
    """Loss and gradient are those of the plain cross-entropy, written out here as it was without a factor."""
    torch.manual_seed(0)
    image, text = (F.normalize(torch.randn(6, 8), dim=1).requires_grad_() for _ in range(2))
    keys, temperature = torch.tensor([1, 2, 2, 3, 4, 5]), torch.tensor(0.07)
    targets = (keys[:, None] == keys[None]).float()
    targets = targets / targets.sum(dim=1, keepdim=True)
    plain = (
        -(targets * torch.log_softmax(image @ text.T / temperature, dim=1)).sum(dim=1).mean()
        + -(targets * torch.log_softmax(text @ image.T / temperature, dim=1)).sum(dim=1).mean()
    ) / 2
    focal = itc_loss(image, text, temperature, keys, focal_gamma=0.0)
    assert torch.equal(focal, plain)
    for one, other in zip(
        torch.autograd.grad(focal, (image, text)), torch.autograd.grad(plain, (image, text)), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_contrast_by_hand(gamma: float) -> None:
    image = text = unit((1, 0), (0, 1))
    loss = itc_loss(image, text, torch.tensor(0.5, dtype=torch.float64), torch.tensor([1, 2]), focal_gamma=gamma)
    p = 1 / (1 + math.exp(-2))
    assert loss.item() == pytest.approx(-((1 - p) ** gamma) * math.log(p), abs=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradient_of_focal_contrast(gamma: float) -> None:
    torch.manual_seed(1)
    inputs = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def loss(image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        image, text = F.normalize(image, dim=1), F.normalize(text, dim=1)
        return itc_loss(image, text, torch.tensor(0.3, dtype=torch.float64), torch.tensor([1, 2, 2]), focal_gamma=gamma)

    assert torch.autograd.gradcheck(loss, inputs)


def test_focal_contrast_of_certain_pairs_has_a_finite_gradient() -> None:
    """Where p is 1 to the last bit, (1 - p)^0.5 alone would have an infinite slope."""
    image = text = torch.eye(4).requires_grad_()
    loss = itc_loss(image, text, torch.tensor(0.005), torch.tensor([1, 2, 3, 4]), focal_gamma=0.5)
    assert all(torch.isfinite(part).all() for part in torch.autograd.grad(loss, image))


def test_a_negative_gamma_is_refused() -> None:
    with pytest.raises(ValueError, match="focal_gamma"):
        ItcConfig(focal_gamma=-1.0).build(small_model())
