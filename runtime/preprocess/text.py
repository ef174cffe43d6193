"""Texts: from strings to what a text encoder takes, and the words of a text with their spans."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from runtime.errors import BundleError, TextError
from runtime.preprocess.spelling import Spelling

MAX_CHARACTERS = 20_000
"""Longer texts are refused; texts of more subwords than the model takes are cut at the end."""

_FEW, _FEW_CHARACTERS = 8, 1_000

_JOINERS = "'’-\u200c\u200d"


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text as sent: `text[start:end]`, without the punctuation around it."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBatch:
    """Tokenised texts, padded to the longest of the batch.

    Attributes:
        ids: int64 [texts, subwords].
        mask: int64 [texts, subwords]; 1 marks a subword, 0 padding.
        offsets: int64 [texts, subwords, 2]; character span of each subword, (0, 0) for special ones and padding.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    offsets: NDArray[np.int64]


def words(text: str) -> list[Word]:
    """Return the words of a text with their exact spans.

    A word is a run of letters and digits of any script, with their combining marks; a hyphen or apostrophe between
    two of them joins. Scripts written without spaces give one word per run.
    """
    found: list[Word] = []
    start: int | None = None
    for at, character in enumerate(text + " "):
        if start is None:
            start = at if character.isalnum() else None
        elif not (_continues_word(character) or (character in _JOINERS and text[at + 1 : at + 2].isalnum())):
            found.append(Word(text[start:at], start, at))
            start = None
    return found


def check_text(text: str) -> None:
    """Refuse a text that holds nothing or far too much.

    Raises:
        TextError: `text_empty` when no character is more than white space; `text_too_long` beyond MAX_CHARACTERS.
    """
    if not text.strip():
        raise TextError("the text is empty; send at least one word.")
    if len(text) > MAX_CHARACTERS:
        raise TextError(
            f"the text has {len(text):,} characters; at most {MAX_CHARACTERS:,} are accepted.",
            code="text_too_long",
        )


class TextTransform:
    """A tokenizer with the model's length limit.

    The tokenizer file must know the special tokens `[PAD]`, `[UNK]`, `[MASK]`, or CLIP's `<|endoftext|>` for padding,
    and add its own start and end tokens.
    """

    def __init__(self, tokenizer: Tokenizer, *, max_subwords: int) -> None:
        self.tokenizer = tokenizer
        self.max_subwords = max_subwords
        self._spelling = Spelling.of(tokenizer)
        self.pad_id = _special_id(tokenizer, "[PAD]", "<pad>", "<|endoftext|>")
        self.mask_id: int | None = tokenizer.token_to_id("[MASK]")
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_subwords)

    @property
    def vocabulary_size(self) -> int:
        """How many subwords the tokenizer knows, special ones included."""
        return int(self.tokenizer.get_vocab_size())

    def piece(self, subword: int) -> str:
        """Return a subword as WordPiece would write it, `##` before what only goes on with a word.

        Nothing for an id that the vocabulary does not have, and for what neither is a word nor goes on with one.
        """
        written, spelling = str(self.tokenizer.id_to_token(subword) or ""), self._spelling
        is_told = spelling.is_word(written) or spelling.goes_on(written)
        return spelling.as_word_pieces([written])[0] if is_told else ""

    def pieces(self, subwords: Sequence[int]) -> list[str]:
        """Return the subwords of one word as WordPiece would write them."""
        return self._spelling.as_word_pieces([str(self.tokenizer.id_to_token(int(one)) or "") for one in subwords])

    @cached_property
    def whole_words(self) -> tuple[NDArray[np.intp], list[str]]:
        """The subwords that are words by themselves: their ids, and the words in the same order."""
        spelling = self._spelling
        entries = sorted(
            (at, spelling.plain(written))
            for written, at in self.tokenizer.get_vocab().items()
            if spelling.is_word(written) and spelling.plain(written).isalpha()
        )
        return np.asarray([at for at, _ in entries], np.intp), [word for _, word in entries]

    def encode(self, texts: Sequence[str]) -> TextBatch:
        """Tokenise texts; what goes beyond `max_subwords` is cut.

        Raises:
            TextError: a text is empty or far too long.
        """
        for text in texts:
            check_text(text)
        # A few are not spread over the tokenizer's threads, whose waking takes longer than the texts.
        is_few = len(texts) <= _FEW and sum(map(len, texts)) <= _FEW_CHARACTERS
        encode = self.tokenizer.encode
        encodings = [encode(text) for text in texts] if is_few else self.tokenizer.encode_batch(list(texts))
        length = max((len(encoding.ids) for encoding in encodings), default=0)
        ids = np.full((len(encodings), length), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(encodings), length), dtype=np.int64)
        offsets = np.zeros((len(encodings), length, 2), dtype=np.int64)
        for row, encoding in enumerate(encodings):
            count = len(encoding.ids)
            ids[row, :count] = encoding.ids
            mask[row, :count] = 1
            offsets[row, :count] = encoding.offsets
        return TextBatch(ids=ids, mask=mask, offsets=offsets)


def subwords_of(word: Word, offsets: NDArray[np.int64]) -> list[int]:
    """Return the positions whose subword overlaps the word.

    Args:
        word: a word of the text that was tokenised.
        offsets: int64 [subwords, 2], one row of `TextBatch.offsets`.
    """
    start, end = offsets[:, 0], offsets[:, 1]
    return [int(i) for i in np.flatnonzero((end > start) & (start < word.end) & (end > word.start))]


def _continues_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _special_id(tokenizer: Tokenizer, *names: str) -> int:
    for name in names:
        found = tokenizer.token_to_id(name)
        if found is not None:
            return int(found)
    raise BundleError(f"the tokenizer has no padding token; one of {', '.join(names)} is needed.")
