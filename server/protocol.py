"""HTTP/1.1 as uvicorn speaks it, with the door in front: who is refused costs a few lines and no task.

The middleware knocks at the same door, so that a server without this protocol refuses the same requests, only dearer.
"""

import asyncio
import functools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from runtime.errors import VernierError
from server import logs
from server.door import Visit
from server.errors import problem_response
from server.noting import note

if TYPE_CHECKING:
    from server.service import Service

_TAKEN_IN_S = 5.0
"""How long the body of a refused request may take to come; it is dropped, so that the connection can be kept."""


async def _nothing(*_: object) -> None:
    """Stand for the application behind uvicorn's reading of a proxy's headers."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    _overdue: asyncio.TimerHandle | None = None

    @functools.cached_property
    def _proxies(self) -> ProxyHeadersMiddleware:
        return ProxyHeadersMiddleware(_nothing, trusted_hosts=self.config.forwarded_allow_ips)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401  as uvicorn has it
        service: Service = self.config.app.state.service  # type: ignore[union-attr]
        if any(name == b"x-forwarded-for" for name, _ in cycle.scope["headers"]):
            with suppress(StopIteration):  # it waits for nothing; the caller's address must be known at the door
                self._proxies(cycle.scope, None, None).send(None)  # type: ignore[arg-type]
        visit = service.door.knock(cycle.scope)  # type: ignore[arg-type]
        if visit.refusal is None:
            super()._start_asgi_task(cycle, app)
        else:
            self._refuse(service, cycle, visit, visit.refusal)

    def _refuse(self, service: "Service", cycle: RequestResponseCycle, visit: Visit, error: VernierError) -> None:
        response = problem_response(error, path=cycle.scope["path"])
        may_stay = cycle.keep_alive and not cycle.waiting_for_100_continue and service.door.takes_in(visit)
        headers = [*self.server_state.default_headers, *visit.dress(response.raw_headers)]
        if not may_stay:
            headers.append((b"connection", b"close"))
        head = b"".join(b"%b: %b\r\n" % pair for pair in headers)
        body = b"" if cycle.scope["method"] == "HEAD" else bytes(response.body)
        self.transport.write(STATUS_LINE[response.status_code] + head + b"\r\n" + body)
        cycle.response_started = cycle.response_complete = True
        if may_stay:
            self._overdue = self.loop.call_later(_TAKEN_IN_S, self.transport.close)
        else:
            self.transport.close()
        self.on_response_complete()
        token = logs.request_id.set(visit.identity)
        note(service, cycle.scope, response.status_code)  # type: ignore[arg-type]
        logs.request_id.reset(token)

    def on_message_complete(self) -> None:
        """Note that a request is here completely; one that was refused is over now."""
        super().on_message_complete()
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what is due."""
        if self._overdue is not None:
            self._overdue.cancel()
        super().connection_lost(exc)
