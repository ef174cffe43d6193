"""The manifest: what a bundle says of itself. Its JSON form is documented in docs/bundle.md."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from runtime.preprocess.image import ImageTransform, Resample

SCHEMA_VERSION = 4
"""Raised when a reader of the previous version could misread a bundle."""

Precision = Literal["fp32", "fp16", "int8"]
Variant = Literal["fp32", "fp16", "int8_dynamic", "int8_static"]
"""How a precision was reached: int8 with ranges measured as inputs come, or on calibration samples beforehand."""
GraphName = Literal["image_encoder", "text_encoder", "fusion", "word_maps", "proof_reader"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageInput(_Part):
    """The image transform; see `runtime.preprocess.image.ImageTransform`."""

    size_px: int = Field(gt=0)
    resize: Literal["squash", "crop"] = "squash"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    resample: Resample = "bicubic"
    patch_rows: int = Field(gt=0)
    patch_columns: int = Field(gt=0)

    def transform(self) -> ImageTransform:
        """Return the transform that these numbers describe."""
        return ImageTransform(
            size_px=self.size_px, resize=self.resize, mean=self.mean, std=self.std, resample=self.resample
        )

    def canonical(self) -> str:
        """Return the JSON that goes into the space's digest; a later field is in it only where it says something."""
        return self.model_dump_json(exclude={"resample"} if self.resample == "bicubic" else None)


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


class WordsTold(_Part):
    """How well a way of judging words tells wrong words of validation captions from right ones.

    Attributes:
        auroc: over all judged words.
        ap: average precision, likewise.
        blind_ap: the same where another picture stands beside each caption. The way is chosen by how far `ap` is above
            it: words that are strange in any picture can be told without looking. None where it was not measured yet.
    """

    auroc: float
    ap: float
    blind_ap: float | None = None


class WordErrorFit(_Part):
    """How word errors were calibrated.

    Attributes:
        method: the way of judging words whose scores these are (see `runtime.word_judges`): the best of `tried`.
        tried: every way that the bundle has, on the same captions; empty in bundles from before several were tried.
        prior: share of wrong words that the probabilities are for: stated, not measured, since captions that are
            proofread are mostly right.
        seen: share of wrong words among those fitted on.
        right_words: how many judged words of right captions the threshold was set on.
        wrong_words: how many wrong words.
        most_false_alarms: share of right captions' judged words that may be called errors.
        false_alarms: share of them that is, at the threshold.
        recall: share of the wrong words that is called an error there.
    """

    method: str
    tried: dict[str, WordsTold] = {}
    prior: float = Field(gt=0, lt=1)
    seen: float
    right_words: int
    wrong_words: int
    most_false_alarms: float
    false_alarms: float
    recall: float


class CaptionErrorFit(_Part):
    """How probable it is that something in a caption is wrong of its picture, by its worst word and its match.

    Attributes:
        word: what the raw error score of the caption's worst word is multiplied by; at least 0.
        match: what the caption's raw match score is multiplied by; at most 0.
        bias: what is added, before the sigmoid.
        threshold: probability from which a caption is worth looking at.
        prior: share of wrong captions that the probabilities are for: stated, not measured.
        right: how many right captions it was fitted on.
        wrong: how many wrong ones.
        most_false_alarms: share of the right captions that may reach the threshold.
        false_alarms: share of them that does.
        recall: share of the wrong ones that does.
        ap: average precision on these captions by the worst word alone, by the match alone, and by both, among as many
            wrong captions as the prior says.
    """

    word: float = Field(ge=0)
    match: float = Field(le=0)
    bias: float
    threshold: float
    prior: float = Field(gt=0, lt=1)
    right: int
    wrong: int
    most_false_alarms: float
    false_alarms: float
    recall: float
    ap: dict[Literal["word", "match", "both"], float]

    def probability(self, *, word: float, match: float) -> float:
        """Return it for the raw error score of the worst word and the raw match score."""
        return Logistic(bias=self.bias).probability(self.word * word + self.match * match)


class NeighboursFit(_Part):
    """What `min_match` is worth where hits differ from what is sought in one thing, and what would be right there.

    Attributes:
        queries: how many, of pictures that are not there, each among pictures that differ from its own in one thing.
        false_hits: share of them that is given a hit at the bundle's `min_match`.
        min_match: the probability at which no more than `most_false_hits` of them are.
        recall: share of right pairs that pass that one.
    """

    queries: int
    false_hits: float
    min_match: float
    recall: float


class MatchFit(_Part):
    """How the probabilities of matches and `min_match` came about.

    Attributes:
        prior: share of right pairs that the probabilities are for: stated, not measured, since among the hits that are
            re-scored one is right.
        seen: share of right pairs among those fitted on.
        right: how many right pairs.
        wrong: how many wrong ones.
        looked_at: how many of the best hits of each query the threshold was set on.
        unanswerable: how many queries that no picture satisfies.
        most_false_hits: share of those that may be given a hit.
        false_hits: share of them that is, at the threshold.
        recall: share of right pairs that pass it.
        neighbours: the same among pictures that differ in one thing; None where the data cannot be redrawn.
    """

    prior: float = Field(gt=0, lt=1)
    seen: float
    right: int
    wrong: int
    looked_at: int
    unanswerable: int
    most_false_hits: float
    false_hits: float
    recall: float
    neighbours: NeighboursFit | None = None


class GroundingFit(_Part):
    """How the probabilities of boxes and the threshold came about.

    Attributes:
        method: the way of grounding whose scores these are (see `runtime.grounding`).
        present: how many phrases of things that are in their picture the threshold was set on.
        absent: how many phrases of things that are not.
        most_false_alarms: share of the absent phrases that may be given a box.
        false_alarms: share of them that is, at the threshold.
        recall: share of the present phrases that is given a box there.
    """

    method: str
    present: int
    absent: int
    most_false_alarms: float
    false_alarms: float
    recall: float


class Calibration(_Part):
    """What turns raw scores into probabilities, fitted on a validation split.

    Attributes:
        match: of a pair's raw match score: the fusion graph's logit, or the cosine of the dual encoder.
        min_match: probability below which a hit is best left out; None where it was not fitted.
        match_fit: how the two came about; None where they were not fitted, or before schema version 4.
        word_error: of a word's raw error score (see `runtime.proofread`).
        word_error_threshold: probability from which a word is called an error.
        word_error_fit: how the two came about; None where they were not fitted, or before schema version 3.
        caption_error: of a whole caption; None where it was not fitted.
        grounding: of a box's raw score (see `runtime.grounding`).
        grounding_threshold: probability below which a box is not given.
        grounding_fit: how the threshold came about; None where it was not fitted, or before schema version 4: then
            every phrase is given its best box.
        fitted_on: the data and the number of samples, in words.
    """

    match: Logistic = Logistic()
    min_match: float | None = None
    match_fit: MatchFit | None = None
    word_error: Logistic = Logistic()
    word_error_threshold: float = 0.5
    word_error_fit: WordErrorFit | None = None
    caption_error: CaptionErrorFit | None = None
    grounding: Logistic = Logistic()
    grounding_threshold: float = 0.0
    grounding_fit: GroundingFit | None = None
    fitted_on: str = "not fitted"


class OutputParity(_Part):
    """How one exported output compares with PyTorch over `samples` real samples."""

    samples: int
    largest_difference: float
    smallest_cosine: float


class Decisions(_Part):
    """How often the graphs decide as PyTorch does, over `samples` real samples; None where a bundle does not decide.

    Attributes:
        samples: how many pairs.
        top_hit: share of texts whose nearest picture is the same.
        flagged_word: share of captions whose most suspicious word is the same.
        best_correction: share of wrong words whose first correction is the same.
        best_box: share of phrases whose best box is the same (nine tenths of both are common).
        regions: share of the regions of pictures whose box is the same.
        codes: share of the patches of pictures whose code is the same.
        hottest_patch: share of phrases whose word map is hottest at the same patch.
    """

    samples: int
    top_hit: float
    flagged_word: float | None = None
    best_correction: float | None = None
    best_box: float | None = None
    regions: float | None = None
    codes: float | None = None
    hottest_patch: float | None = None


class TaskQuality(_Part):
    """What a model is worth on validation samples, as shares in 0..1; None where the samples do not say.

    Attributes:
        recall_at_1: mean of text to image and image to text.
        word_auroc: of wrong words among right ones.
        acc_at_50: share of phrases whose box overlaps the true one by half.
        map_pointing: share of phrases whose word map is hottest within a true box.
    """

    recall_at_1: float | None = None
    word_auroc: float | None = None
    acc_at_50: float | None = None
    map_pointing: float | None = None


class Trial(_Part):
    """One variant of one graph that was tried.

    Attributes:
        variant: what was tried.
        bytes: size of its file.
        ms: least milliseconds of a call, by batch size.
        quality: of the bundle with this graph in this variant and the others in fp32; None when it was not asked.
        verdict: why it was taken or not, in words.
    """

    variant: Variant
    bytes: int
    ms: dict[str, float] = {}
    quality: TaskQuality | None = None
    verdict: str


class Choice(_Part):
    """The variant that a graph got, and what else was tried."""

    chosen: Variant
    trials: tuple[Trial, ...]


class PrecisionReport(_Part):
    """How the precisions of a bundle came about.

    Attributes:
        asked: what the user asked for.
        validation: the data that quality was measured on, in words.
        hardware: where speed was measured.
        fp32: quality of the bundle with every graph in fp32.
        chosen: quality of the bundle as it is.
        graphs: per graph, what was chosen and why.
    """

    asked: str
    validation: str
    hardware: str
    fp32: TaskQuality
    chosen: TaskQuality
    graphs: dict[GraphName, Choice]


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
    match_cosine: float = Field(
        default=0.0, ge=0, description="how much of a pair's cosine is added to the fusion graph's logit"
    )
    image: ImageInput
    text: TextInput
    graphs: dict[GraphName, Graph]
    files: dict[str, str] = Field(description="file name to sha256, of every file but the manifest")
    calibration: Calibration = Calibration()
    provenance: Provenance
    parity: dict[str, OutputParity] = Field(default={}, description="'graph.output' to its parity")
    top_hit_agreement: float | None = Field(default=None, description="of schema version 1; `decisions` has it since")
    decisions: Decisions | None = None
    precision: PrecisionReport | None = Field(default=None, description="None: every graph in fp32, nothing tried")
