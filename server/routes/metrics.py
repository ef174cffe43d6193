"""`GET /metrics` for Prometheus."""

from fastapi import APIRouter
from starlette.responses import Response

from server.answers import ServiceOf

router = APIRouter(tags=["operation"])


@router.get("/metrics", response_class=Response)
async def metrics(service: ServiceOf) -> Response:
    """Give the counters, in Prometheus' text format."""
    told = service.metrics
    told.ready.set(service.is_ready)
    told.in_flight.set(service.admission.inside)
    if service.is_started:
        told.set_queues({**service.engines.waiting(), "search": service.searches.waiting()})
        told.cache_bytes.labels("pictures").set(service.seen.num_bytes)
        told.cache_bytes.labels("texts").set(service.engines.texts.num_bytes)
        galleries = service.galleries.all()
        told.set_galleries(
            await service.store(lambda: {name: gallery.info().items for name, gallery in galleries.items()})
        )
    return Response(told.exposition(), headers={"Content-Type": told.content_type})
