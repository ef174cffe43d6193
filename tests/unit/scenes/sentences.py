"""A reader of captions that shares no code with their writer: what does a sentence claim?"""

import re
from dataclasses import dataclass

KINDS = {
    "circle": "circle", "disc": "circle", "square": "square", "triangle": "triangle", "star": "star",
    "heart": "heart", "cross": "cross", "moon": "moon", "crescent": "moon", "ring": "ring", "hoop": "ring",
    "arrow": "arrow", "house": "house", "cottage": "house", "tree": "tree", "car": "car", "automobile": "car",
    "boat": "boat", "ship": "boat", "fish": "fish", "cup": "cup", "mug": "cup", "flower": "flower",
    "blossom": "flower",
}  # fmt: skip
COLOURS = {
    "red": "red", "orange": "orange", "yellow": "yellow", "green": "green", "blue": "blue", "purple": "purple",
    "violet": "purple", "pink": "pink", "brown": "brown", "black": "black",
}  # fmt: skip
SIZES = {
    "small": "small", "little": "small", "tiny": "small", "medium": "medium", "large": "large", "big": "large",
    "huge": "large",
}  # fmt: skip
RELATIONS = {
    "left": "left", "right": "right", "above": "above", "over": "above", "below": "below", "under": "below",
    "beneath": "below",
}  # fmt: skip

PHRASE = re.compile(rf"\b(?:a|an|the) (?:({'|'.join(SIZES)}) )?({'|'.join(COLOURS)}) ({'|'.join(KINDS)})\b")
RELATION = re.compile(r"(?:(?:to|on) the )?\b(left|right) of\b|\b(above|over|below|under|beneath)\b")


@dataclass(frozen=True)
class Phrase:
    text: str
    start: int
    end: int
    size: str | None
    colour: str
    kind: str


@dataclass(frozen=True)
class Claims:
    phrases: list[Phrase]
    relations: list[tuple[int, str, int]]  # subject, relation, object: phrases by their order in the text
    skeleton: str


def read(caption: str) -> Claims:
    """Phrases by a dictionary; relations by rules on the sentence with P for a phrase and R for a relation."""
    phrases = [
        Phrase(m[0], m.start(), m.end(), SIZES.get(m[1]), COLOURS[m[2]], KINDS[m[3]]) for m in PHRASE.finditer(caption)
    ]
    without_phrases = PHRASE.sub("P", caption)
    names = [RELATIONS[m[1] or m[2]] for m in RELATION.finditer(without_phrases)]
    skeleton = RELATION.sub("R", without_phrases).removesuffix(".")
    tokens = re.findall(r"\w+|,", skeleton)
    relations: list[tuple[int, str, int]] = []
    seen = 0  # phrases before this word
    for at, token in enumerate(tokens):
        if token == "P":
            seen += 1
        if token != "R":
            continue
        name = names[len(relations)]
        if at == 0:  # "R P is P": the thing comes second
            subject = 1
        elif tokens[at - 1] == "and":  # "P R P and R P": still the first thing
            subject = relations[-1][0]
        else:  # "P R P", "P is R P", "P, which is R P"
            subject = seen - 1
        relations.append((subject, name, seen))
    return Claims(phrases, relations, skeleton)


def is_true(caption: str, things) -> bool:
    """Whether there are different things that the claims are true of, tried out one by one."""
    from itertools import permutations

    claims = read(caption)
    return any(_fits(claims, chosen) for chosen in permutations(things, len(claims.phrases)))


def _fits(claims: Claims, chosen) -> bool:
    for phrase, thing in zip(claims.phrases, chosen, strict=True):
        if (phrase.kind, phrase.colour) != (thing.kind, thing.colour):
            return False
        if phrase.size is not None and phrase.size != thing.size:
            return False
    return all(where(chosen[a].box, chosen[b].box) == name for a, name, b in claims.relations)


def where(a, b):
    """Where box a is, seen from box b, from the angle between their centres and the free strip between them."""
    dx, dy = (a[0] + a[2] - b[0] - b[2]) / 2, (a[1] + a[3] - b[1] - b[3]) / 2
    if abs(dx) > abs(dy):
        if abs(dx) < 1.25 * abs(dy) - 1e-9:
            return None
        return "left" if dx < 0 and a[2] <= b[0] else "right" if dx > 0 and b[2] <= a[0] else None
    if abs(dy) < 1.25 * abs(dx) - 1e-9:
        return None
    return "above" if dy < 0 and a[3] <= b[1] else "below" if dy > 0 and b[3] <= a[1] else None
