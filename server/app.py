"""The application: routes over one service."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from server import errors, openapi
from server.compression import Gzip
from server.middleware import RequestMiddleware
from server.routes import (
    embed,
    galleries,
    ground,
    health,
    identify,
    info,
    items,
    knn_service,
    metrics,
    migrations,
    proofread,
    search,
    web,
)
from server.service import Service
from server.settings import Settings
from server.version import version_of_vernier


def create_app(settings: Settings, *, service: Service | None = None) -> FastAPI:
    """Return the application. Its lifespan starts the service and, once no request is at work, closes it.

    Args:
        settings: what the operator wants.
        service: used instead of making one from the settings; it may have been started.
    """
    service = service or Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        await asyncio.to_thread(service.start)
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="Vernier",
        summary="Searches pictures by what is exactly in them.",
        version=version_of_vernier(),
        lifespan=lifespan,
        docs_url=None,  # its assets come from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # see tracing.py
    )
    for module in (
        search,
        ground,
        identify,
        proofread,
        embed,
        knn_service,
        migrations,
        galleries,
        items,
        health,
        info,
        metrics,
        web,
    ):
        app.router.routes.extend(module.router.routes)  # not included, which would put a router into the way of each
    errors.install(app)
    openapi.install(app)
    app.add_middleware(Gzip)
    app.add_middleware(RequestMiddleware, service=service)
    app.state.service = service
    return app
