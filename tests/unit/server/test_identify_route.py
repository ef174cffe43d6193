"""What is this? A part of a picture, and the words that fit it."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from runtime.engines.fake import fake_encoder
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import PALETTE, file_of, square


def red_and_blue(size: tuple[int, int] = (400, 400)) -> dict[str, str]:
    """Red in the top left quarter, blue in the bottom right one."""
    width, height = size
    image = square("red", size=size, box=(0, 0, width // 2 - 1, height // 2 - 1))
    image.paste(PALETTE["blue"], (width // 2, height // 2, width, height))
    return {"base64": b64encode(file_of(image, "PNG")).decode()}


async def names(client: httpx.AsyncClient, **body: object) -> list[str]:
    answer = await client.post("/identify", json=body)
    assert answer.status_code == 200, answer.text
    return [name["phrase"] for name in answer.json()["names"]]


@pytest.mark.parametrize(("point", "name"), [([100, 100], "red square"), ([300, 300], "blue square")])
async def test_the_gallerys_words_are_ranked_by_what_is_at_a_point(
    client: httpx.AsyncClient, point: list[float], name: str
) -> None:
    assert (await names(client, image=red_and_blue(), point=point))[0] == name


async def test_a_box_is_looked_at_alone_and_given_back_within_the_picture(client: httpx.AsyncClient) -> None:
    body = {"image": red_and_blue((800, 400)), "box": [400, 200, 900, 999], "top_k": 2}
    answer = (await client.post("/identify", json=body)).json()
    assert answer["names"][0]["phrase"] == "blue square"
    assert len(answer["names"]) == 2
    assert answer["box"] == [400, 200, 800, 400]
    assert answer["image_size"] == [800, 400]
    assert (answer["source"], answer["candidates"]) == ("gallery", 4)
    assert answer["names"][0]["score"] > answer["names"][1]["score"]


async def test_ones_own_phrases_are_ranked(client: httpx.AsyncClient) -> None:
    found = await names(client, image={"item": "green"}, point=[20, 20], phrases=["a pink hat", "something green"])
    assert found == ["something green", "a pink hat"]


async def test_new_words_of_the_gallery_are_known_at_once(client: httpx.AsyncClient) -> None:
    assert "purple hat" not in await names(client, image={"item": "red"}, point=[9, 9], top_k=100)
    written = await client.put("/galleries/default/items/new", json={"text": "a Purple hat"})
    assert written.status_code == 201
    image = {"base64": b64encode(file_of(square("purple"))).decode()}
    assert (await names(client, image=image, point=[30, 30]))[0] == "purple hat"
    assert (await names(client, image={"item": "red"}, point=[30, 30]))[0] == "red square"


async def test_without_texts_the_bundles_own_words_are_ranked(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path), fake_encoder(fusion=False)) as client:
        stream = BytesIO()
        Image.new("RGB", (64, 64), PALETTE["orange"]).save(stream, "PNG")
        sent = {"image": ("a.png", stream.getvalue()), "request": (None, '{"point": [32, 32]}', "application/json")}
        answer = (await client.post("/identify", files=sent)).json()
    assert (answer["source"], answer["names"][0]["phrase"]) == ("bundle", "orange")


async def test_a_gallery_of_another_name_has_its_own_words(client: httpx.AsyncClient) -> None:
    assert (await client.post("/galleries", json={"name": "other"})).status_code == 201
    await fill(client, ("orange",), gallery="other")
    found = await names(client, gallery="other", image=red_and_blue(), point=[100, 100])
    assert found == ["orange square"]


async def test_a_gallery_that_is_made_anew_forgets_the_words_of_the_old_one(client: httpx.AsyncClient) -> None:
    for colour in ("orange", "green"):  # as many writes each time, so that both are at the same version
        assert (await client.post("/galleries", json={"name": "other"})).status_code == 201
        await fill(client, (colour,), gallery="other")
        found = await names(client, gallery="other", image=red_and_blue(), point=[100, 100])
        assert found == [f"{colour} square"]
        assert (await client.delete("/galleries/other")).status_code in (200, 204)


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ({}, "request"),
        ({"point": [1, 1], "box": [0, 0, 5, 5]}, "request"),
        ({"point": [1]}, "point"),
        ({"point": [-1, 1]}, "point.0"),
        ({"box": [5, 5, 5, 9]}, "request"),
        ({"box": [500, 500, 600, 600]}, "box"),
        ({"point": [900, 900]}, "point"),
        ({"point": [1, 1], "phrases": []}, "phrases"),
    ],
)
async def test_a_place_that_cannot_be_meant_is_refused(client: httpx.AsyncClient, place: dict, field: str) -> None:
    answer = await client.post("/identify", json={"image": {"item": "red"}} | place)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["errors"][0]["field"] == field
