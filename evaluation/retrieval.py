"""Text-image retrieval: recall at k and median rank, both ways.

As the field does it (Flickr8k, Flickr30k, COCO): a caption looks for its one picture among all pictures; a picture
looks for any of its captions among all captions, so its rank is that of its best caption and its own other captions
never stand in the way.

Ties are lost: a wrong candidate whose score is within `TIE` of the right one counts as ahead of it. A model that
gives everything the same embedding therefore ranks last instead of first, and the result does not depend on the
order of the rows or on how the products were split into blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Weights, estimate, weighted_median

TIE = 1e-6
"""Cosines closer than this are equal: the rounding of float32 products differs from block to block."""

CUTOFFS = (1, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Where the right answers stand, 1 being first.

    Attributes:
        text_to_image: Rank of each text's picture among all pictures, `[texts]`.
        image_to_text: Rank of each picture's best text among the texts of others, `[images]`.
    """

    text_to_image: NDArray[np.int64]
    image_to_text: NDArray[np.int64]


def rank(
    image_embedding: NDArray[np.float32],
    text_embedding: NDArray[np.float32],
    text_image: NDArray[np.int64],
    *,
    block_cells: int = 4_000_000,
) -> Ranks:
    """Rank every text's picture and every picture's texts by cosine.

    The matrix of all similarities is never held: blocks of pictures of at most `block_cells` cells are multiplied
    with all texts, and both directions are counted from each block.

    Args:
        image_embedding: Unit vectors, `[images, D]`.
        text_embedding: Unit vectors, `[texts, D]`.
        text_image: The row of each text's own picture, `[texts]`. Every picture needs a text.
        block_cells: Similarities held at a time.

    Raises:
        ValueError: When the shapes do not fit, a picture has no text, or an embedding is not finite.
    """
    _check(image_embedding, text_embedding, text_image)
    num_images, num_texts = len(image_embedding), len(text_embedding)
    own = np.empty(num_texts, np.float32)  # similarity of each text with its own picture
    ahead_of_text = np.zeros(num_texts, np.int64)
    ahead_of_image = np.zeros(num_images, np.int64)
    block = max(1, block_cells // max(num_texts, 1))
    rows = max(1, block_cells // max(image_embedding.shape[1], 1))
    for start in range(0, num_texts, rows):
        part = slice(start, start + rows)
        own[part] = np.einsum("td,td->t", text_embedding[part], image_embedding[text_image[part]])
    best = np.full(num_images, -np.inf, np.float32)
    np.maximum.at(best, text_image, own)
    for start in range(0, num_images, block):
        similarity = image_embedding[start : start + block] @ text_embedding.T
        mine = np.flatnonzero((text_image >= start) & (text_image < start + len(similarity)))
        similarity[text_image[mine] - start, mine] = -np.inf  # a right answer is never ahead of itself
        ahead_of_text += np.count_nonzero(similarity >= own - TIE, axis=0)
        rivals = similarity >= best[start : start + block, None] - TIE
        ahead_of_image[start : start + block] = np.count_nonzero(rivals, axis=1)
    return Ranks(text_to_image=ahead_of_text + 1, image_to_text=ahead_of_image + 1)


def _check(image: NDArray[np.float32], text: NDArray[np.float32], text_image: NDArray[np.int64]) -> None:
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1]:
        raise ValueError(f"embeddings {image.shape} and {text.shape} do not share a width")
    if text_image.shape != (len(text),):
        raise ValueError(f"{len(text)} texts but {text_image.shape} picture rows")
    if len(text) and not (text_image.min() >= 0 and text_image.max() < len(image)):
        raise ValueError("a text names a picture that is not there")
    if np.unique(text_image).size != len(image):
        raise ValueError("every picture needs at least one text")
    if not (np.isfinite(image).all() and np.isfinite(text).all()):
        raise ValueError("an embedding is not finite")


def summarise(ranks: Ranks, text_image: NDArray[np.int64], *, seed: int = 0) -> dict[str, Any]:
    """The `retrieval` group of the result: both directions with intervals, and what an order by chance would give.

    What is resampled are pictures, each with all its texts; the candidates stay the same.
    """
    num_images, num_texts = len(ranks.image_to_text), len(ranks.text_to_image)
    texts_of = np.bincount(text_image, minlength=num_images)
    one_of_images = {f"r@{cutoff}": min(1.0, cutoff / num_images) for cutoff in CUTOFFS}
    any_of_texts = {f"r@{cutoff}": _any_drawn(texts_of, num_texts, cutoff) for cutoff in CUTOFFS}
    to_image = _direction(ranks.text_to_image, text_image, num_images, seed)
    to_text = _direction(ranks.image_to_text, np.arange(num_images), num_images, seed)
    return {
        "count": num_images,
        "text_to_image": {**to_image, "chance": one_of_images},
        "image_to_text": {**to_text, "chance": any_of_texts},
    }


def _any_drawn(right: NDArray[np.int64], total: int, drawn: int) -> float:
    """Chance that some of `drawn` of `total` texts is a right one; the mean over pictures with `right` texts each."""
    before = np.arange(min(drawn, total))
    none = np.prod(np.clip((total - right[:, None] - before) / (total - before), 0, 1), axis=1)
    return float(np.mean(1 - none))


def _direction(ranks: NDArray[np.int64], group: NDArray[np.int64], num_groups: int, seed: int) -> dict[str, Any]:
    order = np.argsort(ranks, kind="stable")
    ascending, groups = ranks[order], group[order]
    queries = np.bincount(group, minlength=num_groups)
    hits = {f"r@{cutoff}": np.bincount(group, ranks <= cutoff, num_groups) for cutoff in CUTOFFS}

    def statistic(weights: Weights) -> Mapping[str, float]:
        counted = float(queries @ weights)
        rates = {name: float(hit @ weights) / counted for name, hit in hits.items()}
        return {**rates, "median_rank": weighted_median(ascending, weights[groups])}

    return {"count": len(ranks), **estimate(statistic, num_groups=num_groups, seed=seed)}
