"""What Prometheus is told. One registry per application, so that several may live in one process."""

import functools
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


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
        self.queue_depth = Gauge(
            "vernier_queue_depth", "Rows or calls that wait, by graph or kind of thread.", ("queue",), registry=registry
        )
        self.batch_rows = Histogram(
            "vernier_batch_rows", "Rows of the batches that ran.", ("graph",), buckets=_ROWS, registry=registry
        )
        self.batch_seconds = Histogram(
            "vernier_batch_seconds",
            "Seconds that batches ran.",
            ("graph",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.rows_dropped = Counter(
            "vernier_rows_dropped",
            "Rows that did not run: nobody waited any more, or their time was up.",
            ("graph", "reason"),
            registry=registry,
        )
        self.loop_restarts = Counter(
            "vernier_loop_restarts", "Batch loops that died and were started again.", ("loop",), registry=registry
        )
        self.cache_lookups = Counter(
            "vernier_cache_lookups", "Questions to a cache.", ("cache", "result"), registry=registry
        )
        self.cache_bytes = Gauge("vernier_cache_bytes", "Bytes that a cache holds.", ("cache",), registry=registry)
        self.pictures_read = Counter(
            "vernier_pictures_read",
            "Stored pictures that rerank or explain had to look at, because the gallery keeps no features of them.",
            registry=registry,
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
        self.engine_fallback = Gauge(
            "vernier_engine_fallback",
            "1 when the graphs do not run on the provider that was asked for; /info says why.",
            registry=registry,
        )
        self.gpu_search_fallback = Gauge(
            "vernier_gpu_search_fallback",
            "1 when the CPU searches although a GPU was asked for or is there; /info says why.",
            registry=registry,
        )

        # Looked up for every request: the library's own way there takes a lock and several times as long.
        self._requests = functools.cache(self.requests.labels)
        self._request_seconds = functools.cache(self.request_seconds.labels)
        self._rejected = functools.cache(self.rejected.labels)
        self._stage_seconds = functools.cache(self.stage_seconds.labels)
        self._batch_rows = functools.cache(self.batch_rows.labels)
        self._batch_seconds = functools.cache(self.batch_seconds.labels)

    def observe(
        self, *, method: str, route: str, status: int, seconds: float, stages_s: Mapping[str, float], code: str | None
    ) -> None:
        """Count one answered request."""
        self._requests(method, route, str(status)).inc()
        self._request_seconds(route).observe(seconds)
        for stage, stage_seconds in stages_s.items():
            self._stage_seconds(stage).observe(stage_seconds)
        if code is not None:
            self._rejected(code).inc()

    def batch_done(self, graph: str, *, rows: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_rows(graph).observe(rows)
        self._batch_seconds(graph).observe(seconds)

    def dropped(self, graph: str, reason: str) -> None:
        """Count a row that did not run."""
        self.rows_dropped.labels(graph, reason).inc()

    def restarted(self, name: str) -> None:
        """Count a loop that died and was started again."""
        self.loop_restarts.labels(name).inc()

    def cache_asked(self, cache: str, *, has_it: bool) -> None:
        """Count one question to a cache."""
        self.cache_lookups.labels(cache, "hit" if has_it else "miss").inc()

    def set_queues(self, depths: Mapping[str, int]) -> None:
        """Replace the depths of the queues."""
        for name, depth in depths.items():
            self.queue_depth.labels(name).set(depth)

    def set_galleries(self, items: Mapping[str, int]) -> None:
        """Replace the sizes of the galleries."""
        self.gallery_items.clear()
        for name, count in items.items():
            self.gallery_items.labels(name).set(count)

    def exposition(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)
