"""Serving until told to stop."""

import contextlib
import logging
import signal
from collections.abc import Iterator
from types import FrameType

import uvicorn

from runtime.encoder import Encoder
from server import logs
from server.app import create_app
from server.service import Service
from server.settings import Settings, unknown_variables

_log = logging.getLogger(__name__)


def serve(settings: Settings, *, encoder: Encoder | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests at work are finished first, within `shutdown_timeout_s`.

    Args:
        settings: what the operator wants.
        encoder: used instead of loading `settings.bundle`.

    Raises:
        VernierError: the service cannot start.
    """
    logs.configure(settings.log_level)
    for name in unknown_variables():
        _log.warning("unknown setting", extra={"fields": {"event": "unknown_setting", "name": name}})
    service = Service(settings, encoder=encoder)
    service.start()
    config = uvicorn.Config(
        create_app(settings, service=service),
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout_s)),
    )
    try:
        _Server(config, service).run()
    finally:
        service.close()


class _Server(uvicorn.Server):
    """Uvicorn that says it is draining as soon as it is told to stop, and then ends as any program that is done."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal; a second SIGINT stops at once."""
        self._service.is_draining = True
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals while serving. Uvicorn would raise them again afterwards, and so end by signal."""
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)
