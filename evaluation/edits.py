"""What a hard negative has changed: the wrong words of the edited caption, and the one that would be right.

A `diff` counts words as `str.split()` does, with their punctuation; a proofreader marks words without it. Both meet on
characters: everything here is a span `text[start:end]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        exchanged: the words, casefolded, of both captions that were changed by themselves, one for one.
    """

    spans: tuple[Span, ...]
    correction: tuple[Span, str] | None
    exchanged: frozenset[str] = frozenset()


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
        bare_before, bare_after = [_bare(caption, s) for s in before], [_bare(negative_caption, s) for s in after]
        for found in _changes(bare_before, bare_after):
            changed.append((before[slice(*found.pos_words)], after[slice(*found.neg_words)]))
    spans = tuple(span for _, after in changed for span in after)
    exchanged = frozenset(
        form
        for before, after in changed
        if len(before) == len(after) == 1
        for form in (_bare(caption, before[0]), _bare(negative_caption, after[0]))
    )
    return WrongWords(spans=spans, correction=_correction(caption, negative_caption, changed), exchanged=exchanged)


def diff(caption: str, negative_caption: str) -> list[Edit]:
    """Find what was changed, where a dataset does not say: the edits between two captions, word by word.

    Casing and punctuation are passed over.
    """
    right, wrong = ([letters(word) for word in text.split()] for text in (caption, negative_caption))
    return _changes(right, wrong)


def _changes(right: Sequence[str], wrong: Sequence[str]) -> list[Edit]:
    """The fewest changes from one list of words to another, those that touch taken together.

    A replaced word counts as one change, so that two words that changed places are found as two replacements.
    """
    fewest = np.zeros((len(right) + 1, len(wrong) + 1), np.int64)  # changes between the words from there on
    fewest[:, -1] = np.arange(len(right), -1, -1)
    fewest[-1, :] = np.arange(len(wrong), -1, -1)
    for i in reversed(range(len(right))):
        for j in reversed(range(len(wrong))):
            kept = fewest[i + 1, j + 1] + (right[i] != wrong[j])
            fewest[i, j] = min(kept, fewest[i + 1, j] + 1, fewest[i, j + 1] + 1)
    changes: list[Edit] = []
    i = j = start_i = start_j = 0
    while i < len(right) or j < len(wrong):
        inside = i < len(right) and j < len(wrong)
        if inside and right[i] == wrong[j] and fewest[i, j] == fewest[i + 1, j + 1]:
            if (start_i, start_j) != (i, j):
                changes.append(Edit(pos_words=(start_i, i), neg_words=(start_j, j)))
            i, j = start_i, start_j = i + 1, j + 1
        elif inside and fewest[i, j] == fewest[i + 1, j + 1] + 1:
            i, j = i + 1, j + 1
        elif i < len(right) and fewest[i, j] == fewest[i + 1, j] + 1:
            i += 1
        else:
            j += 1
    if (start_i, start_j) != (i, j):
        changes.append(Edit(pos_words=(start_i, i), neg_words=(start_j, j)))
    return changes


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
    return letters(text[slice(*span)])


def letters(word: str) -> str:
    """The letters and digits of a word, without casing; empty for lone punctuation."""
    return "".join(character for character in word.casefold() if character.isalnum())


def overlaps(first: Span, second: Span) -> bool:
    """Say whether two spans share a character."""
    return first[0] < second[1] and second[0] < first[1]
