"""Where phrases are in pictures: the best method that a bundle allows, calibrated, and cut at its threshold."""

from collections.abc import Sequence

from runtime.bundle import Logistic, Manifest
from runtime.encoder import Encoder, Floats, ImageFeatures
from runtime.errors import GraphMissingError
from runtime.grounding.boxes import non_overlapping
from runtime.grounding.found import Grounding, Method, RawGrounding, ScoredBox
from runtime.grounding.maps import ground_by_maps
from runtime.grounding.regions import ground_by_regions


def method_of(manifest: Manifest) -> Method | None:
    """Return how a bundle's phrases are found when nothing else is asked for; None when it cannot ground."""
    if manifest.graphs["image_encoder"].has_output("region_embeddings"):
        return "regions"
    if "fusion" in manifest.graphs and manifest.graphs["fusion"].has_output("relevance"):
        return "relevance"
    return "patch_similarity" if manifest.graphs["image_encoder"].has_output("patch_embeddings") else None


def ground(
    encoder: Encoder,
    image: ImageFeatures,
    phrases: Sequence[str],
    *,
    top_k: int = 1,
    threshold: float | None = None,
) -> list[Grounding]:
    """Find each phrase in one picture.

    Args:
        encoder: the bundle.
        image: features of exactly one picture.
        phrases: what to look for.
        top_k: most boxes per phrase.
        threshold: probability below which a box is not given; the bundle's own when None.

    Raises:
        TextError: a phrase is empty.
        GraphMissingError: the bundle gives no regions, no relevance and no patch embeddings.
    """
    return ground_many(encoder, image, phrases, top_k=top_k, threshold=threshold)[0]


def ground_many(
    encoder: Encoder,
    images: ImageFeatures,
    phrases: Sequence[str],
    *,
    top_k: int = 1,
    threshold: float | None = None,
) -> list[list[Grounding]]:
    """Find each phrase in each of some pictures, all of them in one batch; see `ground`.

    Returns:
        For each picture, for each phrase.
    """
    method = method_of(encoder.manifest)
    if method is None:
        raise GraphMissingError(
            f"bundle '{encoder.manifest.name}' gives no regions, no relevance and no patch embeddings, so it cannot "
            "ground."
        )
    if not phrases:
        return [[] for _ in range(len(images))]
    texts = encoder.embed_texts(phrases)
    if method == "regions":
        return ground_regions(encoder.manifest, images, phrases, texts.embedding, top_k=top_k, threshold=threshold)
    found = ground_by_maps(encoder, images, texts, with_relevance=method == "relevance")
    return [
        _finished(encoder.manifest, method, phrases, of_picture, top_k=top_k, threshold=threshold)
        for of_picture in found
    ]


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
