"""A real application over a real gallery, with the encoder that has no weights."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.encoder import Encoder
from runtime.engines.fake import fake_encoder
from server.app import create_app
from server.service import Service
from server.settings import Settings
from tests.unit.server.drawing import jpeg

COLOURS = ("red", "green", "blue", "yellow")


@asynccontextmanager
async def serving(settings: Settings, encoder: Encoder | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Start an application and give a client that talks to it."""
    app = create_app(settings, service=Service(settings, encoder=encoder or fake_encoder()))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://vernier") as client:
            yield client


async def fill(client: httpx.AsyncClient, colours: tuple[str, ...] = COLOURS, *, gallery: str = "default") -> None:
    """Store one square of each colour, with its caption."""
    for number, colour in enumerate(colours):
        answer = await client.put(
            f"/galleries/{gallery}/items/{colour}",
            files={
                "image": (f"{colour}.jpg", jpeg(colour)),
                "metadata": (None, f'{{"colour": "{colour}", "number": {number}}}'),
                "text": (None, f"a {colour} square"),
            },
        )
        assert answer.status_code == 201, answer.text


def settings_for(folder: Path, **changes: Any) -> Settings:
    """Settings whose galleries live in a test's own folder."""
    return Settings(galleries_dir=folder / "galleries", **changes)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server whose default gallery holds four squares."""
    async with serving(settings_for(tmp_path)) as client:
        await fill(client)
        yield client


@pytest.fixture
async def empty_client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server with nothing in its gallery."""
    async with serving(settings_for(tmp_path)) as client:
        yield client
