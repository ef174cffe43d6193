"""Task quality: what a bundle is worth on validation samples, so that a precision is judged by what it is for.

A cosine of 0.999 says nothing of whether the right picture is still found. Measured with the parts of `evaluation`, on
an encoder as it would serve.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.edits import diff, overlaps, wrong_words
from evaluation.grounding import hottest, is_in
from evaluation.pictures import open_picture
from evaluation.ranking import BinaryRanking
from evaluation.readers import (
    DiffEntry,
    GroundingRow,
    HardNegativeRow,
    RetrievalRow,
    Rows,
    read_rows,
    with_captions,
)
from evaluation.retrieval import rank
from export.calibrate import overlap, replace_a_word
from runtime.bundle.manifest import TaskQuality
from runtime.encoder import Encoder, ImageFeatures
from runtime.errors import DataError, ImageError
from runtime.grounding import ground, method_of
from runtime.proofread import proofread_many
from runtime.word_maps import phrase_maps
from training.data.source import Sample

ALLOWED_LOSS = 0.005
"""Half a point: how much of each number a faster graph may cost."""

_MOST_PROOFREAD = 150  # pairs of captions, about 3000 words, where every word costs a pass
_MOST_GROUNDED = 300
_HIT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What quality is measured on.

    Attributes:
        rows: the questions.
        images: the folder of their pictures.
        name: what it is, in words, for the manifest.
    """

    rows: Rows
    images: Path
    name: str


def validation_of(samples: Sequence[Sample], folder: Path, *, name: str) -> Validation:
    """Turn pairs that training has not seen into questions; their pictures are written into a folder.

    A pair whose caption has an edited copy asks for the wrong word, and each of its phrases for its box.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{at}.png" for at in range(len(samples))]
    for sample, file in zip(samples, names, strict=True):
        sample.image.save(folder / file, compress_level=1)
    pairs = list(zip(names, samples, strict=True))
    rows = Rows(
        retrieval=[RetrievalRow(image=file, captions=(sample.caption,)) for file, sample in pairs],
        hard_negatives=[
            _wrong_caption(file, sample.caption, sample.edited)
            for file, sample in pairs
            if sample.edited is not None and sample.edited != sample.caption
        ],
        grounding=[
            GroundingRow(image=file, phrase=phrase, boxes=(box,))
            for file, sample in pairs
            for phrase, box in sample.phrases[:1]
        ],
    )
    return Validation(rows=rows, images=folder, name=f"{len(samples)} pairs of {name}")


def read_validation(files: Iterable[Path], *, images: Path | None) -> Validation:
    """Read validation rows from JSON-lines files of the kinds that `vernier eval` reads, told apart by their fields.

    Args:
        files: retrieval (`captions`), hard negatives (`negative_caption`) or grounding (`phrase`).
        images: the folder of the pictures; the first file's own, or `images` in it where there is one, when None.

    Raises:
        DataError: a file is of no such kind, or a line of it is wrong.
    """
    found: dict[str, Sequence[object]] = {}
    listed = list(files)
    for file in listed:
        found |= _rows_of(file)
    folder = images or (listed[0].parent / "images" if (listed[0].parent / "images").is_dir() else listed[0].parent)
    rows = Rows(**found)  # type: ignore[arg-type]  # each kind was read as its own row
    return Validation(rows=rows, images=folder, name=", ".join(file.name for file in listed))


def quality(encoder: Encoder, validation: Validation) -> TaskQuality:
    """Ask an encoder the questions.

    The numbers are those of `vernier eval`, without the controls and intervals that a comparison of two precisions on
    the same questions does not need.

    Raises:
        DataError: a picture cannot be read.
    """
    rows = validation.rows
    pictures = _Pictures(encoder, validation.images)
    return TaskQuality(
        recall_at_1=_recall_at_1(encoder, rows.retrieval, pictures) if rows.retrieval else None,
        word_auroc=_word_auroc(
            encoder, rows.hard_negatives[: None if encoder.has_proof_reader else _MOST_PROOFREAD], pictures
        ),
        acc_at_50=_acc_at_50(encoder, rows.grounding[:_MOST_GROUNDED], pictures),
        map_pointing=_map_pointing(encoder, rows.grounding[:_MOST_GROUNDED], pictures),
    )


class _Pictures:
    """Features of the pictures that rows name, each encoded once."""

    def __init__(self, encoder: Encoder, folder: Path) -> None:
        self._encoder = encoder
        self._folder = folder
        self._found: dict[str, tuple[ImageFeatures, tuple[int, int]]] = {}

    def of(self, name: str) -> tuple[ImageFeatures, tuple[int, int]]:
        """The features of one picture, and its width and height in pixels."""
        if name not in self._found:
            try:
                picture = open_picture(self._folder, name)
            except (OSError, ImageError) as error:
                raise DataError(f"the validation picture {name} in {self._folder} cannot be read ({error}).") from error
            self._found[name] = self._encoder.embed_images([picture], to_proofread=True), picture.size
        return self._found[name]


def _recall_at_1(encoder: Encoder, rows: Sequence[RetrievalRow], pictures: _Pictures) -> float:
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row.image, []).extend(row.captions)
    names = [name for name, texts in captions.items() if texts]
    images = np.concatenate([pictures.of(name)[0].embedding for name in names])
    texts = encoder.embed_texts([text for name in names for text in captions[name]]).embedding
    ranks = rank(images, texts, np.repeat(np.arange(len(names)), [len(captions[name]) for name in names]))
    return float((np.mean(ranks.text_to_image == 1) + np.mean(ranks.image_to_text == 1)) / 2)


def _word_auroc(encoder: Encoder, rows: Sequence[HardNegativeRow], pictures: _Pictures) -> float | None:
    errors: list[float] = []
    is_wrong: list[bool] = []
    for row in rows:
        spans = wrong_words(row.caption, row.negative_caption, row.edits()).spans
        if not spans:
            continue
        texts = [row.caption, row.negative_caption]
        proofs = proofread_many(encoder, pictures.of(row.image)[0], texts, num_suggestions=0)
        for proof, wrong in zip(proofs, ((), spans), strict=True):
            for word in proof.words:
                errors.append(word.error_probability)
                is_wrong.append(any(overlaps((word.start, word.end), span) for span in wrong))
    if not any(is_wrong):
        return None
    return BinaryRanking.of(np.array(errors), np.array(is_wrong)).auroc()


def _acc_at_50(encoder: Encoder, rows: Sequence[GroundingRow], pictures: _Pictures) -> float | None:
    hits: list[bool] = []
    transform = encoder.manifest.image.transform()
    for row in rows:
        if len(row.boxes) != 1 or method_of(encoder.manifest) is None:
            continue
        features, (width_px, height_px) = pictures.of(row.image)
        found = ground(encoder, features, [row.phrase], threshold=0.0)[0].boxes
        box = transform.box_in_picture(found[0].box, width_px=width_px, height_px=height_px) if found else None
        hits.append(box is not None and overlap(box, row.boxes[0]) >= _HIT)
    return float(np.mean(hits)) if hits else None


def _map_pointing(encoder: Encoder, rows: Sequence[GroundingRow], pictures: _Pictures) -> float | None:
    if not encoder.has_word_maps or not rows:
        return None
    hits: list[bool] = []
    transform = encoder.manifest.image.transform()
    for row in rows:
        features, (width_px, height_px) = pictures.of(row.image)
        x, y = hottest(phrase_maps(encoder, features, [row.phrase])[0])
        point = transform.box_in_picture((x, y, x, y), width_px=width_px, height_px=height_px)[:2]
        hits.append(any(is_in(point, box) for box in row.boxes))
    return float(np.mean(hits))


def losses(before: TaskQuality, after: TaskQuality) -> list[str]:
    """Say which numbers fell by more than is allowed; none when the gate is passed."""
    found = []
    for name in TaskQuality.model_fields:
        was, is_now = getattr(before, name), getattr(after, name)
        if was is not None and not (is_now is not None and was - is_now <= ALLOWED_LOSS):
            found.append(f"{name} fell from {was:.4f} to {'nothing' if is_now is None else f'{is_now:.4f}'}")
    return found


def with_edits(samples: Sequence[Sample], *, seed: int) -> list[Sample]:
    """Give every pair an edited caption, where its source brought none: one word replaced by another caption's."""
    rng = np.random.default_rng(seed)
    return [replace(sample, edited=sample.edited or replace_a_word(sample.caption, samples, rng)) for sample in samples]


def _wrong_caption(image: str, caption: str, edited: str) -> HardNegativeRow:
    changes = [DiffEntry(pos_words=edit.pos_words, neg_words=edit.neg_words) for edit in diff(caption, edited)]
    return HardNegativeRow(image=image, caption=caption, negative_caption=edited, type="edit", diff=tuple(changes))


def _rows_of(file: Path) -> dict[str, Sequence[object]]:
    try:
        with file.open(encoding="utf-8") as lines:
            first = next((line for line in lines if line.strip()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}).") from error
    if '"negative_caption"' in first:
        return {"hard_negatives": read_rows(file, HardNegativeRow)}
    if '"phrase"' in first:
        return {"grounding": read_rows(file, GroundingRow)}
    if '"captions"' in first:
        return {"retrieval": with_captions(read_rows(file, RetrievalRow), split=None, path=file)}
    raise DataError(
        f"{file} holds no validation rows: its first line has neither captions, negative_caption nor phrase."
    )
