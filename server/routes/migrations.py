"""`/galleries/{gallery}/migration`: moving a gallery to another model while it is served."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.answers import ServiceOf, json_answer
from server.body import read_json
from server.errors import problem_of
from server.openapi import body_of
from server.schemas.common import Problem
from server.schemas.migrations import MigrationAnswer, MigrationRequest
from server.service import Service

router = APIRouter(prefix="/galleries/{gallery}/migration", tags=["galleries"])


@router.post("", response_model=MigrationAnswer, status_code=202, openapi_extra=body_of(MigrationRequest))
async def start_migration(gallery: str, request: Request, service: ServiceOf) -> Response:
    """Begin to embed every item with another bundle, and switch over when all are; asked again, it goes on."""
    asked = await read_json(request, MigrationRequest, max_bytes=service.settings.max_body_bytes)
    if asked.bundle is None:
        await service.store(service.migrations.roll_back, gallery)
    else:
        await service.store(service.migrations.start, gallery, asked.bundle)
    return json_answer(await service.store(_describe, service, gallery), status=202)


@router.get("", response_model=MigrationAnswer)
async def get_migration(gallery: str, service: ServiceOf) -> Response:
    """Say how far the migration is."""
    return json_answer(await service.store(_describe, service, gallery))


@router.delete("", status_code=204)
async def stop_migration(gallery: str, service: ServiceOf) -> Response:
    """Stop a migration if one runs, and forget the vectors kept beside those in use: there is no way back then."""
    opened = service.galleries.get(gallery)
    await service.store(service.migrations.stop, gallery)
    await service.store(opened.discard_standby)
    return Response(status_code=204)


def _describe(service: Service, gallery: str) -> MigrationAnswer:
    opened, course = service.galleries.get(gallery), service.migrations.of(gallery)
    other = opened.standby()
    failure = None if course is None else course.error
    return MigrationAnswer(
        state="none" if course is None else course.state,
        bundle=None if course is None else course.bundle,
        done=0 if course is None else course.done,
        total=0 if course is None else course.total,
        space=opened.space,
        other_space=None if other is None else other.space,
        problem=None if failure is None else Problem.model_validate(problem_of(failure)),
    )
