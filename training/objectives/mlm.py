"""MLM: guess masked words from the rest of the text and the picture.

Paper: BERT (Devlin et al., 2018), section 3.1, through the fusion encoder as in ALBEF (Li et al., 2021), section 3.2.
Differs from the paper: no momentum targets; every text masks at least one word; optionally only the first pairs of the
batch are used.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.data.batch import PairBatch, SpecialTokens
from training.model.features import PairFeatures
from training.model.pair_model import PairModel
from training.objectives.base import ObjectiveOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class MlmConfig:
    """Masked words through the fusion encoder."""

    masked_share: float = 0.15
    max_pairs: int | None = None  # only so many pairs of the batch (None: all)

    def build(self, model: PairModel) -> "Mlm":
        """The objective; the model must have a fusion encoder."""
        if model.fusion_encoder is None:
            raise ValueError("MLM needs a model with a fusion encoder")
        return Mlm(self)


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
    """
    is_word = mask & ~torch.isin(ids, torch.tensor(special.all, device=ids.device))
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


def mlm_loss(logits: Float[Tensor, "chosen vocabulary"], words: Int[Tensor, " chosen"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the chosen positions; zero when nothing is chosen.

    Paper: ALBEF (2021), equation 3.
    """
    if len(words) == 0:
        return logits.sum() * 0.0
    return F.cross_entropy(logits, words)


class Mlm:
    """The masked-word objective over a batch."""

    def __init__(self, config: MlmConfig) -> None:
        self.config = config

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The loss over the chosen words, and the share guessed rightly."""
        count = min(len(batch.ids), self.config.max_pairs or len(batch.ids))
        ids, mask = batch.ids[:count], batch.mask[:count]
        masked = mask_words(ids, mask, batch.special, masked_share=self.config.masked_share)
        text = model.encode_texts(masked.ids, mask)
        fused = model.fuse(text.tokens, mask, features.image_tokens[:count])
        logits = model.masked_words(fused.tokens[masked.chosen]).float()
        words = ids[masked.chosen]
        right = (logits.argmax(dim=-1) == words).float().mean() if len(words) else torch.zeros(())
        return ObjectiveOutput(loss=mlm_loss(logits, words), report={"right": right.detach()})
