"""Rerank and explain from what a gallery keeps of its pictures, `min_match`, and galleries that keep nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from index import open_gallery
from runtime.bundle import Logistic
from runtime.encoder import Encoder
from runtime.engines.fake import fake_encoder
from runtime.engines.protocol import Arrays
from tests.unit.server.conftest import COLOURS, fill, serving, settings_for
from tests.unit.server.drawing import file_of, square
from tests.unit.server.test_search_route import ids, search


class Counted:
    """An engine that notes how many rows each of its calls had."""

    def __init__(self, encoder: Encoder, graph: str) -> None:
        self.inner = encoder.engines[graph]
        self.provider = self.inner.provider
        self.rows: list[int] = []
        encoder.engines[graph] = self

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        self.rows.append(len(next(iter(inputs.values()))))
        return self.inner.run(inputs, outputs)


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("timings_ms", "pictures_read")}


def rounded(value: Any, digits: int = 3) -> Any:
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {name: rounded(inner, digits) for name, inner in value.items()}
    return [rounded(inner, digits) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("precision", ["int8", "fp16"])
@pytest.mark.parametrize("proof_reader", [False, True])
@pytest.mark.parametrize("regions", [False, True])
async def test_answers_from_the_store_are_those_from_the_pictures(
    tmp_path: Path, precision: str, proof_reader: bool, regions: bool
) -> None:
    answers = []
    for kept in (precision, "none"):
        encoder = fake_encoder(proof_reader=proof_reader)
        if regions:
            encoder = fake_encoder(proof_reader=proof_reader, regions=True)
        async with serving(settings_for(tmp_path / kept, patch_tokens=kept), encoder) as client:
            await fill(client)
            answers.append(await search(client, text="a blue square", rerank=4, explain=True))
    stored, looked = answers
    assert stored["pictures_read"] == 0
    assert looked["pictures_read"] >= 4
    assert ids(stored) == ids(looked)
    for one, other in zip(stored["hits"], looked["hits"], strict=True):
        assert one["match"] == pytest.approx(other["match"], abs=0.02)
        for part in ("words", "regions"):
            assert [w.get("word", w.get("phrase")) for w in one[part]] == [
                w.get("word", w.get("phrase")) for w in other[part]
            ]
        for a, b in zip(one["words"], other["words"], strict=True):
            assert a["error_probability"] == pytest.approx(b["error_probability"], abs=0.05)
        for a, b in zip(one["regions"], other["regions"], strict=True):
            # The stored JPEG is not quite the picture as sent: an edge may move by a cell of the enlarged map.
            assert a["box"] == pytest.approx(b["box"], abs=8.5)


async def test_no_picture_is_looked_at_and_all_hits_are_one_batch(tmp_path: Path) -> None:
    encoder = fake_encoder(regions=True, proof_reader=True)
    images, fusion, reader = (Counted(encoder, graph) for graph in ("image_encoder", "fusion", "proof_reader"))
    async with serving(settings_for(tmp_path), encoder) as client:
        await fill(client)
        for counted in (images, fusion, reader):
            counted.rows.clear()
        answer = await search(client, text="a blue square", rerank=4, explain=True)
        assert len(answer["hits"]) == 4
        assert images.rows == []
        assert fusion.rows == [4]
        assert reader.rows == [4]
        read = [
            line for line in (await client.get("/metrics")).text.splitlines() if "vernier_pictures_read_total" in line
        ]
        assert read[-1].endswith(" 0.0")


async def test_what_is_not_asked_of_an_explanation_is_not_done(tmp_path: Path) -> None:
    encoder = fake_encoder(regions=True, proof_reader=True)
    images, fusion, reader = (Counted(encoder, graph) for graph in ("image_encoder", "fusion", "proof_reader"))
    async with serving(settings_for(tmp_path), encoder) as client:
        await fill(client)
        both = await search(client, text="a blue square", explain=True)
        for counted in (images, fusion, reader):
            counted.rows.clear()
        boxes = await search(client, text="a blue square", explain=["regions"])
        assert images.rows == fusion.rows == reader.rows == []
        words = await search(client, text="a blue square", explain=["words"])
    for one, with_boxes, with_words in zip(both["hits"], boxes["hits"], words["hits"], strict=True):
        assert {**with_boxes, **with_words} == one
        assert "words" not in with_boxes
        assert "regions" not in with_words


async def test_the_phrases_of_a_query_are_read_in_one_batch_with_it(tmp_path: Path) -> None:
    encoder = fake_encoder(regions=True)
    texts = Counted(encoder, "text_encoder")
    async with serving(settings_for(tmp_path, cache_bytes=0), encoder) as client:
        await fill(client)
        texts.rows.clear()
        answer = await search(client, text="a blue square", explain=["regions"])
    assert {region["phrase"] for hit in answer["hits"] for region in hit["regions"]} == {"blue square"}
    assert texts.rows == [2]


async def test_pictures_of_hits_that_are_left_out_are_not_looked_at(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, patch_tokens="none", cache_bytes=0)) as client:
        await fill(client)
        scores = [hit["score"] for hit in (await search(client, text="a blue square"))["hits"]]
        answer = await search(client, text="a blue square", explain=["words"], min_score=scores[0])
    assert len(answer["hits"]) == answer["pictures_read"] == scores.count(scores[0]) < len(scores)


async def test_a_gallery_without_features_answers_and_says_so(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, patch_tokens="none", cache_bytes=0)
    async with serving(settings) as client:
        await fill(client)
        assert (await client.get("/galleries/default")).json()["patch_tokens"] == "none"
        answer = await search(client, text="a blue square", rerank=3)
        assert answer["pictures_read"] == 3
        assert ids(answer)[0] == "blue"
        assert "vernier_pictures_read_total 3.0" in (await client.get("/metrics")).text


async def test_some_hits_from_the_store_and_some_from_pictures(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path)) as client:
        await fill(client)
        wanted = await search(client, text="a blue square", rerank=4, explain=True)
    with open_gallery(tmp_path / "galleries" / "default") as gallery:
        gallery._store.put_features([])  # type: ignore[attr-defined]
        with gallery._store.database.writing() as connection:  # type: ignore[attr-defined]
            connection.execute("DELETE FROM image_features WHERE row IN (1, 3)")
    async with serving(settings_for(tmp_path)) as client:
        found = await search(client, text="a blue square", rerank=4, explain=True)
    assert found["pictures_read"] > 0
    assert rounded(without_times(found), 1) == rounded(without_times(wanted), 1)


async def test_min_match_cuts_what_does_not_fit(client: httpx.AsyncClient) -> None:
    everything = await search(client, text="a red square", rerank=4)
    assert len(everything["hits"]) == 4
    assert "left_out" not in everything
    answer = await search(client, text="a red square", rerank=4, min_match=0.5)
    assert ids(answer) == ["red"]
    assert answer["hits"][0]["match"] >= 0.5
    assert answer["left_out"] == 3


async def test_min_match_alone_rescores_all_that_would_be_given(client: httpx.AsyncClient) -> None:
    answer = await search(client, text="a red square", min_match=0.0, top_k=3)
    assert len(answer["hits"]) == 3
    assert all("match" in hit for hit in answer["hits"])
    assert answer["left_out"] == 0
    ordered = [hit["match"] for hit in answer["hits"]]
    assert ordered == sorted(ordered, reverse=True)


async def test_what_was_not_rescored_is_not_vouched_for(client: httpx.AsyncClient) -> None:
    answer = await search(client, text="a red square", rerank=1, min_match=0.1)
    assert ids(answer) == ["red"]
    assert answer["left_out"] == 3


async def test_nothing_fits_and_the_answer_is_empty(client: httpx.AsyncClient) -> None:
    answer = await search(client, text="a purple square", rerank=4, min_match=0.5)
    assert answer["hits"] == []
    assert answer["left_out"] == 4
    assert answer["gallery"]["items"] == 4


async def test_min_match_in_a_batch(client: httpx.AsyncClient) -> None:
    queries = [{"text": f"a {colour} square", "rerank": 4, "min_match": 0.5} for colour in (*COLOURS, "purple")]
    answered = (await client.post("/search/batch", json={"queries": queries})).json()["results"]
    assert [ids(answer) for answer in answered] == [["red"], ["green"], ["blue"], ["yellow"], []]


async def test_min_match_where_nothing_can_be_rescored_is_refused(client: httpx.AsyncClient, tmp_path: Path) -> None:
    refused = await client.post("/search", json={"image": {"item": "red"}, "min_match": 0.5})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "min_match"
    refused = await client.post("/search", json={"text": "red", "min_match": 1.5})
    assert refused.status_code == 422
    refused = await client.post("/search", json={"text": "red", "min_match": 0.5, "top_k": 1000})
    assert "lower top_k" in refused.text
    async with serving(settings_for(tmp_path / "dual"), fake_encoder(fusion=False)) as dual:
        refused = await dual.post("/search", json={"text": "red", "min_match": 0.5})
        assert refused.status_code == 501
        assert refused.json()["code"] == "graph_missing"


async def test_probabilities_that_have_run_into_one_keep_the_order_of_their_scores(tmp_path: Path) -> None:
    encoder = fake_encoder()
    steep = encoder.manifest.calibration.model_copy(update={"match": Logistic(scale=100.0)})
    encoder.manifest = encoder.manifest.model_copy(update={"calibration": steep})
    async with serving(settings_for(tmp_path), encoder) as client:
        await fill(client)
        answer = await search(client, text="a square", rerank=4, min_match=1.0)
    assert [hit["match"] for hit in answer["hits"]] == [1.0] * len(answer["hits"])


async def test_galleries_say_how_they_keep_tokens(empty_client: httpx.AsyncClient) -> None:
    made = await empty_client.post("/galleries", json={"name": "fine", "patch_tokens": "fp16"})
    assert made.json()["patch_tokens"] == "fp16"
    plain = await empty_client.post("/galleries", json={"name": "plain"})
    assert plain.json()["patch_tokens"] == "int8"
    listed = (await empty_client.get("/galleries")).json()["galleries"]
    assert {one["name"]: one["patch_tokens"] for one in listed} == {"default": "int8", "fine": "fp16", "plain": "int8"}
    wrong = await empty_client.post("/galleries", json={"name": "odd", "patch_tokens": "int4"})
    assert wrong.status_code == 422


async def test_boxes_are_in_pixels_of_the_stored_picture_though_it_is_not_read(tmp_path: Path) -> None:
    picture = file_of(square("blue", size=(800, 400), box=(400, 200, 799, 399)))
    async with serving(settings_for(tmp_path), fake_encoder(regions=True)) as client:
        stored = await client.put("/galleries/default/items/wide", files={"image": ("wide.jpg", picture)})
        assert stored.status_code == 201
        (hit,) = (await search(client, text="a blue square", explain=True))["hits"]
    assert hit["image_size"] == [512, 256]
    np.testing.assert_allclose(hit["regions"][0]["box"], [256, 128, 512, 256], atol=1)
