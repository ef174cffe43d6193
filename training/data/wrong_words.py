"""Wrong words: captions in which some words are replaced by plausible ones that are wrong for the picture.

Paper: ViLEM (CVPR 2023), knowledge-based text edition: each position is drawn by itself, at most eight of a text; the
drawn word alone is hidden; a frozen masked language model says what is plausible there; the word itself and those that
may not stand there are taken out; of the twenty best one is sampled by its probability.
Differs from the paper: what is true of the picture all the same, or means the same, is refused (`Truth`), exactly for
drawn scenes, and for other captions as far as all captions of the picture and a list of synonyms tell; words of several
subwords are left alone; punctuation stays in the text, and is never replaced. Candidates can be written down beforehand
(`training.data.candidates`).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from tokenizers import Tokenizer

from runtime.errors import DataError, UsageError
from runtime.preprocess.spelling import Spelling
from runtime.preprocess.text import TextTransform
from training.data.batch import PairBatch, WrongWords
from training.data.candidates import Candidates, CandidateTable, Guessed, Proposer
from training.data.learned_guesser import LearnedGuesserConfig, learned_guesser
from training.data.tokenizer import pieces_of, special_tokens
from training.model.word_guesser import PublicGuesser


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongWordsConfig:
    """How many words of a caption are made wrong."""

    share: float = 0.15  # of the words that may be replaced; each is drawn by itself, so some captions stay right
    most: int = 8  # of one caption; the first that are drawn
    is_uniform: bool = False  # any other value of the same slot in place of plausible words: drawn scenes only
    every_kind: bool = False  # of drawn scenes patterns, states and counts too, which else stay right
    guesser: LearnedGuesserConfig = field(
        default_factory=LearnedGuesserConfig
    )  # the language model that says what is plausible
    public: str | None = None  # a public masked language model with the recipe's tokenizer, in place of a small one
    synonyms: str | None = None  # a text file: words of one line mean the same; drawn scenes know theirs
    table: str | None = None  # candidates written down beforehand (scripts/candidates.py), in place of both

    def proposer(self, tokenizer: Tokenizer, captions: Callable[[int], Sequence[str]], *, source: str) -> Proposer:
        """What says which words are plausible.

        Args:
            tokenizer: of the recipe.
            captions: gives so many captions of the data, to train a small model on.
            source: names those captions.

        Raises:
            DataError: the table or the public model cannot be read, or is of another tokenizer.
            UsageError: the words are to be uniform, which drawn scenes alone can make.
        """
        if self.is_uniform:
            raise UsageError(
                f"only drawn scenes know what else a slot could say, and these are {source}; set is_uniform to False."
            )
        if self.table is not None:
            return CandidateTable(Path(self.table), vocabulary_digest(tokenizer))
        special = special_tokens(tokenizer)
        words = Vocabulary.of(tokenizer).words
        guesser = (
            learned_guesser(self.guesser, captions, tokenizer, source=source)
            if self.public is None
            else PublicGuesser(self.public, pieces_of(tokenizer))
        )
        return Guessed(guesser, special, banned=set(range(special.vocab_size)) - words)


@runtime_checkable
class Truth(Protocol):
    """What is known of one caption and its picture: which words may be replaced, and by what."""

    @property
    def positions(self) -> Sequence[int]:
        """Subwords that may be replaced, in order."""
        ...

    def is_wrong(self, position: int, word: int) -> bool:
        """Whether the caption is false of the picture with this word at that position."""
        ...

    def are_wrong(self, words: Mapping[int, int]) -> bool:
        """Whether it is false with all of these words, by position, each of which is wrong by itself."""
        ...


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Which subwords are words."""

    words: frozenset[int]  # that can be a word by themselves: no special token, no mark
    continuing: frozenset[int]  # that go on with one
    opening: frozenset[int]  # after which one goes on

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Vocabulary":
        """Sort out every subword of a tokenizer."""
        spelling, special = Spelling.of(tokenizer), set(special_tokens(tokenizer).all)
        pieces = {number: piece for number, piece in enumerate(pieces_of(tokenizer)) if number not in special}
        return cls(
            words=frozenset(
                number
                for number, piece in pieces.items()
                if spelling.is_word(piece) and any(character.isalnum() for character in spelling.plain(piece))
            ),
            continuing=frozenset(number for number, piece in pieces.items() if spelling.goes_on(piece)),
            opening=frozenset(number for number, piece in pieces.items() if spelling.is_open(piece)),
        )


class CaptionTruth:
    """The truth of any caption, as far as texts tell.

    Every word of one subword may be replaced, stop words too, by any other that no caption of the
    picture says and that is no synonym.
    """

    def __init__(
        self,
        ids: Sequence[int],
        *,
        vocabulary: Vocabulary,
        said: frozenset[int] = frozenset(),
        synonyms: Mapping[int, frozenset[int]] | None = None,
    ) -> None:
        """Note what is known.

        Args:
            ids: the caption's subwords.
            vocabulary: which subwords are words.
            said: subwords of all captions of the picture.
            synonyms: by subword, those that mean the same.
        """
        self.positions = [
            at
            for at, word in enumerate(ids)
            if word in vocabulary.words
            and (at + 1 == len(ids) or ids[at + 1] not in vocabulary.continuing)
            and (at == 0 or ids[at - 1] not in vocabulary.opening)
        ]
        self._ids = ids
        self._words, self._said = vocabulary.words, said
        self._synonyms = synonyms or {}

    def is_wrong(self, position: int, word: int) -> bool:
        """See `Truth`."""
        is_other = word in self._words and word not in self._said
        return is_other and word not in self._synonyms.get(self._ids[position], frozenset())

    def are_wrong(self, words: Mapping[int, int]) -> bool:
        """See `Truth`; nothing more is known of several words than of each."""
        return True


def truths_of(
    batch: PairBatch,
    captions: Sequence[Sequence[str]],
    transform: TextTransform,
    vocabulary: Vocabulary,
    synonyms: Mapping[int, frozenset[int]] | None = None,
) -> list[CaptionTruth]:
    """What is known of a batch's captions.

    Args:
        batch: whose captions.
        captions: all captions of each picture.
        transform: texts to subwords.
        vocabulary: which subwords are words.
        synonyms: by subword, those that mean the same.
    """
    said = [frozenset(transform.encode(texts).ids.ravel().tolist()) for texts in captions]
    return [
        CaptionTruth(batch.ids[row].tolist(), vocabulary=vocabulary, said=words, synonyms=synonyms)
        for row, words in enumerate(said)
    ]


def replaced(
    batch: PairBatch,
    truths: Sequence[Truth | None],
    proposer: Proposer,
    config: WrongWordsConfig,
    *,
    seeds: Sequence[Any],
) -> WrongWords:
    """Replace words of a batch's captions by what a proposer finds plausible and the truth calls wrong.

    Args:
        batch: whose captions.
        truths: of each caption; None leaves it as it is.
        proposer: says what is plausible.
        config: how many.
        seeds: of each caption, what `numpy.random.default_rng` takes: the same seed draws the same words.
    """
    streams = [np.random.default_rng(seed) for seed in seeds]
    drawn = [
        (row, position)
        for row, (truth, rng) in enumerate(zip(truths, streams, strict=True))
        if truth is not None
        for position in draw_positions(truth.positions, rng, share=config.share, most=config.most)
    ]
    ids = batch.ids.clone()
    for row, words in _sampled(drawn, proposer.propose(batch, drawn), truths, streams).items():
        for position, word in words.items():
            ids[row, position] = word
    return WrongWords(ids=ids, is_wrong=ids != batch.ids)


def read_synonyms(file: Path, tokenizer: Tokenizer) -> dict[int, frozenset[int]]:
    """Words that mean the same, by subword: of a file with words of one meaning on each line.

    Words of several subwords are passed over, since those are never replaced nor put in.

    Raises:
        DataError: `synonyms_invalid` when the file cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no list of synonyms ({error}).", code="synonyms_invalid") from error
    spelling = Spelling.of(tokenizer)
    number_of = {
        spelling.plain(piece): number for piece, number in tokenizer.get_vocab().items() if spelling.is_word(piece)
    }
    found: dict[int, set[int]] = {}
    for line in lines:
        group = {number for word in line.lower().split() if (number := number_of.get(word)) is not None}
        for number in group:
            found.setdefault(number, set()).update(group)
    return {number: frozenset(group) for number, group in found.items()}


def vocabulary_digest(tokenizer: Tokenizer) -> str:
    """Names a vocabulary: which subword has which id."""
    return hashlib.sha256("\n".join(pieces_of(tokenizer)).encode()).hexdigest()[:32]


def draw_positions(positions: Sequence[int], rng: np.random.Generator, *, share: float, most: int) -> list[int]:
    """Draw each position by itself; keep the first `most`."""
    draws = rng.random(len(positions))
    return [position for position, draw in zip(positions, draws, strict=True) if draw < share][:most]


def _sampled(
    drawn: Sequence[tuple[int, int]],
    found: Sequence[Candidates],
    truths: Sequence[Truth | None],
    streams: Sequence[np.random.Generator],
) -> dict[int, dict[int, int]]:
    """The words that take the drawn places, by row and position. A place without a wrong candidate stays as it is."""
    chosen: dict[int, dict[int, int]] = {}
    for (row, position), candidates in zip(drawn, found, strict=True):
        truth = truths[row]
        assert truth is not None
        word = candidates.sample(streams[row], is_allowed=partial(truth.is_wrong, position))
        if word is not None:
            chosen.setdefault(row, {})[position] = word
    return {row: words for row, words in chosen.items() if truths[row].are_wrong(words)}  # type: ignore[union-attr]
