"""WebDataset shards: every sample is found, whatever is wrong with one is said, and the order does not depend on where
a run begins."""

import dataclasses
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_expander

from runtime.errors import DataError
from scenes import write_shards
from tests.unit.training.plain_pairs import plain_config
from training.data import shard_index
from training.data.augmentation import NOTHING
from training.data.listed_pairs import BrokenPair, ListedPairs, RawPair
from training.data.shard_index import expand, read_places
from training.data.shard_pairs import ShardPairsConfig, ShardStore
from training.trainer import Trainer

REAL = Path(__file__).parents[4] / "shared/data/fixtures/cc12m-train-0000.tar"


def png(number: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20 + number, 30), (number * 9, 90, 200)).save(out, "PNG")
    return out.getvalue()


def write_shard(file: Path, members: Mapping[str, bytes], **arguments: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", **arguments) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def samples(first: int, count: int) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for number in range(first, first + count):
        members[f"{number:04d}.png"] = png(number)
        members[f"{number:04d}.txt"] = f"picture {number}\n".encode()
    return members


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """24 samples in three shards."""
    for number, (first, count) in enumerate([(0, 10), (10, 6), (16, 8)]):
        write_shard(tmp_path / f"data/part-{number:02d}.tar", samples(first, count))
    return tmp_path / "data"


def config_of(directory: Path, **changes: object) -> ShardPairsConfig:
    values = {"size_px": 32, "vocab_size": 100, "max_subwords": 32, "cache": str(directory.parent / "cache")}
    return ShardPairsConfig(**(values | {"least_held_out": 2} | changes))  # type: ignore[arg-type]


def opened(directory: Path, *, batch_size: int = 4, **changes: object) -> ListedPairs:
    config = config_of(directory, **changes)
    return config.open(directory, tokenizer=config.tokenizer(directory), batch_size=batch_size, seed=1)


def test_every_sample_is_seen_once_an_epoch(shards: Path):
    source = opened(shards, batch_size=11)
    seen = [name for step in range(2) for name in source[step].sample_ids]
    assert len(set(seen)) == 22
    held_out = {sample.caption for sample in source.held_out(5)}
    assert held_out | {f"picture {int(name.rpartition('/')[2])}" for name in seen} == {
        f"picture {number}" for number in range(24)
    }
    assert len(held_out) == 2


def test_pictures_captions_and_names_belong_together(shards: Path):
    batch = opened(shards, batch_size=8, augmentation=NOTHING)[1]
    for row, name in enumerate(batch.sample_ids):
        shard, number = name.split("/")
        assert batch.texts[row] == f"picture {int(number)}"
        assert shard == f"part-0{0 if int(number) < 10 else 1 if int(number) < 16 else 2}.tar"
        image = Image.open(io.BytesIO(png(int(number)))).convert("RGB")
        assert torch.equal(batch.pixels[row], torch.from_numpy(opened(shards).image_transform.apply(image)))


def test_any_step_is_the_same_wherever_a_run_begins(shards: Path):
    one, other = opened(shards), opened(shards)
    assert other[9].texts
    assert one[3].texts == other[3].texts
    assert torch.equal(one[3].pixels, other[3].pixels)


def test_json_captions_long_names_and_folders(tmp_path: Path):
    long = "folder.with.dots/" + "n" * 180
    members = {
        f"{long}.negative.png": png(9),  # the whole ending counts
        f"{long}.PNG": b"",
        f"{long}.json": json.dumps({"captions": ["one", " two "]}).encode(),
        "b/7.png": png(7),
        "b/7.json": b'{"caption": "seven"}',
    }
    members[f"{long}.PNG"] = png(3)
    for format_ in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        write_shard(tmp_path / "a.tar", members, format=format_)
        read = store_of(tmp_path / "a.tar").read([1, 0])
        assert read == [
            RawPair(name="a.tar/b/7", picture=png(7), captions=("seven",)),
            RawPair(name=f"a.tar/{long}", picture=png(3), captions=("one", "two")),
        ]


def store_of(file: Path) -> ShardStore:
    with file.open("rb") as opened_file:
        places = read_places(opened_file, file.name)
    return ShardStore([str(file)], [places], places[:, 0], caption_fields=("caption", "captions"))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"1.txt": b"words"}, "no picture"),
        ({"1.png": png(1)}, "no caption"),
        ({"1.png": png(1), "1.txt": b"  "}, "no caption"),
        ({"1.png": png(1), "1.json": b"{"}, "captions cannot be read"),
        ({"1.png": png(1), "1.txt": b"\xff\xfe"}, "captions cannot be read"),
        ({"1.png": png(1), "1.json": b'{"caption": 3}'}, "no caption"),
        ({"1.png": png(1), "1.json": b'["x"]'}, "no caption"),
    ],
)
def test_a_broken_sample_is_named(tmp_path: Path, files: dict[str, bytes], says: str):
    write_shard(tmp_path / "a.tar", {"0.png": png(0), "0.txt": b"zero", **files})
    good, broken = store_of(tmp_path / "a.tar").read([0, 1])
    assert isinstance(good, RawPair)
    assert isinstance(broken, BrokenPair)
    assert broken.name == "a.tar/1"
    assert says in broken.reason


def test_broken_samples_are_skipped_until_they_are_too_many(shards: Path, tmp_path: Path):
    bad = samples(50, 3)
    bad["0051.png"] = b"no picture"
    write_shard(shards / "part-99.tar", bad)
    config = plain_config(data=config_of(shards, most_broken_share=0.1), batch_size=6, num_steps=8)
    source = config.data.open(shards, tokenizer=config.data.tokenizer(shards), batch_size=6, seed=0)
    trainer = Trainer(config, source, tmp_path / "run")
    trainer.run()
    assert list(trainer.broken) == ["part-99.tar/0051"]
    again = Trainer(config, source, tmp_path / "run")
    again.restore(tmp_path / "run/checkpoints/step-0000008")
    assert again.broken == trainer.broken
    strict = dataclasses.replace(config, data=config_of(shards, most_broken_share=0.0))
    source = strict.data.open(shards, tokenizer=config.data.tokenizer(shards), batch_size=6, seed=0)
    with pytest.raises(DataError, match=r"part-99.tar/0051") as caught:
        Trainer(strict, source, tmp_path / "other").run()
    assert caught.value.code == "too_many_broken"


def test_words_are_learned_from_no_more_samples_than_asked(shards: Path):
    """Of 22 samples at most 12: every second one."""
    store = config_of(shards).divided(shards).store
    assert len(store.captions(12)) == 11
    assert len(store.captions(22)) == len(store.captions(1000)) == 22


def test_a_shard_cut_short_gives_what_is_whole(shards: Path, caplog: pytest.LogCaptureFixture):
    file = shards / "part-00.tar"
    whole = store_of(file)
    data = file.read_bytes()
    begin = int(whole._places[6][0])
    file.write_bytes(data[: begin + 700])  # in the middle of the seventh sample's picture
    cut = store_of(file)
    assert "cut short" in caplog.text
    *before, last = cut.read(range(7))
    assert before == whole.read(range(6)) or [type(pair) for pair in before] == [RawPair] * 6
    assert isinstance(last, BrokenPair)


def test_a_file_that_is_no_tar_is_refused(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(b"no shard at all" * 100)
    with pytest.raises(DataError, match=r"a.tar is no uncompressed tar file") as caught:
        opened(tmp_path)
    assert caught.value.code == "shard_invalid"


def test_the_index_is_made_once_and_again_when_a_shard_changes(shards: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []

    def noted(file: io.BufferedIOBase, name: str) -> shard_index.Places:
        read.append(Path(name).name)
        return read_places(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(shard_index, "read_places", noted)
    opened(shards)
    opened(shards)
    assert read == ["part-00.tar", "part-01.tar", "part-02.tar"]
    write_shard(shards / "part-01.tar", samples(100, 9))
    os.utime(shards / "part-01.tar", (1, 1))
    assert len(opened(shards).train) + 2 == 27
    assert read[3:] == ["part-01.tar"]


def test_shards_in_memory_of_fsspec(shards: Path):
    """A store that is no disk: fsspec's other file systems differ in their transport alone."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for file in shards.iterdir():
        memory.pipe_file(f"/bucket/{file.name}", file.read_bytes())
    local = opened(shards)
    remote_config = config_of(shards, shards="memory://bucket/*.tar")
    remote = remote_config.open(None, tokenizer=local.text_transform.tokenizer, batch_size=4, seed=1)
    assert remote[5].sample_ids == local[5].sample_ids
    assert torch.equal(remote[5].pixels, local[5].pixels)


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("a/{008..011}.tar", ["a/008.tar", "a/009.tar", "a/010.tar", "a/011.tar"]),
        ("s3://b/{x,y}-{0..1}.tar", ["s3://b/x-0.tar", "s3://b/x-1.tar", "s3://b/y-0.tar", "s3://b/y-1.tar"]),
        ("plain.tar", ["plain.tar"]),
    ],
)
def test_braces(pattern: str, paths: list[str]):
    assert expand(pattern) == paths


def test_no_shards(tmp_path: Path):
    with pytest.raises(DataError, match="there is no shard"):
        opened(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        opened(tmp_path, shards="missing-{0..1}.tar")
    with pytest.raises(DataError, match="cannot be opened"):
        opened(tmp_path, shards="nosuchprotocol://a.tar")


def test_held_out_shards(shards: Path):
    source = opened(shards, shards="part-0[01].tar", held_out_shards="part-02.tar")
    assert len(source.train) == 16
    assert {sample.caption for sample in source.held_out(20)} == {f"picture {number}" for number in range(16, 24)}


def test_the_shards_of_drawn_scenes_are_what_webdataset_reads(tmp_path: Path):
    """The picture that a scene was redrawn as lies beside it and is not taken for it."""
    write_shards(tmp_path, count=6, seed=1, shards=2, size_px=64)
    files = sorted(tmp_path.rglob("*.tar"))
    expected = [
        (sample["__key__"], sample["png"], sample["txt"].decode().strip())
        for sample in group_by_keys(
            tar_file_expander({"url": str(file), "stream": io.BytesIO(file.read_bytes())} for file in files)
        )
    ]
    store = ShardPairsConfig(shards=str(tmp_path / "**/*.tar"), cache=str(tmp_path / "cache")).divided(None).store
    read = store.read(range(6))
    assert [(pair.name.partition("/")[2], pair.picture, *pair.captions) for pair in read] == expected  # type: ignore[union-attr]


@pytest.mark.skipif(not REAL.is_file(), reason="the development data is not here")
def test_a_real_shard_of_web_pictures(tmp_path: Path):
    config = ShardPairsConfig(shards=str(REAL), size_px=64, least_held_out=2, cache=str(tmp_path / "cache"))
    source = config.open(None, tokenizer=config.tokenizer(None), batch_size=10, seed=0)
    batches = [source[step] for step in range(3)]
    assert len({name for batch in batches for name in batch.sample_ids}) == 30
    assert not any(batch.broken for batch in batches)
    assert len(source.held_out(5)) == 2
    raw = source.store.read([0])[0]
    assert isinstance(raw, RawPair)
    assert raw.captions == ("Red Square is a city square in Moscow, Russia.",)
