import asyncio
import json
import logging
import threading
from pathlib import Path

import httpx
import pytest

from runtime.engines.fake import fake_encoder
from runtime.errors import EngineError
from server.app import create_app
from server.logs import JsonFormatter, TerminalFormatter
from server.service import Service
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import jpeg

READ_KEY, WRITE_KEY = "r" * 20, "w" * 20


async def test_health_and_info(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"status": "live"}
    assert (await client.get("/health/ready")).json() == {"status": "ready"}
    info = (await client.get("/info")).json()
    assert info["bundle"]["name"] == "fake"
    assert info["bundle"]["grounding"] == "relevance"
    assert info["bundle"]["proofreading"] == "masked_words"
    assert info["graphs"]["fusion"] == {"provider": "fake", "precision": "fp32"}
    assert info["galleries"][0]["items"] == 4
    assert info["limits"]["max_pixels"] == 40_000_000


async def test_before_the_start_only_liveness_answers(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    app = create_app(settings, service=Service(settings, encoder=fake_encoder()))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://vernier") as client:
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        for answer in (await client.get("/health/ready"), await client.get("/info"), await client.get("/galleries")):
            assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
            assert answer.headers["retry-after"]


async def test_metrics_tell_of_requests_stages_engines_and_galleries(client: httpx.AsyncClient) -> None:
    await client.post("/search", json={"text": "red"})
    await client.post("/search", json={"text": ""})
    await client.get("/galleries/default/items/red/image")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = answer.text
    for line in [
        'vernier_requests_total{method="POST",route="/search",status="200"} 1.0',
        'vernier_requests_total{method="POST",route="/search",status="422"} 1.0',
        'vernier_rejected_total{code="text_empty"} 1.0',
        'vernier_request_seconds_count{route="/galleries/{gallery}/items/{item:path}/image"} 1.0',
        'vernier_stage_seconds_count{stage="search"} 1.0',
        'vernier_gallery_items{gallery="default"} 4.0',
        'vernier_engine{graph="fusion",precision="fp32",provider="fake"} 1.0',
        "vernier_ready 1.0",
        "vernier_requests_in_flight 0.0",
    ]:
        assert line in told, told


async def test_unknown_addresses_do_not_make_new_series(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await client.get(f"/wp-admin/{number}")
        await client.request(f"BREW{number}", "/search")
    told = (await client.get("/metrics")).text
    assert "wp-admin" not in told
    assert "BREW" not in told


async def test_every_answer_has_its_id_timing_and_safety_headers(client: httpx.AsyncClient) -> None:
    named = await client.post("/search", json={"text": "red"}, headers={"X-Request-ID": "my-id.1"})
    assert named.headers["x-request-id"] == "my-id.1"
    assert "search;dur=" in named.headers["server-timing"]
    assert "total;dur=" in named.headers["server-timing"]
    for answer in (await client.get("/nowhere", headers={"X-Request-ID": "bad id\t"}), await client.get("/")):
        assert len(answer.headers["x-request-id"]) == 32
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]


async def test_logs_are_json_and_hold_no_payload(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await client.post("/search", json={"text": "a very secret red"}, headers={"X-Request-ID": "abc"})
        await client.post("/proofread", json={"text": "secret too", "image": {"item": "nobody"}})
    lines = [
        json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name.startswith("server")
    ]
    assert lines[0]["event"] == "request"
    assert lines[0]["route"] == "/search"
    assert lines[0]["status"] == 200
    assert lines[0]["ms"]["total"] > 0
    assert lines[1]["code"] == "unknown_item"
    assert "secret" not in json.dumps(lines)


async def test_openapi_document_names_every_route_and_schema(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert {
        "/search",
        "/search/batch",
        "/ground",
        "/identify",
        "/proofread",
        "/embed",
        "/v1/embeddings",
        "/knn-service",
        "/galleries",
        "/galleries/{gallery}",
        "/galleries/{gallery}/migration",
        "/galleries/{gallery}/items",
        "/galleries/{gallery}/items/{item}",
        "/galleries/{gallery}/items/{item}/image",
        "/health/live",
        "/health/ready",
        "/info",
        "/metrics",
    } == set(document["paths"])
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    for reference in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert reference in schemas, reference
    body = document["paths"]["/search"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data", "image/*"}
    assert "application/problem+json" in document["paths"]["/search"]["post"]["responses"]["default"]["content"]


class StuckImages:
    """The fake image encoder, which waits until it is told to go on."""

    provider = "fake"

    def __init__(self) -> None:
        self.inner = fake_encoder().engines["image_encoder"]
        self.go_on = threading.Event()
        self.go_on.set()

    def run(self, inputs, outputs=None):
        assert self.go_on.wait(20)
        return self.inner.run(inputs)


async def test_overload_is_refused_at_the_door_and_passes(tmp_path: Path) -> None:
    encoder = fake_encoder()
    encoder.engines["image_encoder"] = stuck = StuckImages()
    async with serving(settings_for(tmp_path, max_waiting=3), encoder) as client:
        await fill(client, ("red",))
        stuck.go_on.clear()
        body = {"files": {"image": ("a.jpg", jpeg("red"))}}
        waiting = [asyncio.create_task(client.post("/search", **body)) for _ in range(3)]
        await asyncio.sleep(0.3)
        refused = await client.post("/search", json={"text": "red"})
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.get("/health/ready")).status_code == 200
        assert "vernier_requests_in_flight 3.0" in (await client.get("/metrics")).text
        stuck.go_on.set()
        assert [(await task).status_code for task in waiting] == [200, 200, 200]
        assert (await client.post("/search", json={"text": "red"})).status_code == 200


async def test_a_request_that_takes_too_long_is_answered_and_leaves(tmp_path: Path) -> None:
    encoder = fake_encoder()
    encoder.engines["image_encoder"] = stuck = StuckImages()
    async with serving(settings_for(tmp_path, request_timeout_s=0.2), encoder) as client:
        stuck.go_on.clear()
        late = await client.post("/search", files={"image": ("a.jpg", jpeg("red"))})
        assert (late.status_code, late.json()["code"]) == (504, "timed_out")
        stuck.go_on.set()
        assert (await client.post("/search", json={"text": "red"})).status_code == 200
        assert "vernier_requests_in_flight 0.0" in (await client.get("/metrics")).text


class FailingTexts:
    """The fake text encoder, which fails while it is told to."""

    provider = "fake"

    def __init__(self) -> None:
        self.inner = fake_encoder().engines["text_encoder"]
        self.error: Exception | None = None

    def run(self, inputs, outputs=None):
        if self.error is not None:
            raise self.error
        return self.inner.run(inputs)


async def test_a_failed_engine_shows_in_readiness_until_it_runs_again(tmp_path: Path) -> None:
    encoder = fake_encoder()
    encoder.engines["text_encoder"] = texts = FailingTexts()
    async with serving(settings_for(tmp_path), encoder) as client:
        texts.error = EngineError("CUDA error 700 at 0xdeadbeef")
        failed = await client.post("/search", json={"text": "red"})
        assert (failed.status_code, failed.json()["code"]) == (503, "engine_failed")
        assert "0xdeadbeef" not in failed.text
        for path in ("/health/ready", "/health/live"):
            told = await client.get(path)
            assert (told.status_code, told.json()["code"]) == (503, "not_ready")
        texts.error = None
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.post("/search", json={"text": "red"})).status_code == 200


async def test_a_mistake_of_ours_is_told_without_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = fake_encoder()
    encoder.engines["text_encoder"] = texts = FailingTexts()
    async with serving(settings_for(tmp_path), encoder) as client:
        texts.error = ZeroDivisionError("the secret of line 12")
        answer = await client.post("/search", json={"text": "red"}, headers={"X-Request-ID": "here"})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == "here"
        assert "secret" not in answer.text
        assert "ZeroDivisionError" in caplog.text
        texts.error = None
        assert (await client.post("/search", json={"text": "red"})).status_code == 200


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_keys_are_wanted_and_have_scopes(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, api_keys=f"read:{READ_KEY}, write:{WRITE_KEY}")
    async with serving(settings) as client:
        routes = [
            ("POST", "/search"),
            ("POST", "/search/batch"),
            ("POST", "/ground"),
            ("POST", "/proofread"),
            ("POST", "/embed"),
            ("POST", "/v1/embeddings"),
            ("GET", "/galleries"),
            ("GET", "/galleries/default"),
            ("GET", "/galleries/default/items"),
            ("GET", "/galleries/default/items/a"),
            ("GET", "/galleries/default/items/a/image"),
            ("GET", "/info"),
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
            ("GET", "/nowhere"),
        ]
        writes = [
            ("POST", "/galleries"),
            ("DELETE", "/galleries/default"),
            ("PUT", "/galleries/default/items/a"),
            ("DELETE", "/galleries/default/items/a"),
            ("POST", "/galleries/default/items"),
        ]
        for method, path in routes + writes:
            for headers in ({}, bearer("x" * 20), {"Authorization": f"Basic {READ_KEY}"}, bearer(""), bearer("é€")):
                raw = {name: value.encode() for name, value in headers.items()}
                answer = await client.request(method, path, headers=raw)
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), (method, path, headers)
                assert answer.headers["www-authenticate"].startswith("Bearer")
            assert (await client.request(method, path, headers=bearer(WRITE_KEY))).status_code not in (401, 403)
        for method, path in writes:
            answer = await client.request(method, path, headers=bearer(READ_KEY))
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        for method, path in routes:
            assert (await client.request(method, path, headers=bearer(READ_KEY))).status_code not in (401, 403)
        for path in ("/health/live", "/health/ready", "/", "/web/page.js"):
            assert (await client.get(path)).status_code == 200


async def test_a_refused_body_is_not_read(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, api_keys=f"read:{READ_KEY}")) as client:
        sent = 0

        async def chunks():
            nonlocal sent
            for _ in range(100):
                sent += 1
                yield b"x" * 10_000

        answer = await client.post("/search", content=chunks())
        assert answer.status_code == 401
        assert sent <= 1


async def test_pages_of_other_sites_change_nothing(client: httpx.AsyncClient) -> None:
    files = {"image": ("evil.jpg", jpeg())}
    for site in ("cross-site", "same-site"):
        refused = await client.post("/galleries/default/items", files=files, headers={"Sec-Fetch-Site": site})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    own = await client.post("/galleries/default/items", files=files, headers={"Sec-Fetch-Site": "same-origin"})
    assert own.status_code == 200


def test_a_person_reads_plain_lines() -> None:
    record = logging.LogRecord("server", logging.INFO, __file__, 1, "listening", None, None)
    record.fields = {"event": "listening", "url": "http://127.0.0.1:8000"}
    assert TerminalFormatter().format(record)[9:] == "info    listening url=http://127.0.0.1:8000"


async def test_info_lists_a_gallery_that_was_made_since_it_was_last_asked(client: httpx.AsyncClient) -> None:
    async def named() -> list[str]:
        return [gallery["name"] for gallery in (await client.get("/info")).json()["galleries"]]

    assert await named() == ["default"]
    assert (await client.post("/galleries", json={"name": "new"})).status_code == 201
    assert await named() == ["default", "new"]
    assert (await client.delete("/galleries/new")).status_code == 204
    assert await named() == ["default"]
