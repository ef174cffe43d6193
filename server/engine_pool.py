"""The one way from the routes to the engines: every call of a graph goes through here, and nothing else does.

Pictures and texts are prepared on threads of their own, so that they never stand in an engine's way, and a text never
waits for a picture. What runs on a graph runs in batches with what others want of it.
"""

import asyncio
import io
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.encoder import Encoder, Floats, ImageFeatures, TextFeatures, image_features
from runtime.grounding import Grounding, ScoredBox, best_boxes, ground, ground_many, method_of
from runtime.preprocess.image import decode_image
from runtime.preprocess.text import TextBatch
from runtime.proofread import Proof, ProofWord, judge_words, proofread_many
from runtime.word_maps import WordMap, phrase_maps, word_maps
from server import timings
from server.batching import Watcher
from server.byte_cache import ByteCache
from server.graphs import Graphs, RowArrays
from server.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")

_CHARACTERS_AT_ONCE = 1_000
"""Texts of no more are tokenised on the spot: in less time than a trip to a thread takes."""

_PHRASES_AT_ONCE = 16


class EnginePool:
    """An encoder with its threads.

    Attributes:
        encoder: the encoder.
        grounds_by: how phrases are found in pictures that are not looked at again; None when they are not.
        texts: those that were embedded lately.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        engine_workers: int,
        decode_workers: int,
        judge_workers: int,
        max_batch_s: float,
        watcher: Watcher,
        texts: ByteCache[RowArrays],
    ) -> None:
        self.encoder = encoder
        self.grounds_by = method_of(encoder.manifest)
        self.texts = texts
        self.graphs = Graphs(encoder, num_loops=engine_workers, max_batch_s=max_batch_s, watcher=watcher)
        self._for_threads = self.graphs.as_encoder()
        self._judge = Workers("judge", judge_workers)
        self._decode = Workers("decode", decode_workers)
        self._tokenise = Workers("tokenise", 1)

    @property
    def has_failed(self) -> bool:
        """Whether the last call of an engine failed."""
        return self.graphs.batcher.has_failed

    async def decode(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run work on pictures that needs no engine."""
        return await self._decode.run(call, *args, **kwargs)

    async def image_features(self, images: Sequence[Image.Image], *, to_proofread: bool = False) -> ImageFeatures:
        """Embed RGB pictures; those `to_proofread` with what the bundle's proof-reader takes.

        Raises:
            EngineError: the engine failed.
        """
        pixels = await asyncio.gather(*(self._decode.run(self.encoder.image_input, image) for image in images))
        wanted = self.encoder.image_outputs(to_proofread=to_proofread)
        rows = await self._run("image_encoder", [{"pixels": array} for array in pixels], wanted)
        return (
            image_features({name: _column(rows, name) for name in rows[0]}) if rows else self.encoder.embed_pixels([])
        )

    async def text_features(self, texts: Sequence[str]) -> TextFeatures:
        """Embed texts.

        Raises:
            TextError: a text is empty or far too long.
            EngineError: the engine failed.
        """
        return self.joined(await self.text_rows(texts))

    async def text_rows(self, texts: Sequence[str]) -> list[RowArrays]:
        """Embed texts; each gives one row of arrays, without padding.

        Raises:
            TextError: a text is empty or far too long.
            EngineError: the engine failed.
        """
        held = {text: row for text in set(texts) if (row := self.texts.get(text)) is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in held]
        if missing:
            held.update(zip(missing, await self._read(missing), strict=True))
        return [held[text] for text in texts]

    async def _read(self, texts: Sequence[str]) -> list[RowArrays]:
        """Tokenise and embed texts; each gives one row, without padding."""
        encode = self.encoder.text_transform.encode
        is_short = sum(map(len, texts)) <= _CHARACTERS_AT_ONCE
        since_s = time.perf_counter()
        batch = encode(texts) if is_short else await self._tokenise.run(encode, texts)
        if (stopwatch := timings.current.get()) is not None:
            stopwatch.saw("tokenise", since_s, time.perf_counter())
        lengths = batch.mask.sum(axis=1).tolist()
        tokens: list[RowArrays] = [
            {"ids": batch.ids[at, :n].copy(), "mask": batch.mask[at, :n].copy()} for at, n in enumerate(lengths)
        ]
        done = await self._run("text_encoder", tokens)
        rows: list[RowArrays] = []
        for at, text in enumerate(texts):
            offsets = batch.offsets[at, : lengths[at]].copy()
            # Copied, because what the engine gave is a part of its whole batch.
            row = {**tokens[at], "offsets": offsets, **{name: array.copy() for name, array in done[at].items()}}
            self.texts.put(text, row, sum(array.nbytes for array in row.values()) + 4 * len(text))
            rows.append(row)
        return rows

    def joined(self, rows: Sequence[RowArrays]) -> TextFeatures:
        """Return rows of texts as what an encoder gives."""
        if not rows:
            return self.encoder.embed_texts([])
        batch = TextBatch(
            ids=_padded(rows, "ids", self.encoder.text_transform.pad_id),
            mask=_padded(rows, "mask", 0),
            offsets=_padded(rows, "offsets", 0),
        )
        return TextFeatures(
            embedding=_column(rows, "text_embedding"), word_tokens=_padded(rows, "word_tokens", 0), batch=batch
        )

    async def match_scores(self, texts: TextFeatures, images: ImageFeatures) -> Floats:
        """Return the raw match score of each text with its image; one of either goes with all of the other.

        Raises:
            EngineError: the engine failed.
        """
        count = max(len(texts), len(images))
        text_rows, image_rows = _rows(len(texts), count), _rows(len(images), count)
        if not self.encoder.has_fusion:
            return self.encoder.match_scores(texts[text_rows], images[image_rows])
        lengths = texts.batch.mask.sum(axis=1).tolist()
        rows: list[RowArrays] = [
            {
                "word_tokens": texts.word_tokens[text, : lengths[text]],
                "mask": texts.batch.mask[text, : lengths[text]],
                "patch_tokens": images.patch_tokens[image],
            }
            for text, image in zip(text_rows, image_rows, strict=True)
        ]
        match = _column(await self._run("fusion", rows, ("match",)), "match")
        return self.encoder.with_cosine(match, texts[text_rows], images[image_rows])

    async def ground(
        self,
        image: ImageFeatures,
        phrases: Sequence[str],
        *,
        pixels: Floats | None = None,
        budget: int = 0,
        top_k: int = 1,
        threshold: float | None = None,
    ) -> list[Grounding]:
        """See `runtime.grounding.ground`; phrases that were read lately are not read again.

        Regions are held against phrases on the spot: in less time than a trip to a thread takes.
        """
        texts = await self.text_features(phrases)
        if self.grounds_by == "regions" and phrases and len(phrases) <= _PHRASES_AT_ONCE:
            return ground(self.encoder, image, phrases, texts=texts, top_k=top_k, threshold=threshold)
        return await self._judged(
            ground, image, phrases, texts=texts, pixels=pixels, budget=budget, top_k=top_k, threshold=threshold
        )

    async def boxes(
        self, images: ImageFeatures, phrases: Sequence[str], *, texts: TextFeatures | None = None
    ) -> list[list[tuple[ScoredBox, ...]]]:
        """Return for each picture, for each phrase, the best box, or none; all of them in one batch.

        Args:
            images: features of the pictures.
            phrases: what to look for.
            texts: the phrases, where they are embedded already.

        Raises:
            GraphMissingError: the bundle cannot ground.
            EngineError: the engine failed.
        """
        if not phrases:
            return [[] for _ in range(len(images))]
        texts = texts or await self.text_features(phrases)
        if self.grounds_by == "regions":
            return best_boxes(self.encoder.manifest, images, texts.embedding)
        found = await self._judged(ground_many, images, phrases, texts=texts)
        return [[grounding.boxes for grounding in of_picture] for of_picture in found]

    async def judge_words(self, images: ImageFeatures, text: str) -> list[tuple[ProofWord, ...]]:
        """See `runtime.proofread.judge_words`."""
        return await self._judged(judge_words, images, text)

    async def phrase_maps(self, image: ImageFeatures, phrases: Sequence[str]) -> list[Floats]:
        """See `runtime.word_maps.phrase_maps`."""
        return await self._judged(phrase_maps, image, phrases)

    async def word_maps(self, image: ImageFeatures, text: str) -> list[WordMap]:
        """See `runtime.word_maps.word_maps`."""
        return await self._judged(word_maps, image, text)

    async def proofread(
        self, image: ImageFeatures, texts: Sequence[str], *, num_suggestions: int = 3, threshold: float | None = None
    ) -> list[Proof]:
        """See `runtime.proofread.proofread_many`."""
        return await self._judged(proofread_many, image, texts, num_suggestions=num_suggestions, threshold=threshold)

    def warm_up(self) -> None:
        """Run every graph at several sizes and lengths, so that the first request finds them ready.

        Raises:
            EngineError: a graph failed.
        """
        self.graphs.warm_up()

    async def canary(self) -> Floats:
        """Send a tiny picture and a text the way that all go; return the text's embedding.

        Raises:
            EngineError: an engine failed.
        """
        image = await self.decode(decode_image, _CANARY)
        _, [text] = await asyncio.gather(self.image_features([image]), self._read(["a picture"]))
        embedding: Floats = text["text_embedding"]
        return embedding

    @property
    def idle_s(self) -> float:
        """Seconds since a batch last ran well; infinite when the last one failed."""
        batcher = self.graphs.batcher
        return math.inf if batcher.has_failed else time.monotonic() - batcher.last_success

    def waiting(self) -> dict[str, int]:
        """Return how much waits, by graph and by kind of thread."""
        threads = {"decode": self._decode.depth(), "tokenise": self._tokenise.depth(), "judge": self._judge.depth()}
        return {**dict.fromkeys(self.encoder.engines, 0), **self.graphs.batcher.depth(), **threads}

    def close(self) -> None:
        """Wait for the work in hand and end the threads."""
        self._decode.close()
        self._tokenise.close()
        self._judge.close()
        self.graphs.batcher.close()

    async def _run(
        self, graph: str, rows: Sequence[RowArrays], outputs: Sequence[str] | None = None
    ) -> list[RowArrays]:
        ticket = self.graphs.submit(graph, rows, outputs)
        results = await ticket
        if (stopwatch := timings.current.get()) is not None:
            stopwatch.waited(graph, ticket.queued_s, since_s=ticket.since, worked_s=ticket.alone_s)
        return results

    async def _judged(self, call: Callable[Concatenate[Encoder, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what asks several graphs in turn on a thread; what it runs there is batched with the rest."""
        return await self._judge.run(call, self._for_threads, *args, **kwargs)


def _tiny_picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), "grey").save(stream, "JPEG")
    return stream.getvalue()


_CANARY = _tiny_picture()


def _column(rows: Sequence[RowArrays], name: str) -> NDArray[Any]:
    """Stack one output of all rows; whatever precision the engine computed in, floats come as float32."""
    column = np.stack([row[name] for row in rows])
    return column.astype(np.float32, copy=False) if column.dtype.kind == "f" else column


def _padded(rows: Sequence[RowArrays], name: str, fill: int) -> NDArray[Any]:
    first = rows[0][name]
    padded = np.full((len(rows), max(len(row[name]) for row in rows), *first.shape[1:]), fill, first.dtype)
    for at, row in enumerate(rows):
        padded[at, : len(row[name])] = row[name]
    return padded


def _rows(given: int, wanted: int) -> NDArray[np.intp]:
    return np.zeros(wanted, np.intp) if given == 1 else np.arange(wanted)
