"""The typed client of the HTTP interface, sync and async. It knows nothing of the server's code."""

from typing import TYPE_CHECKING, Any

from vernier.client.asynchronous import AsyncClient
from vernier.client.calls import NewItem
from vernier.client.errors import ApiError, ClientError, ServerUnreachableError
from vernier.client.pictures import ItemReference, Picture, UrlReference
from vernier.client.retry import Retry
from vernier.client.sync import Client

if TYPE_CHECKING:
    from vernier.client.drawing import draw

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "ItemReference",
    "NewItem",
    "Picture",
    "Retry",
    "ServerUnreachableError",
    "UrlReference",
    "draw",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  numpy and Pillow are loaded when something is drawn
    if name == "draw":
        from vernier.client.drawing import draw

        return draw
    raise AttributeError(f"module 'vernier.client' has no attribute '{name}'")
