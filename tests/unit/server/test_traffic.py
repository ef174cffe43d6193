"""Many clients at once, clients that leave, clients in a hurry, engines that die: seen over HTTP."""

import asyncio
import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from index import LocalGallery
from runtime.encoder import Encoder
from runtime.engines.fake import fake_encoder
from server.app import create_app
from server.service import Service
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import jpeg


class Held:
    """A graph of the fake model that counts its calls, can be held, and can be made to die."""

    provider = "fake"

    def __init__(self, encoder: Encoder, graph: str) -> None:
        self.inner = encoder.engines[graph]
        self.may_run = threading.Event()
        self.may_run.set()
        self.rows: list[int] = []
        self.dies = False
        encoder.engines[graph] = self

    def run(self, inputs: Any, outputs: Any = None) -> Any:
        self.rows.append(len(next(iter(inputs.values()))))
        assert self.may_run.wait(20)
        if self.dies:
            raise SystemExit
        return self.inner.run(inputs) if outputs is None else self.inner.run(inputs, outputs)


async def until(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass")


async def metric(client: httpx.AsyncClient, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", (await client.get("/metrics")).text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


async def test_requests_of_all_clients_meet_in_batches(tmp_path: Path) -> None:
    encoder = fake_encoder()
    texts = Held(encoder, "text_encoder")
    async with serving(settings_for(tmp_path), encoder) as client:
        await fill(client)
        texts.rows.clear()
        texts.may_run.clear()
        colours = ["red", "green", "blue", "yellow"] * 4
        waiting = [asyncio.create_task(client.post("/search", json={"text": f"a {colour}"})) for colour in colours]
        queued = 0.0
        while sum(texts.rows) + queued < 16:
            await asyncio.sleep(0.01)
            queued = await metric(client, 'vernier_queue_depth{queue="text_encoder"}')
        texts.may_run.set()
        answers = [await task for task in waiting]
        assert [answer.json()["hits"][0]["id"] for answer in answers] == colours
        assert sum(texts.rows) == 16
        assert len(texts.rows) <= 2  # what was there first, and all the rest; or all at once
        assert await metric(client, 'vernier_batch_rows_count{graph="text_encoder"}') == len(texts.rows) + 4


async def test_one_broken_picture_among_many_fails_alone(client: httpx.AsyncClient) -> None:
    files = [jpeg("red") if at % 4 else jpeg("red")[:600] for at in range(16)]
    answers = await asyncio.gather(*(client.post("/search", files={"image": ("a.jpg", file)}) for file in files))
    assert [answer.status_code for answer in answers] == [422, 200, 200, 200] * 4


async def test_a_client_in_a_hurry_says_so(tmp_path: Path) -> None:
    encoder = fake_encoder()
    texts = Held(encoder, "text_encoder")
    async with serving(settings_for(tmp_path), encoder) as client:
        texts.rows.clear()
        texts.may_run.clear()
        held = asyncio.create_task(client.post("/search", json={"text": "red"}))
        await until(lambda: texts.rows)
        started = time.monotonic()
        late = await client.post("/search", params={"timeout_ms": 100}, json={"text": "blue"})
        assert (late.status_code, late.json()["code"]) == (504, "timed_out")
        assert time.monotonic() - started < 5
        texts.may_run.set()
        assert (await held).status_code == 200
        assert (await client.get("/galleries/default/items", params={"timeout_ms": 1000})).status_code == 200
        assert (await client.post("/search", json={"text": "green"})).status_code == 200
        assert texts.rows == [1, 1]  # "blue" never ran
        assert await metric(client, 'vernier_rows_dropped_total{graph="text_encoder",reason="abandoned"}') == 1


@pytest.mark.parametrize("wrong", ["", "0", "-5", "soon", "1e3", "99999999", "٣"])
async def test_a_timeout_is_a_number_of_milliseconds(client: httpx.AsyncClient, wrong: str) -> None:
    answer = await client.post("/search", params={"timeout_ms": wrong}, json={"text": "red"})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["errors"][0]["field"] == "timeout_ms"


async def call_and_leave(app: Any, body: bytes) -> tuple[asyncio.Task[None], asyncio.Event, list[Any]]:
    """Send a request straight to the application; the event makes its client leave."""
    leave, answers = asyncio.Event(), []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/search",
        "raw_path": b"/search",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    return asyncio.create_task(app(scope, receive, send)), leave, answers


async def test_work_of_a_client_that_left_never_reaches_the_engine(tmp_path: Path) -> None:
    encoder = fake_encoder()
    texts = Held(encoder, "text_encoder")
    service = Service(settings_for(tmp_path), encoder=encoder)
    app = create_app(service.settings, service=service)
    async with app.router.lifespan_context(app):
        texts.rows.clear()
        texts.may_run.clear()
        first, _, _ = await call_and_leave(app, b'{"text": "red"}')
        await until(lambda: texts.rows)
        second, leave, answers = await call_and_leave(app, b'{"text": "blue"}')
        await until(lambda: service.engines.waiting()["text_encoder"] == 1)
        leave.set()
        await asyncio.wait_for(second, 5)
        assert answers == []
        assert service.admission.inside == 1
        texts.may_run.set()
        await asyncio.wait_for(first, 5)
        await service.engines.text_features(["a"])
        assert texts.rows == [1, 1]
        assert 'status="499"' in service.metrics.exposition().decode()


async def test_a_loop_that_dies_is_told_and_begins_anew(tmp_path: Path) -> None:
    encoder = fake_encoder()
    texts = Held(encoder, "text_encoder")
    async with serving(settings_for(tmp_path), encoder) as client:
        texts.dies = True
        failed = await client.post("/search", json={"text": "red"})
        assert (failed.status_code, failed.json()["code"]) == (503, "engine_failed")
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 503
        assert await metric(client, "vernier_ready") == 0
        texts.dies = False
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.post("/search", json={"text": "red"})).status_code == 200
        assert await metric(client, 'vernier_loop_restarts_total{loop="engine"}') >= 1


async def test_liveness_goes_all_the_way_and_notices_a_stuck_engine(tmp_path: Path) -> None:
    encoder = fake_encoder()
    images = Held(encoder, "image_encoder")
    service = Service(settings_for(tmp_path, canary_timeout_s=0.3), encoder=encoder)
    async with serving(service.settings, encoder) as client:
        images.rows.clear()
        await asyncio.sleep(1.1)
        assert (await client.get("/health/live")).status_code == 200
        assert images.rows == [1]
        assert (await client.get("/health/live")).status_code == 200
        assert images.rows == [1]  # it was seen to work a moment ago
        images.may_run.clear()
        await asyncio.sleep(1.1)
        stuck = await client.get("/health/live")
        assert (stuck.status_code, stuck.json()["code"]) == (503, "not_ready")
        images.may_run.set()
        await asyncio.sleep(0.1)
        assert (await client.get("/health/live")).status_code == 200


async def test_overload_is_refused_by_the_wait_it_would_mean(tmp_path: Path) -> None:
    encoder = fake_encoder()
    texts = Held(encoder, "text_encoder")
    async with serving(settings_for(tmp_path, max_wait_ms=50), encoder) as client:
        for at in range(20):
            assert (await client.post("/search", json={"text": f"red {at}"})).status_code == 200
        texts.may_run.clear()
        waiting = [asyncio.create_task(client.post("/search", json={"text": f"blue {at}"})) for at in range(200)]
        done, pending = await asyncio.wait(waiting, timeout=2)
        assert pending
        assert done
        assert {task.result().json()["code"] for task in done} == {"overloaded"}
        assert all(int(task.result().headers["retry-after"]) >= 1 for task in done)
        texts.may_run.set()
        assert {(await task).status_code for task in pending} == {200}
        assert await metric(client, 'vernier_rejected_total{code="overloaded"}') == len(done)


async def test_stages_sum_to_the_total(client: httpx.AsyncClient) -> None:
    asked = {"text": "a red square", "rerank": 2, "explain": True}
    answers = [
        await client.post("/search", json=asked),
        await client.post("/search/batch", json={"queries": [asked, {"text": "blue"}]}),
        await client.post("/proofread", json={"text": "a red square", "image": {"item": "red"}}),
        await client.put("/galleries/default/items/new", files={"image": ("a.jpg", jpeg("red"))}),
    ]
    for answer in answers:
        stages = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]))
        total = float(stages.pop("total"))
        assert sum(map(float, stages.values())) == pytest.approx(total, abs=0.01)
        assert "other" in stages
    assert "queue" in answers[0].json()["timings_ms"]


async def test_a_search_loop_that_dies_is_told_and_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(settings_for(tmp_path)) as client:
        with monkeypatch.context() as patched:
            patched.setattr(LocalGallery, "search", _die)
            failed = await client.post("/search", json={"text": "red"})
            assert (failed.status_code, failed.json()["code"]) == (503, "engine_failed")
            assert (await client.get("/health/ready")).status_code == 503
            assert (await client.get("/health/live")).status_code == 503
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.post("/search", json={"text": "red"})).status_code == 200
        assert await metric(client, 'vernier_loop_restarts_total{loop="search"}') >= 1


def _die(*_: object, **__: object) -> None:
    raise SystemExit


async def test_it_is_ready_when_every_graph_has_run_at_every_length(tmp_path: Path) -> None:
    encoder = fake_encoder(word_maps=True)
    lengths: dict[str, set[int]] = {name: set() for name in encoder.engines}

    class Measured:
        provider = "fake"

        def __init__(self, name: str) -> None:
            self.name, self.inner = name, encoder.engines[name]

        def run(self, inputs: Any, *outputs: Any) -> Any:
            lengths[self.name].add(inputs["mask"].shape[1] if "mask" in inputs else 0)
            return self.inner.run(inputs, *outputs)

    encoder.engines.update({name: Measured(name) for name in encoder.engines})
    async with serving(settings_for(tmp_path), encoder) as client:
        warm = {name: set(found) for name, found in lengths.items()}
        assert (await client.get("/health/ready")).status_code == 200
    longest = encoder.manifest.text.max_subwords
    buckets = {length for length in (8, 16, 24, 32, 48, 64, 96, 128, 192, 256) if length < longest} | {longest}
    assert warm == {"image_encoder": {0}, "text_encoder": buckets, "fusion": buckets, "word_maps": buckets}
