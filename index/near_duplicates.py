"""Finds pictures of a gallery that are nearly the same, without comparing every picture with every other.

By codes where the bundle has a visual dictionary: the share of patches that have the same code in the same place.
Pictures that agree in all patches of a random handful are compared; handfuls are as large as keeps chance meetings
rare, and there are as many as find a pair at the threshold with a probability of 99 %. Where there are no codes: by the
cosine of the vectors, with the gallery's own index.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Method = Literal["codes", "vectors"]

SAME_CODES = 0.9
"""From this share of equal codes on two pictures are nearly the same."""

SAME_VECTORS = 0.98
"""From this cosine on, where there are no codes."""

_FOUND = 0.99
_MOST_PATCHES = 24
_MOST_BANDS = 80
_WINDOW = 32  # in a handful that many pictures share, each is compared with the next so many by order of their codes
_MOST_EXAMPLES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicates:
    """What was found.

    Attributes:
        method: `codes` or `vectors`.
        threshold: share of equal codes, or cosine.
        looked_at: pictures that were compared.
        compared: pairs that were really compared.
        pairs: of them, those at or above the threshold.
        pictures: how many pictures are in a pair.
        groups: how many groups such pictures form, each joined by pairs.
        largest_group: pictures in the largest.
        examples: ids and similarity of the most alike pairs, at most 20.
    """

    method: Method
    threshold: float
    looked_at: int
    compared: int
    pairs: int
    pictures: int
    groups: int
    largest_group: int
    examples: list[tuple[str, str, float]] = field(default_factory=list)


def by_codes(ids: Sequence[str], codes: Codes, *, threshold: float = SAME_CODES, seed: int = 0) -> NearDuplicates:
    """Compare pictures by the codes of their patches.

    Args:
        ids: of the pictures.
        codes: [pictures, patches].
        threshold: share of patches, above 0, that must have the same code.
        seed: of the handfuls.
    """
    found: dict[tuple[int, int], float] = {}
    compared: set[tuple[int, int]] = set()
    for places in _handfuls(codes, threshold, np.random.default_rng(seed)):
        for pairs in _meetings(codes, places):
            fresh = [pair for pair in pairs if pair not in compared]
            compared.update(fresh)
            if not fresh:
                continue
            rows = np.asarray(fresh)
            shares = (codes[rows[:, 0]] == codes[rows[:, 1]]).mean(axis=1)
            found.update({pair: float(share) for pair, share in zip(fresh, shares, strict=True) if share >= threshold})
    return _summed(ids, found, method="codes", threshold=threshold, compared=len(compared))


def by_vectors(
    ids: Sequence[str], neighbours: Iterator[tuple[str, str, float]], *, threshold: float = SAME_VECTORS
) -> NearDuplicates:
    """Gather pairs of pictures whose vectors are alike.

    Args:
        ids: of the pictures.
        neighbours: id, id of a near picture, cosine; a pair may come both ways.
        threshold: cosine from which they are nearly the same.
    """
    row_of = {item_id: row for row, item_id in enumerate(ids)}
    found: dict[tuple[int, int], float] = {}
    compared = 0
    for one, other, cosine in neighbours:
        compared += 1
        if one != other and cosine >= threshold and one in row_of and other in row_of:
            a, b = sorted((row_of[one], row_of[other]))
            found[a, b] = cosine
    return _summed(ids, found, method="vectors", threshold=threshold, compared=compared)


def _handfuls(codes: Codes, threshold: float, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Yield the patches of each handful.

    Patches where pictures seldom agree by chance are drawn sooner: a background that all share tells nothing.
    """
    pictures, patches = codes.shape
    if pictures < 2 or not patches:
        return
    chance = np.asarray([_chance_of_agreeing(codes[:, patch]) for patch in range(patches)])
    telling = np.maximum(-np.log(np.clip(chance, 1e-12, 1)), 1e-3)
    size = min(max(1, math.ceil(math.log(pictures) / max(float(telling.mean()), 0.05))), _MOST_PATCHES, patches)
    meet = threshold**size
    number = math.ceil(math.log(1 - _FOUND) / math.log(1 - min(meet, 1 - 1e-9)))
    for _ in range(max(1, min(number, _MOST_BANDS))):
        yield rng.choice(patches, size=size, replace=False, p=telling / telling.sum())


def _chance_of_agreeing(column: Codes) -> float:
    _, counts = np.unique(column, return_counts=True)
    return float(np.sum((counts / len(column)) ** 2))


def _meetings(codes: Codes, places: NDArray[np.intp]) -> Iterator[list[tuple[int, int]]]:
    """Yield pairs of pictures that have the same codes in some places."""
    _, group = np.unique(codes[:, places], axis=0, return_inverse=True)
    group = group.ravel()
    order = np.lexsort((*codes.T[::-1], group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        if len(members) > 1:
            rows = members.tolist()
            yield [(min(a, b), max(a, b)) for at, a in enumerate(rows) for b in rows[at + 1 : at + 1 + _WINDOW]]


def _summed(
    ids: Sequence[str], found: dict[tuple[int, int], float], *, method: Method, threshold: float, compared: int
) -> NearDuplicates:
    sizes = _group_sizes(found)
    best = sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))[:_MOST_EXAMPLES]
    return NearDuplicates(
        method=method,
        threshold=threshold,
        looked_at=len(ids),
        compared=compared,
        pairs=len(found),
        pictures=sum(sizes),
        groups=len(sizes),
        largest_group=max(sizes, default=0),
        examples=[(ids[a], ids[b], round(similarity, 4)) for (a, b), similarity in best],
    )


def _group_sizes(pairs: dict[tuple[int, int], float]) -> list[int]:
    """Return how many pictures each group has that pairs join."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b in pairs:
        parent[root(a)] = root(b)
    sizes: dict[int, int] = {}
    for row in list(parent):
        sizes[root(row)] = sizes.get(root(row), 0) + 1
    return list(sizes.values())
