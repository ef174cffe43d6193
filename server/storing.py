"""From a picture, a text or both to a stored item."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from index import Gallery, NewItem, Outcome, check_item_id, check_metadata, content_digest, thumbnail
from index.features import PatchTokens, is_kept_to_proofread, keep
from runtime.errors import GalleryError, VernierError
from server.errors import field_error, status_of
from server.pictures import Picture, decoded
from server.schemas.common import JsonObject
from server.service import Service
from server.texts import check_texts
from server.timings import Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An item as it was sent.

    Attributes:
        picture: the bytes of a file.
    """

    id: str
    picture: bytes | None
    text: str | None
    metadata: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    draft: Draft
    picture: Picture | None
    item: NewItem


async def store_one(service: Service, gallery: str, draft: Draft, timings: Timings) -> Outcome:
    """Embed and store one item; it is durable when this returns.

    Raises:
        VernierError: the item cannot be stored.
    """
    outcome = (await store_many(service, gallery, [draft], timings))[0]
    if isinstance(outcome, VernierError):
        raise outcome
    return outcome


async def store_many(
    service: Service, gallery: str, drafts: Sequence[Draft], timings: Timings
) -> list[Outcome | VernierError]:
    """Embed and store items together; each that cannot be stored has its error, and the others go in.

    Raises:
        VernierError: what is no fault of an item, such as a full disk or a failed engine.
    """
    try:
        return await _store_many(service.at(gallery), gallery, drafts, timings)
    except GalleryError as error:
        if error.code != "gallery_switched":
            raise
    return await _store_many(service.at(gallery), gallery, drafts, timings)  # with the model that it has now


async def _store_many(
    service: Service, gallery: str, drafts: Sequence[Draft], timings: Timings
) -> list[Outcome | VernierError]:
    prepared = await asyncio.gather(*(_prepare(service, draft, timings) for draft in drafts))
    good = [entry for entry in prepared if isinstance(entry, _Prepared)]
    opened = service.galleries.get(gallery)
    items = await _embedded(service, good, timings, opened.patch_tokens)
    with timings.stage("store"):
        outcomes = iter(await service.store(_upsert, opened, items))
    return [entry if isinstance(entry, VernierError) else next(outcomes) for entry in prepared]


async def _prepare(service: Service, draft: Draft, timings: Timings) -> _Prepared | VernierError:
    """Check an item and decode its picture, so that nothing can be wrong with it afterwards."""
    try:
        check_item_id(draft.id)
        check_metadata(draft.metadata)
        if draft.picture is None and draft.text is None:
            raise field_error("image", "an item is a picture, a text, or both")
        if draft.text is not None:
            check_texts([draft.text], max_words=service.settings.max_words)
        picture = None
        if draft.picture is not None:
            side_px = max(service.settings.picture_px, service.encoder.manifest.image.size_px)
            picture = await decoded(service, draft.picture, timings, target_px=side_px)
        item = NewItem(
            id=draft.id,
            text=draft.text,
            metadata=draft.metadata,
            picture=None
            if picture is None
            else await service.engines.decode(thumbnail, picture.image, longest_px=service.settings.picture_px),
            content_digest=await service.engines.decode(content_digest, picture=draft.picture, text=draft.text),
        )
    except VernierError as error:
        if status_of(error) >= 500:
            raise
        return error
    return _Prepared(draft=draft, picture=picture, item=item)


async def _embedded(
    service: Service, entries: Sequence[_Prepared], timings: Timings, patch_tokens: PatchTokens
) -> list[NewItem]:
    items = {at: entry.item for at, entry in enumerate(entries)}
    images = [(at, entry.picture.image) for at, entry in enumerate(entries) if entry.picture is not None]
    if images:
        with timings.stage("embed_image"):
            found = await service.engines.image_features(
                [image for _, image in images], to_proofread=is_kept_to_proofread(service.encoder, patch_tokens)
            )
            pictures = [data for at, _ in images if (data := items[at].picture) is not None]
            kept = await service.engines.decode(keep, service.encoder, found, pictures, patch_tokens)
        for (at, _), vector, features in zip(images, found.embedding, kept, strict=True):
            items[at] = replace(items[at], image_embedding=vector, features=features)
    texts = [(at, entry.draft.text) for at, entry in enumerate(entries) if entry.draft.text is not None]
    if texts:
        with timings.stage("embed_text"):
            vectors = (await service.engines.text_features([text for _, text in texts])).embedding
        for (at, _), vector in zip(texts, vectors, strict=True):
            items[at] = replace(items[at], text_embedding=vector)
    return list(items.values())


def _upsert(gallery: Gallery, items: Sequence[NewItem]) -> list[Outcome | VernierError]:
    """Store all in one transaction; when one of them is refused, one by one."""
    if not items:
        return []
    try:
        return list(gallery.upsert(items))
    except VernierError as error:
        if status_of(error) >= 500 or error.code == "gallery_read_only":
            raise
        if len(items) == 1:
            return [error]
    return [outcome for item in items for outcome in _upsert(gallery, [item])]
