"""Where things are: boxes, distances, and when one thing is left of, right of, above or below another.

Boxes are `(x0, y0, x1, y1)`, in pixels or in fractions of the picture; every rule here is true in both.
"""

Box = tuple[float, float, float, float]

DOMINANCE = 1.25
"""A relation is true along an axis only when the things lie this much further apart on it than on the other."""


def separation(a: Box, b: Box) -> float:
    """The free space between two boxes along the axis where they are further apart; negative when they overlap."""
    across = max(a[0] - b[2], b[0] - a[2])
    down = max(a[1] - b[3], b[1] - a[3])
    return max(across, down)


def relation_of(a: Box, b: Box, *, dominance: float = DOMINANCE) -> str | None:
    """Where `a` is, seen from `b`: "left", "right", "above" or "below", or None when nothing clear can be said.

    It is clear when the boxes do not overlap along one axis and their centres are `dominance` times further
    apart on it than on the other. So at most one relation is true of two things, and its opposite is false.
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
