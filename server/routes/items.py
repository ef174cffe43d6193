"""`/galleries/{gallery}/items`: write, read, delete, list."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from index import Gallery, Item, Outcome, parse_filter
from server.answers import ServiceOf, TimingsOf, json_answer
from server.body import (
    IMAGE,
    JSON,
    MULTIPART,
    Sent,
    check_model,
    content_type,
    known_parts,
    no_parameters,
    parse_json,
    parse_model,
    part_bytes,
    read_all,
    read_form,
    read_raw,
    stream,
    unsupported_type,
)
from server.bulk import BulkWrite, entries_of_form, entry_of_line, lines
from server.conditional import tagged
from server.errors import RequestError, field_error
from server.openapi import bulk_body, item_body
from server.pictures import item_picture, one_picture, picture_bytes, unknown_item
from server.schemas.galleries import BulkAnswer, ItemAnswer, ItemRequest, PageAnswer, WrittenItem
from server.service import Service
from server.storing import Draft, store_one

router = APIRouter(prefix="/galleries/{gallery}/items", tags=["items"])

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_MOST_PARTS = 10_000


class PageQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, max_length=512, description="`next_cursor` of the page before")
    limit: int = Field(default=100, ge=1, le=1000)
    filter: str | None = Field(default=None, description="a filter as JSON")
    timeout_ms: str | None = Field(default=None, description="as on every route")


@router.get("", response_model=PageAnswer)
async def list_items(
    gallery: str, page: Annotated[PageQuery, Query()], request: Request, service: ServiceOf
) -> Response:
    """Give a page of items, in the order they were first stored, stable under writes."""
    opened = service.galleries.get(gallery)
    condition = None if page.filter is None else parse_filter(_json_of(page.filter))
    found = await service.store(opened.page, cursor=page.cursor, limit=page.limit, filter=condition)
    items = [ItemAnswer(**_fields(item)) for item in found.items]
    return tagged(request, json_answer(PageAnswer(items=items, next_cursor=found.next_cursor), keep_none=True))


@router.post("", response_model=BulkAnswer, openapi_extra=bulk_body())
async def write_items(gallery: str, request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Store many items, sent as lines of JSON or as files; each has its own outcome."""
    service.galleries.get(gallery)
    no_parameters(request)
    write = BulkWrite(service=service, gallery=gallery, timings=timings)
    limits = service.settings
    kind = content_type(request)
    if kind in NDJSON:
        body = stream(request, max_bytes=limits.max_bulk_bytes)
        async for number, line in lines(body, max_line_bytes=limits.max_body_bytes):
            await write.add(await entry_of_line(service, gallery, number, line))
    elif kind == MULTIPART:
        async with read_form(request, max_bytes=limits.max_bulk_bytes, max_parts=_MOST_PARTS) as form:
            async for entry in entries_of_form(form, max_file_bytes=limits.max_body_bytes):
                await write.add(entry)
    else:
        raise unsupported_type(kind, NDJSON[0], MULTIPART)
    return json_answer(await write.finish())


@router.get("/{item:path}/image", response_class=Response)
async def get_picture(gallery: str, item: str, request: Request, service: ServiceOf) -> Response:
    """Give the stored picture of an item, a JPEG whose longest side is at most 512 pixels."""
    if not _asks_for_picture(request):
        return await get_item(gallery, f"{item}/image", request, service)
    picture = await item_picture(service, gallery, item)
    return tagged(request, Response(picture, media_type="image/jpeg"))


@router.get("/{item:path}", response_model=ItemAnswer)
async def get_item(gallery: str, item: str, request: Request, service: ServiceOf) -> Response:
    """Describe an item."""
    found = await service.store(service.galleries.get(gallery).get, item)
    if found is None:
        raise unknown_item(gallery)
    return tagged(request, json_answer(ItemAnswer(**_fields(found)), keep_none=True))


@router.put("/{item:path}", response_model=WrittenItem, openapi_extra=item_body())
async def put_item(gallery: str, item: str, request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Store an item; it replaces the one of the same id, and is durable when this answers."""
    _check_address(request)
    opened = service.galleries.get(gallery)
    with timings.stage("read"):
        sent = await _read_item(request, service)
    data = None
    if one_picture(sent.request.image, sent.image):
        data = await picture_bytes(service, sent.request.image, sent.image, gallery=gallery)
    draft = Draft(id=item, picture=data, text=sent.request.text, metadata=sent.request.metadata)
    outcome = await store_one(service, gallery, draft, timings)
    return await _written(service, opened, item, outcome)


@router.delete("/{item:path}", status_code=204)
async def delete_item(gallery: str, item: str, request: Request, service: ServiceOf) -> Response:
    """Delete an item, durably."""
    _check_address(request)
    if not await service.store(service.galleries.get(gallery).delete, item):
        raise unknown_item(gallery)
    return Response(status_code=204)


def _asks_for_picture(request: Request) -> bool:
    """Say whether the address ends in a plain `/image`; that of an id which ends so is written with `%2F`."""
    return bytes(request.scope["raw_path"]).partition(b"?")[0].endswith(b"/image")


def _check_address(request: Request) -> None:
    """Refuse to change what is not at this address: there, GET gives the picture of another item.

    Raises:
        RequestError: `item_id_invalid`.
    """
    if _asks_for_picture(request) and not request.scope["raw_path"].endswith(b"/items/image"):
        raise RequestError(
            "this is the address of an item's picture; in an id that ends in /image, write its slashes as %2F.",
            code="item_id_invalid",
        )


async def _read_item(request: Request, service: Service) -> Sent[ItemRequest]:
    """Read an item as JSON, as multipart with the parts `image`, `metadata` (JSON) and `text`, or as a picture."""
    max_bytes = service.settings.max_body_bytes
    kind = content_type(request)
    if kind.startswith(IMAGE):
        return await read_raw(request, ItemRequest, max_bytes=max_bytes)
    no_parameters(request)
    if kind == JSON:
        return Sent(parse_model(await read_all(request, max_bytes=max_bytes), ItemRequest))
    if kind != MULTIPART:
        raise unsupported_type(kind, JSON, MULTIPART, f"{IMAGE}*")
    async with read_form(request, max_bytes=max_bytes, max_parts=3) as form:
        known_parts(form, ("image", "metadata", "text"))
        fields: dict[str, object] = {}
        if (metadata := await part_bytes(form, "metadata")) is not None:
            fields["metadata"] = parse_json(metadata)
        if (text := await part_bytes(form, "text")) is not None:
            fields["text"] = text.decode("utf-8", "replace")
        return Sent(check_model(fields, ItemRequest), await part_bytes(form, "image"))


async def _written(service: Service, gallery: Gallery, item: str, outcome: Outcome) -> Response:
    stored = await service.store(gallery.get, item)
    if stored is None:
        raise unknown_item("of this address")  # deleted by someone else between the two calls
    answer = WrittenItem(**_fields(stored), outcome=outcome)
    return json_answer(answer, status=201 if outcome == "created" else 200, keep_none=True)


def _json_of(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise field_error("filter", f"this is not JSON: {error}") from None


def _fields(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "text": item.text,
        "metadata": item.metadata,
        "targets": sorted(item.targets),
        "has_picture": item.has_picture,
        "digest": item.content_digest,
    }
