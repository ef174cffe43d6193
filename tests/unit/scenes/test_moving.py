"""Moving scenes: what the caption says of each thing is what its pixels do."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.video import sample_frames
from runtime.errors import UsageError
from scenes import SMALL_WORLD, WORLD, generate_moving, write_videos
from scenes.moving import MOTIONS, OPPOSITE


def middle_of(frame, empty, way) -> tuple[float, float]:
    """Where in a frame something is drawn, of the box that a thing never leaves and no other enters."""
    x0, y0, x1, y1 = way
    drawn = np.any(np.asarray(frame) != np.asarray(empty), axis=2)[y0:y1, x0:x1]
    rows, columns = np.nonzero(drawn)
    return float(columns.mean()), float(rows.mean())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), index=st.integers(0, 1000), world=st.sampled_from([WORLD, SMALL_WORLD]))
def test_things_go_where_the_caption_says(seed: int, index: int, world):
    scene = generate_moving(seed, index, size_px=96, world=world)
    frames = scene.frames(5)
    assert 2 <= len(scene.things) <= 3
    assert any(thing.motion != "still" for thing in scene.things)
    empty = scene.background.image(96)
    for thing in scene.things:
        said = "stays still" if thing.motion == "still" else f"moves {thing.motion}"
        assert f"{world.colours[thing.look.colour].words[0]} {world.kinds[thing.look.kind][0]} {said}" in scene.caption
        first, last = (middle_of(frame, empty, thing.way) for frame in (frames[0], frames[-1]))
        went = np.subtract(last, first)
        np.testing.assert_allclose(went, np.array(MOTIONS[thing.motion]) * round(0.4 * 96), atol=0.5)


def test_a_scene_is_a_function_of_its_arguments_and_the_splits_share_none():
    one, again = (generate_moving(3, 7, split="val") for _ in range(2))
    assert one.caption == again.caption
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one.frames(4), again.frames(4), strict=True))
    assert generate_moving(3, 7, split="test").caption != one.caption
    held = generate_moving(3, 7, split="compositional")
    assert sum(thing.look.combination in WORLD.held_out for thing in held.things) == 1
    assert not any(thing.look.combination in WORLD.held_out for thing in one.things)


def test_the_turned_caption_differs_in_one_motion():
    for index in range(20):
        scene = generate_moving(0, index)
        own, other = scene.caption.split(), scene.reversed_caption.split()
        ((before, after),) = [pair for pair in zip(own, other, strict=True) if pair[0] != pair[1]]
        assert OPPOSITE[before.rstrip(",")] == after.rstrip(",")


def test_videos_are_written_with_captions_true_of_one_alone(tmp_path: Path):
    write_videos(tmp_path / "out", count=6, seed=1, size_px=64, world=SMALL_WORLD)
    lines = [json.loads(line) for line in (tmp_path / "out" / "captions.jsonl").read_text().splitlines()]
    pairs = [json.loads(line) for line in (tmp_path / "out" / "motion_pairs.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [f"videos/{number:06d}.mp4" for number in range(6)]
    assert len({line["captions"][0] for line in lines}) == 6
    assert [pair["caption"] for pair in pairs] == [line["captions"][0] for line in lines]
    frames = sample_frames(tmp_path / "out" / lines[0]["image"])
    drawn = generate_moving(1, 0, split="test", size_px=64, world=SMALL_WORLD).frames(16)
    assert len(frames) == 16
    for found, wanted in zip(frames, drawn, strict=True):
        assert np.abs(np.asarray(found.image).astype(int) - np.asarray(wanted)).mean() < 8  # what compressing loses
    with pytest.raises(UsageError, match="even"):
        write_videos(tmp_path / "odd", count=1, seed=1, size_px=65)
