"""The box game: a box is right for a phrase when the thing is seen inside it and is not seen without it.

Ours: LOUPE (NeurIPS 2022) leaves open how its losses reach a box's width and height. Its token-level game hides
patches; this one hides pixels, softly along the box's border, so that what a picture is worth for a phrase has a
gradient with respect to the box:

    inside   cross-entropy of the phrase among the batch's phrases, for the picture of which only the box is left
    outside  cosine of the phrase with the picture without the box, over the temperature
    side     the root of the box's (geometric) mean side: as little as is needed, or the whole picture would be best

The root makes a tenth of a small thing's side cost nearly as much as a tenth of a large one's. Without `inside` a box
that is not where its thing is shrinks to nothing. No box is given: the boxes of a phrase are drawn by how alike their
regions are to it.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.pair_model import PairModel
from training.model.transformer import MASKED

_LEAST_AREA = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxGameConfig:
    """How boxes are drawn tight."""

    pairs: int = 24  # phrases of a step for which a box is tried: two passes of the image encoder each
    inside: float = 0.5  # weight of the picture inside the box
    outside: float = 0.3  # weight of the picture without the box
    side: float = 4.0  # weight of the box's size: with these, true boxes of drawn scenes are the cheapest of any scale
    border_px: float = 1.0  # softness of a box's border
    start_step: int = 60  # so many steps without: boxes drawn before phrases are found where they are would only shrink


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxLosses:
    """What the boxes of some phrases cost."""

    inside: Float[Tensor, ""]
    outside: Float[Tensor, ""]
    side: Float[Tensor, ""]

    def weighed(self, config: BoxGameConfig) -> Float[Tensor, ""]:
        """The sum."""
        return config.inside * self.inside + config.outside * self.outside + config.side * self.side


def box_masks(
    boxes: Float[Tensor, "boxes 4"], *, height: int, width: int, border_px: float
) -> Float[Tensor, "boxes 1 height width"]:
    """How far each pixel is in each box, 0..1: a sigmoid over its depth behind each of the four borders."""
    across = _between(boxes[:, 0], boxes[:, 2], size=width, border_px=border_px)
    down = _between(boxes[:, 1], boxes[:, 3], size=height, border_px=border_px)
    return (down[:, :, None] * across[:, None, :])[:, None]


def _between(
    low: Float[Tensor, " boxes"], high: Float[Tensor, " boxes"], *, size: int, border_px: float
) -> Float[Tensor, "boxes pixels"]:
    pixels = torch.arange(size, device=low.device) + 0.5
    after = torch.sigmoid((pixels - size * low[:, None]) / border_px)
    return after * torch.sigmoid((size * high[:, None] - pixels) / border_px)


def draw_boxes(
    boxes: Float[Tensor, "phrases boxes 4"], similarity: Float[Tensor, "phrases boxes"]
) -> Float[Tensor, "phrases 4"]:
    """One of its picture's boxes for each phrase, drawn by the softmax of what it is like (over the temperature)."""
    chosen = torch.multinomial(torch.softmax(similarity.detach().float(), dim=-1), 1)
    return boxes.gather(1, chosen[:, :, None].expand(-1, -1, 4))[:, 0]


def box_losses(
    model: PairModel,
    pixels: Float[Tensor, "tried 3 height width"],
    boxes: Float[Tensor, "tried 4"],
    phrases: Float[Tensor, "phrases dim"],
    own: Int[Tensor, " tried"],
    *,
    is_same: Bool[Tensor, "tried phrases"],
    temperature: float,
    config: BoxGameConfig,
) -> BoxLosses:
    """What some boxes cost.

    The picture without the box trains the box alone: an encoder that learned from it would learn to see holes.

    Args:
        model: encodes the pictures.
        pixels: the picture of each box.
        boxes: in fractions of the picture.
        phrases: embeddings of all phrases of the batch.
        own: which of them each box is for.
        is_same: which of them say the same as a box's own.
        temperature: what cosines are divided by.
        config: weights and softness.
    """
    masks = box_masks(boxes.float(), height=pixels.shape[2], width=pixels.shape[3], border_px=config.border_px)
    inside = _embed(model, pixels * masks)
    with frozen(model):
        outside = _embed(model, pixels * (1 - masks))
    similarity = inside @ phrases.T / temperature
    others_alike = is_same & ~F.one_hot(own, len(phrases)).bool()
    sides = boxes[:, 2:] - boxes[:, :2]
    return BoxLosses(
        inside=F.cross_entropy(similarity.masked_fill(others_alike, MASKED), own),
        outside=(outside * phrases[own].detach()).sum(dim=-1).mean() / temperature,
        side=sides.prod(dim=-1).clamp(min=_LEAST_AREA).pow(0.25).mean(),
    )


def _embed(model: PairModel, pixels: Tensor) -> Float[Tensor, "images dim"]:
    return model.encode_images(pixels.contiguous(memory_format=torch.channels_last)).embedding.float()


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Passes inside train nothing of the model, and bring gradients to their inputs all the same."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_(True)
