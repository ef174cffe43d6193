import re
from collections import Counter

import numpy as np
import pytest

import scenes
from scenes.caption import caption_of
from scenes.draft import TURNS, new_draft
from scenes.grammar import SHAPE_GROUPS
from scenes.world import World
from tests.unit.scenes import sentences


def test_phrases_are_the_noun_phrases_of_the_caption_with_their_boxes(drawn):
    for scene in drawn:
        expected = sentences.read(scene.caption).phrases
        found = sorted(scene.phrases, key=lambda phrase: phrase.start)
        assert [(p.text, p.start, p.end) for p in found] == [(p.text, p.start, p.end) for p in expected]
        for phrase, said in zip(found, expected, strict=True):
            thing = scene.objects[phrase.thing]
            assert scene.caption[phrase.start : phrase.end] == phrase.text
            assert (phrase.box, phrase.boxes) == (thing.box, thing.boxes)
            assert (thing.kind, thing.colour, thing.look.count) == (said.kind, said.colour, said.count)
            assert said.size in (None, thing.size)
            assert said.pattern in (None, thing.look.pattern)
            assert said.state in (None, thing.look.state)


def test_articles_and_verbs_agree(drawn):
    for scene in drawn:
        for article, letter in re.findall(r"\b(an?) (\w)", scene.caption):
            assert (article == "an") == (letter in "aeiou"), scene.caption
        phrases = sorted(scene.phrases, key=lambda phrase: phrase.start)
        for verb, phrase in zip(
            *((re.findall(r"\b(?:there|here) (is|are)\b (?!also)", scene.caption), phrases[:1])), strict=False
        ):
            if scene.caption.startswith(("there", "here")):
                assert (verb == "are") == (len(phrase.boxes) > 1), scene.caption


def test_sentences_are_many_and_whole():
    shapes = [shape for _, group in SHAPE_GROUPS for shape in group]
    assert len({shape.template for shape in shapes}) == len(shapes) >= 55
    assert sum(weight for weight, _ in SHAPE_GROUPS) == 100
    for _, group in SHAPE_GROUPS:
        assert len({(shape.num_mentions, len(shape.edges)) for shape in group}) == 1
    for shape in shapes:
        mentions = re.findall(r"\{(?:the )?(\d)\}", shape.template)
        assert sorted(mentions) == [str(number) for number in range(shape.num_mentions)]


@pytest.mark.parametrize("world", scenes.WORLDS.values(), ids=scenes.WORLDS)
def test_the_vocabulary_is_every_word_of_the_captions_and_no_other(world: World):
    rng = np.random.default_rng(0)
    expected, seen = set(scenes.vocabulary(world)), set()
    for _ in range(60_000):
        if len(seen) < len(expected):
            text = caption_of(new_draft(rng, world=world, held_out=False), world).text
            seen.update(re.findall(r"\w+|[^\w\s]", text))
    assert seen == expected


def test_every_word_of_a_name_is_equally_likely():
    world = scenes.WORLD
    counts = [len(words) for names in (world.kinds, world.patterns, world.state_words) for words in names.values()]
    counts += [len(colour.words) for colour in world.colours.values()]
    counts += [len(size.words) for size in world.sizes.values()]
    counts += [len(relation.forms) for relation in world.relations.values()]
    assert all(TURNS % count == 0 for count in counts)


def test_no_word_names_two_things():
    world = scenes.WORLD
    words = [
        word for names in (world.kinds, world.patterns, world.state_words) for said in names.values() for word in said
    ]
    words += [word for colour in world.colours.values() for word in colour.words]
    words += [word for size in world.sizes.values() for word in size.words]
    assert [word for word, count in Counter(words).items() if count > 1] == []


def test_relations_of_a_family_are_said_in_forms_that_differ_in_the_recorded_words_alone():
    world = scenes.WORLD
    for names in world.in_family.values():
        assert len(names) >= 2
        for forms in zip(*(world.relations[name].forms for name in names), strict=True):
            assert len({(before, after) for before, _, after in forms}) == 1
            assert len({words for _, words, _ in forms}) == len(forms)


def test_captions_name_one_to_four_things_and_most_two_or_three(drawn):
    counts = Counter(len(scene.phrases) for scene in drawn)
    assert set(counts) == {1, 2, 3, 4}
    assert counts[2] + counts[3] > 0.8 * len(drawn)
    assert max(len(scene.caption.split()) for scene in drawn) <= 36
