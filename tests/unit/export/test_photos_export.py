import json

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.photo_rerank import measure
from export import build
from runtime.encoder import Encoder
from runtime.grounding import ground, method_of
from runtime.proofread import proofread
from tests.unit.training.photo_set import write_backbone, write_photos, write_tower
from training.checkpoint import load_trained
from training.data.learned_guesser import LearnedGuesserConfig
from training.data.wrong_words import WrongWordsConfig
from training.model.word_guesser import SmallGuesserConfig
from training.recipes import photos
from training.train import run

QUICK = LearnedGuesserConfig(model=SmallGuesserConfig(width=16, heads=2), num_captions=40, num_steps=3, batch_size=8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bundle of a few steps of training with a frozen backbone and a frozen text tower."""
    folder = tmp_path_factory.mktemp("photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data = folder / "data"
        write_photos(data, count=60)
        write_backbone(data / "backbone.onnx", is_channels_last=True)
        lines = (data / "captions.jsonl").read_text().splitlines()
        write_tower(data / "tower", [caption for line in lines for caption in json.loads(line)["captions"]])
        (data / "photos.toml").write_text('text_tower = "tower"\n')
        checkpoint = run("training.recipes.photos:lit", data=data, workdir=folder / "work", max_steps=3)
        build(checkpoint, folder / "bundle", data=data)
        yield data, checkpoint, folder / "bundle"


def test_bundle_goes_from_pictures_to_embeddings_without_the_data(exported):
    data, checkpoint, bundle = exported
    encoder = Encoder.load(bundle)
    with Image.open(data / "images" / "1.png") as file:
        picture = file.convert("RGB")
    features = encoder.embed_images([picture, picture])
    assert features.embedding.shape == (2, encoder.dim)
    assert features.patch_embeddings.shape == (2, 16, encoder.dim)
    assert ground(encoder, features[[0]], ["a green ball"])[0].heat.shape == (4, 4)
    model = load_trained(checkpoint).model
    expected = model.encode_images(torch.from_numpy(encoder.image_input(picture)[None]))
    np.testing.assert_allclose(features.embedding[:1], expected.embedding.detach().numpy(), atol=1e-4)


def test_bundle_names_no_place_on_this_machine(exported):
    data, _, bundle = exported
    for file in bundle.iterdir():
        assert str(data.parent).encode() not in file.read_bytes(), file.name


def test_bundle_carries_a_lexicon(exported):
    lexicon = Encoder.load(exported[2]).lexicon
    assert {"ball", "box", "red"} <= set(lexicon)


@pytest.fixture(scope="module")
def with_heads(exported, tmp_path_factory):
    """A bundle of a few steps of the heads above the same towers."""
    data, checkpoint, _ = exported
    folder = tmp_path_factory.mktemp("heads")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(photos, "WrongWordsConfig", lambda guesser: WrongWordsConfig(share=0.9, guesser=QUICK))
        recipe = "training.recipes.photos:heads"
        trained = run(recipe, data=data, workdir=folder / "work", max_steps=2, start_from=checkpoint)
        build(trained, folder / "bundle", data=data)
        with Image.open(data / "images" / "1.png") as file:
            yield load_trained(trained).model, Encoder.load(folder / "bundle"), file.convert("RGB")


def test_heads_move_no_embedding(exported, with_heads):
    before, (_, after, picture) = Encoder.load(exported[2]), with_heads
    text = "A red ball, on a box"
    image = after.embed_images([picture])
    np.testing.assert_allclose(image.embedding, before.embed_images([picture]).embedding, atol=1e-5)
    np.testing.assert_allclose(after.embed_texts([text]).embedding, before.embed_texts([text]).embedding, atol=1e-5)


def test_heads_leave_pointing_to_the_patches_below_them(exported, with_heads):
    before, (_, after, picture) = Encoder.load(exported[2]), with_heads
    assert method_of(after.manifest) == method_of(before.manifest) == "patch_similarity"
    heats = [ground(one, one.embed_images([picture]), ["a red ball"])[0].heat for one in (before, after)]
    np.testing.assert_allclose(heats[1], heats[0], atol=1e-5)


def test_a_proof_reader_above_the_frozen_towers_judges_words(with_heads):
    _, encoder, picture = with_heads
    image = encoder.embed_images([picture], to_proofread=True)
    proof = proofread(encoder, image, "A red ball, on a box", threshold=0.0)
    assert proof.method == "word_errors"
    assert [word.word for word in proof.words if word.error_probability > 0] == ["red", "ball", "on", "box"]


def test_a_match_is_the_fusion_graphs_logit_and_a_share_of_the_cosine(with_heads):
    model, encoder, picture = with_heads
    texts = encoder.embed_texts(["a red ball", "a green box on the left"])
    image = encoder.embed_images([picture])
    assert image.patch_tokens.shape == (1, 16, encoder.dim)
    logits = encoder.fuse(texts, image, outputs=("match",)).match
    share = encoder.manifest.match_cosine
    assert share == photos.HEADS_MATCH_COSINE
    expected = logits + share * (texts.embedding @ image.embedding[0])
    np.testing.assert_allclose(encoder.match_scores(texts, image), expected, rtol=1e-5)
    tokens = model.encode_images(torch.from_numpy(encoder.image_input(picture)[None])).tokens.detach().numpy()
    np.testing.assert_allclose(image.patch_tokens, tokens, atol=1e-3)
    assert not encoder.fusion_gives("suggestions")
    assert encoder.manifest.calibration.min_match is None or 0 < encoder.manifest.calibration.min_match < 1


def test_heads_name_no_place_on_this_machine(exported, with_heads):
    for graph in with_heads[1].manifest.graphs.values():
        assert str(exported[0].parent) not in graph.model_dump_json()


def test_reranked_photos_are_those_that_match_best(exported, with_heads):
    data, encoder = exported[0], with_heads[1]
    lines = [json.loads(line) for line in (data / "captions.jsonl").read_text().splitlines()[:12]]
    pairs = [(line["image"], line["captions"][0]) for line in lines]
    found = measure(encoder, data / "images", pairs, top=12)
    texts = encoder.embed_texts([caption for _, caption in pairs])
    images = [encoder.embed_images([Image.open(data / "images" / name).convert("RGB")]) for name, _ in pairs]
    scores = np.stack([encoder.match_scores(texts, image) for image in images], axis=1)
    right = scores.argmax(axis=1) == np.arange(12)
    assert found["match"]["r@1"] == pytest.approx(right.mean())
    assert found["ceiling"] == 1.0
