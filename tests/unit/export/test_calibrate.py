"""Calibration: the curve against known ones, the threshold against brute force, edits that are really wrong."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from export.calibrate import best_threshold, fit_logistic, overlap, replace_a_word
from training.data.source import Sample


def test_the_curve_that_made_the_data_is_found():
    rng = np.random.default_rng(0)
    scores = rng.normal(2.0, 3.0, 20_000)
    is_true = rng.random(20_000) < 1 / (1 + np.exp(-(0.8 * scores - 1.5)))
    fitted = fit_logistic(scores, is_true)
    assert fitted is not None
    assert fitted.scale == pytest.approx(0.8, abs=0.05)
    assert fitted.bias == pytest.approx(-1.5, abs=0.1)


def test_scores_that_separate_give_a_finite_curve():
    scores = np.concatenate([np.linspace(-100, -90, 20), np.linspace(90, 100, 20)])
    fitted = fit_logistic(scores, scores > 0)
    assert fitted is not None
    assert math.isfinite(fitted.scale)
    assert fitted.probability(95) > 0.95
    assert fitted.probability(-95) < 0.05


def test_too_few_of_a_kind_and_scores_that_say_nothing():
    scores = np.arange(40.0)
    assert fit_logistic(scores, scores < 5) is None
    assert fit_logistic(scores, scores < 20) is None
    assert fit_logistic(scores, scores >= 20) is not None
    assert fit_logistic(np.zeros(0), np.zeros(0, np.bool_)) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98]), st.booleans()), min_size=1, max_size=30
    ).filter(lambda pairs: any(truth for _, truth in pairs))
)
def test_the_threshold_has_the_greatest_f1(pairs: list[tuple[float, bool]]):
    probabilities = np.array([probability for probability, _ in pairs])
    is_true = np.array([truth for _, truth in pairs])

    def f1(threshold: float) -> float:
        called = probabilities >= threshold
        return float(2 * (called & is_true).sum() / max(1, called.sum() + is_true.sum()))

    best = max(f1(threshold) for threshold in (0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99))
    assert f1(best_threshold(probabilities, is_true)) == pytest.approx(best)


def sample(caption: str) -> Sample:
    return Sample(image=Image.new("RGB", (4, 4)), caption=caption)


def test_a_replaced_word_is_one_word_and_another():
    samples = [sample("a red cat sits, quietly"), sample("the blue dogs run")]
    rng = np.random.default_rng(0)
    for _ in range(30):
        edited = replace_a_word(samples[0].caption, samples, rng)
        before, after = samples[0].caption.split(), edited.split()
        assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


def test_a_caption_without_words_or_without_others_stays():
    rng = np.random.default_rng(0)
    assert replace_a_word("...", [sample("x")], rng) == "..."
    assert replace_a_word("same same", [sample("same")], rng) == "same same"


def test_overlap_of_boxes():
    assert overlap((0, 0, 1, 1), (0, 0, 1, 1)) == 1.0
    assert overlap((0, 0, 0.5, 1), (0.5, 0, 1, 1)) == 0.0
    assert overlap((0, 0, 0.5, 1), (0.25, 0, 0.75, 1)) == pytest.approx(1 / 3)
