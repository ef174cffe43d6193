"""From a draft to its caption, with the place of every word that carries meaning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from scenes.draft import Draft
from scenes.grammar import SHAPE_GROUPS, SLOT
from scenes.world import WORLD

Slot = tuple[str, int]
"""What a word says and of which mention or relation: ("kind" | "colour" | "size" | "relation", number)."""

Span = tuple[int, int]
"""Characters [start, end) of the caption."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """A text and where in it things are said.

    Attributes:
        text: the caption.
        phrases: for each mention, its noun phrase with the article.
        slots: the one word that fills each slot.
    """

    text: str
    phrases: tuple[Span, ...]
    slots: Mapping[Slot, Span]

    def word_range(self, slot: Slot) -> tuple[int, int]:
        """The words of `text.split()` that fill a slot, as [first, last)."""
        start, end = self.slots[slot]
        before = len(self.text[:start].split())
        return before, before + len(self.text[start:end].split())


def caption_of(draft: Draft) -> Caption:
    """Say what the draft's plan says of its things."""
    writer = _Writer()
    template = draft.plan.shape.template
    done = 0
    for slot in SLOT.finditer(template):
        writer.add(template[done : slot.start()])
        if slot["object"] is None:
            _mention(writer, draft, int(slot["subject"]), definite=slot["the"] is not None)
        else:
            _relation(writer, draft, draft.plan.shape.edges.index((int(slot["subject"]), int(slot["object"]))))
        done = slot.end()
    writer.add(template[done:] + "." * draft.plan.full_stop)
    phrases = tuple(writer.phrases[i] for i in range(draft.plan.shape.num_mentions))
    return Caption(text=writer.text, phrases=phrases, slots=writer.slots)


def vocabulary() -> list[str]:
    """Every word that a caption can contain, and the punctuation marks, sorted."""
    texts = [shape.template for _, shapes in SHAPE_GROUPS for shape in shapes]
    words = {word for text in texts for word in SLOT.sub(" ", text).replace(",", " ").split()}
    words.update({"a", "an", "the", ",", "."})
    for names in WORLD.kinds.values():
        words.update(names)
    for colour in WORLD.colours.values():
        words.update(colour.words)
    for size in WORLD.sizes.values():
        words.update(size.words)
    for relation in WORLD.relations.values():
        for form in relation.forms:
            words.update("".join(form).split())
    return sorted(words)


@dataclass(kw_only=True, slots=True)
class _Writer:
    """A text that grows, noting where it is."""

    text: str = ""
    phrases: dict[int, Span] = field(default_factory=dict)
    slots: dict[Slot, Span] = field(default_factory=dict)

    def add(self, piece: str) -> None:
        self.text += piece

    def fill(self, slot: Slot, word: str) -> None:
        self.slots[slot] = (len(self.text), len(self.text) + len(word))
        self.text += word


def _mention(writer: _Writer, draft: Draft, number: int, *, definite: bool) -> None:
    start = len(writer.text)
    filled = list(_words_of_mention(draft, number))
    article = "the" if definite else "an" if filled[0][1][0] in "aeiou" else "a"
    writer.add(article)
    for slot, word in filled:
        writer.add(" ")
        writer.fill(slot, word)
    writer.phrases[number] = (start, len(writer.text))


def _words_of_mention(draft: Draft, number: int) -> Iterator[tuple[Slot, str]]:
    look = draft.looks[number]
    size_turn, colour_turn, kind_turn = draft.plan.turns[number]
    if draft.plan.says_size[number]:
        yield ("size", number), _pick(WORLD.sizes[look.size].words, size_turn)
    yield ("colour", number), _pick(WORLD.colours[look.colour].words, colour_turn)
    yield ("kind", number), _pick(WORLD.kinds[look.kind], kind_turn)


def _relation(writer: _Writer, draft: Draft, edge: int) -> None:
    forms = WORLD.relations[draft.relations[edge]].forms
    before, word, after = forms[draft.plan.forms[edge] % len(forms)]
    writer.add(before)
    writer.fill(("relation", edge), word)
    writer.add(after)


def _pick(words: tuple[str, ...], turn: int) -> str:
    return words[turn % len(words)]
