"""Word maps: where in a picture each phrase, or each word of a text, is; what heat maps show. No boxes are made here.

Three ways, the best that a bundle allows, and each answer names its own:

- `grad_cam`: the `word_maps` graph: patches that raise the match through the words (SoftMask++, 2023, section 3).
- `attention`: the fusion graph's `relevance`: patches that the words look at, whether or not that speaks for a match.
- `patch_similarity`: patches whose own embedding is like that of the words as a text; needs no fusion encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from runtime.bundle import Manifest
from runtime.encoder import Encoder, Floats, ImageFeatures
from runtime.errors import GraphMissingError
from runtime.phrases import Phrase, noun_phrases
from runtime.preprocess.text import Word, subwords_of, words

MapMethod = Literal["grad_cam", "attention", "patch_similarity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WordMap:
    """Where one word of a text is.

    Attributes:
        word: the word, `text[start:end]`.
        start: its first character.
        end: behind its last one.
        heat: [rows, columns] over the patch grid, 0..1.
    """

    word: str
    start: int
    end: int
    heat: Floats


def map_method_of(manifest: Manifest) -> MapMethod | None:
    """Return how maps are made; None when a bundle allows none."""
    graphs = manifest.graphs
    if "word_maps" in graphs:
        return "grad_cam"
    if "fusion" in graphs and graphs["fusion"].has_output("relevance"):
        return "attention"
    return "patch_similarity" if graphs["image_encoder"].has_output("patch_embeddings") else None


def phrase_maps(
    encoder: Encoder, image: ImageFeatures, phrases: Sequence[str], *, method: MapMethod | None = None
) -> list[Floats]:
    """Map each phrase, read by itself, onto one picture: [rows, columns] in 0..1 each, stretched to its own peak.

    Args:
        encoder: the bundle.
        image: features of exactly one picture.
        phrases: what to map.
        method: how; the best that the bundle allows when None.

    Raises:
        TextError: a phrase is empty.
        GraphMissingError: the bundle allows no map, or not this one.
        EngineError: the engine failed.
    """
    spans = [(row, Word(phrase, 0, len(phrase))) for row, phrase in enumerate(phrases)]
    return [_shown(encoder, heat, heat) for heat in _raw(encoder, image, phrases, spans, method)]


def word_maps(encoder: Encoder, image: ImageFeatures, text: str, *, method: MapMethod | None = None) -> list[WordMap]:
    """Map each word of a text, read as a whole, onto one picture.

    A word of a noun phrase is shown together with its phrase: a model may find the thing through any of its words, and
    the others then look nowhere in particular. All maps of a text are on one scale, so a word that adds little to the
    match is pale.

    Args:
        encoder: the bundle.
        image: features of exactly one picture.
        text: the text.
        method: as in `phrase_maps`.

    Raises:
        TextError: the text is empty or far too long.
        GraphMissingError: as in `phrase_maps`.
        EngineError: the engine failed.
    """
    listed, phrases = words(text), noun_phrases(text)
    if not listed:
        return []
    spans = [*listed, *(Word(one.text, one.start, one.end) for one in phrases)]
    raw = subword_maps(encoder, image, text, spans, method=method)
    own, of_phrase = raw[: len(listed)], raw[len(listed) :]
    heats = [heat + _phrase_of(word, phrases, of_phrase) for word, heat in zip(listed, own, strict=True)]
    hottest = max(heats, key=np.ptp)
    return [
        WordMap(word=word.text, start=word.start, end=word.end, heat=_shown(encoder, heat, hottest))
        for word, heat in zip(listed, heats, strict=True)
    ]


def subword_maps(
    encoder: Encoder, image: ImageFeatures, text: str, spans: Sequence[Word], *, method: MapMethod | None = None
) -> list[Floats]:
    """Map places of a text by their own subwords alone: [rows, columns] each, as they come (0 and more).

    Args:
        encoder: the bundle.
        image: features of exactly one picture.
        text: the text.
        spans: places in it.
        method: as in `phrase_maps`.

    Raises:
        TextError: as in `word_maps`.
        GraphMissingError: as in `phrase_maps`.
        EngineError: the engine failed.
    """
    shape = (encoder.manifest.image.patch_rows, encoder.manifest.image.patch_columns)
    return [heat.reshape(shape) for heat in _raw(encoder, image, [text], [(0, span) for span in spans], method)]


def _phrase_of(word: Word, phrases: Sequence[Phrase], heats: Sequence[Floats]) -> Floats | float:
    """The heat of the phrase that a word stands in; nothing where it stands in none."""
    for phrase, heat in zip(phrases, heats, strict=True):
        if phrase.start <= word.start and word.end <= phrase.end:
            return heat
    return 0.0


def _raw(
    encoder: Encoder,
    image: ImageFeatures,
    texts: Sequence[str],
    spans: Sequence[tuple[int, Word]],
    method: MapMethod | None,
) -> Floats:
    """The mean map of the subwords of each span (number of its text, place in it): [spans, patches], as they come."""
    method = method or map_method_of(encoder.manifest)
    if method is None:
        raise GraphMissingError(
            f"bundle '{encoder.manifest.name}' gives no word maps, no relevance and no patch embeddings, so it cannot "
            "say where words are."
        )
    if not spans:
        return np.zeros((0, image.patch_tokens.shape[1]), np.float32)
    if method == "patch_similarity":
        return _similarity(encoder, image, [texts[row][span.start : span.end] for row, span in spans])
    features = encoder.embed_texts(texts)
    if method == "grad_cam":
        maps = encoder.word_maps(features, image)
    else:
        relevance = encoder.fuse(features, image, outputs=("relevance",)).relevance
        if relevance is None:
            raise GraphMissingError(f"the fusion graph of bundle '{encoder.manifest.name}' gives no relevance.")
        maps = relevance
    found = np.zeros((len(spans), maps.shape[2]), np.float32)
    for at, (row, span) in enumerate(spans):
        if positions := subwords_of(span, features.batch.offsets[row]):  # none where the text was cut
            found[at] = maps[row, positions].mean(axis=0)
    return found


def _similarity(encoder: Encoder, image: ImageFeatures, texts: Sequence[str]) -> Floats:
    if image.patch_embeddings is None:
        raise GraphMissingError(f"the image graph of bundle '{encoder.manifest.name}' gives no patch embeddings.")
    distinct = list(dict.fromkeys(texts))
    embedding = dict(zip(distinct, encoder.embed_texts(distinct).embedding, strict=True))
    similarity = np.stack([embedding[text] for text in texts]) @ image.patch_embeddings[0].T
    return np.asarray(np.maximum(similarity, 0), np.float32)


def _shown(encoder: Encoder, raw: Floats, hottest: Floats) -> Floats:
    """A map as it is shown: 1 at the height of another map's peak.

    The root lifts what is around a peak: products with attention are peaked within the thing.
    """
    heat = np.sqrt((raw - raw.min()) / max(float(np.ptp(hottest)), 1e-12))
    return np.asarray(heat.reshape(encoder.manifest.image.patch_rows, encoder.manifest.image.patch_columns), np.float32)
