"""Sources: pure in the step, honest about broken pictures, and through the serving transforms."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scenes
from runtime.errors import DataError
from tests.numerics.small import small_config
from training.data.batch import caption_key
from training.data.jsonl_pairs import JsonlPairs, JsonlPairsConfig, read_lines
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


def png(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty pictures, of which two are broken and one is missing."""
    folder = tmp_path / "images"
    folder.mkdir()
    lines = []
    for number in range(20):
        name = f"{number}.png"
        data = png((number * 10, 100, 200))
        if number == 3:
            data = data[: len(data) // 2]
        if number == 7:
            data = b"this is no picture"
        if number != 11:
            (folder / name).write_bytes(data)
        split = "val" if number >= 16 else "train"
        lines.append({"image": name, "captions": [f"picture {number}", f"number {number}"], "split": split})
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    return tmp_path


def opened(photos: Path, **changes: object) -> JsonlPairs:
    config = JsonlPairsConfig(size_px=32, vocab_size=100, **changes)  # type: ignore[arg-type]
    return config.open(photos, tokenizer=config.tokenizer(photos), batch_size=4, seed=1)


def test_broken_pictures_are_named_and_passed_over(photos: Path):
    source = opened(photos)
    broken: dict[str, str] = {}
    seen: set[str] = set()
    for step in range(8):
        batch = source[step]
        assert batch.pixels.shape == (4, 3, 32, 32)
        seen.update(text.split()[1] for text in batch.texts)
        broken |= batch.broken
    assert set(broken) == {"3.png", "7.png", "11.png"}
    assert seen == {str(number) for number in range(16)} - {"3", "7", "11"}


def test_jsonl_batches_are_pure_in_the_step(photos: Path):
    one, other = opened(photos), opened(photos)
    assert other[4].texts  # asked in another order
    assert one[2].texts == other[2].texts
    assert torch.equal(one[2].pixels, other[2].pixels)
    assert one[0].texts != one[4].texts  # another epoch, another order


def test_held_out_pairs_are_of_the_other_splits(photos: Path):
    assert [sample.caption for sample in opened(photos).held_out(9)] == [f"picture {n}" for n in range(16, 20)]


def test_the_lexicon_is_by_frequency(photos: Path):
    assert set(opened(photos).lexicon()[:2]) == {"picture", "number"}


def test_too_many_broken_pictures_stop_the_run(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = small_config(
        data=JsonlPairsConfig(size_px=32, max_subwords=32, vocab_size=100, most_broken_share=0.1), batch_size=4
    )
    tokenizer = config.data.tokenizer(photos)
    from training.trainer import Trainer

    source = config.data.open(photos, tokenizer=tokenizer, batch_size=4, seed=1)
    assert source.most_broken == 1
    with pytest.raises(DataError, match="pictures could not be read") as caught:
        Trainer(config, source, tmp_path / "run").run()
    assert caught.value.code == "too_many_broken"
    assert "skipped" in caplog.text


def test_few_broken_pictures_are_reported(photos: Path, tmp_path: Path):
    config = small_config(
        data=JsonlPairsConfig(size_px=32, max_subwords=32, vocab_size=100, most_broken_share=0.5), batch_size=4
    )
    from training.trainer import StepReport, Trainer

    seen: list[StepReport] = []
    source = config.data.open(photos, tokenizer=config.data.tokenizer(photos), batch_size=4, seed=1)
    Trainer(config, source, tmp_path / "run").run(report=seen.append)
    assert seen[-1].num_broken == 3


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[]", "needs"),
        ('{"image": "a.jpg", "captions": []}', "needs"),
        ('{"image": 3, "captions": ["x"]}', "needs"),
        ('{"image": "a.jpg", "captions": [" "]}', "empty"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, says: str):
    file = tmp_path / "captions.jsonl"
    file.write_text('{"image": "a.jpg", "captions": ["x"]}\n' + line + "\n")
    with pytest.raises(DataError, match=says) as caught:
        read_lines(file)
    assert "captions.jsonl:2" in str(caught.value)


def test_a_missing_file_and_a_missing_directory(tmp_path: Path):
    with pytest.raises(DataError, match="cannot be read"):
        read_lines(tmp_path / "captions.jsonl")
    with pytest.raises(DataError, match="--data"):
        JsonlPairsConfig().tokenizer(None)


def test_fewer_pictures_than_a_batch(photos: Path):
    config = JsonlPairsConfig(size_px=32, vocab_size=100)
    with pytest.raises(DataError, match="a batch needs 400"):
        config.open(photos, tokenizer=config.tokenizer(photos), batch_size=400, seed=1)
