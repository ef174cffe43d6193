"""Captions made wrong in one thing: noun phrases exchanged, replaced or put in, for a fusion encoder to tell apart.

Paper: NAS (AAAI 2025), negative text augmentation, whose rule could not be read; the kinds are those that SugarCrepe
(Hsieh et al., 2023) asks about: things and looks replaced, exchanged and added. Words for what is done are left to
`training.data.wrong_words`.

A caption with something put in is longer than others, so that length alone would tell: as many captions that stay right
are made longer, by what another caption of the same picture says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.phrases import Phrase, noun_phrases
from runtime.preprocess.text import words

_PLAIN_ARTICLE = "a"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedCaptionsConfig:
    """How captions are edited."""

    longer_share: float = 0.2  # of the right captions that say a thing more, as far as others of the picture name one


@dataclass(frozen=True, slots=True, kw_only=True)
class PhraseStock:
    """What the captions of a data set name: things, and how things look."""

    things: tuple[str, ...]  # last words of noun phrases, as often as they are said
    looks: tuple[str, ...]  # the words before them, likewise

    @classmethod
    def of(cls, captions: Sequence[str]) -> "PhraseStock":
        """Collect the phrases of some captions."""
        parts = [_parts(phrase.text) for caption in captions for phrase in noun_phrases(caption)]
        things = tuple(thing for _, thing in parts)
        return cls(things=things, looks=tuple(look for look, _ in parts if look))


def edited(caption: str, captions: Sequence[str], stock: PhraseStock, rng: np.random.Generator) -> str | None:
    """A caption that differs in one thing and is wrong as far as the picture's captions tell; None where none is found.

    Args:
        caption: what is edited.
        captions: all of its picture.
        stock: where other things and looks come from.
        rng: of the choices.
    """
    phrases = noun_phrases(caption)
    if not phrases:
        return None
    said = frozenset(word.text.lower() for one in captions for word in words(one))
    for kind in rng.permutation(len(_KINDS)):
        found = _KINDS[int(kind)](caption, phrases, said, stock, rng)
        if found is not None and found.lower() != caption.lower():
            return found
    return None


def said_longer(caption: str, others: Sequence[str], rng: np.random.Generator) -> str | None:
    """The caption with a thing more, which another caption of its picture names; None where none names another."""
    own = frozenset(word.text.lower() for word in words(caption))
    phrases = noun_phrases(caption)
    more = [one.text for other in others for one in noun_phrases(other) if _parts(one.text)[1].lower() not in own]
    if not phrases or not more:
        return None
    return _after(caption, phrases[int(rng.integers(len(phrases)))], more[int(rng.integers(len(more)))])


def _exchange_things(
    caption: str, phrases: Sequence[Phrase], said: frozenset[str], stock: PhraseStock, rng: np.random.Generator
) -> str | None:
    del said, stock
    if len(phrases) < 2:
        return None
    first, second = (phrases[at] for at in sorted(rng.choice(len(phrases), size=2, replace=False)))
    if _parts(first.text)[1].lower() == _parts(second.text)[1].lower():
        return None
    return _put(caption, [(first, second.text), (second, first.text)])


def _exchange_looks(
    caption: str, phrases: Sequence[Phrase], said: frozenset[str], stock: PhraseStock, rng: np.random.Generator
) -> str | None:
    del said, stock
    looking = [phrase for phrase in phrases if _parts(phrase.text)[0]]
    if not looking or len(phrases) < 2:
        return None
    first = looking[int(rng.integers(len(looking)))]
    others = [phrase for phrase in phrases if phrase is not first]
    second = others[int(rng.integers(len(others)))]
    (look, thing), (other_look, other_thing) = _parts(first.text), _parts(second.text)
    if look.lower() == other_look.lower() or thing.lower() == other_thing.lower():
        return None
    return _put(caption, [(first, f"{other_look} {thing}".strip()), (second, f"{look} {other_thing}")])


def _replace_thing(
    caption: str, phrases: Sequence[Phrase], said: frozenset[str], stock: PhraseStock, rng: np.random.Generator
) -> str | None:
    phrase, other = phrases[int(rng.integers(len(phrases)))], _drawn(stock.things, said, rng)
    return other and _put(caption, [(phrase, f"{_parts(phrase.text)[0]} {other}".strip())])


def _replace_look(
    caption: str, phrases: Sequence[Phrase], said: frozenset[str], stock: PhraseStock, rng: np.random.Generator
) -> str | None:
    looking = [phrase for phrase in phrases if _parts(phrase.text)[0]]
    other = _drawn(stock.looks, said, rng)
    if not looking or other is None:
        return None
    phrase = looking[int(rng.integers(len(looking)))]
    return _put(caption, [(phrase, f"{other} {_parts(phrase.text)[1]}")])


def _add_thing(
    caption: str, phrases: Sequence[Phrase], said: frozenset[str], stock: PhraseStock, rng: np.random.Generator
) -> str | None:
    other = _drawn(stock.things, said, rng)
    return other and _after(caption, phrases[int(rng.integers(len(phrases)))], other)


def _add_look(
    caption: str, phrases: Sequence[Phrase], said: frozenset[str], stock: PhraseStock, rng: np.random.Generator
) -> str | None:
    phrase, other = phrases[int(rng.integers(len(phrases)))], _drawn(stock.looks, said, rng)
    return other and _put(caption, [(phrase, f"{other} {phrase.text}")])


_KINDS: tuple[Callable[[str, Sequence[Phrase], frozenset[str], PhraseStock, np.random.Generator], str | None], ...] = (
    _exchange_things,
    _exchange_looks,
    _replace_thing,
    _replace_look,
    _add_thing,
    _add_look,
)


def _drawn(stock: Sequence[str], said: frozenset[str], rng: np.random.Generator) -> str | None:
    """One of the stock no word of which is said."""
    for _ in range(8):
        other = stock[int(rng.integers(len(stock)))] if stock else ""
        if other and not said & set(other.lower().split()):
            return other
    return None


def _after(caption: str, phrase: Phrase, other: str) -> str:
    return _put(caption, [(phrase, f"{phrase.text} and {_PLAIN_ARTICLE} {other}")])


def _put(caption: str, changes: Sequence[tuple[Phrase, str]]) -> str:
    """The caption with phrases, in order, replaced."""
    pieces, at = [], 0
    for phrase, text in sorted(changes, key=lambda change: change[0].start):
        pieces += [caption[at : phrase.start], text]
        at = phrase.end
    return "".join([*pieces, caption[at:]])


def _parts(phrase: str) -> tuple[str, str]:
    """How the thing of a phrase looks, and the thing."""
    *look, thing = phrase.split()
    return " ".join(look), thing
