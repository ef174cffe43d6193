"""Scenes whose captions are true of one of them each."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from scenes.draft import Draft
from scenes.scene import Scene, Thing
from scenes.truth import is_true
from scenes.world import Combination

_Key = frozenset[Combination]


@dataclass(kw_only=True, slots=True)
class Kept:
    """The scenes kept so far, found by one or two of the things in them and by the first one or two mentioned."""

    count: int = 0
    things: dict[_Key, list[tuple[Thing, ...]]] = field(default_factory=lambda: defaultdict(list))
    drafts: dict[_Key, list[Draft]] = field(default_factory=lambda: defaultdict(list))

    def tells_apart(self, scene: Scene) -> bool:
        """Whether the scene's caption is false of every picture kept, and their captions are false of it."""
        if any(
            is_true(scene.draft, things, size_px=scene.image.width)
            for things in self.things.get(_key_of(scene.draft), ())
        ):
            return False
        return not any(
            is_true(draft, scene.objects, size_px=scene.image.width)
            for key in _keys_in(scene.objects)
            for draft in self.drafts[key]
        )

    def add(self, scene: Scene) -> None:
        """Keep a scene."""
        self.count += 1
        self.drafts[_key_of(scene.draft)].append(scene.draft)
        for key in _keys_in(scene.objects):
            self.things[key].append(scene.objects)


def _key_of(draft: Draft) -> _Key:
    return frozenset(look.combination for look in draft.looks[: min(2, draft.plan.shape.num_mentions)])


def _keys_in(things: Sequence[Thing]) -> Iterator[_Key]:
    """Every key that a caption true of these things can have."""
    for num in (1, 2):
        for chosen in combinations(things, num):
            yield frozenset(thing.look.combination for thing in chosen)
