"""What both clients know of a connection: where it goes, with which headers, and what a failed sending means."""

import os
from typing import Any, TypeVar

import httpx

from runtime.errors import UsageError
from vernier.client import calls
from vernier.client.calls import Call, PictureIn
from vernier.client.errors import ClientError, ServerUnreachableError
from vernier.client.retry import Retry, retry_after_s

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"

_UNDONE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""The request never left: sending it again repeats nothing."""


def options(url: str | None, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """Return what both of httpx's clients are made with.

    Raises:
        UsageError: the address is not one of HTTP.
    """
    base_url = url or os.environ.get("VERNIER_URL") or DEFAULT_URL
    try:
        scheme = httpx.URL(base_url).scheme
    except httpx.InvalidURL as error:
        raise UsageError(f"{base_url} is no address ({error}).") from error
    if scheme not in ("http", "https"):
        raise UsageError(f"{base_url} is no address of a server; write it as {DEFAULT_URL}.")
    return {
        "base_url": base_url,
        "headers": {"authorization": f"Bearer {api_key}"} if api_key else {},
        "timeout": httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
    }


def request_of(call: Call[Any], client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
    """Build the request of a call; a fresh one for each sending."""
    return client.build_request(call.method, call.path, **call.options)


def shown(call: Call[T], response: httpx.Response, picture: PictureIn) -> T:
    """Return a call's answer, with what it needs to show itself in a notebook.

    Raises:
        ApiError: the server answered with a problem.
        ClientError: the answer is not one that this client understands.
    """
    answer = call.result(response)
    if call.show is not None:
        call.show(answer, picture)
    return answer


def wait_after_answer(retry: Retry, attempt: int, call: Call[Any], response: httpx.Response) -> float | None:
    """Return the seconds until the call is sent again, or None when this answer stands."""
    if call.is_answered_by(response):
        return None
    return retry.wait_s(
        attempt,
        status=response.status_code,
        is_repeatable=call.is_repeatable,
        retry_after_s=retry_after_s(response.headers),
    )


def wait_after_break(retry: Retry, attempt: int, call: Call[Any], error: httpx.TransportError) -> float:
    """Return the seconds until the call is sent again after no answer came.

    Raises:
        ServerUnreachableError: it is not sent again.
    """
    repeatable = call.is_repeatable or isinstance(error, _UNDONE)
    wait = None
    if not isinstance(error, httpx.UnsupportedProtocol | httpx.ReadTimeout):
        wait = retry.wait_s(attempt, status=None, is_repeatable=repeatable, retry_after_s=None)
    if wait is None:
        raise _unreachable(error) from error
    return wait


def _unreachable(error: httpx.TransportError) -> ServerUnreachableError:
    url = error.request.url
    where = f"{url.scheme}://{url.netloc.decode()}"
    if isinstance(error, httpx.ConnectError):
        return ServerUnreachableError(f"nothing answers at {where} ({error}); is the server running? `vernier serve`")
    if isinstance(error, httpx.TimeoutException):
        return ServerUnreachableError(f"{where} gave no answer in time; ask for less at once or raise timeout_s.")
    return ServerUnreachableError(f"the connection to {where} broke ({error or type(error).__name__}).")


def lender(url: str | None, api_key: str | None, timeout_s: float) -> PictureIn:
    """Return what gives an answer the stored pictures that it shows, over a connection of its own.

    An answer may be shown when the client is closed, and in a notebook whose event loop runs.
    """

    def picture(item_id: str, gallery: str) -> bytes:
        call = calls.item_picture(item_id, gallery=gallery)
        with httpx.Client(**options(url, api_key, timeout_s)) as http:
            try:
                return call.result(http.send(request_of(call, http)))
            except httpx.TransportError as error:
                raise _unreachable(error) from error

    return picture


def no_pictures(item_id: str, gallery: str) -> bytes:
    """Say that an answer which came over a transport of the caller's own has nothing to show its pictures with.

    Raises:
        ClientError: always.
    """
    raise ClientError(f"the picture of {item_id} in {gallery} can be shown by a client of a server's address alone.")
