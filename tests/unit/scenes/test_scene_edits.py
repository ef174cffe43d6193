from collections import Counter

import numpy as np
import pytest

import scenes
from scenes import WORLD
from tests.unit.scenes import sentences

SAYS = {
    **{name: name for name in ("colour", "size", "pattern", "state", "count")},
    **{f"{name}_swap": name for name in ("colour", "size", "pattern")},
    "object": "kind",
}


@pytest.fixture(scope="module")
def rewritten(drawn):
    rng = np.random.default_rng(0)
    return [(scene, scenes.edit_caption(scene, rng, kinds=scenes.EDIT_KINDS)) for scene in drawn]


@pytest.fixture(scope="module")
def redrawn(drawn):
    rng = np.random.default_rng(1)
    return [(scene, scenes.edit_image(scene, rng, kinds=scenes.EDIT_KINDS)) for scene in drawn]


def without(words, ranges):
    """The words outside of some ranges, articles left out."""
    taken = {i for first, last in ranges for i in range(first, last)}
    return [word for i, word in enumerate(words) if i not in taken and word not in ("a", "an")]


def test_edited_captions_are_false_of_the_picture(rewritten):
    for scene, edit in rewritten:
        assert sentences.is_true(scene.caption, scene)
        assert not sentences.is_true(edit.caption, scene), (scene.caption, edit.caption)


def test_the_recorded_words_are_all_that_differs(rewritten, redrawn):
    for scene, edit in rewritten + redrawn:
        before, after = scene.caption.split(), edit.caption.split()
        assert without(before, edit.pos_words) == without(after, edit.neg_words)
        assert len(edit.pos_words) == len(edit.neg_words) == (2 if edit.kind.endswith("swap") else 1)
        for (first, last), (neg_first, neg_last) in zip(edit.pos_words, edit.neg_words, strict=True):
            assert before[first:last] != after[neg_first:neg_last]
            assert last - first >= 1


def test_an_edit_changes_what_its_kind_says(rewritten):
    family = {name: what.family for name, what in WORLD.relations.items()}
    for scene, edit in rewritten:
        before, after = sentences.read(scene.caption), sentences.read(edit.caption)
        assert before.skeleton == after.skeleton
        if edit.kind == "relation":
            changed = [(a[0], b[0]) for a, b in zip(before.relations, after.relations, strict=True) if a != b]
            assert len(changed) == 1
            assert family[changed[0][0]] == family[changed[0][1]]
            continue
        changed = [
            [
                (getattr(a, name), getattr(b, name))
                for name in set(SAYS.values())
                if getattr(a, name) != getattr(b, name)
            ]
            for a, b in zip(before.phrases, after.phrases, strict=True)
        ]
        changed = [names for names in changed if names]
        assert all(len(names) == 1 for names in changed)
        values = [names[0] for names in changed]
        assert all(value[0] in [getattr(p, SAYS[edit.kind]) for p in before.phrases] for value in values)
        if edit.kind.endswith("swap"):
            assert values[0] == values[1][::-1]
        assert len(values) == (2 if edit.kind.endswith("swap") else 1)


def test_every_kind_of_edit_is_made(rewritten, redrawn):
    for edits in (rewritten, redrawn):
        counts = Counter(edit.kind for _, edit in edits)
        assert set(counts) == set(scenes.EDIT_KINDS)
        assert min(counts.values()) >= 3


def test_edits_stay_on_their_side_of_what_is_held_out(rewritten, redrawn):
    def novel(caption, world):
        claims = sentences.read(caption)
        return (
            [(p.kind, p.colour) in world.held_out for p in claims.phrases],
            [
                (claims.phrases[thing].kind, world.relations[name].family) in world.held_out_families
                for name, things in claims.relations
                for thing in things
            ],
        )

    for edits in (rewritten, redrawn):
        for scene, edit in edits:
            assert novel(edit.caption, scene.world) == novel(scene.caption, scene.world)


def test_each_split_has_its_kinds_of_edit(drawn):
    assert set(scenes.TRAINING_EDITS) | set(scenes.UNSEEN_EDITS) == set(scenes.EDIT_KINDS)
    assert not set(scenes.TRAINING_EDITS) & set(scenes.UNSEEN_EDITS)
    rng = np.random.default_rng(6)
    for scene in drawn:
        kinds = {scenes.edit_caption(scene, rng).kind, scenes.edit_image(scene, rng).kind}
        if scene.split == "train":
            assert kinds <= set(scenes.TRAINING_EDITS)
        if scene.split == "edit-type":
            assert kinds <= set(scenes.UNSEEN_EDITS)


def test_a_changed_picture_and_the_old_one_are_each_true_to_one_caption(redrawn):
    for scene, edit in redrawn:
        assert edit.caption == edit.scene.caption
        assert sentences.is_true(scene.caption, scene)
        assert sentences.is_true(edit.caption, edit.scene)
        assert not sentences.is_true(scene.caption, edit.scene)
        assert not sentences.is_true(edit.caption, scene)


def test_only_what_is_changed_looks_different(redrawn):
    moved_others = 0
    for scene, edit in redrawn:
        before, after = np.asarray(scene.image), np.asarray(edit.scene.image)
        assert before.shape == after.shape
        assert (before != after).any()
        touched = np.zeros(before.shape[:2], dtype=bool)
        changed = 0
        for old, new in zip(scene.objects, edit.scene.objects, strict=True):
            if (old.box_px, old.look, old.depth) == (new.box_px, new.look, new.depth):
                continue
            changed += 1
            for x0, y0, x1, y1 in (old.box_px, new.box_px):
                touched[y0 - 1 : y1 + 1, x0 - 1 : x1 + 1] = True  # a thing in front has a rim
        moved_others += changed > 2
        assert (before[~touched] == after[~touched]).all()
    assert moved_others < 0.05 * len(redrawn)


def test_the_same_stream_makes_the_same_edit():
    scene = scenes.generate(0, 0)
    edits = [scenes.edit_caption(scene, np.random.default_rng(4)) for _ in range(2)]
    assert edits[0] == edits[1]
    pictures = [scenes.edit_image(scene, np.random.default_rng(4)).scene.image.tobytes() for _ in range(2)]
    assert pictures[0] == pictures[1]
