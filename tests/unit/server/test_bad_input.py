"""Bad input through every route: the right status and code, and the next good request is answered."""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from runtime.preprocess.image import image_size
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import file_of, huge_png, jpeg, square

LONG_TEXT = " ".join(["red"] * 10_000)
PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
LETTERS = " ".join("a" * 9_999)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """One server for the whole file: it must outlive everything that is sent to it."""
    async with serving(settings_for(tmp_path_factory.mktemp("bad-input"))) as client:
        await fill(client)
        yield client


def in_base64(data: bytes) -> dict[str, str]:
    return {"base64": b64encode(data).decode()}


def searching(image: Any) -> tuple[str, str, Any]:
    return "POST", "/search", {"image": image}


def grounding(image: Any) -> tuple[str, str, Any]:
    return "POST", "/ground", {"image": image, "phrases": ["red"]}


def proofreading(image: Any) -> tuple[str, str, Any]:
    return "POST", "/proofread", {"image": image, "text": "a red square"}


def embedding(image: Any) -> tuple[str, str, Any]:
    return "POST", "/embed", {"inputs": [{"image": image}]}


def storing(image: Any) -> tuple[str, str, Any]:
    return "PUT", "/galleries/default/items/new", {"image": image}


TAKES_PICTURES = [searching, grounding, proofreading, embedding, storing]

BAD_PICTURES: list[tuple[str, Callable[[], Any], int, str]] = [
    ("no picture", lambda: in_base64(b"this is no picture at all"), 422, "image_undecodable"),
    ("nothing", lambda: in_base64(b""), 422, "image_undecodable"),
    ("truncated JPEG", lambda: in_base64(jpeg()[:700]), 422, "image_undecodable"),
    ("truncated PNG", lambda: in_base64(file_of(square("red"), "PNG")[:100]), 422, "image_undecodable"),
    ("144 megapixels", lambda: in_base64(huge_png()), 413, "image_too_large"),
    ("no base64", lambda: {"base64": "…not base64…"}, 422, "image_undecodable"),
    ("an address", lambda: {"url": "http://127.0.0.1:1/secret.jpg"}, 422, "url_not_allowed"),
    ("a file's address", lambda: {"url": "file:///etc/passwd"}, 422, "url_not_allowed"),
    ("unknown item", lambda: {"item": "nobody"}, 404, "unknown_item"),
    ("a text", lambda: "red.jpg", 422, "request_invalid"),
    ("a number", lambda: 7, 422, "request_invalid"),
]


def is_problem(answer: httpx.Response, status: int, code: str) -> None:
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert set(problem) <= {"type", "title", "status", "detail", "code", "errors", "error"}
    assert "Traceback" not in answer.text


async def still_answers(client: httpx.AsyncClient) -> None:
    answer = await client.post("/search", json={"text": "a red square", "top_k": 1})
    assert answer.status_code == 200
    assert answer.json()["hits"][0]["id"] == "red"


@pytest.mark.parametrize("route", TAKES_PICTURES)
@pytest.mark.parametrize(("picture", "status", "code"), [pytest.param(*p[1:], id=p[0]) for p in BAD_PICTURES])
async def test_bad_picture(
    client: httpx.AsyncClient,
    route: Callable[[Any], tuple[str, str, Any]],
    picture: Callable[[], Any],
    status: int,
    code: str,
) -> None:
    method, path, body = route(picture())
    is_problem(await client.request(method, path, json=body), status, code)
    await still_answers(client)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
async def test_the_bomb_is_one() -> None:
    bomb = huge_png()
    assert len(bomb) < 30_000
    assert image_size(bomb) == (12_000, 12_000)


@pytest.mark.parametrize("data", [b"no picture", jpeg()[:700]])
@pytest.mark.parametrize(
    ("path", "request_part"),
    [("/search", "{}"), ("/ground", '{"phrases": ["red"]}'), ("/proofread", '{"text": "red"}')],
)
async def test_bad_file_in_multipart(client: httpx.AsyncClient, path: str, request_part: str, data: bytes) -> None:
    files = {"request": (None, request_part, "application/json"), "image": ("a.jpg", data)}
    is_problem(await client.post(path, files=files), 422, "image_undecodable")
    is_problem(await client.put("/galleries/default/items/a", files={"image": ("a", data)}), 422, "image_undecodable")
    await still_answers(client)


TEXT_ROUTES: list[Callable[[str], tuple[str, str, Any]]] = [
    lambda text: ("POST", "/search", {"text": text}),
    lambda text: ("POST", "/search", {"text": text, "explain": True}),
    lambda text: ("POST", "/ground", {"image": {"item": "red"}, "text": text}),
    lambda text: ("POST", "/ground", {"image": {"item": "red"}, "phrases": ["red", text]}),
    lambda text: ("POST", "/proofread", {"image": {"item": "red"}, "text": text}),
    lambda text: ("POST", "/embed", {"inputs": [{"text": "red"}, {"text": text}]}),
    lambda text: ("POST", "/v1/embeddings", {"input": ["red", text]}),
    lambda text: ("PUT", "/galleries/default/items/t", {"text": text}),
]


@pytest.mark.parametrize("route", TEXT_ROUTES)
@pytest.mark.parametrize(
    ("text", "code"),
    [("", "text_empty"), (" \t\n", "text_empty"), (LONG_TEXT, "text_too_long"), (LETTERS, "text_too_long")],
    ids=["empty", "blank", "10,000 words", "10,000 letters"],
)
async def test_bad_text(
    client: httpx.AsyncClient, route: Callable[[str], tuple[str, str, Any]], text: str, code: str
) -> None:
    method, path, body = route(text)
    is_problem(await client.request(method, path, json=body), 422, code)
    await still_answers(client)


@pytest.mark.parametrize("text", ["🟥 ﬁ ﷽ \u202e\u0000", "красный", "紅", "é" * 200, "-" * 500, "'"])
async def test_strange_texts_are_answered(client: httpx.AsyncClient, text: str) -> None:
    for route in TEXT_ROUTES[:-1]:
        method, path, body = route(text)
        answer = await client.request(method, path, json=body)
        assert answer.status_code == 200, answer.text


BODIES = [
    ("POST", "/search"),
    ("POST", "/search/batch"),
    ("POST", "/ground"),
    ("POST", "/proofread"),
    ("POST", "/embed"),
    ("POST", "/v1/embeddings"),
    ("POST", "/galleries"),
    ("PUT", "/galleries/default/items/a"),
]


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"text": }', b"\xff\xfe", b'{"a": NaN}', b'{"text": "\\ud800"}', b"[" * 100_000],
    ids=["empty", "cut", "wrong", "bytes", "NaN", "half a pair", "deep"],
)
async def test_wrong_json(client: httpx.AsyncClient, method: str, path: str, body: bytes) -> None:
    answer = await client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    is_problem(answer, 400, "json_invalid")
    await still_answers(client)


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize("body", [b"[]", b"7", b'"text"', b"null"])
async def test_json_that_is_no_object(client: httpx.AsyncClient, method: str, path: str, body: bytes) -> None:
    answer = await client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    is_problem(answer, 422, "request_invalid")


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "", "application/x-www-form-urlencoded"])
async def test_wrong_content_type(client: httpx.AsyncClient, method: str, path: str, kind: str) -> None:
    answer = await client.request(method, path, content=b'{"text": "red"}', headers={"Content-Type": kind})
    is_problem(answer, 415, "content_type_unsupported")


@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_unknown_field(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path, json={"surprise": 1})
    is_problem(answer, 422, "request_invalid")
    assert "surprise" in [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/search", {"text": "red", "gallery": "nowhere"}),
        ("POST", "/ground", {"image": {"item": "red"}, "gallery": "nowhere", "text": "red"}),
        ("POST", "/proofread", {"image": {"item": "red"}, "gallery": "nowhere", "text": "red"}),
        ("POST", "/embed", {"inputs": [{"image": {"item": "red"}}], "gallery": "nowhere"}),
        ("GET", "/galleries/nowhere", None),
        ("DELETE", "/galleries/nowhere", None),
        ("GET", "/galleries/nowhere/items", None),
        ("POST", "/galleries/nowhere/items", None),
        ("GET", "/galleries/nowhere/items/a", None),
        ("PUT", "/galleries/nowhere/items/a", {"text": "red"}),
        ("DELETE", "/galleries/nowhere/items/a", None),
        ("GET", "/galleries/nowhere/items/a/image", None),
        ("GET", "/galleries/..%2f..%2fetc/items", None),
    ],
)
async def test_unknown_gallery(client: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
    answer = await client.request(method, path, json=body)
    assert answer.status_code == 404
    assert answer.json()["code"] in ("unknown_gallery", "not_found")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x\r\n",
        b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n{}',
        b"nonsense",
    ],
)
async def test_broken_multipart(client: httpx.AsyncClient, body: bytes) -> None:
    for method, path in [
        ("POST", "/search"),
        ("PUT", "/galleries/default/items/a"),
        ("POST", "/galleries/default/items"),
    ]:
        answer = await client.request(
            method, path, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        assert answer.status_code in (200, 400, 422), answer.text
        assert answer.status_code != 200 or path.endswith("/items")
    no_boundary = await client.post("/search", content=b"x", headers={"Content-Type": "multipart/form-data"})
    is_problem(no_boundary, 400, "multipart_invalid")
    await still_answers(client)


async def test_unknown_and_doubled_parts(client: httpx.AsyncClient) -> None:
    unknown = await client.post("/search", files={"image": ("a", jpeg()), "mask": ("b", b"x")})
    is_problem(unknown, 422, "request_invalid")
    assert unknown.json()["errors"][0]["field"] == "mask"
    doubled = await client.post("/search", files=[("image", ("a", jpeg())), ("image", ("b", jpeg()))])
    is_problem(doubled, 422, "request_invalid")
    both = await client.post(
        "/search",
        files={"request": (None, '{"image": {"item": "red"}}', "application/json"), "image": ("a", jpeg())},
    )
    is_problem(both, 422, "request_invalid")


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_too_large(tmp_path: Path, chunked: bool) -> None:
    async with serving(settings_for(tmp_path, max_body_bytes=50_000, max_bulk_bytes=60_000)) as client:
        await fill(client)
        sent = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal sent
            yield PART
            for _ in range(1000):
                sent += 10_000
                yield b" " * 10_000

        def body() -> Any:
            return chunks() if chunked else PART + b" " * 100_000

        for kind in ("application/json", "multipart/form-data; boundary=x"):
            answer = await client.post("/search", content=body(), headers={"Content-Type": kind})
            is_problem(answer, 413, "body_too_large")
        bulk = await client.post(
            "/galleries/default/items", content=body(), headers={"Content-Type": "application/x-ndjson"}
        )
        is_problem(bulk, 413, "body_too_large")
        assert sent < 300_000  # reading stopped soon after the limit
        await still_answers(client)


async def test_deep_metadata_and_filters(client: httpx.AsyncClient) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"a": deep}
    stored = await client.put("/galleries/default/items/deep", json={"text": "red", "metadata": deep})
    assert stored.status_code == 422
    found = await client.post("/search", json={"text": "red", "filter": deep})
    is_problem(found, 422, "filter_invalid")
    for wrong in ({"a": {"near": 1}}, {"and": []}, {"a": []}, {"": 1}, {"a": {"gte": None}}):
        is_problem(await client.post("/search", json={"text": "red", "filter": wrong}), 422, "filter_invalid")
    await still_answers(client)


async def test_addresses_and_methods(client: httpx.AsyncClient) -> None:
    is_problem(await client.get("/nowhere"), 404, "not_found")
    is_problem(await client.get("/web/../settings.py"), 404, "not_found")
    is_problem(await client.get("/web/%2e%2e%2fsettings.py"), 404, "not_found")
    wrong = await client.get("/search")
    is_problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    is_problem(await client.get("/docs"), 404, "not_found")


async def test_too_many_of_something(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, max_texts=3, max_images=1)) as client:
        await fill(client)
        image = {"item": "red"}
        for path, body in [
            ("/search/batch", {"queries": [{"text": "red"}] * 4}),
            ("/search/batch", {"queries": [{"image": image}] * 2}),
            ("/ground", {"image": image, "phrases": ["red"] * 4}),
            ("/embed", {"inputs": [{"text": "red"}] * 4}),
            ("/embed", {"inputs": [{"image": image}] * 2}),
            ("/v1/embeddings", {"input": ["red"] * 4}),
        ]:
            is_problem(await client.post(path, json=body), 422, "request_invalid")
