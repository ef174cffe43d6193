from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenes.geometry import relation_of, separation
from scenes.layout import Demand, Field, centred, move, place
from scenes.world import WORLD
from tests.unit.scenes import sentences

corner = st.integers(0, 60)
extent = st.integers(1, 30)
boxes = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), corner, corner, extent, extent)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (20, 0, 30, 10), "left"),
        ((20, 0, 30, 10), (0, 0, 10, 10), "right"),
        ((0, 0, 10, 10), (0, 20, 10, 30), "above"),
        ((0, 20, 10, 30), (0, 0, 10, 10), "below"),
        ((0, 0, 10, 10), (20, 20, 30, 30), None),  # a diagonal is neither
        ((0, 0, 10, 10), (20, 16, 30, 26), "left"),  # 20 across is 1.25 times 16 down
        ((0, 0, 10, 10), (20, 17, 30, 27), None),
        ((0, 0, 20, 10), (10, 0, 40, 10), None),  # not apart
        ((0, 0, 10, 10), (0, 0, 10, 10), None),
    ],
)
def test_relations_by_hand(a, b, expected):
    assert relation_of(a, b) == expected


@given(boxes, boxes)
def test_relations_agree_with_the_other_definition_and_turn_with_the_things(a, b):
    there, back = relation_of(a, b), relation_of(b, a)
    assert there == sentences.where(a, b)
    assert back == (None if there is None else WORLD.relations[there].opposite)
    assert relation_of(tuple(side / 96 for side in a), tuple(side / 96 for side in b)) in (there, None) or (
        abs(a[0] + a[2] - b[0] - b[2]) * 4 == abs(a[1] + a[3] - b[1] - b[3]) * 5
        or abs(a[0] + a[2] - b[0] - b[2]) * 5 == abs(a[1] + a[3] - b[1] - b[3]) * 4
    )


@given(boxes, boxes)
def test_separated_boxes_share_no_pixel(a, b):
    grid = np.zeros((100, 100), dtype=int)
    for x0, y0, x1, y1 in (a, b):
        grid[y0:y1, x0:x1] += 1
    assert (separation(a, b) >= 0) == (grid.max() == 1)


@pytest.mark.parametrize("size_px", [32, 47, 96, 128, 255])
def test_the_fullest_scenes_can_be_laid_out_whatever_is_said_of_them(size_px):
    side = -(-WORLD.sizes["large"].most * size_px // 1000)
    rng = np.random.default_rng(0)
    for edges in (((0, 1), (1, 2)), ((0, 1), (0, 2))):
        for first, second in product(WORLD.relations, WORLD.relations):
            if WORLD.relations[first].axis == WORLD.relations[second].axis:
                continue
            demands = tuple(
                Demand(subject=a, object=b, relation=relation)
                for (a, b), relation in zip(edges, (first, second), strict=True)
            )
            field = Field(size_px=size_px, demands=demands)
            placed = place([(side, side)] * 4, field, rng)
            assert field.accepts(placed)
            for demand in demands:
                assert sentences.where(placed[demand.subject], placed[demand.object]) == demand.relation


def test_moving_leaves_the_others_where_they_are():
    field = Field(size_px=96, demands=(Demand(subject=0, object=1, relation="right"),))
    before = [(10, 40, 30, 60), (40, 40, 60, 60), (70, 70, 90, 90)]
    extents = [(20, 20)] * 3
    assert move(before, (), extents, field, np.random.default_rng(0)) is None
    after = move(before, (0,), extents, field, np.random.default_rng(0))
    assert after is not None
    assert after[1:] == before[1:]
    assert after[0] != before[0]
    assert field.accepts(after)


@given(boxes, st.tuples(extent, extent))
def test_centred_boxes_keep_their_middle(box, size):
    x0, y0, x1, y1 = centred(box, size)
    assert (x1 - x0, y1 - y0) == size
    assert abs((x0 + x1) - (box[0] + box[2])) <= 1
    assert abs((y0 + y1) - (box[1] + box[3])) <= 1
