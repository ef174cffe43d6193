"""Text encoder that starts from a local directory in the transformers format and stays as it was pretrained.

The directory is named by the config and checked by its digest; its weights are never copied into a checkpoint. On top
come layers of our own, which do learn. A frozen tower says the same of the same text every time, so in training each
text goes through it once and is remembered.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from runtime.bundle.digest import file_digest
from runtime.errors import DataError
from training.model.transformer import LAYER_NORM_EPS, Block, initialise, key_bias

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"

_TEXTS_PER_PASS = 256
_TOKENS_PER_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedTextConfig:
    """A frozen BERT-like tower and what is trained on top of it."""

    directory: str  # holds config.json, model.safetensors and tokenizer.json
    sha256: str  # of model.safetensors
    width: int
    max_subwords: int = 48
    depth: int = 0  # trained layers on top
    heads: int = 6
    mlp_ratio: float = 4.0

    def build(self, vocab_size: int) -> "PretrainedTextEncoder":
        """The tower with its weights read from the directory; layers on top start from random weights."""
        return PretrainedTextEncoder(self)


def describe_tower(directory: Path, *, max_subwords: int = 48, depth: int = 0) -> PretrainedTextConfig:
    """Look into a directory in the transformers format and describe it.

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
    width = int(json.loads((directory / CONFIG).read_text())["hidden_size"])
    return PretrainedTextConfig(
        directory=str(directory),
        sha256=file_digest(directory / WEIGHTS),
        width=width,
        max_subwords=max_subwords,
        depth=depth,
    )


class PretrainedTextEncoder(nn.Module):
    """Subword ids to tokens: a frozen tower, then layers that learn."""

    has_summary = False

    def __init__(self, config: PretrainedTextConfig) -> None:
        super().__init__()
        self.width = config.width
        self._tower = (_frozen_tower(config),)  # in a tuple, so that it is no part of the state
        self._memory = _TokenMemory(config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS) if config.depth else nn.Identity()
        initialise(self)

    @property
    def word_vectors(self) -> Float[Tensor, "vocabulary width"]:
        """The tower's embedding table, frozen."""
        table: Tensor = self._tower[0].get_input_embeddings().weight  # type: ignore[operator]
        return table

    def forward(
        self, ids: Int[Tensor, "texts subwords"], mask: Bool[Tensor, "texts subwords"]
    ) -> Float[Tensor, "texts subwords width"]:
        """The word tokens; those at padding positions mean nothing."""
        tokens = self._recall(ids, mask) if self.training else self._read(ids, mask)
        bias = key_bias(mask)
        for block in self.blocks:
            tokens = block(tokens, bias)
        out: Tensor = self.norm(tokens)
        return out

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast(ids.device.type, enabled=False):
            tower = self._tower[0].to(ids.device)
            out: Tensor = tower(input_ids=ids, attention_mask=mask.to(torch.int64)).last_hidden_state
        return out

    @torch.no_grad()
    def _recall(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What the tower says, from memory where it was asked before (kept in half precision)."""
        lengths = mask.sum(dim=1).tolist()
        keys = [row[:length].cpu().numpy().tobytes() for row, length in zip(ids, lengths, strict=True)]
        new = [row for row, key in enumerate(keys) if key not in self._memory]
        for at in range(0, len(new), _TEXTS_PER_PASS):
            rows = new[at : at + _TEXTS_PER_PASS]
            for row, tokens in zip(rows, self._read(ids[rows], mask[rows]), strict=True):
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
