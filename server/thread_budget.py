"""How many threads do what, so that decoding, engines and search share the cores instead of fighting over them."""

from dataclasses import dataclass

from runtime.cores import available_cores
from server.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadBudget:
    """Threads by their work; what runs on the event loop itself is not counted.

    Attributes:
        cores: that this process may use.
        engine_workers: batches that engines run at the same time.
        engine: threads within one engine call.
        decode: pictures decoded at the same time, on one thread each.
        search: batches of searches at the same time; FAISS runs each on one thread.
    """

    cores: int
    engine_workers: int
    engine: int
    decode: int
    search: int

    @classmethod
    def of(cls, settings: Settings) -> "ThreadBudget":
        """Return what the settings say; where they leave it open, the cores are shared out."""
        cores = available_cores()
        return cls(
            cores=cores,
            engine_workers=settings.engine_workers,
            engine=settings.engine_threads or max(1, cores // settings.engine_workers),
            decode=settings.decode_workers or cores,
            search=settings.search_workers,
        )
