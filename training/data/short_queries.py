"""Short queries: what people type in place of a whole caption.

A model trained on full sentences alone ranks "red circle" almost at random. So some captions of a batch are replaced by
a query that is true of the same picture: one or two of its things, said in fewer words.
"""

import numpy as np

from scenes import PhraseBox, Scene

_OPENINGS = ("", "", "", "", "find ", "show me ", "a photo of ")
"""What may stand before a query; words that no caption has teach the model to pass over unknown ones."""

_SHARE_OF_TWO = 0.3
_SHARE_WITHOUT_KIND = 0.1


def short_query(scene: Scene, rng: np.random.Generator) -> str:
    """A query of one or two of the things that the scene's caption mentions.

    Args:
        scene: what the query is true of; it may be true of other scenes too.
        rng: advanced by what is drawn from it.
    """
    count = 2 if len(scene.phrases) > 1 and rng.random() < _SHARE_OF_TWO else 1
    chosen = rng.choice(len(scene.phrases), size=count, replace=False)
    things = [_short(scene.phrases[at], rng) for at in chosen]
    return _OPENINGS[rng.integers(len(_OPENINGS))] + " and ".join(things)


def kind_query(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """A query for a kind of thing alone, and that kind; it is of any thing in the picture, said in the caption or not.

    Args:
        scene: what the query is true of; see `shows` for others.
        rng: advanced by what is drawn from it.
    """
    thing = scene.objects[rng.integers(len(scene.objects))]
    words = scene.world.kinds[thing.kind]
    word = words[rng.integers(len(words))]
    several = scene.world.plurals[word]
    opening = _OPENINGS[rng.integers(len(_OPENINGS))]
    return opening + ("", "", "a ")[rng.integers(3)] * (thing.look.count == 1) + (
        several if thing.look.count > 1 else word
    ), thing.kind


def shows(scene: Scene, kind: str) -> bool:
    """Whether something in the picture is of a kind, or could be called by its name."""
    return any(thing.kind == kind or scene.world.are_alike(thing.kind, kind) for thing in scene.objects)


def _short(phrase: PhraseBox, rng: np.random.Generator) -> str:
    """Fewer of the words "a [attributes] colour kind": all, without the article, the last ones, or all but the kind.

    Several things keep their kind: "something two red" is said of nothing.
    """
    words = phrase.text.split()
    if rng.random() < _SHARE_WITHOUT_KIND and len(phrase.boxes) == 1:
        return " ".join(("something", *words[1:-1]))
    return " ".join(words[rng.integers(len(words)) :])
