"""Text encoder: a small bidirectional transformer over subwords."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from training.model.transformer import LAYER_NORM_EPS, Block, Crossing, initialise, key_bias


@runtime_checkable
class TextEncoder(Protocol):
    """What every text encoder is: an `nn.Module` from subword ids to one token per subword."""

    width: int
    has_summary: bool  # whether a token for the whole text, which is no subword, leads the word tokens

    @property
    def word_vectors(self) -> Float[Tensor, "vocabulary width"]:
        """One row per subword of the vocabulary: what a masked word is compared with."""
        ...

    def __call__(
        self, ids: Int[Tensor, "texts subwords"], mask: Bool[Tensor, "texts subwords"]
    ) -> Float[Tensor, "texts tokens width"]:
        """The word tokens, behind the summary where there is one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEncoderConfig:
    """A transformer over subwords, from nothing."""

    max_subwords: int = 48
    width: int = 128
    depth: int = 3
    heads: int = 4
    mlp_ratio: float = 3.0

    def build(self, vocab_size: int) -> "SubwordEncoder":
        """A fresh encoder for a vocabulary of that size (from torch's global generator)."""
        return SubwordEncoder(self, vocab_size)


class SubwordEncoder(nn.Module):
    """Subword ids to tokens that have seen the whole text."""

    has_summary = False

    def __init__(self, config: TextEncoderConfig, vocab_size: int) -> None:
        super().__init__()
        self.width = config.width
        self.depth = config.depth
        self.words = nn.Embedding(vocab_size, config.width)
        self.position = nn.Parameter(torch.empty(config.max_subwords, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        initialise(self)
        nn.init.normal_(self.words.weight, std=config.width**-0.5)
        nn.init.normal_(self.position, std=0.5 * config.width**-0.5)

    @property
    def word_vectors(self) -> Float[Tensor, "vocabulary width"]:
        """The embedding table."""
        return self.words.weight

    def forward(
        self, ids: Int[Tensor, "texts subwords"], mask: Bool[Tensor, "texts subwords"]
    ) -> Float[Tensor, "texts subwords width"]:
        """The word tokens; those at padding positions mean nothing."""
        return self.crossed(ids, mask)

    def crossed(
        self,
        ids: Int[Tensor, "texts subwords"],
        mask: Bool[Tensor, "texts subwords"],
        *,
        crossings: Sequence[Crossing] | None = None,
        added: Float[Tensor, "texts width"] | None = None,
    ) -> Float[Tensor, "texts subwords width"]:
        """The same, with a crossing in each layer, and something added to every word vector; see `proof_reader`."""
        tokens = self.words(ids) + self.position[: ids.shape[1]]
        if added is not None:
            tokens = tokens + added[:, None]
        bias = key_bias(mask)
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, bias, crossings[number] if crossings else None)
        out: Tensor = self.norm(tokens)
        return out
