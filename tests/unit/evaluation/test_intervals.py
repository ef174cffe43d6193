import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.intervals import Outcomes, estimate, estimate_rates, weighted_median, weighted_rate


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 3)), min_size=1, max_size=20))
def test_the_weighted_median_is_the_median_of_the_repeated_values(pairs):
    pairs.sort()
    values, weights = np.array([v for v, _ in pairs]), np.array([w for _, w in pairs], float)
    repeated = np.repeat(values, weights.astype(int))
    if repeated.size:
        assert weighted_median(values, weights) == np.median(repeated)
    else:
        assert math.isnan(weighted_median(values, weights))


def test_a_rate_counts_each_hit_by_its_weight():
    assert weighted_rate(np.array([True, False, True]), np.array([1.0, 2.0, 1.0])) == 0.5
    assert math.isnan(weighted_rate(np.array([True]), np.array([0.0])))


def test_the_interval_of_a_rate_is_near_the_textbook_one():
    hits = np.arange(400) % 4 == 0
    found = estimate_rates(Outcomes(hits={"rate": hits}))
    low, high = found["interval"]["rate"]
    half = 1.96 * math.sqrt(0.25 * 0.75 / 400)
    assert found["rate"] == 0.25
    assert found["count"] == 400
    assert low == pytest.approx(0.25 - half, abs=0.01)
    assert high == pytest.approx(0.25 + half, abs=0.01)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    hits = np.arange(37) % 3 == 0
    assert estimate_rates(Outcomes(hits={"rate": hits}), seed=1) == estimate_rates(
        Outcomes(hits={"rate": hits}), seed=1
    )
    assert estimate_rates(Outcomes(hits={"rate": hits}), seed=1) != estimate_rates(
        Outcomes(hits={"rate": hits}), seed=2
    )


def test_groups_are_resampled_whole():
    # Ten groups of a hundred equal observations know no more than ten observations do.
    values = np.arange(10) % 2 == 0

    def of_groups(weights):
        return {"rate": weighted_rate(np.repeat(values, 100), np.repeat(weights, 100))}

    low, high = estimate(of_groups, num_groups=10)["interval"]["rate"]
    assert high - low > 0.4


def test_what_is_not_defined_is_none():
    found = estimate(lambda weights: {"nothing": math.nan}, num_groups=3)
    assert found == {"nothing": None, "interval": {"nothing": None}}


def test_draws_without_a_value_are_left_out():
    # The rate is over the second row alone; a third of the draws do not have it.
    found = estimate(lambda w: {"rate": weighted_rate(np.array([0, 1.0]), w * np.array([0, 1]))}, num_groups=2)
    assert found["interval"]["rate"] == [1.0, 1.0]


def test_nothing_at_all_is_no_error():
    assert estimate_rates(Outcomes(hits={"rate": np.zeros(0, bool)})) == {
        "count": 0,
        "rate": None,
        "interval": {"rate": None},
    }
