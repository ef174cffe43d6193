"""The manifest: what a bundle says of itself. Its JSON form is documented in docs/bundle.md."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from runtime.preprocess.image import ImageTransform

SCHEMA_VERSION = 1
"""Raised when a reader of the previous version could misread a bundle."""

Precision = Literal["fp32", "fp16", "int8"]
GraphName = Literal["image_encoder", "text_encoder", "fusion"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageInput(_Part):
    """The image transform; see `runtime.preprocess.image.ImageTransform`."""

    size_px: int = Field(gt=0)
    resize: Literal["squash", "crop"] = "squash"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    patch_rows: int = Field(gt=0)
    patch_columns: int = Field(gt=0)

    def transform(self) -> ImageTransform:
        """Return the transform that these numbers describe."""
        return ImageTransform(size_px=self.size_px, resize=self.resize, mean=self.mean, std=self.std)


class TextInput(_Part):
    """The tokenizer file and the longest text, in subwords, that the text encoder takes."""

    tokenizer: str = "tokenizer.json"
    max_subwords: int = Field(gt=2)
    lexicon: str | None = Field(
        default=None,
        description="JSON list of frequent words of the training texts: candidates for suggestions",
    )


class TensorSpec(_Part):
    """A graph's input or output. A dimension that varies is named instead of counted."""

    name: str
    dtype: Literal["float32", "float16", "int64"]
    shape: tuple[int | str, ...]


class Graph(_Part):
    """One ONNX graph."""

    file: str
    precision: Precision
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def has_output(self, name: str) -> bool:
        """Say whether the graph gives the named output."""
        return any(output.name == name for output in self.outputs)


class Logistic(_Part):
    """Turns a raw score into a probability: sigmoid(scale * score + bias)."""

    scale: float = 1.0
    bias: float = 0.0

    def probability(self, score: float) -> float:
        """Return the calibrated probability of one raw score."""
        return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, self.scale * score + self.bias))))


class Calibration(_Part):
    """What turns raw scores into probabilities, fitted on a validation split.

    Attributes:
        match: of a pair's raw match score: the fusion graph's logit, or the cosine of the dual encoder.
        word_error: of a word's raw error score (see `runtime.proofread`).
        word_error_threshold: probability from which a word is called an error.
        grounding: of a box's raw score (see `runtime.ground`).
        fitted_on: the data and the number of samples, in words.
    """

    match: Logistic = Logistic()
    word_error: Logistic = Logistic()
    word_error_threshold: float = 0.5
    grounding: Logistic = Logistic()
    fitted_on: str = "not fitted"


class OutputParity(_Part):
    """How one exported output compares with PyTorch over `samples` real samples."""

    samples: int
    largest_difference: float
    smallest_cosine: float


class Provenance(_Part):
    """Where the weights come from."""

    recipe: str
    commit: str = "unknown"
    checkpoint: str = Field(default="unknown", description="sha256 of the checkpoint's weights")
    data: str
    steps: int | None = None
    metrics: dict[str, float] = {}


class Manifest(_Part):
    """Everything that a reader must know before it opens a graph."""

    schema_version: int = SCHEMA_VERSION
    name: str
    space: str = Field(description="digest that names the embedding space; equal digests may share a gallery")
    embedding_dim: int = Field(gt=0)
    temperature: float = Field(gt=0, description="what the cosine was divided by in training")
    image: ImageInput
    text: TextInput
    graphs: dict[GraphName, Graph]
    files: dict[str, str] = Field(description="file name to sha256, of every file but the manifest")
    calibration: Calibration = Calibration()
    provenance: Provenance
    parity: dict[str, OutputParity] = Field(default={}, description="'graph.output' to its parity")
    top_hit_agreement: float | None = Field(
        default=None, description="share of parity samples whose best match is the same as PyTorch's"
    )
