"""Notices that a client has left while its request is at work, and ends the work."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from starlette.types import Message, Receive


class ClientLeft(Exception):  # noqa: N818  it is no error
    """The client of the current request closed its connection before the answer."""


class ClientWatch:
    """Stands between the server and the application's `receive`.

    Once the body is complete, the connection is listened to; when it closes first, the block of the `async with` ends
    with `ClientLeft`.
    """

    def __init__(self, receive: Receive, *, on_complete: Callable[[], None]) -> None:
        self._receive = receive
        self._on_complete = on_complete
        self._listening: asyncio.Task[Message] | None = None
        self._task: asyncio.Task[object] | None = None
        self._has_left = False

    async def receive(self) -> Message:
        """Give the application the next message."""
        if self._listening is not None:
            return await asyncio.shield(self._listening)
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._listen()
        return message

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task = None
        if self._listening is not None and not self._listening.done():
            self._listening.cancel()
        if self._has_left and isinstance(error, asyncio.CancelledError):
            task = asyncio.current_task()
            if task is not None and task.uncancel() == 0:
                raise ClientLeft from None

    def _listen(self) -> None:
        self._on_complete()
        # Bound to a name: the event loop itself keeps tasks only weakly.
        self._listening = asyncio.ensure_future(self._receive())
        self._listening.add_done_callback(self._heard)

    def _heard(self, listening: "asyncio.Task[Message]") -> None:
        if listening.cancelled() or listening.exception() is not None:
            return
        if listening.result()["type"] == "http.disconnect" and self._task is not None:
            self._has_left = True
            self._task.cancel()
