"""clip-retrieval's own client, as PyPI has it, against a real server."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from PIL import Image

from runtime.engines.fake import PALETTE
from tests.e2e.conftest import RunningServer, start_server
from vernier import Client

CLIENT = Path(sys.prefix) / "clip-client" / "clip_retrieval" / "clip_client.py"


@pytest.fixture(scope="module")
def clip_client() -> ModuleType:
    """The module of the installed wheel. Its package would load its server, which cannot be installed beside ours."""
    if not CLIENT.is_file():
        pytest.skip("clip-retrieval's client is not installed; `make setup` installs it")
    spec = importlib.util.spec_from_file_location("clip_client", CLIENT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (64, 48), PALETTE[colour])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with three pictures, two of which are alike."""
    server = start_server(tmp_path_factory.mktemp("knn"))
    with Client(server.url) as client:
        for name, colour in (("red", "red"), ("red again", "red"), ("blue", "blue")):
            client.add(name, image=picture(colour), text=f"a {colour} picture", metadata={"colour": colour})
    yield server
    assert server.stop() == 0


def test_it_finds_by_text(clip_client: ModuleType, running: RunningServer) -> None:
    client = clip_client.ClipClient(f"{running.url}/knn-service", "default", deduplicate=False)
    hits = client.query(text="blue")
    assert hits[0]["id"] == "blue"
    assert (hits[0]["caption"], hits[0]["colour"]) == ("a blue picture", "blue")
    assert hits[0]["similarity"] > hits[1]["similarity"]
    assert len(hits) == 3
    assert httpx.get(hits[1]["url"]).content.startswith(b"\xff\xd8")


def test_it_finds_by_picture_and_by_vector_and_among_texts(
    clip_client: ModuleType, running: RunningServer, tmp_path: Path
) -> None:
    picture("blue").save(tmp_path / "blue.png")
    client = clip_client.ClipClient(f"{running.url}/knn-service", "default", num_images=1)
    assert [hit["id"] for hit in client.query(image=str(tmp_path / "blue.png"))] == ["blue"]
    with Client(running.url) as ours:
        vector = ours.embed(["blue"]).embeddings[0]
    assert [hit["id"] for hit in client.query(embedding_input=[7 * number for number in vector])] == ["blue"]
    among_texts = clip_client.ClipClient(
        f"{running.url}/knn-service", "default", modality=clip_client.Modality.TEXT, num_images=1
    )
    assert [hit["id"] for hit in among_texts.query(text="blue")] == ["blue"]


def test_what_is_alike_is_one(clip_client: ModuleType, running: RunningServer) -> None:
    hits = clip_client.ClipClient(f"{running.url}/knn-service", "default").query(text="red")
    assert [hit["colour"] for hit in hits] == ["red", "blue"]


def test_what_is_not_done_is_said(running: RunningServer) -> None:
    asked = {"text": "red", "indice_name": "default", "use_safety_model": True, "aesthetic_score": 9}
    answer = httpx.post(f"{running.url}/knn-service", json=asked)
    assert answer.headers["x-vernier-ignored"] == "use_safety_model,aesthetic_score"
    assert "x-vernier-ignored" not in httpx.post(f"{running.url}/knn-service", json={"text": "red"}).headers
    few = httpx.post(f"{running.url}/knn-service", json={"text": "red", "num_images": 1, "num_result_ids": 3}).json()
    assert [set(hit) >= {"caption"} for hit in few] == [True, False, False]


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({}, 422, "request_invalid"),
        ({"text": "  "}, 422, "text_empty"),
        ({"text": "red", "indice_name": "laion5B"}, 404, "unknown_gallery"),
        ({"text": "red", "use_mclip": True}, 422, "request_invalid"),
        ({"text": "red", "num_images": 5000}, 422, "request_invalid"),
        ({"embedding_input": [1.0, 2.0]}, 422, "request_invalid"),
        ({"embedding_input": [0.0] * 32, "num_images": 5000}, 422, "request_invalid"),
        ({"image": "no base64!"}, 422, "image_undecodable"),
        ({"image_url": "http://127.0.0.1/secret.jpg"}, 422, "url_not_allowed"),
    ],
)
def test_wrong_requests_are_problems(running: RunningServer, asked: dict, status: int, code: str) -> None:
    answer = httpx.post(f"{running.url}/knn-service", json=asked)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
