"""Grounding: where in a picture a phrase is.

Training-free on any bundle: the patch embeddings live in the joint space, so a phrase's heat is its similarity to each
patch. Where the bundle's fusion graph gives `relevance`, the attention of the phrase's subwords sharpens it: the heat
is their product, since attention knows where to look and similarity how far the thing reaches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.encoder import Encoder, Floats, ImageFeatures, TextFeatures
from runtime.errors import GraphMissingError

_UPSAMPLING = 4
_BOX_SHARE_OF_PEAK = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredBox:
    """A box (x0, y0, x1, y1) in fractions of the encoder's input, with its calibrated probability."""

    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """Where one phrase is.

    Attributes:
        phrase: the phrase as given.
        boxes: best first.
        heat: [rows, columns] over the patch grid, 0..1.
        method: `relevance` (fusion graph) or `patch_similarity` (training-free).
    """

    phrase: str
    boxes: tuple[ScoredBox, ...]
    heat: Floats
    method: str


def ground(encoder: Encoder, image: ImageFeatures, phrases: Sequence[str], *, top_k: int = 1) -> list[Grounding]:
    """Find each phrase in one picture.

    Args:
        encoder: the bundle.
        image: features of exactly one picture.
        phrases: what to look for.
        top_k: most boxes per phrase.

    Raises:
        TextError: a phrase is empty.
        GraphMissingError: the bundle gives neither relevance nor patch embeddings.
    """
    if not phrases:
        return []
    texts = encoder.embed_texts(phrases)
    patches = image.patch_embeddings
    if patches is None and not encoder.fusion_gives("relevance"):
        raise GraphMissingError(
            f"bundle '{encoder.manifest.name}' gives neither patch embeddings nor relevance, so it cannot ground."
        )
    heats = np.ones((len(phrases), image.patch_tokens.shape[1]), np.float32)
    if patches is not None:
        heats, method = np.maximum(texts.embedding @ patches[0].T, 0), "patch_similarity"
    if encoder.fusion_gives("relevance"):
        # The root flattens attention's peaks, which are narrower than the thing.
        heats, method = heats * np.sqrt(_scaled_rows(_relevance(encoder, texts, image))), "relevance"
    shape = (encoder.manifest.image.patch_rows, encoder.manifest.image.patch_columns)
    logistic = encoder.manifest.calibration.grounding
    groundings = []
    for row, phrase in enumerate(phrases):
        heat = _scaled(heats[row].reshape(shape))
        boxes = []
        for box, inside in boxes_of(heat)[:top_k]:
            weight = (heat * inside).ravel()
            raw = float(weight @ patches[0] @ texts.embedding[row] / weight.sum()) if patches is not None else 0.0
            boxes.append(ScoredBox(box=box, score=logistic.probability(raw)))
        groundings.append(Grounding(phrase=phrase, boxes=tuple(boxes), heat=heat, method=method))
    return groundings


def boxes_of(heat: Floats) -> list[tuple[tuple[float, float, float, float], Floats]]:
    """Draw boxes around the hot parts of a map.

    The map is enlarged smoothly, cut at half of its peak, and each connected part gives a box.

    Args:
        heat: [rows, columns], 0..1.

    Returns:
        (box in fractions, share of each cell of `heat` that the part covers [rows, columns]), by falling total heat.
    """
    fine = _enlarge(heat, _UPSAMPLING)
    hot = fine >= _BOX_SHARE_OF_PEAK * fine.max()
    if fine.max() <= 0:
        return []
    labels = _connected_parts(hot)
    rows, columns = fine.shape
    found = []
    for label in range(1, labels.max() + 1):
        part = labels == label
        ys, xs = np.nonzero(part)
        box = (
            float(xs.min() / columns),
            float(ys.min() / rows),
            float((xs.max() + 1) / columns),
            float((ys.max() + 1) / rows),
        )
        share = part.reshape(heat.shape[0], _UPSAMPLING, heat.shape[1], _UPSAMPLING).mean(axis=(1, 3))
        found.append((float(fine[part].sum()), box, np.maximum(share, 1e-6).astype(np.float32)))
    found.sort(key=lambda entry: -entry[0])
    return [(box, share) for _, box, share in found]


def _relevance(encoder: Encoder, texts: TextFeatures, image: ImageFeatures) -> Floats:
    """Average the relevance of the subwords that carry text (special ones have an empty span)."""
    relevance = encoder.fuse(texts, image, outputs=("relevance",)).relevance
    assert relevance is not None
    carries_text = (texts.batch.offsets[:, :, 1] > texts.batch.offsets[:, :, 0]).astype(np.float32)
    total = np.einsum("tl,tlp->tp", carries_text, relevance)
    return np.asarray(total / carries_text.sum(axis=1, keepdims=True), np.float32)


def _scaled_rows(heats: Floats) -> Floats:
    return np.stack([_scaled(heat) for heat in heats])


def _scaled(heat: Floats) -> Floats:
    low, high = float(heat.min()), float(heat.max())
    return np.asarray((heat - low) / (high - low + 1e-6), np.float32)


def _enlarge(heat: Floats, factor: int) -> Floats:
    """Enlarge bilinearly; cell centres keep their place."""
    for axis in (0, 1):
        size = heat.shape[axis]
        at = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, size - 1)
        share = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        heat = np.take(heat, low, axis) * (1 - share) + np.take(heat, high, axis) * share
    return np.asarray(heat, np.float32)


def _connected_parts(hot: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Label 4-connected parts: 0 is cold, 1.. are the parts."""
    labels = np.zeros(hot.shape, np.int32)
    rows, columns = hot.shape
    label = 0
    for start in zip(*np.nonzero(hot), strict=True):
        if labels[start]:
            continue
        label += 1
        labels[start] = label
        waiting = [start]
        while waiting:
            y, x = waiting.pop()
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= near[0] < rows and 0 <= near[1] < columns and hot[near] and not labels[near]:
                    labels[near] = label
                    waiting.append(near)
    return labels
