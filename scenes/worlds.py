"""The two worlds: the full one, and a small one within it for quick comparisons of models at 64 px."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from runtime.errors import UsageError
from scenes.world import Colour, Combination, Family, KindFamily, Relation, Size, StateFamily, World

_KINDS = {
    "circle": ("circle", "disc"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "heart": ("heart",),
    "cross": ("cross",),
    "moon": ("moon", "crescent"),
    "ring": ("ring", "hoop"),
    "arrow": ("arrow", "pointer"),
    "house": ("house", "cottage", "home"),
    "tree": ("tree", "oak"),
    "car": ("car", "automobile"),
    "boat": ("boat", "ship", "sailboat"),
    "fish": ("fish", "goldfish"),
    "cup": ("cup", "mug"),
    "flower": ("flower", "blossom", "daisy"),
    "door": ("door", "doorway"),
    "flag": ("flag", "banner"),
    "lamp": ("lamp",),
    "candle": ("candle", "taper"),
    "face": ("face", "head"),
    "umbrella": ("umbrella", "parasol"),
    "book": ("book", "volume"),
    "bottle": ("bottle", "flask"),
    "bucket": ("bucket", "pail"),
    "box": ("box", "carton"),
    "bird": ("bird", "chick"),
    "butterfly": ("butterfly", "moth"),
    "mushroom": ("mushroom", "toadstool"),
    "apple": ("apple",),
    "key": ("key",),
    "hammer": ("hammer", "mallet"),
    "bell": ("bell", "chime"),
    "hat": ("hat",),
    "chair": ("chair", "seat"),
    "table": ("table", "desk"),
    "ladder": ("ladder",),
    "plane": ("plane", "airplane", "jet"),
    "rocket": ("rocket", "spaceship"),
    "cloud": ("cloud",),
    "sun": ("sun",),
    "cactus": ("cactus",),
    "snowman": ("snowman",),
    "ghost": ("ghost", "spook", "phantom"),
    "crown": ("crown", "coronet"),
    "anchor": ("anchor",),
    "clock": ("clock", "timepiece"),
    "envelope": ("envelope", "letter"),
    "balloon": ("balloon",),
    "drum": ("drum",),
    "frame": ("frame",),
    "jar": ("jar",),
    "cage": ("cage", "birdcage"),
    "television": ("television", "telly"),
}
_IRREGULAR = {"fish": "fish", "goldfish": "goldfish", "cactus": "cacti", "snowman": "snowmen"}

_COLOURS = {
    "red": Colour(words=("red", "scarlet"), rgb=(214, 34, 38)),
    "orange": Colour(words=("orange",), rgb=(246, 130, 18)),
    "yellow": Colour(words=("yellow",), rgb=(240, 204, 20)),
    "green": Colour(words=("green",), rgb=(20, 120, 50)),
    "lime": Colour(words=("lime", "chartreuse"), rgb=(140, 214, 40)),
    "turquoise": Colour(words=("turquoise", "cyan", "teal"), rgb=(40, 190, 200)),
    "blue": Colour(words=("blue",), rgb=(28, 70, 216)),
    "purple": Colour(words=("purple", "violet"), rgb=(128, 44, 170)),
    "pink": Colour(words=("pink",), rgb=(244, 132, 190)),
    "brown": Colour(words=("brown", "chocolate"), rgb=(110, 66, 34)),
    "black": Colour(words=("black",), rgb=(26, 26, 28)),
    "grey": Colour(words=("grey", "gray"), rgb=(128, 130, 134)),
}

_SIZES = {
    "small": Size(words=("small", "little", "tiny"), least=140, most=160),
    "medium": Size(words=("medium", "middling"), least=220, most=245),
    "large": Size(words=("large", "big", "huge"), least=320, most=355),
}

_PATTERNS = {
    "plain": ("plain", "unpatterned"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted", "speckled"),
    "checked": ("checked", "checkered", "chequered"),
    "banded": ("banded", "belted"),
}

_COUNTS = {2: ("two",), 3: ("three",), 4: ("four",), 5: ("five",)}

_STATES = {
    "openness": StateFamily(
        states={"open": ("open", "opened"), "closed": ("closed", "shut")}, kinds=("door", "umbrella", "book", "box")
    ),
    "fullness": StateFamily(
        states={"full": ("full", "filled"), "empty": ("empty", "drained")}, kinds=("cup", "bottle", "bucket")
    ),
    "light": StateFamily(
        states={"lit": ("lit", "glowing"), "unlit": ("unlit", "dark")}, kinds=("lamp", "candle", "house")
    ),
    "mood": StateFamily(
        states={"happy": ("happy", "smiling", "cheerful"), "sad": ("sad", "frowning", "unhappy")},
        kinds=("face", "sun", "ghost"),
    ),
    "height": StateFamily(states={"raised": ("raised", "hoisted"), "lowered": ("lowered", "dropped")}, kinds=("flag",)),
}

_RELATIONS = {
    "left": Relation(
        family="across",
        forms=(("", "left", " of"), ("to the ", "left", " of"), ("on the ", "left", " of"), ("", "left", " of")),
    ),
    "right": Relation(
        family="across",
        forms=(("", "right", " of"), ("to the ", "right", " of"), ("on the ", "right", " of"), ("", "right", " of")),
    ),
    "above": Relation(
        family="upright",
        forms=(("", "above", ""), ("", "over", ""), ("", "higher", " than"), ("", "above", "")),
    ),
    "below": Relation(
        family="upright",
        forms=(("", "below", ""), ("", "beneath", ""), ("", "lower", " than"), ("", "below", "")),
    ),
    "on": Relation(
        family="support",
        forms=(("", "on", ""), ("", "on top of", ""), ("standing right ", "on", ""), ("resting ", "upon", "")),
    ),
    "under": Relation(
        family="support",
        forms=(("", "under", ""), ("", "underneath", ""), ("standing right ", "under", ""), ("resting ", "under", "")),
    ),
    "inside": Relation(
        family="containment", forms=(("", "inside", ""), ("", "in", ""), ("", "within", ""), ("placed ", "inside", ""))
    ),
    "outside": Relation(
        family="containment",
        forms=(("", "outside", ""), ("", "out of", ""), ("", "outside", ""), ("placed ", "outside", "")),
    ),
    "touching": Relation(
        family="contact", forms=(("", "touching", ""), ("", "against", ""), ("", "next to and touching", ""))
    ),
    "far": Relation(family="contact", forms=(("", "far from", ""), ("", "away from", ""), ("", "distant from", ""))),
    "front": Relation(
        family="depth", forms=(("", "in front of", ""), ("partly ", "hiding", ""), ("partly ", "covering", ""))
    ),
    "behind": Relation(
        family="depth", forms=(("", "behind", ""), ("partly ", "hidden by", ""), ("partly ", "covered by", ""))
    ),
    "between": Relation(family="among", forms=(("", "between", ""),)),
    "left-of-both": Relation(family="among", forms=(("", "left of both", ""),)),
    "right-of-both": Relation(family="among", forms=(("", "right of both", ""),)),
    "above-both": Relation(family="among", forms=(("", "above both", ""),)),
    "below-both": Relation(family="among", forms=(("", "below both", ""),)),
}

_ALL = ("small", "medium", "large")
_FAMILIES = {
    "across": Family(pools=(None, None), weight=6),
    "upright": Family(pools=(None, None), weight=6),
    "support": Family(pools=(("any", ("small", "medium")), ("support", ("medium", "large"))), weight=2),
    "containment": Family(pools=(("any", ("small",)), ("container", ("large",))), weight=2),
    "contact": Family(pools=(("any", _ALL), ("any", _ALL)), weight=2),
    "depth": Family(pools=(("solid", ("medium", "large")), ("solid", ("medium", "large"))), weight=2),
    "among": Family(pools=(("any", ("small", "medium")),) * 3, weight=1),
}

_POOLS = {
    "any": tuple(_KINDS),
    "surface": (
        *("circle", "square", "triangle", "star", "heart", "cross", "moon", "arrow", "tree", "fish", "cup", "door"),
        *("flag", "umbrella", "box", "bird", "mushroom", "apple", "bell", "hat", "cloud", "crown", "envelope"),
        *("balloon", "drum", "bucket", "rocket", "car"),
    ),
    "support": ("square", "box", "table", "envelope", "frame", "book", "cloud"),
    "container": ("ring", "frame", "jar", "cage", "television"),
    "solid": (
        *("circle", "square", "triangle", "star", "heart", "house", "tree", "car", "fish", "cup", "door"),
        *("book", "box", "mushroom", "apple", "bell", "hat", "cloud", "bucket", "envelope", "crown", "snowman"),
        *("drum", "clock"),
    ),
}

_ALIKE = (
    frozenset({"circle", "ring", "face", "clock", "balloon", "sun"}),
    frozenset({"square", "box", "frame", "television", "envelope", "book", "door"}),
    frozenset({"cup", "bucket", "jar", "bottle"}),
    frozenset({"lamp", "candle"}),
    frozenset({"table", "chair"}),
    frozenset({"plane", "rocket"}),
)

_TINTS = (
    (250, 250, 247),
    (230, 239, 250),
    (236, 247, 230),
    (252, 240, 226),
    (238, 233, 247),
    (226, 230, 234),
)

_SCENERIES = (
    ((222, 236, 250), (230, 242, 222)),
    ((250, 236, 222), (242, 232, 224)),
    ((226, 232, 246), (246, 244, 230)),
    ((246, 246, 242), (230, 228, 240)),
)

_SMALL_KINDS = (
    *("circle", "square", "triangle", "star", "heart", "cross"),
    *("moon", "ring", "arrow", "tree", "fish", "flower"),
)


def _plural(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def _held_out(kinds: Iterable[str], colours: Mapping[str, Colour]) -> frozenset[Combination]:
    """Two colours of every kind, spread over all colours."""
    num = len(colours)
    return frozenset(
        (kind, colour)
        for row, kind in enumerate(kinds)
        for column, colour in enumerate(colours)
        if (column + 5 * row) % num in (0, num // 2 - 1)
    )


def _held_out_families(kinds: Iterable[str]) -> frozenset[KindFamily]:
    """Every other kind is never said to be beside, or never above or below, another thing."""
    return frozenset(
        (kind, "across" if row % 4 == 0 else "upright") for row, kind in enumerate(kinds) if row % 4 in (0, 2)
    )


def _world(
    name: str,
    *,
    kinds: Iterable[str] = tuple(_KINDS),
    colours: Iterable[str] = tuple(_COLOURS),
    patterns: Iterable[str] = tuple(_PATTERNS),
    counts: Iterable[int] = tuple(_COUNTS),
    states: Iterable[str] = tuple(_STATES),
    families: Iterable[str] = tuple(_FAMILIES),
) -> World:
    """The part of the full world with these names."""
    chosen = {kind: _KINDS[kind] for kind in kinds}
    shades = {colour: _COLOURS[colour] for colour in colours}
    said = tuple(families)
    return World(
        name=name,
        kinds=MappingProxyType(chosen),
        plurals=MappingProxyType({word: _plural(word) for words in chosen.values() for word in words}),
        colours=MappingProxyType(shades),
        sizes=MappingProxyType(_SIZES),
        patterns=MappingProxyType({pattern: _PATTERNS[pattern] for pattern in patterns}),
        counts=MappingProxyType({count: _COUNTS[count] for count in counts}),
        states=MappingProxyType({family: _STATES[family] for family in states}),
        relations=MappingProxyType({key: what for key, what in _RELATIONS.items() if what.family in said}),
        families=MappingProxyType({family: _FAMILIES[family] for family in said}),
        pools=MappingProxyType({pool: tuple(k for k in members if k in chosen) for pool, members in _POOLS.items()}),
        alike=_ALIKE,
        tints=_TINTS,
        sceneries=_SCENERIES,
        held_out=_held_out(chosen, shades),
        held_out_families=_held_out_families(chosen),
    )


WORLD = _world("full")
"""Everything that can be drawn."""

SMALL_WORLD = _world(
    "small",
    kinds=_SMALL_KINDS,
    colours=("red", "yellow", "green", "blue", "purple", "black"),
    patterns=("plain", "striped"),
    counts=(2,),
    states=(),
    families=("across", "upright"),
)
"""Few simple kinds and colours, for quick comparisons of models at 64 px."""

WORLDS: Mapping[str, World] = MappingProxyType({world.name: world for world in (WORLD, SMALL_WORLD)})
"""The worlds by name."""


def world_named(name: str) -> World:
    """The world of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in WORLDS:
        raise UsageError(f"There is no world {name!r} of drawn scenes; it is one of {', '.join(WORLDS)}.")
    return WORLDS[name]
