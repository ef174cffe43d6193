"""Traces for an OpenTelemetry collector: a span per request, its stages below, and what each stage waited for and ran.

Imported only when a collector is named. A trace says what happened and how long it took, and never what was sent: no
path, query, text, picture or key. Spans are made of the stopwatch's notes once the request is answered.
"""

import time
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from server.door import Visit

_PATH = "/v1/traces"
_TIMEOUT_S = 5.0
_PARENTS = TraceContextTextMapPropagator()


class Tracer:
    """Makes spans and sends them in the background, in batches; a collector that is away costs the spans alone."""

    def __init__(self, endpoint: str, *, version: str, bundle: str) -> None:
        """Begin.

        Args:
            endpoint: address of the collector, such as `http://collector:4318`; `/v1/traces` is added.
            version: of this program.
            bundle: name of the bundle that is served.
        """
        url = endpoint.rstrip("/")
        names = {"service.name": "vernier", "service.version": version, "vernier.bundle": bundle}
        # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and OTEL_EXPORTER_OTLP_HEADERS are obeyed.
        self._provider = TracerProvider(resource=Resource(names).merge(Resource.create()), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(url if url.endswith(_PATH) else url + _PATH, timeout=_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("vernier.server")

    def trace(self, visit: "Visit", *, method: str, route: str, status: int, code: str | None) -> None:
        """Make the spans of a request that has just been answered."""
        timings = visit.timings
        offset_ns = time.time_ns() - time.perf_counter_ns()

        def at(moment_s: float) -> int:
            return int(moment_s * 1e9) + offset_ns

        caller = _PARENTS.extract({name: visit.text(name.encode()) or "" for name in ("traceparent", "tracestate")})
        request = self._tracer.start_span(
            f"{method} {route}",
            context=caller,
            kind=SpanKind.SERVER,
            start_time=at(timings.started_s),
            attributes={
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "vernier.request_id": visit.identity,
                **({} if code is None else {"error.type": code}),
            },
        )
        if status >= 500:
            request.set_status(Status(StatusCode.ERROR))
        if request.is_recording():
            below_request = trace.set_span_in_context(request)
            stages = [
                (span, self._tracer.start_span(span.name, context=below_request, start_time=at(span.began_s)))
                for span in timings.spans
                if span.is_stage
            ]
            for span in timings.spans:
                if not span.is_stage:
                    around = [made for stage, made in stages if stage.began_s <= span.began_s <= stage.ended_s]
                    context = trace.set_span_in_context(around[-1]) if around else below_request
                    made = self._tracer.start_span(span.name, context=context, start_time=at(span.began_s))
                    made.end(at(span.ended_s))
            for stage, made in stages:
                made.end(at(stage.ended_s))
        request.end(at(time.perf_counter()))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
