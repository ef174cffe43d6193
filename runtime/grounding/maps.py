"""Grounding by maps: the heat of a phrase over the patches, and boxes around its hot parts.

On any bundle the patch embeddings live in the joint space, so a phrase's heat is its similarity to each patch. Where
the bundle's fusion graph gives `relevance`, the attention of the phrase's subwords sharpens it: the heat is their
product, since attention knows where to look and similarity how far the thing reaches.
"""

from collections.abc import Sequence

import numpy as np

from runtime.encoder import Encoder, Floats, ImageFeatures, TextFeatures
from runtime.grounding.boxes import boxes_of, scaled
from runtime.grounding.found import RawGrounding


def ground_by_maps(
    encoder: Encoder, images: ImageFeatures, texts: TextFeatures, *, with_relevance: bool
) -> list[list[RawGrounding]]:
    """Find each phrase in each picture by its map; the fusion graph runs on all pairs at once.

    A box's raw score is the mean similarity of the phrase to the patches of its part, weighted by heat.

    Args:
        encoder: the bundle.
        images: features of pictures; without patch embeddings the scores say nothing.
        texts: the phrases.
        with_relevance: whether the fusion graph's attention is used.

    Returns:
        For each picture, for each phrase.
    """
    relevance = _relevance(encoder, texts, images) if with_relevance else [None] * len(images)
    shape = (encoder.manifest.image.patch_rows, encoder.manifest.image.patch_columns)
    return [
        _of_picture(texts, None if images.patch_embeddings is None else images.patch_embeddings[at], attention, shape)
        for at, attention in enumerate(relevance)
    ]


def _of_picture(
    texts: TextFeatures, patches: Floats | None, attention: Floats | None, shape: tuple[int, int]
) -> list[RawGrounding]:
    heats = np.ones((len(texts), shape[0] * shape[1]), np.float32)
    if patches is not None:
        heats = np.maximum(texts.embedding @ patches.T, 0)
    if attention is not None:
        # The root flattens attention's peaks, which are narrower than the thing.
        heats = heats * np.sqrt(np.stack([scaled(heat) for heat in attention]))
    found = []
    for row in range(len(texts)):
        heat = scaled(heats[row].reshape(shape))
        boxes, raw = [], []
        for box, inside in boxes_of(heat):
            weight = (heat * inside).ravel()
            boxes.append(box)
            raw.append(0.0 if patches is None else float(weight @ patches @ texts.embedding[row] / weight.sum()))
        found.append(RawGrounding(boxes=boxes, raw=raw, heat=heat))
    return found


def _relevance(encoder: Encoder, texts: TextFeatures, images: ImageFeatures) -> Sequence[Floats]:
    """Average the relevance of the subwords that carry text (special ones have an empty span).

    Returns:
        For each picture: [phrases, patches].
    """
    phrases = np.tile(np.arange(len(texts)), len(images))
    pictures = np.repeat(np.arange(len(images)), len(texts))
    relevance = encoder.fuse(texts[phrases], images[pictures], outputs=("relevance",)).relevance
    assert relevance is not None
    carries_text = (texts.batch.offsets[:, :, 1] > texts.batch.offsets[:, :, 0]).astype(np.float32)
    by_pair = relevance.reshape(len(images), len(texts), *relevance.shape[1:])
    total = np.einsum("tl,itlp->itp", carries_text, by_pair)
    return list(np.asarray(total / carries_text.sum(axis=1)[:, None], np.float32))
