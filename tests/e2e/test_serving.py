"""A real process on a real socket: it answers beside bad input, drains when told to stop, and keeps what it has."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from tests.conftest import ROOT
from tests.e2e.conftest import PROGRAM, RunningServer, start_server
from tests.unit.server.drawing import huge_png, jpeg


def fill(url: str, *colours: str) -> None:
    for colour in colours:
        path = f"{url}/galleries/default/items/{colour}"
        files = {"image": (f"{colour}.jpg", jpeg(colour)), "text": (None, f"a {colour} square")}
        assert httpx.put(path, files=files).status_code == 201


def best(url: str, text: str) -> str:
    answer = httpx.post(f"{url}/search", json={"text": text, "top_k": 1})
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"][0]["id"]


def test_what_is_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    first = start_server(tmp_path)
    fill(first.url, "red", "blue")
    first.process.kill()
    first.process.wait()
    second = start_server(tmp_path)
    assert best(second.url, "blue") == "blue"
    assert second.stop() == 0


def test_sigterm_finishes_what_is_at_work_and_exits_0(server: RunningServer) -> None:
    fill(server.url, "red")
    host, port = server.url.removeprefix("http://").split(":")
    body = b'{"text": "red"}'
    head = f"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body[:4])
        time.sleep(0.3)
        ended: list[int] = []
        stopping = threading.Thread(target=lambda: ended.append(server.stop()))
        stopping.start()
        time.sleep(0.5)
        connection.sendall(body[4:])
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        stopping.join()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"id":"red"' in answer
    assert ended == [0]


def test_a_request_that_never_ends_does_not_hold_the_server(tmp_path: Path) -> None:
    server = start_server(tmp_path, VERNIER_SHUTDOWN_TIMEOUT_S="1")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        time.sleep(0.3)
        assert server.stop() == 0


def test_bad_input_over_the_wire_leaves_the_server_well(server: RunningServer) -> None:
    fill(server.url, "red", "green")
    url = server.url
    json_type = {"Content-Type": "application/json"}
    sent = [
        (httpx.post(f"{url}/search", files={"image": ("a", b"no picture")}), 422, "image_undecodable"),
        (httpx.post(f"{url}/search", files={"image": ("a", jpeg()[:700])}), 422, "image_undecodable"),
        (httpx.post(f"{url}/search", files={"image": ("a", huge_png())}), 413, "image_too_large"),
        (httpx.post(f"{url}/search", json={"text": ""}), 422, "text_empty"),
        (httpx.post(f"{url}/search", json={"text": "red " * 10_000}), 422, "text_too_long"),
        (httpx.post(f"{url}/search", json={"text": "red", "gallery": "nowhere"}), 404, "unknown_gallery"),
        (httpx.post(f"{url}/search", content=b"{", headers=json_type), 400, "json_invalid"),
        (httpx.post(f"{url}/search", content=b" " * 11_000_000, headers=json_type), 413, "body_too_large"),
        (httpx.post(f"{url}/search", content=b"red"), 415, "content_type_unsupported"),
    ]
    for answer, status, code in sent:
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert best(url, "green") == "green"
    assert server.stop() == 0
    assert not any(line["level"] == "error" for line in server.log_lines())


def test_broken_requests_do_no_harm(server: RunningServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for raw in (
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /search HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(raw)
            connection.settimeout(5)
            assert b" 200 " not in connection.recv(65536)[:16]
    with socket.create_connection((host, int(port))) as connection:  # leaves in the middle
        connection.sendall(
            b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
    fill(server.url, "red")
    assert best(server.url, "red") == "red"
    assert "vernier_requests_in_flight 0.0" in httpx.get(f"{server.url}/metrics").text


def test_writers_and_searchers_at_once(server: RunningServer) -> None:
    colours = ("red", "green", "blue", "yellow", "purple", "orange")
    failures: list[str] = []

    def work(number: int) -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            for turn in range(8):
                colour = colours[(number + turn) % len(colours)]
                stored = client.put(f"/galleries/default/items/{colour}", files={"image": ("a", jpeg(colour))})
                found = client.post("/search", json={"text": colour, "top_k": 1})
                broken = client.post("/search", files={"image": ("a", jpeg(colour)[:500])})
                if stored.status_code not in (200, 201) or found.json()["hits"][0]["id"] != colour:
                    failures.append(f"{stored.text} {found.text}")
                if broken.status_code != 422:
                    failures.append(broken.text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_address_in_use_is_told_plainly(server: RunningServer, tmp_path: Path) -> None:
    port = server.url.rpartition(":")[2]
    environment = {**os.environ, "VERNIER_PORT": port, "VERNIER_GALLERIES_DIR": str(tmp_path / "other")}
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"port {port} cannot be listened on" in done.stderr
    assert not (tmp_path / "other").exists()
