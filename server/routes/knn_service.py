"""`POST /knn-service`: what clip-retrieval's clients ask and understand, answered from our galleries.

Differs from clip-retrieval: `id` is our item's id, a text; what it has no models for (safety, violence, aesthetics) is
left undone and named in the answer's header `x-vernier-ignored`; a wrong request is a problem and not a status 500.
"""

from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import orjson
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from index import Gallery, Item, Match, Target
from runtime.encoder import Floats
from server.answers import ServiceOf, TimingsOf
from server.body import no_parameters, parse_model, read_all
from server.errors import field_error
from server.openapi import body_of
from server.plain_route import PlainRoute
from server.querying import answer
from server.schemas.common import ImageReference
from server.schemas.search import SearchRequest
from server.searches import Query
from server.service import Service
from server.timings import Timings

router = APIRouter(tags=["clip-retrieval"], route_class=PlainRoute)

_SAME = 0.94  # clip-retrieval's: hits more alike than this are one
_NOT_DONE = ("use_safety_model", "use_violence_detector", "aesthetic_score")


class KnnRequest(BaseModel):
    """A query as `clip_retrieval.clip_client.ClipClient` sends it."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    text: str | None = None
    image: str | None = Field(default=None, description="a picture's file in base64")
    image_url: str | None = Field(
        default=None, max_length=2048, description="fetched only where the operator allows it"
    )
    embedding_input: list[float] | None = Field(default=None, description="a vector of the bundle's space")
    modality: Literal["image", "text"] = "image"
    num_images: int = Field(default=40, ge=0, description="how many hits come with what their items say")
    num_result_ids: int | None = Field(default=None, ge=1, description="most hits; num_images when left out")
    indice_name: str = Field(default="default", description="name of a gallery")
    deduplicate: bool = False
    use_mclip: Literal[False] = Field(default=False, description="there is one text encoder, the bundle's")
    use_safety_model: bool = Field(default=False, description="ignored")
    use_violence_detector: bool = Field(default=False, description="ignored")
    aesthetic_score: int | Literal[""] | None = Field(default=None, description="ignored")
    aesthetic_weight: float | Literal[""] | None = Field(default=None, description="ignored")


@router.post("/knn-service", response_model=list[dict[str, Any]], openapi_extra=body_of(KnnRequest))
async def knn_service(request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Answer clip-retrieval's clients: hits with `id`, `similarity`, `url`, `caption` and the item's metadata."""
    with timings.stage("read"):
        no_parameters(request)
        body = await read_all(request, max_bytes=service.settings.max_body_bytes)  # its client names no type
        asked = parse_model(body, KnnRequest)
    service = service.at(asked.indice_name)
    gallery = service.galleries.get(asked.indice_name)
    matches = await _matches(service, gallery, asked, timings)
    if asked.deduplicate:
        matches = await service.store(_unlike, gallery, matches, asked.modality)
    items = await service.store(gallery.get_many, [match.id for match in matches[: asked.num_images]])
    base = f"{str(request.base_url).rstrip('/')}/galleries/{asked.indice_name}/items"
    hits = [_hit(match, items.get(match.id), base) for match in matches]
    ignored = ",".join(name for name in _NOT_DONE if getattr(asked, name) not in (False, None, ""))
    headers = {"x-vernier-ignored": ignored} if ignored else {}
    return Response(orjson.dumps(hits), media_type="application/json", headers=headers)


async def _matches(service: Service, gallery: Gallery, asked: KnnRequest, timings: Timings) -> list[Match]:
    top_k = asked.num_result_ids or max(1, asked.num_images)
    text, picture = asked.text or None, None
    if text is None and (asked.image or asked.image_url):  # of a text and a picture, clip-retrieval takes the text
        picture = ImageReference(base64=asked.image) if asked.image else ImageReference(url=asked.image_url)
    if text is not None or picture is not None:
        query = SearchRequest(
            text=text, image=picture, target=asked.modality, gallery=asked.indice_name, top_k=top_k, include=[]
        )
        found = await answer(service, query, None, timings)
        return [Match(hit["id"], hit["score"]) for hit in found["hits"]]
    if asked.embedding_input is None:
        raise field_error("text", "one of text, image, image_url and embedding_input is needed")
    if top_k > service.settings.max_top_k:
        raise field_error("num_result_ids", f"at most {service.settings.max_top_k} hits are given")
    vector = _unit(asked.embedding_input, dim=service.encoder.dim)
    query_by_vector = Query(gallery=gallery, vector=vector, top_k=top_k, target=asked.modality)
    return (await service.searches.search(query_by_vector)).matches


def _unit(numbers: list[float], *, dim: int) -> Floats:
    vector = np.asarray(numbers, np.float32)
    length = float(np.linalg.norm(vector))
    if len(vector) != dim or not np.isfinite(length) or length == 0:
        raise field_error("embedding_input", f"a vector of this bundle has {dim} numbers that are not all 0")
    return np.asarray(vector / length, np.float32)


def _unlike(gallery: Gallery, matches: list[Match], target: Target) -> list[Match]:
    """Keep the best of each group of hits that are alike, directly or through others."""
    vectors = {match.id: gallery.vector(match.id, target=target) for match in matches}
    matches = [match for match in matches if vectors[match.id] is not None]  # the others were deleted meanwhile
    if not matches:
        return []
    stacked: NDArray[np.float32] = np.stack([np.asarray(vectors[match.id], np.float32) for match in matches])
    alike = stacked @ stacked.T > _SAME
    groups = np.arange(len(matches))
    for row in range(len(matches)):
        joined = np.isin(groups, groups[alike[row]])
        groups[joined] = groups[joined].min()
    return [match for row, match in enumerate(matches) if groups[row] == row]


def _hit(match: Match, item: Item | None, base: str) -> dict[str, Any]:
    """One hit; without what its item says where that is not wanted or the item is gone."""
    hit: dict[str, Any] = {}
    if item is not None:
        if item.has_picture:
            hit["url"] = f"{base}/{quote(item.id, safe='')}/image"
        if item.text is not None:
            hit["caption"] = item.text
        hit |= item.metadata
    return hit | {"id": match.id, "similarity": match.score}
