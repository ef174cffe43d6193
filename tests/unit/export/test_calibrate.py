"""Calibration: the curve against known ones, the threshold against brute force, edits that are really wrong."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from export.calibrate import (
    FALSE_HITS,
    RIGHT_HITS,
    BoxScores,
    WordScores,
    best_box_scores,
    best_word_errors,
    box_scores,
    fit_caption_error,
    fit_grounding,
    fit_logistic,
    fit_match,
    fit_neighbours,
    fit_word_error,
    overlap,
    replace_a_word,
    scores_among_neighbours,
    threshold_within,
    word_scores,
)
from export.task_quality import with_edits
from runtime.bundle import Calibration, GroundingFit, Logistic, MatchFit
from runtime.encoder import Encoder
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.grounding import method_of
from runtime.proofread import proofread
from runtime.word_judges import method_of as word_method_of
from runtime.word_judges import methods_of
from tests.unit.runtime.test_encoder import picture
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


SCORES = st.lists(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0, 4.0]), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(SCORES, SCORES, st.sampled_from([0.0, 0.02, 0.1, 0.4]))
def test_the_threshold_finds_most_within_its_false_alarms(clean: list[float], wrong: list[float], most: float):
    def rates(cut: float) -> tuple[float, float]:
        return float(np.mean(np.array(clean) >= cut)), float(np.mean(np.array(wrong) >= cut))

    alarms, recall = rates(threshold_within(np.array(clean), np.array(wrong), most_false_alarms=most))
    tried = [rates(cut) for cut in (-9.0, -2.0, -0.5, 0.2, 1.0, 3.0, 9.0)]
    assert alarms <= most
    assert recall == max(found for others, found in tried if others <= most)
    assert alarms == min(others for others, found in tried if found == recall)


def test_the_threshold_by_hand():
    clean, wrong = np.arange(100.0), np.array([50.0, 97.5, 98.5, 200.0])
    # 98 and 99 may be called (2 %); the wrong word of 98.5 is then above, that of 97.5 too, and nothing between them
    assert threshold_within(clean, wrong, most_false_alarms=0.02) == pytest.approx(97.25)
    # with no more than one, 98.5 is lost only above it
    assert threshold_within(clean, wrong, most_false_alarms=0.01) == pytest.approx(98.25)
    # told apart without any false alarm: none is raised
    assert threshold_within(clean, wrong[3:], most_false_alarms=0.02) == pytest.approx(149.5)


def test_word_errors_are_for_the_share_of_wrong_words_that_is_stated():
    rng = np.random.default_rng(0)
    is_wrong = rng.random(40_000) < 0.15
    raw = rng.normal(0, 1, 40_000) + 2 * is_wrong
    scores = WordScores(raw=raw, sample=np.arange(40_000), is_wrong=is_wrong, is_clean=~is_wrong)
    fields = fit_word_error(scores, wrong_words=0.02, method="word_errors")
    assert fields is not None
    # By Bayes: log-odds are 2 x - 2 (the ratio of the two densities) and the logit of the share of wrong words.
    assert fields["word_error"].scale == pytest.approx(2, abs=0.1)
    assert fields["word_error"].bias == pytest.approx(-2 + math.log(0.02 / 0.98), abs=0.1)
    # 2 % of a normal distribution lie above 2.054
    assert fields["word_error_threshold"] == pytest.approx(fields["word_error"].probability(2.054), rel=0.1)
    report = fields["word_error_fit"]
    assert report.false_alarms == pytest.approx(0.02, abs=1e-4)
    assert report.recall == pytest.approx(0.478, abs=0.02)  # of a normal distribution around 2
    assert (report.prior, report.right_words + report.wrong_words) == (0.02, 40_000)
    assert report.seen == pytest.approx(0.15, abs=0.01)


def test_words_of_right_and_edited_captions_are_scored():
    def picture(colour: str) -> Image.Image:
        return Image.new("RGB", (32, 32), PALETTE[colour])

    samples = [Sample(image=picture(colour), caption=f"a {colour} square") for colour in ("red", "blue")]
    encoder = fake_encoder(proof_reader=True)
    for method in methods_of(encoder):
        found = word_scores(encoder, samples, ["a green square", "a blue and green square"], method=method)
        assert found.is_wrong.tolist() == [False, False, True, False, False, False]  # "a" is never judged
        assert found.is_clean.tolist() == [True, True, False, False, True, True]
        assert found.sample.tolist() == [0, 0, 0, 0, 1, 1]
        assert found.raw[2] == max(found.raw)


def test_a_proof_reader_that_never_looks_is_not_the_one_that_is_served():
    encoder = fake_encoder(proof_reader=True)
    colours = list(PALETTE)[:6]
    samples = [Sample(image=Image.new("RGB", (32, 32), PALETTE[one]), caption=f"a {one} square") for one in colours * 3]
    edited = ["a square square"] * len(samples)  # strange in any picture
    inner = encoder.engines["proof_reader"]

    class Reader:
        provider = "fake"

        def run(self, inputs, outputs=None):
            found = inner.run(inputs, outputs)
            is_strange = inputs["ids"] == np.roll(inputs["ids"], -1, axis=1)
            return {**found, "word_error": np.where(is_strange, 5.0, -5.0).astype(np.float32)}

    encoder.engines["proof_reader"] = Reader()
    fields, _ = best_word_errors(encoder, samples, edited, wrong_words=0.02)
    fit = fields["word_error_fit"]
    assert fit.tried["word_errors"].ap == pytest.approx(fit.tried["word_errors"].blind_ap)
    assert fit.tried["word_errors"].ap > 0.9
    assert fit.method == "masked_words"


def test_pairs_that_are_given_an_edited_caption_keep_all_they_had():
    blank = Image.new("RGB", (32, 32))
    whole = Sample(
        image=blank,
        caption="a red square",
        edited="a blue square",
        phrases=(("red square", (0, 0, 8, 8)),),
        absent=("green ball",),
        redrawn=lambda count: [blank] * count,
    )
    bare = Sample(image=blank, caption="a green ball")
    kept, mended = with_edits([whole, bare], seed=0)
    assert kept == whole
    assert mended.edited is not None
    assert mended.edited != bare.caption


@pytest.mark.parametrize("is_bad", [False, True])
def test_the_way_that_tells_wrong_words_best_is_the_one_that_is_served(is_bad: bool):
    encoder = fake_encoder(proof_reader=True)
    colours = list(PALETTE)[:6]
    samples = [Sample(image=Image.new("RGB", (32, 32), PALETTE[one]), caption=f"a {one} square") for one in colours * 3]
    edited = [f"a {other} square" for other in [*colours[1:], colours[0]] * 3]
    if is_bad:  # it calls every colour that is right wrong, and half of the wrong ones right
        inner = encoder.engines["proof_reader"]

        class Young:
            provider = "fake"

            def run(self, inputs, outputs=None):
                found = inner.run(inputs, outputs)
                noise = (inputs["ids"] % 2 * 12).astype(np.float32)
                return {**found, "word_error": 0.5 * found["word_error"] + noise}

        encoder.engines["proof_reader"] = Young()
    found = best_word_errors(encoder, samples, edited, wrong_words=0.02)
    assert found is not None
    fields, _ = found
    fit = fields["word_error_fit"]
    assert set(fit.tried) >= {"masked_words"}
    assert fit.method == ("masked_words" if is_bad else "word_errors")
    assert fit.tried[fit.method].ap > 0.99
    assert is_bad == (fit.tried["word_errors"].ap < 0.9)
    assert all(told.blind_ap < told.ap for told in fit.tried.values())
    assert word_method_of(encoder) == "word_errors", "nothing is fitted yet: the cheapest"
    served = Encoder(
        encoder.manifest.model_copy(update={"calibration": Calibration(**fields)}),
        encoder.text_transform,
        encoder.engines,
    )
    assert word_method_of(served) == fit.method
    image = served.embed_images([samples[0].image], to_proofread=True)
    proof = proofread(served, image, edited[0])
    assert proof.method == fit.method
    assert [word.word for word in proof.words if word.is_error] == [edited[0].split()[1]]
    assert proof.corrected_text == samples[0].caption


def captions_scored(count: int, *, says: float) -> tuple[WordScores, np.ndarray, np.ndarray]:
    """Two words of each caption, one of which is wrong in the edited one, and matches; `says`: how much words tell."""
    rng = np.random.default_rng(7)
    raw = rng.normal(0, 1, (count, 2, 2))  # sample, clean or edited, word
    raw[:, 1, 1] += says
    is_wrong = np.zeros((count, 2, 2), np.bool_)
    is_wrong[:, 1, 1] = True
    is_clean = np.zeros((count, 2, 2), np.bool_)
    is_clean[:, 0] = True
    sample = np.repeat(np.arange(count), 4)
    scores = WordScores(raw=raw.ravel(), sample=sample, is_wrong=is_wrong.ravel(), is_clean=is_clean.ravel())
    return scores, rng.normal(1, 1, count), rng.normal(-1, 1, count)


def test_captions_are_judged_by_their_worst_word_and_their_match_together():
    scores, right, wrong = captions_scored(4000, says=3.0)
    fit = fit_caption_error(scores, right=right, wrong=wrong)
    assert fit is not None
    assert fit.match == pytest.approx(-2, abs=0.2)  # log-odds of normal scores two deviations apart
    assert fit.word > 1
    assert fit.ap["both"] > max(fit.ap["word"], fit.ap["match"])
    assert (fit.right, fit.wrong) == (4000, 4000)
    assert fit.false_alarms <= fit.most_false_alarms == 0.02
    worst = scores.raw.reshape(4000, 2, 2).max(axis=2)
    said = np.array([[fit.probability(word=w, match=m) for w, m in zip(worst[:, at], by, strict=True)]
                     for at, by in enumerate((right, wrong))])  # fmt: skip
    assert (said[1] >= fit.threshold).mean() == pytest.approx(fit.recall)
    # what was said comes true when a twentieth of the captions is wrong: of those said to be wrong in p cases, p are
    weights, is_wrong = np.repeat([0.95, 0.05], 4000), np.repeat([False, True], 4000)
    likely = said.ravel() > 0.5
    assert np.average(said.ravel()[likely], weights=weights[likely]) == pytest.approx(
        np.average(is_wrong[likely], weights=weights[likely]), abs=0.05
    )


def test_words_that_say_nothing_leave_captions_to_their_match():
    scores, right, wrong = captions_scored(400, says=-6.0)
    fit = fit_caption_error(scores, right=right, wrong=wrong)
    assert fit is not None
    assert fit.word == 0
    assert fit.match < 0
    assert fit_caption_error(scores, right=wrong, wrong=right) is None
    assert fit_caption_error(captions_scored(5, says=3.0)[0], right=right[:5], wrong=wrong[:5]) is None


def test_hits_that_differ_in_one_thing_are_scored_as_they_would_be_served():
    encoder = fake_encoder()
    colours = sorted(PALETTE)[:6]
    others = [[picture(top_left=colour), picture(bottom_right=colour)] for colour in [*colours[1:], colours[0]]]
    samples = [
        Sample(
            image=picture(top_left=colour), caption=f"{colour} square", redrawn=lambda count, at=at: others[at][:count]
        )
        for at, colour in enumerate(colours)
    ]
    found = scores_among_neighbours(encoder, samples, [0, 3])
    for best, own in zip(found, (0, 3), strict=True):
        searched = [one.image for at, one in enumerate(samples) if at != own] + others[own]
        images, text = encoder.embed_images(searched), encoder.embed_texts([samples[own].caption])
        first = np.argsort(-(images.embedding @ text.embedding[0]), kind="stable")[:10]
        pairs = encoder.match_scores(text[np.zeros(len(first), np.intp)], images[first])
        assert best == pytest.approx(pairs.max(), abs=1e-5)


def test_what_a_threshold_is_worth_among_neighbours_by_hand():
    right, neighbours = np.arange(10.0), np.arange(-5.0, 5.0)
    fit = fit_neighbours(Logistic(scale=2.0, bias=1.0), right, neighbours, 2.5)
    assert fit.queries == 10
    assert fit.false_hits == 0.2  # 3 and 4
    assert fit.min_match == pytest.approx(Logistic(scale=2.0, bias=1.0).probability(3.5))
    assert fit.recall == 0.6  # 4 to 9


def test_a_manifest_says_what_is_known_of_neighbours_and_older_ones_say_nothing():
    raw, is_right = np.arange(-20.0, 20.0), np.arange(40) >= 20
    plain = fit_match(raw, is_right, np.arange(-30.0, -10.0))
    near = fit_match(raw, is_right, np.arange(-30.0, -10.0), np.arange(-10.0, 10.0))
    assert plain is not None
    assert near is not None
    assert plain["match_fit"].neighbours is None
    assert near["min_match"] == plain["min_match"] < near["match_fit"].neighbours.min_match
    older = plain["match_fit"].model_dump(exclude={"neighbours"})
    assert MatchFit(**older) == plain["match_fit"]


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


def test_matches_are_probabilities_of_the_stated_prior():
    """Scores of two normal kinds, whose log-odds are known, drawn at another prior than the one that is stated."""
    rng = np.random.default_rng(5)
    right, wrong = rng.normal(1.0, 1.0, 6_000), rng.normal(-1.0, 1.0, 18_000)
    raw, is_right = np.concatenate([right, wrong]), np.arange(24_000) < 6_000
    found = fit_match(raw, is_right, rng.normal(0.0, 1.0, 2_000))
    assert found is not None
    for score in (-1.0, 0.0, 1.0, 2.0):
        odds = np.exp(2 * score) * RIGHT_HITS / (1 - RIGHT_HITS)  # exp(-(s-1)²/2) / exp(-(s+1)²/2) = exp(2s)
        assert found["match"].probability(score) == pytest.approx(odds / (1 + odds), abs=0.03)
    fit = found["match_fit"]
    assert (fit.prior, fit.seen, fit.right, fit.wrong) == (RIGHT_HITS, 0.25, 6_000, 18_000)
    assert fit.false_hits <= FALSE_HITS
    assert fit.false_hits == pytest.approx(FALSE_HITS, abs=0.01)
    assert fit.recall == pytest.approx(0.39, abs=0.03)  # P(N(1, 1) > 1.28)


def test_without_queries_that_nothing_satisfies_there_is_no_least_match():
    raw, is_right = np.arange(40.0), np.arange(40) >= 20
    found = fit_match(raw, is_right, None)
    assert found is not None
    assert set(found) == {"match"}
    assert fit_match(np.zeros(0), np.zeros(0, np.bool_), np.zeros(3)) is None


def test_the_threshold_of_boxes_refuses_what_is_not_there():
    rng = np.random.default_rng(0)
    is_absent = np.arange(400) % 2 == 0
    raw = rng.normal(0, 1, 400) + 3 * ~is_absent
    raw[:4] = -np.inf  # two of each kind without any box
    found = fit_grounding(BoxScores(raw=raw, is_right=~is_absent & (raw > 1), is_absent=is_absent, method="regions"))
    assert found is not None
    fit, cut = found["grounding_fit"], found["grounding_threshold"]
    assert (fit.method, fit.present, fit.absent) == ("regions", 200, 200)
    assert fit.false_alarms <= fit.most_false_alarms == 0.1
    given = np.array([np.isfinite(one) and found["grounding"].probability(one) >= cut for one in raw])
    assert given[is_absent].mean() == pytest.approx(fit.false_alarms)
    assert given[~is_absent].mean() == pytest.approx(fit.recall)
    assert fit.recall > 0.9


def test_no_threshold_of_boxes_without_absent_phrases_or_with_scores_that_say_nothing():
    raw, none = np.linspace(0, 1, 40), np.zeros(40, np.bool_)
    assert fit_grounding(BoxScores(raw=raw, is_right=raw > 0.5, is_absent=none, method="regions")) is None
    wrong = BoxScores(raw=raw, is_right=raw < 0.5, is_absent=raw > 0.5, method="regions")
    assert fit_grounding(wrong) is None


def test_boxes_of_what_is_and_is_not_there_are_scored_by_each_method():
    shown = picture(top_left="red", bottom_right="blue")
    sample = Sample(image=shown, caption="x", phrases=(("red", (0.0, 0.0, 0.5, 0.5)),), absent=("green",))
    for encoder, method in ((fake_encoder(), "relevance"), (fake_encoder(fusion=False), "shapley")):
        scores = box_scores(encoder, [sample], method=method)
        assert scores.method == method
        assert scores.is_absent.tolist() == [True, False]
        assert scores.is_right.tolist() == [False, True]


def test_the_method_that_puts_most_boxes_right_is_the_one_that_is_served():
    encoder = fake_encoder(regions=True, fusion=True)
    shown = [picture(**{corner: "red"}) for corner in ("top_left", "top_right", "bottom_left", "bottom_right")]
    boxes = [(0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0)]
    samples = [
        Sample(image=image, caption="x", phrases=(("red", box),), absent=("blue",))
        for image, box in zip(shown, boxes, strict=True)
    ]
    both = best_box_scores(encoder, samples)
    assert both is not None
    assert both.method == "regions"  # as good, and cheaper where they are stored

    inner = encoder.engines["image_encoder"]

    class BadBoxes:
        provider = "fake"

        def run(self, inputs, outputs=None):
            found = inner.run(inputs, outputs)
            return {**found, "region_boxes": np.full_like(found["region_boxes"], 0.4)}

    encoder.engines["image_encoder"] = BadBoxes()
    maps = best_box_scores(encoder, samples)
    assert maps is not None
    assert maps.method == "relevance"
    fit = GroundingFit(method="relevance", present=4, absent=4, most_false_alarms=0.1, false_alarms=0.0, recall=1.0)
    calibration = encoder.manifest.calibration.model_copy(update={"grounding_fit": fit})
    manifest = encoder.manifest.model_copy(update={"calibration": calibration})
    assert method_of(manifest) == "relevance"
    assert method_of(encoder.manifest) == "regions"


def test_a_bundle_that_cannot_ground_or_has_nothing_to_find_has_no_scores():
    assert best_box_scores(fake_encoder(), []) is None
