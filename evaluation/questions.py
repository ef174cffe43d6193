"""What an evaluation asks of each picture: from rows to questions."""

from collections.abc import Sequence

from evaluation.edits import WrongWords
from evaluation.readers import ImagePairRow, Rows
from evaluation.sweep import Questions


def questions_of(rows: Rows, captions: dict[str, list[str]], truths: Sequence[WrongWords]) -> dict[str, Questions]:
    """Collect what is asked of each picture.

    Args:
        rows: everything that is evaluated.
        captions: captions of each picture that takes part in retrieval.
        truths: the wrong words of each hard negative, in order.
    """
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
            question.proofs.setdefault(row.caption, set())
            places = question.proofs.setdefault(row.negative_caption, set())
            if truth.correction is not None:
                places.add(truth.correction[0])
    for phrase in rows.grounding:
        of(phrase.image).phrases.update(dict.fromkeys((phrase.phrase, *phrase.absent)))
    for at, pair in enumerate(rows.image_pairs):
        other = other_caption(rows.image_pairs, at)
        for name in (pair.image, pair.negative_image):
            texts = (pair.caption, pair.negative_caption, *(() if other is None else (other,)))
            of(name).scored.update(dict.fromkeys(texts))
    for mention in rows.mentions:
        of(mention.image).mentions.setdefault(mention.caption, {})[
            mention.start, mention.start + len(mention.phrase)
        ] = None
    for covered in rows.occlusions:
        for name in (covered.image, covered.elsewhere_image):
            of(name).scored.update(dict.fromkeys((covered.caption, covered.negative_caption)))
        of(covered.image).scored_blind.update(dict.fromkeys((covered.caption, covered.negative_caption)))
    for row_of_near in rows.near_duplicates:
        for name in (row_of_near.image, *row_of_near.near):
            of(name).scored[row_of_near.caption] = None
    for statement in rows.statements:
        question = of(statement.image)
        question.scored[statement.caption] = None
        question.scored_blind[statement.caption] = None
    for judgement in rows.judgements:
        question = of(judgement.image)
        question.scored[judgement.caption] = None
        question.scored_blind[judgement.caption] = None
    return questions


def other_caption(rows: Sequence[ImagePairRow], at: int) -> str | None:
    """A caption of another row for the blind control: the next different one, half the file away."""
    own = {rows[at].caption, rows[at].negative_caption}
    for step in range(len(rows)):
        other = rows[(at + len(rows) // 2 + step) % len(rows)].caption
        if other not in own:
            return other
    return None
