import math

import torch
from torch.nn import functional as F

from training.objectives.itc import itc_loss
from training.objectives.several_captions import several_captions_loss


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_one_caption_each_is_plain_contrast():
    image, text, temperature = unit(6, 8, 0), unit(6, 8, 1), torch.tensor(0.1)
    ours = several_captions_loss(image, text, torch.arange(6), temperature, label_smoothing=0.1)
    plain = itc_loss(image, text, temperature, torch.arange(6), label_smoothing=0.1)
    torch.testing.assert_close(ours, plain)


def test_by_hand():
    image = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # the last two belong to the first and second image
    loss = several_captions_loss(image, text, torch.tensor([0, 0, 1]), torch.tensor(1.0))
    e = math.e
    per_text = (2 * -math.log(e / (e + 1)) + -math.log(1 / (e + 1))) / 3
    first = (-math.log(e / (e + 2)) - math.log(1 / (e + 2))) / 2
    second = -math.log(e / (1 + 2 * e))
    assert math.isclose(loss.item(), (per_text + (first + second) / 2) / 2, rel_tol=1e-6)


def test_order_of_texts_does_not_matter_and_gradient_flows_to_all():
    image, text = unit(4, 8, 0), unit(10, 8, 1).requires_grad_()
    owner = torch.tensor([0, 1, 2, 3, 0, 0, 1, 2, 3, 3])
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3))
    loss = several_captions_loss(image, text, owner, torch.tensor(0.1))
    torch.testing.assert_close(loss, several_captions_loss(image, text[order], owner[order], torch.tensor(0.1)))
    loss.backward()
    assert (text.grad.abs().sum(dim=1) > 0).all()
