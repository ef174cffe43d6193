"""Where phrases are in pictures: the best method that a bundle allows, calibrated, and cut at its threshold."""

import math
from collections.abc import Sequence

from runtime.bundle import Logistic, Manifest
from runtime.encoder import Encoder, Floats, ImageFeatures, TextFeatures
from runtime.errors import GraphMissingError
from runtime.grounding.boxes import non_overlapping
from runtime.grounding.found import Grounding, Method, RawGrounding, ScoredBox
from runtime.grounding.maps import ground_by_maps
from runtime.grounding.regions import best_regions, ground_by_regions
from runtime.grounding.shapley import DEFAULT_BUDGET, LEAST_BUDGET, ground_by_interaction


def methods_of(manifest: Manifest, *, budget: int = 0) -> list[Method]:
    """Return every way in which a bundle can find phrases, the cheapest on stored pictures first.

    Args:
        manifest: of the bundle.
        budget: masked pictures that may be looked at where the bundle is two encoders alone; 0 when the picture itself
            is not at hand.
    """
    image = manifest.graphs["image_encoder"]
    found: list[Method] = []
    if image.has_output("region_embeddings"):
        found.append("regions")
    if "fusion" in manifest.graphs and manifest.graphs["fusion"].has_output("relevance"):
        found.append("relevance")
    if not found and budget > 0:
        found.append("shapley")
    return [*found, "patch_similarity"] if image.has_output("patch_embeddings") else found


def method_of(manifest: Manifest, *, budget: int = 0) -> Method | None:
    """Return how a bundle finds phrases; None when it cannot.

    What its calibration was fitted on, since that was the best on validation pictures; else the first of `methods_of`.

    Args:
        manifest: of the bundle.
        budget: as in `methods_of`.
    """
    allowed, fit = methods_of(manifest, budget=budget), manifest.calibration.grounding_fit
    fitted = [method for method in allowed if fit is not None and fit.method == method]
    return next(iter([*fitted, *allowed]), None)


def ground(
    encoder: Encoder,
    image: ImageFeatures,
    phrases: Sequence[str],
    *,
    texts: TextFeatures | None = None,
    method: Method | None = None,
    pixels: Floats | None = None,
    budget: int = DEFAULT_BUDGET,
    top_k: int = 1,
    threshold: float | None = None,
) -> list[Grounding]:
    """Find each phrase in one picture.

    Args:
        encoder: the bundle.
        image: features of exactly one picture.
        phrases: what to look for.
        texts: the phrases, where they are embedded already.
        method: one of `methods_of`; the bundle's own when None.
        pixels: the encoder's input for the picture, [3, size, size]: a bundle of two encoders alone looks at it with
            parts masked. Without it such a bundle answers by the similarity of its patches, at once and worse.
        budget: masked pictures that may be looked at for all phrases together; 0 as without `pixels`.
        top_k: most boxes per phrase.
        threshold: probability below which a box is not given; the bundle's own when None.

    Raises:
        TextError: a phrase is empty.
        GraphMissingError: the bundle gives no regions, no relevance and no patch embeddings.
    """
    some = None if pixels is None else [pixels]
    return ground_many(
        encoder,
        image,
        phrases,
        texts=texts,
        method=method,
        pixels=some,
        budget=budget,
        top_k=top_k,
        threshold=threshold,
    )[0]


def ground_many(
    encoder: Encoder,
    images: ImageFeatures,
    phrases: Sequence[str],
    *,
    texts: TextFeatures | None = None,
    method: Method | None = None,
    pixels: Sequence[Floats] | None = None,
    budget: int = DEFAULT_BUDGET,
    top_k: int = 1,
    threshold: float | None = None,
) -> list[list[Grounding]]:
    """Find each phrase in each of some pictures, all of them in one batch; see `ground`.

    Args:
        encoder: the bundle.
        images: features of the pictures.
        phrases: what to look for.
        texts: the phrases, where they are embedded already.
        method: as in `ground`.
        pixels: as in `ground`, of each picture.
        budget: as in `ground`, for each picture.
        top_k: as in `ground`.
        threshold: as in `ground`.

    Returns:
        For each picture, for each phrase.
    """
    manifest = encoder.manifest
    method = method or method_of(manifest, budget=budget if pixels is not None else 0)
    if method is None:
        raise GraphMissingError(
            f"bundle '{manifest.name}' gives no regions, no relevance and no patch embeddings, and the picture was not "
            "to be looked at again, so it cannot ground."
        )
    if not phrases:
        return [[] for _ in range(len(images))]
    texts = encoder.embed_texts(phrases) if texts is None else texts
    if method == "regions":
        return ground_regions(manifest, images, phrases, texts.embedding, top_k=top_k, threshold=threshold)
    if method == "shapley":
        assert pixels is not None
        found = [ground_by_interaction(encoder, one, texts, budget=max(budget, LEAST_BUDGET)) for one in pixels]
    else:
        found = ground_by_maps(encoder, images, texts, with_relevance=method == "relevance")
    return [_finished(manifest, method, phrases, of_picture, top_k=top_k, threshold=threshold) for of_picture in found]


def ground_regions(
    manifest: Manifest,
    images: ImageFeatures,
    phrases: Sequence[str],
    embeddings: Floats,
    *,
    top_k: int = 1,
    threshold: float | None = None,
) -> list[list[Grounding]]:
    """Find each phrase in each of many pictures whose regions are known; no graph is run.

    Args:
        manifest: of the bundle that both come from.
        images: features with regions; nothing else of them is read.
        phrases: what to look for.
        embeddings: [phrases, dim], of the phrases as texts.
        top_k: as in `ground`.
        threshold: as in `ground`.

    Returns:
        For each picture, for each phrase.
    """
    shape = manifest.image
    found = ground_by_regions(images, embeddings, rows=shape.patch_rows, columns=shape.patch_columns)
    return [
        _finished(manifest, "regions", phrases, of_picture, top_k=top_k, threshold=threshold) for of_picture in found
    ]


def best_boxes(manifest: Manifest, images: ImageFeatures, embeddings: Floats) -> list[list[tuple[ScoredBox, ...]]]:
    """Return for each picture, for each phrase, the boxes of `ground_regions`: the best, or none below the threshold.

    Without heat maps, so that boxes of a page of hits cost next to nothing.

    Args:
        manifest: of the bundle that both come from.
        images: features with regions; nothing else of them is read.
        embeddings: [phrases, dim], of the phrases as texts.
    """
    logistic = manifest.calibration.grounding if is_calibrated(manifest, "regions") else Logistic()
    least = threshold_of(manifest, "regions")
    boxes, raw = best_regions(images, embeddings)
    found: list[list[tuple[ScoredBox, ...]]] = []
    for of_picture, scores in zip(boxes.tolist(), raw.tolist(), strict=True):
        row: list[tuple[ScoredBox, ...]] = []
        for (x0, y0, x1, y1), score in zip(of_picture, scores, strict=True):
            probability = logistic.probability(score) if score > -math.inf else -math.inf
            row.append((ScoredBox(box=(x0, y0, x1, y1), score=probability),) if probability >= least else ())
        found.append(row)
    return found


def is_calibrated(manifest: Manifest, method: Method) -> bool:
    """Say whether a method's scores are probabilities: whether the bundle's calibration was fitted on them."""
    fit = manifest.calibration.grounding_fit
    fitted = method_of(manifest) if fit is None else fit.method
    return manifest.calibration.grounding != Logistic() and fitted == method


def threshold_of(manifest: Manifest, method: Method) -> float:
    """Return the probability below which a box is not given; 0 where none was fitted for this method."""
    fit = manifest.calibration.grounding_fit
    return manifest.calibration.grounding_threshold if fit is not None and fit.method == method else 0.0


def _finished(
    manifest: Manifest,
    method: Method,
    phrases: Sequence[str],
    found: Sequence[RawGrounding],
    *,
    top_k: int,
    threshold: float | None,
) -> list[Grounding]:
    """Calibrate, keep what passes the threshold, and of what overlaps the best."""
    logistic = manifest.calibration.grounding if is_calibrated(manifest, method) else Logistic()
    least = threshold_of(manifest, method) if threshold is None else threshold
    groundings = []
    for phrase, one in zip(phrases, found, strict=True):
        scores = [logistic.probability(raw) for raw in one.raw]
        order = non_overlapping(one.boxes, most=top_k)
        kept = tuple(ScoredBox(box=one.boxes[at], score=scores[at]) for at in order if scores[at] >= least)
        groundings.append(Grounding(phrase=phrase, boxes=kept, heat=one.heat, method=method))
    return groundings
