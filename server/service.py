"""What one server holds: its bundle's engines, its galleries, its threads and its counters."""

import asyncio
import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from index import Gallery
from index.cards import Cards
from runtime.encoder import Encoder
from runtime.errors import EngineError, GalleryError, UsageError
from server import work
from server.admission import Admission
from server.byte_cache import ByteCache
from server.door import Door
from server.engine_pool import EnginePool
from server.errors import RequestError
from server.fetching import Fetcher
from server.galleries import DEFAULT, Galleries
from server.gallery_words import GalleryWords
from server.metrics import Metrics
from server.migrations import Migrations
from server.models import Model, Models
from server.rate_limits import RateLimits
from server.searches import Searches
from server.settings import Settings
from server.thread_budget import ThreadBudget
from server.upkeep import Upkeep
from server.version import version_of_vernier
from server.workers import Workers

if TYPE_CHECKING:
    from server.seeing import Seen
    from server.tracing import Tracer

_log = logging.getLogger(__name__)

_CANARY_PAUSE_S = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class Service:
    """Made empty; `start` makes it ready, `close` ends it."""

    models: Models
    migrations: Migrations
    engines: EnginePool
    cards: Cards
    galleries: Galleries
    searches: Searches
    fetcher: Fetcher
    seen: "ByteCache[Seen]"
    tracer: "Tracer | None" = None

    def __init__(self, settings: Settings, *, encoder: Encoder | None = None) -> None:
        """Prepare.

        Args:
            settings: what the operator wants.
            encoder: used instead of loading `settings.bundle`.
        """
        self.settings = settings
        self.metrics = Metrics()
        self.admission = Admission(
            max_waiting=settings.max_waiting,
            max_wait_s=None if settings.max_wait_ms is None else settings.max_wait_ms / 1000,
        )
        self.rate_limits = RateLimits(per_s=settings.rate_limit, burst=settings.rate_burst)
        self.door = Door(self)
        self.threads = ThreadBudget.of(settings)
        self.is_draining = False
        self.gallery_words = GalleryWords()
        self.told_to_fill: set[str] = set()
        self._encoder = encoder
        self._store: Workers | None = None
        self._pinned: dict[str, tuple[Gallery, Service]] = {}

    def start(self) -> None:
        """Load the bundle, open the galleries and run every graph once. Does nothing when that is done.

        Raises:
            UsageError: no bundle was named.
            BundleError: the bundle cannot be served.
            EngineError: a graph does not run.
            GalleryError: the default gallery cannot be opened.
        """
        if self._store is not None:
            return
        settings = self.settings
        encoder = self._encoder or self._load()
        self.models = Models(settings.bundles_dir, load=self._read, start=self._model)
        model = self.models.add(encoder)
        self.engines, self.seen = model.engines, model.seen
        self.cards = Cards(settings.gpu_search)
        self.metrics.gpu_search_fallback.set_function(lambda: self.cards.fallback is not None)
        self.galleries = Galleries(
            settings.galleries_dir,
            default=settings.gallery,
            space=encoder.space,
            dim=encoder.dim,
            has_model=lambda space: self.models.find(space) is not None,
            cards=self.cards,
            patch_tokens=settings.patch_tokens,
        )
        self.upkeep = Upkeep(self.galleries)
        self.migrations = Migrations(self.galleries, self.models)
        self.fetcher = Fetcher(
            settings.url_hosts,
            max_bytes=settings.max_body_bytes,
            timeout_s=settings.url_timeout_s,
            allow_private=settings.url_private,
        )
        self.searches = Searches(
            num_loops=self.threads.search, max_batch_s=settings.max_batch_ms / 1000, watcher=self.metrics
        )
        if settings.otlp_endpoint:
            from server.tracing import Tracer  # not paid for by who has no collector

            self.tracer = Tracer(settings.otlp_endpoint, version=version_of_vernier(), bundle=encoder.manifest.name)
        self._store = Workers("store", settings.store_workers)
        _log.info(
            "ready",
            extra={
                "fields": {
                    "event": "ready",
                    "bundle": encoder.manifest.name,
                    "providers": {name: engine.provider for name, engine in encoder.engines.items()},
                    "galleries": {name: g.info().items for name, g in self.galleries.all().items()},
                }
            },
        )

    def at(self, gallery: str) -> "Service":
        """Return the service as it is now for requests on one gallery: that gallery, and the model of its space.

        A request that asks it throughout sees one model with vectors of its space, also when the gallery is moved to
        another one meanwhile.
        """
        try:
            current = self.galleries.get(gallery)
        except GalleryError:
            self._pinned.pop(gallery, None)
            return self  # whoever needs the gallery is told that there is none
        known = self._pinned.get(gallery)
        if known is None or known[0] is not current:
            known = self._pinned[gallery] = self._pin(gallery)
        return known[1]

    def _pin(self, name: str) -> "tuple[Gallery, Service]":
        """Return a gallery as it is now, with the service whose engines are of its space."""
        pinned = copy.copy(self)
        pinned.galleries = self.galleries.pinned(name)
        gallery = pinned.galleries.get(name)
        model = self.models.of(gallery.space)
        pinned.engines, pinned.seen = model.engines, model.seen
        return gallery, pinned

    @property
    def encoder(self) -> Encoder:
        """The encoder that is served."""
        return self.engines.encoder

    @property
    def is_started(self) -> bool:
        """Whether `start` is done and `close` is not."""
        return self._store is not None

    @property
    def is_ready(self) -> bool:
        """Whether requests are taken."""
        if self._store is None or self.is_draining:
            return False
        return not self.searches.has_failed and not any(model.engines.has_failed for model in self.models.all())

    async def check_life(self) -> None:
        """Make sure that a picture and a text get all the way through decoding, tokenising, the engines and a search.

        Nothing is run while batches finish anyway.

        Raises:
            RequestError: `not_ready` when they do not, in `canary_timeout_s`.
        """
        if self._store is None or (self.engines.idle_s < _CANARY_PAUSE_S and not self.searches.has_failed):
            return
        with work.doing(work.Work()):
            try:
                async with asyncio.timeout(self.settings.canary_timeout_s):
                    vector = await self.engines.canary()
                    await self.searches.canary(self.galleries.get(DEFAULT), vector)
            except GalleryError:
                pass  # that is the gallery's trouble, and whoever asks it is told
            except TimeoutError:
                raise RequestError("the engines answer no more.", code="not_ready") from None
            except EngineError:
                raise RequestError("the engine failed.", code="not_ready") from None

    def check_ready(self) -> None:
        """Let work in once the server has started; also while it ends, for what still comes, and after a failure.

        Raises:
            RequestError: `not_ready`.
        """
        if self._store is None:
            raise RequestError("the server is starting.", code="not_ready", headers={"Retry-After": "5"})

    async def store(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call that may wait for a gallery's disk or search."""
        assert self._store is not None
        return await self._store.run(call, *args, **kwargs)

    def close(self) -> None:
        """Wait for the work in hand, close the galleries and end the threads."""
        if self._store is not None:
            self.upkeep.stop()
            self.migrations.close()
            self.models.close()
            self.searches.close()
            self._store.close()
            self.galleries.close()
            self._pinned.clear()
            self.upkeep.join()
            self.cards.close()
            self._store = None
            if self.tracer is not None:
                self.tracer.close()
                self.tracer = None

    def _load(self) -> Encoder:
        settings = self.settings
        if settings.bundle is None:
            raise UsageError("no bundle was named; set VERNIER_BUNDLE or use `vernier serve --bundle DIR`.")
        return self._read(settings.bundle)

    def _read(self, bundle: Path) -> Encoder:
        return Encoder.load(
            bundle,
            provider=self.settings.provider,
            num_threads=self.threads.engine,
            allow_fallback=self.settings.provider_fallback,
        )

    def _model(self, encoder: Encoder) -> Model:
        """Give an encoder its threads and caches, and run every graph once."""
        settings = self.settings
        for_texts, for_pictures = settings.cache_bytes // 4, settings.cache_bytes - settings.cache_bytes // 4
        engines = EnginePool(
            encoder,
            engine_workers=self.threads.engine_workers,
            decode_workers=self.threads.decode,
            judge_workers=settings.judge_workers,
            max_batch_s=settings.max_batch_ms / 1000,
            watcher=self.metrics,
            texts=ByteCache(for_texts, on_lookup=lambda hit: self.metrics.cache_asked("texts", has_it=hit)),
        )
        engines.warm_up()
        for name, graph in encoder.manifest.graphs.items():
            self.metrics.engine.labels(name, encoder.engines[name].provider, graph.precision).set(1)
        self.metrics.engine_fallback.set(encoder.fallback is not None)
        seen: ByteCache[Seen] = ByteCache(
            for_pictures, on_lookup=lambda hit: self.metrics.cache_asked("pictures", has_it=hit)
        )
        return Model(engines, seen)
