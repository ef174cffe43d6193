"""Word guessers: frozen masked language models that say which words are plausible at a place, without the picture.

Paper: ViLEM (CVPR 2023), the frozen BERT of its text edition.
Differs from the paper: beside a public BERT there is a small one of our own, for texts of a closed vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn

from runtime.errors import DataError
from training.data.tokenizer import pieces_of
from training.model.heads import MaskedWordHead
from training.model.public import raise_eps
from training.model.text_encoder import TextEncoderConfig


class WordGuesser(Protocol):
    """Which words are plausible where one is hidden."""

    def guess(
        self,
        ids: Int[Tensor, "texts subwords"],
        mask: Bool[Tensor, "texts subwords"],
        positions: Int[Tensor, " texts"],
    ) -> Float[Tensor, "texts vocabulary"]:
        """Logits of the word that is hidden at one position of each text; without gradients."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallGuesserConfig:
    """A small masked language model, trained on the captions themselves."""

    max_subwords: int = 48
    width: int = 64
    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 2.0

    def build(self, vocab_size: int) -> "SmallGuesser":
        """A fresh one (random weights from torch's global generator)."""
        return SmallGuesser(self, vocab_size)


class SmallGuesser(nn.Module):
    """A text encoder and a head tied to its word vectors."""

    def __init__(self, config: SmallGuesserConfig, vocab_size: int) -> None:
        super().__init__()
        text = TextEncoderConfig(
            max_subwords=config.max_subwords,
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            mlp_ratio=config.mlp_ratio,
        )
        self.text_encoder = text.build(vocab_size)
        self.head = MaskedWordHead(config.width, vocab_size)

    @torch.no_grad()
    def guess(
        self,
        ids: Int[Tensor, "texts subwords"],
        mask: Bool[Tensor, "texts subwords"],
        positions: Int[Tensor, " texts"],
    ) -> Float[Tensor, "texts vocabulary"]:
        """See `WordGuesser`."""
        tokens = self.text_encoder(ids, mask)[torch.arange(len(ids)), positions]
        logits: Tensor = self.head(tokens, self.text_encoder.word_vectors)
        return logits


class PublicGuesser:
    """A masked language model in the public format, such as BERT with its head."""

    def __init__(self, source: str, pieces: Sequence[str]) -> None:
        """Read it.

        Args:
            source: a local directory in the public format with its tokenizer.json.
            pieces: the subwords of the texts that it will be asked of, by id.

        Raises:
            DataError: `tower_invalid` when it is no masked language model, or has other subwords.
        """
        from transformers import AutoModelForMaskedLM

        try:
            found: Any = AutoModelForMaskedLM.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
            tokenizer = Tokenizer.from_file(str(Path(source) / "tokenizer.json"))
        except Exception as error:  # the tokenizers library raises plain exceptions
            raise DataError(
                f"{source} cannot be read as a public masked language model ({error}); name a BERT with its head.",
                code="tower_invalid",
            ) from error
        self._model, loading = found
        if any("bias" not in name for name in loading["missing_keys"]):
            raise DataError(
                f"{source} lacks the head that guesses hidden words ({', '.join(sorted(loading['missing_keys']))}); "
                "name a checkpoint of a masked language model (BertForMaskedLM).",
                code="tower_invalid",
            )
        raise_eps(self._model).eval()
        # the logits of one position are asked for: the head of BERT and RoBERTa need not see the others
        self._head: nn.Module | None = getattr(self._model, "cls", None) or getattr(self._model, "lm_head", None)
        if pieces_of(tokenizer) != list(pieces):
            raise DataError(
                f"{source} has other subwords than the recipe's tokenizer, so its guesses mean nothing there; train "
                "with its tokenizer.json.",
                code="tower_invalid",
            )

    @torch.no_grad()
    def guess(
        self,
        ids: Int[Tensor, "texts subwords"],
        mask: Bool[Tensor, "texts subwords"],
        positions: Int[Tensor, " texts"],
    ) -> Float[Tensor, "texts vocabulary"]:
        """See `WordGuesser`."""
        each, inputs = torch.arange(len(ids)), {"input_ids": ids, "attention_mask": mask.long()}
        if self._head is None:
            whole: Tensor = self._model(**inputs).logits[each, positions]
            return whole
        hidden = self._model.base_model(**inputs).last_hidden_state
        logits: Tensor = self._head(hidden[each, positions])
        return logits
