import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from runtime.engines.fake import fake_encoder
from server.bulk import lines
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import file_of, jpeg, square

ITEMS = "/galleries/default/items"


def ndjson(*entries: object) -> bytes:
    return b"\n".join(entry if isinstance(entry, bytes) else json.dumps(entry).encode() for entry in entries)


async def bulk(client: httpx.AsyncClient, body: bytes) -> dict:
    answer = await client.post(ITEMS, content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_put_get_delete(empty_client: httpx.AsyncClient) -> None:
    client = empty_client
    body = {"image": {"base64": b64encode(jpeg("red")).decode()}, "text": "a red square", "metadata": {"n": 1}}
    created = await client.put(f"{ITEMS}/a", json=body)
    assert created.status_code == 201
    assert created.json()["outcome"] == "created"
    item = (await client.get(f"{ITEMS}/a")).json()
    assert item["id"] == "a"
    assert item["text"] == "a red square"
    assert item["metadata"] == {"n": 1}
    assert item["targets"] == ["image", "text"]
    assert item["has_picture"] is True
    again = await client.put(f"{ITEMS}/a", json=body)
    assert (again.status_code, again.json()["outcome"]) == (200, "unchanged")
    replaced = await client.put(f"{ITEMS}/a", json={"text": "a blue square"})
    assert (replaced.status_code, replaced.json()["outcome"]) == (200, "replaced")
    assert replaced.json()["targets"] == ["text"]
    assert (await client.delete(f"{ITEMS}/a")).status_code == 204
    for method in ("GET", "DELETE"):
        gone = await client.request(method, f"{ITEMS}/a")
        assert (gone.status_code, gone.json()["code"]) == (404, "unknown_item")


async def test_what_is_put_is_found_and_what_is_deleted_is_not(client: httpx.AsyncClient) -> None:
    assert (await client.put(f"{ITEMS}/purple", files={"image": ("p.jpg", jpeg("purple"))})).status_code == 201
    query = {"text": "purple", "top_k": 1}
    assert (await client.post("/search", json=query)).json()["hits"][0]["id"] == "purple"
    await client.delete(f"{ITEMS}/purple")
    assert (await client.post("/search", json=query)).json()["hits"][0]["id"] != "purple"


@pytest.mark.parametrize(
    "name", ["a b", "été", "folder/picture.jpg", "100%", "a?b#c", "x" * 256, "image", "a/image", "image/image"]
)
async def test_ids_of_every_kind(empty_client: httpx.AsyncClient, name: str) -> None:
    path = f"{ITEMS}/{quote(name, safe='')}"
    created = await empty_client.put(path, files={"image": ("a.jpg", jpeg())})
    assert created.status_code == 201, created.text
    assert created.json()["id"] == name
    assert (await empty_client.get(path)).json()["id"] == name
    assert (await empty_client.get(f"{path}/image")).headers["content-type"] == "image/jpeg"
    assert (await empty_client.delete(path)).status_code == 204


async def test_the_address_of_a_picture_is_not_written(empty_client: httpx.AsyncClient) -> None:
    await empty_client.put(f"{ITEMS}/a", json={"text": "red"})
    await empty_client.put(f"{ITEMS}/a%2Fimage", json={"text": "blue"})
    for method in ("PUT", "DELETE"):
        refused = await empty_client.request(method, f"{ITEMS}/a/image", json={"text": "green"})
        assert (refused.status_code, refused.json()["code"]) == (422, "item_id_invalid")
    assert (await empty_client.get(f"{ITEMS}/a%2Fimage")).json()["text"] == "blue"
    assert (await empty_client.get(f"{ITEMS}/a/image")).json()["code"] == "picture_missing"


@pytest.mark.parametrize("name", ["x" * 257, "a\x00b"])
async def test_ids_that_cannot_be(empty_client: httpx.AsyncClient, name: str) -> None:
    answer = await empty_client.put(f"{ITEMS}/{quote(name, safe='')}", json={"text": "red"})
    assert (answer.status_code, answer.json()["code"]) == (422, "item_id_invalid")


async def test_an_item_needs_a_picture_or_a_text(empty_client: httpx.AsyncClient) -> None:
    answer = await empty_client.put(f"{ITEMS}/a", json={"metadata": {"a": 1}})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


@pytest.mark.parametrize("metadata", ["[]", "{", "7", '{"a": 1e999}', '{"and": 1}', json.dumps({"a": "x" * 70_000})])
async def test_metadata_that_cannot_be(empty_client: httpx.AsyncClient, metadata: str) -> None:
    answer = await empty_client.put(f"{ITEMS}/a", files={"image": ("a", jpeg()), "metadata": (None, metadata)})
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("json_invalid", "request_invalid", "metadata_invalid")


async def test_picture_is_a_small_jpeg_with_a_tag(empty_client: httpx.AsyncClient) -> None:
    large = file_of(square("red", size=(2000, 1000)), "PNG")
    await empty_client.put(f"{ITEMS}/a", files={"image": ("a.png", large)})
    answer = await empty_client.get(f"{ITEMS}/a/image")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(BytesIO(answer.content)).size == (512, 256)
    again = await empty_client.get(f"{ITEMS}/a/image", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_an_item_without_a_picture_has_none(empty_client: httpx.AsyncClient) -> None:
    await empty_client.put(f"{ITEMS}/a", json={"text": "red"})
    answer = await empty_client.get(f"{ITEMS}/a/image")
    assert (answer.status_code, answer.json()["code"]) == (404, "picture_missing")
    proof = await empty_client.post("/proofread", json={"image": {"item": "a"}, "text": "red"})
    assert (proof.status_code, proof.json()["code"]) == (404, "picture_missing")


async def test_pages_show_every_item_once_while_others_are_written(empty_client: httpx.AsyncClient) -> None:
    client = empty_client
    await bulk(client, ndjson(*({"id": f"i{n:02}", "text": "red", "metadata": {"n": n}} for n in range(10))))
    seen: list[str] = []
    cursor = None
    while True:
        page = (await client.get(ITEMS, params={"limit": 3} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await client.put(f"{ITEMS}/i00", json={"text": "blue"})
        await client.delete(f"{ITEMS}/{seen[0]}")
    assert seen == sorted(seen)
    assert [name for name in seen if name != "i00"] == [f"i{n:02}" for n in range(1, 10)]
    filtered = await client.get(ITEMS, params={"filter": '{"n": {"lt": 3}}'})
    assert [item["metadata"]["n"] for item in filtered.json()["items"]] == [1, 2]


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"cursor": "nonsense"}, "cursor_invalid"),
        ({"limit": "0"}, "request_invalid"),
        ({"limit": "many"}, "request_invalid"),
        ({"filter": "{"}, "request_invalid"),
        ({"filter": '{"a": []}'}, "filter_invalid"),
        ({"page": "2"}, "request_invalid"),
    ],
)
async def test_pages_that_cannot_be(empty_client: httpx.AsyncClient, params: dict, code: str) -> None:
    answer = await empty_client.get(ITEMS, params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_bulk_stores_the_good_and_names_the_bad(empty_client: httpx.AsyncClient) -> None:
    red = {"base64": b64encode(jpeg("red")).decode()}
    answer = await bulk(
        empty_client,
        ndjson(
            {"id": "one", "image": red, "text": "a red square", "metadata": {"a": 1}},
            b"{not json",
            {"id": "two", "image": {"base64": b64encode(jpeg()[:600]).decode()}},
            {"id": "three", "text": " "},
            b"",
            {"id": "four", "text": "blue"},
            {"id": "five"},
            {"id": "six", "text": "red", "surprise": 1},
            {"id": "", "text": "red"},
            {"id": "seven", "text": "red", "metadata": {"or": 1}},
            {"id": "eight", "image": {"url": "http://localhost/"}},
        ),
    )
    found = [(r["line"], r.get("id"), r.get("outcome"), r.get("problem", {}).get("code")) for r in answer["results"]]
    assert found == [
        (1, "one", "created", None),
        (2, None, None, "json_invalid"),
        (3, "two", None, "image_undecodable"),
        (4, "three", None, "text_empty"),
        (6, "four", "created", None),
        (7, "five", None, "request_invalid"),
        (8, "six", None, "request_invalid"),
        (9, "", None, "item_id_invalid"),
        (10, "seven", None, "metadata_invalid"),
        (11, "eight", None, "url_not_allowed"),
    ]
    assert (answer["created"], answer["failed"]) == (2, 8)
    assert [item["id"] for item in (await empty_client.get(ITEMS)).json()["items"]] == ["one", "four"]


async def test_bulk_of_many_is_idempotent(empty_client: httpx.AsyncClient) -> None:
    body = ndjson(*({"id": f"i{n}", "text": f"red {n}"} for n in range(100)))
    assert (await bulk(empty_client, body))["created"] == 100
    again = await bulk(empty_client, body)
    assert (again["created"], again["unchanged"]) == (0, 100)
    assert (await bulk(empty_client, b""))["results"] == []


async def test_bulk_of_the_same_id_twice_keeps_the_last(empty_client: httpx.AsyncClient) -> None:
    answer = await bulk(empty_client, ndjson({"id": "a", "text": "red"}, {"id": "a", "text": "blue"}))
    assert [result["outcome"] for result in answer["results"]] == ["created", "replaced"]
    assert (await empty_client.get(f"{ITEMS}/a")).json()["text"] == "blue"


async def test_bulk_skips_a_line_that_is_too_long(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, max_body_bytes=2000)) as client:
        answer = await bulk(
            client, ndjson({"id": "a", "text": "red"}, {"id": "b", "text": "x" * 5000}, {"id": "c", "text": "blue"})
        )
        assert [r.get("outcome") or r["problem"]["code"] for r in answer["results"]] == [
            "created",
            "body_too_large",
            "created",
        ]


async def test_bulk_of_files(empty_client: httpx.AsyncClient) -> None:
    files = [("image", (f"{colour}.jpg", jpeg(colour))) for colour in ("red", "blue")] + [("image", ("bad.jpg", b"no"))]
    answer = (await empty_client.post(ITEMS, files=files)).json()
    assert [(r["id"], r.get("outcome")) for r in answer["results"]] == [
        ("red.jpg", "created"),
        ("blue.jpg", "created"),
        ("bad.jpg", None),
    ]


async def test_bulk_of_described_files(empty_client: httpx.AsyncClient) -> None:
    described = [
        {"id": "r", "file": "red.jpg", "text": "a red square", "metadata": {"a": 1}},
        {"id": "lost", "file": "nowhere.jpg"},
        {"id": "words", "text": "blue"},
        {"id": "nothing"},
        7,
    ]
    answer = await empty_client.post(
        ITEMS,
        files=[
            ("items", (None, json.dumps(described), "application/json")),
            ("f0", ("red.jpg", jpeg("red"))),
        ],
    )
    results = answer.json()["results"]
    assert [r.get("outcome") or r["problem"]["code"] for r in results] == [
        "created",
        "request_invalid",
        "created",
        "request_invalid",
        "request_invalid",
    ]
    assert (await empty_client.get(f"{ITEMS}/r")).json()["metadata"] == {"a": 1}
    wrong = await empty_client.post(ITEMS, files=[("items", (None, "{}", "application/json"))])
    assert wrong.status_code == 422


async def test_bulk_refuses_another_body(empty_client: httpx.AsyncClient) -> None:
    answer = await empty_client.post(ITEMS, json=[{"id": "a"}])
    assert (answer.status_code, answer.json()["code"]) == (415, "content_type_unsupported")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
async def test_lines_come_whole_however_they_are_cut(size: int) -> None:
    body = b"one\n\ntwo two\r\nthis one is far too long\nthree"

    async def chunks():
        for at in range(0, len(body), size):
            yield body[at : at + size]

    found = [line async for line in lines(chunks(), max_line_bytes=10)]
    assert [(number, line and line.strip()) for number, line in found] == [
        (1, b"one"),
        (3, b"two two"),
        (4, None),
        (5, b"three"),
    ]


async def test_galleries_are_made_listed_and_deleted(client: httpx.AsyncClient, tmp_path: Path) -> None:
    made = await client.post("/galleries", json={"name": "second"})
    assert made.status_code == 201
    assert made.json()["items"] == 0
    assert (await client.post("/galleries", json={"name": "second"})).json()["code"] == "gallery_exists"
    await fill(client, ("purple",), gallery="second")
    listed = (await client.get("/galleries")).json()["galleries"]
    assert [(entry["name"], entry["items"]) for entry in listed] == [("default", 4), ("second", 1)]
    found = await client.post("/search", json={"text": "purple", "gallery": "second"})
    assert [hit["id"] for hit in found.json()["hits"]] == ["purple"]
    one = (await client.get("/galleries/second")).json()
    assert one["name"] == "second"
    assert {"items", "version", "space", "index_kind", "dim", "read_only"} <= set(one)
    assert (tmp_path / "galleries" / "second").is_dir()
    assert (await client.delete("/galleries/second")).status_code == 204
    assert not (tmp_path / "galleries" / "second").exists()
    assert (await client.get("/galleries/second")).status_code == 404


@pytest.mark.parametrize("name", ["", "A", "a/b", "../up", "-a", "a" * 65, "a b", "ä", "default\n"])
async def test_gallery_names_that_cannot_be(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/galleries", json={"name": name})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


async def test_galleries_outlive_the_server(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path)) as client:
        await client.post("/galleries", json={"name": "second"})
        await fill(client, ("purple",), gallery="second")
    async with serving(settings_for(tmp_path)) as client:
        assert (await client.get("/galleries/second")).json()["items"] == 1


async def test_a_named_default_gallery_is_served_and_kept(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, gallery=str(tmp_path / "mine"))
    async with serving(settings) as client:
        await fill(client, ("red",))
        kept = await client.delete("/galleries/default")
        assert (kept.status_code, kept.json()["code"]) == (409, "gallery_kept")
    assert (tmp_path / "mine").is_dir()
    assert not (tmp_path / "galleries").exists()


async def test_a_gallery_of_another_model_is_named_and_not_searched(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path)) as client:
        await client.post("/galleries", json={"name": "old"})
    settings = settings_for(tmp_path, gallery=str(tmp_path / "mine"))
    async with serving(settings, fake_encoder(name="other")) as client:
        answer = await client.post("/search", json={"text": "red", "gallery": "old"})
        assert (answer.status_code, answer.json()["code"]) == (409, "space_mismatch")
        assert [entry["name"] for entry in (await client.get("/galleries")).json()["galleries"]] == ["default"]


async def test_a_gallery_that_another_writes_is_followed(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    async with serving(settings) as writer:
        await fill(writer, ("red",))
        async with serving(settings) as follower:
            assert (await follower.get("/galleries/default")).json()["read_only"] is True
            refused = await follower.put(f"{ITEMS}/a", json={"text": "red"})
            assert (refused.status_code, refused.json()["code"]) == (409, "gallery_read_only")
            await fill(writer, ("blue",))
            found = await follower.post("/search", json={"text": "blue", "top_k": 1})
            assert found.json()["hits"][0]["id"] == "blue"
