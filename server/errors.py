"""How every error becomes an answer: RFC 9457 problems, from one table of codes. Only this file knows both sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.responses import Response

from runtime.errors import EngineError, GalleryError, GraphMissingError, InputError, VernierError

PROBLEM_TYPE = "application/problem+json"

CODES: dict[str, tuple[int, str]] = {
    "json_invalid": (400, "The body is not JSON"),
    "multipart_invalid": (400, "The body is not multipart/form-data"),
    "bad_request": (400, "The request cannot be understood"),
    "unauthorized": (401, "A key is needed"),
    "forbidden": (403, "This may not be done"),
    "not_found": (404, "There is no such address"),
    "unknown_gallery": (404, "There is no such gallery"),
    "unknown_item": (404, "There is no such item"),
    "unknown_bundle": (404, "There is no such bundle"),
    "picture_missing": (404, "The item has no picture"),
    "method_not_allowed": (405, "The address does not take this method"),
    "gallery_exists": (409, "The gallery exists already"),
    "migration_running": (409, "The gallery is being moved to another model"),
    "rollback_impossible": (409, "There is no model to go back to"),
    "gallery_kept": (409, "The gallery cannot be deleted here"),
    "gallery_read_only": (409, "The gallery cannot be written"),
    "space_mismatch": (409, "The gallery was filled by another model"),
    "body_too_large": (413, "The body is too large"),
    "image_too_large": (413, "The picture has too many pixels"),
    "content_type_unsupported": (415, "The body's type is not understood"),
    "content_encoding_unsupported": (415, "The body is compressed"),
    "request_invalid": (422, "The request is not valid"),
    "input_invalid": (422, "The input cannot be used"),
    "image_undecodable": (422, "The picture cannot be decoded"),
    "text_empty": (422, "The text is empty"),
    "text_too_long": (422, "The text is too long"),
    "url_not_allowed": (422, "Pictures are not fetched from there"),
    "url_failed": (422, "The picture could not be fetched"),
    "item_id_invalid": (422, "The item's id cannot be used"),
    "metadata_invalid": (422, "The metadata cannot be stored"),
    "text_invalid": (422, "The text cannot be stored"),
    "vector_invalid": (422, "The embedding cannot be stored"),
    "features_invalid": (422, "What the encoder said of the picture cannot be stored"),
    "gallery_name_invalid": (422, "The gallery's name cannot be used"),
    "filter_unsupported": (422, "The filter cannot be honoured by this gallery's store"),
    "filter_invalid": (422, "The filter cannot be understood"),
    "cursor_invalid": (422, "The cursor is not one of this gallery"),
    "overloaded": (429, "The server has more work than it can take"),
    "rate_limited": (429, "The caller comes too often"),
    "internal": (500, "The server made a mistake"),
    "graph_missing": (501, "The model cannot do this"),
    "not_ready": (503, "The server is not ready"),
    "engine_failed": (503, "The engine failed"),
    "gallery_switched": (503, "The gallery has just been moved to another model"),
    "gallery_unreachable": (503, "The gallery's store does not answer"),
    "gallery_failed": (503, "The gallery's store refused"),
    "filters_not_obeyed": (503, "The gallery's store does not obey filters"),
    "gallery_closed": (503, "The gallery is closed"),
    "gallery_locked": (503, "The gallery is in use"),
    "gallery_damaged": (503, "The gallery is damaged"),
    "gallery_unreadable": (503, "The gallery cannot be read"),
    "timed_out": (504, "The request took too long"),
    "gallery_full": (507, "The gallery's disk is full"),
}
"""Stable code to (status, title). Clients may compare codes; titles may be reworded."""

_BY_CLASS: tuple[tuple[type[VernierError], int], ...] = (
    (InputError, 422),
    (GraphMissingError, 501),
    (EngineError, 503),
    (GalleryError, 422),
)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request that cannot be used."""

    field: str
    message: str


class RequestError(VernierError):
    """A request that is refused by the server itself.

    Attributes:
        fields: what is wrong with which field, for `request_invalid`.
        headers: headers that the answer carries, such as `Retry-After`.
    """

    code = "request_invalid"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        fields: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.fields = tuple(fields)
        self.headers = dict(headers or {})


def field_error(field: str, message: str) -> RequestError:
    """Return the refusal of one field."""
    return RequestError(f"{field}: {message}", fields=[FieldError(field, message)])


def validation_error(errors: Sequence[ErrorDetails] | Sequence[Any], *, skip: int = 0) -> RequestError:
    """Return the refusal that lists every field pydantic found wrong, without repeating what was sent.

    Args:
        errors: pydantic's list.
        skip: leading parts of each location that are not the field's name, such as `body`.
    """
    fields = [
        FieldError(".".join(str(part) for part in entry["loc"][skip:]) or "request", str(entry["msg"]))
        for entry in errors
    ]
    return RequestError("; ".join(f"{field.field}: {field.message}" for field in fields[:20]), fields=fields)


def status_of(error: VernierError) -> int:
    """Return the HTTP status that answers an error."""
    if error.code in CODES:
        return CODES[error.code][0]
    return next((status for kind, status in _BY_CLASS if isinstance(error, kind)), 500)


def problem_of(error: VernierError) -> dict[str, Any]:
    """Return the body of RFC 9457 for a deliberate error. What only the operator may know is left out."""
    status = status_of(error)
    _, title = CODES.get(error.code, (status, "The request cannot be answered"))
    detail = str(error) if status < 500 or status == 501 or isinstance(error, RequestError) else f"{title}."
    problem: dict[str, Any] = {
        "type": f"urn:vernier:problem:{error.code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": error.code,
    }
    if isinstance(error, RequestError) and error.fields:
        problem["errors"] = [{"field": field.field, "message": field.message} for field in error.fields]
    return problem


def problem_response(error: VernierError, *, path: str) -> Response:
    """Return the answer to a deliberate error; under `/v1/` it speaks to OpenAI's clients too."""
    problem = problem_of(error)
    if path.startswith("/v1/"):
        kind = "server_error" if problem["status"] >= 500 else "invalid_request_error"
        problem["error"] = {"message": problem["detail"], "type": kind, "code": error.code, "param": None}
    headers = error.headers if isinstance(error, RequestError) else {}
    return Response(orjson.dumps(problem), status_code=problem["status"], media_type=PROBLEM_TYPE, headers=headers)


def internal_error() -> RequestError:
    """Return what a caller is told of a mistake of ours: nothing but that it happened."""
    return RequestError("Something went wrong here; the log has it under the request's id.", code="internal")


def install(app: FastAPI) -> None:
    """Make the application answer every error with a problem."""

    async def deliberate(request: Request, error: Exception) -> Response:
        assert isinstance(error, VernierError)
        request.state.error_code = error.code
        if status_of(error) == 500:
            raise error
        return problem_response(error, path=request.url.path)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await deliberate(request, validation_error(error.errors(), skip=1))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        detail = {404: f"{request.url.path} is not an address of this server; see /openapi.json."}.get(
            error.status_code, str(error.detail)
        )
        return await deliberate(request, RequestError(detail, code=code, headers=error.headers))

    app.add_exception_handler(VernierError, deliberate)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
