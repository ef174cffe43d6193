"""Drawn scenes: pure in the step and through the serving transforms; captions and tokenizers."""

import numpy as np
import torch

import scenes
from training.data.batch import caption_key
from training.data.scene_pairs import ScenePairsConfig
from training.data.tokenizer import special_tokens, subword_tokenizer, word_tokenizer


def test_scene_batches_are_pure_in_the_step():
    config = ScenePairsConfig(size_px=32, max_subwords=48, edited_share=0.5)
    source = config.open(None, tokenizer=config.tokenizer(None), batch_size=6, seed=3)
    again = config.open(None, tokenizer=config.tokenizer(None), batch_size=6, seed=3)
    later, earlier = source[5], source[0]
    assert torch.equal(later.pixels, again[5].pixels)
    assert torch.equal(later.ids, again[5].ids)
    assert not torch.equal(later.pixels, earlier.pixels)
    assert later.texts == tuple(scenes.generate(3, 30 + row, size_px=32).caption for row in range(6))


def test_scene_edits_are_wrong_captions_of_their_rows():
    config = ScenePairsConfig(size_px=32, max_subwords=48, edited_share=0.5)
    tokenizer = config.tokenizer(None)
    batch = config.open(None, tokenizer=tokenizer, batch_size=6, seed=3)[1]
    assert batch.edits is not None
    assert batch.edits.rows.tolist() == [0, 1, 2]
    assert batch.edits.ids.shape[1] == batch.ids.shape[1]
    for row, ids in zip(batch.edits.rows, batch.edits.ids, strict=True):
        assert not torch.equal(ids, batch.ids[row])
    assert batch.edits.first(2).rows.tolist() == [0, 1]


def test_scene_pixels_are_the_serving_pixels():
    config = ScenePairsConfig(size_px=32, max_subwords=48)
    source = config.open(None, tokenizer=config.tokenizer(None), batch_size=2, seed=0)
    scene = scenes.generate(0, 3, size_px=32)
    assert np.array_equal(source[1].pixels[1].numpy(), source.image_transform.apply(scene.image))


def test_no_caption_holds_an_unknown_word():
    config = ScenePairsConfig(size_px=32)
    tokenizer = config.tokenizer(None)
    special = special_tokens(tokenizer)
    source = config.open(None, tokenizer=tokenizer, batch_size=64, seed=0)
    assert not (source[0].ids == special.unknown).any()


def test_held_out_scenes_have_different_captions_edits_and_boxes():
    config = ScenePairsConfig(size_px=32)
    source = config.open(None, tokenizer=config.tokenizer(None), batch_size=2, seed=0)
    samples = source.held_out(20)
    assert len({sample.caption for sample in samples}) == 20
    for sample in samples:
        assert sample.edited not in (None, sample.caption)
        assert all(phrase in sample.caption for phrase, _ in sample.phrases)


def test_held_out_scenes_can_be_redrawn_with_one_thing_changed():
    config = ScenePairsConfig(size_px=32)
    (sample,) = config.open(None, tokenizer=config.tokenizer(None), batch_size=2, seed=0).held_out(1)
    assert sample.redrawn is not None
    redrawn = sample.redrawn(5)
    assert len(redrawn) == 5
    assert all(image.size == sample.image.size and image.tobytes() != sample.image.tobytes() for image in redrawn)
    assert [image.tobytes() for image in sample.redrawn(5)] == [image.tobytes() for image in redrawn]


def test_caption_keys_ignore_case_and_spacing_only():
    assert caption_key("A red  cat") == caption_key("a red cat ")
    assert caption_key("a red cat") != caption_key("a red cat.")
    assert 0 <= caption_key("x") < 2**63


def test_word_tokenizer_knows_its_words_alone():
    tokenizer = word_tokenizer(["Red", "circle", ","])
    encoded = tokenizer.encode("A RED, 'circle'! [MASK]")
    assert encoded.tokens == ["[CLS]", "[UNK]", "red", ",", "circle", "[UNK]", "[SEP]"]
    assert encoded.offsets[1:5] == [(0, 1), (2, 5), (5, 6), (8, 14)]


def test_short_queries_are_the_last_of_a_batch_and_true():
    config = ScenePairsConfig(size_px=32, max_subwords=48, short_share=0.5)
    batch = config.open(None, tokenizer=config.tokenizer(None), batch_size=40, seed=3)[1]
    for row, text in enumerate(batch.texts):
        caption = scenes.generate(3, 40 + row, size_px=32).caption
        if row < 20:
            assert text == caption
        else:
            assert len(text.split()) <= len(caption.split()) + 3
            said = set(text.split()) - {"find", "show", "me", "a", "an", "the", "photo", "of", "and", "something"}
            assert said <= set(caption.replace(",", "").replace(".", "").split())
    assert any(len(text.split()) == 1 for text in batch.texts[20:])


def test_subword_tokenizer_learns_from_captions():
    tokenizer = subword_tokenizer(["a dog runs"] * 20, vocab_size=60)
    assert tokenizer.encode("a dog runs").tokens == ["[CLS]", "a", "dog", "runs", "[SEP]"]
    assert special_tokens(tokenizer).vocab_size == tokenizer.get_vocab_size()
