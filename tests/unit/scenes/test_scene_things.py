from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scenes import WORLD
from scenes.drawings import DRAWINGS, INTERIORS
from scenes.sheet import SUPERSAMPLING
from scenes.stencil import paint, stencil

LOOKS = [
    (kind, state)
    for kind in WORLD.kinds
    for state in (WORLD.states[WORLD.family_of_kind[kind]].states if kind in WORLD.family_of_kind else (None,))
]


def painted(kind, side_px, *, state=None, mirrored=False, pattern="plain"):
    """A thing in red, centred on a white square."""
    shape = stencil(kind, side_px * SUPERSAMPLING, mirrored, state)
    square = Image.new("RGB", (side_px + 2, side_px + 2), (255, 255, 255))
    left, top = ((side_px + 2 - extent) // 2 for extent in shape.extent)
    paint(square, shape, left=left, top=top, rgb=(214, 34, 38), pattern=pattern)
    return np.asarray(square).astype(float)


def test_every_kind_has_a_drawing():
    assert list(DRAWINGS) == list(WORLD.kinds)
    assert set(INTERIORS) == set(WORLD.pools["container"])


@pytest.mark.parametrize(("kind", "state"), LOOKS)
def test_a_drawing_fills_its_side_and_is_cropped_to_what_is_seen(kind, state):
    for side_px in (9, 14, 24, 36, 49):
        shape = stencil(kind, side_px * SUPERSAMPLING, mirrored=False, state=state)
        coverage = np.asarray(shape.body)
        assert abs(max(shape.extent) - side_px) <= 1
        for edge in (coverage[0], coverage[-1], coverage[:, 0], coverage[:, -1]):
            assert edge.max() > 0
        details = [np.asarray(layer) for _, layer in shape.details]
        assert all(layer.shape == coverage.shape and (layer <= coverage).all() for layer in details)
        assert (shape.seen == (coverage >= 128)).all()
        rim = np.asarray(shape.rim)
        assert rim.shape == (coverage.shape[0] + 2, coverage.shape[1] + 2)
        assert (rim[1:-1, 1:-1] >= coverage).all()


@pytest.mark.parametrize("kind", WORLD.kinds)
def test_a_mirrored_drawing_is_the_other_way_round(kind):
    plain, mirrored = (np.asarray(stencil(kind, 256, flag).body) for flag in (False, True))
    assert plain.shape == mirrored.shape
    assert np.abs(plain[:, ::-1].astype(float) - mirrored).mean() < 25


def test_any_two_kinds_look_different():
    pictures = {
        (kind, state, flag): painted(kind, 24, state=state, mirrored=flag) for kind, state in LOOKS for flag in (0, 1)
    }
    for (a, first), (b, second) in combinations(pictures.items(), 2):
        if a[0] != b[0]:
            drawn = ((first < 250) | (second < 250)).any(axis=-1)
            assert np.abs(first - second).mean(axis=-1)[drawn].mean() > 15, (a, b)


@pytest.mark.parametrize("kind", WORLD.family_of_kind)
def test_states_of_a_kind_look_different(kind):
    one, other = WORLD.states[WORLD.family_of_kind[kind]].states
    for side_px in (21, 28, 42):  # what is small has no state said of it
        first, second = painted(kind, side_px, state=one), painted(kind, side_px, state=other)
        drawn = ((first < 250) | (second < 250)).any(axis=-1)
        assert (np.abs(first - second).max(axis=-1)[drawn] > 40).mean() > 0.03, side_px


@pytest.mark.parametrize("kind", WORLD.pools["surface"])
def test_patterns_of_a_kind_look_different(kind):
    states = WORLD.states[WORLD.family_of_kind[kind]].states if kind in WORLD.family_of_kind else (None,)
    for state in states:
        pictures = [painted(kind, 24, state=state, pattern=pattern) for pattern in WORLD.patterns]
        drawn = (pictures[0] < 250).any(axis=-1)
        for first, second in combinations(pictures, 2):
            assert np.abs(first - second).max(axis=-1)[drawn].mean() > 12


def test_colours_and_backgrounds_are_far_apart():
    colours = [colour.rgb for colour in WORLD.colours.values()]
    for a, b in combinations(colours, 2):
        assert max(abs(x - y) for x, y in zip(a, b, strict=True)) >= 70
    for a in colours:
        for b in [*WORLD.tints, *(ground for scenery in WORLD.sceneries for ground in scenery)]:
            assert max(abs(x - y) for x, y in zip(a, b, strict=True)) >= 90


def test_coverage_is_the_share_of_finer_pixels_within_a_pixel():
    side = 21
    fine = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING))
    last = side * SUPERSAMPLING - 1
    ImageDraw.Draw(fine).ellipse((0, 0, last, last), fill=255)
    blocks = np.asarray(fine).astype(float).reshape(side, SUPERSAMPLING, side, SUPERSAMPLING).mean(axis=(1, 3))
    drawn = np.asarray(stencil("circle", side * SUPERSAMPLING, mirrored=False).body)
    assert np.abs(drawn - blocks).max() <= 0.5
