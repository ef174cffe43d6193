"""A gallery goes over to another model while a real server answers: nobody is refused, no answer mixes two spaces."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from index import open_gallery, thumbnail
from runtime.encoder import Encoder
from runtime.engines.fake import PALETTE
from tests.conftest import ROOT
from tests.e2e.conftest import RunningServer, start_program
from tests.unit.vernier.colour_bundle import write_colour_bundle
from vernier import ApiError, AsyncClient, Client

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
PROGRAM = "from server.run import serve; from server.settings import load_settings; serve(load_settings())"
ITEMS = 300


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bundles that agree on what is red and disagree on every number."""
    folder = tmp_path_factory.mktemp("bundles")
    for turn, name in enumerate(("first", "second")):
        write_colour_bundle(folder / name, turn=turn)
    return folder


@pytest.fixture
def server(tmp_path: Path, bundles: Path) -> Iterator[RunningServer]:
    """A server of the first bundle that may go to the second."""
    running = serve(tmp_path, bundles)
    yield running
    running.process.kill()
    running.process.wait()


def serve(folder: Path, bundles: Path) -> RunningServer:
    variables = {"VERNIER_BUNDLE": str(bundles / "first"), "VERNIER_BUNDLES_DIR": str(bundles)}
    return start_program(PROGRAM, folder, **variables, VERNIER_ENGINE_THREADS="1")


def jpeg(colour: str) -> bytes:
    """A picture of nothing but one colour, which either bundle finds by its name with a score of almost 1."""
    return thumbnail(Image.new("RGB", (64, 48), PALETTE[colour]))


def fill(url: str, number: int = ITEMS) -> None:
    parts = [(f"{COLOURS[at % 6]}-{at}", jpeg(COLOURS[at % 6])) for at in range(number)]
    for start in range(0, number, 100):
        files = [(name, (name, data)) for name, data in parts[start : start + 100]]
        answer = httpx.post(f"{url}/galleries/default/items", files=files, timeout=60)
        assert answer.json()["failed"] == 0


class Load:
    """Callers who search, write and delete all the while, and note whatever is not as it should be."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.wrong: list[str] = []
        self.answers = 0
        self.written: dict[str, str] = {}
        self.deleted: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._search, args=(seed,)) for seed in range(3)]
        self._threads.append(threading.Thread(target=self._write))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _search(self, seed: int) -> None:
        draw = random.Random(seed)
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self._stop.is_set():
                colour = draw.choice(COLOURS)
                form = draw.choice(("text", "picture", "item"))
                if form == "picture":
                    answer = client.post("/search", files={"image": ("a.jpg", jpeg(colour))})
                else:
                    at = COLOURS.index(colour)
                    query = {"text": colour} if form == "text" else {"image": {"item": f"{colour}-{at}"}}
                    answer = client.post("/search", json={**query, "top_k": 5})
                self._judge(answer, colour, form)

    def _judge(self, answer: httpx.Response, colour: str, form: str) -> None:
        self.answers += 1
        if answer.status_code != 200:
            self.wrong.append(answer.text)
            return
        hits = answer.json()["hits"]
        if not hits or any(not hit["id"].startswith(colour) or hit["score"] < 0.97 for hit in hits):
            self.wrong.append(f"{form} {colour}: {hits}")

    def _write(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            for at in range(100_000):
                if self._stop.wait(0.02):
                    return
                colour = COLOURS[at % 6]
                name = f"{colour}-new-{at}"
                stored = client.put(f"/galleries/default/items/{name}", files={"image": ("a.jpg", jpeg(colour))})
                found = client.post("/search", json={"image": {"item": name}, "top_k": 1})
                if stored.status_code != 201 or found.status_code != 200 or found.json()["hits"][0]["score"] < 0.999:
                    self.wrong.append(f"{name}: {stored.text} {found.text}")
                self.written[name] = colour
                if at % 5 == 4:
                    if client.delete(f"/galleries/default/items/{name}").status_code != 204:
                        self.wrong.append(f"{name} could not be deleted")
                    self.deleted.add(name)


def vernier(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "vernier", *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


def state(url: str) -> dict:
    return httpx.get(f"{url}/galleries/default/migration").json()


def test_there_and_back_under_load(server: RunningServer, bundles: Path, tmp_path: Path) -> None:
    fill(server.url)
    first = state(server.url)["space"]
    with Load(server.url) as load:
        there = vernier("index", "migrate", "default", "--bundle", "second", "--url", server.url)
        assert there.returncode == 0, there.stderr
        second = state(server.url)
        time.sleep(0.3)
        embedded = httpx.post(f"{server.url}/embed", json={"inputs": [{"text": "red"}]}).json()
        back = vernier("index", "migrate", "default", "--rollback", "--url", server.url)
        assert back.returncode == 0, back.stderr
        time.sleep(0.3)
    assert load.wrong == []
    assert load.answers > 50
    assert len(load.written) > 10
    assert second["space"] != first
    assert (second["state"], second["other_space"], embedded["space"]) == ("done", first, second["space"])
    assert (state(server.url)["space"], state(server.url)["other_space"]) == (first, second["space"])
    server.stop()
    with open_gallery(tmp_path / "galleries" / "default") as gallery:
        assert gallery.verify() == []
        names = {item.id for item in gallery.page(limit=1000).items}
    assert names == {f"{COLOURS[at % 6]}-{at}" for at in range(ITEMS)} | set(load.written) - load.deleted


def test_killed_in_the_middle_it_goes_on_and_the_server_starts_with_either(tmp_path: Path, bundles: Path) -> None:
    running = serve(tmp_path, bundles)
    fill(running.url)
    httpx.post(f"{running.url}/galleries/default/migration", json={"bundle": "second"}).raise_for_status()
    while state(running.url)["done"] < 40:
        time.sleep(0.01)
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    again = serve(tmp_path, bundles)
    assert state(again.url)["state"] == "none"
    assert state(again.url)["other_space"] is not None
    done = vernier("index", "migrate", "default", "--bundle", "second", "--url", again.url)
    assert done.returncode == 0, done.stderr
    second = state(again.url)["space"]
    again.process.kill()  # also before the snapshot of the new vectors may be written
    again.process.wait()
    third = serve(tmp_path, bundles)  # named the first bundle still: the second is found by its space
    assert state(third.url)["space"] == second
    found = httpx.post(f"{third.url}/search", json={"text": "blue", "top_k": 50}).json()["hits"]
    assert len(found) == 50
    assert all(hit["id"].startswith("blue") for hit in found)
    assert httpx.get(f"{third.url}/info").json()["bundle"]["space"] == second
    assert third.stop() == 0


def test_what_cannot_be_done_is_said(server: RunningServer, bundles: Path, tmp_path: Path) -> None:
    fill(server.url, 6)
    at = f"{server.url}/galleries/default/migration"
    refused = [
        (httpx.post(at, json={"bundle": "../bundles/second"}), 404, "unknown_bundle"),
        (httpx.post(at, json={"bundle": "third"}), 404, "unknown_bundle"),
        (httpx.post(at, json={"rollback": True}), 409, "rollback_impossible"),
        (httpx.post(at, json={}), 422, "request_invalid"),
        (httpx.post(f"{server.url}/galleries/nowhere/migration", json={"bundle": "second"}), 404, "unknown_gallery"),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer, _, _ in refused] == [
        (status, code) for _, status, code in refused
    ]
    held = vernier("index", "migrate", str(tmp_path / "galleries" / "default"), "--bundle", str(bundles / "second"))
    assert held.returncode == 1
    assert "is open for writing already" in held.stderr


async def test_through_either_client(server: RunningServer) -> None:
    fill(server.url, 12)
    with Client(server.url) as client:
        first = client.migration().space
        assert client.migration().state == "none"
        going = client.migrate("second")
        while going.state == "running":
            time.sleep(0.01)
            going = client.migration("default")
        assert (going.state, going.bundle, going.done, going.total) == ("done", "second", 12, 12)
        assert going.other_space == first != going.space
        with pytest.raises(ApiError) as caught:
            client.migrate("third")
        assert caught.value.code == "unknown_bundle"
    async with AsyncClient(server.url) as other:
        going = await other.roll_back()
        while going.state == "running":
            await asyncio.sleep(0.01)
            going = await other.migration()
        assert (going.state, going.space) == ("done", first)
        await other.discard_migration()
        assert (await other.migration()).other_space is None


def test_by_hand_when_no_server_has_it(tmp_path: Path, bundles: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for colour in COLOURS:
        Image.new("RGB", (64, 48), PALETTE[colour]).save(pictures / f"{colour}.png")
    gallery = str(tmp_path / "gallery")
    assert vernier("index", "add", gallery, str(pictures), "--bundle", str(bundles / "first")).returncode == 0
    moved = vernier("index", "migrate", gallery, "--bundle", str(bundles / "second"))
    assert moved.returncode == 0, moved.stderr
    second = Encoder.load(bundles / "second", num_threads=1)
    with open_gallery(gallery, space=second.space) as opened:
        found = opened.search(second.embed_texts(["green"]).embedding, top_k=1)
        assert found[0][0].id == "green.png"
        assert opened.verify() == []
    # adding the same pictures with the new bundle embeds nothing again
    again = vernier("index", "add", gallery, str(pictures), "--bundle", str(bundles / "second"))
    assert "6 unchanged" in again.stderr
    assert vernier("index", "migrate", gallery, "--rollback").returncode == 0
    assert vernier("index", "migrate", gallery, "--discard").returncode == 0
    nothing = vernier("index", "migrate", gallery, "--rollback")
    assert nothing.returncode == 1
    assert "no vectors of an earlier model" in nothing.stderr
    assert vernier("index", "migrate", gallery).returncode == 2
