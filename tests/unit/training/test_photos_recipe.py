import dataclasses
import json
import shutil

import pytest
import torch
from transformers import AutoModel

from runtime.errors import DataError, UsageError
from tests.unit.training.photo_set import FINE_CHANNELS, write_backbone, write_photos, write_tower
from training.checkpoint import load_trained
from training.data.learned_guesser import LearnedGuesserConfig
from training.data.photo_folder import PhotoFolder, find_parts
from training.data.wrong_words import WrongWordsConfig
from training.model.features import ImageLevels
from training.model.word_guesser import SmallGuesserConfig
from training.recipes import photos
from training.train import load_recipe, run
from training.trainer import Trainer

QUICK = LearnedGuesserConfig(model=SmallGuesserConfig(width=16, heads=2), num_captions=40, num_steps=3, batch_size=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data directory with everything that the recipe reads."""
    data = tmp_path_factory.mktemp("photos") / "data"
    write_photos(data)
    write_backbone(data / "backbone.onnx")
    captions = [c for line in (data / "captions.jsonl").read_text().splitlines() for c in json.loads(line)["captions"]]
    write_tower(data / "tower", captions)
    (data / "photos.toml").write_text('text_tower = "tower"\n')
    return data


@pytest.fixture
def data(made, tmp_path, monkeypatch):
    """A fresh copy of it, and a fresh directory to run in."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(made, tmp_path / "data")


def test_recipe_reads_the_data_directory(data):
    config = load_recipe("training.recipes.photos:lit", data)
    assert config.model.image.backbone.channels == 12 + FINE_CHANNELS + 24
    assert config.model.text.tower_width == 24
    assert config.model.text.layers == (0, 1, 2)
    assert config.batch_size * (config.num_steps // photos.EPOCHS) <= 20


@pytest.mark.parametrize("recipe", ["lit", "lit_from_nothing"])
def test_training_a_few_steps_and_resuming_gives_the_same_weights(data, tmp_path, recipe):
    name = f"training.recipes.photos:{recipe}"
    whole = run(name, data=data, workdir=tmp_path / "whole", max_steps=4)
    run(name, data=data, workdir=tmp_path / "parts", max_steps=2)
    parts = run(name, data=data, workdir=tmp_path / "parts", resume=True, max_steps=2)
    expected, found = load_trained(whole).model.state_dict(), load_trained(parts).model.state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.fixture
def quick_words(monkeypatch):
    """A language model of three steps, and most words wrong."""
    monkeypatch.setattr(photos, "WrongWordsConfig", lambda guesser: WrongWordsConfig(share=0.9, guesser=QUICK))


def test_heads_go_on_from_the_trained_photos_and_leave_them_as_they_are(data, tmp_path, quick_words):
    start = run("training.recipes.photos:lit", data=data, workdir=tmp_path / "lit", max_steps=2)
    recipe = "training.recipes.photos:heads"
    checkpoint = run(recipe, data=data, workdir=tmp_path / "heads", max_steps=3, start_from=start)
    before, after = load_trained(start).model, load_trained(checkpoint).model
    state = after.state_dict()
    for name, value in before.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=0, msg=name)
    new = {name.split(".")[0] for name in state.keys() - before.state_dict().keys()}
    assert new == {"fusion_encoder", "match_head", "proof_reader"}
    config = load_recipe(recipe, data)
    batch = config.data.open(data, tokenizer=config.data.tokenizer(data), batch_size=8, seed=0)[0]
    image, text = after.encode_images(batch.pixels), after.encode_texts(batch.ids, batch.mask)
    torch.testing.assert_close(image.embedding, before.encode_images(batch.pixels).embedding)
    assert image.levels is not None
    seen = after.proofread(batch.ids, batch.mask, image.levels).word_error
    elsewhere = ImageLevels(levels=image.levels.levels.flip(0), summary=image.levels.summary.flip(0))
    other = after.proofread(batch.ids, batch.mask, elsewhere).word_error
    assert ((seen - other).abs() > 1e-6)[batch.mask].all()  # every word is judged by the picture
    match = after.match(after.fuse(text.tokens, batch.mask, image.tokens))
    assert ((match - after.match(after.fuse(text.tokens, batch.mask, image.tokens.flip(0)))).abs() > 1e-6).all()


def test_every_head_learns_and_nothing_below_it(data, tmp_path, quick_words):
    start = run("training.recipes.photos:lit", data=data, workdir=tmp_path / "lit", max_steps=1)
    config = dataclasses.replace(load_recipe("training.recipes.photos:heads", data), batch_size=8, precision="fp32")
    source = config.data.open(data, tokenizer=config.data.tokenizer(data), batch_size=8, seed=0)
    trainer = Trainer(config, source, tmp_path / "heads", start=start)
    trainer.train_step(source[0])
    learned = {name.split(".")[0] for name, one in trainer.model.named_parameters() if one.grad is not None}
    assert learned == {"fusion_encoder", "match_head", "proof_reader"}


def test_batches_of_the_heads_have_texts_of_one_length_and_edits_that_are_wrong(data, quick_words):
    config = load_recipe("training.recipes.photos:heads", data).data
    source = config.open(data, tokenizer=config.tokenizer(data), batch_size=8, seed=0)
    for step in range(4):
        batch, again = source[step], source[step]
        assert batch.edits is not None
        assert batch.wrong_words is not None
        assert batch.ids.shape[1] == batch.edits.ids.shape[1] == batch.wrong_words.ids.shape[1] == batch.mask.shape[1]
        assert torch.equal(batch.edits.ids, again.edits.ids)
        assert (batch.edits.ids != batch.ids[batch.edits.rows]).any(dim=1).all()
        assert len(batch.edits.rows.unique()) == len(batch.edits.rows)


def test_checkpoint_holds_neither_backbone_nor_tower(data, tmp_path):
    checkpoint = run("training.recipes.photos:lit", data=data, workdir=tmp_path / "work", max_steps=1)
    names = load_trained(checkpoint).model.state_dict().keys()
    assert not [name for name in names if "_tower." in name or "backbone" in name]


def test_remembered_texts_are_what_the_tower_says(data):
    config = load_recipe("training.recipes.photos:lit", data)
    source = config.data.open(data, tokenizer=config.data.tokenizer(data), batch_size=8, seed=0)
    encoder = config.model.text.build(source.text_transform.vocabulary_size)
    batch = source[0]
    fresh = encoder.eval()(batch.ids, batch.mask)
    for _ in range(2):
        remembered = encoder.train()(batch.ids, batch.mask)
        torch.testing.assert_close(remembered[batch.mask], fresh[batch.mask], rtol=1e-2, atol=1e-2)


def test_a_token_joins_the_layers_that_the_config_names(data):
    config = load_recipe("training.recipes.photos:lit", data)
    source = config.data.open(data, tokenizer=config.data.tokenizer(data), batch_size=8, seed=0)
    batch = source[0]
    tokens = config.model.text.build(source.text_transform.vocabulary_size).eval()(batch.ids, batch.mask)
    tower = AutoModel.from_pretrained(data / "tower", attn_implementation="eager")
    with torch.no_grad():
        said = tower(input_ids=batch.ids, attention_mask=batch.mask.long(), output_hidden_states=True)
    for part, expected in zip(tokens.chunk(3, dim=-1), said.hidden_states, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tokens.chunk(3, dim=-1)[-1], said.last_hidden_state, rtol=1e-5, atol=1e-5)


def test_batches_are_functions_of_the_step_and_skip_broken_photos(data):
    (data / "images" / "9.png").write_bytes(b"no picture")
    config = load_recipe("training.recipes.photos:lit_from_nothing", data)
    source, again = (
        config.data.open(data, tokenizer=config.data.tokenizer(data), batch_size=5, seed=0) for _ in range(2)
    )
    seen = set()
    for step in (3, 0, 2, 1):
        first, second = source[step], again[step]
        assert first.texts == second.texts
        assert torch.equal(first.pixels, second.pixels)
        assert set(first.broken) == {"9.png"}
        seen |= set(first.texts)
    assert "9.png" not in {line.image for line in source.train}


def test_tested_and_held_out_photos_are_never_trained_on(data):
    config = load_recipe("training.recipes.photos:lit_from_nothing", data)
    source = config.data.open(data, tokenizer=config.data.tokenizer(data), batch_size=5, seed=0)
    trained = {line.image for line in source.train}
    held_out = {line.image for line in source.others}
    assert held_out
    assert not trained & held_out
    assert not (trained | held_out) & {f"{number}.png" for number in range(4)}


def test_lexicon_has_the_content_words_by_frequency(data):
    config = load_recipe("training.recipes.photos:lit_from_nothing", data)
    source = config.data.open(data, tokenizer=config.data.tokenizer(data), batch_size=5, seed=0)
    lexicon = list(source.lexicon())
    assert {"ball", "box", "red", "white"} <= set(lexicon)
    assert not {"a", "on", "the", "that"} & set(lexicon)
    assert len(lexicon) == len(set(lexicon))


def test_wrong_data_directories_are_refused(data, tmp_path):
    with pytest.raises(DataError, match=r"no captions\.jsonl"):
        find_parts(tmp_path / "nowhere")
    with pytest.raises(DataError, match="name it with --data"):
        photos.lit(None)
    (data / "photos.toml").write_text('bakcbone = "b.onnx"\n')
    with pytest.raises(DataError, match="Did you mean 'backbone'"):
        find_parts(data)
    (data / "photos.toml").write_text("size_px = 'wide'\n")
    with pytest.raises(DataError, match="size_px"):
        find_parts(data)
    (data / "photos.toml").write_text('text_tower = "nowhere"\n')
    with pytest.raises(DataError, match=r"config\.json is missing"):
        photos.lit(data)
    with pytest.raises(UsageError):
        load_recipe("training.recipes.photos:nothing", data)


def test_development_layout_is_found(tmp_path):
    (tmp_path / "flickr8k").mkdir()
    (tmp_path / "flickr8k" / "captions.jsonl").write_text("")
    assert find_parts(tmp_path).images == "flickr8k/images"
    (tmp_path / "captions.jsonl").write_text("")
    assert find_parts(tmp_path) == PhotoFolder()
