"""Word maps on the model that sees only colours, where the right places are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.encoder import Encoder
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import GraphMissingError, TextError
from runtime.word_maps import map_method_of, phrase_maps, word_maps
from tests.unit.runtime.test_encoder import picture

ENCODERS = {
    "grad_cam": fake_encoder(word_maps=True),
    "attention": fake_encoder(),
    "patch_similarity": fake_encoder(fusion=False),
}
IN_CORNER = np.s_[:2, :2]


@pytest.mark.parametrize("method", ENCODERS)
def test_the_best_way_is_taken_and_named(method: str) -> None:
    encoder = ENCODERS[method]
    assert map_method_of(encoder.manifest) == method
    image = encoder.embed_images([picture(top_left="red", bottom_right="blue")])
    red, blue = phrase_maps(encoder, image, ["the red square", "blue"])
    assert red.shape == blue.shape == (4, 4)
    for heat, hot in ((red, np.s_[:2, :2]), (blue, np.s_[2:, 2:])):
        cold = heat.copy()
        cold[hot] = 0
        assert heat[hot].min() > cold.max()
        assert heat.max() == pytest.approx(1)
        assert heat.min() == 0


def test_a_way_asked_for_is_taken() -> None:
    encoder = ENCODERS["grad_cam"]
    image = encoder.embed_images([picture(top_left="red")])
    for method in ("grad_cam", "attention", "patch_similarity"):
        ours = phrase_maps(encoder, image, ["red"], method=method)[0]
        np.testing.assert_allclose(ours, phrase_maps(ENCODERS[method], image, ["red"])[0], atol=1e-6)
    with pytest.raises(GraphMissingError, match="no word_maps graph"):
        phrase_maps(ENCODERS["attention"], image, ["red"], method="grad_cam")
    with pytest.raises(GraphMissingError, match="no fusion graph"):
        phrase_maps(ENCODERS["patch_similarity"], image, ["red"], method="attention")


def test_a_bundle_that_allows_no_map_says_so() -> None:
    encoder = fake_encoder(fusion=False)
    image = encoder.embed_images([picture(top_left="red")])
    plain = encoder.manifest.graphs["image_encoder"]
    outputs = tuple(output for output in plain.outputs if output.name != "patch_embeddings")
    graphs = {**encoder.manifest.graphs, "image_encoder": plain.model_copy(update={"outputs": outputs})}
    encoder.manifest = encoder.manifest.model_copy(update={"graphs": graphs})
    assert map_method_of(encoder.manifest) is None
    with pytest.raises(GraphMissingError, match="where words are"):
        phrase_maps(encoder, image, ["red"])


def test_words_are_shown_with_their_phrase_and_on_one_scale() -> None:
    encoder = ENCODERS["grad_cam"]
    image = encoder.embed_images([picture(top_left="red", bottom_right="blue")])
    text = "A red square, left of the blue circle"
    maps = {one.word: one for one in word_maps(encoder, image, text)}
    assert list(maps) == ["A", "red", "square", "left", "of", "the", "blue", "circle"]
    assert all(text[one.start : one.end] == one.word for one in maps.values())
    assert maps["red"].heat.max() == 1
    # "square" says nothing by itself; of "red square", half the subwords are red
    np.testing.assert_allclose(maps["square"].heat ** 2, maps["red"].heat ** 2 / 3, atol=1e-6)
    assert maps["circle"].heat.argmax() // 4 >= 2
    assert not maps["left"].heat.any()
    assert not maps["of"].heat.any()


def test_no_words_no_maps() -> None:
    encoder = ENCODERS["grad_cam"]
    image = encoder.embed_images([picture(top_left="red")])
    assert phrase_maps(encoder, image, []) == []
    assert word_maps(encoder, image, "?!") == []
    with pytest.raises(TextError):
        phrase_maps(encoder, image, ["red", " "])


@pytest.mark.parametrize("method", ENCODERS)
def test_what_the_model_does_not_read_is_nowhere(method: str) -> None:
    encoder = ENCODERS[method]
    image = encoder.embed_images([picture(top_left="red")])
    found = word_maps(encoder, image, "red " + "and " * encoder.manifest.text.max_subwords + "red")
    assert found[0].heat.max() > 0
    if method != "patch_similarity":  # which reads every word by itself
        assert not found[-1].heat.any()


@given(st.lists(st.sampled_from([*PALETTE, "square", "and", "a", "left", "zebra"]), min_size=1, max_size=8))
def test_maps_are_in_their_range_and_the_hottest_is_at_its_top(chosen: list[str]) -> None:
    for encoder in ENCODERS.values():
        image = encoder.embed_images([picture(top_left="red", bottom_right="blue")])
        heats = np.stack([one.heat for one in word_maps(encoder, image, " ".join(chosen))])
        assert len(heats) == len(chosen)
        assert heats.min() >= 0
        assert heats.max() <= 1
        assert heats.max() == pytest.approx(1, abs=1e-3) or not heats.any()
        assert np.isfinite(heats).all()


def test_a_graph_of_the_grid_of_another_picture_is_refused() -> None:
    from runtime.bundle.consistency import contradictions

    encoder: Encoder = fake_encoder(word_maps=True)
    wrong = encoder.manifest.graphs["word_maps"].outputs[0].model_copy(update={"shape": ("batch", "subwords", 15)})
    graph = encoder.manifest.graphs["word_maps"].model_copy(update={"outputs": (wrong,)})
    files = {"none": "0", "tokenizer.json": "0"}
    manifest = encoder.manifest.model_copy(
        update={"graphs": {**encoder.manifest.graphs, "word_maps": graph}, "files": files}
    )
    assert any("word_maps of word_maps has 15" in sentence for sentence in contradictions(manifest))
