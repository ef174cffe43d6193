"""The encoder: pictures and texts in, embeddings and match probabilities out, through a bundle's engines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.bundle import Manifest, read_bundle
from runtime.engines import Engine, start_engines
from runtime.errors import GraphMissingError
from runtime.preprocess.text import TextBatch, TextTransform

Floats = NDArray[np.float32]

_IMAGES_PER_BATCH = 32
_TEXTS_PER_BATCH = 128
_PAIRS_PER_BATCH = 64
_READ_PER_BATCH = 32  # proof-reading hands every level of the picture's patches on, once per text
_FUSED = ("match", "suggestions", "relevance")
_TO_PROOFREAD = ("image_levels", "image_summary")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFeatures:
    """What the image encoder says of some pictures.

    Attributes:
        embedding: [images, dim], unit length.
        patch_tokens: [images, patches, width], row by row over the patch grid.
        patch_embeddings: [images, patches, dim], unit length, in the joint space; None when the graph gives none.
        levels: [images, levels, patches, width], patches after some of the encoder's blocks, for the proof-reader; None
            when they were not asked for or the graph gives none.
        summary: [images, width], the picture as a whole, for the proof-reader; None as `levels`.
        region_boxes: [images, regions, 4], (x0, y0, x1, y1) in fractions of the encoder's input; this and the next two
            are None when the graph gives no regions.
        region_scores: [images, regions], logit that a region is a thing.
        region_embeddings: [images, regions, dim], unit length, in the joint space.
        codes: [images, patches], which word of the visual dictionary each patch is; None when the model has none.
    """

    embedding: Floats
    patch_tokens: Floats
    patch_embeddings: Floats | None
    levels: Floats | None = None
    summary: Floats | None = None
    region_boxes: Floats | None = None
    region_scores: Floats | None = None
    region_embeddings: Floats | None = None
    codes: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.embedding)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    def __getitem__(self, rows: slice | NDArray[np.intp] | list[int]) -> "ImageFeatures":
        return replace(self, **{name: array[rows] for name, array in self._arrays().items()})

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: array for name, array in arrays.items() if array is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFeatures:
    """What the text encoder says of some texts.

    Attributes:
        embedding: [texts, dim], unit length.
        word_tokens: [texts, subwords, width]; rows of padding mean nothing.
        batch: the tokenised texts.
    """

    embedding: Floats
    word_tokens: Floats
    batch: TextBatch

    def __len__(self) -> int:
        return len(self.embedding)

    def __getitem__(self, rows: slice | NDArray[np.intp] | list[int]) -> "TextFeatures":
        batch = TextBatch(ids=self.batch.ids[rows], mask=self.batch.mask[rows], offsets=self.batch.offsets[rows])
        return TextFeatures(embedding=self.embedding[rows], word_tokens=self.word_tokens[rows], batch=batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """What the fusion encoder says of some pairs. An output that was not asked for, or is not in the graph, is None.

    Attributes:
        match: [pairs], the raw match score (a logit).
        suggestions: [pairs, subwords, vocabulary] logits of the masked words.
        relevance: [pairs, subwords, patches], where each subword looks; rows sum to 1.
    """

    match: Floats | None
    suggestions: Floats | None
    relevance: Floats | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WordErrors:
    """What the proof-reader says of some texts and a picture; rows of padding mean nothing.

    Attributes:
        word_error: [texts, subwords], logit that the subword is wrong.
        correction_ids: [texts, subwords, corrections], what should stand there, best first.
        correction_scores: [texts, subwords, corrections], their log-probabilities over the vocabulary.
    """

    word_error: Floats
    correction_ids: NDArray[np.int64]
    correction_scores: Floats


class Encoder:
    """A bundle, ready to run. Methods may be called from several threads at once."""

    def __init__(
        self,
        manifest: Manifest,
        text_transform: TextTransform,
        engines: Mapping[str, Engine],
        *,
        lexicon: Sequence[str] = (),
        fallback: str | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            manifest: what they are.
            text_transform: the tokenizer.
            engines: one for each graph.
            lexicon: frequent words, candidates for suggestions.
            fallback: why the engines are not on the provider that was asked for; None when they are.
        """
        self.manifest = manifest
        self.fallback = fallback
        self.text_transform = text_transform
        self.engines = dict(engines)
        self.lexicon = tuple(lexicon)
        self.known_words = frozenset(self.lexicon)
        self.image_transform = manifest.image.transform()

    @classmethod
    def load(
        cls, directory: Path | str, *, provider: str = "auto", num_threads: int = 0, allow_fallback: bool = False
    ) -> "Encoder":
        """Read a bundle, start an engine for each of its graphs and run each once.

        Args:
            directory: the bundle.
            provider: one of `runtime.engines.PROVIDERS`.
            num_threads: threads within one call of an engine; 0 leaves it to the engine.
            allow_fallback: whether another provider may stand in for one asked for by name; `fallback` then says why.

        Raises:
            BundleError: the bundle is missing, incomplete, damaged or too new, or a graph is not the manifest's.
            EngineError: a graph does not run on that provider.
        """
        bundle = read_bundle(directory)
        text_transform, lexicon = bundle.text_transform(), bundle.lexicon()
        started = start_engines(bundle, provider=provider, num_threads=num_threads, allow_fallback=allow_fallback)
        return cls(bundle.manifest, text_transform, started.engines, lexicon=lexicon, fallback=started.fallback)

    @property
    def space(self) -> str:
        """The digest that names the embedding space."""
        return self.manifest.space

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.manifest.embedding_dim

    @property
    def has_fusion(self) -> bool:
        """Whether pairs are scored by a fusion graph; else the cosine of the dual encoder stands in."""
        return "fusion" in self.engines

    def fusion_gives(self, output: str) -> bool:
        """Say whether the bundle has a fusion graph with the named output."""
        return self.has_fusion and self.manifest.graphs["fusion"].has_output(output)

    @property
    def has_word_maps(self) -> bool:
        """Whether the bundle has a graph that says where in a picture each subword is."""
        return "word_maps" in self.engines

    @property
    def has_proof_reader(self) -> bool:
        """Whether the bundle has a graph that says of each subword whether it is wrong."""
        return "proof_reader" in self.engines

    def image_outputs(self, *, to_proofread: bool) -> tuple[str, ...]:
        """Name what the image encoder is asked for: what the proof-reader takes is large, and left out without need."""
        given = [output.name for output in self.manifest.graphs["image_encoder"].outputs]
        return tuple(name for name in given if to_proofread or name not in _TO_PROOFREAD)

    def embed_images(self, images: Sequence[Image.Image], *, to_proofread: bool = False) -> ImageFeatures:
        """Embed RGB pictures, in batches.

        Args:
            images: the pictures.
            to_proofread: whether texts will be proofread against them; gives `levels` and `summary` where the bundle
                has a proof-reader.

        Raises:
            EngineError: the engine failed.
        """
        return self.embed_pixels([self.image_transform.apply(image) for image in images], to_proofread=to_proofread)

    def image_input(self, image: Image.Image) -> Floats:
        """Return what `embed_pixels` takes for one RGB picture: float32 [3, size, size]."""
        return self.image_transform.apply(image)

    def embed_pixels(self, pixels: Sequence[Floats], *, to_proofread: bool = False) -> ImageFeatures:
        """Embed pictures that `image_input` has prepared, in batches; see `embed_images`."""
        wanted = self.image_outputs(to_proofread=to_proofread)
        outputs = [
            self.engines["image_encoder"].run({"pixels": np.stack(pixels[at : at + _IMAGES_PER_BATCH])}, wanted)
            for at in range(0, len(pixels), _IMAGES_PER_BATCH)
        ]
        if not outputs:
            return self._no_images()
        return image_features({name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]})

    def embed_texts(self, texts: Sequence[str]) -> TextFeatures:
        """Embed texts, in batches padded to the longest text of all.

        Raises:
            TextError: a text is empty or far too long.
            EngineError: the engine failed.
        """
        return self.embed_subwords(self.text_transform.encode(texts))

    def embed_subwords(self, batch: TextBatch) -> TextFeatures:
        """Embed texts that are tokenised already."""
        outputs = [
            self.engines["text_encoder"].run(
                {"ids": batch.ids[at : at + _TEXTS_PER_BATCH], "mask": batch.mask[at : at + _TEXTS_PER_BATCH]}
            )
            for at in range(0, len(batch.ids), _TEXTS_PER_BATCH)
        ]
        if not outputs:
            empty = np.zeros((0, self.dim), np.float32)
            return TextFeatures(embedding=empty, word_tokens=empty[:, None, :], batch=batch)
        return TextFeatures(
            embedding=np.concatenate([output["text_embedding"] for output in outputs]),
            word_tokens=np.concatenate([output["word_tokens"] for output in outputs]),
            batch=batch,
        )

    def fuse(self, texts: TextFeatures, images: ImageFeatures, *, outputs: Sequence[str] = _FUSED) -> Fused:
        """Run the fusion encoder on pairs: text i with image i, or every text with the one image given.

        Args:
            texts: n texts.
            images: n images, or one.
            outputs: which of the fields of `Fused` are wanted; the others are not computed.

        Raises:
            GraphMissingError: the bundle has no fusion graph.
            EngineError: the engine failed.
        """
        if not self.has_fusion:
            raise GraphMissingError(
                f"bundle '{self.manifest.name}' has no fusion graph; serve a bundle whose recipe trains one."
            )
        found = self._run_pairs("fusion", texts, images, [name for name in outputs if self.fusion_gives(name)])
        return Fused(**{name: found.get(name) for name in _FUSED})

    def word_maps(self, texts: TextFeatures, images: ImageFeatures) -> Floats:
        """Return what each patch adds to the match through each subword: [pairs, subwords, patches].

        Pairs as in `fuse`. At least 0 and not normalised, so that the subwords of a pair can be compared: the Grad-CAM
        of the matching logit on the attention of one fusion layer. Rows of padding are 0.

        Paper: SoftMask++ (2023), section 3; Grad-CAM (2017), equation 2.

        Raises:
            GraphMissingError: the bundle has no word_maps graph.
            EngineError: the engine failed.
        """
        if not self.has_word_maps:
            raise GraphMissingError(
                f"bundle '{self.manifest.name}' has no word_maps graph; export its checkpoint again (the recipe must "
                "train a fusion encoder)."
            )
        return self._run_pairs("word_maps", texts, images, ["word_maps"])["word_maps"]

    def _run_pairs(
        self, graph: str, texts: TextFeatures, images: ImageFeatures, outputs: Sequence[str]
    ) -> dict[str, Floats]:
        """Run a graph over word and patch tokens: text i with image i, or every text with the one image given."""
        rows = np.zeros(len(texts), np.intp) if len(images) == 1 else np.arange(len(texts))
        batches = [
            self.engines[graph].run(
                {
                    "word_tokens": texts.word_tokens[at : at + _PAIRS_PER_BATCH],
                    "mask": texts.batch.mask[at : at + _PAIRS_PER_BATCH],
                    "patch_tokens": images.patch_tokens[rows[at : at + _PAIRS_PER_BATCH]],
                },
                outputs,
            )
            for at in range(0, max(1, len(texts)), _PAIRS_PER_BATCH)
        ]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in outputs}

    def read_words(self, texts: TextBatch, image: ImageFeatures) -> WordErrors:
        """Run the proof-reader on texts of one picture, or text i of picture i: one pass for all words of a text.

        Paper: ViLEM (2023), the detection and correction heads.

        Args:
            texts: at least one text.
            image: features of exactly one picture, or of one for each text, embedded with `to_proofread`.

        Raises:
            GraphMissingError: the bundle has no proof-reader.
            ValueError: the picture was embedded without what the proof-reader takes.
            EngineError: the engine failed.
        """
        if not self.has_proof_reader:
            raise GraphMissingError(
                f"bundle '{self.manifest.name}' has no proof_reader graph; serve a bundle whose recipe trains one."
            )
        if image.levels is None or image.summary is None:
            raise ValueError("the picture was not embedded to be proofread; embed it with to_proofread=True.")
        batches = []
        rows = np.zeros(len(texts.ids), np.intp) if len(image) == 1 else np.arange(len(texts.ids))
        for at in range(0, len(texts.ids), _READ_PER_BATCH):
            ids, mask = texts.ids[at : at + _READ_PER_BATCH], texts.mask[at : at + _READ_PER_BATCH]
            pictures = rows[at : at + _READ_PER_BATCH]
            picture = {"image_levels": image.levels[pictures], "image_summary": image.summary[pictures]}
            batches.append(self.engines["proof_reader"].run({"ids": ids, "mask": mask, **picture}))
        return WordErrors(
            word_error=np.concatenate([batch["word_error"] for batch in batches]),
            correction_ids=np.concatenate([batch["correction_ids"] for batch in batches]),
            correction_scores=np.concatenate([batch["correction_scores"] for batch in batches]),
        )

    def score_pairs(self, texts: TextFeatures, images: ImageFeatures) -> Floats:
        """Return the calibrated probability that each text is true of its image (pairs as in `fuse`): [pairs]."""
        logistic = self.manifest.calibration.match
        raw = self.match_scores(texts, images)
        return np.asarray([logistic.probability(float(score)) for score in raw], np.float32)

    def match_scores(self, texts: TextFeatures, images: ImageFeatures) -> Floats:
        """Return the raw match score of each pair (pairs as in `fuse`): the fusion graph's logit, else the cosine.

        Bundles whose fusion graph learned what the cosine leaves open add the two (`Manifest.match_cosine`).

        Raw scores keep their order where probabilities have run into 0 or 1.
        """
        if not self.has_fusion:
            return cosines(texts, images)
        match = self.fuse(texts, images, outputs=("match",)).match
        assert match is not None
        return self.with_cosine(match, texts, images)

    def with_cosine(self, match: Floats, texts: TextFeatures, images: ImageFeatures) -> Floats:
        """Return logits of the fusion graph as raw match scores: some bundles add a share of the cosine."""
        share = self.manifest.match_cosine
        return np.asarray(match + share * cosines(texts, images), np.float32) if share else match

    def _no_images(self) -> ImageFeatures:
        empty = np.zeros((0, self.dim), np.float32)
        return ImageFeatures(embedding=empty, patch_tokens=empty[:, None, :], patch_embeddings=None)


def cosines(texts: TextFeatures, images: ImageFeatures) -> Floats:
    """Return the cosine of each pair (pairs as in `Encoder.fuse`): [pairs]."""
    return np.asarray(np.sum(texts.embedding * images.embedding, axis=-1), np.float32)


def image_features(outputs: Mapping[str, NDArray[Any]]) -> ImageFeatures:
    """Return the image encoder's outputs by their names as features."""
    return ImageFeatures(
        embedding=outputs["image_embedding"],
        patch_tokens=outputs["patch_tokens"],
        patch_embeddings=outputs.get("patch_embeddings"),
        levels=outputs.get("image_levels"),
        summary=outputs.get("image_summary"),
        region_boxes=outputs.get("region_boxes"),
        region_scores=outputs.get("region_scores"),
        region_embeddings=outputs.get("region_embeddings"),
        codes=outputs.get("codes"),
    )
