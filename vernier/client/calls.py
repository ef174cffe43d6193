"""The HTTP interface as values: each function gives the request to send and how its answer is read.

Nothing here sends anything: both clients turn these functions into their methods (`vernier.client.methods`), with their
parameters, defaults and docstrings.
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
    IdentifyAnswer,
    Item,
    ItemOutcome,
    ItemPage,
    Migration,
    Problem,
    ProofreadAnswer,
    ProofreadText,
    SearchAnswer,
)
from vernier.client.pictures import ItemReference, PictureOrReference, UrlReference, encoded, reference
from vernier.client.retry import retry_after_s

T = TypeVar("T")

PictureIn = Callable[[str, str], bytes]
"""Gives the stored picture of an item: (item id, gallery) -> the bytes of a file."""

Target = Literal["image", "text"]
Explained = Literal["regions", "words"]
Heatmap = Literal["none", "png", "grid"]
PatchTokens = Literal["none", "int8", "fp16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        options: what `httpx.Client.build_request` takes besides method and address.
        read: turns a good answer into what the caller gets.
        is_repeatable: whether doing it twice is the same as doing it once.
        answers: statuses beside 2xx that are an answer, not a problem.
        show: gives an answer what it needs to show itself in a notebook.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    options: dict[str, Any] = field(default_factory=dict)
    is_repeatable: bool = True
    answers: frozenset[int] = frozenset()
    show: Callable[[T, PictureIn], None] | None = None

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
    text: str | None = None,
    *,
    image: PictureOrReference | None = None,
    target: Target = "image",
    gallery: str = "default",
    top_k: int = 10,
    filter: Mapping[str, Any] | None = None,
    min_score: float | None = None,
    rerank: int = 0,
    min_match: float | None = None,
    explain: bool | Sequence[Explained] = False,
    heatmap: Heatmap = "none",
    include: Sequence[str] | None = None,
    negative_text: str | None = None,
    exclude_ids: Sequence[str] = (),
) -> Call[SearchAnswer]:
    """Search by a text, a picture, or both.

    Args:
        text: what to look for.
        image: a picture to look like.
        target: whether the items' pictures or their texts are searched.
        gallery: its name on the server.
        top_k: most hits.
        filter: condition on the items' metadata, as in `{"year": {"gte": 2020}}`.
        min_score: least score of a hit.
        rerank: how many of the best hits the fusion encoder scores again.
        min_match: hits of a lower match are left out; without `rerank` all `top_k` are scored again.
        explain: whether hits come with regions and word errors; or which of the two, as in `["regions"]`.
        heatmap: `png` or `grid` to get where each explained word is.
        include: which fields of the items come with the hits, `metadata` and `text`.
        negative_text: what the hits should be unlike.
        exclude_ids: items that are not wanted among the hits.
    """
    request = {
        "text": text,
        "target": target,
        "gallery": gallery,
        "top_k": top_k,
        "filter": filter,
        "min_score": min_score,
        "rerank": rerank,
        "min_match": min_match,
        "explain": explain if isinstance(explain, bool) else list(explain),
        "heatmap": None if heatmap == "none" else heatmap,
        "include": None if include is None else list(include),
        "negative_text": negative_text,
        "exclude_ids": list(exclude_ids) or None,
    }
    return Call(
        method="POST",
        path="/search",
        options=_with_picture(request, image),
        read=_model(SearchAnswer.model_validate_json),
        show=lambda answer, picture: answer.shows(lambda item_id: picture(item_id, gallery)),
    )


def ground(
    image: PictureOrReference,
    phrases: str | Sequence[str] = (),
    *,
    text: str | None = None,
    gallery: str = "default",
    top_k: int = 1,
    threshold: float | None = None,
    budget: int | None = None,
    heatmap: Heatmap = "none",
    words: bool = False,
) -> Call[GroundAnswer]:
    """Find phrases, or every noun phrase of a text, in a picture.

    Args:
        image: the picture.
        phrases: what to find; or else
        text: a text whose noun phrases are found.
        gallery: where an `ItemReference` is.
        top_k: most boxes per phrase.
        threshold: score below which a box is not given; the bundle's own when None.
        budget: masked pictures that may be looked at where the bundle is two encoders alone; the server's own when
            None.
        heatmap: `png` or `grid` to get each phrase's heat.
        words: whether every word of the text is given its heat too.
    """
    wanted = [phrases] if isinstance(phrases, str) else list(phrases)
    if bool(wanted) == (text is not None):
        raise UsageError("give either phrases, or a text whose phrases are to be found.")
    if words and (text is None or heatmap == "none"):
        raise UsageError("words are those of a text, and carry heat maps: give text, and png or grid as heatmap.")
    request = {
        "phrases": wanted or None,
        "text": text,
        "gallery": gallery,
        "top_k": top_k,
        "threshold": threshold,
        "budget": budget,
        "heatmap": heatmap,
        "words": words or None,
    }
    return Call(
        method="POST",
        path="/ground",
        options=_with_picture(request, image),
        read=_model(GroundAnswer.model_validate_json),
        show=lambda answer, picture: answer.shows(_looked_at(image, gallery, picture)),
    )


def proofread(
    image: PictureOrReference,
    text: str,
    *,
    gallery: str = "default",
    suggestions: int = 3,
    threshold: float | None = None,
) -> Call[ProofreadAnswer]:
    """Find the words of a text that are wrong of a picture.

    Args:
        image: the picture.
        text: what is claimed of it.
        gallery: where an `ItemReference` is.
        suggestions: most suggestions per word.
        threshold: probability from which a word is called an error; the bundle's own when None.
    """
    request = {"text": text, "gallery": gallery, "suggestions": suggestions, "threshold": threshold}
    return Call(
        method="POST",
        path="/proofread",
        options=_with_picture(request, image),
        read=_model(ProofreadAnswer.model_validate_json),
        show=lambda answer, picture: answer.shows(_looked_at(image, gallery, picture)),
    )


def proofread_all(
    image: PictureOrReference,
    texts: Sequence[str],
    *,
    gallery: str = "default",
    suggestions: int = 3,
    threshold: float | None = None,
) -> Call[list[ProofreadText | Problem]]:
    """Hold several texts against one picture, which is looked at once; a text that cannot be judged has its problem."""
    request = {"texts": list(texts), "gallery": gallery, "suggestions": suggestions, "threshold": threshold}
    return Call(
        method="POST",
        path="/proofread",
        options=_with_picture(request, image),
        read=lambda response: [_text_or_problem(entry) for entry in response.json()["results"]],
    )


def identify(
    image: PictureOrReference,
    *,
    point: Sequence[float] | None = None,
    box: Sequence[float] | None = None,
    phrases: Sequence[str] | None = None,
    gallery: str = "default",
    top_k: int = 5,
) -> Call[IdentifyAnswer]:
    """Say what a part of a picture may be: the reverse of `ground`.

    Args:
        image: the picture.
        point: x, y in its pixels; or else
        box: x0, y0, x1, y1.
        phrases: what it may be; the gallery's own words when None.
        gallery: whose words are ranked, and where an `ItemReference` is.
        top_k: most names.
    """
    request = {
        "point": None if point is None else list(point),
        "box": None if box is None else list(box),
        "phrases": None if phrases is None else list(phrases),
        "gallery": gallery,
        "top_k": top_k,
    }
    return Call(
        method="POST",
        path="/identify",
        options=_with_picture(request, image),
        read=_model(IdentifyAnswer.model_validate_json),
    )


def embed(
    texts: Sequence[str] = (), *, images: Sequence[PictureOrReference] = (), gallery: str = "default"
) -> Call[EmbedAnswer]:
    """Embed texts and pictures: the texts' vectors first, then the pictures'. `gallery` is where references are."""
    inputs = [{"text": text} for text in texts] + [{"image": reference(image)} for image in images]
    return Call(
        method="POST",
        path="/embed",
        options={"json": {"inputs": inputs, "gallery": gallery}},
        read=_model(EmbedAnswer.model_validate_json),
    )


def add(
    item_id: str,
    *,
    image: PictureOrReference | None = None,
    text: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    gallery: str = "default",
) -> Call[Item]:
    """Put one item into a gallery, in place of the one with this id. It is durable when this returns."""
    path = _item_path(gallery, item_id)
    if image is None or isinstance(image, UrlReference | ItemReference):
        body = _item_body(NewItem(id=item_id, image=image, text=text, metadata=metadata))
        return Call(method="PUT", path=path, options={"json": body}, read=_model(Item.model_validate_json))
    parts: dict[str, Any] = {
        "image": ("image", encoded(image), "application/octet-stream"),
        "metadata": (None, json.dumps(dict(metadata or {})), "application/json"),
    }
    if text is not None:
        parts["text"] = (None, text, "text/plain; charset=utf-8")
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


def item(item_id: str, *, gallery: str = "default") -> Call[Item]:
    """Return an item."""
    return Call(
        method="GET",
        path=_item_path(gallery, item_id),
        read=_model(Item.model_validate_json),
        show=lambda answer, picture: answer.shows(lambda item_id: picture(item_id, gallery)),
    )


def item_picture(item_id: str, *, gallery: str = "default") -> Call[bytes]:
    """Return the picture that the gallery stored of an item, as a JPEG file's bytes."""
    return Call(method="GET", path=f"{_item_path(gallery, item_id)}/image", read=lambda response: response.content)


def delete(item_id: str, *, gallery: str = "default") -> Call[None]:
    """Delete an item."""
    return Call(method="DELETE", path=_item_path(gallery, item_id), read=lambda _: None)


def page(
    *,
    gallery: str = "default",
    cursor: str | None = None,
    limit: int = 100,
    filter: Mapping[str, Any] | None = None,
) -> Call[ItemPage]:
    """Return one page of a gallery's items; `cursor` is the `next_cursor` of the page before."""
    params = {"cursor": cursor, "limit": limit, "filter": None if filter is None else json.dumps(filter)}
    return Call(
        method="GET",
        path=f"{_gallery_path(gallery)}/items",
        options={"params": {name: value for name, value in params.items() if value is not None}},
        read=_model(ItemPage.model_validate_json),
    )


def galleries() -> Call[list[Gallery]]:
    """Return what every gallery says of itself."""
    return Call(
        method="GET",
        path="/galleries",
        read=lambda response: [Gallery.model_validate(entry) for entry in response.json()["galleries"]],
    )


def gallery(name: str = "default") -> Call[Gallery]:
    """Return what one gallery says of itself."""
    return Call(method="GET", path=_gallery_path(name), read=_model(Gallery.model_validate_json))


def create_gallery(name: str, *, patch_tokens: PatchTokens | None = None) -> Call[Gallery]:
    """Make an empty gallery, which keeps what belongs to pictures' patches so; as the server is set when None."""
    wanted = {"name": name} if patch_tokens is None else {"name": name, "patch_tokens": patch_tokens}
    return Call(
        method="POST",
        path="/galleries",
        options={"json": wanted},
        read=_model(Gallery.model_validate_json),
        is_repeatable=False,
    )


def delete_gallery(name: str) -> Call[None]:
    """Delete a gallery and everything in it."""
    return Call(method="DELETE", path=_gallery_path(name), read=lambda _: None)


def migrate(bundle: str, *, gallery: str = "default") -> Call[Migration]:
    """Begin to move a gallery to another model, or go on with it; it answers and takes writes meanwhile.

    Args:
        bundle: name of a bundle in the server's directory of bundles.
        gallery: its name on the server.
    """
    return _begun(gallery, {"bundle": bundle})


def roll_back(gallery: str = "default") -> Call[Migration]:
    """Begin to move a gallery back to the model that it was moved from."""
    return _begun(gallery, {"rollback": True})


def migration(gallery: str = "default") -> Call[Migration]:
    """Return how far a gallery is on its way to another model."""
    return Call(method="GET", path=_migration_path(gallery), read=_model(Migration.model_validate_json))


def discard_migration(gallery: str = "default") -> Call[None]:
    """Stop a migration if one runs, and forget the vectors beside those in use: there is no way back then."""
    return Call(method="DELETE", path=_migration_path(gallery), read=lambda _: None)


def info() -> Call[dict[str, Any]]:
    """Return what the server says of itself: bundle, providers, limits."""
    return Call(method="GET", path="/info", read=lambda response: dict(response.json()))


def health() -> Call[Health]:
    """Return whether the server is ready to answer; being not ready is an answer too."""
    return Call(method="GET", path="/health/ready", read=_read_health, answers=frozenset({503}))


def _looked_at(image: PictureOrReference, gallery: str, picture: PictureIn) -> Callable[[], bytes]:
    """What gives the picture that was asked about once more, when an answer is shown."""

    def look() -> bytes:
        if isinstance(image, ItemReference):
            return picture(image.id, gallery)
        if isinstance(image, UrlReference):
            raise ClientError(f"the picture at {image.url} was fetched by the server and is not here.")
        return encoded(image)

    return look


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


def _text_or_problem(entry: Mapping[str, Any]) -> ProofreadText | Problem:
    return Problem.model_validate(entry) if "code" in entry else ProofreadText.model_validate(entry)


def _read_outcomes(response: httpx.Response) -> list[ItemOutcome]:
    return [ItemOutcome.model_validate(entry) for entry in response.json()["results"]]


def _read_health(response: httpx.Response) -> Health:
    if response.is_success:
        return Health.model_validate_json(response.content)
    problem = _problem(response)
    return Health(status="not_ready", detail=str(problem.problem.get("detail", problem)))


def _gallery_path(name: str) -> str:
    return f"/galleries/{quote(name, safe='')}"


def _migration_path(gallery: str) -> str:
    return f"{_gallery_path(gallery)}/migration"


def _begun(gallery: str, wanted: dict[str, Any]) -> Call[Migration]:
    read = _model(Migration.model_validate_json)
    return Call(method="POST", path=_migration_path(gallery), options={"json": wanted}, read=read)


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
