"""Grounding: boxes by hand, the region head against a loop, thresholds and refusals, on every kind of bundle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from runtime.bundle import Calibration, GroundingFit, Logistic
from runtime.encoder import Encoder, ImageFeatures
from runtime.engines.fake import fake_encoder
from runtime.grounding import (
    best_boxes,
    ground,
    ground_many,
    ground_regions,
    is_calibrated,
    method_of,
    non_overlapping,
    overlaps,
    threshold_of,
)
from runtime.grounding.boxes import _connected_parts, coverage
from tests.unit.runtime.test_encoder import picture
from tests.unit.server.drawing import square


def calibrated(encoder: Encoder, calibration: Calibration) -> Encoder:
    encoder.manifest = encoder.manifest.model_copy(update={"calibration": calibration})
    return encoder


def regions(boxes: list[list[float]], embeddings: list[list[float]]) -> ImageFeatures:
    """One picture with these regions and nothing else."""
    nothing = np.zeros((1, 0), np.float32)
    return ImageFeatures(
        embedding=nothing,
        patch_tokens=nothing[:, :, None],
        patch_embeddings=None,
        region_boxes=np.asarray([boxes], np.float32),
        region_scores=np.zeros((1, len(boxes)), np.float32),
        region_embeddings=np.asarray([embeddings], np.float32),
    )


def test_overlaps_by_hand() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [1, 1, 1, 1]])
    np.testing.assert_allclose(overlaps(boxes, boxes), [[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])


def test_of_overlapping_boxes_the_better_stays() -> None:
    boxes = [(0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.9), (2.0, 0.0, 3.0, 1.0), (0.0, 0.4, 1.0, 1.4)]
    assert non_overlapping(boxes, most=9) == [0, 2, 3]  # the second shares 0.9 of its union, the last 0.6 / 1.4
    assert non_overlapping(boxes, most=9, most_overlap=0.4) == [0, 2]
    assert non_overlapping(boxes, most=1) == [0]
    assert non_overlapping([], most=3) == []


@given(arrays(np.float64, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 8)))
def test_kept_boxes_overlap_little_and_the_dropped_overlap_a_better_one(raw: np.ndarray) -> None:
    boxes = np.concatenate([np.minimum(raw[:, :2], raw[:, 2:]), np.maximum(raw[:, :2], raw[:, 2:])], axis=1)
    kept = non_overlapping(boxes, most=100)
    shared = overlaps(boxes, boxes)
    assert kept == sorted(kept)
    assert all(shared[a, b] <= 0.5 for a in kept for b in kept if a != b)
    assert all(
        any(shared[at, better] > 0.5 for better in kept if better < at) for at in set(range(len(boxes))) - {*kept}
    )


def test_coverage_by_hand() -> None:
    (covered,) = coverage(np.array([[0.25, 0.0, 1.0, 0.5]]), 2, 2)
    np.testing.assert_allclose(covered, [[0.5, 1.0], [0.0, 0.0]])


def test_the_nearest_region_is_the_box_and_the_rest_follow_without_overlap() -> None:
    encoder = fake_encoder(regions=True)
    boxes = [[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.52], [0.5, 0.5, 1, 1], [0.7, 0.1, 0.7, 0.4]]
    image = regions(boxes, [[0.8, 0.6], [1.0, 0.0], [0.6, 0.8], [1.0, 0.0]])
    ((found,),) = ground_regions(encoder.manifest, image, ["x"], np.array([[1.0, 0.0]], np.float32), top_k=5)
    assert [box.box for box in found.boxes] == [(0, 0, 0.5, pytest.approx(0.52)), (0.5, 0.5, 1, 1)]
    logistic = encoder.manifest.calibration.grounding
    assert [box.score for box in found.boxes] == [pytest.approx(logistic.probability(raw)) for raw in (1.0, 0.6)]
    assert found.method == "regions"


def test_many_pictures_and_phrases_are_as_each_alone() -> None:
    encoder = fake_encoder(regions=True)
    shown = [
        picture(top_left="red", bottom_right="blue"),
        picture(top_right="green", bottom_left="red"),
        picture(bottom_left="purple", top_left="yellow"),
    ]
    images, phrases = encoder.embed_images(shown), ["red", "the blue square", "green"]
    texts = encoder.embed_texts(phrases).embedding
    together = ground_regions(encoder.manifest, images, phrases, texts, top_k=2)
    for at in range(len(shown)):
        for phrase, found in zip(phrases, together[at], strict=True):
            (alone,) = ground(encoder, images[[at]], [phrase], top_k=2)
            assert [box.box for box in alone.boxes] == [box.box for box in found.boxes]
            np.testing.assert_allclose(alone.heat, found.heat, atol=1e-5)


def test_the_hottest_point_of_regions_is_in_the_best_one() -> None:
    encoder = fake_encoder(regions=True)
    image = encoder.embed_images([picture(top_left="red", bottom_right="blue")])
    for grounding in ground(encoder, image, ["red", "blue"]):
        row, column = np.unravel_index(grounding.heat.argmax(), grounding.heat.shape)
        x0, y0, x1, y1 = grounding.boxes[0].box
        assert x0 <= (column + 0.5) / 4 <= x1
        assert y0 <= (row + 0.5) / 4 <= y1


KINDS = {
    "regions": {"regions": True},
    "relevance": {"fusion": True},
    "patch_similarity": {"fusion": False},
}


@pytest.mark.parametrize("method", KINDS)
def test_every_kind_of_bundle_grounds_and_refuses_by_its_threshold(method: str) -> None:
    encoder = fake_encoder(**KINDS[method])
    assert method_of(encoder.manifest) == method
    fit = GroundingFit(method=method, present=20, absent=20, most_false_alarms=0.1, false_alarms=0.0, recall=1.0)
    calibrated(encoder, Calibration(grounding=Logistic(scale=20, bias=-12), grounding_threshold=0.5, grounding_fit=fit))
    image = encoder.embed_images([picture(top_left="red", bottom_right="blue")])
    red, green = ground(encoder, image, ["red square", "green"], top_k=3)
    assert red.method == method
    assert red.boxes[0].box == pytest.approx((0, 0, 0.5, 0.5), abs=0.07)
    assert green.boxes == ()
    assert green.heat.shape == (4, 4)
    assert ground(encoder, image, ["green"], threshold=0.0)[0].boxes
    assert ground(encoder, image, ["red"], threshold=1.0)[0].boxes == ()


def test_a_threshold_of_another_method_is_not_used() -> None:
    encoder = fake_encoder(regions=True)
    fit = GroundingFit(method="relevance", present=9, absent=9, most_false_alarms=0.1, false_alarms=0.1, recall=0.9)
    calibrated(encoder, Calibration(grounding=Logistic(scale=9), grounding_threshold=0.9, grounding_fit=fit))
    assert threshold_of(encoder.manifest, "regions") == 0.0
    assert threshold_of(encoder.manifest, "relevance") == 0.9
    assert not is_calibrated(encoder.manifest, "regions")
    assert is_calibrated(encoder.manifest, "relevance")


def test_a_bundle_from_before_thresholds_gives_every_phrase_its_best_box() -> None:
    encoder = fake_encoder()
    assert encoder.manifest.calibration.grounding_fit is None
    assert is_calibrated(encoder.manifest, "relevance")
    image = encoder.embed_images([picture(top_left="red")])
    assert len(ground(encoder, image, ["purple"])[0].boxes) == 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4), st.integers(1, 6), st.floats(0, 1))
def test_the_best_boxes_are_the_first_ones_of_all(
    seed: int, pictures: int, phrases: int, number: int, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.random((pictures, number, 2, 2))
    corners[rng.random((pictures, number)) < 0.2] = 0.5  # some regions have no area
    unit = rng.standard_normal((pictures, number, 3)).astype(np.float32)
    nothing = np.zeros((pictures, 0), np.float32)
    images = ImageFeatures(
        embedding=nothing,
        patch_tokens=nothing[:, :, None],
        patch_embeddings=None,
        region_boxes=np.concatenate([corners.min(axis=2), corners.max(axis=2)], axis=2).astype(np.float32),
        region_scores=np.zeros((pictures, number), np.float32),
        region_embeddings=unit / np.linalg.norm(unit, axis=-1, keepdims=True),
    )
    texts = rng.standard_normal((phrases, 3)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    fit = GroundingFit(method="regions", present=1, absent=1, most_false_alarms=0, false_alarms=0, recall=1)
    calibration = Calibration(
        grounding=Logistic(scale=3.0, bias=-1.0), grounding_threshold=threshold, grounding_fit=fit
    )
    manifest = calibrated(fake_encoder(regions=True), calibration).manifest
    wanted = ground_regions(manifest, images, [str(at) for at in range(phrases)], texts)
    found = best_boxes(manifest, images, texts)
    for of_picture, groundings in zip(found, wanted, strict=True):
        for boxes, grounding in zip(of_picture, groundings, strict=True):
            assert len(boxes) == len(grounding.boxes)
            for one, other in zip(boxes, grounding.boxes, strict=True):
                assert one.box == pytest.approx(other.box)
                assert one.score == pytest.approx(other.score, abs=1e-6)


def test_maps_of_many_pictures_are_those_of_each() -> None:
    encoder = fake_encoder()
    images = encoder.embed_images([square("red"), square("blue"), square("green")])
    phrases = ["red square", "a blue circle"]
    together = ground_many(encoder, images, phrases)
    for at, of_picture in enumerate(together):
        for one, other in zip(of_picture, ground(encoder, images[[at]], phrases), strict=True):
            assert len(one.boxes) == len(other.boxes)
            for box, its_like in zip(one.boxes, other.boxes, strict=True):
                assert box.box == pytest.approx(its_like.box)
                assert box.score == pytest.approx(its_like.score, abs=1e-6)
            np.testing.assert_allclose(one.heat, other.heat, atol=1e-6)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_every_connected_part_of_a_map_has_its_box(rows: int, columns: int, seed: int, share: float) -> None:
    hot = np.random.default_rng(seed).random((rows, columns)) < share
    labels = _connected_parts(hot)
    assert ((labels > 0) == hot).all()
    ahead = [(labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])]
    assert all(((one == other) | (one == 0) | (other == 0)).all() for one, other in ahead), "neighbours are of one part"
    for label in range(1, labels.max(initial=0) + 1):
        part = labels == label
        grown = np.zeros_like(part)
        grown[tuple(np.argwhere(part)[0])] = True
        for _ in range(part.size):  # from any cell of a part all others are reached
            around = np.pad(grown, 1)
            grown = part & (
                around[1:-1, 1:-1] | around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]
            )
        assert (grown == part).all()
