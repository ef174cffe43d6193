"""Text encoder that starts from a local directory in the transformers format and stays as it was pretrained.

The directory is named by the config and checked by its digest; its weights are never copied into a checkpoint. A frozen
tower says the same of the same text every time, so in training each text goes through it once and is remembered.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from runtime.bundle.digest import file_digest
from runtime.errors import DataError

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"

_TEXTS_PER_PASS = 256
_TOKENS_PER_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedTextConfig:
    """A frozen BERT-like tower; what is trained is the head on top of it."""

    directory: str  # holds config.json, model.safetensors and tokenizer.json
    sha256: str  # of model.safetensors
    tower_width: int
    layers: tuple[int, ...]  # whose outputs are joined into a token; 0 is the embeddings, before the first layer
    max_subwords: int = 48
    learns_from_bf16: bool = False  # in training texts are read in bfloat16, in a third of the time on a CPU

    def build(self, vocab_size: int) -> "PretrainedTextEncoder":
        """The tower with its weights read from the directory; layers on top start from random weights."""
        return PretrainedTextEncoder(self)


def describe_tower(directory: Path, *, stages: int = 1, max_subwords: int = 48) -> PretrainedTextConfig:
    """Look into a directory in the transformers format and describe it.

    Args:
        directory: holds config.json, model.safetensors and tokenizer.json.
        stages: from how many layers, evenly spread from the embeddings to the last layer, tokens are joined; 1: the
            last layer alone. A tower trained to compare sentences has lost words that the first layers still say.
        max_subwords: longer texts are cut.

    Raises:
        DataError: `text_tower_invalid` when a file is missing.
    """
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (directory / name).is_file():
            raise DataError(
                f"{directory} is no text tower: {name} is missing. Name a directory in the transformers format that "
                "holds config.json, model.safetensors and tokenizer.json.",
                code="text_tower_invalid",
            )
    described = json.loads((directory / CONFIG).read_text())
    last = int(described["num_hidden_layers"])
    spread = [last] if stages == 1 else [round(last * stage / (stages - 1)) for stage in range(stages)]
    return PretrainedTextConfig(
        directory=str(directory),
        sha256=file_digest(directory / WEIGHTS),
        tower_width=int(described["hidden_size"]),
        layers=tuple(dict.fromkeys(spread)),
        max_subwords=max_subwords,
    )


class PretrainedTextEncoder(nn.Module):
    """Subword ids to tokens, by a frozen tower."""

    has_summary = False

    def __init__(self, config: PretrainedTextConfig) -> None:
        super().__init__()
        self.width = config.tower_width * len(config.layers)
        self._layers = config.layers
        self._learns_from_bf16 = config.learns_from_bf16
        self._tower = (_frozen_tower(config),)  # in a tuple, so that it is no part of the state
        self._memory = _TokenMemory(self.width)

    @property
    def word_vectors(self) -> Float[Tensor, "vocabulary width"]:
        """The tower's embedding table, frozen."""
        table: Tensor = self._tower[0].get_input_embeddings().weight  # type: ignore[operator]
        return table

    def forward(
        self, ids: Int[Tensor, "texts subwords"], mask: Bool[Tensor, "texts subwords"]
    ) -> Float[Tensor, "texts subwords width"]:
        """The word tokens; those at padding positions mean nothing."""
        return self._recall(ids, mask) if self.training else self.read(ids, mask)

    def read(
        self, ids: Int[Tensor, "texts subwords"], mask: Bool[Tensor, "texts subwords"]
    ) -> Float[Tensor, "texts subwords width"]:
        """The word tokens of texts that will not come again: they are not remembered."""
        in_bf16 = self.training and self._learns_from_bf16
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=in_bf16):
            tower = self._tower[0].to(ids.device)
            said = tower(input_ids=ids, attention_mask=mask.to(torch.int64), output_hidden_states=True)
            return torch.cat([said.hidden_states[layer].float() for layer in self._layers], dim=-1)

    @torch.no_grad()
    def _recall(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What the tower says, from memory where it was asked before (kept in half precision)."""
        lengths = mask.sum(dim=1).tolist()
        keys = [row[:length].cpu().numpy().tobytes() for row, length in zip(ids, lengths, strict=True)]
        new = [row for row, key in enumerate(keys) if key not in self._memory]
        for at in range(0, len(new), _TEXTS_PER_PASS):
            rows = new[at : at + _TEXTS_PER_PASS]
            for row, tokens in zip(rows, self.read(ids[rows], mask[rows]), strict=True):
                self._memory.keep(keys[row], tokens[: lengths[row]])
        out = torch.zeros(*ids.shape, self.width, device=ids.device)
        for row, (key, length) in enumerate(zip(keys, lengths, strict=True)):
            out[row, :length] = self._memory.recall(key)
        return out


class _TokenMemory:
    """Tokens of texts, in half precision, in a few large blocks: thousands of small tensors would scatter the heap."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._blocks: list[Tensor] = []
        self._used = _TOKENS_PER_BLOCK
        self._places: dict[bytes, tuple[int, int, int]] = {}

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def keep(self, key: bytes, tokens: Float[Tensor, "subwords width"]) -> None:
        length = len(tokens)
        if self._used + length > _TOKENS_PER_BLOCK:
            self._blocks.append(torch.empty(_TOKENS_PER_BLOCK, self.width, dtype=torch.half, device=tokens.device))
            self._used = 0
        start, self._used = self._used, self._used + length
        self._blocks[-1][start : self._used] = tokens
        self._places[key] = len(self._blocks) - 1, start, self._used

    def recall(self, key: bytes) -> Float[Tensor, "subwords width"]:
        block, start, end = self._places[key]
        return self._blocks[block][start:end]


def _frozen_tower(config: PretrainedTextConfig) -> nn.Module:
    from transformers import AutoModel  # takes a second to import: only recipes that need it pay

    weights = Path(config.directory) / WEIGHTS
    if not weights.is_file() or file_digest(weights) != config.sha256:
        raise DataError(
            f"{config.directory} does not hold the text tower that this model was made with (model.safetensors is "
            "missing or its sha256 differs); put it back, or train again.",
            code="text_tower_invalid",
        )
    tower: nn.Module = AutoModel.from_pretrained(
        config.directory, local_files_only=True, attn_implementation="eager", dtype=torch.float32
    )
    return tower.eval().requires_grad_(False)
