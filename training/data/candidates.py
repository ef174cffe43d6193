"""Candidates: which words are plausible at a place of a caption, guessed as they are needed or written down beforehand.

Paper: ViLEM (CVPR 2023), the masked language model of its text edition, and its twenty best words.
Differs from the paper: what was guessed can be kept in a table, so that a large language model runs once per caption
and not once per epoch.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from runtime.errors import DataError
from training.data.batch import PairBatch, SpecialTokens, caption_key
from training.model.transformer import MASKED
from training.model.word_guesser import WordGuesser

MOST_CANDIDATES = 20
_TEXTS_AT_ONCE = 512

Place = tuple[int, int]
"""A row of a batch and a position in its caption."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Plausible words for one place, with probabilities that sum to one, best first."""

    words: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def sample(self, rng: np.random.Generator, *, is_allowed: Callable[[int], bool]) -> int | None:
        """One of those that are allowed, by its probability; None when none is."""
        draw = rng.random()  # always one, so that later draws do not depend on what is allowed
        allowed = np.array([is_allowed(int(word)) for word in self.words], bool)
        weights = np.where(allowed, self.probabilities, 0.0)
        if weights.sum() <= 0.0:
            return None
        reached = np.cumsum(weights) > draw * weights.sum()
        return int(self.words[np.argmax(reached)])


class Proposer(Protocol):
    """Says what is plausible at places of a batch's captions."""

    def propose(self, batch: PairBatch, places: Sequence[Place]) -> list[Candidates]:
        """The candidates of each place, in order."""
        ...


class Guessed:
    """Candidates by a masked language model, one hidden word at a time."""

    def __init__(self, guesser: WordGuesser, special: SpecialTokens, banned: Iterable[int] = ()) -> None:
        """Take a language model.

        Args:
            guesser: over the subwords of the batch's tokenizer.
            special: the special tokens, which are never candidates.
            banned: other subwords that are not.

        Raises:
            ValueError: the tokenizer has no [MASK].
        """
        if special.mask is None:
            raise ValueError(
                "a word is hidden behind [MASK] to guess what else could stand there; this tokenizer lacks it"
            )
        self._guesser = guesser
        self._mask_id = special.mask
        self._banned = torch.tensor(sorted({*special.all, *banned}))

    def propose(self, batch: PairBatch, places: Sequence[Place]) -> list[Candidates]:
        """See `Proposer`; the word that stands there is not among them."""
        found: list[Candidates] = []
        for start in range(0, len(places), _TEXTS_AT_ONCE):
            found += self._some(batch, places[start : start + _TEXTS_AT_ONCE])
        return found

    def _some(self, batch: PairBatch, places: Sequence[Place]) -> list[Candidates]:
        rows, positions = torch.tensor(places).T
        each = torch.arange(len(places))
        ids, mask = batch.ids[rows].clone(), batch.mask[rows]
        own = ids[each, positions]
        ids[each, positions] = self._mask_id
        logits = self._guesser.guess(ids, mask, positions).float()
        logits[:, self._banned] = MASKED
        logits[each, own] = MASKED
        num_allowed = logits.shape[1] - len(self._banned) - 1
        best, words = logits.topk(min(MOST_CANDIDATES, max(0, num_allowed)), dim=1)
        probabilities = torch.softmax(best.double(), dim=1)
        return [Candidates(*pair) for pair in zip(words.numpy(), probabilities.numpy(), strict=True)]


class CandidateTable:
    """Candidates written down for the captions of a data set, by caption and position."""

    def __init__(self, file: Path, vocabulary: str) -> None:
        """Read a table.

        Args:
            file: what `write_table` wrote.
            vocabulary: the digest of the tokenizer that positions and words are counted by.

        Raises:
            DataError: `candidates_invalid` when it cannot be read or was written for another tokenizer.
        """
        try:
            with np.load(file, allow_pickle=False) as table:
                stamp = str(table["vocabulary"])
                self._keys, self._words, self._shares = table["keys"], table["words"], table["shares"]
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"{file} is no table of candidates ({error}).", code="candidates_invalid") from error
        if stamp != vocabulary:
            raise DataError(
                f"{file} was written for another tokenizer; write it again with this one.", code="candidates_invalid"
            )
        self._file = file

    def propose(self, batch: PairBatch, places: Sequence[Place]) -> list[Candidates]:
        """See `Proposer`.

        Raises:
            DataError: `candidates_invalid` when a caption is not in the table.
        """
        return [self._of(batch, row, position) for row, position in places]

    def _of(self, batch: PairBatch, row: int, position: int) -> Candidates:
        key = _key(batch.texts[row], position)
        at = int(np.searchsorted(self._keys, key))
        if at == len(self._keys) or self._keys[at] != key:
            raise DataError(
                f"{self._file} has no candidates for place {position} of {batch.texts[row]!r}; write it again over the "
                "captions that are trained on.",
                code="candidates_invalid",
            )
        shares = self._shares[at].astype(np.float64)
        return Candidates(self._words[at].astype(np.int64), shares / shares.sum())


def write_table(
    file: Path, batches: Iterable[tuple[PairBatch, Sequence[Place]]], proposer: Proposer, vocabulary: str
) -> int:
    """Write down the candidates of all given places, each once.

    Args:
        file: a `.npz` file, written whole or not at all.
        batches: batches and the places in their captions that words may be replaced at.
        proposer: what says them.
        vocabulary: the tokenizer's digest.

    Returns:
        How many places.
    """
    found: dict[int, Candidates] = {}
    for batch, places in batches:
        new = {key: place for place in places if (key := _key(batch.texts[place[0]], place[1])) not in found}
        found |= dict(zip(new, proposer.propose(batch, list(new.values())), strict=True))
    keys = np.array(sorted(found), np.uint64)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("wb") as out:
        np.savez_compressed(
            out,
            vocabulary=np.array(vocabulary),
            keys=keys,
            words=np.array([found[int(key)].words for key in keys], np.int32),
            shares=np.array([found[int(key)].probabilities for key in keys], np.float32),
        )
    partial.replace(file)
    return len(keys)


def _key(caption: str, position: int) -> int:
    return caption_key(f"{position} {caption}")
