"""`GET /`: the web page, and the files that it is made of."""

from importlib.resources import files

from fastapi import APIRouter
from starlette.responses import Response

from server.errors import RequestError

router = APIRouter(include_in_schema=False)

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_FILES = {name: (files("server") / "web" / name).read_bytes() for name in _TYPES}


@router.get("/")
async def page() -> Response:
    """Give the page."""
    return _file("index.html")


@router.get("/web/{name}")
async def file(name: str) -> Response:
    """Give one of the page's files."""
    if name not in _FILES:
        raise RequestError("the page has no such file.", code="not_found")
    return _file(name)


def _file(name: str) -> Response:
    return Response(_FILES[name], headers={"Content-Type": _TYPES[name], "Cache-Control": "no-cache"})
