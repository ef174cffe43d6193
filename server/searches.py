"""Searches of all clients, in batches: one pass over a gallery's vectors answers several queries."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from index import Filter, Gallery, GalleryInfo, Item, Match, Target
from index.features import Part
from runtime.encoder import Floats
from server import timings
from server.batching import Batcher, Lane, Watcher
from server.stored_features import Stored, read_stored

_MAX_ROWS = 64
_TOP_K_STEPS = (16, 128, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One search.

    Attributes:
        vector: [dim], unit length.
        filter_key: the filter as it was sent; only equal ones are answered together (1 and true are not).
        wants_items: whether the found items themselves are read as well.
        parts: what is read of what the gallery keeps of the found pictures; None reads nothing.
    """

    gallery: Gallery
    vector: Floats
    top_k: int
    target: Target
    filter: Filter | None = None
    filter_key: bytes = b""
    exclude: frozenset[str] = frozenset()
    wants_items: bool = False
    parts: frozenset[Part] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and the gallery as it was searched.

    Attributes:
        items: by id; empty unless they were wanted, and without those that were deleted meanwhile.
        stored: of the pictures that were found; None unless parts of it were wanted.
        times_s: of the videos among them, when the frame that fits best is shown, by id.
    """

    matches: list[Match]
    info: GalleryInfo
    items: dict[str, Item]
    stored: Stored | None = None
    times_s: dict[str, float] = field(default_factory=dict)


class Searches:
    """The queue of searches with the loops that empty it."""

    def __init__(self, *, num_loops: int, max_batch_s: float, watcher: Watcher) -> None:
        self._batcher: Batcher[Query, Found] = Batcher(
            "search", _run, num_loops=num_loops, max_rows=lambda _: _MAX_ROWS, max_batch_s=max_batch_s, watcher=watcher
        )

    async def search(self, query: Query) -> Found:
        """Search a gallery.

        Raises:
            GalleryError: the gallery cannot be searched.
        """
        steps = next((step for step in _TOP_K_STEPS if query.top_k <= step), query.top_k)
        shared = (query.gallery, query.filter_key, query.exclude)
        ticket = self._batcher.submit([(Lane("search", (query.target, steps), shared), query)])
        found = await ticket
        if (stopwatch := timings.current.get()) is not None:
            stopwatch.waited("search", ticket.queued_s, since_s=ticket.since, worked_s=ticket.alone_s)
        return found[0]

    async def canary(self, gallery: Gallery, vector: Floats) -> None:
        """Search once, for nothing.

        Raises:
            GalleryError: the gallery cannot be searched with this vector.
            EngineError: the loop died.
        """
        await self.search(Query(gallery=gallery, vector=vector, top_k=1, target="image"))

    @property
    def has_failed(self) -> bool:
        """Whether a loop died and no search has run since."""
        return self._batcher.has_failed

    def waiting(self) -> int:
        """Return how many searches wait."""
        return self._batcher.depth().get("search", 0)

    def close(self) -> None:
        """Answer what is queued and end the loops."""
        self._batcher.close()


def _run(_: Lane, queries: Sequence[Query]) -> list[Found | Exception]:
    first = queries[0]
    top_k = max(query.top_k for query in queries)
    info = first.gallery.info()
    matches = first.gallery.search(
        np.stack([query.vector for query in queries]),
        top_k=top_k,
        target=first.target,
        filter=first.filter,
        exclude=first.exclude,
    )
    found = [some[: query.top_k] for some, query in zip(matches, queries, strict=True)]
    wanted = {match.id for some, query in zip(found, queries, strict=True) if query.wants_items for match in some}
    items = first.gallery.get_many(list(wanted)) if wanted else {}
    return [
        Found(some, info, items, _stored(query, some), _times(query, some))
        for query, some in zip(queries, found, strict=True)
    ]


def _times(query: Query, found: Sequence[Match]) -> dict[str, float]:
    if query.target == "text":
        return {}
    frames = query.gallery.frames([match.id for match in found])
    return {item_id: of_video.best_time_s(query.vector) for item_id, of_video in frames.items()}


def _stored(query: Query, found: Sequence[Match]) -> Stored | None:
    if query.parts is None:
        return None
    return read_stored(query.gallery, [match.id for match in found], query.parts)
