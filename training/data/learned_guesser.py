"""The small masked language model of a data set: trained on its captions once, and kept."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from runtime.preprocess.text import TextTransform
from training.data.batch import SpecialTokens
from training.data.tokenizer import special_tokens
from training.model.word_guesser import SmallGuesser, SmallGuesserConfig

_log = logging.getLogger(__name__)

KEPT_IN = Path("runs") / "word-guessers"
_HIDDEN_SHARE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedGuesserConfig:
    """What is trained, and for how long."""

    model: SmallGuesserConfig = field(default_factory=SmallGuesserConfig)
    num_captions: int = 20_000
    num_steps: int = 1500
    batch_size: int = 128
    learning_rate: float = 3e-3
    seed: int = 0


def learned_guesser(
    config: LearnedGuesserConfig,
    captions: Callable[[int], Sequence[str]],
    tokenizer: Tokenizer,
    *,
    source: str,
    folder: Path = KEPT_IN,
) -> SmallGuesser:
    """The model of a config, from the folder or trained now; the same captions give the same model.

    Args:
        config: what and for how long.
        captions: gives so many captions.
        tokenizer: of the model that it will serve.
        source: names the captions: where it, the tokenizer and the config are the same, so is the model.
        folder: where trained ones are kept.
    """
    described = json.dumps([asdict(config), tokenizer.to_str(), source], sort_keys=True)
    file = folder / f"{hashlib.sha256(described.encode()).hexdigest()[:32]}.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = config.model.build(tokenizer.get_vocab_size())
        if file.is_file():
            safetensors.torch.load_model(model, file)
        else:
            _log.info("training the masked language model of %s for %d steps", source, config.num_steps)
            loss = _train(model, config, captions(config.num_captions), tokenizer)
            _log.info("it is kept in %s; its loss came down to %.3f", file, loss)
            folder.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{file.name}.{torch.randint(1 << 30, ()).item()}.partial")
            safetensors.torch.save_model(model, partial)
            partial.replace(file)
    return model.eval().requires_grad_(False)


def _train(model: SmallGuesser, config: LearnedGuesserConfig, captions: Sequence[str], tokenizer: Tokenizer) -> float:
    """Learn masked words, hidden in every case, as the guesser is asked of hidden ones alone; the mean last loss."""
    special = special_tokens(tokenizer)
    encoded = TextTransform(tokenizer, max_subwords=config.model.max_subwords).encode(captions)
    ids, mask = torch.from_numpy(encoded.ids), torch.from_numpy(encoded.mask).bool()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.num_steps)
    losses: list[float] = []
    for _ in range(config.num_steps):
        rows = torch.randint(len(ids), (config.batch_size,))
        length = int(mask[rows].sum(dim=1).max())
        loss = _loss(model, ids[rows, :length], mask[rows, :length], special)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return sum(losses[-50:]) / len(losses[-50:])


def _loss(model: SmallGuesser, ids: torch.Tensor, mask: torch.Tensor, special: SpecialTokens) -> torch.Tensor:
    assert special.mask is not None
    is_word = mask & ~special.are_among(ids)
    draws = torch.rand(ids.shape).masked_fill(~is_word, 2.0)
    chosen = (draws < _HIDDEN_SHARE) | (is_word & (draws == draws.amin(dim=1, keepdim=True)))
    tokens = model.text_encoder(ids.masked_fill(chosen, special.mask), mask)[chosen]
    return F.cross_entropy(model.head(tokens, model.text_encoder.word_vectors), ids[chosen])
