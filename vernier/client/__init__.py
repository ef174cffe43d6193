"""The typed client of the HTTP interface, sync and async. It knows nothing of the server's code."""

from vernier.client.asynchronous import AsyncClient
from vernier.client.calls import NewItem
from vernier.client.errors import ApiError, ClientError, ServerUnreachableError
from vernier.client.pictures import ItemReference, Picture, UrlReference
from vernier.client.retry import Retry
from vernier.client.sync import Client

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
]
