"""From answers to the groups of the result: which scores of which rows a metric is given.

A row whose picture could not be read is left out; a group of which nothing is left is an error.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import grounding, hard_negatives, image_pairs, judgements, proofreading, retrieval, statements
from evaluation.edits import WrongWords
from evaluation.grounding import GroundedRow
from evaluation.hard_negatives import PairScores
from evaluation.image_pairs import BlindScores, QuadScores
from evaluation.proofreading import JudgedRow
from evaluation.questions import other_caption
from evaluation.readers import GroundingRow, HardNegativeRow, ImagePairRow, JudgementRow, StatementRow
from evaluation.sweep import Answers, Progress, Score, embed_texts
from runtime.encoder import Encoder
from runtime.errors import DataError


def _refuse_nothing(what: str, kept: int) -> None:
    if not kept:
        raise DataError(f"no row of {what} is left: none of its pictures can be read.")


def retrieval_group(
    encoder: Encoder, captions: dict[str, list[str]], answers: Answers, progress: Progress
) -> dict[str, Any]:
    """Rank all captions and pictures that are left.

    Args:
        encoder: the bundle; it embeds the captions now.
        captions: captions of each picture.
        answers: from which the pictures' embeddings are taken.
        progress: called with (captions done, captions).
    """
    names = [name for name in captions if name in answers.embeddings]
    _refuse_nothing("retrieval", len(names))
    texts = [text for name in names for text in captions[name]]
    text_image = np.repeat(np.arange(len(names)), [len(captions[name]) for name in names])
    embedded = embed_texts(encoder, texts, progress=progress)
    ranks = retrieval.rank(
        np.stack([answers.embeddings[name] for name in names]),
        np.stack([embedded[text] for text in texts]),
        text_image,
    )
    return retrieval.summarise(ranks, text_image)


def hard_negatives_group(rows: Sequence[HardNegativeRow], answers: Answers) -> dict[str, Any]:
    """Compare the scores of each caption and its wrong one."""
    kept = [row for row in rows if row.image in answers.embeddings]
    _refuse_nothing("hard negatives", len(kept))
    caption = [answers.scores[row.image, row.caption] for row in kept]
    negative = [answers.scores[row.image, row.negative_caption] for row in kept]
    blind_caption = [answers.blind_scores.get((row.image, row.caption)) for row in kept]
    blind_negative = [answers.blind_scores.get((row.image, row.negative_caption)) for row in kept]
    return hard_negatives.summarise(
        judge=PairScores(caption=_judges(caption), negative=_judges(negative)),
        dual=PairScores(caption=_duals(caption), negative=_duals(negative)),
        blind=PairScores(caption=_judges(blind_caption), negative=_judges(blind_negative)),
        types=[row.type for row in kept],
    )


def _judges(scores: Sequence[Score | None]) -> NDArray[np.float64]:
    return np.array([np.nan if score is None else score.judge for score in scores], np.float64)


def _duals(scores: Sequence[Score]) -> NDArray[np.float64]:
    return np.array([score.dual for score in scores], np.float64)


def proofreading_group(
    rows: Sequence[HardNegativeRow], truths: Sequence[WrongWords], answers: Answers
) -> dict[str, Any] | None:
    """Judge the words of the rows that have a wrong one; None where no row has."""
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
    return proofreading.summarise(seen, blind) if seen else None


def grounding_group(rows: Sequence[GroundingRow], answers: Answers) -> dict[str, Any]:
    """Compare the places that were found with the true boxes."""
    pictures = {name: at for at, name in enumerate(answers.embeddings)}
    grounded = []
    for row in rows:
        place = answers.places.get((row.image, row.phrase))
        if place is not None:
            grounded.append(GroundedRow(truth=row.boxes, box=place.box, point=place.point, group=pictures[row.image]))
    _refuse_nothing("grounding", len(grounded))
    return grounding.summarise(grounded)


def image_pairs_group(rows: Sequence[ImagePairRow], answers: Answers) -> dict[str, Any]:
    """Compare the four scores of each row."""
    there = answers.embeddings
    kept = [(at, row) for at, row in enumerate(rows) if row.image in there and row.negative_image in there]
    _refuse_nothing("image pairs", len(kept))
    quads = [
        [
            answers.scores[name, text]
            for text in (row.caption, row.negative_caption)
            for name in (row.image, row.negative_image)
        ]
        for _, row in kept
    ]
    others = [other_caption(rows, at) for at, _ in kept]
    blind = [
        [None if other is None else answers.scores[name, other] for name in (row.image, row.negative_image)]
        for (_, row), other in zip(kept, others, strict=True)
    ]
    judge, dual = (np.stack([of(quad) for quad in quads]) for of in (_judges, _duals))
    return image_pairs.summarise(
        judge=_quad(judge),
        dual=_quad(dual),
        blind=BlindScores(
            image=_judges([pair[0] for pair in blind]), negative_image=_judges([pair[1] for pair in blind])
        ),
        types=[row.type for _, row in kept],
    )


def _quad(scores: NDArray[np.float64]) -> QuadScores:
    """Columns: caption with image, with negative image; negative caption with image, with negative image."""
    return QuadScores(
        caption_image=scores[:, 0],
        caption_negative_image=scores[:, 1],
        negative_caption_image=scores[:, 2],
        negative_caption_negative_image=scores[:, 3],
    )


def judgements_group(rows: Sequence[JudgementRow], answers: Answers) -> dict[str, Any]:
    """Compare the scores with what people gave."""
    kept = [row for row in rows if row.image in answers.embeddings]
    _refuse_nothing("judgements", len(kept))
    scores = [answers.scores[row.image, row.caption] for row in kept]
    return judgements.summarise(judge=_judges(scores), dual=_duals(scores), grades=[row.scores for row in kept])


def statements_group(encoder: Encoder, rows: Sequence[StatementRow], answers: Answers) -> dict[str, Any]:
    """Compare the calibrated probabilities with the labels."""
    kept = [row for row in rows if row.image in answers.embeddings]
    _refuse_nothing("statements", len(kept))
    logistic = encoder.manifest.calibration.match
    own = _judges([answers.scores[row.image, row.caption] for row in kept])
    blind = _judges([answers.blind_scores.get((row.image, row.caption)) for row in kept])
    return statements.summarise(
        scores=own,
        blind=blind,
        called_true=np.array([logistic.probability(score) >= 0.5 for score in own], bool),
        labels=np.array([row.label for row in kept], bool),
        relations=[row.relation for row in kept],
    )
