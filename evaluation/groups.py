"""From answers to the groups of the result: which scores of which rows a metric is given.

Each function gives the group's numbers and what became of each of its items. A row whose picture could not be read is
left out; a group of which nothing is left is an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import grounding, hard_negatives, image_pairs, judgements, probes, proofreading, retrieval, statements
from evaluation.edits import WrongWords, letters
from evaluation.grounding import AbsentRow, GroundedRow
from evaluation.hard_negatives import PairScores
from evaluation.image_pairs import BlindScores, QuadScores
from evaluation.intervals import estimate_rates
from evaluation.items import Item, ItemWord
from evaluation.proofreading import JudgedRow, JudgedWord
from evaluation.questions import other_caption
from evaluation.readers import (
    GroundingRow,
    HardNegativeRow,
    ImagePairRow,
    JudgementRow,
    MentionRow,
    NearDuplicatesRow,
    OcclusionRow,
    StatementRow,
)
from evaluation.statements import StatementScores
from evaluation.sweep import Answers, Progress, Score, embed_texts
from runtime.encoder import Encoder
from runtime.errors import DataError
from runtime.word_judges import method_of

_NO_SCORE = Score(dual=float("nan"), judge=float("nan"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of the result.

    Attributes:
        numbers: its entry in the result.
        items: what became of each item.
    """

    numbers: dict[str, Any]
    items: list[Item] = field(default_factory=list)


def _refuse_nothing(what: str, kept: int) -> None:
    if not kept:
        raise DataError(f"no row of {what} is left: none of its pictures can be read.")


def retrieval_group(encoder: Encoder, captions: dict[str, list[str]], answers: Answers, progress: Progress) -> Group:
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
    ranks = retrieval.rank(
        np.stack([answers.embeddings[name] for name in names]),
        embed_texts(encoder, texts, progress=progress),
        text_image,
    )
    items = [
        Item(group="text_to_image", picture=names[at], asked=(text,), **_ranked(rank))
        for text, at, rank in zip(texts, text_image, ranks.text_to_image, strict=True)
    ]
    items += [
        Item(group="image_to_text", picture=name, asked=(), **_ranked(rank))
        for name, rank in zip(names, ranks.image_to_text, strict=True)
    ]
    return Group(numbers=retrieval.summarise(ranks, text_image), items=items)


def _ranked(rank: np.int64) -> dict[str, Any]:
    return {
        "hits": {f"r@{cutoff}": bool(rank <= cutoff) for cutoff in retrieval.CUTOFFS},
        "scores": {"rank": int(rank)},
    }


def hard_negatives_group(rows: Sequence[HardNegativeRow], answers: Answers) -> Group:
    """Compare the scores of each caption and its wrong one."""
    kept = [row for row in rows if row.image in answers.embeddings]
    _refuse_nothing("hard negatives", len(kept))
    caption = [answers.scores[row.image, row.caption] for row in kept]
    negative = [answers.scores[row.image, row.negative_caption] for row in kept]
    blind_caption = [answers.blind_scores.get((row.image, row.caption), _NO_SCORE) for row in kept]
    blind_negative = [answers.blind_scores.get((row.image, row.negative_caption), _NO_SCORE) for row in kept]
    found = hard_negatives.compare(
        judge=PairScores(caption=_judges(caption), negative=_judges(negative)),
        dual=PairScores(caption=_duals(caption), negative=_duals(negative)),
        blind=PairScores(caption=_judges(blind_caption), negative=_judges(blind_negative)),
        blind_dual=PairScores(caption=_duals(blind_caption), negative=_duals(blind_negative)),
    )
    items = [
        Item(
            group="hard_negatives",
            picture=row.image,
            asked=(row.caption, row.negative_caption),
            type=row.type,
            hits=found.at(at),
            scores={"caption": caption[at].judge, "negative_caption": negative[at].judge},
        )
        for at, row in enumerate(kept)
    ]
    return Group(numbers=hard_negatives.summarise(found, [row.type for row in kept]), items=items)


def _judges(scores: Sequence[Score]) -> NDArray[np.float64]:
    return np.array([score.judge for score in scores], np.float64)


def _duals(scores: Sequence[Score]) -> NDArray[np.float64]:
    return np.array([score.dual for score in scores], np.float64)


def proofreading_group(
    encoder: Encoder, rows: Sequence[HardNegativeRow], truths: Sequence[WrongWords], answers: Answers
) -> Group | None:
    """Judge the words of the rows that have a wrong one; None where no row has."""
    kept = [
        (row, truth) for row, truth in zip(rows, truths, strict=True) if truth.spans and row.image in answers.embeddings
    ]
    if not kept:
        return None
    exchanged = frozenset[str]().union(*(truth.exchanged for _, truth in kept))
    seen = [_judged(row, truth, answers.proofs, exchanged) for row, truth in kept]
    blind = [
        _judged(row, truth, answers.blind_proofs, exchanged)
        if (row.image, row.caption) in answers.blind_proofs
        else None
        for row, truth in kept
    ]
    items = [_proofread(row, own, other) for (row, _), own, other in zip(kept, seen, blind, strict=True)]
    calibration = encoder.manifest.calibration
    fit = calibration.word_error_fit
    numbers = proofreading.summarise(
        seen, blind, [row.type for row, _ in kept], prior=None if fit is None else fit.prior
    )
    said = {"method": method_of(encoder), "threshold": calibration.word_error_threshold}
    return Group(numbers={**said, **numbers}, items=items)


def _judged(
    row: HardNegativeRow,
    truth: WrongWords,
    proofs: dict[tuple[str, str], list[JudgedWord]],
    exchanged: frozenset[str],
) -> JudgedRow:
    caption, negative = (
        [replace(word, can_be_wrong=letters(text[slice(*word.span)]) in exchanged) for word in proofs[row.image, text]]
        for text in (row.caption, row.negative_caption)
    )
    return JudgedRow(caption=caption, negative=negative, truth=truth)


def _proofread(row: HardNegativeRow, own: JudgedRow, blind: JudgedRow | None) -> Item:
    is_wrong = [*own.is_wrong(), *(False for _ in own.caption)]
    words = [(row.negative_caption, word) for word in own.negative] + [(row.caption, word) for word in own.caption]
    others = [None for _ in words] if blind is None else [word.error for word in (*blind.negative, *blind.caption)]
    other_hits = dict.fromkeys(own.outcome()) if blind is None else blind.outcome()
    return Item(
        group="proofreading",
        picture=row.image,
        asked=(row.caption, row.negative_caption),
        type=row.type,
        hits={**own.outcome(), **{f"blind_{name}": hit for name, hit in other_hits.items()}},
        words=[
            ItemWord(
                text=text[slice(*word.span)],
                is_wrong=bool(wrong),
                error=word.error,
                blind_error=other,
                can_be_wrong=bool(wrong) or word.can_be_wrong,
            )
            for (text, word), wrong, other in zip(words, is_wrong, others, strict=True)
        ],
    )


def grounding_group(rows: Sequence[GroundingRow], answers: Answers) -> Group:
    """Compare the places that were found with the true boxes."""
    pictures = {name: at for at, name in enumerate(answers.embeddings)}
    kept = [row for row in rows if (row.image, row.phrase) in answers.places]
    _refuse_nothing("grounding", len(kept))
    places = [answers.places[row.image, row.phrase] for row in kept]
    grounded = [
        GroundedRow(
            truth=row.boxes,
            box=place.box,
            point=place.point,
            is_given=place.is_given,
            phrase=row.phrase,
            group=pictures[row.image],
            rivals=row.rivals,
        )
        for row, place in zip(kept, places, strict=True)
    ]
    found = grounding.compare(grounded)
    items = [
        Item(
            group="grounding",
            picture=row.image,
            asked=(row.phrase,),
            hits=found.at(at),
            scores={"x": grounded[at].point[0], "y": grounded[at].point[1]},
        )
        for at, row in enumerate(kept)
    ]
    return Group(numbers=grounding.summarise(grounded, found), items=items)


def absent_group(rows: Sequence[GroundingRow], answers: Answers) -> Group:
    """Say how many phrases of what is not in their picture are given no box."""
    pictures = {name: at for at, name in enumerate(answers.embeddings)}
    asked = [(row.image, phrase) for row in rows for phrase in row.absent if (row.image, phrase) in answers.places]
    _refuse_nothing("absent phrases", len(asked))
    refused = [AbsentRow(is_given=answers.places[key].is_given, group=pictures[key[0]]) for key in asked]
    found = grounding.refusals(refused)
    items = [
        Item(group="absent", picture=image, asked=(phrase,), hits=found.at(at))
        for at, (image, phrase) in enumerate(asked)
    ]
    return Group(numbers=grounding.summarise_absent(refused, found), items=items)


def image_pairs_group(rows: Sequence[ImagePairRow], answers: Answers) -> Group:
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
        [_NO_SCORE if other is None else answers.scores[name, other] for name in (row.image, row.negative_image)]
        for (_, row), other in zip(kept, others, strict=True)
    ]
    found = image_pairs.compare(
        judge=_quad(np.stack([_judges(quad) for quad in quads])),
        dual=_quad(np.stack([_duals(quad) for quad in quads])),
        blind=_blind(np.stack([_judges(pair) for pair in blind])),
        blind_dual=_blind(np.stack([_duals(pair) for pair in blind])),
    )
    items = [
        Item(
            group="image_pairs",
            picture=row.image,
            asked=(row.caption, row.negative_caption),
            type=row.type,
            hits=found.at(at),
            scores={
                name: score.judge
                for name, score in zip(
                    ("caption", "caption_elsewhere", "negative_elsewhere", "negative"), quads[at], strict=True
                )
            },
        )
        for at, (_, row) in enumerate(kept)
    ]
    return Group(numbers=image_pairs.summarise(found, [row.type for _, row in kept]), items=items)


def _quad(scores: NDArray[np.float64]) -> QuadScores:
    """Columns: caption with image, with negative image; negative caption with image, with negative image."""
    return QuadScores(
        caption_image=scores[:, 0],
        caption_negative_image=scores[:, 1],
        negative_caption_image=scores[:, 2],
        negative_caption_negative_image=scores[:, 3],
    )


def _blind(scores: NDArray[np.float64]) -> BlindScores:
    return BlindScores(image=scores[:, 0], negative_image=scores[:, 1])


def judgements_group(rows: Sequence[JudgementRow], answers: Answers) -> Group:
    """Compare the scores with what people gave."""
    kept = [row for row in rows if row.image in answers.embeddings]
    _refuse_nothing("judgements", len(kept))
    scores = [answers.scores[row.image, row.caption] for row in kept]
    items = [
        Item(
            group="judgements",
            picture=row.image,
            asked=(row.caption,),
            scores={"match": score.judge, "dual": score.dual, "people": float(np.mean(row.scores))},
        )
        for row, score in zip(kept, scores, strict=True)
    ]
    numbers = judgements.summarise(
        judge=_judges(scores),
        dual=_duals(scores),
        blind=_judges([answers.blind_scores.get((row.image, row.caption), _NO_SCORE) for row in kept]),
        grades=[row.scores for row in kept],
    )
    return Group(numbers=numbers, items=items)


def statements_group(encoder: Encoder, rows: Sequence[StatementRow], answers: Answers) -> Group:
    """Compare the calibrated probabilities with the labels. The same sentence of several pictures is one draw."""
    kept = [row for row in rows if row.image in answers.embeddings]
    _refuse_nothing("statements", len(kept))
    logistic = encoder.manifest.calibration.match
    scores = StatementScores(
        own=_judges([answers.scores[row.image, row.caption] for row in kept]),
        blind=_judges([answers.blind_scores.get((row.image, row.caption), _NO_SCORE) for row in kept]),
        labels=np.array([row.label for row in kept], bool),
    )
    found = statements.compare(scores, lambda score: logistic.probability(score) >= 0.5)
    items = [
        Item(
            group="statements",
            picture=row.image,
            asked=(row.caption,),
            type=row.relation,
            hits=found.at(at),
            scores={"match": float(scores.own[at]), "label": float(row.label)},
        )
        for at, row in enumerate(kept)
    ]
    _, sentence = np.unique([row.caption for row in kept], return_inverse=True)
    numbers = statements.summarise(scores, found, [row.relation for row in kept], group=sentence)
    return Group(numbers=numbers, items=items)


def mentions_group(rows: Sequence[MentionRow], answers: Answers) -> Group:
    """Compare where the words of phrases point, within their captions, with the true boxes."""
    pictures = {name: at for at, name in enumerate(answers.embeddings)}
    kept = [row for row in rows if (row.image, row.caption, _span(row)) in answers.mentions]
    _refuse_nothing("mentions", len(kept))
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row.image, row.caption)
        first[key] = min(row.start, first.get(key, row.start))
    pointed = [
        probes.Mention(
            row=GroundedRow(
                truth=row.boxes,
                box=None,
                point=answers.mentions[row.image, row.caption, _span(row)],
                phrase=row.phrase,
                group=pictures[row.image],
            ),
            is_later=row.start > first[row.image, row.caption],
        )
        for row in kept
    ]
    found = probes.point(pointed)
    items = [
        Item(group="mentions", picture=row.image, asked=(row.caption, row.phrase), hits=found.at(at))
        for at, row in enumerate(kept)
    ]
    return Group(numbers=probes.summarise_mentions(pointed, found), items=items)


def _span(row: MentionRow) -> tuple[int, int]:
    return row.start, row.start + len(row.phrase)


def occlusions_group(rows: Sequence[OcclusionRow], answers: Answers) -> Group:
    """Compare the scores of two captions where the main thing is covered, and where it is not."""
    there = answers.embeddings
    kept = [row for row in rows if row.image in there and row.elsewhere_image in there]
    _refuse_nothing("occlusions", len(kept))

    def pairs(names: Sequence[str], of: Mapping[tuple[str, str], Score]) -> tuple[PairScores, PairScores]:
        true = [of.get((name, row.caption), _NO_SCORE) for name, row in zip(names, kept, strict=True)]
        wrong = [of.get((name, row.negative_caption), _NO_SCORE) for name, row in zip(names, kept, strict=True)]
        return (
            PairScores(caption=_judges(true), negative=_judges(wrong)),
            PairScores(caption=_duals(true), negative=_duals(wrong)),
        )

    covered = [row.image for row in kept]
    judge, dual = pairs(covered, answers.scores)
    elsewhere, elsewhere_dual = pairs([row.elsewhere_image for row in kept], answers.scores)
    blind, _ = pairs(covered, answers.blind_scores)
    found = probes.uncover(judge=judge, dual=dual, elsewhere=elsewhere, elsewhere_dual=elsewhere_dual, blind=blind)
    items = [
        Item(
            group="occlusions",
            picture=row.image,
            asked=(row.caption, row.negative_caption),
            type=row.type,
            hits=found.at(at),
        )
        for at, row in enumerate(kept)
    ]
    return Group(numbers=estimate_rates(found), items=items)


def near_duplicates_group(encoder: Encoder, rows: Sequence[NearDuplicatesRow], answers: Answers) -> Group:
    """Rank each caption's picture among all pictures with their near-duplicates."""
    there = answers.embeddings
    kept = [row for row in rows if row.image in there and all(name in there for name in row.near)]
    _refuse_nothing("near-duplicates", len(kept))
    names = list(dict.fromkeys(name for row in kept for name in (row.image, *row.near)))
    at_row = {name: at for at, name in enumerate(names)}
    found = probes.find(
        np.stack([there[name] for name in names]),
        embed_texts(encoder, [row.caption for row in kept]),
        np.array([at_row[row.image] for row in kept], np.int64),
        [[answers.scores[name, row.caption].judge for name in (row.image, *row.near)] for row in kept],
    )
    items = [
        Item(group="near_duplicates", picture=row.image, asked=(row.caption,), hits=found.at(at))
        for at, row in enumerate(kept)
    ]
    numbers = {
        **estimate_rates(found),
        "gallery": len(names),
        **probes.chances(len(names), [len(row.near) for row in kept]),
    }
    return Group(numbers=numbers, items=items)
