"""The clearest failures of each group, for a person to look at."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.items import Item
from runtime.preprocess.text import words

MOST = 6
"""How many failures of a group are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure.

    Attributes:
        picture: its name.
        said: lines about it, the most telling first.
        point: where the model pointed, in fractions of the picture; None where it did not point.
    """

    picture: str
    said: Sequence[str]
    point: tuple[float, float] | None = None


def clearest(items: Iterable[Item], *, most: int = MOST) -> dict[str, list[Failure]]:
    """The failures of each group, those first of which the model was surest; at most one of a picture."""
    found: dict[str, dict[str, tuple[float, Failure]]] = {}
    for item in items:
        kind = _KINDS.get(item.group)
        judged = kind(item) if kind is not None else None
        if judged is None:
            continue
        group = found.setdefault(_GROUPS.get(item.group, item.group), {})
        if item.picture not in group or group[item.picture][0] < judged[0]:
            group[item.picture] = judged
    return {
        group: [failure for _, failure in sorted(by_picture.values(), key=lambda pair: -pair[0])[:most]]
        for group, by_picture in found.items()
    }


_Judged = tuple[float, Failure] | None
"""How bad it is, and what to say of it; None where it is no failure."""


def _text_to_image(item: Item) -> _Judged:
    rank = item.scores["rank"] or 1
    if rank <= 1:
        return None
    return rank, Failure(picture=item.picture, said=[item.asked[0], f"its picture came at rank {rank:.0f}"])


def _hard_negatives(item: Item) -> _Judged:
    if item.hits["accuracy"]:
        return None
    gap = (item.scores["negative_caption"] or 0) - (item.scores["caption"] or 0)
    return gap, Failure(picture=item.picture, said=[item.asked[0], f"preferred: {item.asked[1]}", item.type or ""])


def _image_pairs(item: Item) -> _Judged:
    if item.hits["accuracy"]:
        return None
    gap = (item.scores["caption_elsewhere"] or 0) - (item.scores["caption"] or 0)
    return gap, Failure(
        picture=item.picture, said=[item.asked[0], f"preferred the picture of: {item.asked[1]}", item.type or ""]
    )


def _proofreading(item: Item) -> _Judged:
    if item.hits["word_top1"]:
        return None
    judged = item.words[: len(words(item.asked[1]))]  # behind them are the words of the true caption
    wrong = max((word.error for word in judged if word.is_wrong), default=0.0)
    worst = max((word for word in judged if not word.is_wrong), key=lambda word: word.error, default=None)
    if worst is None:
        return None
    missed = ", ".join(word.text for word in judged if word.is_wrong)
    said = [item.asked[1], f"wrong is: {missed}; suspected: {worst.text}", f"true is: {item.asked[0]}"]
    return worst.error - wrong, Failure(picture=item.picture, said=said)


def _grounding(item: Item) -> _Judged:
    if item.hits["pointing"]:
        return None
    x, y = item.scores["x"] or 0.0, item.scores["y"] or 0.0
    return 0.0, Failure(picture=item.picture, said=[item.asked[0]], point=(x, y))


def _statements(item: Item) -> _Judged:
    if item.hits["accuracy"]:
        return None
    truth = "true" if item.scores["label"] else "false"
    return abs(item.scores["match"] or 0), Failure(
        picture=item.picture, said=[item.asked[0], f"it is {truth}", item.type or ""]
    )


_KINDS: Mapping[str, Callable[[Item], _Judged]] = {
    "text_to_image": _text_to_image,
    "hard_negatives": _hard_negatives,
    "image_pairs": _image_pairs,
    "proofreading": _proofreading,
    "grounding": _grounding,
    "statements": _statements,
}
_GROUPS = {"text_to_image": "retrieval"}
