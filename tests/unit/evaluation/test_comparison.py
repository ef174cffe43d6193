"""Two recipes on the same items, against definitions written out."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.comparison import compare, samples_of
from evaluation.items import Item, ItemWord
from runtime.errors import DataError


def answers(rng, *, skill, pictures=60):
    """A model's answers on pictures with one or two rows each."""
    items = []
    for picture in range(pictures):
        for row in range(1 + picture % 2):
            words = [
                ItemWord(
                    text="w",
                    is_wrong=at == 0,
                    error=float(rng.normal(skill * (at == 0))),
                    blind_error=None if picture % 5 == 0 else float(rng.normal()),
                    can_be_wrong=at < 2,
                )
                for at in range(4)
            ]
            name = f"{picture}.png"
            items.append(
                Item(
                    group="hard_negatives",
                    picture=name,
                    asked=(str(row),),
                    type="ab"[row],
                    hits={
                        "accuracy": bool(rng.random() < 0.5 + skill / 4),
                        "blind_accuracy": None if picture % 5 == 0 else bool(rng.random() < 0.5),
                    },
                )
            )
            items.append(
                Item(group="proofreading", picture=name, asked=(str(row),), type="ab"[row], hits={}, words=words)
            )
    return items


def test_numbers_of_a_draw_are_those_of_the_items_repeated():
    rng = np.random.default_rng(0)
    items = answers(rng, skill=1.0)
    (sample,) = samples_of([items])
    weights = rng.integers(0, 3, 60)
    repeated = [item for item in items for _ in range(weights[int(item.picture.removesuffix(".png"))])]
    numbers = sample.numbers(weights.astype(float))

    def rate(name, of=lambda item: True):
        hits = [item.hits[name] for item in repeated if item.group == "hard_negatives" and of(item)]
        return np.mean([hit for hit in hits if hit is not None])

    assert numbers["hard_negatives.accuracy"] == pytest.approx(rate("accuracy"))
    assert numbers["hard_negatives.blind_accuracy"] == pytest.approx(rate("blind_accuracy"))
    assert numbers["hard_negatives.accuracy[b]"] == pytest.approx(rate("accuracy", lambda item: item.type == "b"))
    words = [word for item in repeated for word in item.words]
    labels, errors = [word.is_wrong for word in words], [word.error for word in words]
    assert numbers["proofreading.auroc"] == pytest.approx(roc_auc_score(labels, errors))
    assert numbers["proofreading.ap"] == pytest.approx(average_precision_score(labels, errors))
    seen = [word for word in words if word.blind_error is not None]
    blind = roc_auc_score([word.is_wrong for word in seen], [word.blind_error for word in seen])
    assert numbers["proofreading.blind_auroc"] == pytest.approx(blind)
    for name, of in (("", "ab"), ("[b]", "b")):
        some = [word for item in repeated if item.type in of for word in item.words if word.can_be_wrong]
        expected = roc_auc_score([word.is_wrong for word in some], [word.error for word in some])
        assert numbers[f"proofreading.judged_auroc{name}"] == pytest.approx(expected)
    assert numbers["proofreading.auroc_above_blind"] == pytest.approx(numbers["proofreading.auroc"] - blind)


def test_a_model_beside_itself_is_no_further_on():
    items = answers(np.random.default_rng(1), skill=1.0)
    samples = samples_of([items, items])
    for name, found in compare(samples[:1], samples[1:], resamples=50).items():
        assert found["difference"] == 0, name
        assert found["interval"] == [0, 0]
        assert found["recipe_sd"] is None


def test_pairing_makes_the_interval_narrow():
    rng = np.random.default_rng(2)
    baseline = answers(rng, skill=1.0, pictures=400)
    recipe = [
        replace(item, hits={**item.hits, "accuracy": True}) if item.hits and at % 40 == 0 else item
        for at, item in enumerate(baseline)
    ]
    ours, theirs = ([sample] for sample in samples_of([recipe, baseline]))
    found = compare(ours, theirs, resamples=400)["hard_negatives.accuracy"]
    low, high = found["interval"]
    assert 0 < found["difference"] < 0.03
    assert 0 <= low < found["difference"] < high
    assert high - low < 0.03  # unpaired, the two rates alone would give about 0.09


def test_the_spread_of_seeds_widens_the_interval():
    gaps = [0.0, 0.2, 0.4]
    models = {"recipe": [], "baseline": []}
    for gap in gaps:
        for name, share in (("baseline", 0.3), ("recipe", 0.3 + gap)):
            models[name].append(
                [
                    Item(group="g", picture=str(at), asked=(), hits={"accuracy": at % 100 < 100 * share})
                    for at in range(2000)
                ]
            )
    samples = samples_of([*models["recipe"], *models["baseline"]])
    found = compare(samples[:3], samples[3:], resamples=600)["g.accuracy"]
    assert found["difference"] == pytest.approx(0.2)
    assert found["baseline_sd"] == pytest.approx(0)
    assert found["recipe_sd"] == pytest.approx(0.2)
    assert found["seeds_ahead"] == 2
    # Of 27 draws of three seeds one has a mean of 0 and one of 0.4: their share is 3.7 % each, more than the tail.
    assert found["interval"][0] == pytest.approx(0, abs=0.02)
    assert found["interval"][1] == pytest.approx(0.4, abs=0.02)


def test_models_that_answered_other_items_are_refused():
    items = answers(np.random.default_rng(3), skill=1.0, pictures=4)
    with pytest.raises(DataError, match="same items"):
        samples_of([items, items[1:]])
