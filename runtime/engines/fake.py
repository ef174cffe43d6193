"""An encoder without weights: it sees nothing but colours and reads nothing but their names.

Deterministic and content-dependent, so that everything around a model can be run and tested for real: the text "red"
finds red pictures, grounds on red patches, and "blue" in the caption of a red picture is a wrong word.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from runtime.bundle import Calibration, Graph, ImageInput, Logistic, Manifest, Provenance, TensorSpec, TextInput
from runtime.encoder import Encoder, Floats
from runtime.engines.protocol import Arrays, Engine
from runtime.preprocess.text import TextTransform

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 220, 50),
    "purple": (140, 50, 170),
    "orange": (245, 140, 30),
    "black": (20, 20, 20),
    "white": (250, 250, 250),
}
"""The colours that the fake model knows, in RGB; each is one axis of the embedding."""

_GRID = 4
_SIZE_PX = 32
_NOISE_DIMS = 8
_LEVELS = 2
_REGIONS = 2
_CORRECTIONS = 16
_INTEGERS = ("ids", "mask", "correction_ids", "codes")
_OTHER_WORDS = "a the and of left right above below circle square star big small picture with".split()
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def fake_encoder(
    *,
    fusion: bool = True,
    word_maps: bool = False,
    proof_reader: bool = False,
    regions: bool = False,
    codes: bool = False,
    name: str = "fake",
) -> Encoder:
    """Return an encoder of the fake model.

    Args:
        fusion: whether the bundle has a fusion graph; without one it is a dual encoder only.
        word_maps: whether the bundle has a graph of word maps.
        proof_reader: whether the bundle has a proof-reader graph.
        regions: whether the image encoder gives regions: a box around each of the two colours seen most.
        codes: whether it gives codes: the nearest colour of each patch.
        name: of the bundle; encoders of different names have different spaces.
    """
    tokenizer = _tokenizer()
    engines: dict[str, Engine] = {
        "image_encoder": _FakeImages(regions=regions),
        "text_encoder": _FakeTexts(tokenizer),
    }
    if fusion:
        engines["fusion"] = _FakeFusion(tokenizer)
    if word_maps:
        engines["word_maps"] = _FakeWordMaps()
    if proof_reader:
        engines["proof_reader"] = _FakeProofReader(tokenizer)
    manifest = _manifest(
        name,
        with_fusion=fusion,
        with_word_maps=word_maps,
        with_proof_reader=proof_reader,
        with_regions=regions,
        with_codes=codes,
    )
    transform = TextTransform(tokenizer, max_subwords=manifest.text.max_subwords)
    return Encoder(manifest, transform, engines, lexicon=() if fusion else tuple(PALETTE))


class _Fake:
    provider = "fake"


class _FakeImages(_Fake):
    def __init__(self, *, regions: bool) -> None:
        self._has_regions = regions

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        pixels = (inputs["pixels"] * 0.5 + 0.5) * 255
        cell = _SIZE_PX // _GRID
        patches = pixels.reshape(len(pixels), 3, _GRID, cell, _GRID, cell).mean(axis=(3, 5))
        patches = patches.reshape(len(pixels), 3, _GRID * _GRID).transpose(0, 2, 1)
        colours = np.asarray(list(PALETTE.values()), np.float32)
        distance = np.linalg.norm(patches[:, :, None] - colours, axis=-1)
        near = np.exp(-distance / 30)
        # What is mostly white is background: it counts for little, as it would for a real model.
        near[:, :, list(PALETTE).index("white")] *= 0.05
        noise = patches[:, :, np.arange(_NOISE_DIMS) % 3] / 255 * 0.02
        tokens = np.concatenate([near, noise], axis=-1).astype(np.float32)
        found = {
            "image_embedding": _unit(tokens.mean(axis=1)),
            "patch_tokens": tokens,
            "patch_embeddings": _unit(tokens),
            "image_levels": np.stack([tokens] * _LEVELS, axis=1),
            "image_summary": tokens.max(axis=1),
            "codes": distance.argmin(axis=-1),
        }
        if self._has_regions:
            found |= _regions(tokens)
        return {name: found[name] for name in outputs or found}


def _regions(tokens: Floats) -> dict[str, Floats]:
    """Return the regions of pictures by their tokens [images, patches, width], the most certain first."""
    seen = tokens[:, :, : len(PALETTE)]
    colours = np.argsort(-seen.sum(axis=1), axis=1, kind="stable")[:, :_REGIONS]
    boxes, scores, embeddings = [], [], []
    for picture, wanted in enumerate(colours):
        for colour in wanted:
            strength = seen[picture, :, colour]
            rows, columns = np.nonzero(strength.reshape(_GRID, _GRID) >= strength.max() / 2)
            boxes.append(np.asarray([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / _GRID)
            scores.append(8 * strength.max() - 4)
            embeddings.append(strength @ tokens[picture])
    shape = (len(tokens), _REGIONS)
    return {
        "region_boxes": np.asarray(boxes, np.float32).reshape(*shape, 4),
        "region_scores": np.asarray(scores, np.float32).reshape(shape),
        "region_embeddings": _unit(np.asarray(embeddings)).reshape(*shape, -1),
    }


class _FakeTexts(_Fake):
    def __init__(self, tokenizer: Tokenizer) -> None:
        entries = sorted((at, word) for word, at in tokenizer.get_vocab().items())
        self._vectors = np.stack([_word_vector(word) for _, word in entries])

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        tokens = self._vectors[inputs["ids"]] * inputs["mask"][:, :, None]
        return {"text_embedding": _unit(tokens.sum(axis=1) + 1e-3), "word_tokens": tokens.astype(np.float32)}


class _FakeFusion(_Fake):
    def __init__(self, tokenizer: Tokenizer) -> None:
        vocabulary = tokenizer.get_vocab()
        self._colour_ids = [vocabulary[colour] for colour in PALETTE]
        self._vocabulary = len(vocabulary)

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        words, patches = inputs["word_tokens"], inputs["patch_tokens"]
        colours = len(PALETTE)
        seen = patches[:, :, :colours].max(axis=1)
        wanted = words[:, :, :colours].max(axis=1)
        match = 4 - 8 * np.maximum(wanted - seen, 0).max(axis=1)
        # Of words that are no colours it knows nothing: each is as good as another.
        suggestions = np.full((*words.shape[:2], self._vocabulary), 8.0, np.float32)
        suggestions[:, :, self._colour_ids] = 9 * seen[:, None] + patches[:, None, :, :colours].mean(axis=2)
        affinity = np.exp(4 * np.einsum("blc,bpc->blp", words[:, :, :colours], patches[:, :, :colours]))
        return {
            "match": match.astype(np.float32),
            "suggestions": suggestions,
            "relevance": (affinity / affinity.sum(axis=-1, keepdims=True)).astype(np.float32),
        }


class _FakeWordMaps(_Fake):
    """A patch raises the match through a word by its share of the word's colour; other words add nothing."""

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        colours = len(PALETTE)
        words, patches = inputs["word_tokens"][:, :, :colours], inputs["patch_tokens"][:, :, :colours]
        maps = np.einsum("blc,bpc->blp", words, patches) * inputs["mask"][:, :, None]
        return {"word_maps": maps.astype(np.float32)}


class _FakeProofReader(_Fake):
    """A colour is wrong when no patch has it; what should stand there is a colour that is seen."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        vocabulary = tokenizer.get_vocab()
        self._colour_ids = np.asarray([vocabulary[colour] for colour in PALETTE])
        self._vocabulary = len(vocabulary)

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        ids, levels = inputs["ids"], inputs["image_levels"]
        seen = levels[..., : len(PALETTE)].max(axis=(1, 2))
        is_colour = ids[:, :, None] == self._colour_ids
        missing = (is_colour * (1 - seen[:, None])).sum(axis=-1)
        logits = np.full((*ids.shape, self._vocabulary), -4.0, np.float32)
        logits[:, :, self._colour_ids] = 9 * seen[:, None]
        log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        best = np.argsort(-log_p, axis=-1, kind="stable")[:, :, :_CORRECTIONS]
        return {
            "word_error": np.where(is_colour.any(axis=-1), 12 * missing - 6, -6).astype(np.float32),
            "correction_ids": best.astype(np.int64),
            "correction_scores": np.take_along_axis(log_p, best, axis=-1),
        }


def _word_vector(word: str) -> Floats:
    vector = np.zeros(len(PALETTE) + _NOISE_DIMS, np.float32)
    if word in PALETTE:
        vector[list(PALETTE).index(word)] = 1
    elif re.fullmatch(r"[^\W_]+", word):
        vector[len(PALETTE) + sum(map(ord, word)) % _NOISE_DIMS] = 0.05
    return vector


def _unit(vectors: NDArray[Any]) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def _tokenizer() -> Tokenizer:
    entries = _SPECIAL + list(PALETTE) + _OTHER_WORDS + [chr(c) for c in range(ord("a"), ord("z") + 1) if c != ord("a")]
    entries += [f"##{chr(c)}" for c in range(ord("a"), ord("z") + 1)]
    vocabulary = {word: at for at, word in enumerate(entries)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    return tokenizer


def _manifest(
    name: str,
    *,
    with_fusion: bool,
    with_word_maps: bool,
    with_proof_reader: bool,
    with_regions: bool,
    with_codes: bool,
) -> Manifest:
    dim = len(PALETTE) + _NOISE_DIMS
    patches = _GRID * _GRID

    def graph(inputs: dict[str, tuple[int | str, ...]], outputs: dict[str, tuple[int | str, ...]]) -> Graph:
        def specs(shapes: dict[str, tuple[int | str, ...]]) -> tuple[TensorSpec, ...]:
            return tuple(
                TensorSpec(name=key, dtype="int64" if key in _INTEGERS else "float32", shape=shape)
                for key, shape in shapes.items()
            )

        return Graph(file="none", precision="fp32", opset=18, inputs=specs(inputs), outputs=specs(outputs))

    texts: dict[str, tuple[int | str, ...]] = {"ids": ("batch", "subwords"), "mask": ("batch", "subwords")}
    images: dict[str, tuple[int | str, ...]] = {"pixels": ("batch", 3, _SIZE_PX, _SIZE_PX)}
    seen: dict[str, tuple[int | str, ...]] = {
        "image_embedding": ("batch", dim),
        "patch_tokens": ("batch", patches, dim),
        "patch_embeddings": ("batch", patches, dim),
    }
    if with_regions:
        seen["region_boxes"] = ("batch", _REGIONS, 4)
        seen["region_scores"] = ("batch", _REGIONS)
        seen["region_embeddings"] = ("batch", _REGIONS, dim)
    if with_codes:
        seen["codes"] = ("batch", patches)
    graphs = {
        "image_encoder": graph(images, seen),
        "text_encoder": graph(texts, {"text_embedding": ("batch", dim), "word_tokens": ("batch", "subwords", dim)}),
    }
    pairs: dict[str, tuple[int | str, ...]] = {
        "word_tokens": ("batch", "subwords", dim),
        "mask": ("batch", "subwords"),
        "patch_tokens": ("batch", patches, dim),
    }
    if with_word_maps:
        graphs["word_maps"] = graph(pairs, {"word_maps": ("batch", "subwords", patches)})
    if with_fusion:
        graphs["fusion"] = graph(
            pairs,
            {
                "match": ("batch",),
                "suggestions": ("batch", "subwords", "vocabulary"),
                "relevance": ("batch", "subwords", patches),
            },
        )
    if with_proof_reader:
        levels: dict[str, tuple[int | str, ...]] = {
            "image_levels": ("batch", _LEVELS, patches, dim),
            "image_summary": ("batch", dim),
        }
        per_subword = ("batch", "subwords", _CORRECTIONS)
        graphs["image_encoder"] = graph(images, {**seen, **levels})
        graphs["proof_reader"] = graph(
            {**texts, **levels},
            {
                "word_error": ("batch", "subwords"),
                "correction_ids": per_subword,
                "correction_scores": per_subword,
            },
        )
    return Manifest.model_validate(
        {
            "name": name,
            "space": f"{name}-space",
            "embedding_dim": dim,
            "temperature": 0.05,
            "image": ImageInput(size_px=_SIZE_PX, patch_rows=_GRID, patch_columns=_GRID),
            "text": TextInput(max_subwords=64),
            "graphs": graphs,
            "files": {},
            "calibration": Calibration(
                word_error=Logistic(scale=1.0, bias=-2.0), grounding=Logistic(scale=8.0, bias=-4.0)
            ),
            "provenance": Provenance(recipe="none", data="none"),
        }
    )
