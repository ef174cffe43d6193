"""`/galleries`: list, make, describe, delete."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from index import Gallery
from server.answers import ServiceOf, json_answer
from server.body import read_json
from server.conditional import tagged
from server.openapi import body_of
from server.schemas.galleries import GalleriesAnswer, GalleryAnswer, NewGallery

router = APIRouter(prefix="/galleries", tags=["galleries"])


@router.get("", response_model=GalleriesAnswer)
async def list_galleries(request: Request, service: ServiceOf) -> Response:
    """List the galleries that are served."""
    galleries = service.galleries.all()
    described = await service.store(lambda: [describe(name, gallery) for name, gallery in galleries.items()])
    return tagged(request, json_answer(GalleriesAnswer(galleries=described)))


@router.post("", response_model=GalleryAnswer, status_code=201, openapi_extra=body_of(NewGallery))
async def create_gallery(request: Request, service: ServiceOf) -> Response:
    """Make an empty gallery."""
    asked = await read_json(request, NewGallery, max_bytes=service.settings.max_body_bytes)
    gallery = await service.store(service.galleries.create, asked.name, patch_tokens=asked.patch_tokens)
    return json_answer(await service.store(describe, asked.name, gallery), status=201)


@router.get("/{gallery}", response_model=GalleryAnswer)
async def get_gallery(gallery: str, request: Request, service: ServiceOf) -> Response:
    """Describe one gallery."""
    described = await service.store(describe, gallery, service.galleries.get(gallery))
    return tagged(request, json_answer(described))


@router.delete("/{gallery}", status_code=204)
async def delete_gallery(gallery: str, service: ServiceOf) -> Response:
    """Delete a gallery with everything in it."""
    await service.store(service.galleries.delete, gallery)
    return Response(status_code=204)


def describe(name: str, gallery: Gallery) -> GalleryAnswer:
    """Return what a gallery says of itself, under the name that it is served by."""
    info = gallery.info()
    return GalleryAnswer(
        name=name,
        items=info.items,
        version=info.version,
        space=info.space,
        dim=info.dim,
        index_kind=info.index_kind,
        patch_tokens=info.patch_tokens,
        read_only=gallery.read_only,
    )
