"""A real server on a real socket, with an encoder that needs no weights."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from PIL import Image

from runtime.engines.fake import PALETTE, fake_encoder
from server.app import create_app
from server.service import Service
from server.settings import load_settings


@dataclass(frozen=True)
class Running:
    """A server that answers at `url`."""

    url: str
    service: Service


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose default gallery is empty at first."""
    yield from serving(tmp_path_factory.mktemp("galleries"))


def serving(galleries: Path, **settings: object) -> Iterator[Running]:
    """Serve until the generator goes on."""
    service = Service(load_settings(galleries_dir=galleries, **settings), encoder=fake_encoder())
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(service.settings, service=service), log_level="warning", ws="none")
    instance = uvicorn.Server(config)
    thread = threading.Thread(target=instance.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not instance.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", service)
    finally:
        instance.should_exit = True
        thread.join(timeout=20)
        listener.close()


def picture(colour: str, *, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture of one colour that the fake model knows."""
    return Image.new("RGB", size, PALETTE[colour])


@pytest.fixture
def unused_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
