"""Whether a caption is true of a picture, by looking at what is in it."""

from collections.abc import Sequence

from scenes.draft import Draft
from scenes.geometry import relation_of
from scenes.scene import Thing


def is_true(draft: Draft, things: Sequence[Thing]) -> bool:
    """Whether the caption of a draft is true of these things.

    Args:
        draft: what is said; that it was drafted for the same picture is not assumed.
        things: what is in the picture, no two of the same kind and colour.
    """
    by_combination = {thing.look.combination: thing for thing in things}
    meant: list[Thing] = []
    for look, says_size in zip(draft.looks, draft.plan.says_size, strict=False):
        thing = by_combination.get(look.combination)
        if thing is None or (says_size and thing.size != look.size):
            return False
        meant.append(thing)
    return all(
        relation_of(meant[a].box_px, meant[b].box_px) == relation
        for (a, b), relation in zip(draft.plan.shape.edges, draft.relations, strict=True)
    )
