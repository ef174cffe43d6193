"""What became of each item: the answers behind the rates, one JSON line each.

A rate says how often; an item says which. With the items of two bundles on the same data, each answer can be paired
with the other's (`evaluation.comparison`), and the failures can be looked at.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemWord:
    """A word of an item's texts as proofread.

    Attributes:
        text: the word.
        is_wrong: whether it is one of the wrong words.
        error: how suspicious it is.
        blind_error: the same with another picture; None where none was to be had.
        can_be_wrong: whether the word is wrong here or is exchanged somewhere in the rows.
    """

    text: str
    is_wrong: bool
    error: float
    blind_error: float | None
    can_be_wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question and what came of it.

    Attributes:
        group: the group of the result that counts it: `text_to_image`, `hard_negatives`, …
        picture: the picture it is about. Items of one picture are not independent of each other.
        asked: the texts it is about.
        type: its kind; None where the group has none.
        hits: for each rate of the group, whether the item is a hit; None where it does not count.
        scores: numbers behind the hits: a rank, match scores, a label; None where there is none.
        words: of a proofread item, first the words of the wrong caption, then those of the true one.
        run: the run of a suite that it is of; empty outside of one.
    """

    group: str
    picture: str
    asked: Sequence[str]
    type: str | None = None
    hits: Mapping[str, bool | None] = field(default_factory=dict)
    scores: Mapping[str, float | None] = field(default_factory=dict)
    words: Sequence[ItemWord] = ()
    run: str = ""

    @property
    def key(self) -> tuple[str, str, str, tuple[str, ...]]:
        """What is the same for the same item of another bundle."""
        return (self.run, self.group, self.picture, tuple(self.asked))


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write items as JSON lines; the file appears when it is complete."""
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(asdict(item), ensure_ascii=False) + "\n")
    partial.replace(path)


def read_items(path: Path) -> list[Item]:
    """Read what `write_items` wrote.

    Raises:
        DataError: the file cannot be read or a line of it is no item.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    items = []
    for number, line in enumerate(lines, start=1):
        try:
            items.append(_item(json.loads(line)))
        except (TypeError, KeyError, ValueError) as error:
            raise DataError(
                f"{path}, line {number} is no item ({error}); write it with `vernier eval --items`."
            ) from error
    return items


def _item(given: Mapping[str, Any]) -> Item:
    return Item(**{**given, "words": [ItemWord(**word) for word in given["words"]]})
