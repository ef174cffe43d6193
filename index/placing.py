"""Puts a large index on a card beside its place in memory, tuned like all others, and keeps the copy up to date.

Recall@10 is measured as in `tuning.py`, through the card and with true scores from the vectors; a copy that finds less
than 0.95 is not used.
"""

from collections.abc import Iterator
from dataclasses import replace

from index.candidates import Effort, Fit
from index.cards import Cards, Placed
from index.large_index import LargeIndex
from index.memory import Memory
from index.records import Floats, Target
from index.sampling import TOP_K, Sample, draw, merged, no_answers, recall_of
from index.tuning import RECALL_WANTED
from index.vectors import Rows

MOST_FRESH = 2_048
"""From so many vectors that the card does not hold on, they are brought there; the CPU looks at each until then."""

REBUILT_FROM = 8_192
"""The same for an index that cannot be added to and is made anew."""

_AT_ONCE = 65_536


def bring_to_card(memory: Memory, target: Target, cards: Cards) -> bool:
    """Put a large target on a card, or bring what is there up to date; searches and writes go on meanwhile.

    Returns:
        Whether a card answers for the target now.
    """
    index = memory.index(target)
    if not isinstance(index, LargeIndex):
        return False
    placed = index.placed
    if placed is not None and not placed.is_usable:
        memory.place(index, None)
        placed = None
    if placed is None or (not placed.grows and index.num_positions - placed.count >= REBUILT_FROM):
        placed = _placed_anew(memory, index, target, cards)
        if placed is None:
            return index.placed is not None
        memory.place(index, placed)
    if placed.grows:
        _add_fresh(memory, index, placed, cards)
    return True


def _placed_anew(memory: Memory, index: LargeIndex, target: Target, cards: Cards) -> Placed | None:
    sample = draw(memory, target, len(index))
    row_at = memory.row_at(index)
    scores, answers = no_answers(sample)

    def chunks() -> Iterator[Floats]:
        nonlocal scores, answers
        for start in range(0, len(row_at), _AT_ONCE):
            vectors = index.vectors(start, min(start + _AT_ONCE, len(row_at)))
            rows = row_at[start : start + _AT_ONCE]
            if (rows >= 0).any():
                scores, answers = merged(scores, answers, rows[rows >= 0], vectors[rows >= 0], sample)
            yield vectors

    placed = cards.place(sample.training, chunks(), count=len(row_at))
    if placed is None:
        return None
    if not _tune(memory, index, placed, sample, answers):
        if placed.is_usable:
            cards.fall_back(f"{placed.kind} on the card finds less than {RECALL_WANTED:.0%} of the nearest here")
        return None
    return placed


def _tune(memory: Memory, index: LargeIndex, placed: Placed, sample: Sample, answers: Rows) -> bool:
    """Give a copy the least effort that finds enough; say whether there is one."""
    breadths, numbers = placed.efforts
    for num_candidates in numbers:
        for breadth in breadths:
            fit = Fit(
                effort=Effort(breadth=breadth, num_candidates=num_candidates), recall=0.0, num_vectors=placed.count
            )
            placed.refit(fit)
            found = memory.search_placed(index, placed, sample.queries, TOP_K + 1)
            if found is None:
                return False
            recall, at_least = recall_of(found, sample, answers)
            if at_least >= RECALL_WANTED and placed.finds_strangers():
                placed.refit(replace(fit, recall=recall))
                return True
    return False


def _add_fresh(memory: Memory, index: LargeIndex, placed: Placed, cards: Cards) -> None:
    try:
        while index.num_positions - placed.count >= MOST_FRESH:
            end = min(placed.count + _AT_ONCE, index.num_positions)
            placed.add(index.vectors(placed.count, end))
            memory.place(index, placed, count=end)
    except RuntimeError as error:
        cards.fall_back(str(error))
        memory.place(index, None)
