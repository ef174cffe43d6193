"""What a hard negative has changed: the wrong words of the edited caption, and the one that would be right.

A `diff` counts words as `str.split()` does, with their punctuation; a proofreader marks words without it. Both meet on
characters: everything here is a span `text[start:end]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from runtime.preprocess.text import words

WordRange = tuple[int, int]
"""First and one past the last of some words, counted as `str.split()` does."""

Span = tuple[int, int]
"""Characters `text[start:end]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change from a true caption to a wrong one.

    Attributes:
        pos_words: the words of the true caption that were changed; empty (a, a) where words were put in.
        neg_words: the words of the wrong caption that stand there instead; empty where words were left out.
    """

    pos_words: WordRange
    neg_words: WordRange


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongWords:
    """The truth about an edited caption.

    Attributes:
        spans: its wrong words, as spans of the edited caption; empty when the edit only left words out.
        correction: when exactly one word was put in place of one word: its span and the word that would be right.
    """

    spans: tuple[Span, ...]
    correction: tuple[Span, str] | None


def wrong_words(caption: str, negative_caption: str, edits: Sequence[Edit]) -> WrongWords:
    """Find the wrong words of an edited caption.

    A word that a diff lists on both sides, or with other casing or punctuation only ("holder" and "holder."), was not
    changed and is not wrong.
    """
    right, wrong = _split_spans(caption), _split_spans(negative_caption)
    changed: list[tuple[list[Span], list[Span]]] = []
    for edit in edits:
        before = [span for span in right[slice(*edit.pos_words)] if _bare(caption, span)]
        after = [span for span in wrong[slice(*edit.neg_words)] if _bare(negative_caption, span)]
        matcher = SequenceMatcher(
            None, [_bare(caption, s) for s in before], [_bare(negative_caption, s) for s in after], autojunk=False
        )
        for tag, a, b, c, d in matcher.get_opcodes():
            if tag != "equal":
                changed.append((before[a:b], after[c:d]))
    spans = tuple(span for _, after in changed for span in after)
    return WrongWords(spans=spans, correction=_correction(caption, negative_caption, changed))


def _correction(
    caption: str, negative_caption: str, changed: Sequence[tuple[list[Span], list[Span]]]
) -> tuple[Span, str] | None:
    if len(changed) != 1 or len(changed[0][0]) != 1 or len(changed[0][1]) != 1:
        return None
    (before,), (after,) = changed[0]
    right_words = words(caption[slice(*before)])
    wrong_words_there = words(negative_caption[slice(*after)])
    if len(right_words) != 1 or len(wrong_words_there) != 1:
        return None
    found = wrong_words_there[0]
    return (after[0] + found.start, after[0] + found.end), right_words[0].text


def _split_spans(text: str) -> list[Span]:
    """Spans of the words of `str.split()`."""
    spans, at = [], 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        spans.append((start, at))
    return spans


def _bare(text: str, span: Span) -> str:
    """The letters and digits of a word, without casing; empty for lone punctuation."""
    return "".join(character for character in text[slice(*span)].casefold() if character.isalnum())


def overlaps(first: Span, second: Span) -> bool:
    """Say whether two spans share a character."""
    return first[0] < second[1] and second[0] < first[1]
