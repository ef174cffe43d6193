"""Serving until told to stop."""

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import uvicorn

from runtime.encoder import Encoder
from runtime.errors import UsageError
from server import logs
from server.app import create_app
from server.protocol import Protocol
from server.service import Service
from server.settings import Settings, unknown_variables

_SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the interpreter while the event loop wants it; Python's own 5 ms is a long time."""

_log = logging.getLogger(__name__)


def serve(settings: Settings, *, encoder: Encoder | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests at work are finished first, within `shutdown_timeout_s`.

    Args:
        settings: what the operator wants.
        encoder: used instead of loading `settings.bundle`.

    Raises:
        UsageError: `address_unusable` when nobody can listen on the host and port.
        VernierError: the service cannot start.
    """
    logs.configure(settings.log_level)
    for name in unknown_variables():
        _log.warning("unknown setting", extra={"fields": {"event": "unknown_setting", "name": name}})
    if os.environ.get("WEB_CONCURRENCY", "1") != "1":
        _log.warning(
            "one process serves, whatever WEB_CONCURRENCY says: its batches gather the requests of all clients; start "
            "more servers for more processes, of which one writes a gallery and the others follow",
            extra={"fields": {"event": "one_process"}},
        )
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    service = Service(settings, encoder=encoder)
    with _listening(settings) as listener:
        service.start()
        _keep_what_is_there()
        config = uvicorn.Config(
            create_app(settings, service=service),
            http=Protocol,
            proxy_headers=False,  # the protocol reads them, before the door
            loop="uvloop",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout_s)),
        )
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        _log.info("listening", extra={"fields": {"event": "listening", "url": url}})
        try:
            _Server(config, service).run(sockets=[listener])
        finally:
            service.close()


def _keep_what_is_there() -> None:
    """Take what is loaded now out of the garbage collector's sight: looking through it stops everybody for 0.1 s."""
    gc.collect()
    gc.freeze()


def _listening(settings: Settings) -> socket.socket:
    """Take the address before anything slow is done; who connects before the server is ready is refused."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"{settings.host} port {settings.port} cannot be listened on ({error.strerror}); choose another with "
            "--host and --port, or stop what listens there.",
            code="address_unusable",
        ) from error
    listener.set_inheritable(False)
    return listener


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
