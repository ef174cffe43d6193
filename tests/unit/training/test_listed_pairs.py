"""Pictures in a directory with captions in JSON lines: every position of the sequence has its pair."""

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from runtime.errors import DataError
from tests.unit.training.plain_pairs import plain_config
from training.data.jsonl_pairs import JsonlPairsConfig, read_lines
from training.data.listed_pairs import ListedPairs
from training.trainer import StepReport, Trainer
from training.validate import retrieval_of


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


def opened(photos: Path, **changes: object) -> ListedPairs:
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
    config = plain_config(
        data=JsonlPairsConfig(size_px=32, max_subwords=32, vocab_size=100, most_broken_share=0.1), batch_size=4
    )
    tokenizer = config.data.tokenizer(photos)
    source = config.data.open(photos, tokenizer=tokenizer, batch_size=4, seed=1)
    assert source.most_broken == 1
    with pytest.raises(DataError, match="pictures could not be read") as caught:
        Trainer(config, source, tmp_path / "run").run()
    assert caught.value.code == "too_many_broken"
    assert "skipped" in caplog.text


def test_few_broken_pictures_are_reported(photos: Path, tmp_path: Path):
    config = plain_config(
        data=JsonlPairsConfig(size_px=32, max_subwords=32, vocab_size=100, most_broken_share=0.5), batch_size=4
    )
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


@pytest.mark.parametrize("cuts", [2, 4])
def test_the_sequence_does_not_depend_on_how_it_is_cut(photos: Path, cuts: int):
    """So several processes see what one would have seen, broken pictures' substitutes included."""
    config = JsonlPairsConfig(size_px=32, vocab_size=100, max_subwords=32)
    tokenizer = config.tokenizer(photos)
    whole = config.open(photos, tokenizer=tokenizer, batch_size=8, seed=1)
    parts = config.open(photos, tokenizer=tokenizer, batch_size=8 // cuts, seed=1)
    for step in range(6):
        cut = [parts[step * cuts + part] for part in range(cuts)]
        assert whole[step].sample_ids == tuple(name for batch in cut for name in batch.sample_ids)
        assert whole[step].texts == tuple(text for batch in cut for text in batch.texts)
        assert torch.equal(whole[step].pixels, torch.cat([batch.pixels for batch in cut]))
        assert whole[step].broken == {name: why for batch in cut for name, why in batch.broken.items()}


def test_without_a_held_out_split_some_are_spared(photos: Path):
    source = opened(photos, held_out_splits=("nothing",), train_splits=("train", "val"), least_held_out=2)
    assert len(source.train) == 18
    spared = {source.store.lines[number].image for number in source.others}  # type: ignore[attr-defined]
    seen = {name for step in range(10) for name in source[step].sample_ids}
    assert len(spared) == 2
    assert not spared & seen


def test_nothing_readable_at_all(photos: Path):
    source = opened(photos)
    for file in (photos / "images").iterdir():
        file.write_bytes(b"gone")
    with pytest.raises(DataError, match="in a row") as caught:
        source[0]
    assert caught.value.code == "too_many_broken"


def test_what_stops_a_loader_process_is_said_as_it_is(photos: Path, tmp_path: Path):
    """The message and its code, without the traceback of the process that it comes from."""
    source = opened(photos)
    for file in (photos / "images").iterdir():
        file.write_bytes(b"gone")
    trainer = Trainer(plain_config(batch_size=4, num_workers=1), source, tmp_path / "run")
    with pytest.raises(DataError, match=r"^50 pictures in a row could not be read") as caught:
        trainer.run()
    assert "Traceback" not in str(caught.value)
    assert caught.value.code == "too_many_broken"


def test_without_a_readable_held_out_pair_nothing_is_measured(photos: Path, caplog: pytest.LogCaptureFixture):
    source = opened(photos)
    for number in range(16, 20):
        (photos / "images" / f"{number}.png").write_bytes(b"gone")
    model = plain_config().model.build(source.text_transform.vocabulary_size)
    assert retrieval_of(model, source, count=5) == {}
    assert "no held-out pair" in caplog.text


def test_a_tokenizer_of_ones_own(photos: Path):
    config = JsonlPairsConfig(size_px=32, vocab_size=100)
    config.tokenizer(photos).save(str(photos / "own.json"))
    own = JsonlPairsConfig(size_px=32, tokenizer_file=str(photos / "own.json"))
    assert own.tokenizer(None).get_vocab_size() == config.tokenizer(photos).get_vocab_size()
