"""What data a directory holds: told by the files that each layout is known by."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from runtime.errors import DataError
from training.data.jsonl_pairs import JsonlPairsConfig
from training.data.listed_pairs import ListedPairsConfig
from training.data.public_pairs import Layout, PublicPairsConfig
from training.data.shard_pairs import ShardPairsConfig

_FOLDERS_OF_PICTURES = ("images", "Images", "Flickr8k_Dataset", "Flicker8k_Dataset", "flickr30k-images", ".")


Common = dict[str, Any]
"""The fields that every kind of store has."""


def names_shards(data: str) -> bool:
    """Whether what the user named is shards by itself, and not a directory: a URL, a tar file, braces or wildcards."""
    return "://" in data or data.endswith(".tar") or any(mark in data for mark in "{*")


def found_in(data: str, like: ListedPairsConfig) -> ListedPairsConfig:
    """How to read what the user named: where it lies as it is found there, all else as in `like`.

    Raises:
        DataError: nothing that is known lies there.
    """
    common = {field.name: getattr(like, field.name) for field in dataclasses.fields(ListedPairsConfig)}
    if names_shards(data):
        return ShardPairsConfig(shards=data, **common)
    directory = Path(data)
    for look in (_jsonl, _karpathy, _coco, _tokens, _shards):
        config = look(directory, common)
        if config is not None:
            return config
    raise DataError(
        f"nothing to train on is known by its name in {directory}: captions.jsonl; a dataset_*.json of Karpathy; "
        "COCO's captions_train*.json, also in annotations/; Flickr's Flickr8k.token.txt, results_20130124.token or "
        "captions.txt; or *.tar.",
        code="data_missing",
    )


def _jsonl(directory: Path, common: Common) -> ListedPairsConfig | None:
    return JsonlPairsConfig(**common) if (directory / "captions.jsonl").is_file() else None


def _karpathy(directory: Path, common: Common) -> ListedPairsConfig | None:
    return _public(directory, "karpathy", directory.glob("dataset_*.json"), lambda file: _FOLDERS_OF_PICTURES, common)


def _coco(directory: Path, common: Common) -> ListedPairsConfig | None:
    files = [*directory.glob("annotations/captions_train*.json"), *directory.glob("captions_train*.json")]

    def folders(file: Path) -> tuple[str, ...]:
        split = file.stem.removeprefix("captions_")
        return (split, f"images/{split}", *_FOLDERS_OF_PICTURES)

    return _public(directory, "coco-captions", files, folders, common)


def _tokens(directory: Path, common: Common) -> ListedPairsConfig | None:
    names = ("Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt", "results_20130124.token", "captions.txt")
    files = [directory / name for name in names]
    return _public(directory, "flickr-tokens", files, lambda file: _FOLDERS_OF_PICTURES, common)


def _shards(directory: Path, common: Common) -> ListedPairsConfig | None:
    return ShardPairsConfig(**common) if any(directory.glob("*.tar")) else None


def _public(
    directory: Path,
    layout: Layout,
    files: Iterable[Path],
    folders: Callable[[Path], Iterable[str]],
    common: Common,
) -> ListedPairsConfig | None:
    file = next((file for file in sorted(files) if file.is_file()), None)
    if file is None:
        return None
    images = next(name for name in folders(file) if (directory / name).is_dir())
    captions = file.relative_to(directory).as_posix()
    return PublicPairsConfig(layout=layout, captions=captions, images=images, **common)
