"""Masked words: some words of each text are hidden, to be guessed."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from training.data.batch import HiddenWords, SpecialTokens


def mask_words(
    ids: Int[Tensor, "texts subwords"],
    mask: Bool[Tensor, "texts subwords"],
    special: SpecialTokens,
    *,
    masked_share: float,
    draws: Float[Tensor, "3 texts subwords"] | None = None,
) -> tuple[Int[Tensor, "texts subwords"], HiddenWords]:
    """Choose words and hide them: of the chosen, 80 % become [MASK], 10 % a random word, 10 % stay.

    Special tokens and padding are never chosen, and a random word is never a special token. Every text with a word has
    at least one chosen.

    Args:
        ids: the texts.
        mask: False marks padding.
        special: ids that are no words.
        masked_share: of the words, each chosen by itself.
        draws: numbers in [0, 1) that decide what is chosen, what becomes of it, and by which word it is replaced; from
            torch's global generator where there are none.

    Returns:
        The texts as they are shown, and what was hidden of them.

    Raises:
        ValueError: the tokenizer has no [MASK].

    Paper: BERT (Devlin et al., 2018), section 3.1. Differs from the paper: at least one word of every text.
    """
    if special.mask is None:
        raise ValueError("words are hidden behind [MASK], which this tokenizer lacks; train without MLM")
    choice, fate, other = draws if draws is not None else (torch.rand(ids.shape, device=ids.device) for _ in range(3))
    is_word = mask & ~special.are_among(ids)
    chosen = is_word & (choice < masked_share)
    lowest = choice.masked_fill(~is_word, 2.0).argmin(dim=1, keepdim=True)
    chosen |= is_word & (torch.arange(ids.shape[1], device=ids.device) == lowest)
    allowed = torch.tensor(special.words(), device=ids.device)
    random_words = allowed[(other * len(allowed)).long().clamp(max=len(allowed) - 1)]
    shown = torch.where(chosen & (fate < 0.8), special.mask, ids)
    shown = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), random_words, shown)
    return shown, HiddenWords(ids=ids, chosen=chosen)
