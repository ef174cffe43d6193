"""Grounding by maps: the heat of a phrase over the patches, and boxes around its hot parts.

On any bundle the patch embeddings live in the joint space, so a phrase's heat is its similarity to each patch. Where
the bundle's fusion graph gives `relevance`, the attention of the phrase's subwords sharpens it: the heat is their
product, since attention knows where to look and similarity how far the thing reaches.
"""

import numpy as np

from runtime.encoder import Encoder, Floats, ImageFeatures, TextFeatures
from runtime.grounding.boxes import boxes_of, scaled
from runtime.grounding.found import RawGrounding


def ground_by_maps(
    encoder: Encoder, image: ImageFeatures, texts: TextFeatures, *, with_relevance: bool
) -> list[RawGrounding]:
    """Find each phrase in one picture by its map.

    A box's raw score is the mean similarity of the phrase to the patches of its part, weighted by heat.

    Args:
        encoder: the bundle.
        image: features of exactly one picture; without patch embeddings the scores say nothing.
        texts: the phrases.
        with_relevance: whether the fusion graph's attention is used.
    """
    patches = image.patch_embeddings
    heats = np.ones((len(texts), image.patch_tokens.shape[1]), np.float32)
    if patches is not None:
        heats = np.maximum(texts.embedding @ patches[0].T, 0)
    if with_relevance:
        # The root flattens attention's peaks, which are narrower than the thing.
        heats = heats * np.sqrt(np.stack([scaled(heat) for heat in _relevance(encoder, texts, image)]))
    shape = (encoder.manifest.image.patch_rows, encoder.manifest.image.patch_columns)
    found = []
    for row in range(len(texts)):
        heat = scaled(heats[row].reshape(shape))
        boxes, raw = [], []
        for box, inside in boxes_of(heat):
            weight = (heat * inside).ravel()
            boxes.append(box)
            raw.append(0.0 if patches is None else float(weight @ patches[0] @ texts.embedding[row] / weight.sum()))
        found.append(RawGrounding(boxes=boxes, raw=raw, heat=heat))
    return found


def _relevance(encoder: Encoder, texts: TextFeatures, image: ImageFeatures) -> Floats:
    """Average the relevance of the subwords that carry text (special ones have an empty span)."""
    relevance = encoder.fuse(texts, image, outputs=("relevance",)).relevance
    assert relevance is not None
    carries_text = (texts.batch.offsets[:, :, 1] > texts.batch.offsets[:, :, 0]).astype(np.float32)
    total = np.einsum("tl,tlp->tp", carries_text, relevance)
    return np.asarray(total / carries_text.sum(axis=1, keepdims=True), np.float32)
