import io
from base64 import b64encode
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from runtime.encoder import Encoder
from runtime.engines.fake import fake_encoder
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import file_of, jpeg, square


async def search(client: httpx.AsyncClient, **query: object) -> dict:
    answer = await client.post("/search", json=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer: dict) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


async def test_a_text_finds_its_picture(client: httpx.AsyncClient) -> None:
    answer = await search(client, text="a blue square", top_k=2)
    assert ids(answer)[0] == "blue"
    assert len(answer["hits"]) == 2
    first = answer["hits"][0]
    assert first["metadata"] == {"colour": "blue", "number": 2}
    assert first["score"] > answer["hits"][1]["score"]
    assert set(first) == {"id", "score", "metadata"}
    assert answer["gallery"]["name"] == "default"
    assert answer["gallery"]["items"] == 4
    assert {"read", "embed_text", "search", "total"} <= set(answer["timings_ms"])


async def test_a_picture_finds_its_like_in_every_form(client: httpx.AsyncClient) -> None:
    as_base64 = await search(client, image={"base64": b64encode(jpeg("green")).decode()})
    as_item = await search(client, image={"item": "green"})
    as_part = (await client.post("/search", files={"image": ("a.jpg", jpeg("green"))})).json()
    with_request = await client.post(
        "/search",
        files={"request": (None, '{"top_k": 1}', "application/json"), "image": ("a.jpg", jpeg("green"))},
    )
    assert ids(as_base64)[0] == ids(as_item)[0] == ids(as_part)[0] == "green"
    assert ids(with_request.json()) == ["green"]


async def test_text_and_picture_are_averaged(client: httpx.AsyncClient) -> None:
    image = {"base64": b64encode(jpeg("red")).decode()}
    both = await search(client, text="yellow", image=image)
    assert set(ids(both)[:2]) == {"red", "yellow"}


async def test_texts_are_found_by_picture_and_text(client: httpx.AsyncClient) -> None:
    by_image = await search(client, image={"item": "blue"}, target="text", include=["text"])
    assert by_image["hits"][0]["text"] == "a blue square"
    assert "metadata" not in by_image["hits"][0]
    assert ids(await search(client, text="yellow", target="text"))[0] == "yellow"


async def test_filter_and_min_score(client: httpx.AsyncClient) -> None:
    filtered = await search(client, text="red", filter={"number": {"gte": 2}})
    assert set(ids(filtered)) == {"blue", "yellow"}
    scores = [hit["score"] for hit in (await search(client, text="red"))["hits"]]
    assert ids(await search(client, text="red", min_score=(scores[0] + scores[1]) / 2)) == ["red"]


async def test_rerank_scores_matches(client: httpx.AsyncClient) -> None:
    answer = await search(client, text="a red square", rerank=2, top_k=4)
    matches = [hit.get("match") for hit in answer["hits"]]
    assert ids(answer)[0] == "red"
    assert matches[0] > 0.9
    assert matches[1] < 0.5
    assert matches[2:] == [None, None]


async def test_rerank_of_texts_needs_a_picture(client: httpx.AsyncClient) -> None:
    answer = await search(client, image={"item": "red"}, target="text", rerank=4)
    assert ids(answer)[0] == "red"
    assert answer["hits"][0]["match"] > 0.9
    refused = await client.post("/search", json={"text": "red", "target": "text", "rerank": 2})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "rerank"


async def test_explain_boxes_phrases_and_judges_words(client: httpx.AsyncClient) -> None:
    text = "a blue square"
    answer = await search(client, text=text, explain=True, top_k=4)
    first, other = answer["hits"][0], next(hit for hit in answer["hits"] if hit["id"] == "red")
    assert first["image_size"] == [128, 128]
    region = first["regions"][0]
    assert text[region["start"] : region["end"]] == region["phrase"] == "blue square"
    x0, y0, x1, y1 = region["box"]
    assert x0 < 32 < x1 < 100
    assert y0 < 32 < y1 < 100
    words = {word["word"]: word["error_probability"] for word in first["words"]}
    assert list(words) == ["a", "blue", "square"]
    assert all(text[word["start"] : word["end"]] == word["word"] for word in first["words"])
    assert words["blue"] < 0.5 < next(w["error_probability"] for w in other["words"] if w["word"] == "blue")


async def test_explain_of_texts_judges_the_text_of_the_hit(client: httpx.AsyncClient) -> None:
    answer = await search(client, image={"item": "red"}, target="text", explain=True, include=["text"])
    wrong = next(hit for hit in answer["hits"] if hit["id"] == "blue")
    assert wrong["regions"][0]["phrase"] == "blue square"
    assert next(w for w in wrong["words"] if w["word"] == "blue")["error_probability"] > 0.5


@pytest.mark.parametrize(
    ("encoder", "method"),
    [(fake_encoder(word_maps=True), "grad_cam"), (fake_encoder(), "attention"), (fake_encoder(fusion=False), None)],
)
async def test_explained_words_are_mapped_when_it_is_asked_for(
    tmp_path: Path, encoder: Encoder, method: str | None
) -> None:
    async with serving(settings_for(tmp_path), encoder) as client:
        await fill(client)
        plain = await search(client, text="red and blue", explain=True)
        answer = await search(client, text="red and blue", explain=True, heatmap="grid", top_k=4)
        of_texts = await search(client, image={"item": "red"}, target="text", explain=True, heatmap="png", top_k=4)
    assert "heatmap_method" not in plain
    assert all("heatmap" not in word for hit in plain["hits"] for word in hit["words"])
    assert answer["heatmap_method"] == of_texts["heatmap_method"] == (method or "patch_similarity")
    assert len(answer["hits"]) == len(of_texts["hits"]) == 4
    for hit in answer["hits"]:
        heat = {word["word"]: np.asarray(word["heatmap"]) for word in hit["words"]}
        assert list(heat) == ["red", "and", "blue"]
        assert all(one.shape == (4, 4) for one in heat.values())
        if method == "grad_cam" and hit["id"] in ("red", "blue"):
            other = {"red": "blue", "blue": "red"}[hit["id"]]
            assert heat[hit["id"]].max() == 1
            assert heat[other].max() < 0.5
    assert all(isinstance(word["heatmap"], str) for hit in of_texts["hits"] for word in hit["words"])


async def test_explain_of_a_picture_alone_has_nothing_to_say(client: httpx.AsyncClient) -> None:
    answer = await search(client, image={"item": "red"}, explain=True)
    assert answer["hits"][0]["regions"] == []
    assert answer["hits"][0]["words"] == []


async def test_batch_answers_in_order_with_problems_in_place(client: httpx.AsyncClient) -> None:
    queries = [
        {"text": "red", "top_k": 1},
        {"text": "  "},
        {"text": "blue", "gallery": "nowhere"},
        {"image": {"item": "green"}},
    ]
    answer = await client.post("/search/batch", json={"queries": queries})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert ids(results[0]) == ["red"]
    assert results[1]["code"] == "text_empty"
    assert results[1]["status"] == 422
    assert results[2]["code"] == "unknown_gallery"
    assert ids(results[3])[0] == "green"


async def test_batch_refuses_a_malformed_query_as_a_whole(client: httpx.AsyncClient) -> None:
    answer = await client.post("/search/batch", json={"queries": [{"text": "red"}, {"text": "red", "topk": 3}]})
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["queries.1.topk"]


async def test_a_bundle_without_fusion_says_what_it_cannot_do(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path), fake_encoder(fusion=False)) as client:
        await fill(client)
        refused = await client.post("/search", json={"text": "red", "rerank": 3})
        assert (refused.status_code, refused.json()["code"]) == (501, "graph_missing")
        assert "fusion" in refused.json()["detail"]
        assert ids(await search(client, text="red", explain=True))[0] == "red"


async def test_hits_without_a_picture_follow_the_reranked_ones(client: httpx.AsyncClient) -> None:
    stored = await client.put("/galleries/default/items/words-only", json={"text": "a red circle"})
    assert stored.status_code == 201
    answer = await search(client, image={"item": "red"}, target="text", rerank=10, explain=True)
    assert "words-only" in ids(answer)


async def test_an_empty_gallery_answers_with_no_hits(empty_client: httpx.AsyncClient) -> None:
    assert (await search(empty_client, text="red", rerank=5, explain=True))["hits"] == []


async def test_a_picture_upright_by_exif_is_searched_upright(client: httpx.AsyncClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = file_of(square("red", size=(200, 100)), exif=exif.tobytes())
    answer = await client.post(
        "/ground",
        files={"request": (None, '{"phrases": ["red"]}', "application/json"), "image": ("a.jpg", io.BytesIO(lying))},
    )
    assert answer.json()["image_size"] == [100, 200]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "text"),
        ({"text": "red", "top_k": 100_000}, "top_k"),
        ({"text": "red", "top_k": 0}, "top_k"),
        ({"text": "red", "rerank": 100_000}, "rerank"),
        ({"text": "red", "explain": True, "top_k": 900}, "explain"),
        ({"text": "red", "heatmap": "grid"}, "heatmap"),
        ({"text": "red", "explain": ["regions"], "heatmap": "png"}, "heatmap"),
        ({"image": {"item": "red"}, "rerank": 1}, "rerank"),
        ({"text": "red", "target": "sound"}, "target"),
        ({"text": "red", "include": ["secrets"]}, "include.0"),
        ({"image": {"item": "red", "base64": ""}}, "image"),
        ({"image": {}}, "image"),
        ({"text": "red", "gallery": "../etc"}, "gallery"),
        ({"text": "red", "surprise": 1}, "surprise"),
        ({"text": 3}, "text"),
    ],
)
async def test_each_wrong_field_is_named(client: httpx.AsyncClient, query: dict, field: str) -> None:
    answer = await client.post("/search", json=query)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "request_invalid"
    assert field in [error["field"] for error in problem["errors"]]
