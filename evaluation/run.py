"""Evaluate a bundle: read the files, ask the served model, sum up what it answered.

`evaluate` gives the JSON of `vernier eval --json`. Everything is asked through the runtime that serves, so what is
measured is what is served.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import grounding as grounding_group
from evaluation import hard_negatives as hard_negatives_group
from evaluation import image_pairs as image_pairs_group
from evaluation import judgements as judgements_group
from evaluation import proofreading as proofreading_group
from evaluation import retrieval as retrieval_group
from evaluation.edits import WrongWords, wrong_words
from evaluation.grounding import GroundedRow
from evaluation.hard_negatives import PairScores
from evaluation.image_pairs import BlindScores, QuadScores
from evaluation.proofreading import JudgedRow
from evaluation.readers import (
    GroundingRow,
    HardNegativeRow,
    ImagePairRow,
    JudgementRow,
    RetrievalRow,
    of_split,
    read_rows,
)
from evaluation.sweep import Answers, Progress, Questions, Score, embed_texts, sweep
from runtime.encoder import Encoder
from runtime.errors import DataError, UsageError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What is evaluated, already read; a group without rows is left out of the result."""

    retrieval: Sequence[RetrievalRow] = ()
    hard_negatives: Sequence[HardNegativeRow] = ()
    grounding: Sequence[GroundingRow] = ()
    image_pairs: Sequence[ImagePairRow] = ()
    judgements: Sequence[JudgementRow] = ()


def evaluate(
    bundle: Path | str | Encoder,
    *,
    images: Path | str,
    retrieval: Path | str | None = None,
    hard_negatives: Path | str | None = None,
    grounding: Path | str | None = None,
    image_pairs: Path | str | None = None,
    judgements: Path | str | None = None,
    split: str | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate a bundle on JSON-lines files.

    Args:
        bundle: a bundle's directory, or an encoder that is loaded already.
        images: the folder that the pictures' names in the files are relative to.
        retrieval: pictures with their captions.
        hard_negatives: captions beside wrong ones; those with a `diff` are proofread too.
        grounding: phrases with their boxes.
        image_pairs: pictures that differ in one thing.
        judgements: captions that people have judged.
        split: keep only the retrieval rows of this split.
        limit: at most so many rows of each file, the first ones.
        progress: called with (done, total) as pictures and captions are encoded.

    Returns:
        The groups that were asked for, each with `count`, its numbers (rates in 0..1) and their 95 % `interval`s;
        `bundle`; and `skipped`, the pictures that could not be read.

    Raises:
        UsageError: no file was given, or the limit is not positive.
        DataError: a file cannot be read or a line of it is wrong (the message names file and line), a split is
            unknown, or too many pictures cannot be read.
        BundleError: the bundle cannot be used.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"the limit must be at least 1, not {limit}.")
    if not any((retrieval, hard_negatives, grounding, image_pairs, judgements)):
        raise UsageError(
            "there is nothing to evaluate; give at least one of retrieval, hard negatives, grounding, image pairs or "
            "judgements."
        )
    rows = Rows(
        retrieval=of_split(read_rows(retrieval, RetrievalRow), split, path=retrieval)[:limit] if retrieval else (),
        hard_negatives=read_rows(hard_negatives, HardNegativeRow)[:limit] if hard_negatives else (),
        grounding=read_rows(grounding, GroundingRow)[:limit] if grounding else (),
        image_pairs=read_rows(image_pairs, ImagePairRow)[:limit] if image_pairs else (),
        judgements=read_rows(judgements, JudgementRow)[:limit] if judgements else (),
    )
    encoder = bundle if isinstance(bundle, Encoder) else Encoder.load(bundle)
    return evaluate_rows(encoder, rows, images=images, progress=progress)


def evaluate_rows(
    encoder: Encoder, rows: Rows, *, images: Path | str, progress: Progress | None = None
) -> dict[str, Any]:
    """Evaluate an encoder on rows that are read already (see `evaluate`).

    Raises:
        DataError: the folder is missing, too many pictures cannot be read, or no row of a group is left.
    """
    folder = Path(images)
    if not folder.is_dir():
        raise DataError(f"there is no folder of pictures at {folder}.")
    captions = _captions_by_picture(rows.retrieval)
    truths = [wrong_words(row.caption, row.negative_caption, row.edits()) for row in rows.hard_negatives]
    questions = _questions(rows, captions, truths)
    num_texts = len({text for texts in captions.values() for text in texts})
    total = len(questions) + num_texts

    def on_pictures(done: int, _: int) -> None:
        if progress is not None:
            progress(done, total)

    def on_texts(done: int, _: int) -> None:
        if progress is not None:
            progress(len(questions) + done, total)

    answers = sweep(encoder, folder, questions, progress=on_pictures)
    for name, reason in answers.skipped.items():
        _log.warning("event=picture_skipped image=%s reason=%s", name, reason)
    result: dict[str, Any] = {"bundle": _describe(encoder)}
    if rows.retrieval:
        result["retrieval"] = _retrieval(encoder, captions, answers, on_texts)
    if rows.hard_negatives:
        result["hard_negatives"] = _hard_negatives(rows.hard_negatives, answers)
        proofreading = _proofreading(rows.hard_negatives, truths, answers)
        if proofreading is not None:
            result["proofreading"] = proofreading
    if rows.grounding and "grounding" not in answers.unavailable:
        result["grounding"] = _grounding(rows.grounding, answers)
    if rows.image_pairs:
        result["image_pairs"] = _image_pairs(rows.image_pairs, answers)
    if rows.judgements:
        result["judgements"] = _judgements(rows.judgements, answers)
    skipped = [{"image": name, "reason": reason} for name, reason in sorted(answers.skipped.items())]
    result["skipped"] = {"count": len(skipped), "pictures": skipped}
    if answers.unavailable:
        result["unavailable"] = answers.unavailable
    return result


def _describe(encoder: Encoder) -> dict[str, Any]:
    return {
        "name": encoder.manifest.name,
        "space": encoder.space,
        "recipe": encoder.manifest.provenance.recipe,
        "judge": "match" if encoder.has_fusion else "dual",
    }


def _captions_by_picture(rows: Sequence[RetrievalRow]) -> dict[str, list[str]]:
    """Captions of each picture that has any; a picture on several lines has the captions of all of them."""
    captions: dict[str, list[str]] = {}
    for row in rows:
        if row.captions:
            captions.setdefault(row.image, []).extend(row.captions)
    if rows and not captions:
        raise DataError("no retrieval row has a caption.")
    return captions


def _other_caption(rows: Sequence[ImagePairRow], at: int) -> str | None:
    """A caption of another row for the blind control: the next different one, half the file away."""
    own = {rows[at].caption, rows[at].negative_caption}
    for step in range(len(rows)):
        other = rows[(at + len(rows) // 2 + step) % len(rows)].caption
        if other not in own:
            return other
    return None


def _questions(rows: Rows, captions: dict[str, list[str]], truths: Sequence[WrongWords]) -> dict[str, Questions]:
    questions: dict[str, Questions] = {}

    def of(name: str) -> Questions:
        return questions.setdefault(name, Questions())

    for name in captions:
        of(name)
    for row, truth in zip(rows.hard_negatives, truths, strict=True):
        question = of(row.image)
        for text in (row.caption, row.negative_caption):
            question.scored[text] = None
            question.scored_blind[text] = None
        if truth.spans:
            question.proofs.setdefault(row.caption, None)
            place = truth.correction[0] if truth.correction else question.proofs.get(row.negative_caption)
            question.proofs[row.negative_caption] = place
    for phrase in rows.grounding:
        of(phrase.image).phrases[phrase.phrase] = None
    for at, pair in enumerate(rows.image_pairs):
        other = _other_caption(rows.image_pairs, at)
        for name in (pair.image, pair.negative_image):
            texts = (pair.caption, pair.negative_caption, *(() if other is None else (other,)))
            of(name).scored.update(dict.fromkeys(texts))
    for judgement in rows.judgements:
        of(judgement.image).scored[judgement.caption] = None
    return questions


def _kept(what: str, kept: int, rows: Sequence[object]) -> None:
    if rows and not kept:
        raise DataError(f"no row of {what} is left: none of its pictures can be read.")


def _retrieval(
    encoder: Encoder, captions: dict[str, list[str]], answers: Answers, progress: Progress
) -> dict[str, Any]:
    names = [name for name in captions if name in answers.embeddings]
    _kept("retrieval", len(names), list(captions))
    texts = [text for name in names for text in captions[name]]
    text_image = np.repeat(np.arange(len(names)), [len(captions[name]) for name in names])
    embedded = embed_texts(encoder, texts, progress=progress)
    ranks = retrieval_group.rank(
        np.stack([answers.embeddings[name] for name in names]),
        np.stack([embedded[text] for text in texts]),
        text_image,
    )
    return retrieval_group.summarise(ranks, text_image)


def _hard_negatives(rows: Sequence[HardNegativeRow], answers: Answers) -> dict[str, Any]:
    kept = [row for row in rows if row.image in answers.embeddings]
    _kept("hard negatives", len(kept), rows)
    caption = [answers.scores[row.image, row.caption] for row in kept]
    negative = [answers.scores[row.image, row.negative_caption] for row in kept]
    blind_caption = [answers.blind_scores.get((row.image, row.caption)) for row in kept]
    blind_negative = [answers.blind_scores.get((row.image, row.negative_caption)) for row in kept]
    return hard_negatives_group.summarise(
        judge=PairScores(caption=_judges(caption), negative=_judges(negative)),
        dual=PairScores(caption=_duals(caption), negative=_duals(negative)),
        blind=PairScores(caption=_judges(blind_caption), negative=_judges(blind_negative)),
        types=[row.type for row in kept],
    )


def _judges(scores: Sequence[Score | None]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return np.array([np.nan if score is None else score.judge for score in scores], np.float64)


def _duals(scores: Sequence[Score]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return np.array([score.dual for score in scores], np.float64)


def _proofreading(
    rows: Sequence[HardNegativeRow], truths: Sequence[WrongWords], answers: Answers
) -> dict[str, Any] | None:
    seen: list[JudgedRow] = []
    blind: list[JudgedRow | None] = []
    for row, truth in zip(rows, truths, strict=True):
        if not truth.spans or row.image not in answers.embeddings:
            continue
        caption, negative = (row.image, row.caption), (row.image, row.negative_caption)
        seen.append(JudgedRow(caption=answers.proofs[caption], negative=answers.proofs[negative], truth=truth))
        has_blind = caption in answers.blind_proofs
        blind.append(
            JudgedRow(caption=answers.blind_proofs[caption], negative=answers.blind_proofs[negative], truth=truth)
            if has_blind
            else None
        )
    return proofreading_group.summarise(seen, blind) if seen else None


def _grounding(rows: Sequence[GroundingRow], answers: Answers) -> dict[str, Any]:
    pictures = {name: at for at, name in enumerate(answers.embeddings)}
    grounded = []
    for row in rows:
        place = answers.places.get((row.image, row.phrase))
        if place is not None:
            grounded.append(GroundedRow(truth=row.boxes, box=place.box, point=place.point, group=pictures[row.image]))
    _kept("grounding", len(grounded), rows)
    return grounding_group.summarise(grounded)


def _image_pairs(rows: Sequence[ImagePairRow], answers: Answers) -> dict[str, Any]:
    there = answers.embeddings
    kept = [(at, row) for at, row in enumerate(rows) if row.image in there and row.negative_image in there]
    _kept("image pairs", len(kept), rows)
    quads = [
        [
            answers.scores[name, text]
            for text in (row.caption, row.negative_caption)
            for name in (row.image, row.negative_image)
        ]
        for _, row in kept
    ]
    others = [_other_caption(rows, at) for at, _ in kept]
    blind = [
        [None if other is None else answers.scores[name, other] for name in (row.image, row.negative_image)]
        for (_, row), other in zip(kept, others, strict=True)
    ]
    judge, dual = (np.stack([of(quad) for quad in quads]) for of in (_judges, _duals))
    return image_pairs_group.summarise(
        judge=_quad(judge),
        dual=_quad(dual),
        blind=BlindScores(
            image=_judges([pair[0] for pair in blind]), negative_image=_judges([pair[1] for pair in blind])
        ),
        types=[row.type for _, row in kept],
    )


def _quad(scores: "np.ndarray[Any, np.dtype[np.float64]]") -> QuadScores:
    """Columns: caption with image, with negative image; negative caption with image, with negative image."""
    return QuadScores(
        caption_image=scores[:, 0],
        caption_negative_image=scores[:, 1],
        negative_caption_image=scores[:, 2],
        negative_caption_negative_image=scores[:, 3],
    )


def _judgements(rows: Sequence[JudgementRow], answers: Answers) -> dict[str, Any]:
    kept = [row for row in rows if row.image in answers.embeddings]
    _kept("judgements", len(kept), rows)
    scores = [answers.scores[row.image, row.caption] for row in kept]
    return judgements_group.summarise(judge=_judges(scores), dual=_duals(scores), grades=[row.scores for row in kept])
