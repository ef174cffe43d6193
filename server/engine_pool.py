"""The one way from the routes to the engines: every call of a graph goes through here, and nothing else does.

Pictures and texts are prepared on threads of their own, so that they never stand in an engine's way, and a text never
waits for a picture.
"""

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
from PIL import Image

from runtime.encoder import Encoder, Floats, ImageFeatures, TextFeatures
from runtime.errors import EngineError
from runtime.ground import Grounding, ground
from runtime.preprocess.text import TextBatch
from runtime.proofread import Proof, proofread
from server.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")


class EnginePool:
    """An encoder with its threads."""

    def __init__(self, encoder: Encoder, *, engine_workers: int, decode_workers: int) -> None:
        self.encoder = encoder
        self._engine = Workers("engine", engine_workers)
        self._decode = Workers("decode", decode_workers)
        self._tokenise = Workers("tokenise", 1)
        self.has_failed = False

    async def decode(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run work on pictures that needs no engine."""
        return await self._decode.run(call, *args, **kwargs)

    async def image_features(self, images: Sequence[Image.Image]) -> ImageFeatures:
        """Embed RGB pictures.

        Raises:
            EngineError: the engine failed.
        """
        pixels = await self._decode.run(lambda: [self.encoder.image_input(image) for image in images])
        return await self._run(Encoder.embed_pixels, pixels)

    async def text_features(self, texts: Sequence[str]) -> TextFeatures:
        """Embed texts.

        Raises:
            TextError: a text is empty or far too long.
            EngineError: the engine failed.
        """
        batch = await self._tokenise.run(self.encoder.text_transform.encode, texts)
        return await self._run(Encoder.embed_subwords, batch)

    async def match_scores(self, texts: TextFeatures, images: ImageFeatures) -> Floats:
        """Return the raw match score of each text with its image; one of either goes with all of the other.

        Raises:
            EngineError: the engine failed.
        """
        if len(texts) == 1 and len(images) > 1:
            texts = _repeated(texts, len(images))
        return await self._run(Encoder.match_scores, texts, images)

    async def ground(self, image: ImageFeatures, phrases: Sequence[str], *, top_k: int = 1) -> list[Grounding]:
        """See `runtime.ground.ground`."""
        return await self._run(ground, image, phrases, top_k=top_k)

    async def proofread(
        self, image: ImageFeatures, text: str, *, num_suggestions: int = 3, threshold: float | None = None
    ) -> Proof:
        """See `runtime.proofread.proofread`."""
        return await self._run(proofread, image, text, num_suggestions=num_suggestions, threshold=threshold)

    def warm_up(self) -> None:
        """Run every graph once, so that the first request finds them ready.

        Raises:
            EngineError: a graph failed.
        """
        encoder = self.encoder
        side = encoder.manifest.image.size_px
        image = encoder.embed_images([Image.new("RGB", (side, side), "grey")])
        texts = encoder.embed_texts(["a picture"])
        if encoder.has_fusion:
            encoder.fuse(texts, image)

    def close(self) -> None:
        """Wait for the work in hand and end the threads."""
        self._decode.close()
        self._tokenise.close()
        self._engine.close()

    async def _run(self, call: Callable[Concatenate[Encoder, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            result = await self._engine.run(call, self.encoder, *args, **kwargs)
        except EngineError:
            self.has_failed = True
            raise
        self.has_failed = False
        return result


def _repeated(texts: TextFeatures, count: int) -> TextFeatures:
    def repeat(array: np.ndarray) -> np.ndarray:
        return np.repeat(array, count, axis=0)

    batch = texts.batch
    return TextFeatures(
        embedding=repeat(texts.embedding),
        word_tokens=repeat(texts.word_tokens),
        batch=TextBatch(ids=repeat(batch.ids), mask=repeat(batch.mask), offsets=repeat(batch.offsets)),
    )
