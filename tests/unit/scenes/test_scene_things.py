from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from scenes.things import DRAWINGS, SUPERSAMPLING, stencil
from scenes.world import WORLD


def covers(kind, side_px, mirrored):
    """The coverage of a kind, centred on a square, in 0..1."""
    body = stencil(kind, side_px * SUPERSAMPLING, mirrored).body
    square = Image.new("L", (side_px, side_px))
    square.paste(body, ((side_px - body.width) // 2, (side_px - body.height) // 2))
    return np.asarray(square) / 255


def test_every_kind_has_a_drawing():
    assert list(DRAWINGS) == list(WORLD.kinds)


@pytest.mark.parametrize("kind", WORLD.kinds)
@pytest.mark.parametrize("side_px", [8, 17, 24, 36, 49])
def test_a_drawing_fills_its_side_and_is_cropped_to_what_is_seen(kind, side_px):
    shape = stencil(kind, side_px * SUPERSAMPLING, mirrored=False)
    coverage, shade = np.asarray(shape.body), np.asarray(shape.shade)
    assert abs(max(shape.extent) - side_px) <= 1
    assert shape.shade.size == shape.body.size
    for edge in (coverage[0], coverage[-1], coverage[:, 0], coverage[:, -1]):
        assert edge.max() > 0
    assert (shade <= coverage).all()


@pytest.mark.parametrize("kind", WORLD.kinds)
def test_a_mirrored_drawing_is_the_other_way_round(kind):
    plain, mirrored = (np.asarray(stencil(kind, 256, flag).body) for flag in (False, True))
    assert plain.shape == mirrored.shape
    assert np.abs(plain[:, ::-1].astype(float) - mirrored).mean() < 16


def test_silhouettes_of_any_two_kinds_differ():
    drawings = {(kind, flag): covers(kind, 24, flag) for kind in WORLD.kinds for flag in (False, True)}
    for (a, first), (b, second) in combinations(drawings.items(), 2):
        if a[0] != b[0]:
            assert np.minimum(first, second).sum() / np.maximum(first, second).sum() < 0.8, (a, b)


def test_colours_and_backgrounds_are_far_apart():
    colours = [colour.rgb for colour in WORLD.colours.values()]
    for a, b in combinations(colours, 2):
        assert max(abs(x - y) for x, y in zip(a, b, strict=True)) >= 70
    for a in colours:
        for b in WORLD.backgrounds:
            assert max(abs(x - y) for x, y in zip(a, b, strict=True)) >= 90


def test_coverage_is_the_share_of_finer_pixels_within_a_pixel():
    side = 21
    fine = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING))
    last = side * SUPERSAMPLING - 1
    ImageDraw.Draw(fine).ellipse((0, 0, last, last), fill=255)
    blocks = np.asarray(fine).astype(float).reshape(side, SUPERSAMPLING, side, SUPERSAMPLING).mean(axis=(1, 3))
    drawn = np.asarray(stencil("circle", side * SUPERSAMPLING, mirrored=False).body)
    assert np.abs(drawn - blocks).max() <= 0.5
