"""What both clients know of a connection: where it goes, with which headers, and what a failed sending means."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

import httpx

from runtime.errors import UsageError, VernierError
from vernier.client.calls import Call, NewItem, item_line
from vernier.client.errors import ServerUnreachableError
from vernier.client.models import ItemOutcome, Problem
from vernier.client.retry import Retry, retry_after_s

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


def bulk_batches(
    items: Iterable[NewItem], *, max_items: int, max_bytes: int
) -> Iterator[tuple[list[bytes], list[ItemOutcome | None]]]:
    """Cut items into the lines of bulk writes, never holding more than one of them.

    Yields:
        The lines to send and, in the items' order, the outcomes known already: None for an item whose line is sent, a
        problem for one whose picture cannot be read here.
    """
    lines: list[bytes] = []
    outcomes: list[ItemOutcome | None] = []
    size = 0
    for item in items:
        line = _line_or_problem(item)
        if lines and isinstance(line, bytes) and size + len(line) > max_bytes:
            yield lines, outcomes
            lines, outcomes, size = [], [], 0
        if isinstance(line, bytes):
            lines.append(line)
            outcomes.append(None)
            size += len(line) + 1
        else:
            outcomes.append(line)
        if len(outcomes) >= max_items:
            yield lines, outcomes
            lines, outcomes, size = [], [], 0
    if outcomes:
        yield lines, outcomes


def _line_or_problem(item: NewItem) -> bytes | ItemOutcome:
    try:
        return item_line(item)
    except VernierError as error:
        return ItemOutcome(id=item.id, problem=Problem(code=error.code, status=422, detail=str(error)))


def merged(outcomes: list[ItemOutcome | None], answered: list[ItemOutcome]) -> Iterator[ItemOutcome]:
    """Put the server's outcomes in the places of the lines that were sent."""
    rest = iter(answered)
    for outcome in outcomes:
        yield next(rest) if outcome is None else outcome
