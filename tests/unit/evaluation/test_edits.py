import itertools

from hypothesis import given
from hypothesis import strategies as st

from evaluation.edits import Edit, diff, overlaps, wrong_words

sentences = st.lists(st.sampled_from("abc"), max_size=7)


def edited(caption, negative, *edits):
    truth = wrong_words(caption, negative, [Edit(pos_words=tuple(pos), neg_words=tuple(neg)) for pos, neg in edits])
    correction = truth.correction
    return (
        [negative[slice(*span)] for span in truth.spans],
        None if correction is None else (negative[slice(*correction[0])], correction[1]),
    )


def test_a_replaced_word_is_wrong_and_can_be_put_right():
    found = edited("a clock on a building.", "a book on a building.", ([1, 2], [1, 2]))
    assert found == (["book"], ("book", "clock"))


def test_punctuation_stays_out_of_the_correction():
    assert edited("in a home? no.", "in a home? yes.", ([3, 4], [3, 4])) == (["yes."], ("yes", "no"))


def test_a_word_that_differs_in_casing_or_punctuation_only_is_not_wrong():
    found = edited(
        "a donut with a napkin holder",
        "A jelly-filled donut with a napkin holder.",
        ([0, 1], [0, 2]),
        ([5, 6], [6, 7]),
    )
    assert found == (["jelly-filled"], None)


def test_an_insertion_has_wrong_words_and_no_correction():
    assert edited("a drawing of a woman", "a drawing of a tattooed woman", ([4, 4], [4, 5])) == (["tattooed"], None)


def test_a_deletion_has_no_wrong_word():
    assert edited("a red dog", "a dog", ([1, 2], [1, 1])) == ([], None)


def test_several_changes_have_no_single_correction():
    found = edited("a red dog and a cat", "a cat and a red dog", ([1, 3], [1, 2]), ([5, 6], [4, 6]))
    assert found == (["cat", "red", "dog"], None)


def test_two_words_for_one_are_not_one_correction():
    assert edited("some kind of food", "some curry food", ([1, 3], [1, 2])) == (["curry"], None)


def test_a_replacement_of_two_words_in_one_range_keeps_the_common_one():
    assert edited("a big red dog", "a big blue dog", ([1, 4], [1, 4])) == (["blue"], ("blue", "red"))


def test_a_word_of_several_parts_is_wrong_but_no_single_correction():
    assert edited("at 8:25 sharp", "at 9:30 sharp", ([1, 2], [1, 2])) == (["9:30"], None)


def test_equal_words_have_their_own_spans():
    negative = "dog  dog\tdog"
    truth = wrong_words("dog cat dog", negative, [Edit(pos_words=(1, 2), neg_words=(1, 2))])
    assert truth.spans == ((5, 8),)


def test_words_changed_by_themselves_are_exchanged():
    caption, negative = "a Red cup on top of a box", "a box, under a red cup"
    changes = [Edit(pos_words=(1, 2), neg_words=(1, 2)), Edit(pos_words=(3, 6), neg_words=(2, 3))]
    assert wrong_words(caption, negative, changes).exchanged == {"red", "box"}


def test_lone_punctuation_is_never_wrong():
    assert edited("a dog .", "a dog !", ([2, 3], [2, 3])) == ([], None)


def test_spans_overlap_when_they_share_a_character():
    assert overlaps((0, 3), (2, 5))
    assert not overlaps((0, 3), (3, 5))


def fewest_changes(right, wrong):
    """Levenshtein's distance by its definition."""
    if not right or not wrong:
        return len(right) + len(wrong)
    return min(
        fewest_changes(right[1:], wrong[1:]) + (right[0] != wrong[0]),
        fewest_changes(right[1:], wrong) + 1,
        fewest_changes(right, wrong[1:]) + 1,
    )


@given(sentences.filter(lambda s: len(s) < 6), sentences.filter(lambda s: len(s) < 6))
def test_a_diff_leads_from_one_caption_to_the_other_in_the_fewest_changes(right, wrong):
    changes = diff(" ".join(right), " ".join(wrong))
    rebuilt, at = [], 0
    for change in changes:
        rebuilt += [*right[at : change.pos_words[0]], *wrong[slice(*change.neg_words)]]
        at = change.pos_words[1]
    assert rebuilt + right[at:] == wrong
    lengths = [(c.pos_words[1] - c.pos_words[0], c.neg_words[1] - c.neg_words[0]) for c in changes]
    assert sum(max(pair) for pair in lengths) == fewest_changes(right, wrong)
    for first, second in itertools.pairwise(changes):
        assert second.pos_words[0] > first.pos_words[1]


def test_words_that_changed_places_are_two_replacements():
    assert diff("a dog on a cat.", "A cat on a dog") == [
        Edit(pos_words=(1, 2), neg_words=(1, 2)),
        Edit(pos_words=(4, 5), neg_words=(4, 5)),
    ]
