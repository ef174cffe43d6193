"""MLM: guess masked words from the rest of the text and the picture.

Paper: BERT (Devlin et al., 2018), section 3.1, through the fusion encoder as in ALBEF (Li et al., 2021), sections 3.2
and 3.3 (equation 7, soft targets by the momentum model, where one is configured).
Differs from the papers: every text masks at least one word; optionally only the first pairs of the batch are used.
Where the source has hidden words already (SoftMask++: the masked text is what every objective reads), those are asked
for and no pass over the texts of its own is needed.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.data.batch import HiddenWords, PairBatch
from training.data.masked_words import mask_words
from training.model.features import PairFeatures
from training.model.momentum import MomentumConfig, MomentumModel
from training.model.pair_model import PairModel
from training.objectives.base import ObjectiveOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class MlmConfig:
    """Masked words through the fusion encoder."""

    masked_share: float = 0.15  # where the source has not hidden words itself
    max_pairs: int | None = None  # only so many pairs of the batch (None: all)
    momentum: MomentumConfig | None = None  # part of each target is what a slow copy guesses; None: the words alone

    def build(self, model: PairModel, momentum: MomentumModel | None = None) -> "Mlm":
        """The objective.

        Raises:
            ValueError: the model has no fusion encoder, or momentum is configured and not given.
        """
        if model.fusion_encoder is None:
            raise ValueError("MLM needs a model with a fusion encoder")
        if (self.momentum is None) != (momentum is None):
            raise ValueError("MLM with momentum needs the momentum model, and without it none")
        return Mlm(self, momentum)


def mlm_loss(
    logits: Float[Tensor, "chosen vocabulary"],
    words: Int[Tensor, " chosen"],
    *,
    slow_logits: Float[Tensor, "chosen vocabulary"] | None = None,
    soft_share: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the chosen positions; zero when nothing is chosen.

    The target is the word, and for `soft_share` of it what the momentum model guesses (`slow_logits`).

    Paper: ALBEF (2021), equations 3 and 7.
    """
    if len(words) == 0:
        return logits.sum() * 0.0
    loss = F.cross_entropy(logits, words)
    if slow_logits is None:
        return loss
    return (1 - soft_share) * loss + soft_share * F.cross_entropy(logits, torch.softmax(slow_logits, dim=-1))


class Mlm:
    """The masked-word objective over a batch."""

    def __init__(self, config: MlmConfig, momentum: MomentumModel | None) -> None:
        self.config = config
        self.momentum = momentum

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The loss over the chosen words, and the share guessed rightly."""
        count = min(len(batch.ids), self.config.max_pairs or len(batch.ids))
        mask, image_tokens = batch.mask[:count], features.image_tokens[:count]
        if batch.hidden is not None:
            masked_ids, hidden = batch.ids[:count], batch.hidden.first(count)
            text_tokens = features.text_tokens[:count]
        else:
            masked_ids, hidden = mask_words(
                batch.ids[:count], mask, batch.special, masked_share=self.config.masked_share
            )
            text_tokens = model.encode_texts(masked_ids, mask).tokens
        logits = _guesses(model, text_tokens, mask, image_tokens, hidden)
        words = hidden.ids[hidden.chosen]
        slow_logits, soft_share = None, 0.0
        if self.momentum is not None and self.momentum.soft_share > 0.0:
            soft_share = self.momentum.soft_share
            with torch.no_grad():
                slow_images = self.momentum.pairs(batch).image_tokens[:count]
                slow_texts = self.momentum.model.encode_texts(masked_ids, mask).tokens
                slow_logits = _guesses(self.momentum.model, slow_texts, mask, slow_images, hidden)
        loss = mlm_loss(logits, words, slow_logits=slow_logits, soft_share=soft_share)
        right = (logits.argmax(dim=-1) == words).float().mean() if len(words) else torch.zeros(())
        return ObjectiveOutput(loss=loss, report={"right": right.detach()})


def _guesses(
    model: PairModel,
    text_tokens: Float[Tensor, "texts subwords width"],
    mask: Tensor,
    image_tokens: Float[Tensor, "texts patches image_width"],
    hidden: HiddenWords,
) -> Float[Tensor, "chosen vocabulary"]:
    """Logits of the chosen positions, given the rest of the text and the picture."""
    fused = model.fuse(text_tokens, mask, image_tokens)
    return model.masked_words(fused.tokens[hidden.chosen]).float()
