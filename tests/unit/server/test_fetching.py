"""Pictures from addresses, against a real HTTP server that pretends to be anywhere."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpcore
import pytest

from runtime.errors import UsageError
from server.errors import RequestError
from server.fetching import Fetcher, may_reach
from server.settings import load_settings
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import huge_png, jpeg

PUBLIC, OTHER = "93.184.216.34", "8.8.8.8"
NAMES = {"img.test": [PUBLIC], "other.test": [OTHER], "inside.test": ["10.0.0.7"], "half.test": [PUBLIC, "127.0.0.1"]}


class Web(BaseHTTPRequestHandler):
    """Everything that an address may answer."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        asked.append((self.headers["Host"], self.path, dict(self.headers)))
        if path == "/to":
            self._send(302, b"", Location=query)
        elif path == "/endless":
            self._send(302, b"", Location="/endless")
        elif path == "/huge":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x" * 10_000)
        elif path == "/declared":
            self._send(200, b"", **{"Content-Length": "99999999"})
        elif path == "/slow":
            time.sleep(1)
            self._send(200, jpeg())
        elif path == "/packed":
            self._send(200, jpeg(), **{"Content-Encoding": "gzip"})
        elif path == "/bomb":
            self._send(200, huge_png())
        elif path == "/text":
            self._send(200, b"<html>no picture</html>")
        elif path == "/red.jpg":
            self._send(200, jpeg("red"))
        else:
            self._send(404, b"secret page")

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


asked: list[tuple[str, str, dict[str, str]]] = []


@pytest.fixture(scope="module")
def web() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


class Anywhere(httpcore.AnyIOBackend):
    """Connects to the one server, wherever it was told to, and notes where that was."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connected: list[str] = []

    async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> Any:
        self.connected.append(f"{host}:{port}")
        return await super().connect_tcp("127.0.0.1", self.port, *args, **options)


class Names:
    """Resolves names, each time as the list says next."""

    def __init__(self, **later: list[str]) -> None:
        self.resolved: list[str] = []
        self.later = later

    async def __call__(self, host: str) -> list[str]:
        again = host in self.resolved
        self.resolved.append(host)
        return self.later.get(host.partition(".")[0], NAMES[host]) if again else NAMES[host]


def fetcher(web: int, *hosts: str, **options: Any) -> tuple[Fetcher, Anywhere]:
    asked.clear()
    backend = Anywhere(web)
    options = {"resolve": Names(), "max_bytes": 200_000, "timeout_s": 5, **options}
    return Fetcher(hosts or ("img.test", "other.test", "inside.test", "half.test"), backend=backend, **options), backend


async def refusal(fetching: Fetcher, url: str) -> str:
    with pytest.raises(RequestError) as error:
        await fetching.fetch(url)
    assert "secret" not in str(error.value)
    return error.value.code


async def test_a_picture_is_fetched_from_the_address_that_was_checked(web: int) -> None:
    fetching, backend = fetcher(web)
    assert await fetching.fetch("http://img.test/red.jpg?size=1") == jpeg("red")
    assert backend.connected == [f"{PUBLIC}:80"]
    host, path, headers = asked[0]
    assert (host, path) == ("img.test", "/red.jpg?size=1")
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Cookie", "Authorization", "Referer"} & set(headers)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://img.test/a",
        "gopher://img.test/a",
        "http:///a",
        "img.test/a",
        "",
        "http://elsewhere.test/red.jpg",
        "http://img.test.elsewhere.test/",
        "http://elsewhere.test#img.test/",
        "http://img.test@elsewhere.test/",
        "http://user:password@img.test/red.jpg",
        "http://elsewhere.test\\@img.test/",
        "http://img.test:22/red.jpg",
        "http://img.test:999999/",
        "http://127.0.0.1/red.jpg",
        "http://2130706433/",
        "http://[::1]/",
        "http://[::1",
        "http://img.test/a b",
        "http://img.test/\r\nX: y",
        "http://ïmg.test/",
    ],
)
async def test_what_is_not_allowed_is_not_connected_to(web: int, url: str) -> None:
    fetching, backend = fetcher(web)
    assert await refusal(fetching, url) == "url_not_allowed"
    assert backend.connected == []


@pytest.mark.parametrize("url", ["http://inside.test/red.jpg", "http://half.test/red.jpg"])
async def test_a_name_with_a_private_address_is_refused(web: int, url: str) -> None:
    fetching, backend = fetcher(web)
    assert await refusal(fetching, url) == "url_not_allowed"
    assert backend.connected == []
    fetching, backend = fetcher(web, allow_private=True)
    assert await fetching.fetch(url) == jpeg("red")


async def test_a_name_that_changes_its_address_gains_nothing(web: int) -> None:
    names = Names(img=["127.0.0.1"])
    fetching, backend = fetcher(web, resolve=names)
    assert await fetching.fetch("http://img.test/red.jpg") == jpeg("red")
    assert names.resolved == ["img.test"]  # asked once, and connected to what was answered
    assert backend.connected == [f"{PUBLIC}:80"]
    assert await refusal(fetching, "http://img.test/red.jpg") == "url_not_allowed"
    assert len(backend.connected) == 1


async def test_every_hop_is_checked(web: int) -> None:
    fetching, backend = fetcher(web)
    assert await fetching.fetch("http://img.test/to?http://other.test/red.jpg") == jpeg("red")
    assert await fetching.fetch("http://img.test/to?/red.jpg") == jpeg("red")
    assert backend.connected == [f"{PUBLIC}:80", f"{OTHER}:80", f"{PUBLIC}:80", f"{PUBLIC}:80"]
    for target in ("http://elsewhere.test/", "file:///etc/passwd", "http://inside.test/", "http://127.0.0.1:1/"):
        assert await refusal(fetching, f"http://img.test/to?{target}") == "url_not_allowed"
    assert await refusal(fetching, "http://img.test/endless") == "url_failed"


async def test_bytes_and_time_are_bounded(web: int) -> None:
    fetching, _ = fetcher(web, max_bytes=50_000, timeout_s=0.3)
    assert await refusal(fetching, "http://img.test/huge") == "body_too_large"
    assert await refusal(fetching, "http://img.test/declared") == "body_too_large"
    assert await refusal(fetching, "http://img.test/slow") == "url_failed"
    assert await refusal(fetching, "http://img.test/packed") == "url_failed"
    assert await refusal(fetching, "http://img.test/nothing") == "url_failed"


async def test_wildcards_and_ports(web: int) -> None:
    NAMES["a.img.test"] = [PUBLIC]
    fetching, backend = fetcher(web, "*.img.test", "other.test:8080")
    assert await fetching.fetch("http://A.img.test/red.jpg") == jpeg("red")
    assert await fetching.fetch("http://other.test:8080/red.jpg") == jpeg("red")
    assert backend.connected == [f"{PUBLIC}:80", f"{OTHER}:8080"]
    for url in ("http://img.test/red.jpg", "http://aimg.test/", "http://other.test/red.jpg"):
        assert await refusal(fetching, url) == "url_not_allowed"


async def test_nobody_there(web: int) -> None:
    fetching = Fetcher(["localhost:1"], max_bytes=10, timeout_s=5, allow_private=True)
    assert await refusal(fetching, "http://localhost:1/a") == "url_failed"
    fetching = Fetcher(["localhost:1"], max_bytes=10, timeout_s=5)
    assert await refusal(fetching, "http://localhost:1/a") == "url_not_allowed"


@pytest.mark.parametrize(
    ("address", "is_public"),
    [
        (PUBLIC, True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("127.8.9.10", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fc00::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, is_public: bool) -> None:
    assert may_reach(address) is is_public


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"])
def test_link_local_addresses_are_never_reached(address: str) -> None:
    assert not may_reach(address)
    assert not may_reach(address, allow_private=True)


async def test_routes_take_addresses_when_the_operator_allows(tmp_path: Path, web: int) -> None:
    settings = settings_for(tmp_path, url_hosts=f"localhost:{web}", url_private=True)
    async with serving(settings) as client:
        await fill(client)
        image = {"url": f"http://localhost:{web}/red.jpg"}
        found = await client.post("/search", json={"image": image, "top_k": 1})
        assert found.json()["hits"][0]["id"] == "red"
        assert "fetch" in found.json()["timings_ms"]
        stored = await client.put("/galleries/default/items/fetched", json={"image": image})
        assert stored.status_code == 201
        for path, status, code in (
            ("/text", 422, "image_undecodable"),
            ("/bomb", 413, "image_too_large"),
            ("/nothing", 422, "url_failed"),
        ):
            refused = await client.post(
                "/embed", json={"inputs": [{"image": {"url": f"http://localhost:{web}{path}"}}]}
            )
            assert (refused.status_code, refused.json()["code"]) == (status, code)


def test_hosts_are_read_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERNIER_URL_HOSTS", "img.example.org, *.example.com,store:8080")
    assert load_settings().url_hosts == ("img.example.org", "*.example.com", "store:8080")
    for wrong in ("http://img.example.org", "*", "a/b", "*.*.org", "img example"):
        monkeypatch.setenv("VERNIER_URL_HOSTS", wrong)
        with pytest.raises(UsageError, match="VERNIER_URL_HOSTS"):
            load_settings()
