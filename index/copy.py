"""Copies a gallery into another one, of a folder or in Milvus, and compares the two.

Items come over with their vectors, texts, metadata, pictures and what is kept of those (as it is in the source; Milvus
keeps nothing), but not the times at which they were stored. Run
again it goes on: what is in the destination as it is in the source is passed over. Items that the source does not have
are left alone in the destination, and reported.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from index.features import ARRAYS
from index.gallery import Gallery
from index.records import TARGETS, Item, NewFrames, NewItem, canonical
from runtime.errors import GalleryError

Progress = Callable[[int, int], None]
"""Called with how many items are done and how many there are."""

_AT_ONCE = 200
_SEARCHES = 20
_HITS = 10
_SAME_SCORE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport:
    """What was copied and compared.

    Attributes:
        copied: items that were written.
        unchanged: items that were there.
        others: items of the destination that the source does not have.
        searches: searches by items of the source whose best hits were the same in both.
    """

    copied: int
    unchanged: int
    others: int
    searches: int


def copy(source: Gallery, destination: Gallery, *, progress: Progress | None = None) -> CopyReport:
    """Copy every item, then compare: the number of items, each item with its vectors, and what searches find.

    Args:
        source: nobody writes to it meanwhile.
        destination: of the same space; open for writing.
        progress: told after every batch, of copying and then of comparing.

    Raises:
        GalleryError: `space_mismatch`; `copy_differs`: the two are not the same afterwards, which the message explains.
    """
    if source.space != destination.space:
        raise GalleryError(
            f"the galleries are of two spaces ({source.space} and {destination.space}): copy within one space, and "
            "`vernier index migrate` to go to another.",
            code="space_mismatch",
        )
    total = 2 * source.info().items
    copied = unchanged = done = 0
    for items in _batches(source):
        there = destination.get_many([item.id for item in items])
        fresh = [item for item in items if not _is_like(item, there.get(item.id))]
        destination.upsert(_whole(source, fresh))
        copied, unchanged, done = copied + len(fresh), unchanged + len(items) - len(fresh), done + len(items)
        if progress is not None:
            progress(done, total)
    others = _compare(source, destination, lambda number: progress and progress(done + number, total))
    searches = _compare_searches(source, destination) if not others else 0
    destination.upkeep()
    return CopyReport(copied=copied, unchanged=unchanged, others=others, searches=searches)


def digest_of(item: NewItem) -> str:
    """Return what an item and its vectors and picture are, as 64 hexadecimal digits: the same in every gallery."""
    digest = hashlib.sha256()
    vectors = (item.image_embedding, item.text_embedding)
    parts: list[bytes | None] = [
        item.id.encode(),
        None if item.text is None else item.text.encode(),
        canonical(item.metadata),
        item.content_digest.encode(),
        *(None if vector is None else vector.astype("<f4").tobytes() for vector in vectors),
        item.picture,
    ]
    for part in parts:
        digest.update(b"-" if part is None else b"%d:" % len(part))
        digest.update(part or b"")
    return digest.hexdigest()


def _batches(gallery: Gallery) -> Iterator[Sequence[Item]]:
    cursor: str | None = None
    while True:
        page = gallery.page(cursor=cursor, limit=_AT_ONCE)
        if page.items:
            yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _is_like(item: Item, other: Item | None) -> bool:
    """Say whether an item was copied, as far as can be seen without its vectors; those are compared at the end."""
    return (
        other is not None
        and (item.text, item.content_digest, set(item.targets))
        == (other.text, other.content_digest, set(other.targets))
        and item.has_picture == other.has_picture
        and canonical(item.metadata) == canonical(other.metadata)
    )


def _whole(gallery: Gallery, items: Sequence[Item]) -> list[NewItem]:
    """Return items of a gallery with their vectors and pictures."""
    ids = [item.id for item in items]
    images, texts = (gallery.vectors(ids, target=target) for target in TARGETS)
    pictures = gallery.pictures(ids)
    features = gallery.features(ids, tuple(ARRAYS))
    return [
        NewItem(
            id=item.id,
            image_embedding=images.get(item.id),
            text_embedding=texts.get(item.id),
            text=item.text,
            metadata=item.metadata,
            picture=pictures.get(item.id),
            features=features.get(item.id),
            frames=frames_of(gallery, item.id),
            content_digest=item.content_digest,
        )
        for item in items
    ]


def frames_of(gallery: Gallery, item_id: str) -> NewFrames | None:
    """Return the frames of an item that is a video, as they are stored."""
    found = gallery.frames([item_id]).get(item_id)
    if found is None:
        return None
    pictures = gallery.frame_pictures(item_id)
    return NewFrames(times_s=found.times_s, embeddings=found.embeddings, pictures=pictures)


def _compare(source: Gallery, destination: Gallery, tell: Callable[[int], object]) -> int:
    """Compare every item of the source with its copy; return how many items more the destination has.

    Raises:
        GalleryError: `copy_differs`.
    """
    number = 0
    for items in _batches(source):
        there = destination.get_many([item.id for item in items])
        if lost := [item.id for item in items if item.id not in there]:
            raise _differs(f"item {lost[0]!r} is not in the copy")
        copies = _whole(destination, [there[item.id] for item in items])
        for item, its_copy in zip(_whole(source, items), copies, strict=True):
            if digest_of(item) != digest_of(its_copy):
                raise _differs(f"item {item.id!r} is another in the copy")
        number += len(items)
        tell(number)
    return destination.info().items - number


def _compare_searches(source: Gallery, destination: Gallery) -> int:
    """Search both by some items' own vectors; the best hits must be the same, but for the order of equal scores.

    An index that is not exact may miss a hit in either; more than one of ten is too many.
    """
    searched = 0
    for item in source.page(limit=_SEARCHES).items:
        for target in item.targets:
            vector = source.vector(item.id, target=target)
            assert vector is not None
            found = [gallery.search(vector[None], top_k=_HITS, target=target)[0] for gallery in (source, destination)]
            scores = [np.asarray([hit.score for hit in hits]) for hits in found]
            if len(scores[0]) != len(scores[1]) or np.sum(np.abs(scores[0] - scores[1]) > _SAME_SCORE) > _HITS // 5:
                raise _differs(f"a search by the {target} of {item.id!r} finds other items in the copy")
            searched += 1
    return searched


def _differs(what: str) -> GalleryError:
    return GalleryError(
        f"the galleries are not the same: {what}. Was one of them written meanwhile? Copy again when nobody writes.",
        code="copy_differs",
    )
