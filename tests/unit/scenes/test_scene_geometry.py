from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scenes
from scenes.blocks import arrange, body, num_shared
from scenes.geometry import OPPOSITE, among, direction_of, is_within, separation
from scenes.layout import Block, Demand, Field, centred, move, place
from scenes.sheet import SUPERSAMPLING
from scenes.stencil import stencil
from tests.unit.scenes import sentences

corner = st.integers(0, 60)
extent = st.integers(1, 30)
boxes = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), corner, corner, extent, extent)


def single(number, side):
    return Block(things=(number,), boxes=((0, 0, side, side),), extent=(side, side))


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
def test_directions_by_hand(a, b, expected):
    assert direction_of(a, b) == expected


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        ((20, 0, 30, 10), (0, 0, 10, 10), (40, 0, 50, 10), "between"),
        ((0, 20, 10, 30), (0, 40, 10, 50), (0, 0, 10, 10), "between"),
        ((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), "left-of-both"),
        ((0, 40, 10, 50), (0, 20, 10, 30), (0, 0, 10, 10), "below-both"),
        ((0, 0, 10, 10), (20, 0, 30, 10), (0, 20, 10, 30), None),  # left of one, above the other
    ],
)
def test_between_by_hand(a, b, c, expected):
    assert among(a, b, c) == among(a, c, b) == expected


@given(boxes, boxes)
def test_directions_agree_with_the_other_definition_and_turn_with_the_things(a, b):
    there, back = direction_of(a, b), direction_of(b, a)
    assert there == sentences.where(a, b)
    assert back == (None if there is None else OPPOSITE[there])


@given(boxes, boxes)
def test_boxes_and_their_pixels(a, b):
    grid = np.zeros((100, 100), dtype=int)
    for x0, y0, x1, y1 in (a, b):
        grid[y0:y1, x0:x1] += 1
    assert (separation(a, b) >= 0) == (grid.max() == 1)
    only_b = grid.copy()
    only_b[a[1] : a[3], a[0] : a[2]] -= 1
    assert is_within(a, b) == bool((only_b[a[1] : a[3], a[0] : a[2]] == 1).all())


@given(st.integers(-12, 12), st.integers(-12, 12), st.integers(0, 99))
def test_shared_pixels_are_counted(x, y, seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(2, size=(7, 9)) == 1, rng.integers(2, size=(8, 5)) == 1
    plane = np.zeros((40, 40), dtype=int)
    plane[15:23, 15:20] += other
    plane[15 + y : 22 + y, 15 + x : 24 + x] += one
    assert num_shared(one, other, (x, y)) == (plane == 2).sum()


@pytest.mark.parametrize("size_px", [32, 47, 96, 128, 255])
def test_the_fullest_scenes_can_be_laid_out_whatever_is_said_of_them(size_px):
    side = -(-scenes.WORLD.sizes["large"].most * size_px // 1000)
    rng = np.random.default_rng(0)
    axes = (("left", "right"), ("above", "below"))
    crossing = [*product(*axes), *product(*axes[::-1])]
    along = [*product(axes[0], repeat=2), *product(axes[1], repeat=2)]
    for edges, pairs in ((((0, 1), (1, 2)), crossing), (((0, 1), (0, 2)), crossing), (((0, 1), (2, 3)), along)):
        for first, second in pairs:
            demands = tuple(
                Demand(subject=a, object=b, relation=relation)
                for (a, b), relation in zip(edges, (first, second), strict=True)
            )
            blocks = tuple(single(number, side) for number in range(1 + max(max(edge) for edge in edges)))
            field = Field(size_px=size_px, blocks=blocks, demands=demands)
            placed = place(field, rng)
            assert placed is not None
            for demand in demands:
                assert sentences.where(placed[demand.subject], placed[demand.object]) == demand.relation


def test_what_cannot_be_laid_out_is_said():
    blocks = tuple(single(number, 60) for number in range(3))
    assert place(Field(size_px=96, blocks=blocks, demands=()), np.random.default_rng(0)) is None
    blocks = (single(0, 200),)
    assert place(Field(size_px=96, blocks=blocks, demands=()), np.random.default_rng(0)) is None


def test_captions_hardly_ever_have_to_be_given_up(monkeypatch):
    """A scene whose caption cannot be laid out is drafted anew; were that frequent, it would show in the captions."""
    drafts = []
    original = scenes.scene.new_draft
    monkeypatch.setattr("scenes.scene.new_draft", lambda *a, **k: drafts.append(1) or original(*a, **k))
    for split in scenes.SPLITS:
        for index in range(200):
            scenes.generate(8, index, split=split, size_px=64)
    assert len(drafts) <= 1003


def test_moving_leaves_the_others_where_they_are():
    demands = (Demand(subject=0, object=1, relation="right"),)
    field = Field(size_px=96, blocks=tuple(single(number, 20) for number in range(3)), demands=demands)
    before = [(10, 40, 30, 60), (40, 40, 60, 60), (70, 70, 90, 90)]
    assert move(before, (), field, np.random.default_rng(0)) is None
    after = move(before, (0,), field, np.random.default_rng(0))
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


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("turn", range(12))
def test_like_things_stand_apart_in_a_tight_group(count, turn):
    shape = stencil("star", 20 * SUPERSAMPLING, mirrored=False)
    group = body("star", shape, count=count, turn=turn, size_px=128)
    width, height = shape.extent
    pieces = [(x, y, x + width, y + height) for x, y in group.places]
    assert len(pieces) == count
    assert all(separation(a, b) >= 2 for a, b in combinations(pieces, 2))
    assert min(x for x, _, _, _ in pieces) == min(y for _, y, _, _ in pieces) == 0
    assert (max(x for _, _, x, _ in pieces), max(y for _, _, _, y in pieces)) == group.extent


def test_every_two_kinds_touch_when_they_should():
    for kind, other in combinations(scenes.WORLD.kinds, 2):
        shapes = [stencil(name, 24 * SUPERSAMPLING, mirrored=False, state=None) for name in (kind, other)]
        bodies = [
            body(name, shape, count=1, turn=0, size_px=96) for name, shape in zip((kind, other), shapes, strict=True)
        ]
        ((block,), demands) = arrange(bodies, ((0, 1),), ("touching",), 96)
        assert demands == ()
        planes = []
        for shape, (x0, y0, x1, y1) in zip(shapes, block.boxes, strict=True):
            plane = np.zeros((80, 80), dtype=bool)
            plane[y0:y1, x0:x1] = shape.seen
            planes.append(plane)
        assert sentences.touch(*planes)
        shared = (planes[0] & planes[1]).sum()
        assert shared <= 0.15 * min(plane.sum() for plane in planes)
