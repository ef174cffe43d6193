"""From a draft to its caption, with the place of every word that carries meaning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from scenes.draft import Draft
from scenes.grammar import SHAPE_GROUPS, SLOT
from scenes.world import World

Slot = tuple[str, int]
"""What words say and of which mention or relation: "kind", "colour", "size", "pattern", "state", "count" or "relation",
and a number."""

Span = tuple[int, int]
"""Characters [start, end) of the caption."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """A text and where in it things are said.

    Attributes:
        text: the caption.
        phrases: for each mention, its noun phrase with the article.
        slots: the words that fill each slot.
    """

    text: str
    phrases: tuple[Span, ...]
    slots: Mapping[Slot, Span]

    def word_range(self, slot: Slot) -> tuple[int, int]:
        """The words of `text.split()` that fill a slot, as [first, last)."""
        start, end = self.slots[slot]
        before = len(self.text[:start].split())
        return before, before + len(self.text[start:end].split())


def caption_of(draft: Draft, world: World) -> Caption:
    """Say what the draft's plan says of its things."""
    writer = _Writer()
    shape = draft.plan.shape
    done = 0
    for slot in SLOT.finditer(shape.template):
        writer.add(shape.template[done : slot.start()])
        things = tuple(int(digit) for digit in slot["things"])
        if len(things) > 1:
            _relation(writer, draft, world, shape.edges.index(things))
        elif slot["word"] == "is ":
            writer.add("are" if draft.looks[things[0]].count > 1 else "is")
        else:
            _mention(writer, draft, world, things[0], definite=slot["word"] is not None)
        done = slot.end()
    writer.add(shape.template[done:] + "." * draft.plan.full_stop)
    phrases = tuple(writer.phrases[i] for i in range(shape.num_mentions))
    return Caption(text=writer.text, phrases=phrases, slots=writer.slots)


def vocabulary(world: World) -> list[str]:
    """Every word that a caption of a world can contain, and the punctuation marks, sorted."""
    among = "among" in world.families
    shapes = [
        shape for _, shapes in SHAPE_GROUPS for shape in shapes if among or all(len(edge) < 3 for edge in shape.edges)
    ]
    words = {word for shape in shapes for word in SLOT.sub(" ", shape.template).split()}
    words = {word.strip(",:") for word in words} - {""}
    words.update({"a", "an", "the", "is", "are", ",", ":", "."})
    for name, plural in world.plurals.items():
        words.update((name, plural))
    for colour in world.colours.values():
        words.update(colour.words)
    for size in world.sizes.values():
        words.update(size.words)
    for relation in world.relations.values():
        for form in relation.forms:
            words.update("".join(form).split())
    for said in (world.patterns, world.counts, world.state_words):
        words.update(word for names in said.values() for word in names)
    return sorted(words)


@dataclass(kw_only=True, slots=True)
class _Writer:
    """A text that grows, noting where it is."""

    text: str = ""
    phrases: dict[int, Span] = field(default_factory=dict)
    slots: dict[Slot, Span] = field(default_factory=dict)

    def add(self, piece: str) -> None:
        self.text += piece

    def fill(self, slot: Slot, words: str) -> None:
        self.slots[slot] = (len(self.text), len(self.text) + len(words))
        self.text += words


def _mention(writer: _Writer, draft: Draft, world: World, number: int, *, definite: bool) -> None:
    start = len(writer.text)
    filled = list(_words_of_mention(draft, world, number))
    if definite:
        filled.insert(0, (None, "the"))
    elif draft.looks[number].count == 1:
        filled.insert(0, (None, "an" if filled[0][1][0] in "aeiou" else "a"))
    for at, (slot, word) in enumerate(filled):
        writer.add(" " if at else "")
        if slot is None:
            writer.add(word)
        else:
            writer.fill(slot, word)
    writer.phrases[number] = (start, len(writer.text))


def _words_of_mention(draft: Draft, world: World, number: int) -> Iterator[tuple[Slot | None, str]]:
    look, mention = draft.looks[number], draft.plan.mentions[number]
    size_turn, state_turn, pattern_turn, colour_turn, kind_turn = mention.turns
    if mention.says_count:
        yield ("count", number), _pick(world.counts[look.count], size_turn)
    if mention.says_size:
        yield ("size", number), _pick(world.sizes[look.size].words, size_turn)
    if mention.state_family is not None and look.state is not None:
        yield ("state", number), _pick(world.state_words[look.state], state_turn)
    if mention.says_pattern:
        yield ("pattern", number), _pick(world.patterns[look.pattern], pattern_turn)
    yield ("colour", number), _pick(world.colours[look.colour].words, colour_turn)
    kind = _pick(world.kinds[look.kind], kind_turn)
    yield ("kind", number), world.plurals[kind] if look.count > 1 else kind


def _relation(writer: _Writer, draft: Draft, world: World, edge: int) -> None:
    forms = world.relations[draft.relations[edge]].forms
    before, words, after = forms[draft.plan.forms[edge] % len(forms)]
    writer.add(before)
    writer.fill(("relation", edge), words)
    writer.add(after)


def _pick(words: tuple[str, ...], turn: int) -> str:
    return words[turn % len(words)]
