from collections import Counter

import numpy as np
import pytest

import scenes
from scenes.world import WORLD
from tests.unit.scenes import sentences

SAYS = {"object": "kind", "colour": "colour", "size": "size", "colour_swap": "colour", "size_swap": "size"}


@pytest.fixture(scope="module")
def rewritten(drawn):
    rng = np.random.default_rng(0)
    return [(scene, scenes.edit_caption(scene, rng)) for scene in drawn]


@pytest.fixture(scope="module")
def redrawn(drawn):
    rng = np.random.default_rng(1)
    return [(scene, scenes.edit_image(scene, rng)) for scene in drawn]


def differences(before: str, after: str) -> list[int]:
    """Where two captions of equally many words differ, apart from an article."""
    pairs = list(zip(before.split(), after.split(), strict=True))
    return [i for i, (a, b) in enumerate(pairs) if a != b and {a, b} != {"a", "an"}]


def test_edited_captions_are_false_of_the_picture(rewritten):
    for scene, edit in rewritten:
        assert sentences.is_true(scene.caption, scene.objects)
        assert not sentences.is_true(edit.caption, scene.objects), (scene.caption, edit.caption)


def test_the_recorded_words_are_all_that_differs(rewritten):
    for scene, edit in rewritten:
        assert edit.pos_words == edit.neg_words
        assert [i for first, last in sorted(edit.pos_words) for i in range(first, last)] == differences(
            scene.caption, edit.caption
        )
        assert len(edit.pos_words) == (2 if edit.kind.endswith("swap") else 1)


def test_an_edit_changes_what_its_kind_says(rewritten):
    for scene, edit in rewritten:
        before, after = sentences.read(scene.caption), sentences.read(edit.caption)
        assert before.skeleton == after.skeleton
        if edit.kind == "relation":
            changed = [(a[1], b[1]) for a, b in zip(before.relations, after.relations, strict=True) if a != b]
            assert len(changed) == 1
            assert changed[0][1] == WORLD.relations[changed[0][0]].opposite
            continue
        changed = [
            (getattr(a, SAYS[edit.kind]), getattr(b, SAYS[edit.kind]))
            for a, b in zip(before.phrases, after.phrases, strict=True)
            if (a.kind, a.colour, a.size) != (b.kind, b.colour, b.size)
        ]
        assert all(a != b for a, b in changed)
        if edit.kind.endswith("swap"):
            assert changed[0] == changed[1][::-1]
            assert len(changed) == 2
        else:
            assert len(changed) == 1


def test_every_kind_of_edit_is_made(rewritten, redrawn):
    for edits in (rewritten, redrawn):
        counts = Counter(edit.kind for _, edit in edits)
        assert set(counts) == set(scenes.EDIT_KINDS)
        assert min(counts.values()) > 0.02 * len(edits)


def test_edits_stay_on_their_side_of_the_held_out_combinations(rewritten, redrawn):
    def novel(caption):
        return [(p.kind, p.colour) in WORLD.held_out for p in sentences.read(caption).phrases]

    for edits in (rewritten, redrawn):
        for scene, edit in edits:
            assert novel(edit.caption) == novel(scene.caption)


def test_a_changed_picture_and_the_old_one_are_each_true_to_one_caption(redrawn):
    for scene, edit in redrawn:
        assert edit.caption == edit.scene.caption
        assert sentences.is_true(scene.caption, scene.objects)
        assert sentences.is_true(edit.caption, edit.scene.objects)
        assert not sentences.is_true(scene.caption, edit.scene.objects)
        assert not sentences.is_true(edit.caption, scene.objects)


def test_only_what_is_changed_looks_different(redrawn):
    for scene, edit in redrawn:
        before, after = np.asarray(scene.image), np.asarray(edit.scene.image)
        assert before.shape == after.shape
        assert (before != after).any()
        touched = np.zeros(before.shape[:2], dtype=bool)
        changed = 0
        for old, new in zip(scene.objects, edit.scene.objects, strict=True):
            if old == new:
                continue
            changed += 1
            for x0, y0, x1, y1 in (old.box_px, new.box_px):
                touched[y0:y1, x0:x1] = True
        assert changed <= 2
        assert changed == 1 or edit.kind in ("relation", "colour_swap", "size_swap")
        assert (before[~touched] == after[~touched]).all()


def test_the_same_stream_makes_the_same_edit():
    scene = scenes.generate(0, 0)
    edits = [scenes.edit_caption(scene, np.random.default_rng(4)) for _ in range(2)]
    assert edits[0] == edits[1]
    pictures = [scenes.edit_image(scene, np.random.default_rng(4)).scene.image.tobytes() for _ in range(2)]
    assert pictures[0] == pictures[1]
