"""Where things are: boxes, distances, and when a relation between things holds.

Boxes are `(x0, y0, x1, y1)`, in pixels or in fractions of the picture; the rules for boxes are true in both.
"""

Box = tuple[float, float, float, float]

DOMINANCE = 1.25
"""A direction is clear only when the things lie this much further apart on its axis than on the other."""

FAR = 0.2
"""Things are far apart when so much of the picture's side lies between them."""

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def separation(a: Box, b: Box) -> float:
    """The free space between two boxes along the axis where they are further apart; negative when they overlap."""
    across = max(a[0] - b[2], b[0] - a[2])
    down = max(a[1] - b[3], b[1] - a[3])
    return max(across, down)


def is_within(inner: Box, outer: Box) -> bool:
    """Whether a box lies in another."""
    return inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def direction_of(a: Box, b: Box, *, dominance: float = DOMINANCE) -> str | None:
    """Where `a` is, seen from `b`: "left", "right", "above" or "below", or None when nothing clear can be said.

    It is clear when the boxes do not overlap along one axis and their centres are `dominance` times further
    apart on it than on the other. So at most one direction is true of two things, and its opposite is false.
    """
    across = (a[0] + a[2]) - (b[0] + b[2])
    down = (a[1] + a[3]) - (b[1] + b[3])
    if abs(across) >= dominance * abs(down):
        if a[2] <= b[0]:
            return "left"
        return "right" if a[0] >= b[2] else None
    if abs(down) >= dominance * abs(across):
        if a[3] <= b[1]:
            return "above"
        return "below" if a[1] >= b[3] else None
    return None


def among(a: Box, b: Box, c: Box, *, dominance: float = DOMINANCE) -> str | None:
    """Where `a` is, seen from two others: "between", "left-of-both" and so on, or None when that is not clear."""
    first, second = direction_of(a, b, dominance=dominance), direction_of(a, c, dominance=dominance)
    if first is None or second is None:
        return None
    if first == OPPOSITE[second]:
        return "between"
    names = {"left": "left-of-both", "right": "right-of-both", "above": "above-both", "below": "below-both"}
    return names[first] if first == second else None
