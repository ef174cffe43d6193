"""Regions in a bundle: the image encoder gives them, parity compares them whatever their order."""

import numpy as np
from numpy.typing import NDArray

from export import ExportReport
from export.region_parity import REGIONS, aligned, overlaps
from runtime.bundle.consistency import contradictions
from runtime.bundle.manifest import Manifest
from runtime.encoder import Encoder
from runtime.engines.protocol import Arrays


def test_the_image_encoder_gives_regions(small_export: ExportReport):
    encoder = Encoder.load(small_export.bundle, provider="cpu")
    pixels = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    found = encoder.engines["image_encoder"].run({"pixels": pixels})
    assert found["region_boxes"].shape == (3, 6, 4)
    assert found["region_scores"].shape == (3, 6)
    low, high = found["region_boxes"][..., :2], found["region_boxes"][..., 2:]
    assert ((low >= 0) & (high <= 1) & (low < high)).all()
    np.testing.assert_allclose(np.linalg.norm(found["region_embeddings"], axis=-1), 1, atol=1e-5)
    for boxes, scores in zip(found["region_boxes"], found["region_scores"], strict=True):
        common = overlaps(boxes[None], boxes[None])[0]
        is_late = [any(common[at, other] > 0.4 and scores[other] > scores[at] for other in range(6)) for at in range(6)]
        assert is_late == sorted(is_late), "what overlaps a more confident box comes last"
        for part in (scores[~np.array(is_late)], scores[np.array(is_late)]):
            assert (np.diff(part) <= 0).all(), "most confident first"


def test_parity_of_regions_is_on_record(small_export: ExportReport):
    manifest = small_export.manifest
    assert {f"image_encoder.{name}" for name in REGIONS} <= set(manifest.parity)
    assert manifest.decisions is not None
    assert manifest.decisions.regions is not None
    assert manifest.decisions.regions >= 0.99


def test_regions_without_their_scores_contradict_the_manifest(small_export: ExportReport):
    manifest = small_export.manifest
    image = manifest.graphs["image_encoder"]
    fewer = tuple(spec for spec in image.outputs if spec.name != "region_scores")
    graphs = {**manifest.graphs, "image_encoder": image.model_copy(update={"outputs": fewer})}
    assert any(
        "region_scores" in said for said in contradictions(Manifest(**{**manifest.model_dump(), "graphs": graphs}))
    )


def regions_of(seed: int, *, images: int = 2, count: int = 5) -> Arrays:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.5, (images, count, 2))
    return {
        "region_boxes": np.concatenate([low, low + rng.uniform(0.1, 0.5, low.shape)], axis=-1).astype(np.float32),
        "region_scores": rng.standard_normal((images, count)).astype(np.float32),
        "region_embeddings": rng.standard_normal((images, count, 3)).astype(np.float32),
        "image_embedding": rng.standard_normal((images, 3)).astype(np.float32),
    }


def shuffled(values: Arrays, order: NDArray[np.intp]) -> Arrays:
    return {name: value[:, order] if name in REGIONS else value for name, value in values.items()}


def test_another_order_is_the_same():
    expected = regions_of(0)
    put, is_same = aligned(expected, shuffled(expected, np.array([3, 1, 4, 0, 2])))
    assert is_same.all()
    for name in REGIONS:
        np.testing.assert_array_equal(put[name], expected[name])


def test_a_box_that_is_another_is_counted_and_a_wrong_number_is_seen():
    expected = regions_of(0)
    found = {name: value.copy() for name, value in expected.items()}
    found["region_boxes"][0, 2] = (0.9, 0.9, 0.95, 0.95)
    found["region_scores"][1, 1] += 0.5
    put, is_same = aligned(expected, found)
    assert is_same.tolist() == [[True, True, False, True, True], [True] * 5]
    assert np.abs(put["region_scores"] - expected["region_scores"]).max() == 0.5
