"""What is noted of every answered request: a log line, the counters, and a trace when there is a collector."""

import logging
from typing import TYPE_CHECKING, Any

from server.timings import Timings

if TYPE_CHECKING:
    from server.service import Service

_log = logging.getLogger("server.requests")

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
_PROBES = ("/health/live", "/health/ready", "/metrics")


def note(service: "Service", scope: dict[str, Any], status: int) -> None:
    """Note a request that has been answered, or whose client left (status 499)."""
    state = scope["state"]
    timings: Timings = state["timings"]
    route = getattr(scope.get("route"), "path", "unknown")
    method = scope["method"] if scope["method"] in _METHODS else "other"  # anyone may send any word
    code = state["error_code"]
    is_quiet = route in _PROBES and status < 400
    level = logging.DEBUG if is_quiet else logging.INFO
    if _log.isEnabledFor(level):
        fields = {"event": "request", "method": method, "route": route, "status": status, "ms": timings.milliseconds()}
        if code is not None:
            fields["code"] = code
        _log.log(level, "request", extra={"fields": fields})
    service.metrics.observe(
        method=method,
        route=route,
        status=status,
        seconds=timings.total_s,
        stages_s=timings.stages_s,
        code=code,
    )
    if service.tracer is not None and not is_quiet:
        service.tracer.trace(state["visit"], method=method, route=route, status=status, code=code)
