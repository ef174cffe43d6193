"""ITM: does this text belong to this picture? Asked of the fusion encoder, with hard wrong partners from the batch.

Paper: ALBEF (Li et al., 2021), section 3.2 (negatives drawn in proportion to the contrastive softmax).
Differs from the paper: one logit in place of two classes; never a partner with an equal caption; a row without any
possible partner draws none, instead of stopping the multinomial draw; optionally only the first pairs of the batch are
asked about, since fusion costs more than encoding; optionally edited captions are further wrong texts.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.data.batch import PairBatch
from training.model.features import PairFeatures
from training.model.pair_model import PairModel
from training.objectives.base import ObjectiveOutput
from training.objectives.itc import same_caption

EVEN_SHARE = (
    1e-5  # added to each possible partner's weight, so that an under-flowed softmax row can still be drawn from
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItmConfig:
    """Matching over the batch."""

    max_pairs: int | None = None  # only so many pairs of the batch (None: all)
    use_edits: bool = False  # edited captions of the batch, when it has them, are wrong texts too

    def build(self, model: PairModel) -> "Itm":
        """The objective; the model must have a fusion encoder."""
        if model.fusion_encoder is None:
            raise ValueError("ITM needs a model with a fusion encoder")
        return Itm(self)


def partner_weights(
    similarity: Float[Tensor, "rows columns"], possible: Bool[Tensor, "rows columns"]
) -> Float[Tensor, "rows columns"]:
    """How likely each column is drawn as the wrong partner of a row.

    The softmax of the row, zero where the column is not possible; a row with nothing possible is all zeros.
    `similarity` is already divided by the temperature.
    """
    shares = torch.softmax(similarity.float(), dim=1)
    return torch.where(possible, shares + EVEN_SHARE, torch.zeros_like(shares))


def draw_partners(weights: Float[Tensor, "rows columns"]) -> tuple[Int[Tensor, " drawn"], Int[Tensor, " drawn"]]:
    """One column for every row that has any weight: the rows, and the column drawn for each."""
    rows = (weights.sum(dim=1) > 0).nonzero().squeeze(1)
    if len(rows) == 0:
        return rows, rows
    return rows, torch.multinomial(weights[rows], 1).squeeze(1)


def itm_loss(logits: Float[Tensor, " asked"], is_match: Float[Tensor, " asked"]) -> Float[Tensor, ""]:
    """Mean binary cross-entropy of the matching logits.

    Paper: ALBEF (2021), equation 4. Differs from the paper: one logit.
    """
    return F.binary_cross_entropy_with_logits(logits, is_match)


class Itm:
    """The matching objective over a batch."""

    def __init__(self, config: ItmConfig) -> None:
        self.config = config

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The loss over right pairs, wrong texts and wrong pictures, and the share judged rightly."""
        count = min(len(batch.caption_keys), self.config.max_pairs or len(batch.caption_keys))
        images, texts, masks = (
            features.image_tokens[:count],
            features.text_tokens[:count],
            features.text_mask[:count],
        )
        (for_images, wrong_texts), (for_texts, wrong_images) = self._draw(batch, features, count)
        asked_words = [texts, texts[wrong_texts], texts[for_texts]]
        asked_masks = [masks, masks[wrong_texts], masks[for_texts]]
        asked_images = [images, images[for_images], images[wrong_images]]
        if self.config.use_edits and batch.edits is not None and features.edited is not None:
            near = batch.edits.rows < count
            asked_words.append(features.edited.tokens[near])
            asked_masks.append(features.edited.mask[near])
            asked_images.append(images[batch.edits.rows[near]])
        fused = model.fuse(torch.cat(asked_words), torch.cat(asked_masks), torch.cat(asked_images))
        logits = model.match(fused).float()
        is_match = torch.zeros_like(logits)
        is_match[:count] = 1.0
        right = ((logits > 0) == (is_match > 0)).float().mean()
        return ObjectiveOutput(loss=itm_loss(logits, is_match), report={"right": right.detach()})

    @torch.no_grad()
    def _draw(
        self, batch: PairBatch, features: PairFeatures, count: int
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        image, text = features.image_embedding[:count].float(), features.text_embedding[:count].float()
        similarity = image @ text.T / features.temperature.float()
        possible = ~same_caption(batch.caption_keys[:count])
        return (
            draw_partners(partner_weights(similarity, possible)),
            draw_partners(partner_weights(similarity.T, possible.T)),
        )
