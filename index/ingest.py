"""Adds pictures and texts to a gallery: decoding, encoding and writing side by side, a batch each, in bounded memory.

Running it again adds nothing twice and encodes nothing again: what is there already is known by its digest. Stopped in
the middle, it goes on from the last batch that was written.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from index.checks import content_digest
from index.features import ARRAYS, is_kept_to_proofread, keep
from index.gallery import Gallery
from index.records import Floats, Item, NewItem, Outcome, canonical
from index.sources import Source, list_sources
from index.thumbnails import LONGEST_PX, thumbnail
from runtime.encoder import Encoder
from runtime.errors import VernierError
from runtime.preprocess.image import decode_image

Progress = Callable[[int, int], None]
"""Called with how many items are done and how many there are."""

_MOST_DECODERS = 4
_BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What became of everything that was to be added.

    Attributes:
        broken: name and reason of everything that could not be added.
    """

    created: int
    replaced: int
    unchanged: int
    broken: list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """One item between decoding and encoding.

    Attributes:
        pixels: input of the image encoder; None when there is no picture, or its vector is known already.
        reason: why it cannot be added.
        is_known: whether the gallery holds the vectors of just this content.
        is_unchanged: whether the gallery holds just this item.
    """

    source: Source
    digest: str = ""
    pixels: Floats | None = None
    picture: bytes | None = None
    reason: str | None = None
    is_known: bool = False
    is_unchanged: bool = False


def add(
    gallery: Gallery,
    encoder: Encoder,
    sources: Sequence[Path | str],
    *,
    images_dir: Path | None = None,
    captions_as_text: bool = False,
    batch_size: int = 32,
    picture_px: int = LONGEST_PX,
    progress: Progress | None = None,
) -> IngestReport:
    """Add folders of pictures, single pictures and JSONL files to a gallery; see `index.sources.list_sources`.

    What cannot be read is left out and reported by name and reason; the rest goes in.

    Args:
        gallery: of the encoder's space.
        encoder: makes the vectors.
        sources: folders and files.
        images_dir: where the pictures of JSONL files are.
        captions_as_text: whether the first of a line's `captions` is stored as the item's text.
        batch_size: how many items are encoded and written together.
        picture_px: longest side of the pictures that are stored, which another model will be shown one day.
        progress: told after every batch.

    Raises:
        DataError: `source_missing`: a folder or file is not there.
        GalleryError: the gallery cannot be written; what was written before stays.
        EngineError: the encoder failed.
    """
    listing = list_sources(sources, images_dir=images_dir, captions_as_text=captions_as_text)
    broken = listing.broken
    done, total = 0, len(listing.sources)
    outcomes: Counter[Outcome] = Counter()
    with ThreadPoolExecutor(1, "gallery-writer") as writer:
        writing: deque[Future[list[Outcome]]] = deque()
        for batch in _prepared_batches(gallery, encoder, listing.sources, batch_size, picture_px):
            broken += [(entry.source.name, entry.reason) for entry in batch if entry.reason is not None]
            outcomes["unchanged"] += sum(entry.is_unchanged for entry in batch)
            items = _encoded(gallery, encoder, [e for e in batch if e.reason is None and not e.is_unchanged])
            while writing:
                outcomes.update(writing.popleft().result())
            writing.append(writer.submit(gallery.upsert, items))
            done += len(batch)
            if progress is not None:
                progress(done, total)
        while writing:
            outcomes.update(writing.popleft().result())
    gallery.upkeep()
    return IngestReport(
        created=outcomes["created"],
        replaced=outcomes["replaced"],
        unchanged=outcomes["unchanged"],
        broken=broken,
    )


def _prepared_batches(
    gallery: Gallery, encoder: Encoder, sources: Sequence[Source], batch_size: int, picture_px: int
) -> Iterator[list[_Prepared]]:
    """Yield batches in order, while the next ones are being decoded."""
    with ThreadPoolExecutor(min(_MOST_DECODERS, os.cpu_count() or 1), "decoder") as decoders:
        ahead: deque[list[Future[_Prepared]]] = deque()
        try:
            for start in range(0, len(sources), batch_size):
                part = sources[start : start + batch_size]
                stored = gallery.get_many([source.id for source in part])
                ahead.append(
                    [decoders.submit(_prepare, encoder, source, stored.get(source.id), picture_px) for source in part]
                )
                if len(ahead) > _BATCHES_AHEAD:
                    yield [future.result() for future in ahead.popleft()]
            while ahead:
                yield [future.result() for future in ahead.popleft()]
        finally:
            for batch in ahead:
                for future in batch:
                    future.cancel()


def _prepare(encoder: Encoder, source: Source, stored: Item | None, picture_px: int) -> _Prepared:
    """Read and decode one item, unless the gallery has its vectors already."""
    try:
        data = None if source.image is None else source.image.read_bytes()
        digest = content_digest(picture=data, text=source.text)
        if stored is not None and stored.content_digest == digest:
            is_unchanged = canonical(stored.metadata) == canonical(source.metadata)
            return _Prepared(source=source, digest=digest, is_known=True, is_unchanged=is_unchanged)
        if source.text is not None:
            encoder.text_transform.encode([source.text])  # refused here, where it costs one item and not its batch
        if data is None:
            return _Prepared(source=source, digest=digest)
        image = decode_image(data, target_px=max(picture_px, encoder.manifest.image.size_px))
        picture = thumbnail(image, longest_px=picture_px)
        return _Prepared(source=source, digest=digest, pixels=encoder.image_input(image), picture=picture)
    except VernierError as error:
        return _Prepared(source=source, reason=str(error))
    except OSError as error:
        return _Prepared(source=source, reason=f"the file cannot be read ({error.strerror or error})")


def _encoded(gallery: Gallery, encoder: Encoder, batch: Sequence[_Prepared]) -> list[NewItem]:
    """Return the items to store; of known content, with the vectors that are there."""
    seen = [entry for entry in batch if entry.pixels is not None]
    texts = [entry.source.text for entry in batch if not entry.is_known and entry.source.text is not None]
    to_proofread = is_kept_to_proofread(encoder, gallery.patch_tokens)
    found = encoder.embed_pixels(
        [entry.pixels for entry in seen if entry.pixels is not None], to_proofread=to_proofread
    )
    kept = keep(encoder, found, [entry.picture for entry in seen if entry.picture is not None], gallery.patch_tokens)
    images = iter(zip(found.embedding, kept, strict=True))
    sentences = iter(encoder.embed_texts(texts).embedding if texts else ())
    items: list[NewItem] = []
    for entry in batch:
        if entry.is_known:
            items.append(_known_item(gallery, entry))
            continue
        image, features = (None, None) if entry.pixels is None else next(images)
        items.append(
            NewItem(
                id=entry.source.id,
                image_embedding=image,
                text_embedding=None if entry.source.text is None else next(sentences),
                text=entry.source.text,
                metadata=entry.source.metadata,
                picture=entry.picture,
                features=features,
                content_digest=entry.digest,
            )
        )
    return items


def _known_item(gallery: Gallery, entry: _Prepared) -> NewItem:
    item_id = entry.source.id
    return NewItem(
        id=item_id,
        image_embedding=gallery.vector(item_id, target="image"),
        text_embedding=gallery.vector(item_id, target="text"),
        text=entry.source.text,
        metadata=entry.source.metadata,
        picture=gallery.picture(item_id),
        features=gallery.features([item_id], tuple(ARRAYS)).get(item_id),
        content_digest=entry.digest,
    )
