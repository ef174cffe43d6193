"""What a request carries: JSON, or multipart with the JSON in part `request` and a file in part `image`.

The body is counted while it streams in, so that nothing larger than allowed is ever held.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from server.errors import FieldError, RequestError, field_error, validation_error

Model = TypeVar("Model", bound=BaseModel)

JSON = "application/json"
MULTIPART = "multipart/form-data"
IMAGE = "image/"
"""What the type of a body begins with that is a picture's file."""

EVERYWHERE = ("timeout_ms",)
"""Parameters that every route takes in its query string."""


@dataclass(frozen=True, slots=True)
class Sent(Generic[Model]):
    """A valid request with the file that came beside it, if one did."""

    request: Model
    image: bytes | None = None


def content_type(request: Request) -> str:
    """Return the body's media type without its parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, model: type[Model], *, max_bytes: int) -> Model:
    """Read a JSON request.

    Raises:
        RequestError: `body_too_large`, `content_type_unsupported`, `json_invalid`, `request_invalid`.
    """
    if (kind := content_type(request)) != JSON:
        raise unsupported_type(kind, JSON)
    no_parameters(request)
    return parse_model(await read_all(request, max_bytes=max_bytes), model)


async def read_sent(request: Request, model: type[Model], *, max_bytes: int) -> Sent[Model]:
    """Read a request as JSON, as multipart with the parts `request` (JSON) and `image` (a file), or as a picture.

    Raises:
        RequestError: as `read_json`, and `multipart_invalid`.
    """
    kind = content_type(request)
    if kind.startswith(IMAGE):
        return await read_raw(request, model, max_bytes=max_bytes)
    no_parameters(request)
    if kind == JSON:
        return Sent(parse_model(await read_all(request, max_bytes=max_bytes), model))
    if kind != MULTIPART:
        raise unsupported_type(kind, JSON, MULTIPART, f"{IMAGE}*")
    async with read_form(request, max_bytes=max_bytes, max_parts=2) as form:
        known_parts(form, ("request", "image"))
        parsed = parse_model(await part_bytes(form, "request") or b"{}", model)
        return Sent(parsed, await part_bytes(form, "image"))


async def read_raw(request: Request, model: type[Model], *, max_bytes: int) -> Sent[Model]:
    """Read a body that is a picture's file, with the fields of the request in the query string.

    Lists are given by repeating a field, objects as JSON.

    Raises:
        RequestError: `body_too_large`, `json_invalid`, `request_invalid`.
    """
    asked = check_model(_fields_of(request.query_params, model), model)
    return Sent(asked, await read_all(request, max_bytes=max_bytes))


def no_parameters(request: Request) -> None:
    """Refuse fields in the query string where they belong into the body.

    Raises:
        RequestError: `request_invalid`, naming them.
    """
    if not request.scope["query_string"]:
        return
    wrong = [FieldError(name, f"fields go into the body, unless that is {IMAGE}*") for name in _names(request)]
    if wrong:
        raise RequestError("; ".join(f"{error.field}: {error.message}" for error in wrong), fields=wrong)


def _names(request: Request) -> list[str]:
    return [name for name in request.query_params if name not in EVERYWHERE]


_SWITCHES = frozenset({"true", "false", "1", "0"})
"""What a field that may be a list or a switch says when it is a switch."""


def _fields_of(parameters: QueryParams, model: type[BaseModel]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name in parameters:
        if name in EVERYWHERE:
            continue
        values = parameters.getlist(name)
        shape = str(model.model_fields[name].annotation) if name in model.model_fields else ""
        if "list[" in shape:
            is_switch = "bool" in shape and len(values) == 1 and values[0].lower() in _SWITCHES
            fields[name] = values[0] if is_switch else values
        elif len(values) > 1:
            raise field_error(name, "this was sent twice")
        elif "dict[" in shape:
            fields[name] = parse_json(values[0].encode("utf-8", "surrogateescape"))
        else:
            fields[name] = values[0]
    return fields


def parse_model(data: bytes, model: type[Model]) -> Model:
    """Turn JSON bytes into a valid model.

    Raises:
        RequestError: `json_invalid`, or `request_invalid` with every field that is wrong.
    """
    return check_model(parse_json(data), model)


def check_model(value: object, model: type[Model]) -> Model:
    """Turn parsed JSON into a valid model.

    Raises:
        RequestError: `request_invalid` with every field that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise validation_error(error.errors(include_url=False, include_input=False)) from None


def parse_json(data: bytes) -> object:
    """Turn bytes into what they say in JSON.

    Raises:
        RequestError: `json_invalid`.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}.", code="json_invalid") from None


async def read_all(request: Request, *, max_bytes: int) -> bytes:
    """Read the whole body.

    Raises:
        RequestError: `body_too_large`.
    """
    return b"".join([chunk async for chunk in stream(request, max_bytes=max_bytes)])


async def stream(request: Request, *, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes, counting.

    Raises:
        RequestError: `body_too_large`, before the first byte when the header says so.
    """
    declared = request.headers.get("content-length", "")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise RequestError(
            f"bodies are taken as they are, not compressed ('{encoding[:32]}').", code="content_encoding_unsupported"
        )
    received = int(declared) if declared.isdigit() else 0
    if received > max_bytes:
        raise _too_large(max_bytes)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


@asynccontextmanager
async def read_form(request: Request, *, max_bytes: int, max_parts: int) -> AsyncGenerator[FormData, None]:
    """Read a multipart body; its files are closed afterwards.

    Raises:
        RequestError: `body_too_large`, `multipart_invalid`.
    """
    parser = MultiPartParser(
        request.headers,
        stream(request, max_bytes=max_bytes),
        max_files=max_parts,
        max_fields=max_parts,
        max_part_size=max_bytes,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RequestError(error.message, code="multipart_invalid") from None
    try:
        yield form
    finally:
        await form.close()


def known_parts(form: FormData, names: Sequence[str]) -> None:
    """Refuse parts that nobody asked for, and parts sent twice.

    Raises:
        RequestError: `request_invalid`, naming them.
    """
    sent = [name for name, _ in form.multi_items()]
    wrong = [
        FieldError(name, f"this part is not known; parts are {', '.join(names)}") for name in sent if name not in names
    ]
    wrong += [FieldError(name, "this part was sent twice") for name in sorted(set(sent)) if sent.count(name) > 1]
    if wrong:
        raise RequestError("; ".join(f"{error.field}: {error.message}" for error in wrong), fields=wrong)


async def part_bytes(form: FormData, name: str) -> bytes | None:
    """Return what a part holds, be it a field or a file; None when it was not sent."""
    part = form.get(name)
    if part is None:
        return None
    return await part.read() if isinstance(part, UploadFile) else part.encode("utf-8", "surrogateescape")


def unsupported_type(found: str, *known: str) -> RequestError:
    """Return the refusal of a body of another type."""
    said = f"'{found}'" if found else "no Content-Type"
    return RequestError(f"{said} was sent; send {' or '.join(known)}.", code="content_type_unsupported")


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(f"the body has more than {max_bytes:,} bytes; send less.", code="body_too_large")
