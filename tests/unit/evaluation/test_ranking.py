import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.ranking import BinaryRanking, GradedRanking, auroc, average_precision, kendall_tau_c

labelled = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)
weighted = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=2, max_size=25)
graded = st.lists(st.tuples(st.integers(-8, 8), st.integers(1, 4)), min_size=2, max_size=40)


def test_auroc_by_hand():
    # Of the 2 x 2 pairs (4, 3), (4, 1), (2, 3), (2, 1) three are in order.
    assert auroc([4, 3, 2, 1], [True, False, True, False]) == 0.75


def test_a_tie_counts_half():
    assert auroc([1, 1], [True, False]) == 0.5


def test_average_precision_by_hand():
    # Precision at the positives: 1/1 and 2/3.
    assert average_precision([4, 3, 2, 1], [True, False, True, False]) == pytest.approx((1 + 2 / 3) / 2)


@given(labelled)
def test_auroc_and_ap_are_those_of_scikit_learn(pairs):
    scores, labels = [s for s, _ in pairs], [p for _, p in pairs]
    if any(labels) and not all(labels):
        assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    else:
        assert math.isnan(auroc(scores, labels))
    if any(labels):
        assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores))
    else:
        assert math.isnan(average_precision(scores, labels))


@given(weighted)
def test_a_weight_is_a_repetition(rows):
    scores, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    ranking = BinaryRanking.of(scores, labels)
    repeated = BinaryRanking.of(np.repeat(scores, weights), np.repeat(labels, weights))
    assert ranking.auroc(weights.astype(float)) == pytest.approx(repeated.auroc(), nan_ok=True)
    assert ranking.average_precision(weights.astype(float)) == pytest.approx(repeated.average_precision(), nan_ok=True)


def test_tau_c_by_hand():
    # Pairs: (1,1)-(2,2) and (1,1)-(3,2) concordant, (2,2)-(3,2) tied in grade. 2 * 2 / (9 * 1/2).
    assert kendall_tau_c([1, 2, 3], [1, 2, 2]) == pytest.approx(8 / 9)


@given(graded)
def test_tau_c_is_that_of_scipy(pairs):
    scores, grades = [s for s, _ in pairs], [g for _, g in pairs]
    if len(set(scores)) > 1 and len(set(grades)) > 1:
        assert kendall_tau_c(scores, grades) == pytest.approx(kendalltau(scores, grades, variant="c").statistic)
    else:
        assert math.isnan(kendall_tau_c(scores, grades))


@given(weighted)
def test_a_weight_is_a_repetition_for_tau_c_too(rows):
    scores, grades, weights = (np.array(column, int) for column in zip(*rows, strict=True))
    repeated = GradedRanking.of(np.repeat(scores, weights), np.repeat(grades, weights))
    assert GradedRanking.of(scores, grades).tau_c(weights.astype(float)) == pytest.approx(repeated.tau_c(), nan_ok=True)


@given(labelled.filter(lambda rows: len({p for _, p in rows}) == 2))
def test_a_score_turned_round_turns_the_metrics_round(pairs):
    scores, labels = np.array([s for s, _ in pairs]), [p for _, p in pairs]
    assert auroc(-scores, labels) == pytest.approx(1 - auroc(scores, labels))
    tau = kendall_tau_c(scores, labels)
    assert kendall_tau_c(-scores, labels) == pytest.approx(-tau, nan_ok=True)


def test_large_tau_c_agrees_with_scipy():
    rng = np.random.default_rng(0)
    grades = rng.integers(1, 5, 5000)
    scores = np.round(grades + rng.normal(0, 2, 5000), 2)
    assert kendall_tau_c(scores, grades) == pytest.approx(kendalltau(scores, grades, variant="c").statistic)


@pytest.mark.parametrize("ranking", [BinaryRanking, GradedRanking])
@pytest.mark.parametrize(("scores", "labels"), [([1.0, 2.0], [1]), ([math.nan], [1]), ([[1.0]], [[1]])])
def test_what_cannot_be_ranked_is_refused(ranking, scores, labels):
    with pytest.raises(ValueError, match="score"):
        ranking.of(scores, labels)


def test_nothing_has_no_rank():
    assert math.isnan(auroc([], []))
    assert math.isnan(average_precision([], []))
    assert math.isnan(kendall_tau_c([], []))
