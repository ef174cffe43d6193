"""Adds pictures and texts to a gallery: decoding, encoding and writing side by side, a batch each, in bounded memory.

Running it again adds nothing twice and encodes nothing again: what is there already is known by its digest. Stopped in
the middle, it goes on from the last batch that was written.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from index.checks import content_digest, content_digest_of_file
from index.copy import frames_of
from index.features import ARRAYS, Kept, is_kept_to_proofread, keep
from index.gallery import Gallery
from index.records import Floats, Item, NewFrames, NewItem, Outcome, canonical
from index.sources import Source, list_sources
from index.thumbnails import LONGEST_PX, thumbnail
from index.video import NUM_FRAMES, is_video, mean_embedding, most_typical, sample_frames
from runtime.encoder import Encoder, ImageFeatures
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
        pixels: inputs of the image encoder: one of a picture, several of a video; none when there is no picture, or
            its vector is known already.
        pictures: the JPEG to store of each.
        times_s: of each frame of a video; None of a picture.
        reason: why it cannot be added.
        is_known: whether the gallery holds the vectors of just this content.
        is_unchanged: whether the gallery holds just this item.
    """

    source: Source
    digest: str = ""
    pixels: tuple[Floats, ...] = ()
    pictures: tuple[bytes, ...] = ()
    times_s: tuple[float, ...] | None = None
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
            for part in _parts(sources, batch_size):
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


def _parts(sources: Sequence[Source], batch_size: int) -> Iterator[list[Source]]:
    """Cut what is to be added into batches; a video counts as its frames, so that memory stays bounded."""
    part: list[Source] = []
    weight = 0
    for source in sources:
        own = NUM_FRAMES if source.image is not None and is_video(source.image) else 1
        if part and weight + own > batch_size:
            yield part
            part, weight = [], 0
        part.append(source)
        weight += own
    if part:
        yield part


def _prepare(encoder: Encoder, source: Source, stored: Item | None, picture_px: int) -> _Prepared:
    """Read and decode one item, unless the gallery has its vectors already."""
    try:
        video = source.image if source.image is not None and is_video(source.image) else None
        data = None if source.image is None or video is not None else source.image.read_bytes()
        digest = (
            content_digest(picture=data, text=source.text)
            if video is None
            else content_digest_of_file(video, text=source.text)
        )
        if stored is not None and stored.content_digest == digest:
            is_unchanged = canonical(stored.metadata) == canonical(source.metadata)
            return _Prepared(source=source, digest=digest, is_known=True, is_unchanged=is_unchanged)
        if source.text is not None:
            encoder.text_transform.encode([source.text])  # refused here, where it costs one item and not its batch
        if video is not None:
            return _prepared_video(encoder, source, video, digest, picture_px)
        if data is None:
            return _Prepared(source=source, digest=digest)
        image = decode_image(data, target_px=max(picture_px, encoder.manifest.image.size_px))
        picture = thumbnail(image, longest_px=picture_px)
        return _Prepared(source=source, digest=digest, pixels=(encoder.image_input(image),), pictures=(picture,))
    except VernierError as error:
        return _Prepared(source=source, reason=str(error))
    except OSError as error:
        return _Prepared(source=source, reason=f"the file cannot be read ({error.strerror or error})")


def _prepared_video(encoder: Encoder, source: Source, video: Path, digest: str, picture_px: int) -> _Prepared:
    frames = sample_frames(video, longest_px=max(picture_px, encoder.manifest.image.size_px))
    return _Prepared(
        source=source,
        digest=digest,
        pixels=tuple(encoder.image_input(frame.image) for frame in frames),
        pictures=tuple(thumbnail(frame.image, longest_px=picture_px) for frame in frames),
        times_s=tuple(frame.time_s for frame in frames),
    )


def _encoded(gallery: Gallery, encoder: Encoder, batch: Sequence[_Prepared]) -> list[NewItem]:
    """Return the items to store; of known content, with the vectors that are there."""
    seen = [entry for entry in batch if entry.pixels]
    texts = [entry.source.text for entry in batch if not entry.is_known and entry.source.text is not None]
    to_proofread = is_kept_to_proofread(encoder, gallery.patch_tokens)
    found = encoder.embed_pixels([pixels for entry in seen for pixels in entry.pixels], to_proofread=to_proofread)
    looks = iter(_looks(encoder, gallery, seen, found))
    sentences = iter(encoder.embed_texts(texts).embedding if texts else ())
    items: list[NewItem] = []
    for entry in batch:
        if entry.is_known:
            items.append(_known_item(gallery, entry))
            continue
        look = next(looks) if entry.pixels else _Look()
        items.append(
            NewItem(
                id=entry.source.id,
                image_embedding=look.embedding,
                text_embedding=None if entry.source.text is None else next(sentences),
                text=entry.source.text,
                metadata=entry.source.metadata,
                picture=look.picture,
                features=look.features,
                frames=look.frames,
                content_digest=entry.digest,
            )
        )
    return items


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What is stored of an item's picture or video."""

    embedding: Floats | None = None
    picture: bytes | None = None
    features: Kept | None = None
    frames: NewFrames | None = None


def _looks(encoder: Encoder, gallery: Gallery, seen: Sequence[_Prepared], found: ImageFeatures) -> list[_Look]:
    """What is stored of each; of a video the mean vector, and picture and features of its most typical frame."""
    ends = list(accumulate(len(entry.pixels) for entry in seen))
    own = [found.embedding[end - len(entry.pixels) : end] for entry, end in zip(seen, ends, strict=True)]
    typical = [most_typical(vectors) for vectors in own]
    rows = [end - len(vectors) + at for end, vectors, at in zip(ends, own, typical, strict=True)]
    shown = [entry.pictures[at] for entry, at in zip(seen, typical, strict=True)]
    kept = keep(encoder, found[rows], shown, gallery.patch_tokens) if seen else []
    return [
        _Look(
            embedding=vectors[0] if entry.times_s is None else mean_embedding(vectors),
            picture=picture,
            features=features,
            frames=None
            if entry.times_s is None
            else NewFrames(times_s=entry.times_s, embeddings=vectors, pictures=entry.pictures),
        )
        for entry, vectors, picture, features in zip(seen, own, shown, kept, strict=True)
    ]


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
        frames=frames_of(gallery, item_id),
        content_digest=entry.digest,
    )
