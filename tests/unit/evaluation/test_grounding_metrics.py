import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.grounding import GroundedRow, iou, is_in, summarise
from evaluation.sweep import hottest

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
        GroundedRow(truth=[corner], box=(0.0, 0.0, 0.4, 0.2), point=(0.1, 0.1), group=0),
        # No box at all; the point misses. The whole picture would have done.
        GroundedRow(truth=[large], box=None, point=(0.9, 0.9), group=0),
        # Two true boxes: counts for pointing only, and either will do.
        GroundedRow(truth=[corner, (0.45, 0.45, 0.9, 0.9)], box=corner, point=(0.6, 0.6), group=1),
    ]
    group = summarise(rows)
    assert (group["count"], group["count_single_box"]) == (3, 2)
    assert group["acc@0.5"] == 0.5
    assert group["pointing"] == pytest.approx(2 / 3)
    assert group["centre_pointing"] == pytest.approx(2 / 3)
    assert group["whole_image_acc@0.5"] == 0.5


def test_without_a_single_box_there_is_no_accuracy():
    row = GroundedRow(truth=[(0, 0, 0.1, 0.1), (0.5, 0.5, 1, 1)], box=None, point=(0, 0), group=0)
    group = summarise([row])
    assert group["acc@0.5"] is None
    assert group["pointing"] == 1
