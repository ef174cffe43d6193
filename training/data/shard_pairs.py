"""WebDataset shards as training pairs: a picture (.jpg, .png, .webp) with its captions (.txt, or a field of .json)."""

import io
import json
import logging
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from training.data.listed_pairs import BrokenPair, Division, ListedPairsConfig, Numbers, RawPair
from training.data.shard_index import Places, expand, file_system, index_of, sample_key
from training.progress import counted_on

_PICTURES = ("jpg", "jpeg", "png", "webp")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPairsConfig(ListedPairsConfig):
    """Shards in a directory or in any store that fsspec knows."""

    shards: str = "*.tar"  # with braces or wildcards; relative to the data directory, or a path or URL of its own
    held_out_shards: str | None = None  # likewise; None: some samples of the shards are spared
    caption_fields: tuple[str, ...] = ("caption", "captions")  # of .json, where a sample has no .txt
    cache: str = "runs/shards"  # where the samples' places are kept; relative to where the program runs

    def divided(self, data: Path | None) -> Division:
        """The samples of all shards."""
        shards = expand(self._path(self.shards, data))
        others = expand(self._path(self.held_out_shards, data)) if self.held_out_shards else []
        with counted_on(Console(stderr=True), "samples of the shards") as progress:
            places = index_of([*shards, *others], Path(self.cache), progress=progress)
        count = sum(map(len, places[: len(shards)]))
        if others:
            train, held_out = np.arange(count), np.arange(count, sum(map(len, places)))
        else:
            order = np.random.default_rng(0).permutation(count)  # the same in every run
            away = min(self.least_held_out, count // 10)
            train, held_out = np.sort(order[away:]), np.sort(order[: away or None])
        store = ShardStore([*shards, *others], places, train, caption_fields=self.caption_fields)
        return Division(store=store, train=train, held_out=held_out)

    def _path(self, pattern: str, data: Path | None) -> str:
        if "://" in pattern or Path(pattern).is_absolute() or data is None:
            return pattern
        return str(data.absolute() / pattern)


class ShardStore:
    """The samples of indexed shards, each one range read away."""

    def __init__(
        self, shards: Sequence[str], places: Sequence[Places], train: Numbers, *, caption_fields: tuple[str, ...]
    ) -> None:
        self.name = f"{len(shards)} shards such as {shards[0].rpartition('/')[2]}"
        self.train = train
        self._shards = list(shards)
        self._first = np.cumsum([0, *map(len, places)])  # number of each shard's first sample
        self._places = np.concatenate(places)
        self._caption_fields = caption_fields

    def read(self, numbers: Sequence[int]) -> list[RawPair | BrokenPair]:
        """Read the samples; a remote store is asked for all of them at once."""
        shards = [self._shards[at] for at in np.searchsorted(self._first, numbers, side="right") - 1]
        paths = {shard: file_system(shard) for shard in set(shards)}
        system, _ = paths[shards[0]]
        starts, lengths = self._places[list(numbers)].T
        found = system.cat_ranges(
            [paths[shard][1] for shard in shards], starts.tolist(), (starts + lengths).tolist(), on_error="return"
        )
        return [
            self._parsed(data, f"{shard.rpartition('/')[2]}@{start}")
            for data, shard, start in zip(found, shards, starts, strict=True)
        ]

    def captions(self, most: int) -> Sequence[str]:
        """Captions of at most so many samples, evenly from all that are trained on."""
        every = max(1, -(-len(self.train) // most))
        found: list[str] = []
        for at in range(0, len(self.train), every * 256):
            raw_pairs = self.read(self.train[at : at + every * 256 : every].tolist())
            found += [caption for raw in raw_pairs if isinstance(raw, RawPair) for caption in raw.captions]
        return found

    def _parsed(self, data: bytes | Exception, place: str) -> RawPair | BrokenPair:
        if isinstance(data, Exception):
            return BrokenPair(name=place, reason=f"the shard cannot be read ({data}).")
        try:
            name, files = _files(data)
        except tarfile.TarError as error:
            return BrokenPair(name=place, reason=f"the shard is damaged there ({error}).")
        name = f"{place.partition('@')[0]}/{name}"
        picture = next((files[ending] for ending in _PICTURES if ending in files), None)
        if picture is None:
            return BrokenPair(name=name, reason=f"it has no picture ({', '.join(_PICTURES)}) among {sorted(files)}.")
        try:
            captions = self._captions(files)
        except ValueError as error:
            return BrokenPair(name=name, reason=f"its captions cannot be read ({error}).")
        if not captions:
            return BrokenPair(name=name, reason="it has no caption.")
        return RawPair(name=name, picture=picture, captions=captions)

    def _captions(self, files: dict[str, bytes]) -> tuple[str, ...]:
        if "txt" in files:
            texts = [files["txt"].decode()]
        else:
            fields = json.loads(files.get("json", b"{}"))
            found = [fields[name] for name in self._caption_fields if isinstance(fields, dict) and fields.get(name)]
            texts = [text for value in found[:1] for text in (value if isinstance(value, list) else [value])]
        return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())


def _files(data: bytes) -> tuple[str, dict[str, bytes]]:
    """The key and the files of one sample, by their ending in small letters: all after the first dot of the name."""
    key, files = "", {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:
                key = sample_key(member.name)
                files[member.name[len(key) + 1 :].lower()] = content.read()
    return key, files
