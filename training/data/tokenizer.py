"""Tokenizers built here: whole words of a closed vocabulary, or subwords learned from captions."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from runtime.phrases import FUNCTION_WORDS
from training.data.batch import SpecialTokens

PAD, UNKNOWN, START, END, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_PUBLIC = (
    ("<|endoftext|>", "<|endoftext|>", "<|startoftext|>", "<|endoftext|>"),  # CLIP
    ("<pad>", "<unk>", "</s>", "</s>"),  # SigLIP, which marks no start
    ("</s>", "<unk>", "</s>", "</s>"),  # the same, padded with its end
)
"""Names of padding, unknown, start and end in the tokenizers of public models; these have no mask."""

_INSIDE = "##"  # WordPiece's mark of a piece that does not begin a word
_ENDING_LETTERS = (2, 3, 4)


def word_tokenizer(vocabulary: Sequence[str]) -> Tokenizer:
    """One id per word of a closed vocabulary (and per punctuation mark in it).

    Every other word is [UNK]; every other punctuation mark is passed over.
    """
    words = list(dict.fromkeys(word.lower() for word in vocabulary))
    ids = {word: number for number, word in enumerate((*SPECIAL, *words))}
    tokenizer = _finished(Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN)))
    marks = re.escape("".join(word for word in words if len(word) == 1 and not word.isalnum()))
    tokenizer.normalizer = normalizers.Sequence(
        [tokenizer.normalizer, normalizers.Replace(Regex(rf"[^\w\s{marks}]"), " ")]
    )
    return tokenizer


def subword_tokenizer(captions: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """WordPiece subwords of captions: the most frequent words, their commonest endings, and every character.

    The same captions give the same ids every time, which the library's own trainer does not promise.
    """
    counts = _word_counts(captions)
    characters = sorted({character for word in counts for character in word})
    endings: Counter[str] = Counter()
    for word, count in counts.items():
        for length in _ENDING_LETTERS:
            if len(word) > length:
                endings[_INSIDE + word[-length:]] += count
    pieces = [*characters, *(_INSIDE + character for character in characters)]
    pieces += _commonest(endings, vocab_size // 10)
    pieces += _commonest(counts, max(0, vocab_size - len(SPECIAL) - len(pieces)))
    ids = {piece: number for number, piece in enumerate(dict.fromkeys((*SPECIAL, *pieces)))}
    return _finished(Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN)))


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """The ids of the special tokens, by the names that BERT, CLIP or SigLIP have for them.

    Raises:
        ValueError: the tokenizer has not all of one of those sets of names.
    """
    for names in (SPECIAL[:4], *_PUBLIC):
        found = [tokenizer.token_to_id(name) for name in names]
        pad, unknown, start, end = found
        if pad is not None and unknown is not None and start is not None and end is not None:
            return SpecialTokens(
                pad=pad,
                unknown=unknown,
                start=start,
                end=end,
                mask=tokenizer.token_to_id(MASK),
                vocab_size=tokenizer.get_vocab_size(),
                contentless=_contentless(tokenizer),
            )
    missing = [name for name in SPECIAL if tokenizer.token_to_id(name) is None]
    raise ValueError(f"the tokenizer lacks {', '.join(missing)}")


def with_mask(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer with [MASK] as one more subword, where it has none."""
    if tokenizer.token_to_id(MASK) is None:
        tokenizer.add_special_tokens([MASK])
    return tokenizer


def pieces_of(tokenizer: Tokenizer) -> list[str]:
    """Every subword as it is written, by id."""
    return [tokenizer.id_to_token(number) or "" for number in range(tokenizer.get_vocab_size())]


def _contentless(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids of function words and of what has no letter or digit, as WordPiece, BPE or SentencePiece write them."""
    found = []
    for piece, number in tokenizer.get_vocab().items():
        written = piece.removeprefix("\u2581").removesuffix("</w>").lower()
        if written in FUNCTION_WORDS or not any(character.isalnum() for character in written):
            found.append(number)
    return tuple(sorted(found))


def _word_counts(captions: Iterable[str]) -> Counter[str]:
    normalise, cut = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(word for word, _ in cut.pre_tokenize_str(normalise.normalize_str(caption)))
    return counts


def _commonest(counts: Counter[str], most: int) -> list[str]:
    return sorted(counts, key=lambda piece: (-counts[piece], piece))[:most]


def _finished(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (START, END)],
    )
    return tokenizer
