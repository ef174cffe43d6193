"""Average precision of boxes over many pictures, by hand and beside pycocotools."""

import contextlib
import io

import numpy as np
import pytest

pytest.importorskip("torch")
from benchmarks.regions import average_precision, recall

LEFT, RIGHT, FAR = (0.0, 0.0, 0.4, 0.4), (0.6, 0.6, 1.0, 1.0), (0.0, 0.6, 0.2, 1.0)


def test_by_hand():
    truth = [[LEFT, RIGHT], [LEFT]]
    boxes = [[LEFT, FAR, LEFT], [RIGHT, LEFT]]
    scores = [np.array([0.9, 0.8, 0.1]), np.array([0.7, 0.6])]
    # by rank: hit, miss, miss, hit, miss (a thing is found once); the right one of the first picture never
    assert average_precision(boxes, scores, truth, overlap=0.5) == pytest.approx((1 + 2 / 4) / 3)
    assert recall(boxes, truth, overlap=0.5) == pytest.approx(2 / 3)


def test_nothing_found_is_zero():
    assert average_precision([[FAR]], [np.array([1.0])], [[LEFT]], overlap=0.3) == 0.0


def test_it_is_close_to_that_of_coco():
    """COCO reads precision at 101 recalls, which is the same mean in steps of a hundredth."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    rng = np.random.default_rng(0)
    truth, boxes, scores = [], [], []
    for _ in range(30):
        low = rng.uniform(0, 0.6, (4, 2))
        true = np.concatenate([low, low + rng.uniform(0.2, 0.4, (4, 2))], axis=1)
        found = np.concatenate(
            [true + rng.normal(0, 0.03, true.shape), rng.uniform((0, 0, 0.5, 0.5), (0.3, 0.3, 0.8, 0.8), (3, 4))]
        )
        truth.append([tuple(box) for box in true.tolist()])
        boxes.append([tuple(box) for box in found.tolist()])
        scores.append(rng.random(len(found)))
    with contextlib.redirect_stdout(io.StringIO()):
        gold = coco.COCO()
        gold.dataset = {
            "images": [{"id": at} for at in range(30)],
            "categories": [{"id": 1}],
            "annotations": [
                {"id": 1 + 10 * at + n, "image_id": at, "category_id": 1, "iscrowd": 0, **_coco(box)}
                for at, of in enumerate(truth)
                for n, box in enumerate(of)
            ],
        }
        gold.createIndex()
        listed = [
            {"image_id": at, "category_id": 1, "score": float(score), "bbox": _coco(box)["bbox"]}
            for at, of in enumerate(boxes)
            for box, score in zip(of, scores[at], strict=True)
        ]
        judged = cocoeval.COCOeval(gold, gold.loadRes(listed), "bbox")
        judged.params.iouThrs = np.array([0.5])
        judged.evaluate()
        judged.accumulate()
    theirs = judged.eval["precision"][0, :, 0, 0, -1].mean()
    assert average_precision(boxes, scores, truth, overlap=0.5) == pytest.approx(theirs, abs=0.02)


def _coco(box: tuple[float, ...]) -> dict[str, object]:
    x0, y0, x1, y1 = (100 * edge for edge in box)
    return {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
