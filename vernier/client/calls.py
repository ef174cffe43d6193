"""The HTTP interface as values: each function gives the request to send and how its answer is read.

Nothing here sends anything, so that the sync and the async client share all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from runtime.errors import UsageError
from vernier.client.errors import ApiError, ClientError
from vernier.client.models import (
    EmbedAnswer,
    Gallery,
    GroundAnswer,
    Health,
    Item,
    ItemOutcome,
    ItemPage,
    ProofreadAnswer,
    SearchAnswer,
)
from vernier.client.pictures import ItemReference, PictureOrReference, UrlReference, encoded, reference
from vernier.client.retry import retry_after_s

T = TypeVar("T")

Target = Literal["image", "text"]
Heatmap = Literal["none", "png", "grid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        options: what `httpx.Client.build_request` takes besides method and address.
        read: turns a good answer into what the caller gets.
        is_repeatable: whether doing it twice is the same as doing it once.
        answers: statuses beside 2xx that are an answer, not a problem.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    options: dict[str, Any] = field(default_factory=dict)
    is_repeatable: bool = True
    answers: frozenset[int] = frozenset()

    def is_answered_by(self, response: httpx.Response) -> bool:
        """Say whether the response is an answer rather than a problem."""
        return response.is_success or response.status_code in self.answers

    def result(self, response: httpx.Response) -> T:
        """Return the answer, read.

        Raises:
            ApiError: the server answered with a problem.
            ClientError: the answer is not one that this client understands.
        """
        if not self.is_answered_by(response):
            raise _problem(response)
        try:
            return self.read(response)
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            raise ClientError(
                f"{response.request.url} gave an answer that this client does not understand ({type(error).__name__}); "
                "is it a Vernier server of this version?"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """An item to add: a picture, a text, or a picture with its text."""

    id: str
    image: PictureOrReference | None = None
    text: str | None = None
    metadata: Mapping[str, Any] | None = None


def search(
    text: str | None,
    *,
    image: PictureOrReference | None,
    target: Target,
    gallery: str,
    top_k: int,
    filter: Mapping[str, Any] | None,
    min_score: float | None,
    rerank: int,
    explain: bool,
    include: Sequence[str] | None,
) -> Call[SearchAnswer]:
    """`POST /search`."""
    request = {
        "text": text,
        "target": target,
        "gallery": gallery,
        "top_k": top_k,
        "filter": filter,
        "min_score": min_score,
        "rerank": rerank,
        "explain": explain,
        "include": None if include is None else list(include),
    }
    return Call(
        method="POST",
        path="/search",
        options=_with_picture(request, image),
        read=_model(SearchAnswer.model_validate_json),
    )


def ground(
    image: PictureOrReference,
    phrases: str | Sequence[str],
    *,
    text: str | None,
    gallery: str,
    top_k: int,
    heatmap: Heatmap,
) -> Call[GroundAnswer]:
    """`POST /ground`."""
    wanted = [phrases] if isinstance(phrases, str) else list(phrases)
    if bool(wanted) == (text is not None):
        raise UsageError("give either phrases, or a text whose phrases are to be found.")
    request = {"phrases": wanted or None, "text": text, "gallery": gallery, "top_k": top_k, "heatmap": heatmap}
    return Call(
        method="POST",
        path="/ground",
        options=_with_picture(request, image),
        read=_model(GroundAnswer.model_validate_json),
    )


def proofread(
    image: PictureOrReference, text: str, *, gallery: str, suggestions: int, threshold: float | None
) -> Call[ProofreadAnswer]:
    """`POST /proofread`."""
    request = {"text": text, "gallery": gallery, "suggestions": suggestions, "threshold": threshold}
    return Call(
        method="POST",
        path="/proofread",
        options=_with_picture(request, image),
        read=_model(ProofreadAnswer.model_validate_json),
    )


def embed(*, texts: Sequence[str], images: Sequence[PictureOrReference], gallery: str) -> Call[EmbedAnswer]:
    """`POST /embed`: the texts first, then the pictures."""
    inputs = [{"text": text} for text in texts] + [{"image": reference(image)} for image in images]
    return Call(
        method="POST",
        path="/embed",
        options={"json": {"inputs": inputs, "gallery": gallery}},
        read=_model(EmbedAnswer.model_validate_json),
    )


def add(item: NewItem, *, gallery: str) -> Call[Item]:
    """`PUT /galleries/{g}/items/{id}`."""
    path = _item_path(gallery, item.id)
    if item.image is None or isinstance(item.image, UrlReference | ItemReference):
        return Call(method="PUT", path=path, options={"json": _item_body(item)}, read=_model(Item.model_validate_json))
    parts: dict[str, Any] = {
        "image": ("image", encoded(item.image), "application/octet-stream"),
        "metadata": (None, json.dumps(dict(item.metadata or {})), "application/json"),
    }
    if item.text is not None:
        parts["text"] = (None, item.text, "text/plain; charset=utf-8")
    return Call(method="PUT", path=path, options={"files": parts}, read=_model(Item.model_validate_json))


def add_lines(lines: Sequence[bytes], *, gallery: str) -> Call[list[ItemOutcome]]:
    """`POST /galleries/{g}/items` with lines of `item_line`; outcomes in the order of the lines."""
    headers = {"content-type": "application/x-ndjson"}
    return Call(
        method="POST",
        path=f"{_gallery_path(gallery)}/items",
        options={"content": b"\n".join(lines), "headers": headers},
        read=_read_outcomes,
    )


def item_line(item: NewItem) -> bytes:
    """Return an item as a line of a bulk write.

    Raises:
        ImageError: its picture cannot be read.
    """
    return json.dumps({"id": item.id, **_item_body(item)}, ensure_ascii=False).encode()


def item(item_id: str, *, gallery: str) -> Call[Item]:
    """`GET /galleries/{g}/items/{id}`."""
    return Call(method="GET", path=_item_path(gallery, item_id), read=_model(Item.model_validate_json))


def item_picture(item_id: str, *, gallery: str) -> Call[bytes]:
    """`GET /galleries/{g}/items/{id}/image`."""
    return Call(method="GET", path=f"{_item_path(gallery, item_id)}/image", read=lambda response: response.content)


def delete(item_id: str, *, gallery: str) -> Call[None]:
    """`DELETE /galleries/{g}/items/{id}`."""
    return Call(method="DELETE", path=_item_path(gallery, item_id), read=lambda _: None)


def page(*, gallery: str, cursor: str | None, limit: int, filter: Mapping[str, Any] | None) -> Call[ItemPage]:
    """`GET /galleries/{g}/items`."""
    params = {"cursor": cursor, "limit": limit, "filter": None if filter is None else json.dumps(filter)}
    return Call(
        method="GET",
        path=f"{_gallery_path(gallery)}/items",
        options={"params": {name: value for name, value in params.items() if value is not None}},
        read=_model(ItemPage.model_validate_json),
    )


def galleries() -> Call[list[Gallery]]:
    """`GET /galleries`."""
    return Call(
        method="GET",
        path="/galleries",
        read=lambda response: [Gallery.model_validate(entry) for entry in response.json()["galleries"]],
    )


def gallery(name: str) -> Call[Gallery]:
    """`GET /galleries/{g}`."""
    return Call(method="GET", path=_gallery_path(name), read=_model(Gallery.model_validate_json))


def create_gallery(name: str) -> Call[Gallery]:
    """`POST /galleries`."""
    return Call(
        method="POST",
        path="/galleries",
        options={"json": {"name": name}},
        read=_model(Gallery.model_validate_json),
        is_repeatable=False,
    )


def delete_gallery(name: str) -> Call[None]:
    """`DELETE /galleries/{g}`."""
    return Call(method="DELETE", path=_gallery_path(name), read=lambda _: None)


def info() -> Call[dict[str, Any]]:
    """`GET /info`."""
    return Call(method="GET", path="/info", read=lambda response: dict(response.json()))


def health() -> Call[Health]:
    """`GET /health/ready`."""
    return Call(method="GET", path="/health/ready", read=_read_health, answers=frozenset({503}))


def _model(validate: Callable[[bytes], T]) -> Callable[[httpx.Response], T]:
    return lambda response: validate(response.content)


def _with_picture(request: Mapping[str, Any], image: PictureOrReference | None) -> dict[str, Any]:
    """A picture of the caller's goes beside the request as a file, which spares the third that base64 adds."""
    body = {name: value for name, value in request.items() if value is not None}
    if image is None:
        return {"json": body}
    if isinstance(image, UrlReference | ItemReference):
        return {"json": {**body, "image": reference(image)}}
    content = encoded(image)
    return {
        "files": {
            "request": (None, json.dumps(body), "application/json"),
            "image": ("image", content, "application/octet-stream"),
        }
    }


def _item_body(item: NewItem) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if item.image is not None:
        body["image"] = reference(item.image)
    if item.text is not None:
        body["text"] = item.text
    if item.metadata is not None:
        body["metadata"] = dict(item.metadata)
    return body


def _read_outcomes(response: httpx.Response) -> list[ItemOutcome]:
    return [ItemOutcome.model_validate(entry) for entry in response.json()["results"]]


def _read_health(response: httpx.Response) -> Health:
    if response.is_success:
        return Health.model_validate_json(response.content)
    problem = _problem(response)
    return Health(status="not_ready", detail=str(problem.problem.get("detail", problem)))


def _gallery_path(name: str) -> str:
    return f"/galleries/{quote(name, safe='')}"


def _item_path(gallery: str, item_id: str) -> str:
    return f"{_gallery_path(gallery)}/items/{quote(item_id, safe='')}"


def _problem(response: httpx.Response) -> ApiError:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or not isinstance(problem.get("code"), str):
        problem = {}
    detail = problem.get("detail") or problem.get("title") or f"HTTP status {response.status_code}"
    code = problem.get("code", f"http_{response.status_code}")
    return ApiError(
        f"{detail} ({code}, {response.status_code} from {response.request.url.path})",
        status=response.status_code,
        code=code,
        problem=problem,
        retry_after_s=retry_after_s(response.headers),
    )
