import re
from collections import Counter

import numpy as np

import scenes
from scenes.draft import TURNS, new_draft
from scenes.grammar import SHAPE_GROUPS
from scenes.world import WORLD
from tests.unit.scenes import sentences


def test_phrases_are_the_noun_phrases_of_the_caption_with_their_boxes(drawn):
    for scene in drawn:
        expected = sentences.read(scene.caption).phrases
        found = sorted(scene.phrases, key=lambda phrase: phrase.start)
        assert [(p.text, p.start, p.end) for p in found] == [(p.text, p.start, p.end) for p in expected]
        for phrase, said in zip(found, expected, strict=True):
            thing = scene.objects[phrase.thing]
            assert scene.caption[phrase.start : phrase.end] == phrase.text
            assert phrase.box == thing.box
            assert (thing.kind, thing.colour) == (said.kind, said.colour)
            assert said.size in (None, thing.size)


def test_articles_agree_with_the_word_that_follows(drawn):
    for scene in drawn:
        for article, letter in re.findall(r"\b(an?) (\w)", scene.caption):
            assert (article == "an") == (letter in "aeiou"), scene.caption


def test_every_sentence_around_the_phrases_is_one_a_person_wrote_down(drawn):
    skeletons = {sentences.read(scene.caption).skeleton for scene in drawn}
    assert skeletons == {
        "P",
        "there is P",
        "a picture of P",
        "you can see P",
        "this picture has P in it",
        "P and P",
        "there is P and P",
        "there is P, and there is P",
        "a picture of P and P",
        "you can see P and P",
        "this picture shows P together with P",
        "P, and also P",
        "P R P",
        "P is R P",
        "there is P R P",
        "a picture of P R P",
        "you can see P R P",
        "R P is P",
        "R P there is P",
        "R P you can see P",
        "P, P and P",
        "there is P, P and P",
        "a picture of P, P and P",
        "you can see P, P and P",
        "this picture shows P together with P and P",
        "P and P, and also P",
        "P is R P, and there is P",
        "there is P, and P is R P",
        "P R P, and also P",
        "P, and also P R P",
        "P is R P, and you can also see P",
        "R P there is P, and there is also P",
        "P is R P, which is R P",
        "P R P, which is R P",
        "P is R P and R P",
        "there is P R P and R P",
        "R P is P, which is R P",
    }


def test_the_vocabulary_is_every_word_of_the_captions_and_no_other():
    rng = np.random.default_rng(0)
    seen: set[str] = set()
    for _ in range(4000):
        from scenes.caption import caption_of

        seen.update(re.findall(r"\w+|[^\w\s]", caption_of(new_draft(rng, held_out=False)).text))
    assert scenes.vocabulary() == sorted(seen)


def test_every_word_of_a_name_is_equally_likely():
    counts = [len(words) for words in WORLD.kinds.values()]
    counts += [len(colour.words) for colour in WORLD.colours.values()]
    counts += [len(size.words) for size in WORLD.sizes.values()]
    counts += [len(relation.forms) for relation in WORLD.relations.values()]
    assert all(TURNS % count == 0 for count in counts)


def test_opposite_relations_are_said_in_forms_that_differ_in_one_word():
    for name, relation in WORLD.relations.items():
        opposite = WORLD.relations[relation.opposite]
        assert opposite.opposite == name
        assert opposite.axis == relation.axis
        for ours, theirs in zip(relation.forms, opposite.forms, strict=True):
            assert (ours[0], ours[2]) == (theirs[0], theirs[2])
            assert ours[1] != theirs[1]


def test_shapes_of_a_group_mention_equally_much():
    assert sum(weight for weight, _ in SHAPE_GROUPS) == 100
    for _, shapes in SHAPE_GROUPS:
        assert len({(shape.num_mentions, len(shape.edges)) for shape in shapes}) == 1


def test_most_captions_name_two_or_three_things(drawn):
    counts = Counter(len(scene.phrases) for scene in drawn)
    assert counts[2] + counts[3] > 0.92 * len(drawn)
