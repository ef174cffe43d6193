import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from evaluation.grounding import GroundedRow, compare, hottest, iou, is_in, summarise

edges = st.tuples(st.integers(0, 9), st.integers(1, 6))


def box_of(x, y):
    return (x[0], y[0], x[0] + x[1], y[0] + y[1])


@given(edges, edges, edges, edges)
def test_iou_counts_cells(x, y, u, v):
    canvas = np.zeros((2, 16, 16), bool)
    first, second = box_of(x, y), box_of(u, v)
    for layer, (x0, y0, x1, y1) in enumerate((first, second)):
        canvas[layer, y0:y1, x0:x1] = True
    expected = (canvas[0] & canvas[1]).sum() / (canvas[0] | canvas[1]).sum()
    assert iou(first, second) == pytest.approx(expected)
    assert iou(second, first) == pytest.approx(expected)
    assert iou(first, first) == 1


pixels = st.tuples(st.floats(0, 90), st.floats(0.5, 60))


@given(pixels, pixels, pixels, pixels)
def test_iou_is_that_of_pycocotools(x, y, u, v):
    coco = mask.iou(np.array([[x[0], y[0], x[1], y[1]]]), np.array([[u[0], v[0], u[1], v[1]]]), [0])
    assert iou(box_of(x, y), box_of(u, v)) == pytest.approx(float(coco[0, 0]), abs=1e-9)


@given(st.tuples(st.floats(0, 90), st.floats(0, 90)), pixels, pixels)
def test_a_point_is_in_a_box_where_pycocotools_finds_an_overlap(point, x, y):
    speck = 1e-3
    coco = mask.iou(
        np.array([[point[0] - speck, point[1] - speck, 2 * speck, 2 * speck]]),
        np.array([[x[0], y[0], x[1], y[1]]]),
        [0],
    )
    box = box_of(x, y)
    to_border = min(abs(point[0] - edge) for edge in box[::2]), min(abs(point[1] - edge) for edge in box[1::2])
    if min(to_border) > 2 * speck:
        assert is_in(point, box) == (coco[0, 0] > 0)


def test_the_border_belongs_to_the_box():
    assert is_in((0.5, 0.5), (0.5, 0.5, 1, 1))
    assert not is_in((0.49, 0.5), (0.5, 0.5, 1, 1))


def test_the_hottest_point_is_the_middle_of_its_cell():
    heat = np.zeros((2, 4))
    heat[1, 2] = 1
    assert hottest(heat) == (2.5 / 4, 1.5 / 2)


def test_grounding_by_hand():
    corner = (0.0, 0.0, 0.4, 0.4)
    large = (0.0, 0.0, 1.0, 0.6)
    rows = [
        # Exact half of the true box: an overlap of 0.5 is enough. The point is in it.
        GroundedRow(truth=[corner], box=(0.0, 0.0, 0.4, 0.2), point=(0.1, 0.1), phrase="cup", group=0),
        # No box at all; the point misses. The whole picture would have done.
        GroundedRow(truth=[large], box=None, point=(0.9, 0.9), phrase="sky", group=0),
        # Two true boxes: counts for pointing only, and either will do.
        GroundedRow(truth=[corner, (0.45, 0.45, 0.9, 0.9)], box=corner, point=(0.6, 0.6), phrase="dog", group=1),
    ]
    found = compare(rows)
    group = summarise(rows, found)
    assert (group["count"], group["count_single_box"], group["count_secondary"]) == (3, 2, 1)
    assert group["acc@0.5"] == 0.5
    assert group["pointing"] == pytest.approx(2 / 3)
    assert group["secondary_pointing"] == 1  # the cup, which is smaller than the sky
    assert group["secondary_centre_pointing"] == 0
    assert group["centre_pointing"] == pytest.approx(2 / 3)
    assert group["whole_image_acc@0.5"] == 0.5
    # Where the sky was looked for is not the cup; where the cup was found lies in the sky. The dog is alone.
    assert group["blind_pointing"] == 0.5
    assert group["blind_acc@0.5"] == 0
    assert found.at(2)["blind_pointing"] is found.at(2)["acc@0.5"] is None


def test_binding_is_over_things_that_have_others_of_their_kind():
    left, right = (0.0, 0.0, 0.4, 0.4), (0.6, 0.6, 1.0, 1.0)
    rows = [
        GroundedRow(truth=[left], box=left, point=(0.1, 0.1), phrase="a red cup", group=0, rivals=1),
        GroundedRow(truth=[right], box=left, point=(0.1, 0.1), phrase="a blue cup", group=0, rivals=1),
        GroundedRow(truth=[right], box=right, point=(0.7, 0.7), phrase="a moon", group=1),
        GroundedRow(truth=[left, right], box=right, point=(0.7, 0.7), phrase="cups", group=2, rivals=2),
    ]
    group = summarise(rows, compare(rows))
    assert group["count_with_rivals"] == 3
    assert group["binding_acc@0.5"] == 0.5, "of two; several true boxes count for pointing only"
    assert group["binding_pointing"] == pytest.approx(2 / 3)
    assert group["acc@0.5"] == pytest.approx(2 / 3)
    assert summarise(rows[2:3], compare(rows[2:3]))["binding_acc@0.5"] is None


def test_another_phrase_for_the_same_thing_is_no_control():
    box = (0.0, 0.0, 0.5, 0.5)
    rows = [
        GroundedRow(truth=[box], box=box, point=(0.1, 0.1), phrase=phrase, group=0) for phrase in ("dog", "brown dog")
    ]
    assert summarise(rows, compare(rows))["blind_pointing"] is None


def test_without_a_single_box_there_is_no_accuracy():
    row = GroundedRow(truth=[(0, 0, 0.1, 0.1), (0.5, 0.5, 1, 1)], box=None, point=(0, 0), phrase="a", group=0)
    group = summarise([row], compare([row]))
    assert group["acc@0.5"] is None
    assert group["pointing"] == 1
