"""Who is let in: decided from the head of a request alone, before anything is made for it and before its body is read.

Under overload most of what comes is refused, and a refusal that cost as much as an answer would take the answers' time.
"""

import re
import uuid
from collections.abc import Hashable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from starlette.datastructures import QueryParams

from runtime.errors import VernierError
from server import auth
from server.admission import Place
from server.errors import field_error
from server.timings import Timings

if TYPE_CHECKING:
    from server.service import Service

RawHeaders = list[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_UNCOUNTED = ("/health/", "/metrics", "/info", "/openapi.json", "/web/")
_COSTLY = ("/search", "/search/batch", "/knn-service", "/ground", "/identify", "/proofread", "/embed", "/v1/embeddings")
_DIGITS_WITHOUT_PICTURE = 4  # of the body's length: no picture fits in so few bytes
_SAFETY: RawHeaders = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
]


class Visit:
    """A request at the door: what is known of it before anything is done.

    Attributes:
        identity: its id, the caller's own when that is one.
        headers: by lower-case name; of a name that was sent twice, the last.
        timings: its stopwatch, which runs from now on.
        place: what it holds inside; None when it holds none, because it was refused or is not counted.
        timeout_s: how long the caller waits, when it said so.
        refusal: why it was not let in.
    """

    __slots__ = ("headers", "identity", "place", "refusal", "timeout_s", "timings")

    def __init__(self, scope: Mapping[str, Any], *, is_traced: bool) -> None:
        self.timings = Timings(is_traced=is_traced)
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id", b"")
        self.identity = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.place: Place | None = None
        self.timeout_s: float | None = None
        self.refusal: VernierError | None = None

    def text(self, name: bytes) -> str | None:
        """Return a header."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def body_bytes(self) -> int | None:
        """Return how long the body is said to be; None when that is not said."""
        declared = self.headers.get(b"content-length", b"" if b"transfer-encoding" in self.headers else b"0")
        return int(declared) if declared.isdigit() else None

    def dress(self, headers: RawHeaders) -> RawHeaders:
        """Return an answer's headers with those that every answer has."""
        named = {name.lower() for name, _ in headers}
        return [
            *headers,
            (b"x-request-id", self.identity.encode()),
            (b"server-timing", self.timings.server_timing().encode()),
            *(pair for pair in _SAFETY if pair[0] not in named),
        ]


class Door:
    """Keys, rates and admission, in this order."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def knock(self, scope: MutableMapping[str, Any]) -> Visit:
        """Let a request in, or note why not; it may have knocked before. A visit that has a place must `leave`."""
        state = scope.setdefault("state", {})
        visit: Visit | None = state.get("visit")
        if visit is None:
            visit = Visit(scope, is_traced=self._service.tracer is not None)
            state.update(visit=visit, timings=visit.timings, service=self._service, error_code=None, answered=False)
            try:
                self._let_in(scope, visit)
            except VernierError as error:
                state["error_code"] = error.code
                # Without its traceback, whose frames hold the visit: in a flood such circles fill the memory until the
                # garbage collector stops everything to find them.
                visit.refusal = error.with_traceback(None)
        return visit

    def takes_in(self, visit: Visit) -> bool:
        """Say whether the body of a refused request is short enough to be dropped rather than the connection."""
        return visit.body_bytes is not None and visit.body_bytes <= self._service.settings.max_body_bytes

    def _let_in(self, scope: Mapping[str, Any], visit: Visit) -> None:
        path = scope["path"]
        service = self._service
        needed = auth.scope_needed(scope["method"], path)
        auth.check_origin(visit.text(b"sec-fetch-site"), needed)
        if needed is not None:
            caller: Hashable = (scope.get("client") or ("",))[0]
            if service.settings.api_keys:
                caller = auth.check_key(service.settings.api_keys, visit.text(b"authorization"), needed)
            service.rate_limits.take(caller)
        visit.timeout_s = self._timeout_s(scope["query_string"])
        if path != "/" and not path.startswith(_UNCOUNTED):
            service.check_ready()
            kind = _kind(scope["method"], path, visit.headers)
            visit.place = service.admission.enter(kind, is_ingest=needed == "write", timeout_s=visit.timeout_s)

    def _timeout_s(self, query: bytes) -> float | None:
        """Return the seconds that the caller waits; None when it did not say.

        Raises:
            RequestError: `request_invalid`.
        """
        if b"timeout_ms" not in query:
            return None
        given = QueryParams(query).get("timeout_ms", "")
        longest_ms = self._service.settings.request_timeout_s * 1000
        if not (given.isascii() and given.isdigit() and 1 <= int(given[:12]) <= longest_ms):
            raise field_error("timeout_ms", f"a whole number of milliseconds from 1 to {longest_ms:.0f}")
        return int(given) / 1000


def _kind(method: str, path: str, headers: Mapping[bytes, bytes]) -> str:
    """Return what a request's cost is expected from."""
    if path.startswith("/galleries"):
        return f"{method} {'items' if '/items' in path else 'galleries'}"
    is_small = headers.get(b"content-type", b"").startswith(b"application/json") and (
        len(headers.get(b"content-length", b"x" * 9)) <= _DIGITS_WITHOUT_PICTURE
    )
    known = path if path in _COSTLY else "other"
    return known if is_small else f"{known} with a picture"
