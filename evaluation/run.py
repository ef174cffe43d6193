"""Evaluate a bundle: read the files, ask the served model, sum up what it answered.

`evaluate` gives the JSON of `vernier eval --json`. Everything is asked through the runtime that serves, so what is
measured is what is served.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from evaluation.detection import evaluate_detection
from evaluation.edits import WrongWords, wrong_words
from evaluation.groups import (
    Group,
    absent_group,
    grounding_group,
    hard_negatives_group,
    image_pairs_group,
    judgements_group,
    mentions_group,
    near_duplicates_group,
    occlusions_group,
    proofreading_group,
    retrieval_group,
    statements_group,
)
from evaluation.items import Item
from evaluation.questions import questions_of
from evaluation.readers import (
    GroundingRow,
    HardNegativeRow,
    ImagePairRow,
    JudgementRow,
    MentionRow,
    NearDuplicatesRow,
    OcclusionRow,
    RetrievalRow,
    Rows,
    StatementRow,
    read_rows,
    valid,
    with_captions,
)
from evaluation.sweep import Answers, Progress, sweep
from runtime.encoder import Encoder
from runtime.errors import DataError, UsageError
from runtime.grounding import method_of

OnItems = Callable[[Iterable[Item]], None]
"""Called with the items of a group."""

_log = logging.getLogger(__name__)


def evaluate(
    bundle: Path | str | Encoder,
    *,
    images: Path | str,
    retrieval: Path | str | None = None,
    hard_negatives: Path | str | None = None,
    grounding: Path | str | None = None,
    image_pairs: Path | str | None = None,
    judgements: Path | str | None = None,
    statements: Path | str | None = None,
    mentions: Path | str | None = None,
    occlusions: Path | str | None = None,
    near_duplicates: Path | str | None = None,
    detection: Path | str | None = None,
    split: str | None = None,
    limit: int | None = None,
    ground_budget: int = 0,
    num_threads: int = 0,
    progress: Progress | None = None,
    on_items: OnItems | None = None,
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
        statements: sentences that are true or false of their picture: `{"image", "caption", "label"}`.
        mentions: phrases within captions, with their boxes; these and the next two are written by `vernier scenes`.
        occlusions: captions beside pictures whose main thing is covered.
        near_duplicates: pictures beside others that differ from them in one thing.
        detection: classes with their boxes, in COCO's format; needs the extra `detection`.
        split: keep only the retrieval rows of this split.
        limit: at most so many rows of each file, the first ones.
        ground_budget: masked pictures that are looked at to ground in each picture, where the bundle is two encoders
            alone; so many more image passes a picture.
        num_threads: of the model, where it is loaded here; 0 leaves it to the engine.
        progress: called with (done, total) as pictures and captions are encoded.
        on_items: called with what became of each item, a group at a time.

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
    probes = (mentions, occlusions, near_duplicates, detection)
    if not any((retrieval, hard_negatives, grounding, image_pairs, judgements, statements, *probes)):
        raise UsageError(
            "there is nothing to evaluate; give at least one of retrieval, hard negatives, grounding, image pairs, "
            "judgements, statements, mentions, occlusions, near-duplicates or detection."
        )
    rows = Rows(
        retrieval=with_captions(read_rows(retrieval, RetrievalRow), split=split, path=retrieval) if retrieval else (),
        hard_negatives=valid(read_rows(hard_negatives, HardNegativeRow), hard_negatives) if hard_negatives else (),
        grounding=read_rows(grounding, GroundingRow) if grounding else (),
        image_pairs=read_rows(image_pairs, ImagePairRow) if image_pairs else (),
        judgements=read_rows(judgements, JudgementRow) if judgements else (),
        statements=read_rows(statements, StatementRow) if statements else (),
        mentions=read_rows(mentions, MentionRow) if mentions else (),
        occlusions=read_rows(occlusions, OcclusionRow) if occlusions else (),
        near_duplicates=read_rows(near_duplicates, NearDuplicatesRow) if near_duplicates else (),
    ).first(limit)
    encoder = bundle if isinstance(bundle, Encoder) else Encoder.load(bundle, num_threads=num_threads)
    found: dict[str, Any] = {"bundle": _describe(encoder, ground_budget), "skipped": {"count": 0, "pictures": []}}
    if not rows.is_empty():
        found = evaluate_rows(
            encoder, rows, images=images, ground_budget=ground_budget, progress=progress, on_items=on_items
        )
    if detection is not None:
        found["detection"] = evaluate_detection(
            encoder, Path(detection), Path(images), budget=ground_budget, limit=limit, progress=progress
        )
    return found


def evaluate_rows(
    encoder: Encoder,
    rows: Rows,
    *,
    images: Path | str,
    ground_budget: int = 0,
    progress: Progress | None = None,
    on_items: OnItems | None = None,
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
    questions = questions_of(rows, captions, truths)
    total = len(questions) + len({text for texts in captions.values() for text in texts})

    def on_pictures(done: int, _: int) -> None:
        if progress is not None:
            progress(done, total)

    def on_texts(done: int, of: int) -> None:
        if progress is not None:
            progress(total - of + done, total)

    answers = sweep(encoder, folder, questions, budget=ground_budget, progress=on_pictures)
    for name, reason in answers.skipped.items():
        _log.warning("event=picture_skipped image=%s reason=%s", name, reason)
    groups = _groups(encoder, rows, captions, truths, answers, on_texts)
    if on_items is not None:
        for group in groups.values():
            on_items(group.items)
    result: dict[str, Any] = {
        "bundle": _describe(encoder, ground_budget),
        **{name: group.numbers for name, group in groups.items()},
    }
    skipped = [{"image": name, "reason": reason} for name, reason in sorted(answers.skipped.items())]
    result["skipped"] = {"count": len(skipped), "pictures": skipped}
    if answers.unavailable:
        result["unavailable"] = answers.unavailable
    return result


def _groups(
    encoder: Encoder,
    rows: Rows,
    captions: dict[str, list[str]],
    truths: Sequence[WrongWords],
    answers: Answers,
    on_texts: Progress,
) -> dict[str, Group]:
    groups: dict[str, Group] = {}
    if rows.retrieval:
        groups["retrieval"] = retrieval_group(encoder, captions, answers, on_texts)
    if rows.hard_negatives:
        groups["hard_negatives"] = hard_negatives_group(rows.hard_negatives, answers)
        proofread = proofreading_group(encoder, rows.hard_negatives, truths, answers)
        if proofread is not None:
            groups["proofreading"] = proofread
    if rows.grounding and "grounding" not in answers.unavailable:
        groups["grounding"] = grounding_group(rows.grounding, answers)
        if any(row.absent for row in rows.grounding):
            groups["absent"] = absent_group(rows.grounding, answers)
    if rows.image_pairs:
        groups["image_pairs"] = image_pairs_group(rows.image_pairs, answers)
    if rows.judgements:
        groups["judgements"] = judgements_group(rows.judgements, answers)
    if rows.statements:
        groups["statements"] = statements_group(encoder, rows.statements, answers)
    if rows.mentions and "mentions" not in answers.unavailable:
        groups["mentions"] = mentions_group(rows.mentions, answers)
    if rows.occlusions:
        groups["occlusions"] = occlusions_group(rows.occlusions, answers)
    if rows.near_duplicates:
        groups["near_duplicates"] = near_duplicates_group(encoder, rows.near_duplicates, answers)
    return groups


def _describe(encoder: Encoder, ground_budget: int) -> dict[str, Any]:
    return {
        "name": encoder.manifest.name,
        "space": encoder.space,
        "recipe": encoder.manifest.provenance.recipe,
        "judge": "match" if encoder.has_fusion else "dual",
        "grounding": method_of(encoder.manifest, budget=ground_budget),
    }


def _captions_by_picture(rows: Sequence[RetrievalRow]) -> dict[str, list[str]]:
    """Captions of each picture; a picture on several lines has the captions of all of them."""
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row.image, []).extend(row.captions)
    return {name: texts for name, texts in captions.items() if texts}
