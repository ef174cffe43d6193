"""Text encoder that is a public tower: the lower layers of BERT, or the text side of CLIP or SigLIP.

Papers: BERT (Devlin et al., 2018), ALBEF (Li et al., 2021; layers 0 to 5 as the text encoder), CLIP (Radford et al.,
2021), SigLIP (Zhai et al., 2023).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from runtime.errors import DataError
from training.model.public import (
    build_tower,
    causal_bias,
    copy_weights,
    padding_bias,
    public_config,
    read_architecture,
    read_weights,
)
from training.model.transformer import Crossing


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTowerConfig:
    """A public text tower."""

    architecture: str  # `public.architecture` or `public.read_architecture`
    depth: int | None = None  # only so many of its layers, from the first on; None: all
    weights: str | None = None  # the public checkpoint that training starts from; None: from nothing
    added_subwords: int = 0  # word vectors beyond the public ones, such as that of [MASK]; they begin as the mean one

    def build(self, vocab_size: int) -> "TextTower":
        """The tower with random weights (from torch's global generator).

        Raises:
            DataError: `tower_invalid` when it is to start from weights of another vocabulary.
        """
        return TextTower(self, vocab_size)


def describe_text(source: str, *, depth: int | None = None) -> TextTowerConfig:
    """The text tower of a public BERT, CLIP or SigLIP checkpoint: a local directory or a name.

    Raises:
        DataError: `tower_invalid`.
    """
    return TextTowerConfig(architecture=read_architecture(source, "text"), depth=depth, weights=source)


class TextTower(nn.Module):
    """Subword ids to the tower's tokens.

    BERT's summary of a text is its first subword, [CLS], which is one of the subwords. CLIP reads forwards only, so its
    summary is the last subword; SigLIP's is the last place of a text padded to full length, padding looked at. Those
    two put the summary in front of the subwords (`has_summary`).
    """

    def __init__(self, config: TextTowerConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        depth = {} if config.depth is None else {"num_hidden_layers": config.depth}
        known = public_config(config.architecture, "text").vocab_size + config.added_subwords
        if config.weights is not None and known < vocab_size:
            raise DataError(
                f"{config.weights} knows {known} subwords and the tokenizer {vocab_size}; train with the "
                "checkpoint's own tokenizer.",
                code="tower_invalid",
            )
        num_words = known if config.weights is not None else vocab_size
        self.tower: Any = build_tower(config.architecture, "text", **depth, vocab_size=num_words)
        public = self.tower.config
        self.vocab_size = vocab_size
        self.kind: str = public.model_type
        self.has_summary = self.kind != "bert"
        self.width: int = public.hidden_size
        self.max_subwords: int = public.max_position_embeddings
        if self.kind == "siglip_text_model":
            self.tower.head = nn.Identity()  # it projects: `heads.FirstTokenConfig`

    @property
    def word_vectors(self) -> Float[Tensor, "vocabulary width"]:
        """The embedding table, as far as the tokenizer knows it."""
        table: Tensor = self.tower.get_input_embeddings().weight
        return table[: self.vocab_size]

    def forward(
        self, ids: Int[Tensor, "texts subwords"], mask: Bool[Tensor, "texts subwords"]
    ) -> Float[Tensor, "texts tokens width"]:
        """The summary where it is no subword, then the word tokens; those at padding positions mean nothing."""
        if self.kind == "bert":
            return self._read(ids, padding_bias(mask))
        if self.kind == "clip_text_model":
            tokens = self._read(ids, causal_bias(mask))
            last = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, -1, self.width)
            return torch.cat([tokens.gather(1, last), tokens], dim=1)
        length = ids.shape[1]
        ids = torch.where(mask, ids, self.tower.config.pad_token_id)
        padded = F.pad(ids, (0, self.max_subwords - length), value=self.tower.config.pad_token_id)
        tokens = self._read(padded, None)
        return torch.cat([tokens[:, -1:], tokens[:, :length]], dim=1)

    @property
    def depth(self) -> int:
        """How many layers."""
        return int(self.tower.config.num_hidden_layers)

    def crossed(
        self,
        ids: Int[Tensor, "texts subwords"],
        mask: Bool[Tensor, "texts subwords"],
        *,
        crossings: Sequence[Crossing] | None = None,
        added: Float[Tensor, "texts width"] | None = None,
    ) -> Float[Tensor, "texts subwords width"]:
        """BERT's tokens, with a crossing in each layer, and something added to every word vector.

        Activations inside these layers are kept even where blocks are recomputed.

        Raises:
            ValueError: the tower is no BERT, or its weights are divided over processes.
        """
        if self.kind != "bert":
            raise ValueError(f"a {self.kind} reads in one direction or into one place; only a BERT can be crossed")
        if any(isinstance(weight, DTensor) for weight in self.tower.encoder.parameters()):
            raise ValueError("a BERT under a proof-reader cannot be divided over processes; set parallel to ddp")
        bias = padding_bias(mask)
        tokens: Tensor = self.tower.embeddings(ids)
        if added is not None:
            tokens = tokens + added[:, None]
        for number, layer in enumerate(self.tower.encoder.layer):
            tokens = layer.attention(tokens, bias)[0]
            if crossings:
                tokens = crossings[number](tokens)
            tokens = layer.feed_forward_chunk(tokens)
        return tokens

    def load_pretrained(self) -> None:
        """Take the weights that the config names. Raises `DataError` (`tower_invalid`)."""
        source = self.config.weights
        if source is not None:
            public = read_weights(source)
            weights = getattr(public, "text_model", public).state_dict()
            copy_weights(self.tower, self._with_added_words(weights), source)

    def _with_added_words(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The public weights, their word vectors followed by the added ones."""
        name = next(
            name for name, value in self.tower.named_parameters() if value is self.tower.get_input_embeddings().weight
        )
        if not self.config.added_subwords or name not in weights:
            return weights
        table = weights[name]
        added = table.mean(dim=0, keepdim=True).expand(self.config.added_subwords, -1)
        return {**weights, name: torch.cat([table, added])}

    def _read(self, ids: Tensor, bias: Tensor | None) -> Tensor:
        tokens: Tensor = self.tower(input_ids=ids, attention_mask=bias).last_hidden_state
        return tokens
