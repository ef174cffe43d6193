"""A reader of captions that shares no code with their writer: what does a sentence claim, and is it so?"""

import re
from dataclasses import dataclass
from itertools import permutations

import numpy as np

KINDS = """
    circle: circle disc | circles discs
    square: square | squares
    triangle: triangle | triangles
    star: star | stars
    heart: heart | hearts
    cross: cross | crosses
    moon: moon crescent | moons crescents
    ring: ring hoop | rings hoops
    arrow: arrow pointer | arrows pointers
    house: house cottage home | houses cottages homes
    tree: tree oak | trees oaks
    car: car automobile | cars automobiles
    boat: boat ship sailboat | boats ships sailboats
    fish: fish goldfish | fish goldfish
    cup: cup mug | cups mugs
    flower: flower blossom daisy | flowers blossoms daisies
    door: door doorway | doors doorways
    flag: flag banner | flags banners
    lamp: lamp | lamps
    candle: candle taper | candles tapers
    face: face head | faces heads
    umbrella: umbrella parasol | umbrellas parasols
    book: book volume | books volumes
    bottle: bottle flask | bottles flasks
    bucket: bucket pail | buckets pails
    box: box carton | boxes cartons
    bird: bird chick | birds chicks
    butterfly: butterfly moth | butterflies moths
    mushroom: mushroom toadstool | mushrooms toadstools
    apple: apple | apples
    key: key | keys
    hammer: hammer mallet | hammers mallets
    bell: bell chime | bells chimes
    hat: hat | hats
    chair: chair seat | chairs seats
    table: table desk | tables desks
    ladder: ladder | ladders
    plane: plane airplane jet | planes airplanes jets
    rocket: rocket spaceship | rockets spaceships
    cloud: cloud | clouds
    sun: sun | suns
    cactus: cactus | cacti
    snowman: snowman | snowmen
    ghost: ghost spook phantom | ghosts spooks phantoms
    crown: crown coronet | crowns coronets
    anchor: anchor | anchors
    clock: clock timepiece | clocks timepieces
    envelope: envelope letter | envelopes letters
    balloon: balloon | balloons
    drum: drum | drums
    frame: frame | frames
    jar: jar | jars
    cage: cage birdcage | cages birdcages
    television: television telly | televisions tellies
"""
COLOURS = """
    red: red scarlet
    orange: orange
    yellow: yellow
    green: green
    lime: lime chartreuse
    turquoise: turquoise cyan teal
    blue: blue
    purple: purple violet
    pink: pink
    brown: brown chocolate
    black: black
    grey: grey gray
"""
SIZES = """
    small: small little tiny
    medium: medium middling
    large: large big huge
"""
PATTERNS = """
    plain: plain unpatterned
    striped: striped stripy
    dotted: dotted spotted speckled
    checked: checked checkered chequered
    banded: banded belted
"""
STATES = """
    open: open opened
    closed: closed shut
    full: full filled
    empty: empty drained
    lit: lit glowing
    unlit: unlit dark
    happy: happy smiling cheerful
    sad: sad frowning unhappy
    raised: raised hoisted
    lowered: lowered dropped
"""
COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5}
RELATIONS = """
    left-of-both: left of both
    right-of-both: right of both
    above-both: above both
    below-both: below both
    between: between
    left: to the left of, on the left of, left of
    right: to the right of, on the right of, right of
    above: above, over, higher than
    below: below, beneath, lower than
    on: standing right on, resting upon, on top of, on
    under: standing right under, resting under, underneath, under
    inside: placed inside, inside, within, in
    outside: placed outside, outside, out of
    touching: next to and touching, touching, against
    far: far from, away from, distant from
    front: in front of, partly hiding, partly covering
    behind: partly hidden by, partly covered by, behind
"""


def _names(table: str, separator: str | None = None) -> dict[str, str]:
    rows = (line.split(":") for line in table.strip().splitlines())
    return {word.strip(): name.strip() for name, words in rows for word in words.replace("|", " ").split(separator)}


SINGULAR = _names("\n".join(line.split("|")[0] for line in KINDS.strip().splitlines()))
PLURAL = _names("\n".join(line.split(":")[0] + ":" + line.split("|")[1] for line in KINDS.strip().splitlines()))
COLOUR, SIZE, PATTERN, STATE = _names(COLOURS), _names(SIZES), _names(PATTERNS), _names(STATES)
RELATION = _names(RELATIONS, ",")

_ATTRIBUTES = "".join(rf"(?:({'|'.join(names)}) )?" for names in (COUNTS, SIZE, STATE, PATTERN))
_NOUNS = sorted({**SINGULAR, **PLURAL}, key=len)[::-1]
_PHRASE = re.compile(rf"\b(?:(?:an?|the) )?{_ATTRIBUTES}({'|'.join(COLOUR)}) ({'|'.join(_NOUNS)})\b")
_RELATION = re.compile(rf"\b({'|'.join(sorted(RELATION, key=len)[::-1])}) (?=P)")


@dataclass(frozen=True)
class Phrase:
    text: str
    start: int
    end: int
    count: int
    size: str | None
    state: str | None
    pattern: str | None
    colour: str
    kind: str


@dataclass(frozen=True)
class Claims:
    phrases: list[Phrase]
    relations: list[tuple[str, tuple[int, ...]]]  # a relation and its things by their order in the text, subject first
    skeleton: str


def read(caption: str) -> Claims:
    """Phrases by a dictionary; relations by rules on the sentence with P for a phrase and R for a relation."""
    phrases = []
    for m in _PHRASE.finditer(caption):
        count, size, state, pattern, colour, kind = m.groups()
        number = COUNTS[count] if count else 1
        phrases.append(
            Phrase(
                *(m[0], m.start(), m.end(), number, SIZE.get(size), STATE.get(state), PATTERN.get(pattern)),
                *(COLOUR[colour], (PLURAL if number > 1 else SINGULAR)[kind]),
            )
        )
    without_phrases = _PHRASE.sub("P", caption)
    names = [RELATION[m[1]] for m in _RELATION.finditer(without_phrases)]
    skeleton = _RELATION.sub("R ", without_phrases).removesuffix(".")
    tokens = re.findall(r"\w+|,", skeleton)
    relations: list[tuple[str, tuple[int, ...]]] = []
    seen = 0  # phrases before this word
    for at, token in enumerate(tokens):
        if token == "P":
            seen += 1
        if token != "R":
            continue
        name = names[len(relations)]
        objects = (seen, seen + 1) if name == "between" or name.endswith("both") else (seen,)
        if at == 0:  # "R P is P": the thing comes last
            subject = objects[-1] + 1
        elif tokens[at - 1] == "and":  # "P R P and R P": still the first thing
            subject = relations[-1][1][0]
        else:  # "P R P", "P is R P", "P, which is R P"
            subject = seen - 1
        relations.append((name, (subject, *objects)))
    return Claims(phrases, relations, skeleton)


def is_true(caption: str, scene) -> bool:
    """Whether there are different things that the claims are true of, tried out one by one."""
    claims = read(caption)
    return any(_fits(claims, chosen, scene) for chosen in permutations(scene.objects, len(claims.phrases)))


def _fits(claims: Claims, chosen, scene) -> bool:
    for phrase, thing in zip(claims.phrases, chosen, strict=True):
        look = thing.look
        if (phrase.kind, phrase.colour, phrase.count) != (look.kind, look.colour, look.count):
            return False
        if (
            phrase.size not in (None, look.size)
            or phrase.pattern not in (None, look.pattern)
            or phrase.state not in (None, look.state)
        ):
            return False
    return all(is_so(name, [chosen[i] for i in things], scene) for name, things in claims.relations)


def is_so(name: str, things, scene) -> bool:
    """Whether a relation holds, from boxes and from the pixels that the things cover."""
    a, b = things[0], things[1]
    if len(things) == 3:
        seen = where(a.box, b.box), where(a.box, things[2].box)
        if name == "between":
            return set(seen) in ({"left", "right"}, {"above", "below"})
        return seen == (name.removesuffix("-both").removesuffix("-of"),) * 2
    if name in ("left", "right", "above", "below"):
        return where(a.box, b.box) == name
    first, second = covered(a, scene), covered(b, scene)
    if name == "touching":
        return touch(first, second)
    if name in ("on", "under"):
        upper, lower = (a, b) if name == "on" else (b, a)
        middle = (upper.box[0] + upper.box[2]) / 2
        high = lower.box[1] + 0.3 * (lower.box[3] - lower.box[1]) + 2 / scene.image.width
        return touch(first, second) and lower.box[0] <= middle <= lower.box[2] and upper.box[3] <= high
    if name == "inside":
        return a.box[0] >= b.box[0] and a.box[1] >= b.box[1] and a.box[2] <= b.box[2] and a.box[3] <= b.box[3]
    free = max(a.box[0] - b.box[2], b.box[0] - a.box[2], a.box[1] - b.box[3], b.box[1] - a.box[3])
    if name == "outside":
        return free >= 0
    if name == "far":
        return free >= 0.2
    both = first & second
    near, far = (a, b) if name == "front" else (b, a)
    visible = scene.mask(scene.objects.index(near)), scene.mask(scene.objects.index(far))
    return (
        both.sum() >= 0.1 * min(first.sum(), second.sum())
        and bool((visible[0] & both).sum() == both.sum())
        and not (visible[1] & both).any()
    )


def covered(thing, scene) -> np.ndarray:
    """The pixels that a thing covers by half, hidden or not."""
    full = np.zeros((scene.image.height, scene.image.width), dtype=bool)
    coverage = np.asarray(thing.shape.body)
    for x0, y0, x1, y1 in thing.boxes_px:
        full[y0:y1, x0:x1] |= coverage >= 128
    return full


def touch(first, second) -> bool:
    """Whether two sets of pixels share one, or have two side by side."""
    grown = first.copy()
    grown[1:] |= first[:-1]
    grown[:-1] |= first[1:]
    grown[:, 1:] |= first[:, :-1]
    grown[:, :-1] |= first[:, 1:]
    return bool((grown & second).any())


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
