"""The forms that requests and answers may take: raw pictures, composed queries, tags, compression, the cache."""

import gzip
import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from runtime.encoder import Encoder
from runtime.engines.fake import fake_encoder
from server.compression import accepts_gzip
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import file_of, jpeg, square

JPEG = {"Content-Type": "image/jpeg"}
ITEMS = "/galleries/default/items"


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


async def raw(client: httpx.AsyncClient, path: str, colour: str = "red", method: str = "POST", **params: Any) -> Any:
    return await client.request(method, path, params=params, content=jpeg(colour), headers=JPEG)


async def test_a_body_may_be_a_picture(client: httpx.AsyncClient) -> None:
    assert ids(await raw(client, "/search", "green", top_k=1)) == ["green"]
    found = await raw(client, "/search", "green", target="text", include=["text", "metadata"], explain="true", top_k=1)
    assert found.json()["hits"][0]["text"] == "a green square"
    assert found.json()["hits"][0]["words"]
    named = await raw(client, "/search", "green", target="text", explain="words", top_k=1)
    assert named.json()["hits"][0]["words"]
    assert "regions" not in named.json()["hits"][0]
    filtered = await raw(client, "/search", "green", filter=json.dumps({"number": {"gte": 2}}))
    assert set(ids(filtered)) == {"blue", "yellow"}
    grounded = (await raw(client, "/ground", phrases=["red", "white"])).json()
    assert [entry["phrase"] for entry in grounded["groundings"]] == ["red", "white"]
    proof = (await raw(client, "/proofread", text="a blue square", threshold=0.5)).json()
    assert proof["corrected_text"] == "a red square"
    embedded = (await raw(client, "/embed")).json()
    image = {"base64": b64encode(jpeg("red")).decode()}
    same = (await client.post("/embed", json={"inputs": [{"image": image}]})).json()
    assert embedded["embeddings"] == same["embeddings"]
    stored = await raw(client, f"{ITEMS}/new", method="PUT", text="a red square", metadata='{"n": 1}')
    assert stored.status_code == 201
    assert stored.json()["metadata"] == {"n": 1}
    assert stored.json()["targets"] == ["image", "text"]


async def test_any_picture_type_is_told_by_its_bytes(client: httpx.AsyncClient) -> None:
    file = file_of(square("blue"), "PNG")
    answer = await client.post("/search?top_k=1", content=file, headers={"Content-Type": "image/webp"})
    assert ids(answer) == ["blue"]


@pytest.mark.parametrize(
    ("path", "params", "field"),
    [
        ("/search", {"topk": 1}, "topk"),
        ("/search", {"top_k": "many"}, "top_k"),
        ("/search", {"top_k": [1, 2]}, "top_k"),
        ("/search", {"image": "red"}, "image"),
        ("/ground", {}, "request"),
        ("/proofread", {}, "text"),
        ("/embed", {"gallery": "default"}, "gallery"),
    ],
)
async def test_wrong_parameters_of_a_picture_are_named(
    client: httpx.AsyncClient, path: str, params: dict[str, Any], field: str
) -> None:
    answer = await raw(client, path, **params)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert field in [error["field"] for error in answer.json()["errors"]]


async def test_parameters_that_would_be_overlooked_are_refused(client: httpx.AsyncClient) -> None:
    calls = [
        ("POST", "/search", {"json": {"text": "red"}}),
        ("POST", "/search/batch", {"json": {"queries": [{"text": "red"}]}}),
        ("POST", "/ground", {"files": {"image": ("a", jpeg())}}),
        ("PUT", f"{ITEMS}/a", {"json": {"text": "red"}}),
        ("POST", ITEMS, {"content": b"", "headers": {"Content-Type": "application/x-ndjson"}}),
    ]
    for method, path, body in calls:
        answer = await client.request(method, path, params={"top_k": 1}, **body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "top_k")


@pytest.mark.parametrize("data", [b"", b"no picture", jpeg()[:700]])
async def test_a_raw_picture_that_is_none(client: httpx.AsyncClient, data: bytes) -> None:
    for method, path in [
        ("POST", "/search"),
        ("POST", "/ground?text=red"),
        ("POST", "/proofread?text=red"),
        ("POST", "/embed"),
        ("PUT", f"{ITEMS}/a"),
    ]:
        answer = await client.request(method, path, content=data, headers=JPEG)
        assert (answer.status_code, answer.json()["code"]) == (422, "image_undecodable")


async def test_a_compressed_body_is_refused_and_not_unpacked(client: httpx.AsyncClient) -> None:
    body = gzip.compress(b'{"text": "red"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await client.post("/search", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "content_encoding_unsupported")


async def search(client: httpx.AsyncClient, **query: Any) -> list[str]:
    return ids(await client.post("/search", json=query))


async def test_a_query_is_the_weighted_sum_of_its_parts(client: httpx.AsyncClient) -> None:
    both = {"text": "yellow", "image": {"item": "red"}}
    assert (await search(client, **both, text_weight=5))[0] == "yellow"
    assert (await search(client, **both, image_weight=5))[0] == "red"
    vectors = {}
    for name, entry in (("text", {"text": "yellow"}), ("unlike", {"text": "white"})):
        vectors[name] = np.asarray((await client.post("/embed", json={"inputs": [entry]})).json()["embeddings"][0])
    image = {"image": {"item": "red"}}
    vectors["image"] = np.asarray((await client.post("/embed", json={"inputs": [image]})).json()["embeddings"][0])
    wanted = 2 * vectors["text"] + 3 * vectors["image"] - 0.7 * vectors["unlike"]
    asked = {**both, "text_weight": 2, "image_weight": 3, "negative_text": "white", "negative_weight": 0.7}
    hits = (await client.post("/search", json={**asked, "top_k": 4})).json()["hits"]
    for hit in hits:
        picture = (await client.get(f"{ITEMS}/{hit['id']}/image")).content
        own = (await client.post("/embed", content=picture, headers=JPEG)).json()["embeddings"][0]
        assert hit["score"] == pytest.approx(float(wanted @ own / np.linalg.norm(wanted)), abs=0.02)


async def test_what_is_unlike_goes_down_and_what_is_excluded_goes_away(client: httpx.AsyncClient) -> None:
    await client.put(f"{ITEMS}/two", files={"image": ("a.png", file_of(_two("red", "blue"), "PNG"))})
    assert set((await search(client, text="red", top_k=2))[:2]) == {"red", "two"}
    without = await search(client, text="red", negative_text="blue", negative_weight=0.8, top_k=5)
    assert without.index("two") > without.index("red")
    assert "red" not in await search(client, text="red", exclude_ids=["red", "nobody"])
    like = await search(client, image={"item": "red"}, exclude_ids=["red"], top_k=1)
    assert like == ["two"]


def _two(left: str, right: str) -> Any:
    image = square(left)
    image.paste(square(right), (64, 0))
    return image


async def test_parts_that_cancel_out_are_told(client: httpx.AsyncClient) -> None:
    query = {"text": "red", "negative_text": "red", "negative_weight": 1}
    answer = await client.post("/search", json=query)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "negative_weight")
    for wrong in ({"text_weight": 0}, {"negative_weight": -1}, {"image_weight": 1e9}, {"negative_text": " "}):
        assert (await client.post("/search", json={"text": "red", **wrong})).status_code == 422


@pytest.mark.parametrize(
    "path", ["/galleries", "/galleries/default", ITEMS, f"{ITEMS}/red", f"{ITEMS}/red/image", "/", "/web/page.js"]
)
async def test_what_is_known_is_not_sent_again(client: httpx.AsyncClient, path: str) -> None:
    first = await client.get(path, headers={"Accept-Encoding": "identity"})
    tag = first.headers["etag"]
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = await client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_tags_change_with_what_they_name(client: httpx.AsyncClient) -> None:
    paths = ("/galleries/default", ITEMS, f"{ITEMS}/red")
    before = [(await client.get(path)).headers["etag"] for path in paths]
    await client.put(f"{ITEMS}/red", json={"text": "another"})
    after = [(await client.get(path)).headers["etag"] for path in paths]
    assert all(old != new for old, new in zip(before, after, strict=True))


async def test_long_texts_are_compressed_for_who_can_read_them(client: httpx.AsyncClient) -> None:
    for path in ("/openapi.json", "/", "/web/page.js", ITEMS):
        plain = await client.get(path, headers={"Accept-Encoding": "identity"})
        packed = await client.get(path, headers={"Accept-Encoding": "br, gzip"})
        assert "content-encoding" not in plain.headers
        assert packed.headers.get("content-encoding") == ("gzip" if len(plain.content) >= 1000 else None)
        assert packed.headers["vary"] == "Accept-Encoding"
        assert packed.content == plain.content
    picture = await client.get(f"{ITEMS}/red/image", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in picture.headers
    texts = [{"text": f"red {number}"} for number in range(100)]
    many = await client.post("/embed", json={"inputs": texts}, headers={"Accept-Encoding": "gzip"})
    assert many.headers["content-encoding"] == "gzip"
    assert len(many.json()["embeddings"]) == 100


@pytest.mark.parametrize(
    ("header", "reads"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("", False), ("br", False), ("gzip;q=0", False)],
)
def test_who_reads_gzip(header: str, reads: bool) -> None:
    assert accepts_gzip(header) is reads


class Counting:
    """A graph of the fake model that counts its rows."""

    provider = "fake"

    def __init__(self, encoder: Encoder, graph: str) -> None:
        self.inner = encoder.engines[graph]
        self.rows = 0
        encoder.engines[graph] = self

    def run(self, inputs: Any, outputs: Any = None) -> Any:
        self.rows += len(next(iter(inputs.values())))
        return self.inner.run(inputs)


@pytest.mark.parametrize("cache_bytes", [0, 1_000_000])
async def test_the_same_bytes_are_looked_at_once_within_the_budget(tmp_path: Path, cache_bytes: int) -> None:
    encoder = fake_encoder()
    images, texts = Counting(encoder, "image_encoder"), Counting(encoder, "text_encoder")
    async with serving(settings_for(tmp_path, cache_bytes=cache_bytes), encoder) as client:
        await fill(client)
        images.rows = texts.rows = 0
        answers = [(await raw(client, "/search", "green", text="a square")).json()["hits"] for _ in range(5)]
        await raw(client, "/ground", "green", text="a square")
        await raw(client, "/search", "blue", text="a circle")
        assert all(hits == answers[0] for hits in answers)
        assert images.rows == (2 if cache_bytes else 7)
        assert texts.rows < 7 if cache_bytes else texts.rows >= 6
        told = (await client.get("/metrics")).text
        found = re.search(r'vernier_cache_bytes\{cache="pictures"\} (\S+)', told)
        assert found is not None
        assert 0 < float(found.group(1)) <= 1_000_000 if cache_bytes else float(found.group(1)) == 0
        assert 'vernier_cache_lookups_total{cache="pictures",result="miss"}' in told


async def test_the_budget_holds_and_the_oldest_goes(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, cache_bytes=20_000)) as client:
        for shade in range(60):
            file = file_of(square("red", size=(64 + shade, 64)))
            assert (await client.post("/embed", content=file, headers=JPEG)).status_code == 200
        held = re.search(r'vernier_cache_bytes\{cache="pictures"\} (\S+)', (await client.get("/metrics")).text)
        assert held is not None
        assert 10_000 < float(held.group(1)) <= 15_000
