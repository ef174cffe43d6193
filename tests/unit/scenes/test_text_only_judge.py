"""A judge who reads captions without pictures must not tell the true from the edited."""

from collections import Counter
from itertools import combinations, pairwise

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from scenes.caption import caption_of
from scenes.draft import new_draft
from scenes.edits import change_of

TRAINING, TESTING = 6000, 4000


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


@pytest.fixture(scope="module")
def drafts():
    rng = np.random.default_rng(2)
    return {
        held_out: [new_draft(rng, held_out=held_out) for _ in range(TRAINING + TESTING)] for held_out in (False, True)
    }


@pytest.mark.parametrize("held_out", [False, True], ids=["test", "compositional"])
def test_the_judge_is_at_chance(drafts, held_out):
    rng = np.random.default_rng(3)
    pairs = [(caption_of(draft).text, caption_of(change_of(draft, rng).draft).text) for draft in drafts[held_out]]
    auroc, found = judged(pairs)
    assert 0.47 < auroc < 0.53
    assert 0.46 < found < 0.54


def test_the_judge_finds_edits_that_prefer_a_word(drafts):
    rng = np.random.default_rng(3)
    pairs = []
    for draft in drafts[False]:
        edits = [caption_of(change_of(draft, rng).draft).text for _ in range(6)]
        pairs.append((caption_of(draft).text, max(edits, key=lambda text: " red " in text)))
    auroc, found = judged(pairs)
    assert auroc > 0.54
    assert found > 0.54


def test_values_are_as_frequent_in_edited_captions_as_in_true_ones(drafts):
    rng = np.random.default_rng(5)
    true, edited = Counter(), Counter()
    for draft in drafts[False]:
        after = change_of(draft, rng).draft
        for count, which in ((true, draft), (edited, after)):
            for look in which.looks[: which.plan.shape.num_mentions]:
                count.update([look.kind, look.colour, look.size])
            count.update(which.relations)
    for value, number in true.items():
        assert abs(edited[value] - number) < 5 * number**0.5
