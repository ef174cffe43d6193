"""What is easily got wrong in the baseline, each with a test that fails when it is.

1. Sampling weights that under-flow to zero stop the draw of hard partners.
2. Equal captions, in the batch or the queue, count as wrong answers.
3. A flipped picture makes "left" false, a recoloured one "red".
4. BERT's 1e-12 in layer norms and masks beyond -65504 are not finite in fp16.
5. A momentum model too slow for the run, a queue too long for the captions (`test_momentum`).
"""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from runtime.preprocess.image import ImageTransform
from runtime.preprocess.text import TextTransform
from tests.numerics.small import MODEL, small_batch, small_model, small_tokenizer
from training.data.collate import collate
from training.data.tokenizer import special_tokens
from training.model.public import causal_bias, padding_bias
from training.model.transformer import MASKED, key_bias
from training.objectives.itc import itc_loss
from training.objectives.itm import draw_partners, partner_weights
from training.objectives.queue import Candidates


@pytest.mark.parametrize("gap", [200.0, 1e4, 1e8])
def test_an_underflowed_row_is_still_drawn_from(gap: float):
    """The softmax puts all weight on the own text, which may not be drawn: every other weight is exactly zero."""
    similarity = torch.eye(3) * gap
    assert (torch.softmax(similarity, dim=1)[0, 1:] == 0).all()
    rows, columns = draw_partners(partner_weights(similarity, ~torch.eye(3, dtype=torch.bool)))
    assert rows.tolist() == [0, 1, 2]
    assert (rows != columns).all()


@pytest.mark.parametrize("place", ["batch", "queue"])
def test_an_equal_caption_is_never_pushed_away(place: str):
    """A picture as near to the other text as to its own: pulled from neither if equal, from the other if not."""

    def gradient(key_of_other: int) -> torch.Tensor:
        image = F.normalize(torch.tensor([[1.0, 1.0], [1.0, 1.0]]), dim=1).requires_grad_()
        text, keys = torch.eye(2), torch.tensor([7, key_of_other])
        if place == "batch":
            loss = itc_loss(image, text, torch.tensor(0.1), keys)
        else:
            candidates = Candidates(image=image.detach(), text=text, caption_keys=keys)
            loss = itc_loss(image[:1], text[:1], torch.tensor(0.1), keys[:1], candidates=candidates)
        loss.backward()
        assert image.grad is not None
        return -image.grad[0]

    assert gradient(7).abs().max() < 1e-6
    towards_own, towards_other = gradient(8).tolist()
    assert towards_own > 0.5
    assert towards_other < -0.5


def test_pictures_reach_the_model_as_they_are():
    """Left stays left and red stays red: what a batch holds is what the served transform gives."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16] = (200, 30, 30)
    pixels[:, 16:] = (30, 30, 200)
    transform = ImageTransform(size_px=32)
    tokenizer = small_tokenizer()
    image = Image.fromarray(pixels)
    for _ in range(20):
        batch = collate(
            [image],
            ["a red circle"],
            image_transform=transform,
            text_transform=TextTransform(tokenizer, max_subwords=32),
            special=special_tokens(tokenizer),
        )
        assert np.array_equal(batch.pixels[0].numpy(), transform.apply(image))
        assert batch.pixels[0, 0, :, :16].mean() > batch.pixels[0, 0, :, 16:].mean()


def test_masks_and_layer_norms_are_finite_in_half_precision():
    nothing = torch.zeros(1, 4, dtype=torch.bool)  # a text of padding alone: every score is masked
    for bias in (key_bias(nothing), padding_bias(nothing), causal_bias(nothing)):
        assert torch.isfinite(bias.half()).all()
        assert torch.isfinite(torch.softmax(bias.half() + torch.randn(1, 1, 4, 4).half(), dim=-1)).all()
    assert torch.tensor(MASKED).half().item() == MASKED
    for part in small_model().modules():
        if isinstance(part, nn.LayerNorm | nn.GroupNorm):
            assert torch.tensor(part.eps).half() > 0


def test_the_whole_model_is_finite_in_half_precision():
    """Constant pictures, whose variance is zero, and texts of one word."""
    torch.manual_seed(0)
    model = MODEL.build(20).half().eval()
    batch = small_batch()
    mask = batch.mask.clone()
    mask[:, 2:] = False
    with torch.no_grad():
        features = model.encode_pairs(torch.zeros_like(batch.pixels).half(), batch.ids, mask)
        fused = model.fuse(features.text_tokens, mask, features.image_tokens)
    for value in (features.image_embedding, features.text_embedding, fused.tokens, fused.relevance, model.match(fused)):
        assert torch.isfinite(value).all()
