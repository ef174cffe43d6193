"""Where `search`, `ground` and `proofread` get their answers: from a server, or from its application in this process.

Without a server the very routes that a server has are asked, through the client, over no socket: one way to answer.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from runtime.errors import UsageError

if TYPE_CHECKING:
    from vernier.client import AsyncClient

T = TypeVar("T")

UrlOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Ask this server, such as http://127.0.0.1:8000."),
]
ApiKeyOption = Annotated[
    str | None, typer.Option(metavar="KEY", envvar="VERNIER_API_KEY", help="The key that the server at --url wants.")
]
BundleOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Answer in this process with this bundle.", show_default="the demo bundle"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who answers: the server at `url`, else this process with the bundle over the gallery (an empty one if None)."""

    url: str | None = None
    api_key: str | None = None
    bundle: Path | None = None
    gallery: Path | None = None

    def ask(self, question: Callable[["AsyncClient"], Awaitable[T]]) -> T:
        """Connect, ask, and disconnect.

        Raises:
            UsageError: both a server and something local are named.
            VernierError: whatever the question raises, or the bundle or gallery cannot be opened.
        """
        if self.url is not None and self.bundle is not None:
            raise UsageError("name either a server with --url, or a --bundle to answer with here.")
        return asyncio.run(self._ask(question))

    async def _ask(self, question: Callable[["AsyncClient"], Awaitable[T]]) -> T:
        from vernier.client import AsyncClient

        if self.url is not None:
            async with AsyncClient(self.url, api_key=self.api_key) as client:
                return await question(client)
        async with self._local() as client:
            return await question(client)

    @asynccontextmanager
    async def _local(self) -> AsyncIterator["AsyncClient"]:
        import httpx

        from server.app import create_app
        from server.settings import load_settings
        from vernier.client import AsyncClient
        from vernier.demo import demo_bundle

        logging.getLogger("server").setLevel(
            logging.ERROR
        )  # that another process writes in the gallery is no news here
        settings = load_settings(bundle=self.bundle)
        with tempfile.TemporaryDirectory(prefix="vernier-") as nothing:
            here = {
                "bundle": settings.bundle or demo_bundle(),
                "gallery": None if self.gallery is None else str(self.gallery),
                "galleries_dir": Path(nothing),
                "api_keys": (),
            }
            app = create_app(settings.model_copy(update=here))
            async with (
                app.router.lifespan_context(app),
                AsyncClient("http://here", transport=httpx.ASGITransport(app)) as client,
            ):
                yield client
