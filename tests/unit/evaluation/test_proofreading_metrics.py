import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.edits import WrongWords
from evaluation.proofreading import JudgedRow, JudgedWord, summarise


def judged(text, errors, suggestions=()):
    words, at = [], 0
    for number, (word, error) in enumerate(zip(text.split(), errors, strict=True)):
        start = text.index(word, at)
        at = start + len(word)
        words.append(JudgedWord(span=(start, at), error=error, suggestion=dict(suggestions).get(number)))
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
    assert group["correction_top1"] == 0.5  # casing does not matter
    positives, negatives = [0.9, 0.5, 0.6], [0, 0.1, 0.2, 0, 0.2, 0, 0.1, 0.8, 0, 0.7, 0, 0.1, 0.1, 0, 0.6]
    labels = [1] * 3 + [0] * 15
    assert group["auroc"] == pytest.approx(roc_auc_score(labels, positives + negatives))
    assert group["ap"] == pytest.approx(average_precision_score(labels, positives + negatives))
    assert group["blind_word_top1"] == 0.5  # of the two rows that had another picture
    assert group["blind_correction_top1"] == 0
    assert group["blind_auroc"] == pytest.approx(0.75)


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
        f"{side}{name}" for side in ("", "blind_") for name in ("auroc", "ap", "word_top1", "correction_top1")
    }


def test_a_caption_whose_every_word_is_wrong_is_found():
    truth = WrongWords(spans=((0, 1),), correction=None)
    only = JudgedRow(caption=judged("b", [0.0]), negative=judged("a", [0.3]), truth=truth)
    assert only.top1()
    assert only.correction() is None
