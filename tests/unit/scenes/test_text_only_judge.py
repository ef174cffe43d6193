"""A judge who reads captions without pictures must not tell the true from the edited."""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import scenes
from scenes.caption import caption_of
from scenes.draft import new_draft
from scenes.edits import change_of

TRAINING, TESTING = 4000, 3000


def features(text):
    """Words, pairs of neighbours, and pairs of words anywhere in the caption."""
    words = text.rstrip(".").replace(",", " ,").split()
    neighbours = [f"{a} {b}" for a, b in pairwise(words)]
    anywhere = {f"{a} .. {b}" for a, b in combinations(sorted(words), 2)}
    return [*words, *neighbours, *anywhere]


def judged(pairs):
    """Ask a judge trained on some pairs (true, edited) about others.

    Gives the AUROC of its scores, and the share of pairs in which it finds the edited caption.
    """
    vectors = CountVectorizer(analyzer=features, min_df=5)
    learnt = [text for pair in pairs[:TRAINING] for text in pair]
    asked = [text for pair in pairs[TRAINING:] for text in pair]
    judge = LogisticRegression(C=0.02, max_iter=300)
    judge.fit(vectors.fit_transform(learnt), [0, 1] * TRAINING)
    scores = judge.decision_function(vectors.transform(asked))
    true, edited = scores[::2], scores[1::2]
    return roc_auc_score([0, 1] * len(true), scores), (edited > true).mean() + (edited == true).mean() / 2


CASES = {
    "test": (scenes.WORLD, False, scenes.EDIT_KINDS, ()),
    "train": (scenes.WORLD, False, scenes.TRAINING_EDITS, ()),
    "compositional": (scenes.WORLD, True, scenes.EDIT_KINDS, ()),
    "edit-type": (scenes.WORLD, False, scenes.UNSEEN_EDITS, ("pattern", "state", "count")),
    "small world": (scenes.SMALL_WORLD, False, scenes.EDIT_KINDS, ()),
    "small world, edit-type": (scenes.SMALL_WORLD, False, scenes.UNSEEN_EDITS, ("pattern",)),
}


def drafted(world, held_out, says, count=TRAINING + TESTING):
    rng = np.random.default_rng(2)
    return [new_draft(rng, world=world, held_out=held_out, says=says) for _ in range(count)]


@pytest.mark.parametrize("case", CASES)
def test_the_judge_is_at_chance(case):
    world, held_out, kinds, says = CASES[case]
    rng = np.random.default_rng(3)
    pairs = [
        (caption_of(draft, world).text, caption_of(change_of(draft, rng, world=world, kinds=kinds).draft, world).text)
        for draft in drafted(world, held_out, says)
    ]
    auroc, found = judged(pairs)
    assert 0.47 < auroc < 0.53
    assert 0.46 < found < 0.54


def test_the_judge_finds_edits_that_prefer_a_word():
    world = scenes.SMALL_WORLD
    rng = np.random.default_rng(3)
    pairs = []
    for draft in drafted(world, False, ()):
        changes = [change_of(draft, rng, world=world, kinds=scenes.EDIT_KINDS) for _ in range(6)]
        edits = [caption_of(change.draft, world).text for change in changes]
        pairs.append((caption_of(draft, world).text, max(edits, key=lambda text: " black " in text)))
    auroc, found = judged(pairs)
    assert auroc > 0.54
    assert found > 0.54


def test_values_are_as_frequent_in_edited_captions_as_in_true_ones():
    world = scenes.WORLD
    rng = np.random.default_rng(5)
    true, edited = Counter(), Counter()
    for draft in drafted(world, False, ()):
        after = change_of(draft, rng, world=world, kinds=scenes.EDIT_KINDS).draft
        for count, which in ((true, draft), (edited, after)):
            for look, mention in zip(which.looks, which.plan.mentions, strict=False):
                count.update([look.kind, look.colour])
                count.update([look.size] * mention.says_size + [look.pattern] * mention.says_pattern)
                count.update([look.state] * (mention.state_family is not None) + [look.count] * mention.says_count)
            count.update(which.relations)
    for value, number in true.items():
        assert abs(edited[value] - number) < 5 * number**0.5
