"""The graphs of a bundle as modules with tensors in and tensors out: what is traced, and what parity compares with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from runtime.bundle.manifest import GraphName, TensorSpec
from runtime.engines.protocol import Arrays
from training.model.backbone import GRID, two_view_graph
from training.model.features import ImageLevels
from training.model.grid_encoder import GridEncoder
from training.model.pair_model import PairModel
from training.model.proof_reader import MOST_CORRECTIONS
from training.model.word_maps import word_maps

BATCH, SUBWORDS = "batch", "subwords"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenFront:
    """A frozen graph that stands in front of the traced one.

    Attributes:
        graph: from the plan's input to the tensor `through`.
        through: where the two meet.
        example: what the traced module gets in place of the plan's input.
    """

    graph: onnx.ModelProto
    through: str
    example: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphPlan:
    """A graph to be exported.

    Attributes:
        name: its role in the bundle.
        module: gives the outputs in order.
        example: one tensor per input, by name, of sizes that are not special (2 and more).
        varying: for each input, which dimensions vary, by position.
        outputs: what it gives, in order.
        front: what the module runs outside of torch, where there is such a part; the module also takes what that gives.
        takes_gradient: whether the module takes a gradient within.
    """

    name: GraphName
    module: nn.Module
    example: Mapping[str, Tensor]
    varying: Mapping[str, Mapping[int, str]]
    outputs: tuple[TensorSpec, ...]
    front: FrozenFront | None = None
    takes_gradient: bool = False

    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs as the manifest describes them."""
        return tuple(
            TensorSpec(
                name=name,
                dtype="int64" if tensor.dtype == torch.int64 else "float32",
                shape=tuple(self.varying[name].get(at, size) for at, size in enumerate(tensor.shape)),
            )
            for name, tensor in self.example.items()
        )


class TorchEngine:
    """A plan's module behind the engines' protocol: what the exported graph is held against."""

    provider = "torch"

    def __init__(self, plan: GraphPlan) -> None:
        self._plan = plan
        plan.module.eval()

    @torch.no_grad()
    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        found = self._plan.module(
            *(torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in self._plan.example)
        )
        named = {spec.name: value.numpy() for spec, value in zip(self._plan.outputs, found, strict=True)}
        return named if outputs is None else {name: named[name] for name in outputs}


class ImageGraph(nn.Module):
    """Pixels to the image encoder's three outputs, and those of a proof-reader, a region head and a dictionary."""

    def __init__(self, model: PairModel) -> None:
        super().__init__()
        self.model = model
        self._gives_codes = _has_codes(model)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Embedding, patch tokens, patch embeddings; levels and summary; regions' boxes, scores, embeddings; codes."""
        features = self.model.encode_images(pixels)
        found = [features.embedding, features.tokens, features.patch_embeddings]
        if features.levels is not None:
            found += [features.levels.levels, features.levels.summary]
        if (head := self.model.region_head) is not None:
            best = head.best(self.model.regions(features.tokens, features.patch_embeddings))
            found += [best.boxes.clamp(0, 1), best.scores, best.embeddings]
        if self._gives_codes and features.codes is not None:
            found.append(features.codes)
        return tuple(found)


class TextGraph(nn.Module):
    """Subword ids to the text encoder's two outputs."""

    def __init__(self, model: PairModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding, word tokens."""
        features = self.model.encode_texts(ids, mask.bool())
        return features.embedding, features.tokens


class FusionGraph(nn.Module):
    """Word and patch tokens to the fusion encoder's outputs."""

    def __init__(self, model: PairModel) -> None:
        super().__init__()
        self.model = model
        self._guesses_words, self._shows_places = model.config.guesses_words, not model.config.heads_above

    def forward(self, word_tokens: Tensor, mask: Tensor, patch_tokens: Tensor) -> tuple[Tensor, ...]:
        """Matching logit, masked-word logits where it guesses words, relevance where it shows places."""
        fused = self.model.fuse(word_tokens, mask.bool(), patch_tokens)
        guesses = (self.model.masked_words(fused.tokens),) if self._guesses_words else ()
        places = (fused.relevance,) if self._shows_places else ()
        return (self.model.match(fused), *guesses, *places)


class WordMapsGraph(nn.Module):
    """Word and patch tokens to the word maps: a gradient is taken within."""

    def __init__(self, model: PairModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, word_tokens: Tensor, mask: Tensor, patch_tokens: Tensor) -> tuple[Tensor]:
        """Word maps."""
        return (word_maps(self.model, word_tokens, mask.bool(), patch_tokens),)


class ProofReaderGraph(nn.Module):
    """Subword ids and a picture's levels and summary to the proof-reader's three outputs."""

    def __init__(self, model: PairModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, ids: Tensor, mask: Tensor, image_levels: Tensor, image_summary: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Word errors, corrections, their scores."""
        image = ImageLevels(levels=image_levels, summary=image_summary)
        found = self.model.proofread(ids, mask.bool(), image)
        return found.word_error, found.correction_ids, found.correction_scores


def plan_graphs(model: PairModel, *, pixels: Tensor, max_subwords: int, vocab_size: int) -> list[GraphPlan]:
    """The graphs that a model has, with example inputs.

    Args:
        model: in evaluation mode.
        pixels: an input of the image encoder, [images, ...] with at least two images; only its shape matters.
        max_subwords: the longest text.
        vocab_size: how many subwords the tokenizer knows.
    """
    dim = model.config.dim
    with torch.no_grad():
        features = model.encode_images(pixels[:2])
    _, patches, width = features.tokens.shape
    levels = features.levels
    length = min(7, max_subwords)
    ids, mask = torch.ones(2, length, dtype=torch.int64), torch.ones(2, length, dtype=torch.int64)
    with torch.no_grad():
        text_width = model.encode_texts(ids, mask.bool()).tokens.shape[-1]
    per_text = {0: BATCH, 1: SUBWORDS}
    plans = [
        GraphPlan(
            name="image_encoder",
            module=ImageGraph(model),
            example={"pixels": pixels[:2]},
            varying={"pixels": {0: BATCH}},
            outputs=(
                _float("image_embedding", BATCH, dim),
                _float("patch_tokens", BATCH, patches, width),
                _float("patch_embeddings", BATCH, patches, dim),
                *_level_outputs(levels),
                *_region_outputs(model),
                *_code_outputs(model, patches),
            ),
            front=_front(model, pixels[:2]),
        ),
        GraphPlan(
            name="text_encoder",
            module=TextGraph(model),
            example={"ids": ids, "mask": mask},
            varying={"ids": per_text, "mask": per_text},
            outputs=(
                _float("text_embedding", BATCH, dim),
                _float("word_tokens", BATCH, SUBWORDS, text_width),
            ),
        ),
    ]
    if model.fusion_encoder is not None:
        # heads above a trained dual encoder point worse than its own patches do (docs/experiments.md)
        shows_places = not model.config.heads_above
        guesses = (_float("suggestions", BATCH, SUBWORDS, vocab_size),) if model.config.guesses_words else ()
        places = (_float("relevance", BATCH, SUBWORDS, patches),) if shows_places else ()
        pairs = GraphPlan(
            name="fusion",
            module=FusionGraph(model),
            example={
                "word_tokens": torch.randn(2, length, text_width),
                "mask": mask,
                "patch_tokens": torch.randn(2, patches, width),
            },
            varying={"word_tokens": per_text, "mask": per_text, "patch_tokens": {0: BATCH}},
            outputs=(_float("match", BATCH), *guesses, *places),
        )
        plans.append(pairs)
        maps = WordMapsGraph(model)
        # of the last layer, nothing but the first token is read
        if shows_places and maps(*pairs.example.values())[0][:, 1:].any():
            outputs = (_float("word_maps", BATCH, SUBWORDS, patches),)
            plans.append(replace(pairs, name="word_maps", module=maps, outputs=outputs, takes_gradient=True))
    if levels is not None:
        corrections = min(MOST_CORRECTIONS, vocab_size)
        plans.append(
            GraphPlan(
                name="proof_reader",
                module=ProofReaderGraph(model),
                example={
                    "ids": ids,
                    "mask": mask,
                    "image_levels": torch.randn_like(levels.levels),
                    "image_summary": torch.randn_like(levels.summary),
                },
                varying={"ids": per_text, "mask": per_text, "image_levels": {0: BATCH}, "image_summary": {0: BATCH}},
                outputs=(
                    _float("word_error", BATCH, SUBWORDS),
                    TensorSpec(name="correction_ids", dtype="int64", shape=(BATCH, SUBWORDS, corrections)),
                    _float("correction_scores", BATCH, SUBWORDS, corrections),
                ),
            )
        )
    return plans


def _level_outputs(levels: ImageLevels | None) -> tuple[TensorSpec, ...]:
    if levels is None:
        return ()
    return (
        _float("image_levels", BATCH, *levels.levels.shape[1:]),
        _float("image_summary", BATCH, *levels.summary.shape[1:]),
    )


def _region_outputs(model: PairModel) -> tuple[TensorSpec, ...]:
    head = model.region_head
    if head is None:
        return ()
    count = head.config.regions
    return (
        _float("region_boxes", BATCH, count, 4),
        _float("region_scores", BATCH, count),
        _float("region_embeddings", BATCH, count, model.config.dim),
    )


def _code_outputs(model: PairModel, patches: int) -> tuple[TensorSpec, ...]:
    if not _has_codes(model):
        return ()
    return (TensorSpec(name="codes", dtype="int64", shape=(BATCH, patches)),)


def _has_codes(model: PairModel) -> bool:
    """Whether it has a visual dictionary; one that has not begun says nothing yet."""
    return model.visual_dictionary is not None and bool(model.visual_dictionary.has_begun)


def _front(model: PairModel, pixels: Tensor) -> FrozenFront | None:
    encoder = model.image_encoder
    if not isinstance(encoder, GridEncoder):
        return None
    return FrozenFront(graph=two_view_graph(encoder.config.backbone), through=GRID, example=encoder.grids(pixels))


def _float(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)
