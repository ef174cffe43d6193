import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.edits import WrongWords
from evaluation.proofreading import JudgedRow, JudgedWord, reliability, summarise


def judged(text, errors, suggestions=(), threshold=0.75):
    words, at = [], 0
    for number, (word, error) in enumerate(zip(text.split(), errors, strict=True)):
        start = text.index(word, at)
        at = start + len(word)
        suggestion = dict(suggestions).get(number)
        words.append(
            JudgedWord(
                span=(start, at),
                error=error,
                is_error=error >= threshold,
                suggestion=suggestion,
                can_be_wrong=word in ("red", "blue"),
            )
        )
    return words


def row(errors_caption, errors_negative, *, suggestion=None, correction=True):
    # "a blue dog" beside "a red dog": the wrong word is the second one.
    truth = WrongWords(spans=((2, 5),), correction=((2, 5), "blue") if correction else None)
    return JudgedRow(
        caption=judged("a blue dog", errors_caption),
        negative=judged("a red dog", errors_negative, {1: suggestion}.items()),
        truth=truth,
    )


def test_proofreading_by_hand():
    rows = [
        row([0.0, 0.1, 0.2], [0.0, 0.9, 0.2], suggestion="Blue"),
        row([0.0, 0.1, 0.8], [0.0, 0.5, 0.7], suggestion="green"),
        row([0.0, 0.1, 0.1], [0.0, 0.6, 0.6], correction=False),
    ]
    blind = [row([0, 0, 0], [0, 0, 0], suggestion="green"), None, row([0, 0, 0], [0, 0.1, 0], correction=False)]
    group = summarise(rows, blind)
    assert group["count"] == 3
    assert group["count_words"] == 18
    assert group["count_corrections"] == 2
    assert group["word_top1"] == pytest.approx(1 / 3)  # found; another word is worse; a tie is a miss
    assert group["pair_accuracy"] == pytest.approx(2 / 3)  # 0.9 beside 0.2, 0.7 beside 0.8, 0.6 beside 0.1
    assert group["correction_top1"] == 0.5  # casing does not matter
    positives, negatives = [0.9, 0.5, 0.6], [0, 0.1, 0.2, 0, 0.2, 0, 0.1, 0.8, 0, 0.7, 0, 0.1, 0.1, 0, 0.6]
    labels = [1] * 3 + [0] * 15
    assert group["auroc"] == pytest.approx(roc_auc_score(labels, positives + negatives))
    assert group["ap"] == pytest.approx(average_precision_score(labels, positives + negatives))
    assert group["blind_word_top1"] == 0.5  # of the two rows that had another picture
    assert group["blind_correction_top1"] == 0
    assert group["blind_auroc"] == pytest.approx(0.75)
    judged_negatives = [0.1, 0.1, 0.1]  # "blue" in the three true captions; the dog and the article are never exchanged
    assert group["judged_auroc"] == pytest.approx(
        roc_auc_score([1] * 3 + [0] * len(judged_negatives), positives + judged_negatives)
    )
    assert group["recall"] == pytest.approx(1 / 3)  # 0.9 of 0.9, 0.5, 0.6
    assert group["false_alarms"] == pytest.approx(1 / 6)  # 0.8 of the six words of true captions that are judged
    assert group["blind_recall"] == 0
    assert "by_type" not in group


def test_kinds_are_told_apart():
    rows = [row([0.0, 0.1, 0.2], [0.0, 0.9, 0.2]), row([0.0, 0.1, 0.2], [0.0, 0.1, 0.9])]
    group = summarise(rows, [None, None], ["colour", "kind"])
    assert {kind: found["word_top1"] for kind, found in group["by_type"].items()} == {"colour": 1, "kind": 0}
    assert group["word_top1"] == 0.5
    assert group["by_type"]["colour"]["auroc"] == 1
    assert group["by_type"]["kind"]["count"] == 1


def right_word(error):
    return JudgedRow(caption=judged("x", [error]), negative=[], truth=WrongWords(spans=(), correction=None))


def wrong_word(error):
    return JudgedRow(caption=[], negative=judged("y", [error]), truth=WrongWords(spans=((0, 1),), correction=None))


def test_reliability_by_hand():
    rows = [wrong_word(0.2)] * 10 + [right_word(0.2)] * 30 + [wrong_word(0.02)] * 10 + [right_word(0.02)] * 390
    low, high = reliability(rows, prior=None)
    assert (low["from"], low["to"], low["count"]) == (0.01, 0.03, 400)
    assert (high["count"], high["probability"], high["wrong"]) == (40, pytest.approx(0.2), pytest.approx(0.25))
    assert low["wrong"] == pytest.approx(0.025)
    # Wilson's interval of 10 in 40, worked out on paper
    assert high["interval"] == pytest.approx([0.1419, 0.4019], abs=1e-3)
    # 20 of 440 are wrong; if half of all words were, each wrong word would count 420 / 20 = 21 times.
    _, weighted = reliability(rows, prior=0.5)
    assert weighted["wrong"] == pytest.approx(210 / 240)
    assert weighted["interval"][0] < weighted["wrong"] < weighted["interval"][1]
    assert reliability([right_word(0.2)] * 50, prior=None) == []
    assert reliability([*rows, right_word(0.0)], prior=None) == [low, high], "what is never judged is left out"


def test_words_drawn_from_their_probabilities_lie_on_the_line():
    rng = np.random.default_rng(0)
    rows = [wrong_word(p) if rng.random() < p else right_word(p) for p in rng.beta(0.4, 2.0, 6000)]
    bins = reliability(rows, prior=None)
    assert len(bins) >= 8
    assert sum(entry["interval"][0] <= entry["probability"] <= entry["interval"][1] for entry in bins) >= len(bins) - 1


def test_every_number_has_an_interval_around_it():
    rng = np.random.default_rng(0)
    rows = [
        row(rng.random(3), rng.random(3) + np.array([0, 0.5, 0]), suggestion=rng.choice(["blue", "green"]))
        for _ in range(60)
    ]
    group = summarise(rows, rows)
    for name, (low, high) in group["interval"].items():
        assert low <= group[name] <= high
        assert low < high
    assert set(group["interval"]) == {
        f"{side}{name}"
        for side in ("", "blind_")
        for name in "auroc judged_auroc ap pair_accuracy word_top1 correction_top1 recall false_alarms".split()
    }


def test_a_caption_whose_every_word_is_wrong_is_found():
    truth = WrongWords(spans=((0, 1),), correction=None)
    only = JudgedRow(caption=judged("b", [0.0]), negative=judged("a", [0.3]), truth=truth)
    assert only.top1()
    assert only.correction() is None
