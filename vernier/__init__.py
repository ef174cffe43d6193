"""Vernier: search, ground and proofread pictures by what is exactly in them.

The door to the stages: the command line (`vernier.cli`) and the HTTP client. Importing it loads neither; a name is
loaded when it is first used.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vernier.client import (
        ApiError,
        AsyncClient,
        Client,
        ItemReference,
        NewItem,
        Retry,
        ServerUnreachableError,
        UrlReference,
        draw,
    )

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ItemReference",
    "NewItem",
    "Retry",
    "ServerUnreachableError",
    "UrlReference",
    "__version__",
    "draw",
]

try:
    __version__ = version("vernier")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:  # noqa: ANN401  # the client's names, whatever their types
    if name in __all__:
        return getattr(import_module("vernier.client"), name)
    raise AttributeError(f"module 'vernier' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
