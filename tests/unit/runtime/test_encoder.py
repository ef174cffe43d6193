"""The encoder, grounding and proofreading on the model that sees only colours, where the right answers are known."""

import numpy as np
import pytest
from PIL import Image

from runtime.bundle import Logistic
from runtime.encoder import Encoder
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import GraphMissingError
from runtime.grounding import boxes_of, ground
from runtime.proofread import proofread


def picture(**quarters: str) -> Image.Image:
    """A white picture with coloured quarters: top_left="red", …"""
    image = Image.new("RGB", (64, 64), "white")
    corners = {"top_left": (0, 0), "top_right": (32, 0), "bottom_left": (0, 32), "bottom_right": (32, 32)}
    for corner, colour in quarters.items():
        x, y = corners[corner]
        image.paste(PALETTE[colour], (x, y, x + 32, y + 32))
    return image


@pytest.fixture(params=[True, False], ids=["with fusion", "dual encoder only"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return fake_encoder(fusion=request.param)


def test_embeddings_are_unit_length_and_find_their_picture(encoder: Encoder) -> None:
    colours = [colour for colour in PALETTE if colour != "white"]
    images = encoder.embed_images([picture(top_left=colour) for colour in colours])
    texts = encoder.embed_texts([f"a {colour} square" for colour in colours])
    np.testing.assert_allclose(np.linalg.norm(images.embedding, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(texts.embedding, axis=1), 1, atol=1e-5)
    assert (texts.embedding @ images.embedding.T).argmax(axis=1).tolist() == list(range(len(colours)))


def test_batches_do_not_change_the_answer(encoder: Encoder) -> None:
    pictures = [picture(top_left=colour) for colour in PALETTE] * 9
    together = encoder.embed_images(pictures)
    assert len(together) == 72
    alone = np.concatenate([encoder.embed_images([one]).embedding for one in pictures])
    np.testing.assert_array_equal(together.embedding, alone)
    texts = [f"a {colour} star" for colour in PALETTE] * 20
    together_texts = encoder.embed_texts(texts)
    alone_texts = np.concatenate([encoder.embed_texts([text]).embedding for text in texts])
    np.testing.assert_allclose(together_texts.embedding, alone_texts, atol=1e-6)


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    assert len(encoder.embed_images([])) == 0
    assert len(encoder.embed_texts([])) == 0


def test_scores_are_probabilities_and_order_pairs(encoder: Encoder) -> None:
    image = encoder.embed_images([picture(top_left="red")])
    right, wrong = encoder.score_pairs(encoder.embed_texts(["a red square", "a green square"]), image)
    assert 0 <= wrong < right <= 1


def test_fusion_is_refused_by_a_dual_encoder() -> None:
    encoder = fake_encoder(fusion=False)
    image = encoder.embed_images([picture(top_left="red")])
    with pytest.raises(GraphMissingError, match="fusion"):
        encoder.fuse(encoder.embed_texts(["red"]), image)


def test_grounding_finds_the_quarter(encoder: Encoder) -> None:
    image = encoder.embed_images([picture(top_left="red", bottom_right="blue")])
    red, blue = ground(encoder, image, ["red square", "the blue square"])
    assert red.boxes[0].box == pytest.approx((0, 0, 0.5, 0.5), abs=0.07)
    assert blue.boxes[0].box == pytest.approx((0.5, 0.5, 1, 1), abs=0.07)
    assert red.heat.shape == (4, 4)
    assert red.heat.max() == pytest.approx(1, abs=1e-3)
    assert red.boxes[0].score > 0.9
    assert ground(encoder, image, []) == []


def test_grounding_gives_several_boxes_on_request(encoder: Encoder) -> None:
    image = encoder.embed_images([picture(top_left="red", bottom_right="red")])
    (one,) = ground(encoder, image, ["red"], top_k=1)
    (two,) = ground(encoder, image, ["red"], top_k=5)
    assert len(one.boxes) == 1
    assert {tuple(round(side) for side in box.box) for box in two.boxes} == {(0, 0, 0, 0), (1, 1, 1, 1)} or len(
        two.boxes
    ) == 2


def test_boxes_of_a_map_by_hand() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[1, 2] = 1.0
    ((box, share),) = boxes_of(heat)
    # Enlarged four times, bilinear; half of the peak (0.77 at the four middle cells) is reached 2 cells out.
    assert box == pytest.approx((0.5, 0.25, 0.75, 0.5), abs=0.07)
    assert share[1, 2] == 1
    assert boxes_of(np.zeros((4, 4), np.float32)) == []


def test_a_wrong_colour_is_found_and_corrected(encoder: Encoder) -> None:
    image = encoder.embed_images([picture(top_left="red", top_right="red", bottom_right="blue")])
    text = "A Green square, above the blue star!"
    proof = proofread(encoder, image, text)
    assert [word.word for word in proof.words] == ["A", "Green", "square", "above", "the", "blue", "star"]
    assert all(text[word.start : word.end] == word.word for word in proof.words)
    assert [word.word for word in proof.words if word.is_error] == ["Green"]
    assert proof.words[1].suggestions[0].word == "red"
    assert proof.corrected_text == "A Red square, above the blue star!"
    assert proof.words[0].error_probability == 0


def test_several_errors_are_corrected_one_at_a_time() -> None:
    encoder = fake_encoder()
    image = encoder.embed_images([picture(top_left="red", bottom_right="red")])
    proof = proofread(encoder, image, "a green square and a purple star")
    assert proof.corrected_text == "a red square and a red star"


def test_a_true_caption_stays_as_it_is(encoder: Encoder) -> None:
    image = encoder.embed_images([picture(top_left="red", bottom_right="blue")])
    text = "a red square above a blue square"
    proof = proofread(encoder, image, text)
    assert not any(word.is_error for word in proof.words)
    assert proof.corrected_text == text


def test_threshold_and_number_of_suggestions_are_the_callers(encoder: Encoder) -> None:
    image = encoder.embed_images([picture(top_left="red")])
    none = proofread(encoder, image, "a green square", threshold=1.0)
    assert not any(word.is_error for word in none.words)
    bare = proofread(encoder, image, "a green square", num_suggestions=0)
    assert [len(word.suggestions) for word in bare.words] == [0, 0, 0]


def test_a_text_longer_than_the_model_takes(encoder: Encoder) -> None:
    image = encoder.embed_images([picture(top_left="red")])
    proof = proofread(encoder, image, "red " * 100)
    assert len(proof.words) == 100
    assert proof.words[-1].error_probability < 0.5


def test_logistic_by_hand() -> None:
    assert Logistic(scale=2, bias=1).probability(-0.5) == pytest.approx(0.5)
    assert Logistic().probability(float("-inf")) < 1e-20
    assert Logistic().probability(1e9) == pytest.approx(1)
