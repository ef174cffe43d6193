import pickle

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.photo_set import write_backbone, write_photos
from training.data.grid_cache import fill_cache
from training.model.backbone import Backbone, describe_backbone

NAMES = [f"{number}.png" for number in range(20)]


@pytest.fixture
def photos(tmp_path):
    write_photos(tmp_path / "data")
    write_backbone(tmp_path / "data" / "backbone.onnx")
    return tmp_path / "data"


def fill(photos, names=NAMES, progress=None):
    backbone = describe_backbone(photos / "backbone.onnx")
    return fill_cache(photos.parent / "grids", photos / "images", names, backbone, progress=progress)


def test_rows_are_the_grids_of_the_picture_and_its_mirror_image(photos):
    cache = fill(photos)
    with Image.open(photos / "images" / "7.png") as file:
        picture = file.convert("RGB")
    pixels = cache.backbone.transform.apply(picture)
    running = Backbone(cache.backbone)
    expected = running.grids(np.stack([pixels, pixels[:, :, ::-1]]))
    found = cache.take(np.array([7, 7]), np.array([0, 1]))
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_second_filling_computes_nothing(photos):
    calls: list[tuple[int, int]] = []
    fill(photos, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (20, 20)
    calls.clear()
    fill(photos, progress=lambda done, total: calls.append((done, total)))
    assert calls == []


def test_what_was_interrupted_goes_on(photos):
    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        fill(photos, progress=stop)
    calls: list[int] = []
    cache = fill(photos, progress=lambda done, total: calls.append(done))
    assert calls == [20]  # 16 were there
    assert cache.usable.all()
    whole = fill_cache(photos.parent / "elsewhere", photos / "images", NAMES, cache.backbone)
    rows, views = np.arange(20), np.zeros(20, np.int64)
    np.testing.assert_array_equal(cache.take(rows, views), whole.take(rows, views))


def test_broken_photos_are_named_and_left_out(photos):
    (photos / "images" / "3.png").write_bytes(b"no picture")
    (photos / "images" / "5.png").unlink()
    cache = fill(photos)
    assert set(cache.broken) == {"3.png", "5.png"}
    assert "cannot be read" in cache.broken["5.png"]
    assert list(np.flatnonzero(~cache.usable)) == [3, 5]
    assert fill(photos).broken == cache.broken


def test_a_changed_photo_or_backbone_makes_another_cache(photos):
    first = fill(photos).directory
    Image.new("RGB", (32, 32), "red").save(photos / "images" / "3.png")
    second = fill(photos).directory
    write_backbone(photos / "backbone.onnx", seed=1)
    assert len({first, second, fill(photos).directory}) == 3


def test_a_cache_travels_to_another_process_without_its_grids(photos):
    cache = fill(photos)
    rows, views = np.array([2, 9]), np.array([1, 0])
    before = cache.take(rows, views)
    carried = pickle.dumps(cache)
    assert len(carried) < 2000
    np.testing.assert_array_equal(pickle.loads(carried).take(rows, views), before)
