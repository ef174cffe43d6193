"""MLM: guess masked words from the rest of the text and the picture.

Paper: BERT (Devlin et al., 2018), section 3.1, through the fusion encoder as in ALBEF (Li et al., 2021), sections 3.2
and 3.3 (equation 7, soft targets by the momentum model, where one is configured).
Differs from the papers: every text masks at least one word; optionally only the first pairs of the batch are used.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.data.batch import PairBatch, SpecialTokens
from training.model.features import PairFeatures
from training.model.momentum import MomentumConfig, MomentumModel
from training.model.pair_model import PairModel
from training.objectives.base import ObjectiveOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class MlmConfig:
    """Masked words through the fusion encoder."""

    masked_share: float = 0.15
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedTexts:
    """Texts in which some words have to be guessed."""

    ids: Int[Tensor, "texts subwords"]
    chosen: Bool[Tensor, "texts subwords"]  # positions whose original word is asked for


def mask_words(
    ids: Int[Tensor, "texts subwords"],
    mask: Bool[Tensor, "texts subwords"],
    special: SpecialTokens,
    *,
    masked_share: float,
) -> MaskedTexts:
    """Choose words and hide them: of the chosen, 80 % become [MASK], 10 % a random word, 10 % stay.

    Special tokens and padding are never chosen, and a random word is never a special token. Every text with a word has
    at least one chosen. Draws from torch's global generator.

    Raises:
        ValueError: the tokenizer has no [MASK].
    """
    if special.mask is None:
        raise ValueError("MLM hides words behind [MASK], which this tokenizer lacks; train without MLM")
    is_word = mask & ~special.are_among(ids)
    draws = torch.rand(ids.shape, device=ids.device)
    chosen = is_word & (draws < masked_share)
    lowest = draws.masked_fill(~is_word, 2.0).argmin(dim=1, keepdim=True)
    chosen |= is_word & (torch.arange(ids.shape[1], device=ids.device) == lowest)
    fate = torch.rand(ids.shape, device=ids.device)
    allowed = torch.tensor(special.words(), device=ids.device)
    random_words = allowed[torch.randint(len(allowed), ids.shape, device=ids.device)]
    hidden = torch.where(chosen & (fate < 0.8), special.mask, ids)
    hidden = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), random_words, hidden)
    return MaskedTexts(ids=hidden, chosen=chosen)


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
        ids, mask = batch.ids[:count], batch.mask[:count]
        masked = mask_words(ids, mask, batch.special, masked_share=self.config.masked_share)
        logits = _guesses(model, masked, mask, features.image_tokens[:count])
        words = ids[masked.chosen]
        slow_logits, soft_share = None, 0.0
        if self.momentum is not None and self.momentum.soft_share > 0.0:
            soft_share = self.momentum.soft_share
            with torch.no_grad():
                slow_tokens = self.momentum.pairs(batch).image_tokens[:count]
                slow_logits = _guesses(self.momentum.model, masked, mask, slow_tokens)
        loss = mlm_loss(logits, words, slow_logits=slow_logits, soft_share=soft_share)
        right = (logits.argmax(dim=-1) == words).float().mean() if len(words) else torch.zeros(())
        return ObjectiveOutput(loss=loss, report={"right": right.detach()})


def _guesses(
    model: PairModel, masked: MaskedTexts, mask: Tensor, image_tokens: Tensor
) -> Float[Tensor, "chosen vocabulary"]:
    """Logits of the chosen positions, given the rest of the text and the picture."""
    fused = model.fuse(model.encode_texts(masked.ids, mask).tokens, mask, image_tokens)
    return model.masked_words(fused.tokens[masked.chosen]).float()
