import itertools
import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from evaluation import hard_negatives, image_pairs, judgements
from evaluation.hard_negatives import PairScores
from evaluation.image_pairs import BlindScores, QuadScores


def pairs(caption, negative):
    return PairScores(caption=np.array(caption, float), negative=np.array(negative, float))


def test_hard_negatives_by_hand():
    found = hard_negatives.compare(
        judge=pairs([2, 2, 0, 1], [1, 2, 1, 0]),  # hit, tie, miss, hit
        dual=pairs([1, 1, 1, 1], [0, 0, 0, 0]),
        blind=pairs([1, math.nan, 0, 0], [0, math.nan, 1, 1]),
        blind_dual=pairs([1, math.nan, 1, 0], [0, math.nan, 0, 1]),
    )
    group = hard_negatives.summarise(found, ["colour", "colour", "colour", "count"])
    assert found.at(0) == {
        "accuracy": True,
        "dual_accuracy": True,
        "blind_accuracy": True,
        "blind_dual_accuracy": True,
    }
    assert found.at(1) == {
        "accuracy": False,
        "dual_accuracy": True,
        "blind_accuracy": None,
        "blind_dual_accuracy": None,
    }
    assert group["count"] == 4
    assert group["accuracy"] == 0.5  # a tie is a miss
    assert group["dual_accuracy"] == 1
    assert group["blind_accuracy"] == pytest.approx(1 / 3)  # of the three that had another picture
    assert group["blind_dual_accuracy"] == pytest.approx(2 / 3)
    assert group["by_type"]["colour"]["count"] == 3
    assert group["by_type"]["colour"]["accuracy"] == pytest.approx(1 / 3)
    assert group["by_type"]["colour"]["blind_accuracy"] == 0.5
    assert group["by_type"]["count"]["accuracy"] == 1
    assert group["macro_accuracy"] == pytest.approx((1 / 3 + 1) / 2)
    assert set(group["interval"]) == set(found.hits)


def test_a_judge_who_sees_no_difference_is_never_right():
    same = pairs(np.ones(10), np.ones(10))
    found = hard_negatives.compare(judge=same, dual=same, blind=same, blind_dual=same)
    group = hard_negatives.summarise(found, ["x"] * 10)
    assert group["accuracy"] == group["blind_accuracy"] == 0


def quad(rows):
    columns = np.array(rows, float).T
    return QuadScores(
        caption_image=columns[0],
        caption_negative_image=columns[1],
        negative_caption_image=columns[2],
        negative_caption_negative_image=columns[3],
    )


def test_winoground_scores_by_brute_force():
    # Every order of the four scores; the reference is the wording of the paper.
    orders = list(itertools.product(range(3), repeat=4))
    scores = quad(orders)
    for at, (c0i0, c0i1, c1i0, c1i1) in enumerate(orders):
        text = c0i0 > c1i0 and c1i1 > c0i1
        image = c0i0 > c0i1 and c1i1 > c1i0
        assert scores.text()[at] == text
        assert scores.image()[at] == image
        assert scores.group()[at] == (text and image)
        assert scores.accuracy()[at] == (c0i0 > c0i1)


def test_image_pairs_at_chance():
    rng = np.random.default_rng(0)
    random = quad(rng.normal(size=(20_000, 4)))
    blind = BlindScores(image=rng.normal(size=20_000), negative_image=rng.normal(size=20_000))
    found = image_pairs.compare(judge=random, dual=random, blind=blind, blind_dual=blind)
    group = image_pairs.summarise(found, ["x"] * 20_000)
    for name, chance in {
        "accuracy": 1 / 2,
        "blind_accuracy": 1 / 2,
        "text": 1 / 4,
        "image": 1 / 4,
        "group": 1 / 6,
    }.items():
        assert group[name] == pytest.approx(chance, abs=0.015)


def test_image_pairs_by_hand():
    judge = quad([[2, 1, 1, 2], [1, 2, 0, 3]])
    blind = BlindScores(image=np.array([1, math.nan]), negative_image=np.array([0, math.nan]))
    found = image_pairs.compare(judge=judge, dual=judge, blind=blind, blind_dual=blind)
    group = image_pairs.summarise(found, ["colour", "place"])
    assert found.at(1)["blind_accuracy"] is None
    assert group["count"] == 2
    assert group["accuracy"] == 0.5
    assert group["text"] == 1.0
    assert group["image"] == group["group"] == 0.5
    assert group["blind_accuracy"] == 1.0
    assert group["by_type"]["place"]["accuracy"] == 0


def test_judgements_are_counted_one_by_one():
    grades = [(1, 1, 2), (3,), (4, 4)]
    scores = np.array([0.2, 0.1, 0.9])
    blind = np.array([0.3, math.nan, 0.1])
    group = judgements.summarise(judge=scores, dual=-scores, blind=blind, grades=grades)
    flat = kendalltau([0.2, 0.2, 0.2, 0.1, 0.9, 0.9], [1, 1, 2, 3, 4, 4], variant="c").statistic
    assert group["tau_c"] == pytest.approx(flat)
    assert group["dual_tau_c"] == pytest.approx(-flat)
    of_two = kendalltau([0.3, 0.3, 0.3, 0.1, 0.1], [1, 1, 2, 4, 4], variant="c").statistic
    assert group["blind_tau_c"] == pytest.approx(of_two)
    assert (group["count"], group["count_judgements"]) == (3, 6)
    low, high = group["interval"]["tau_c"]
    assert low <= group["tau_c"] <= high
