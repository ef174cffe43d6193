"""`GET /health/live` and `GET /health/ready`."""

from fastapi import APIRouter
from starlette.responses import Response

from server.answers import ServiceOf, json_answer
from server.errors import RequestError
from server.schemas.status import HealthAnswer

router = APIRouter(prefix="/health", tags=["operation"])


@router.get("/live", response_model=HealthAnswer)
async def live(service: ServiceOf) -> Response:
    """Say whether the process works: a picture and a text get all the way through the engines."""
    await service.check_life()
    return json_answer(HealthAnswer(status="live"))


@router.get("/ready", response_model=HealthAnswer)
async def ready(service: ServiceOf) -> Response:
    """Say whether work is taken: the bundle is loaded, the galleries are open, and the engine runs."""
    service.check_ready()
    if service.is_draining:
        raise RequestError("the server is ending.", code="not_ready")
    if not service.is_ready:
        # A balancer sends nothing here after this, so the engine is asked again for its sake.
        await service.check_life()
    if not service.is_ready:
        raise RequestError("the engine failed.", code="not_ready")
    return json_answer(HealthAnswer(status="ready"))
