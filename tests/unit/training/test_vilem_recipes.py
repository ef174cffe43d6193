"""ViLEM's recipes: complete, comparable with their baselines, and ready for captions from files."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from runtime.errors import DataError, UsageError
from scripts.candidates import write
from training.config import TrainConfig
from training.data.jsonl_pairs import JsonlPairsConfig
from training.data.learned_guesser import LearnedGuesserConfig
from training.data.listed_pairs import ListedPairsConfig
from training.data.wrong_words import WrongWordsConfig
from training.model.public import architecture
from training.model.word_guesser import SmallGuesserConfig
from training.objectives import ComposedObjective, VilemConfig
from training.recipes import baseline, vilem
from training.serialise import from_json, to_json
from training.train import data_of, load_recipe
from training.trainer import Trainer

ROWS = ("detection", "correction", "local", "global", "uniform", "uncrossed", "whole", "every_kind")
NAMES = ("tiny", "small", "base", "ablation", *(f"ablation_{row}" for row in ROWS))
QUICK = LearnedGuesserConfig(model=SmallGuesserConfig(width=16, heads=2), num_captions=40, num_steps=3, batch_size=8)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_names_itself_and_survives_a_checkpoint(name: str):
    config = load_recipe(f"training.recipes.vilem:{name}")
    assert config.recipe == f"training.recipes.vilem:{name}"
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("name", [name for name in NAMES if name != "base"])
def test_objectives_can_be_built(name: str):
    config = load_recipe(f"training.recipes.vilem:{name}")
    model = config.model.build(config.data.tokenizer(None).get_vocab_size())
    assert model.proof_reader is not None
    terms = ComposedObjective(config.objectives, model).terms
    assert any(isinstance(term.objective, VilemConfig) for term, _ in terms)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("ablation")])
def test_a_row_differs_from_its_baseline_in_vilem_alone(name: str):
    row = load_recipe(f"training.recipes.vilem:{name}")
    plain = baseline.ablation_itc() if name == "ablation" else baseline.ablation()
    without = dataclasses.replace(
        row,
        recipe=plain.recipe,
        model=dataclasses.replace(row.model, proof_reader=None),
        data=dataclasses.replace(row.data, wrong_words=None),
        objectives=tuple(term for term in row.objectives if term.name != "vilem"),
    )
    assert without == plain


def test_rows_are_what_their_names_say():
    def settings(name: str) -> tuple[TrainConfig, VilemConfig]:
        config = load_recipe(f"training.recipes.vilem:ablation_{name}")
        objective = config.objectives[-1].objective
        assert isinstance(objective, VilemConfig)
        return config, objective

    assert settings("detection")[1].correction == 0.0
    assert settings("correction")[1].detection == 0.0
    reader = settings("local")[0].model.proof_reader
    assert reader is not None
    assert (reader.has_local, reader.has_global) == (True, False)
    reader = settings("global")[0].model.proof_reader
    assert reader is not None
    assert (reader.has_local, reader.has_global) == (False, True)
    assert settings("uniform")[0].data.wrong_words.is_uniform
    assert settings("uncrossed")[1].momentum is None
    assert settings("every_kind")[0].data.wrong_words.every_kind
    assert [term.name for term in settings("whole")[0].objectives] == ["itc", "mlm", "itm", "vilem"]


def photos(folder: Path) -> JsonlPairsConfig:
    (folder / "images").mkdir()
    lines = []
    for number in range(12):
        Image.new("RGB", (32, 32), (20 * number, 90, 90)).save(folder / "images" / f"{number}.png")
        captions = [f"a dog and thing{number}", "the cat sits"] if number % 2 else ["two birds fly over water"]
        lines.append(json.dumps({"image": f"{number}.png", "captions": captions, "split": "train"}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return JsonlPairsConfig(
        size_px=64, vocab_size=120, max_subwords=24, wrong_words=WrongWordsConfig(share=0.9, guesser=QUICK)
    )


def test_captions_of_files_get_words_that_no_caption_of_the_picture_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # where the language model is kept
    config = photos(tmp_path)
    source = config.open(tmp_path, tokenizer=config.tokenizer(tmp_path), batch_size=8, seed=0)
    batch = source[0]
    words = batch.wrong_words
    assert words is not None
    assert words.is_wrong.any()
    piece = source.text_transform.tokenizer.id_to_token
    others = {"a", "dog", "and", "the", "cat", "sits"}, {"two", "birds", "fly", "over", "water"}
    for row, text in enumerate(batch.texts):
        said = others[0] if "dog" in text or "cat" in text else others[1]
        assert not {piece(int(word)) for word in words.ids[row][words.is_wrong[row]]} & said
    again = config.open(tmp_path, tokenizer=config.tokenizer(tmp_path), batch_size=8, seed=0)[0].wrong_words
    assert again is not None
    assert torch.equal(words.ids, again.ids)


def test_candidates_written_beforehand_give_the_same_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    config = photos(tmp_path)
    recipe = dataclasses.replace(vilem.ablation(), data=config)
    monkeypatch.setattr(vilem, "from_files", lambda: recipe, raising=False)
    file = tmp_path / "candidates.npz"
    assert write("training.recipes.vilem:from_files", tmp_path, file) > 10
    guessed = config.open(tmp_path, tokenizer=config.tokenizer(tmp_path), batch_size=8, seed=0)[0].wrong_words
    assert config.wrong_words is not None
    looked_up = dataclasses.replace(config, wrong_words=dataclasses.replace(config.wrong_words, table=str(file)))
    read = looked_up.open(tmp_path, tokenizer=config.tokenizer(tmp_path), batch_size=8, seed=0)[0].wrong_words
    assert guessed is not None
    assert read is not None
    assert torch.equal(guessed.ids, read.ids)
    with pytest.raises(UsageError, match="no captions"):
        write("training.recipes.baseline:ablation", tmp_path, file)


def test_a_run_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    data = photos(tmp_path)
    config = dataclasses.replace(
        vilem.ablation(), data=data, batch_size=8, num_steps=3, num_workers=0, checkpoint_every=1, precision="fp32"
    )

    def trainer(folder: str) -> Trainer:
        source = data.open(tmp_path, tokenizer=data.tokenizer(tmp_path), batch_size=8, seed=0)
        return Trainer(config, source, tmp_path / folder)

    whole = trainer("whole")
    whole.run()
    first = trainer("parts")
    checkpoint = first.run(max_steps=1)
    second = trainer("parts")
    second.restore(checkpoint)
    second.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name


def test_a_recipe_of_drawn_scenes_reads_files_with_wrong_words(tmp_path: Path):
    photos(tmp_path)
    described = data_of(vilem.ablation(), str(tmp_path))
    assert isinstance(described, ListedPairsConfig)
    assert described.wrong_words == WrongWordsConfig()
    uniform = data_of(vilem.ablation_uniform(), str(tmp_path))
    source = uniform.open(tmp_path, tokenizer=uniform.tokenizer(tmp_path), batch_size=8, seed=0)
    with pytest.raises(UsageError, match="only drawn scenes"):
        source[0]
    assert data_of(baseline.ablation(), str(tmp_path)).wrong_words is None  # type: ignore[attr-defined]


def test_a_swin_under_the_proof_reader_is_refused_with_what_to_do(tmp_path: Path):
    import transformers

    folder = tmp_path / "towers" / "image"
    settings = json.loads(
        architecture("swin", image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2])
    )
    settings.pop("model_type")
    transformers.SwinConfig(**settings).save_pretrained(folder)
    with pytest.raises(DataError, match="ViT or DeiT"):
        vilem.base(tmp_path)
