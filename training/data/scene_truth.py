"""What may be made wrong in a drawn scene's caption: exact, by the scene's own words and truth."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from scenes import Scene, World
from scenes.caption import Slot, caption_of
from scenes.draft import Draft, keeps_rules
from scenes.truth import is_true
from training.data.batch import PairBatch
from training.data.candidates import Candidates, Place

EDITED_SLOTS = ("kind", "colour", "size", "relation")
"""What comparisons make wrong in training, as `scenes.TRAINING_EDITS` does: patterns, states and counts stay right, and
so are kinds of error that a model can be tested on without having been trained on them."""

EVERY_SLOT = (*EDITED_SLOTS, "pattern", "state", "count")
"""All that a caption says: what is never made wrong is learned to be right, so a model that is to serve needs all."""


class SceneTruth:
    """The truth of one scene's caption (`training.data.wrong_words.Truth`).

    A word is wrong when it fills the same slot with another value of the world, no synonym and nothing that a person
    could call by the other's name, and the caption so changed is false of the picture. What only the compositional
    split may say is refused too: it must not be learned to be wrong.
    """

    def __init__(
        self, scene: Scene, tokenizer: Tokenizer, offsets: NDArray[np.int64], *, slots: Sequence[str] = EDITED_SLOTS
    ) -> None:
        """Find the slots among the subwords.

        Args:
            scene: whose caption.
            tokenizer: one id per word.
            offsets: int64 [subwords, 2]: which characters of the caption each subword is.
            slots: names of those whose words may be made wrong.
        """
        self._scene = scene
        self._tokenizer = tokenizer
        self._slots: dict[int, Slot] = {}
        by_start = {int(start): at for at, (start, end) in enumerate(offsets) if end > start}
        for slot, (start, end) in caption_of(scene.draft, scene.world).slots.items():
            at = by_start.get(start)
            if slot[0] in slots and at is not None and int(offsets[at, 1]) == end:
                self._slots[at] = slot
        self.positions: Sequence[int] = sorted(self._slots)

    def is_wrong(self, position: int, word: int) -> bool:
        """See `Truth`."""
        changed = self._changed(self._scene.draft, position, word)
        return changed is not None and self._is_false(changed)

    def are_wrong(self, words: Mapping[int, int]) -> bool:
        """See `Truth`."""
        draft: Draft | None = self._scene.draft
        for position, word in words.items():
            draft = None if draft is None else self._changed(draft, position, word)
        return draft is not None and self._is_false(draft)

    def values(self, position: int) -> Sequence[int]:
        """The words by which the same sentence says another value there, and is false and worded alike otherwise."""
        name, number = self._slots[position]
        draft, world = self._scene.draft, self._scene.world
        caption = caption_of(draft, world)
        start, end = caption.slots[name, number]
        found: list[int] = []
        for value in _in_slot(draft, name, number, world):
            changed = caption_of(_with(draft, name, number, value), world)
            said = changed.text[slice(*changed.slots[name, number])]
            word = self._tokenizer.token_to_id(said)
            if word is not None and changed.text == caption.text[:start] + said + caption.text[end:]:
                found.append(word)
        return [word for word in found if self.is_wrong(position, word)]

    def _is_false(self, draft: Draft) -> bool:
        return not is_true(draft, self._scene.objects, size_px=self._scene.image.width)

    def _changed(self, draft: Draft, position: int, word: int) -> Draft | None:
        """The draft whose caption has this word there; None where it says nothing else, or what is held out."""
        name, number = self._slots[position]
        world = self._scene.world
        value = _names(world)[name].get(self._tokenizer.id_to_token(word) or "")
        old = draft.relations[number] if name == "relation" else getattr(draft.looks[number], name)
        if value is None or value == old or (name == "kind" and world.are_alike(str(value), old)):
            return None
        changed = _with(draft, name, number, value)
        return changed if keeps_rules(draft, changed, world) else None


def _with(draft: Draft, name: str, number: int, value: str | int) -> Draft:
    """The draft with another value in one slot."""
    if name == "relation":
        relations = [str(value) if at == number else old for at, old in enumerate(draft.relations)]
        return replace(draft, relations=tuple(relations))
    looks = list(draft.looks)
    looks[number] = replace(looks[number], **{name: value})  # type: ignore[arg-type]  # any attribute
    return replace(draft, looks=tuple(looks))


def _in_slot(draft: Draft, name: str, number: int, world: World) -> Sequence[str | int]:
    """Every value that a slot is drawn from."""
    if name == "relation":
        return world.in_family[draft.plan.families[number]]
    mention = draft.plan.mentions[number]
    values: dict[str, Sequence[str | int]] = {
        "kind": mention.kinds(world),
        "colour": tuple(world.colours),
        "size": mention.sizes,
        "pattern": tuple(world.patterns),
        "state": tuple(world.states[mention.state_family].states) if mention.state_family else (),
        "count": tuple(world.counts),
    }
    return values[name]


class UniformInSlot:
    """Candidates that are all alike: whatever else the slot could say (`training.data.candidates.Proposer`)."""

    def __init__(self, truths: Sequence[SceneTruth]) -> None:
        self._truths = truths

    def propose(self, batch: PairBatch, places: Sequence[Place]) -> list[Candidates]:
        """See `Proposer`; the batch's first rows are those of the truths."""
        found = [np.array(self._truths[row].values(position), np.int64) for row, position in places]
        return [Candidates(words, np.full(len(words), 1 / max(1, len(words)))) for words in found]


@lru_cache(maxsize=4)
def _names(world: World) -> Mapping[str, Mapping[str, str | int]]:
    """For each slot, the value that a single word says."""
    return {
        "kind": dict(_kind_words(world)),
        "colour": {word: name for name, colour in world.colours.items() for word in colour.words},
        "size": {word: name for name, size in world.sizes.items() for word in size.words},
        "pattern": {word: name for name, words in world.patterns.items() for word in words},
        "state": {word: name for name, words in world.state_words.items() for word in words},
        "count": {word: number for number, words in world.counts.items() for word in words},
        "relation": {
            form[1]: name for name, relation in world.relations.items() for form in relation.forms if " " not in form[1]
        },
    }


def _kind_words(world: World) -> Iterator[tuple[str, str]]:
    for kind, words in world.kinds.items():
        for word in words:
            yield word, kind
            yield world.plurals[word], kind
