"""Parity: do these engines say what those say, on real samples? PyTorch against ONNX, or ONNX against TensorRT.

Two kinds of numbers. How far outputs are apart, at most and in direction; and whether the same is *decided*: the
nearest picture, the most suspicious word, the best correction, the best box, the hottest patch. The first kind finds a
broken graph, the second says what a difference costs. No torch here: what stands behind an engine is not this file's
business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.edits import diff, overlaps, wrong_words
from export.code_parity import CODES, with_same_codes
from export.region_parity import REGIONS, aligned
from runtime.bundle.manifest import Decisions, Graph, GraphName, Logistic, OutputParity, Precision
from runtime.encoder import Encoder, ImageFeatures
from runtime.engines import Engine
from runtime.engines.protocol import Arrays
from runtime.errors import ExportError
from runtime.grounding import ground
from runtime.grounding import method_of as grounding_method_of
from runtime.phrases import noun_phrases
from runtime.preprocess.text import Word, words
from runtime.proofread import suggest
from runtime.word_judges import UNJUDGED, Caption, judge
from runtime.word_maps import phrase_maps

_BATCHES = (1, 3, 8)
"""Batch sizes taken in turn, so that the open dimension is really tried."""

_SUBWORDS = "subwords"
PASSED_ON = ("patch_tokens", "word_tokens", "image_levels", "image_summary")
"""Outputs that later graphs take."""

_MOST_SUGGESTED = 16
_SAME_BOX = 0.9
_MOST_JUDGED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A pair to decide on.

    Attributes:
        image: a picture.
        caption: a text that is true of it.
        edited: the same with a word that is wrong.
        phrase: something to be looked for in the picture.
    """

    image: Image.Image
    caption: str
    edited: str
    phrase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far engines may be from what they are held against.

    Attributes:
        largest_difference: of any number of any output, relative to the output's own root mean square or 1, whichever
            is larger.
        smallest_cosine: between the two versions of a sample's output.
        agreement: share of equal decisions, of each kind.
    """

    largest_difference: float = 1e-3
    smallest_cosine: float = 0.9999
    agreement: float = 0.99


TOLERANCE: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(),
    "fp16": Tolerance(largest_difference=5e-2, smallest_cosine=0.999, agreement=0.97),
    # Whether int8 is good enough is asked of the task (`export.choose`); this only stops what is broken.
    "int8": Tolerance(largest_difference=float("inf"), smallest_cosine=0.8, agreement=0.75),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Real inputs: row i of everything belongs to pair i."""

    pixels: NDArray[np.float32]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """The comparison.

    Attributes:
        outputs: `graph.output` to its numbers.
        scale: `graph.output` to the root mean square of the reference's numbers.
        decisions: how often the same is decided; None where that was not asked.
        regions: share of the pictures' regions whose box is the same; None without a region head.
        codes: share of the patches whose code is the same; None without a visual dictionary.
    """

    outputs: Mapping[str, OutputParity]
    scale: Mapping[str, float]
    decisions: Decisions | None = None
    regions: float | None = None
    codes: float | None = None


def samples_of(encoder: Encoder, cases: Sequence[Case]) -> Samples:
    """The encoders' inputs for some pairs."""
    encoded = encoder.text_transform.encode([case.caption for case in cases])
    pixels = np.stack([encoder.image_input(case.image) for case in cases])
    return Samples(pixels=pixels, ids=encoded.ids, mask=encoded.mask)


def case_of(image: Image.Image, caption: str, edited: str, phrase: str | None = None) -> Case:
    """A pair with what it lacks filled in: without a phrase, the caption's first noun phrase is looked for."""
    found = noun_phrases(caption)
    return Case(
        image=image, caption=caption, edited=edited, phrase=phrase or (found[0].text if found else caption.strip())
    )


def measure(
    graphs: Mapping[GraphName, Graph],
    reference: Mapping[str, Engine],
    found: Mapping[str, Engine],
    samples: Samples,
) -> ParityReport:
    """Run both on the same samples.

    Each graph gets its inputs from the graphs before it, as in serving, on either side, so differences may add up.
    Padding positions are not compared, nor whole numbers: which subwords are the best corrections is a decision. So is
    which boxes are the best regions, and which codes patches have; the numbers of those that are the same are compared.
    """
    start: dict[str, NDArray[Any]] = {"pixels": samples.pixels, "ids": samples.ids, "mask": samples.mask}
    ours, theirs = dict(start), dict(start)
    outputs: dict[str, OutputParity] = {}
    scale: dict[str, float] = {}
    same: dict[str, list[NDArray[np.bool_]]] = {}
    for name, graph in graphs.items():
        compared = [spec for spec in graph.outputs if spec.dtype != "int64"]
        tallies = {spec.name: _Tally() for spec in compared}
        kept: tuple[dict[str, list[NDArray[Any]]], ...] = ({}, {})
        for rows in batches(len(samples)):
            said = _run(graph, reference[name], theirs, rows), _run(graph, found[name], ours, rows)
            if graph.has_output(REGIONS[0]):
                put, is_same = aligned(*said)
                said = said[0], put
                same.setdefault("regions", []).append(is_same)
            if graph.has_output(CODES):
                put, is_same = with_same_codes(*said)
                said = said[0], put
                same.setdefault("codes", []).append(is_same)
            for spec in compared:
                pair = [_rows(values[spec.name], spec.shape, samples.mask[rows]) for values in said]
                tallies[spec.name].add(*pair)
                if spec.name in PASSED_ON:
                    for side, given in zip(kept, said, strict=True):
                        side.setdefault(spec.name, []).append(given[spec.name])
        for values, parts_of in zip((theirs, ours), kept, strict=True):
            values |= {output: np.concatenate(parts) for output, parts in parts_of.items()}
        outputs |= {f"{name}.{output}": tally.parity() for output, tally in tallies.items()}
        scale |= {f"{name}.{output}": tally.scale() for output, tally in tallies.items()}
    shares = {what: float(np.mean(np.concatenate(parts))) for what, parts in same.items()}
    return ParityReport(outputs=outputs, scale=scale, regions=shares.get("regions"), codes=shares.get("codes"))


def agreement(reference: Encoder, found: Encoder, cases: Sequence[Case]) -> Decisions:
    """How often two encoders decide the same.

    Words are judged by the proof-reader where there is one, whether or not it was chosen to serve; where every word
    that is judged costs a pass, the suspicious one is looked for in the few words around the wrong one.
    """
    theirs, ours = (_decide(_unfitted(encoder), cases) for encoder in (reference, found))
    boxes = [
        _is_same_box(a, b) for a, b in zip(theirs.boxes, ours.boxes, strict=True) if a is not None and b is not None
    ]
    return Decisions(
        samples=len(cases),
        top_hit=float(np.mean(theirs.hits == ours.hits)),
        flagged_word=_share_alike(theirs.words, ours.words),
        best_correction=_share_alike(theirs.corrections, ours.corrections) if reference.has_proof_reader else None,
        best_box=float(np.mean(boxes)) if boxes else None,
        hottest_patch=_share_alike(theirs.maps, ours.maps) if reference.has_word_maps else None,
    )


def _unfitted(encoder: Encoder) -> Encoder:
    """The same without what calibration says of words."""
    manifest = encoder.manifest
    calibration = manifest.calibration.model_copy(update={"word_error_fit": None})
    return Encoder(
        manifest.model_copy(update={"calibration": calibration}),
        encoder.text_transform,
        encoder.engines,
        lexicon=encoder.lexicon,
    )


def check(report: ParityReport, tolerance: Tolerance, *, what: str = "The bundle") -> None:
    """Refuse engines that are too far from their reference.

    Raises:
        ExportError: `parity_failed`, naming the output and the numbers.
    """
    for key, parity in report.outputs.items():
        allowed = tolerance.largest_difference * max(1.0, report.scale[key])
        # written so that a NaN fails
        if not (parity.largest_difference <= allowed and parity.smallest_cosine >= tolerance.smallest_cosine):
            raise ExportError(
                f"parity failed for {key}: largest difference {parity.largest_difference:.3g} (allowed {allowed:.3g}), "
                f"smallest cosine {parity.smallest_cosine:.6f} (needed {tolerance.smallest_cosine}) over "
                f"{parity.samples} samples. {what} was not written.",
                code="parity_failed",
            )
    if report.decisions is not None and (found := disagreements(report.decisions, tolerance)):
        raise ExportError(f"parity failed: {'; '.join(found)}. {what} was not written.", code="parity_failed")


def disagreements(decisions: Decisions, tolerance: Tolerance) -> list[str]:
    """What is not decided alike often enough, in words."""
    shares = {name: getattr(decisions, name) for name in _DECIDED}
    return [
        f"only {share:.3f} of {decisions.samples} samples have the same {name.replace('_', ' ')} "
        f"(needed {tolerance.agreement})"
        for name, share in shares.items()
        if share is not None and not share >= tolerance.agreement  # a NaN is no agreement
    ]


_DECIDED = ("top_hit", "flagged_word", "best_correction", "best_box", "regions", "codes", "hottest_patch")


def batches(count: int) -> list[slice]:
    """Rows 0 to `count` in batches of changing size."""
    found: list[slice] = []
    at = 0
    while at < count:
        size = _BATCHES[len(found) % len(_BATCHES)]
        found.append(slice(at, min(at + size, count)))
        at += size
    return found


def _run(graph: Graph, engine: Engine, values: Arrays, rows: slice) -> dict[str, NDArray[Any]]:
    return engine.run({spec.name: values[spec.name][rows] for spec in graph.inputs})


def _rows(values: NDArray[Any], shape: tuple[int | str, ...], mask: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """One flat vector per sample; of outputs with a subword dimension only what is no padding."""
    has_subwords = len(shape) > 1 and shape[1] == _SUBWORDS
    return [
        np.asarray(row[mask[at].astype(bool)] if has_subwords else row, np.float64).ravel()
        for at, row in enumerate(values)
    ]


class _Tally:
    """The comparison of one output, batch by batch: whole vocabularies per subword are too much to keep."""

    def __init__(self) -> None:
        self._samples = 0
        self._numbers = 0
        self._squares = 0.0
        self._largest: list[float] = []
        self._cosines: list[float] = []
        self._single: tuple[list[float], list[float]] = ([], [])

    def add(self, expected: Sequence[NDArray[np.float64]], found: Sequence[NDArray[np.float64]]) -> None:
        """Compare the next samples."""
        for a, b in zip(expected, found, strict=True):
            self._samples += 1
            self._numbers += a.size
            self._squares += float(a @ a)
            self._largest.append(float(np.abs(a - b).max()))
            if a.size == 1:  # one number per sample: all of them are compared as one vector
                self._single[0].append(float(a[0]))
                self._single[1].append(float(b[0]))
            else:
                self._cosines.append(_cosine(a, b))

    def parity(self) -> OutputParity:
        """What was found."""
        alone = [_cosine(*map(np.asarray, self._single))] if self._single[0] else []
        return OutputParity(
            samples=self._samples,
            largest_difference=float(np.max(self._largest)),
            smallest_cosine=float(np.min([*self._cosines, *alone])),
        )

    def scale(self) -> float:
        """The root mean square of the expected numbers."""
        return float(np.sqrt(self._squares / max(1, self._numbers)))


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if not a.any() and not b.any():
        return 1.0  # a map may be cold everywhere
    return float(a @ b / max(1e-30, float(np.linalg.norm(a) * np.linalg.norm(b))))


_Choice = TypeVar("_Choice", int, str)
_Box = tuple[float, float, float, float]
_TIE = 1e-3  # error probabilities so close are equally suspicious


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    hits: NDArray[np.intp]
    words: Sequence[Mapping[int, float]]  # error probability by where the word starts
    corrections: Sequence[Mapping[str, float]]  # of the wrong word, with their probabilities
    boxes: Sequence[_Box | None]
    maps: Sequence[Mapping[int, float]]  # heat by patch


def _decide(encoder: Encoder, cases: Sequence[Case]) -> _Decided:
    images = encoder.embed_images([case.image for case in cases], to_proofread=True)
    texts = encoder.embed_texts([case.caption for case in cases])
    judged: list[Mapping[int, float]] = []
    corrections: list[Mapping[str, float]] = []
    boxes: list[_Box | None] = []
    maps: list[Mapping[int, float]] = []
    can_ground = grounding_method_of(encoder.manifest) is not None
    for at, case in enumerate(cases):
        listed = words(case.edited) if encoder.has_proof_reader else _around_the_edit(case.caption, case.edited)
        listed = [word for word in listed if word.text.lower() not in UNJUDGED]
        (found,) = judge(encoder, images[[at]], [Caption(text=case.edited, candidates=listed)])
        judged.append({word.start: Logistic().probability(raw) for word, raw in zip(listed, found.raw, strict=True)})
        if encoder.has_proof_reader:
            corrections.append(_corrections(encoder, images[[at]], case))
        grounded = ground(encoder, images[[at]], [case.phrase], threshold=0.0)[0].boxes if can_ground else ()
        boxes.append(grounded[0].box if grounded else None)
        if encoder.has_word_maps:
            heat = phrase_maps(encoder, images[[at]], [case.phrase])[0].ravel()
            maps.append(dict(enumerate(heat.tolist())))
    hits = np.argmax(texts.embedding @ images.embedding.T, axis=1)
    return _Decided(hits=hits, words=judged, corrections=corrections, boxes=boxes, maps=maps)


def _corrections(encoder: Encoder, image: ImageFeatures, case: Case) -> dict[str, float]:
    """What should stand in place of the wrong word, with probabilities; nothing where no word is wrong."""
    spans = wrong_words(case.caption, case.edited, diff(case.caption, case.edited)).spans
    wrong = [word for word in words(case.edited) if any(overlaps((word.start, word.end), span) for span in spans)]
    if not wrong:
        return {}
    found = suggest(encoder, image, case.edited, wrong[0], num_suggestions=_MOST_SUGGESTED)
    return {suggestion.word: suggestion.probability for suggestion in found}


def _share_alike(reference: Sequence[Mapping[_Choice, float]], found: Sequence[Mapping[_Choice, float]]) -> float:
    return float(np.mean([is_same_choice(a, b) for a, b in zip(reference, found, strict=True)]))


def is_same_choice(reference: Mapping[_Choice, float], found: Mapping[_Choice, float]) -> bool:
    """Whether what ranks first in one (the most suspicious word, say) does in the other; what ties there is as good."""
    if not reference or not found:
        return not reference and not found
    return reference.get(max(found, key=found.__getitem__), -np.inf) >= max(reference.values()) - _TIE


def _around_the_edit(caption: str, edited: str) -> list[Word]:
    """The few words of a wrong caption around its wrong one."""
    listed = words(edited)
    changed = diff(caption, edited)
    centre = min(changed[0].neg_words[0] if changed else 0, len(listed) - 1)
    first = max(0, min(centre - _MOST_JUDGED // 2, len(listed) - _MOST_JUDGED))
    return listed[first : first + _MOST_JUDGED]


def _is_same_box(a: _Box, b: _Box) -> bool:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common >= _SAME_BOX * total
