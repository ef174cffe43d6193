import hashlib
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scenes
from runtime.errors import UsageError
from scenes.world import WORLD
from tests.unit.scenes import sentences

GOLDEN = {
    (0, 0, "train", 96): "551cf7c69d631994c900cc9224689e31",
    (7, 123, "test", 128): "fc7fa8a5ed1b6298010bcc57b5dc8189",
    (4294967295, 4294967295, "compositional", 64): "d9ec54bf15a8d18d8aa4970b3771f35e",
}


def digest(scene):
    return hashlib.sha256(scene.image.tobytes() + scene.caption.encode()).hexdigest()[:32]


@pytest.mark.parametrize("arguments", GOLDEN)
def test_the_same_arguments_always_draw_the_same_bytes(arguments):
    seed, index, split, size_px = arguments
    assert digest(scenes.generate(seed, index, split=split, size_px=size_px)) == GOLDEN[arguments]


def test_another_process_with_another_hash_seed_draws_the_same_bytes():
    code = (
        "import hashlib, scenes\n"
        "h = hashlib.sha256()\n"
        "for i in range(50): h.update(scenes.generate(3, i).image.tobytes())\n"
        "import sys; sys.stdout.write(h.hexdigest())"
    )
    here = hashlib.sha256()
    for index in reversed(range(50)):  # in another order first: what is cached must not matter
        scenes.generate(3, index)
    for index in range(50):
        here.update(scenes.generate(3, index).image.tobytes())
    there = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "12345"}, capture_output=True, text=True, check=True
    )
    assert there.stdout == here.hexdigest()


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    index=st.integers(0, 2**32 - 1),
    split=st.sampled_from(scenes.SPLITS),
    size_px=st.integers(32, 200),
)
def test_any_scene_is_true_apart_and_inside(seed, index, split, size_px):
    scene = scenes.generate(seed, index, split=split, size_px=size_px)
    assert scene.image.size == (size_px, size_px)
    assert scene.image.mode == "RGB"
    assert 2 <= len(scene.objects) <= 4
    assert len({(thing.kind, thing.colour) for thing in scene.objects}) == len(scene.objects)
    assert sentences.is_true(scene.caption, scene.objects)
    for number, thing in enumerate(scene.objects):
        x0, y0, x1, y1 = thing.box
        assert 0 < x0 < x1 < 1
        assert 0 < y0 < y1 < 1
        for other in scene.objects[:number]:
            u0, v0, u1, v1 = other.box
            assert x1 < u0 or u1 < x0 or y1 < v0 or v1 < y0


def test_boxes_are_tight_around_the_pixels_that_are_not_background(drawn):
    for scene in drawn:
        pixels = np.asarray(scene.image).astype(int)
        is_drawn = (pixels != np.array(scene.background)).any(axis=-1)
        for thing in scene.objects:
            left, top, right, bottom = (round(side * scene.image.width) for side in thing.box)
            assert (left, top, right, bottom) == thing.box_px
            inside = is_drawn[top:bottom, left:right]
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()
            is_drawn[top:bottom, left:right] = False
        assert not is_drawn.any()


def test_a_thing_has_the_colour_it_is_said_to_have(drawn):
    names = list(WORLD.colours)
    values = np.array([colour.rgb for colour in WORLD.colours.values()])
    for scene in drawn:
        pixels = np.asarray(scene.image).astype(int)
        for thing in scene.objects:
            left, top, right, bottom = thing.box_px
            inside = pixels[top:bottom, left:right].reshape(-1, 3)
            found, counts = np.unique(inside, axis=0, return_counts=True)
            near = np.abs(found[:, None] - values[None]).max(axis=-1)
            votes = [counts[near[:, i] <= 12].sum() for i in range(len(names))]
            assert names[int(np.argmax(votes))] == thing.colour


def test_sizes_are_told_apart_by_the_longest_side(drawn):
    sides = {size: [] for size in WORLD.sizes}
    for scene in drawn:
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            sides[thing.size].append(max(x1 - x0, y1 - y0))
    ranges = [(min(found), max(found)) for found in sides.values()]
    for (_, most), (least, _) in pairwise(ranges):
        assert least > 1.2 * most


def test_held_out_combinations_are_drawn_in_the_compositional_split_alone(drawn):
    for number, scene in enumerate(drawn):
        split = scenes.SPLITS[number // 400]
        held_out = [(thing.kind, thing.colour) in WORLD.held_out for thing in scene.objects]
        assert sum(held_out) == (1 if split == "compositional" else 0)
        if split == "compositional":
            assert held_out.index(True) < len(scene.phrases)


def test_every_kind_and_colour_is_learnt_and_also_held_out():
    ordinary = WORLD.combinations(held_out=False)
    novel = WORLD.combinations(held_out=True)
    assert len(ordinary) + len(novel) == len(WORLD.kinds) * len(WORLD.colours)
    for combinations in (ordinary, novel):
        assert {kind for kind, _ in combinations} == set(WORLD.kinds)
        assert {colour for _, colour in combinations} == set(WORLD.colours)
    assert all(sum(kind == name for kind, _ in novel) == 2 for name in WORLD.kinds)


def test_streams_differ_by_seed_index_and_split():
    digests = {
        digest(scenes.generate(seed, index, split=split))
        for seed in (0, 1)
        for index in (0, 1, 2)
        for split in scenes.SPLITS
    }
    assert len(digests) == 2 * 3 * len(scenes.SPLITS)


def test_another_picture_size_keeps_things_and_caption():
    for index in range(50):
        small, large = (scenes.generate(5, index, size_px=size_px) for size_px in (64, 160))
        assert small.caption == large.caption
        assert [thing.look for thing in small.objects] == [thing.look for thing in large.objects]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"seed": -1, "index": 0}, "seed is -1"),
        ({"seed": 0, "index": 2**32}, "index is 4294967296"),
        ({"seed": 0, "index": 0, "split": "dev"}, "no split 'dev'"),
        ({"seed": 0, "index": 0, "size_px": 8}, "8 px cannot be drawn"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments, complaint):
    with pytest.raises(UsageError, match=complaint):
        scenes.generate(**arguments)
