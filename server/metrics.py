"""What Prometheus is told. One registry per application, so that several may live in one process."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The server's metrics."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "vernier_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "vernier_request_seconds",
            "Seconds from the first byte to the answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "vernier_stage_seconds",
            "Seconds that a stage of a request took.",
            ("stage",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.rejected = Counter(
            "vernier_rejected", "Requests answered with a problem, by its code.", ("code",), registry=registry
        )
        self.in_flight = Gauge("vernier_requests_in_flight", "Requests at work or waiting.", registry=registry)
        self.ready = Gauge("vernier_ready", "1 while the server takes work.", registry=registry)
        self.gallery_items = Gauge("vernier_gallery_items", "Items in a gallery.", ("gallery",), registry=registry)
        self.engine = Gauge(
            "vernier_engine",
            "1 for each graph, with what really runs it.",
            ("graph", "provider", "precision"),
            registry=registry,
        )

    def observe(
        self, *, method: str, route: str, status: int, seconds: float, stages_s: Mapping[str, float], code: str | None
    ) -> None:
        """Count one answered request."""
        self.requests.labels(method, route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)
        for stage, stage_seconds in stages_s.items():
            self.stage_seconds.labels(stage).observe(stage_seconds)
        if code is not None:
            self.rejected.labels(code).inc()

    def set_galleries(self, items: Mapping[str, int]) -> None:
        """Replace the sizes of the galleries."""
        self.gallery_items.clear()
        for name, count in items.items():
            self.gallery_items.labels(name).set(count)

    def exposition(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)
