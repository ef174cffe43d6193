"""When a request is sent again, against a real HTTP server that answers as it is told."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vernier import ApiError, AsyncClient, Client, Retry, ServerUnreachableError
from vernier.client.retry import retry_after_s

Answer = tuple[int, dict[str, str], bytes]

READY: Answer = (200, {}, b'{"status": "ready"}')
GOOD: Answer = (200, {}, b'{"hits": [], "gallery": {"name": "default", "items": 0, "version": 0}}')
MADE: Answer = (201, {}, b'{"name": "g", "items": 0, "version": 0, "space": "s", "dim": 8, "index_kind": "flat"}')
HANG_UP: Answer = (0, {}, b"")


def busy(retry_after: str | None = None, *, status: int = 429) -> Answer:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return status, headers, b'{"code": "overloaded", "detail": "too much work", "status": 429}'


class Scripted(ThreadingHTTPServer):
    """Gives the answers of `script` one after the other."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Answer] = []
        self.received: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.received.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        status, headers, body = self.server.script.pop(0)
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815  the name that the library calls

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited for, without waiting."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("vernier.client.sync.sleep", waits.append)
    monkeypatch.setattr("vernier.client.asynchronous.sleep", wait)
    return waits


def test_the_server_says_how_long(scripted: Scripted, slept: list[float]) -> None:
    scripted.script = [busy("7"), busy("2.5", status=503), GOOD]
    with Client(scripted.url) as client:
        assert client.search("red").hits == ()
    assert slept == [7, 2.5]
    assert len(set(scripted.received)) == 1


async def test_the_async_client_waits_as_well(scripted: Scripted, slept: list[float]) -> None:
    scripted.script = [busy("7"), GOOD]
    async with AsyncClient(scripted.url) as client:
        assert (await client.search("red")).hits == ()
    assert slept == [7]


def test_without_a_word_from_the_server_the_wait_doubles(scripted: Scripted, slept: list[float]) -> None:
    scripted.script = [busy(), busy(), busy(), GOOD]
    with Client(scripted.url, retry=Retry(first_wait_s=1, longest_wait_s=3)) as client:
        client.search("red")
    for wait, most in zip(slept, (1, 2, 3), strict=True):
        assert most / 2 <= wait <= most


def test_it_gives_up_after_its_attempts(scripted: Scripted, slept: list[float]) -> None:
    scripted.script = [busy("1")] * 2
    with Client(scripted.url, retry=Retry(attempts=2)) as client, pytest.raises(ApiError) as caught:
        client.search("red")
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (429, "overloaded", 1)
    assert slept == [1]


def test_a_wait_longer_than_wanted_is_not_waited_for(scripted: Scripted, slept: list[float]) -> None:
    scripted.script = [busy("3600")]
    with Client(scripted.url) as client, pytest.raises(ApiError) as caught:
        client.search("red")
    assert caught.value.retry_after_s == 3600
    assert slept == []


@pytest.mark.parametrize("status", [400, 404, 422, 500, 501])
def test_what_would_fail_again_is_not_sent_again(scripted: Scripted, slept: list[float], status: int) -> None:
    scripted.script = [busy("1", status=status)]
    with Client(scripted.url) as client, pytest.raises(ApiError):
        client.search("red")
    assert slept == []


@pytest.mark.parametrize("broken", [HANG_UP, busy(status=502), busy(status=504)])
def test_what_may_have_been_done_is_sent_again_only_if_that_repeats_nothing(
    scripted: Scripted, slept: list[float], broken: Answer
) -> None:
    with Client(scripted.url) as client:
        scripted.script = [broken, GOOD]
        client.search("red")
        assert len(slept) == 1
        scripted.script = [broken]
        with pytest.raises((ApiError, ServerUnreachableError)):
            client.create_gallery("g")
        assert len(slept) == 1
        scripted.script = [busy("1"), MADE]
        assert client.create_gallery("g").name == "g"


def test_not_being_ready_is_an_answer_to_the_question(scripted: Scripted, slept: list[float]) -> None:
    scripted.script = [(503, {"Retry-After": "5"}, b'{"status": 503, "code": "not_ready"}'), READY]
    with Client(scripted.url) as client:
        assert client.health().status == "not_ready"
        assert client.health().status == "ready"
    assert slept == []


def test_an_error_that_is_no_problem_keeps_its_status(scripted: Scripted) -> None:
    scripted.script = [(418, {}, b"<h1>teapot</h1>")]
    with Client(scripted.url) as client, pytest.raises(ApiError, match="418") as caught:
        client.search("red")
    assert (caught.value.code, caught.value.problem) == ("http_418", {})


def test_retry_after_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    wait = retry_after_s({"retry-after": soon})
    assert wait is not None
    assert 0 < wait <= 100
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00"}) == 0


@pytest.mark.parametrize("value", [None, "", "soon", "inf", "nan"])
def test_retry_after_that_says_nothing(value: str | None) -> None:
    assert retry_after_s({} if value is None else {"retry-after": value}) is None
    assert retry_after_s({"retry-after": "-5"}) == 0
