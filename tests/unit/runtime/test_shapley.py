"""Sampled interactions against games small enough to enumerate, and the pictures that they find."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest
from PIL import Image

from runtime.engines.fake import PALETTE, fake_encoder
from runtime.grounding import ground, method_of
from runtime.grounding.shapley import fit_players, ground_by_interaction
from tests.unit.runtime.test_encoder import picture


def enumerated(value, players: int) -> np.ndarray:
    """Shapley values by their definition."""
    found = np.zeros(players)
    for one in range(players):
        others = [other for other in range(players) if other != one]
        for size in range(players):
            weight = factorial(size) * factorial(players - size - 1) / factorial(players)
            for chosen in combinations(others, size):
                found[one] += weight * (value({*chosen, one}) - value({*chosen}))
    return found


def game_of(value):
    return lambda coalitions: np.array([[value({*np.flatnonzero(row)})] for row in coalitions], np.float64)


def gloves(chosen: set) -> float:
    """Players 0 and 1 own left gloves, 2 a right one, 3 adds a half of its own: pairs are worth 1."""
    return min(len(chosen & {0, 1}), len(chosen & {2})) + 0.5 * (3 in chosen) + 0.1 * len(chosen) ** 2


def test_with_every_coalition_the_fit_is_the_shapley_values() -> None:
    exact = enumerated(gloves, 4)
    found = fit_players(game_of(gloves), 4, passes=16, rng=np.random.default_rng(0), ridge=0.0)
    np.testing.assert_allclose(found[:, 0], exact, atol=1e-9)
    assert found.sum() == pytest.approx(gloves({0, 1, 2, 3}) - gloves(set()))


def test_sampled_values_come_near_and_always_sum_to_the_whole() -> None:
    def value(chosen: set) -> float:
        return float({3, 4} <= chosen) + 0.3 * float(len(chosen & {7, 8, 9}) >= 2)

    exact = enumerated(value, 10)
    found = fit_players(game_of(value), 10, passes=400, rng=np.random.default_rng(1), ridge=0.02)
    np.testing.assert_allclose(found[:, 0], exact, atol=0.06)
    assert found.sum() == pytest.approx(1.3)


def test_the_patches_that_count_only_together_are_found() -> None:
    thing = {18, 19, 26, 27}  # of 8 by 8
    found = fit_players(game_of(lambda chosen: float(thing <= chosen)), 64, passes=512, rng=np.random.default_rng(0))
    assert {*np.argsort(-found[:, 0])[:4]} == thing


def test_what_the_phrase_adds_nothing_to_has_no_interaction() -> None:
    """Where the game is the same with every patch, or linear with equal parts for all, no patch stands out."""
    flat = fit_players(
        lambda coalitions: np.full((len(coalitions), 1), 0.4), 64, passes=100, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(flat, 0, atol=1e-12)
    linear = fit_players(
        lambda coalitions: coalitions.sum(axis=1, keepdims=True) / 64.0, 64, passes=100, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(linear, 1 / 64, atol=1e-12)


def test_a_bundle_of_two_encoders_finds_the_thing_by_masking() -> None:
    encoder = fake_encoder(fusion=False)
    assert method_of(encoder.manifest, budget=64) == "shapley"
    shown = picture(top_left="red", bottom_right="blue")
    image, pixels = encoder.embed_images([shown]), encoder.image_input(shown)
    red, blue = ground(encoder, image, ["red square", "the blue square"], pixels=pixels)
    assert red.method == "shapley"
    assert red.boxes[0].box == pytest.approx((0, 0, 0.5, 0.5), abs=0.07)
    assert blue.boxes[0].box == pytest.approx((0.5, 0.5, 1, 1), abs=0.07)
    again = ground(encoder, image, ["red square", "the blue square"], pixels=pixels)
    assert [one.boxes for one in again] == [red.boxes, blue.boxes]
    assert ground(encoder, image, ["red"], pixels=pixels, budget=0)[0].method == "patch_similarity"


def test_a_picture_of_one_colour_has_no_hot_part() -> None:
    """Masked in its mean colour it never changes: nothing of it is where the phrase is."""
    encoder = fake_encoder(fusion=False)
    pixels = encoder.image_input(Image.new("RGB", (64, 64), PALETTE["red"]))
    (found,) = ground_by_interaction(encoder, pixels, encoder.embed_texts(["red"]))
    assert found.boxes == []
    assert found.heat.max() == 0


def test_no_more_pictures_are_looked_at_than_the_budget() -> None:
    encoder = fake_encoder(fusion=False)
    inner, seen = encoder.engines["image_encoder"], []

    class Counting:
        provider = "fake"

        def run(self, inputs, outputs=None):
            seen.append(len(inputs["pixels"]))
            return inner.run(inputs, outputs)

    encoder.engines["image_encoder"] = Counting()
    pixels = encoder.image_input(picture(top_left="red"))
    ground_by_interaction(encoder, pixels, encoder.embed_texts(["red", "blue", "green"]), budget=50)
    assert sum(seen) == 50
