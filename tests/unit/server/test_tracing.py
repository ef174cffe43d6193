"""Traces, as a collector on a real socket gets them."""

import gzip
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from server.settings import Settings
from tests.conftest import ROOT
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import jpeg

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """What an OpenTelemetry collector hears over HTTP."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def spans(self) -> list[Span]:
        scopes = [scope for request in self.requests for one in request.resource_spans for scope in one.scope_spans]
        return [span for scope in scopes for span in scope.spans]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def attributes(span: Span) -> dict[str, object]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


async def test_a_request_is_a_span_with_its_stages_and_no_payload(tmp_path: Path, collector: Collector) -> None:
    async with serving(settings_for(tmp_path, otlp_endpoint=collector.endpoint)) as client:
        await fill(client, ("red",))
        await client.post("/search", json={"text": "a red secret"}, headers={"traceparent": CALLER})
        await client.post("/search", params={"text": "secret"}, content=jpeg(), headers={"Content-Type": "image/jpeg"})
        await client.post("/search", json={"text": "a red square", "rerank": 1})
        await client.post("/search", files={"image": ("secret.jpg", b"secret")})
        await client.get("/galleries/default/items/secret")
        assert (await client.get("/health/live")).status_code == 200
    spans = collector.spans()
    requests = [span for span in spans if span.kind == Span.SPAN_KIND_SERVER]
    assert [span.name for span in requests] == [
        "PUT /galleries/{gallery}/items/{item:path}",
        *["POST /search"] * 4,
        "GET /galleries/{gallery}/items/{item:path}",
    ]
    told = [attributes(span) for span in requests]
    assert [entry["http.response.status_code"] for entry in told] == [201, 200, 200, 200, 422, 404]
    assert told[4]["error.type"] == "image_undecodable"
    by_text, by_picture, reranked = requests[1:4]
    assert by_text.trace_id.hex() == CALLER.split("-")[1]
    assert by_text.parent_span_id.hex() == CALLER.split("-")[2]
    assert tree(by_text, spans) == {
        "read": [],
        "embed_text": ["tokenise", "queue", "text_encoder"],
        "search": ["queue", "search"],
    }
    assert tree(by_picture, spans) == {
        "read": [],
        "embed_text": ["tokenise", "queue", "text_encoder"],
        "decode": ["queue", "decode"],
        "embed_image": ["queue", "decode", "queue", "image_encoder"],
        "search": ["queue", "search"],
    }
    assert tree(reranked, spans)["rerank"][-1] == "fusion"
    for span in spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
    wire = b"".join(request.SerializeToString() for request in collector.requests)
    assert b"secret" not in wire
    assert b"vernier.bundle" in wire


def tree(request: Span, spans: list[Span]) -> dict[str, list[str]]:
    """The stages of a request, in order, with what is below each."""

    def below(parent: Span) -> list[Span]:
        found = [span for span in spans if span.parent_span_id == parent.span_id]
        assert all(span.trace_id == parent.trace_id for span in found)
        assert all(parent.start_time_unix_nano <= span.start_time_unix_nano for span in found)
        return sorted(found, key=lambda span: span.start_time_unix_nano)

    return {stage.name: [span.name for span in below(stage)] for stage in below(request)}


async def test_a_collector_that_is_away_costs_the_traces_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        async with serving(settings_for(tmp_path, otlp_endpoint="http://127.0.0.1:9")) as client:
            assert (await client.post("/search", json={"text": "red"})).status_code == 200
    assert any("opentelemetry" in record.name for record in caplog.records)


def test_the_usual_variable_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert Settings().otlp_endpoint == "http://collector:4318"
    monkeypatch.setenv("VERNIER_OTLP_ENDPOINT", "https://other:4318/")
    assert Settings().otlp_endpoint == "https://other:4318/"
    with pytest.raises(ValueError, match="otlp_endpoint"):
        Settings(otlp_endpoint="collector:4318")


WITHOUT = """
import sys
from pathlib import Path
from runtime.engines.fake import fake_encoder
from server.service import Service
from server.settings import Settings

service = Service(Settings(galleries_dir=Path(sys.argv[1])), encoder=fake_encoder())
service.start()
service.close()
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "requests"))])
"""


def test_who_has_no_collector_loads_nothing_for_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
