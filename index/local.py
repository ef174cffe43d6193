"""A gallery in a folder: SQLite holds the truth, memory answers searches, a snapshot makes the start quick.

    items.sqlite    see items.py
    snapshot/       see snapshot.py
    lock            held by the process that writes

A write is committed to the disk first, then taken into memory, then acknowledged.
"""

import copy
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from index.candidates import KindName
from index.cards import Cards
from index.checks import check_gallery_name, checked_item, checked_queries
from index.codecs import CodecName
from index.feature_rows import FeatureCounts
from index.features import DEFAULT_PATCH_TOKENS, Kept, Part, PatchTokens, codes_of
from index.filters import Filter
from index.generations import Pending
from index.items import FILE, ItemStore
from index.large_index import EXACT_UP_TO, LargeIndex
from index.locks import FolderLock
from index.memory import Memory
from index.near_duplicates import SAME_CODES, SAME_VECTORS, NearDuplicates, by_codes, by_vectors
from index.obedience import prove_filters_are_obeyed
from index.placing import bring_to_card
from index.records import (
    TARGETS,
    Floats,
    FrameVectors,
    GalleryInfo,
    Item,
    Match,
    Metadata,
    NewItem,
    Outcome,
    Page,
    Target,
)
from index.snapshot import (
    FOLDER,
    files_in_use,
    read_snapshot,
    remove_leftovers,
    snapshot_version,
    write_snapshot,
)
from index.state import Change, Identity, State
from index.tuning import Tuning, make_index
from index.vectors import FlatVectors, RowSet
from index.verify import find_problems
from runtime.errors import GalleryError

if TYPE_CHECKING:
    from index.move import LocalMove

MAX_TOP_K = 10_000
MAX_PAGE = 1_000

TUNED_FROM = 100_000
"""From so many vectors on, upkeep makes an index of candidates; below, exact search is quick enough."""

DEFAULT_VECTORS: CodecName = "float16"
"""How a large gallery keeps vectors unless it is told otherwise: half the room, and no hit is lost."""

_LOCK = "lock"
_MOST_STALE = 1.5  # positions for each vector that is still there; with more, the index is made anew
_CACHED_FILTERS = 8
_NEIGHBOURS = 6
_NEIGHBOURS_AT_ONCE = 64
_SNAPSHOT_LEAST_CHANGES = 1_000  # catching up with fewer is quicker than reading a snapshot

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryStats:
    """What a gallery takes and holds.

    Attributes:
        image_recall, text_recall: recall@10 measured when the target was last tuned; None while it is searched exactly.
        snapshot_version: version that the snapshot shows; None when there is none.
        changes_in_log: rows to look up again when the gallery starts from its snapshot.
        pictures_with_features: pictures of which something is kept beside their vector.
        feature_bytes: what that takes.
    """

    info: GalleryInfo
    image_vectors: int
    text_vectors: int
    image_recall: float | None
    text_recall: float | None
    file_bytes: int
    snapshot_bytes: int
    snapshot_version: int | None
    changes_in_log: int
    pictures_with_features: int
    feature_bytes: int


class LocalGallery:
    """The gallery of one folder; see `index.gallery.Gallery` for what its methods promise."""

    def __init__(
        self,
        folder: Path,
        *,
        space: str | None,
        dim: int | None,
        create: bool,
        read_only: bool,
        cards: Cards | None = None,
        patch_tokens: PatchTokens | None = None,
    ) -> None:
        self.folder = folder
        self._cards = cards
        self.read_only = read_only
        self._upkeep_mutex = threading.Lock()  # taken before the next, where both are
        self._write_mutex = threading.Lock()
        self._follow_mutex = threading.Lock()
        self._is_closing = False  # tells a long tuning to stop
        self._is_closed = False
        self._filtered: OrderedDict[Filter, tuple[int, RowSet]] = OrderedDict()
        self._filtered_mutex = threading.Lock()
        self._untunable: dict[Target, int] = {}  # how many vectors there were when exact search was found better
        self._unplaceable: dict[Target, int] = {}  # and when no card could take them
        self._successor: LocalGallery | None = None
        identity = self._prepare_folder(space=space, dim=dim, create=create)
        self._folder_lock = None if read_only else FolderLock(folder / _LOCK)
        try:
            self._store = ItemStore(
                folder, create=identity, read_only=read_only, patch_tokens=patch_tokens or DEFAULT_PATCH_TOKENS
            )
            self._refuse_other_space(space=space, dim=dim)
            self._seen_data_version = self._store.database.data_version()
            prove_filters_are_obeyed()
            self._memory = self._load()
        except BaseException:
            self._let_go()
            raise

    # What every gallery does

    def info(self) -> GalleryInfo:
        """Say what the gallery is and how much is in it."""
        self._follow()
        return GalleryInfo(
            name=self.folder.resolve().name,
            items=len(self._memory),
            version=self._memory.version,
            space=self._store.identity.space,
            dim=self._store.identity.dim,
            index_kind=self._memory.index_kind,
            patch_tokens=self.patch_tokens,
        )

    @property
    def space(self) -> str:
        """Digest of the embedding space that this gallery answers from."""
        return self._store.identity.space

    @property
    def patch_tokens(self) -> PatchTokens:
        """How what belongs to a picture's patches is kept."""
        return self._store.patch_tokens

    def upsert(self, items: Sequence[NewItem]) -> list[Outcome]:
        """Store items, all or none: durable and searchable when this returns."""
        self._refuse_writing()
        checked = [checked_item(item, dim=self._store.identity.dim) for item in items]
        if not checked:
            return []
        with self._write_mutex:
            change = self._store.upsert(checked)
            self._keep_filters(change, {item.id: item.metadata for item in checked})
            self._take_in(change)
        return change.outcomes

    def delete(self, item_id: str) -> bool:
        """Delete an item, durably and from searches at once; say whether there was one."""
        self._refuse_closed()
        self._refuse_read_only()
        with self._write_mutex:
            if self._successor is None:
                change = self._store.delete(item_id)
                self._keep_filters(change, {})
                self._take_in(change)
                return bool(change.gone)
        return self._successor.delete(item_id)

    def get(self, item_id: str) -> Item | None:
        """Return one item."""
        return self._store.items([item_id]).get(item_id)

    def get_many(self, ids: Sequence[str]) -> dict[str, Item]:
        """Return those of these items that are there, by id."""
        return self._store.items(ids)

    def vector(self, item_id: str, *, target: Target = "image") -> Floats | None:
        """Return one vector of an item, [dim]."""
        return self._store.vector(item_id, target)

    def picture(self, item_id: str) -> bytes | None:
        """Return the stored JPEG of an item."""
        return self._store.picture(item_id)

    def vectors(self, ids: Sequence[str], *, target: Target = "image") -> dict[str, Floats]:
        """Return the vectors of those of these items that have one, by id."""
        return self._store.vectors(ids, target)

    def pictures(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored JPEGs of those of these items that have one, by id."""
        found = {item_id: self.picture(item_id) for item_id in ids}
        return {item_id: picture for item_id, picture in found.items() if picture is not None}

    def features(self, ids: Sequence[str], parts: Collection[Part]) -> dict[str, Kept]:
        """Return, by id, those of these parts that are kept of those of these items that have any."""
        return self._store.features(ids, parts)

    def frames(self, ids: Sequence[str]) -> dict[str, FrameVectors]:
        """Return, by id, times and vectors of the frames of those of these items that are videos."""
        return self._store.frames(ids)

    def frame_pictures(self, item_id: str) -> tuple[bytes, ...]:
        """Return the stored JPEGs of a video's frames, in order; none of a picture."""
        return self._store.frame_pictures(item_id)

    def page(self, *, cursor: str | None = None, limit: int = 100, filter: Filter | None = None) -> Page:
        """Return items in the order they were first stored."""
        if not 1 <= limit <= MAX_PAGE:
            raise GalleryError(f"a page holds 1 to {MAX_PAGE:,} items, not {limit}.", code="limit_invalid")
        after_row = _row_of(cursor)
        rows = None if filter is None else self._rows_passing(filter).rows
        found = self._store.page(after_row=after_row, limit=limit + 1, rows=rows)
        next_cursor = str(found[limit - 1][0]) if len(found) > limit else None
        return Page(items=[item for _, item in found[:limit]], next_cursor=next_cursor)

    def search(
        self,
        queries: Floats,
        *,
        top_k: int,
        target: Target = "image",
        filter: Filter | None = None,
        exclude: Collection[str] = (),
    ) -> list[list[Match]]:
        """Return the best items for each query, by score, equal scores by id."""
        if not 1 <= top_k <= MAX_TOP_K:
            raise GalleryError(f"top_k is 1 to {MAX_TOP_K:,}, not {top_k}.", code="top_k_invalid")
        self._refuse_closed()
        self._follow()
        checked = checked_queries(queries, dim=self._store.identity.dim)
        allowed = None if filter is None else self._rows_passing(filter)
        return self._memory.search(checked, top_k=top_k, target=target, allowed=allowed, exclude=exclude)

    def close(self) -> None:
        """Write a snapshot when much has changed, and let go of the gallery; closing twice does no harm."""
        if self._successor is not None:
            self._successor.close()
            self._is_closed = True
            return
        self._is_closing = True
        with self._upkeep_mutex, self._write_mutex:
            if self._is_closed:
                return
            self._is_closed = True
            try:
                if not self.read_only and self._is_snapshot_due():
                    write_snapshot(self.folder, self._store, self._memory)
            except GalleryError as error:
                _log.warning("event=snapshot_failed folder=%s reason=%s", self.folder, error)
            finally:
                self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Upkeep

    def stats(self) -> GalleryStats:
        """Say what the gallery takes and holds."""
        features = self.feature_counts(())
        return GalleryStats(
            info=self.info(),
            image_vectors=self._memory.num_vectors("image"),
            text_vectors=self._memory.num_vectors("text"),
            image_recall=self._recall("image"),
            text_recall=self._recall("text"),
            file_bytes=sum(_size(self.folder / f"{FILE}{end}") for end in ("", "-wal")),
            snapshot_bytes=sum(_size(file) for file in (self.folder / "snapshot").glob("*")),
            snapshot_version=snapshot_version(self.folder),
            changes_in_log=self._changes_in_log(),
            pictures_with_features=features.whole,
            feature_bytes=features.nbytes,
        )

    def verify(self) -> list[str]:
        """Compare everything with everything; return what is wrong, in words. Writes wait meanwhile."""
        self._refuse_closed()
        try:
            with self._upkeep_mutex, self._write_mutex, self._follow_mutex, self._store.state() as state:
                if self.read_only:
                    self._bring_up_to(state)
                return find_problems(self.folder, self._store, state, self._memory)
        except GalleryError as error:
            return [str(error)]

    def snapshot(self) -> None:
        """Write a snapshot of what is in memory and shorten the log of changes. Searches and writes go on meanwhile."""
        self._refuse_writing()
        with self._upkeep_mutex:
            write_snapshot(self.folder, self._store, self._memory)

    def tune(self, *, vectors: CodecName | None = None, kind: KindName | None = None) -> list[Tuning]:
        """Make large targets quick to search, keeping recall@10 at 0.95 or more; return what was chosen.

        Searches go on meanwhile, and writes but for a moment at the end. Small targets stay exact.

        Args:
            vectors: how vectors are kept; None keeps them as they are, at first as float16.
            kind: taken if it finds enough; None takes the quickest, which may be exact search.

        Raises:
            GalleryError: `gallery_full`: there is no room for the index; the gallery is whole and as before.
        """
        self._refuse_writing()
        with self._upkeep_mutex:
            chosen = [
                self._tune_one(target, vectors, kind)
                for target in TARGETS
                if self._memory.num_vectors(target) > EXACT_UP_TO
            ]
            write_snapshot(self.folder, self._store, self._memory)
        return chosen

    def upkeep(self) -> None:
        """Do what is due after many writes, and nothing when nothing is: tune, write a snapshot, bring to a card."""
        if not self.read_only:
            self._refuse_writing()
            if any(self._is_tuning_due(target) for target in TARGETS):
                self.tune()
            elif self._is_snapshot_due():
                self.snapshot()
        if self._cards:
            self.bring_to_cards(self._cards)

    def bring_to_cards(self, cards: Cards) -> None:
        """Let GPUs search large targets, and bring what they hold up to date; one that cannot is told of by `cards`."""
        with self._upkeep_mutex:
            for target in TARGETS:
                num_vectors = self._memory.num_vectors(target)
                if num_vectors < 2 * self._unplaceable.get(target, 0):
                    continue
                is_large = isinstance(self._memory.index(target), LargeIndex)
                if is_large and not bring_to_card(self._memory, target, cards):
                    self._unplaceable[target] = num_vectors

    def rebuild(self) -> None:
        """Make everything anew that follows from the items: what filters and searches see, and the snapshot."""
        self._refuse_writing()
        with self._upkeep_mutex:
            with self._write_mutex:
                self._store.rebuild_attributes()
                self._memory = self._read_everything()
            for target in TARGETS:
                if self._memory.num_vectors(target) >= TUNED_FROM:
                    self._tune_one(target)
            write_snapshot(self.folder, self._store, self._memory)

    def compact(self) -> tuple[int, int]:
        """Give the room of what was deleted back to the disk; return the bytes of the file before and after."""
        before = self.stats().file_bytes
        self.snapshot()
        with self._write_mutex, self._store.database.maintaining() as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before, self.stats().file_bytes

    # What is kept of pictures

    def feature_counts(self, parts: Collection[Part]) -> FeatureCounts:
        """Count the pictures that have all of these parts of what is kept of them, and those that have not."""
        return self._store.feature_counts(parts)

    def lacking_features(self, parts: Collection[Part], *, after_row: int, limit: int) -> list[Pending]:
        """Return items with a stored picture that lack one of these parts, going on behind a row; see `index.fill`."""
        return self._store.lacking_features(parts, after_row=after_row, limit=limit)

    def put_features(self, items: Sequence[tuple[Pending, Kept]]) -> int:
        """Store features, but for items that were stored anew or deleted meanwhile; return of how many."""
        self._refuse_writing()
        with self._write_mutex:
            return self._store.put_features(items)

    def keep_patch_tokens(self, patch_tokens: PatchTokens) -> None:
        """Keep what belongs to patches so from now on; what is kept already stays as it is."""
        self._refuse_writing()
        with self._write_mutex:
            self._store.keep_patch_tokens(patch_tokens)

    def forget_features(self) -> None:
        """Drop everything that is kept of pictures beside their vectors."""
        self._refuse_writing()
        with self._write_mutex:
            self._store.forget_features()

    def near_duplicates(self, *, same_codes: float = SAME_CODES, same_vectors: float = SAME_VECTORS) -> NearDuplicates:
        """Find pictures that are nearly the same: by their codes, or where none has any by their vectors."""
        self._refuse_closed()
        ids, kept = self._store.codes()
        if ids:
            return by_codes(ids, codes_of(kept), threshold=same_codes)
        with self._store.state() as state:
            names = dict(state.names())
            vectors = list(state.vectors("image"))
        found = (
            (names[row], match.id, match.score)
            for rows, chunk in vectors
            for at in range(0, len(rows), _NEIGHBOURS_AT_ONCE)
            for row, matches in zip(
                rows[at : at + _NEIGHBOURS_AT_ONCE].tolist(),
                self.search(chunk[at : at + _NEIGHBOURS_AT_ONCE], top_k=_NEIGHBOURS),
                strict=True,
            )
            for match in matches
        )
        pictures = [names[row] for rows, _ in vectors for row in rows.tolist()]
        return by_vectors(pictures, found, threshold=same_vectors)

    # Another model

    def move_to(self, *, space: str, dim: int) -> "LocalMove":
        """Begin to move the gallery to another embedding space, or go on with it; see `index.migrate`."""
        from index.move import LocalMove

        self._refuse_writing()
        return LocalMove(self, Identity(space=space, dim=dim))

    def succeed(self, identity: Identity, memory: Memory) -> "LocalGallery":
        """Return this gallery for another generation of its vectors; the two share files, locks and writers."""
        other = copy.copy(self)
        other._store = self._store.of(identity)
        other._memory = memory
        other._filtered, other._filtered_mutex = OrderedDict(), threading.Lock()
        other._untunable, other._unplaceable = {}, {}
        return other

    def standby(self) -> Identity | None:
        """Return the space of the other generation of vectors: that to go back to, or one that is not whole yet."""
        return self._store.standby()

    def discard_standby(self) -> None:
        """Forget the other generation; there is no going back to it afterwards."""
        self._refuse_writing()
        with self._upkeep_mutex, self._write_mutex:
            self._store.discard_standby()

    # Within

    def _prepare_folder(self, *, space: str | None, dim: int | None, create: bool) -> Identity | None:
        """Make the folder if wanted; return what a gallery made here would be for."""
        exists = (self.folder / FILE).exists()
        if not exists and not create:
            raise GalleryError(
                f"there is no gallery at {self.folder}; add pictures to make it.", code="unknown_gallery"
            )
        if not create or self.read_only:
            return None
        if space is None or dim is None or not space or dim < 1:
            raise GalleryError("a new gallery needs the space and dim of a bundle.", code="space_mismatch")
        if not exists:
            check_gallery_name(self.folder.resolve().name)
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise GalleryError(
                    f"{self.folder} cannot be made ({error.strerror}).", code="gallery_read_only"
                ) from error
        return Identity(space=space, dim=dim)

    def _refuse_other_space(self, *, space: str | None, dim: int | None) -> None:
        own, other = self._store.identity, self._store.standby() if not self.read_only else None
        if space not in (None, own.space) and other is not None and space == other.space:
            raise GalleryError(
                f"{self.folder} answers from space {own.space} and holds vectors of this bundle's space beside them, "
                "of a model that it was moved from or is being moved to. Use the bundle of that space, or "
                "`vernier index migrate` with this one.",
                code="space_mismatch",
            )
        if space not in (None, own.space):
            raise GalleryError(
                f"{self.folder} was filled by a bundle of space {own.space}, and this bundle's space is {space}. "
                "Use the bundle that filled it, or `vernier index migrate` to move it to this one.",
                code="space_mismatch",
            )
        if dim not in (None, own.dim):
            raise GalleryError(
                f"{self.folder} holds vectors of {own.dim} numbers, and this bundle's have {dim}.",
                code="space_mismatch",
            )

    def _load(self) -> Memory:
        if not self.read_only:
            remove_leftovers(self.folder)
        snapshot = read_snapshot(self.folder, self._store)
        if snapshot is None or not self._store.is_in_use():  # or it is of the vectors in use by now
            return self._read_everything()
        with self._store.state() as state:
            change = state.changes_since(snapshot.version)
            if change is None:
                return Memory.from_state(state, self._store.identity.dim)
            dim = self._store.identity.dim
            memory = Memory.from_snapshot(snapshot.names, snapshot.indexes, snapshot.version, dim)
            memory.apply(change)
            return memory

    def _read_everything(self) -> Memory:
        with self._store.state() as state:
            return Memory.from_state(state, self._store.identity.dim)

    def _take_in(self, change: Change) -> None:
        if change.version != self._memory.version:
            self._memory.apply(change)

    def _follow(self) -> None:
        """Of a gallery opened read-only: take in what its writer has done since."""
        if not self.read_only or self._is_closed:
            return
        with self._follow_mutex:
            data_version = self._store.database.data_version()
            if data_version == self._seen_data_version:
                return
            with self._store.state() as state:
                change = state.changes_since(self._memory.version)
            if change is None:
                self._memory = self._load()
            else:
                self._take_in(change)
            self._store.version = self._memory.version
            self._store.look_for_frames()
            self._seen_data_version = data_version

    def _bring_up_to(self, state: State) -> None:
        change = state.changes_since(self._memory.version)
        if change is None:
            self._memory = Memory.from_state(state, self._store.identity.dim)
        else:
            self._take_in(change)
        self._store.version = state.version

    def _keep_filters(self, change: Change, metadata: Mapping[str, Metadata]) -> None:
        """Bring what is known of filters up to date from a write itself; asking SQLite again would cost every search.

        Args:
            change: the write.
            metadata: of the items that it stored, by id.
        """
        touched = np.asarray(sorted({*change.names, *change.gone}), np.int64)
        with self._filtered_mutex:
            for filter, (version, rows) in self._filtered.items():
                if version == change.version - 1:
                    passing = [row for row, item_id in change.names.items() if filter.matches(metadata[item_id])]
                    changed = rows.changed(touched, np.asarray(sorted(passing), np.int64))
                    self._filtered[filter] = (change.version, changed)

    def _rows_passing(self, filter: Filter) -> RowSet:
        with self._filtered_mutex:
            known = self._filtered.get(filter)
            if known is not None and known[0] == self._store.version:
                self._filtered.move_to_end(filter)
                return known[1]
        version, found = self._store.matching_rows(filter)
        rows = RowSet(found)
        with self._filtered_mutex:
            known = self._filtered.get(filter)
            if known is None or known[0] < version:
                self._filtered[filter] = (version, rows)
            self._filtered.move_to_end(filter)
            while len(self._filtered) > _CACHED_FILTERS:
                self._filtered.popitem(last=False)
        return rows

    def _recall(self, target: Target) -> float | None:
        index = self._memory.index(target)
        return index.fit.recall if isinstance(index, LargeIndex) else None

    def _changes_in_log(self) -> int:
        with self._store.database.reading() as connection:
            return int(connection.execute("SELECT count(DISTINCT row) FROM changes").fetchone()[0])

    def _is_snapshot_due(self) -> bool:
        return self._changes_in_log() >= max(_SNAPSHOT_LEAST_CHANGES, len(self._memory) // 20)

    def _is_tuning_due(self, target: Target) -> bool:
        """Say whether a large target has no candidates, or too many that are stale, or was tuned when much smaller."""
        num_vectors, index = self._memory.num_vectors(target), self._memory.index(target)
        if num_vectors < max(TUNED_FROM, 2 * self._untunable.get(target, 0)):
            return False
        if not isinstance(index, LargeIndex):
            return True
        return index.num_positions > _MOST_STALE * num_vectors or num_vectors > 2 * index.fit.num_vectors

    def _tune_one(self, target: Target, vectors: CodecName | None = None, kind: KindName | None = None) -> Tuning:
        """Make a target's index anew, beside the old one, and put it in its place."""
        old = self._memory.index(target)
        wanted = vectors or (old.codec.name if isinstance(old, LargeIndex) else DEFAULT_VECTORS)
        folder = self.folder / FOLDER
        try:
            folder.mkdir(exist_ok=True)
            with self._store.state() as state:
                index, tuning = make_index(
                    self._memory,
                    state,
                    target,
                    folder,
                    vectors=wanted,
                    kind=kind,
                    is_wanted=lambda: not self._is_closing,
                )
        except (OSError, InterruptedError) as error:
            remove_leftovers(self.folder, in_use=files_in_use(self._memory))
            if isinstance(error, InterruptedError):
                raise GalleryError(f"the gallery {self.folder} is being closed.", code="gallery_closed") from error
            raise GalleryError(
                f"the index in {folder} could not be written ({error}); the gallery itself is whole. Make room.",
                code="gallery_full",
            ) from error
        self._untunable[target] = tuning.num_vectors if index is None else 0
        if index is not None:
            self._replace_index(target, index, state.version)
        elif isinstance(old, LargeIndex):
            flat = FlatVectors(self._store.identity.dim)
            with self._store.state() as state:
                for rows, chunk in state.vectors(target):
                    flat.put(rows, chunk)
            self._replace_index(target, flat, state.version)
        _log.info("event=gallery_tuned folder=%s %s", self.folder, tuning)
        return tuning

    def _replace_index(self, target: Target, index: LargeIndex | FlatVectors, version: int) -> None:
        """Bring an index of an older version up to date and search it from then on; writes wait for the end of that."""
        version = self._catch_up(target, index, version)
        with self._write_mutex:
            self._catch_up(target, index, version)
            self._memory.adopt(target, index)

    def _catch_up(self, target: Target, index: LargeIndex | FlatVectors, version: int) -> int:
        with self._store.state() as state:
            change = state.changes_since(version)
        assert change is not None  # the log is shortened by snapshots alone, and those wait
        new = change.vectors[target]
        touched = {*change.names, *change.gone}
        index.remove(np.asarray([row for row in touched if row not in new], np.int64))
        if new:
            index.put(np.fromiter(new, np.int64), np.stack(list(new.values())))
        while isinstance(index, LargeIndex) and index.add_some_fresh():
            pass
        return change.version

    def _refuse_writing(self) -> None:
        self._refuse_closed()
        self._refuse_read_only()
        if self._successor is not None:
            raise GalleryError(f"{self.folder} has been moved to another model meanwhile.", code="gallery_switched")

    def _refuse_read_only(self) -> None:
        if self.read_only:
            raise GalleryError(f"{self.folder} is open for reading only.", code="gallery_read_only")

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise GalleryError(f"the gallery {self.folder} is closed.", code="gallery_closed")

    def _let_go(self) -> None:
        try:
            if hasattr(self, "_store"):
                self._store.close()
        finally:
            if self._folder_lock is not None:
                self._folder_lock.release()


def _row_of(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise GalleryError(
            "this cursor was not given by this gallery; start from the first page.", code="cursor_invalid"
        )
    return int(cursor)


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size
    except OSError:
        return 0
