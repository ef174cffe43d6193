"""The graphs of a bundle behind one batcher: rows in, rows out, padded to the longest of their batch."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.encoder import Encoder
from runtime.engines import Engine
from runtime.engines.protocol import Arrays
from runtime.errors import EngineError
from server.batching import Batcher, Lane, Ticket, Watcher

RowArrays = dict[str, NDArray[Any]]

_MAX_ROWS = {"image_encoder": 64, "text_encoder": 256, "fusion": 64, "word_maps": 32, "proof_reader": 32}
_BUCKETS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_PER_SUBWORD = frozenset(
    "ids mask word_tokens suggestions relevance word_maps word_error correction_ids correction_scores".split()
)
_FINITE = ("image_embedding", "text_embedding", "match", "word_error", "word_maps")


class Graphs:
    """Every graph of an encoder; what all callers want of one of them runs in common batches."""

    def __init__(self, encoder: Encoder, *, num_loops: int, max_batch_s: float, watcher: Watcher) -> None:
        self._encoder = encoder
        self._pad_id = encoder.text_transform.pad_id
        self.batcher: Batcher[RowArrays, RowArrays] = Batcher(
            "engine",
            self._run,
            num_loops=num_loops,
            max_rows=lambda lane: _MAX_ROWS.get(lane.graph, 64),
            max_batch_s=max_batch_s,
            watcher=watcher,
        )

    def submit(self, graph: str, rows: Sequence[RowArrays], outputs: Sequence[str] | None = None) -> Ticket[RowArrays]:
        """Queue rows of one graph; their results are rows too, without padding."""
        wanted = None if outputs is None else tuple(outputs)
        return self.batcher.submit([(Lane(graph, (wanted, _bucket(row))), row) for row in rows])

    def as_encoder(self) -> Encoder:
        """Return an encoder for threads: whatever it runs goes through the batches here."""
        encoder = self._encoder
        engines: Mapping[str, Engine] = {name: _BatchedEngine(self, name) for name in encoder.engines}
        return Encoder(
            encoder.manifest,
            encoder.text_transform,
            engines,
            lexicon=encoder.lexicon,
            fallback=encoder.fallback,
        )

    def provider(self, graph: str) -> str:
        """Return what really runs a graph."""
        return self._encoder.engines[graph].provider

    def warm_up(self) -> None:
        """Run every graph at several sizes, and texts at every length, so that the first request finds all ready.

        Raises:
            EngineError: a graph failed.
        """
        manifest = self._encoder.manifest
        side_px = manifest.image.size_px
        image: RowArrays = {"pixels": np.zeros((3, side_px, side_px), np.float32)}
        for to_proofread in {False, self._encoder.has_proof_reader}:
            seen = self._warm("image_encoder", image, self._encoder.image_outputs(to_proofread=to_proofread))
        longest = manifest.text.max_subwords
        for length in [bucket for bucket in _BUCKETS if bucket < longest] + [longest]:
            ids = np.full(length, self._pad_id, np.int64)
            text = self._warm("text_encoder", {"ids": ids, "mask": np.ones(length, np.int64)}, None)
            pair = {
                "word_tokens": text["word_tokens"],
                "mask": np.ones(length, np.int64),
                "patch_tokens": seen["patch_tokens"],
            }
            for graph, output in (("fusion", "match"), ("word_maps", "word_maps")):
                if graph in self._encoder.engines:
                    self._warm(graph, pair, (output,))
            if self._encoder.has_proof_reader:
                levels = {name: seen[name] for name in ("image_levels", "image_summary")}
                self._warm("proof_reader", {"ids": ids, "mask": np.ones(length, np.int64), **levels}, None)

    def _warm(self, graph: str, row: RowArrays, outputs: tuple[str, ...] | None) -> RowArrays:
        lane = Lane(graph, (outputs, _bucket(row)))
        result: RowArrays = {}
        for rows in (1, 1, 2, 4):
            result = self._run_timed(lane, [row] * rows, learn=rows > 1 or bool(result))
        return result

    def _run_timed(self, lane: Lane, rows: Sequence[RowArrays], *, learn: bool) -> RowArrays:
        started = time.monotonic()
        first = self._run(lane, rows)[0]
        if isinstance(first, Exception):
            raise first
        if learn:
            self.batcher.fit(lane).learn(len(rows), time.monotonic() - started)
        return first

    def _run(self, lane: Lane, rows: Sequence[RowArrays]) -> list[RowArrays | Exception]:
        assert isinstance(lane.kind, tuple)
        wanted: tuple[str, ...] | None = lane.kind[0]
        lengths = [_length(row) for row in rows]
        inputs = {name: self._stacked(name, [row[name] for row in rows], max(lengths)) for name in rows[0]}
        engine = self._encoder.engines[lane.graph]
        outputs = engine.run(inputs) if wanted is None else engine.run(inputs, wanted)
        results: list[RowArrays | Exception] = []
        for at, length in enumerate(lengths):
            row = {name: _cut(name, values[at], length) for name, values in outputs.items()}
            results.append(row if _is_sound(row) else EngineError(f"{lane.graph} gave numbers that are none."))
        return results

    def _stacked(self, name: str, arrays: Sequence[NDArray[Any]], length: int) -> NDArray[Any]:
        if name not in _PER_SUBWORD or all(len(array) == length for array in arrays):
            return np.stack(arrays)
        fill = self._pad_id if name == "ids" else 0
        padded = np.full((len(arrays), length, *arrays[0].shape[1:]), fill, arrays[0].dtype)
        for row, array in enumerate(arrays):
            padded[row, : len(array)] = array
        return padded


class _BatchedEngine:
    """One graph as an engine whose calls run in batches with those of other callers; for threads only."""

    def __init__(self, graphs: Graphs, name: str) -> None:
        self._graphs = graphs
        self._name = name

    @property
    def provider(self) -> str:
        """See `Engine.provider`."""
        return self._graphs.provider(self._name)

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        count = len(next(iter(inputs.values())))
        rows = [{name: values[at] for name, values in inputs.items()} for at in range(count)]
        done = self._graphs.submit(self._name, rows, outputs).result()
        return {name: np.stack([row[name] for row in done]) for name in done[0]}


def _length(row: RowArrays) -> int:
    return len(row["mask"]) if "mask" in row else 0


def _bucket(row: RowArrays) -> int:
    """Return the length to which texts are sorted: what shares a bucket is padded little."""
    length = _length(row)
    return next((bucket for bucket in _BUCKETS if length <= bucket), length)


def _cut(name: str, values: NDArray[Any], length: int) -> NDArray[Any]:
    return values[:length] if name in _PER_SUBWORD else values


def _is_sound(row: RowArrays) -> bool:
    return all(bool(np.isfinite(row[name]).all()) for name in _FINITE if name in row)
