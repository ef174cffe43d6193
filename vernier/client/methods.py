"""Methods of both clients, made from the descriptions in `vernier.client.calls`."""

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from vernier.client.calls import Call

if TYPE_CHECKING:
    from vernier.client.asynchronous import AsyncClient
    from vernier.client.sync import Client

P = ParamSpec("P")
T = TypeVar("T")

_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)


def sending(call: Callable[P, Call[T]]) -> "Callable[Concatenate[Client, P], T]":
    """Return the method of `Client` that makes a call, sends it and returns its answer."""

    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._send(call(*args, **kwargs))

    _dress(method, call)
    return method


def sending_async(call: Callable[P, Call[T]]) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]":
    """Return the method of `AsyncClient` that makes a call, sends it and returns its answer."""

    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._send(call(*args, **kwargs))

    _dress(method, call)
    return method


def _dress(method: Any, call: Callable[..., Any]) -> None:  # noqa: ANN401  functions have no type that may be written to
    """Give a method the name, words and parameters of its call, and say that it returns the answer."""
    signature = inspect.signature(call)
    answer = str(signature.return_annotation).removeprefix("Call[").removesuffix("]")
    method.__name__, method.__doc__ = call.__name__, call.__doc__
    module, owner = ("asynchronous", "AsyncClient") if inspect.iscoroutinefunction(method) else ("sync", "Client")
    method.__module__, method.__qualname__ = f"vernier.client.{module}", f"{owner}.{call.__name__}"
    method.__signature__ = signature.replace(
        parameters=[_SELF, *signature.parameters.values()], return_annotation=answer
    )
