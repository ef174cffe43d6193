"""The words of a gallery: the phrases of its items' texts, and where they are in the embedding space."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from index import Gallery
from runtime.encoder import Floats
from runtime.phrases import FUNCTION_WORDS, noun_phrases

if TYPE_CHECKING:
    from server.service import Service

_MOST_ITEMS = 1000
_MOST_PHRASES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Phrases with their embeddings.

    Attributes:
        source: `bundle` when no item had a text.
        embeddings: [phrases, dim], unit length.
    """

    source: Literal["gallery", "bundle"]
    phrases: list[str]
    embeddings: Floats


class GalleryWords:
    """Remembers the words of each gallery until that changes, and their embeddings for longer."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Gallery, int, Words]] = {}

    async def of(self, service: "Service", gallery: str) -> Words:
        """Return the most frequent phrases of the texts among a gallery's first thousand items.

        Args:
            service: pinned at the gallery.
            gallery: its name.

        Raises:
            GalleryError: the gallery cannot be read.
            EngineError: the engine failed.
        """
        opened = service.galleries.get(gallery)
        version = (await service.store(opened.info)).version
        last = self._known.get(gallery)
        if last is not None and last[0] is opened and last[1] == version:  # a gallery made anew counts from 0 again
            return last[2]
        texts = await service.store(_texts, opened)
        own = _phrases(texts)
        phrases = own or [word for word in service.encoder.lexicon if word not in FUNCTION_WORDS]
        old = last[2] if last is not None and last[0].space == service.encoder.space else None
        embeddings = await _embedded(service, phrases, old)
        words = Words(source="gallery" if own else "bundle", phrases=phrases, embeddings=embeddings)
        self._known[gallery] = (opened, version, words)
        return words


def _texts(gallery: Gallery) -> list[str]:
    return [item.text for item in gallery.page(limit=_MOST_ITEMS).items if item.text]


def _phrases(texts: Iterable[str]) -> list[str]:
    counts = Counter(phrase.text.lower() for text in texts for phrase in noun_phrases(text))
    return [phrase for phrase, _ in counts.most_common(_MOST_PHRASES)]


async def _embedded(service: "Service", phrases: list[str], old: Words | None) -> Floats:
    at = {} if old is None else {phrase: row for row, phrase in enumerate(old.phrases)}
    new = [phrase for phrase in phrases if phrase not in at]
    embeddings = np.empty((len(phrases), service.encoder.dim), np.float32)
    fresh = dict(zip(new, (await service.engines.text_features(new)).embedding, strict=True)) if new else {}
    for row, phrase in enumerate(phrases):
        embeddings[row] = fresh[phrase] if old is None or phrase in fresh else old.embeddings[at[phrase]]
    return embeddings
