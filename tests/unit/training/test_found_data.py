"""What a directory holds is told by its files, and each public layout gives its pictures with their captions."""

import json
from pathlib import Path

import pytest
from PIL import Image

from runtime.errors import DataError
from tests.unit.training.plain_pairs import plain_config
from training.data.found import found_in
from training.data.jsonl_pairs import JsonlPairsConfig
from training.data.listed_pairs import ListedPairs, ListedPairsConfig
from training.data.public_pairs import PublicPairsConfig
from training.data.scene_pairs import ScenePairsConfig
from training.data.shard_pairs import ShardPairsConfig
from training.train import data_of

CAPTIONS = {"1.jpg": ["a cat", "one cat"], "2.jpg": ["a dog", "one dog"], "3.jpg": ["a bird", "one bird"]}
SIZES = {"size_px": 32, "max_subwords": 32}
LIKE = ListedPairsConfig(**SIZES)


def pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in CAPTIONS:
        Image.new("RGB", (32, 32)).save(folder / name)


def coco(directory: Path) -> None:
    pictures(directory / "train2017")
    (directory / "annotations").mkdir()
    numbers = {name: 100 + at for at, name in enumerate(CAPTIONS)}
    content = {
        "images": [{"id": number, "file_name": name} for name, number in numbers.items()],
        "annotations": [
            {"id": at, "image_id": numbers[name], "caption": text}
            for at, (name, text) in enumerate((name, text) for name, texts in CAPTIONS.items() for text in texts)
        ],
    }
    (directory / "annotations/captions_train2017.json").write_text(json.dumps(content))
    (directory / "annotations/captions_val2017.json").write_text("never read")


def karpathy(directory: Path) -> None:
    pictures(directory / "images")
    splits = dict(zip(CAPTIONS, ("train", "restval", "val"), strict=True))
    images = [
        {"filename": name, "split": splits[name], "sentences": [{"raw": text} for text in texts]}
        for name, texts in CAPTIONS.items()
    ]
    (directory / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))


def flickr8k(directory: Path) -> None:
    pictures(directory / "Flicker8k_Dataset")
    lines = [f"{name}#{at}\t{text}" for name, texts in CAPTIONS.items() for at, text in enumerate(texts)]
    (directory / "Flickr8k.token.txt").write_text("\n".join(lines))
    (directory / "Flickr_8k.trainImages.txt").write_text("1.jpg\n2.jpg\n")
    (directory / "Flickr_8k.devImages.txt").write_text("3.jpg\n")
    (directory / "Flickr_8k.testImages.txt").write_text("")


def flickr30k(directory: Path) -> None:
    pictures(directory / "flickr30k-images")
    lines = [f"{name}#{at}\t{text}" for name, texts in CAPTIONS.items() for at, text in enumerate(texts)]
    (directory / "results_20130124.token").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("make", "layout", "images", "num_train"),
    [
        (coco, "coco-captions", "train2017", 3),
        (karpathy, "karpathy", "images", 2),
        (flickr8k, "flickr-tokens", "Flicker8k_Dataset", 2),
        (flickr30k, "flickr-tokens", "flickr30k-images", 3),
    ],
)
def test_public_layouts_are_found_and_read(tmp_path: Path, make, layout: str, images: str, num_train: int):
    make(tmp_path)
    config = found_in(str(tmp_path), LIKE)
    assert isinstance(config, PublicPairsConfig)
    assert (config.layout, config.images, config.size_px) == (layout, images, 32)
    source = config.open(tmp_path, tokenizer=config.tokenizer(tmp_path), batch_size=num_train, seed=0)
    assert isinstance(source, ListedPairs)
    seen = {(name, text) for step in range(8) for batch in [source[step]] for name, text in pairs_of(batch)}
    expected = list(CAPTIONS)[:num_train]
    assert seen == {(name, text) for name in expected for text in CAPTIONS[name]}
    held_out = [sample.caption for sample in source.held_out(9)]
    assert held_out == (["a bird"] if num_train == 2 else ["a cat", "a dog", "a bird"])


def pairs_of(batch) -> list[tuple[str, str]]:
    return list(zip(batch.sample_ids, batch.texts, strict=True))


def test_json_lines_and_shards_are_found(tmp_path: Path):
    (tmp_path / "a.tar").touch()
    assert found_in(str(tmp_path), LIKE) == ShardPairsConfig(shards="*.tar", **SIZES)
    (tmp_path / "captions.jsonl").touch()
    assert found_in(str(tmp_path), LIKE) == JsonlPairsConfig(**SIZES)


@pytest.mark.parametrize("named", ["s3://bucket/{000..127}.tar", "shards/*.tar", "one.tar"])
def test_shards_may_be_named_by_themselves(named: str):
    assert found_in(named, LIKE) == ShardPairsConfig(shards=named, **SIZES)


def test_a_directory_with_nothing_known_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="dataset_") as caught:
        found_in(str(tmp_path), LIKE)
    assert caught.value.code == "data_missing"


def test_a_recipe_trains_on_what_is_there(tmp_path: Path):
    coco(tmp_path)
    scenes = plain_config(data=ScenePairsConfig(size_px=48, max_subwords=20))
    found = data_of(scenes, str(tmp_path))
    assert isinstance(found, PublicPairsConfig)
    assert (found.size_px, found.max_subwords) == (48, 20)
    lines = plain_config(data=JsonlPairsConfig(size_px=64, tokenizer_file="own.json"))
    found = data_of(lines, str(tmp_path))
    assert isinstance(found, PublicPairsConfig)
    assert (found.size_px, found.tokenizer_file) == (64, "own.json")
    (tmp_path / "captions.jsonl").touch()
    assert data_of(lines, str(tmp_path)) == lines.data  # what the recipe names comes first
    other = plain_config()
    assert data_of(other, str(tmp_path)) == other.data
