"""Moves the gallery of a folder to another embedding space while it is searched and written; see `index.migrate`."""

from collections.abc import Callable, Sequence

from index import generations
from index.generations import Pending, Reembedded
from index.local import TUNED_FROM, LocalGallery
from index.memory import Memory
from index.records import TARGETS
from index.snapshot import write_snapshot
from index.state import Identity
from runtime.errors import GalleryError

Embed = Callable[[Sequence[Pending]], list[Reembedded]]
Adopt = Callable[[LocalGallery], None]

_AT_ONCE = 32


class LocalMove:
    """One move, begun or gone on with. What is done stands in the gallery's file: killed, it goes on from there."""

    def __init__(self, gallery: LocalGallery, identity: Identity) -> None:
        self._gallery = gallery
        self._store = gallery._store
        self.identity = identity
        self._after_row = 0
        self._put_since_load: set[int] = set()
        self._store.begin_standby(identity)

    def progress(self) -> tuple[int, int]:
        """Return how many vectors are made, and how many there will be."""
        with self._store.database.reading() as connection:
            return generations.counts(connection)

    def pending(self, limit: int) -> list[Pending]:
        """Return items that lack their vectors, going on behind those given before; none at the end of a round."""
        with self._store.database.reading() as connection:
            rows = generations.pending_rows(connection, after_row=self._after_row, limit=limit)
            self._after_row = rows[-1] if rows else 0
            return generations.read_pending(connection, rows)

    def put(self, items: Sequence[Reembedded]) -> None:
        """Store vectors, but for items that have been stored anew or deleted meanwhile."""
        self._store.put_standby(items)
        self._put_since_load |= {int(entry.item.key) for entry in items}

    def switch(self, embed: Embed, *, adopt: Adopt | None = None) -> LocalGallery:
        """Answer from the new space from now on, and keep the old vectors to go back to.

        Searches go on meanwhile. Writes wait while the last items are embedded, at most a few dozen, and then meet
        `gallery_switched` on the old gallery object. That one keeps answering searches as of the switch.

        Args:
            embed: makes the vectors of items that were stored since the last round.
            adopt: called with the gallery of the new space before any other write.

        Returns:
            The gallery of the new space; the old one is closed with it.

        Raises:
            GalleryError: `migration_incomplete` when an item has no vector still.
        """
        gallery = self._gallery
        with gallery._upkeep_mutex:
            memory = self._load()
            successor = gallery.succeed(self.identity, memory)
            for target in TARGETS:
                if memory.num_vectors(target) >= TUNED_FROM:
                    successor._tune_one(target)
            self._catch_up(embed, down_to=_AT_ONCE)
            with gallery._write_mutex:
                gallery._refuse_writing()
                self._catch_up(embed, down_to=0)
                self._bring_up_to_date(memory)
                self._store.swap_standby()
                memory.version += 1
                successor._store.version = memory.version
                gallery._successor = successor
                if adopt is not None:
                    adopt(successor)
            write_snapshot(successor.folder, successor._store, memory)
        return successor

    def _load(self) -> Memory:
        self._put_since_load = set()
        with self._store.of(self.identity).state() as state:
            rows = generations.pending_rows(state.connection, after_row=0, limit=-1)
            self._put_since_load |= set(rows)
            return Memory.from_state(state, self.identity.dim)

    def _catch_up(self, embed: Embed, *, down_to: int) -> None:
        """Embed what was stored meanwhile, until no more than so many items are left."""
        while True:
            self._after_row = 0
            items = self.pending(_AT_ONCE + 1)
            if len(items) <= down_to:
                return
            done = embed(items[:_AT_ONCE])
            self.put(done)
            if len(done) < len(items[:_AT_ONCE]):
                raise GalleryError(
                    "the items that were stored last cannot be embedded by the new model; run the migration again to "
                    "see which, and why. The gallery is as it was.",
                    code="migration_incomplete",
                )

    def _bring_up_to_date(self, memory: Memory) -> None:
        with self._store.of(self.identity).state() as state:
            change = state.changes_since(memory.version)
            assert change is not None  # the log is shortened by snapshots alone, and those wait
            memory.apply(change)
            memory.apply(state.change_of(sorted(self._put_since_load)))
