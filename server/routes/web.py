"""`GET /`: the web page, and the files that it is made of."""

from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.conditional import tagged
from server.errors import RequestError

router = APIRouter(include_in_schema=False)

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
_FILES = {entry.name: entry.read_bytes() for entry in (files("server") / "web").iterdir()}


@router.get("/")
async def page(request: Request) -> Response:
    """Give the page."""
    return tagged(request, _file("index.html"))


@router.get("/web/{name}")
async def file(name: str, request: Request) -> Response:
    """Give one of the page's files."""
    if name not in _FILES:
        raise RequestError("the page has no such file.", code="not_found")
    return tagged(request, _file(name))


def _file(name: str) -> Response:
    kind = _TYPES[PurePath(name).suffix]
    return Response(_FILES[name], headers={"Content-Type": kind})
