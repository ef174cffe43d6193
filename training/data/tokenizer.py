"""Tokenizers built here: whole words of a closed vocabulary, or subwords learned from captions."""

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from training.data.batch import SpecialTokens

PAD, UNKNOWN, START, END, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def word_tokenizer(vocabulary: Sequence[str]) -> Tokenizer:
    """One id per word of a closed vocabulary (and per punctuation mark in it); every other word is [UNK]."""
    words = list(dict.fromkeys(word.lower() for word in vocabulary))
    ids = {word: number for number, word in enumerate((*SPECIAL, *words))}
    return _finished(Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN)))


def subword_tokenizer(captions: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """WordPiece subwords learned from captions."""
    tokenizer = _finished(Tokenizer(models.WordPiece(unk_token=UNKNOWN)))
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(captions, trainer)
    return _with_ends(tokenizer)


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """The ids of the special tokens; a tokenizer without one of them is refused with `ValueError`."""
    ids = {name: tokenizer.token_to_id(name) for name in SPECIAL}
    if missing := [name for name, number in ids.items() if number is None]:
        raise ValueError(f"the tokenizer lacks {', '.join(missing)}")
    pad, unknown, start, end, mask = (number for number in ids.values() if number is not None)
    return SpecialTokens(
        pad=pad, unknown=unknown, start=start, end=end, mask=mask, vocab_size=tokenizer.get_vocab_size()
    )


def _finished(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if tokenizer.token_to_id(START) is not None:
        return _with_ends(tokenizer)
    return tokenizer


def _with_ends(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (START, END)],
    )
    return tokenizer
