"""What a stranger may try: too often, with other people's files, with pictures that are none."""

import ast
import asyncio
import io
import random
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from server.errors import RequestError
from server.rate_limits import RateLimits
from tests.conftest import ROOT
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import file_of, jpeg, square

JPEG = {"Content-Type": "image/jpeg"}
KEYS = ("r" * 20, "w" * 20)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def may(limits: RateLimits, caller: str) -> bool:
    try:
        limits.take(caller)
    except RequestError as error:
        assert error.code == "rate_limited"
        return False
    return True


def test_a_bucket_holds_a_burst_and_fills_at_its_rate() -> None:
    clock = Clock()
    limits = RateLimits(per_s=2, burst=5, clock=clock)
    assert [may(limits, "a") for _ in range(7)] == [True] * 5 + [False] * 2
    assert may(limits, "b")
    clock.now = 1.0
    assert [may(limits, "a") for _ in range(3)] == [True, True, False]
    clock.now = 100.0
    assert [may(limits, "a") for _ in range(6)] == [True] * 5 + [False]


def test_the_time_to_wait_is_told() -> None:
    limits = RateLimits(per_s=0.1, burst=1, clock=Clock())
    limits.take("a")
    with pytest.raises(RequestError) as error:
        limits.take("a")
    assert error.value.headers["Retry-After"] == "10"


def test_many_callers_do_not_fill_the_memory() -> None:
    limits = RateLimits(per_s=1, burst=1, clock=Clock())
    for number in range(30_000):
        limits.take(number)
    assert len(limits._buckets) <= 10_000


async def test_each_key_has_a_rate_of_its_own(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, api_keys=f"read:{KEYS[0]},write:{KEYS[1]}", rate_limit=0.01, rate_burst=3)
    async with serving(settings) as client:
        first, second = ({"Authorization": f"Bearer {key}"} for key in KEYS)
        statuses = [(await client.get("/galleries", headers=first)).status_code for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        refused = await client.get("/galleries", headers=first)
        assert refused.json()["code"] == "rate_limited"
        assert int(refused.headers["retry-after"]) > 1
        assert (await client.get("/galleries", headers=second)).status_code == 200
        assert (await client.get("/galleries")).status_code == 401  # a wrong key takes nobody's place
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/")).status_code == 200


async def test_without_keys_each_address_has_a_rate(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, rate_limit=0.01, rate_burst=2)) as client:
        assert [(await client.get("/galleries")).status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("path", ["/etc/passwd", "file:///etc/passwd", "../../../../etc/passwd", "{secret}", "{name}"])
async def test_nothing_that_is_sent_is_read_as_a_path(client: httpx.AsyncClient, tmp_path: Path, path: str) -> None:
    secret = tmp_path / "galleries" / "secret.jpg"
    secret.write_bytes(jpeg("blue"))
    path = path.format(secret=secret, name=secret.name)
    in_base64 = b64encode(path.encode()).decode()
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/search", {"image": {"base64": in_base64}}),
        ("POST", "/search", {"image": {"base64": path}}),
        ("POST", "/search", {"image": {"url": path}}),
        ("POST", "/search", {"image": {"item": path}}),
        ("POST", "/search", {"text": "red", "gallery": path}),
        ("POST", "/ground", {"image": {"item": path}, "text": "red"}),
        ("POST", "/proofread", {"image": {"url": path}, "text": "red"}),
        ("POST", "/embed", {"inputs": [{"image": {"item": path}}]}),
        ("POST", "/v1/embeddings", {"input": f"data:image/png;base64,{path}"}),
        ("POST", "/galleries", {"name": path}),
    ]
    for method, address, body in calls:
        answer = await client.request(method, address, json=body)
        assert 400 <= answer.status_code < 500, (address, body, answer.text)
        assert "root:" not in answer.text
    stored = await client.put("/galleries/default/items/a", files={"image": (path, jpeg("red"))})
    assert stored.status_code == 201
    files = [("file", (path, jpeg("red"))), ("items", (None, f'[{{"id": "b", "file": "{path}x"}}]'))]
    outcome = (await client.post("/galleries/default/items", files=files)).json()["results"][0]
    assert outcome["problem"]["code"] == "request_invalid"
    assert secret.read_bytes() == jpeg("blue")


@pytest.mark.parametrize("package", ["server", "runtime", "index"])
def test_nothing_that_runs_code_from_data_is_ever_loaded(package: str) -> None:
    forbidden = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "torch", "eval", "exec", "allow_pickle"}
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").partition(".")[0]}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = {node.func.id}
            elif isinstance(node, ast.keyword) and not (isinstance(node.value, ast.Constant) and not node.value.value):
                names = {node.arg or ""}
            assert not names & forbidden, (file, names & forbidden)


def _sixteen_bit() -> bytes:
    grey = np.asarray(square("red").convert("L"), np.uint16) * 257
    return file_of(Image.fromarray(grey), "PNG")


def _animated() -> bytes:
    stream = io.BytesIO()
    square("red").save(stream, "GIF", save_all=True, append_images=[square("blue"), square("green")])
    return stream.getvalue()


def _see_through() -> bytes:
    image = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    image.paste(square("red").crop((0, 0, 64, 64)), (0, 0))
    return file_of(image, "PNG")


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3
    return file_of(square("red").rotate(180), exif=exif.tobytes())


AS_SHOWN: dict[str, Callable[[], bytes]] = {
    "CMYK": lambda: file_of(square("red").convert("CMYK")),
    "palette": lambda: file_of(square("red").convert("P", palette=Image.Palette.ADAPTIVE), "PNG"),
    "transparent": _see_through,
    "transparent palette": lambda: file_of(square("red").quantize(8), "PNG", transparency=255),
    "animated": _animated,
    "upside down by EXIF": _turned,
    "WebP": lambda: file_of(square("red"), "WEBP", lossless=True),
    "TIFF": lambda: file_of(square("red"), "TIFF"),
    "BMP": lambda: file_of(square("red"), "BMP"),
}


@pytest.mark.parametrize("kind", AS_SHOWN)
async def test_pictures_are_seen_as_a_viewer_shows_them(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post(
        "/ground?phrases=red", content=AS_SHOWN[kind](), headers={"Content-Type": "image/unknown"}
    )
    assert answer.status_code == 200, answer.text
    x0, y0, x1, y1 = answer.json()["groundings"][0]["boxes"][0]["box"]
    assert answer.json()["image_size"] == [128, 128]
    assert x0 < 32 < x1 < 110
    assert y0 < 32 < y1 < 110
    hits = (await client.post("/search?top_k=1", content=AS_SHOWN[kind](), headers=JPEG)).json()["hits"]
    assert hits[0]["id"] == "red"


async def test_sixteen_bits_are_seen_as_eight(client: httpx.AsyncClient) -> None:
    eight = file_of(square("red").convert("L"), "PNG")
    vectors = [
        np.asarray((await client.post("/embed", content=data, headers=JPEG)).json()["embeddings"][0])
        for data in (eight, _sixteen_bit())
    ]
    assert float(vectors[0] @ vectors[1]) > 0.999


def broken(rng: random.Random) -> bytes:
    """A picture's file with something wrong: cut, with bytes changed, lengths that lie, or no picture at all."""
    kind = rng.choice(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
    data = bytearray(file_of(square(rng.choice(["red", "blue"])), kind))
    damage = rng.choice(["cut", "flip", "zero", "noise", "header", "double"])
    if damage == "cut":
        return bytes(data[: rng.randrange(1, len(data) - 1)])
    if damage == "flip":
        for _ in range(rng.randrange(1, 40)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif damage == "zero":
        start = rng.randrange(len(data))
        data[start : start + rng.randrange(1, 400)] = b""
    elif damage == "noise":
        return rng.randbytes(rng.randrange(0, 3000))
    elif damage == "header":
        for at in range(4, 30):
            data[at] = rng.randrange(256)
    else:
        data = data[: len(data) // 2] + data
    return bytes(data)


async def test_500_broken_pictures_do_no_good_one_harm(tmp_path: Path) -> None:
    rng = random.Random(7)
    async with serving(settings_for(tmp_path, cache_bytes=0, max_wait_ms=60_000, max_waiting=100_000)) as client:
        await fill(client)
        turn = asyncio.Semaphore(32)

        async def send(data: bytes, path: str) -> httpx.Response:
            async with turn:
                return await client.post(path, content=data, headers=JPEG)

        bad = [send(broken(rng), rng.choice(["/search", "/embed", "/ground?phrases=red"])) for _ in range(500)]
        good = [send(jpeg(colour), "/search?top_k=1") for colour in ["red", "green", "blue", "yellow"] * 40]
        mixed = [*bad, *good]
        order = list(range(len(mixed)))
        rng.shuffle(order)
        answers = dict(zip(order, await asyncio.gather(*(mixed[at] for at in order)), strict=True))
        for at in range(500):
            assert answers[at].status_code in (200, 413, 422), answers[at].text
            if answers[at].status_code != 200:
                assert answers[at].json()["code"] in ("image_undecodable", "image_too_large")
        assert sum(answers[at].status_code == 422 for at in range(500)) > 250
        for at in range(500, len(mixed)):
            assert answers[at].status_code == 200
            assert answers[at].json()["hits"][0]["id"] == ["red", "green", "blue", "yellow"][(at - 500) % 4]
