"""A request that began before a gallery went over to another model ends with the model that it began with."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from index import thumbnail
from runtime.encoder import Encoder
from runtime.engines.fake import PALETTE
from tests.unit.server.conftest import serving, settings_for
from tests.unit.vernier.colour_bundle import write_colour_bundle

COLOURS = ("red", "green", "blue")


class Gated:
    """An engine that waits for leave once it is told to."""

    def __init__(self, engine: Any) -> None:
        self.provider = engine.provider
        self._engine = engine
        self.may_run, self.has_come = threading.Event(), threading.Event()
        self.may_run.set()

    def run(self, inputs: Mapping[str, Any], outputs: Any = None) -> dict[str, Any]:
        self.has_come.set()
        assert self.may_run.wait(30)
        return self._engine.run(inputs, outputs)


async def moved(client: httpx.AsyncClient) -> dict:
    while True:
        state = (await client.get("/galleries/default/migration")).json()
        if state["state"] != "running":
            return state
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("form", ["search", "write"])
async def test_a_request_has_one_model_and_vectors_of_its_space(tmp_path: Path, form: str) -> None:
    for turn, name in enumerate(("first", "second")):
        write_colour_bundle(tmp_path / "bundles" / name, turn=turn)
    encoder = Encoder.load(tmp_path / "bundles" / "first", num_threads=1)
    gate = Gated(encoder.engines["text_encoder"])
    encoder.engines["text_encoder"] = gate
    async with serving(settings_for(tmp_path, bundles_dir=tmp_path / "bundles"), encoder) as client:
        for colour in COLOURS:
            picture = thumbnail(Image.new("RGB", (64, 48), PALETTE[colour]))
            await client.put(f"/galleries/default/items/{colour}", files={"image": ("a.jpg", picture)})
        gate.has_come.clear()
        gate.may_run.clear()
        if form == "search":
            call = client.post("/search", json={"text": "a green", "top_k": 1})
        else:
            call = client.put("/galleries/default/items/late", json={"text": "blue"})
        waiting = asyncio.create_task(call)
        await asyncio.to_thread(gate.has_come.wait, 30)
        begun = await client.post("/galleries/default/migration", json={"bundle": "second"})
        assert begun.status_code == 202
        assert (await moved(client))["state"] == "done"
        gate.may_run.set()
        answer = await waiting
        if form == "search":
            assert [hit["id"] for hit in answer.json()["hits"]] == ["green"]
            assert answer.json()["hits"][0]["score"] > 0.95
        else:
            assert answer.status_code == 201
            query = {"text": "blue", "target": "text", "top_k": 1}
            found = (await client.post("/search", json=query)).json()["hits"]
            assert [(hit["id"], round(hit["score"], 3)) for hit in found] == [("late", 1.0)]
        after = (await client.post("/search", json={"text": "red", "top_k": 1})).json()
        assert after["hits"][0]["id"] == "red"
        assert (await client.delete("/galleries/default/migration")).status_code == 204
        assert "other_space" not in (await client.get("/galleries/default/migration")).json()


async def test_a_gallery_of_another_space_is_served_with_the_bundle_of_that_space(tmp_path: Path) -> None:
    for turn, name in enumerate(("first", "second")):
        write_colour_bundle(tmp_path / "bundles" / name, turn=turn)
    settings = settings_for(tmp_path, bundles_dir=tmp_path / "bundles")
    first, second = (Encoder.load(tmp_path / "bundles" / name, num_threads=1) for name in ("first", "second"))
    async with serving(settings, second) as client:
        await client.post("/galleries", json={"name": "others"})
        picture = thumbnail(Image.new("RGB", (64, 48), PALETTE["blue"]))
        await client.put("/galleries/others/items/it", files={"image": ("a.jpg", picture)})
        await client.delete("/galleries/default")
    async with serving(settings, first) as client:
        described = {entry["name"]: entry["space"] for entry in (await client.get("/galleries")).json()["galleries"]}
        assert described == {"default": first.space, "others": second.space}
        hits = (await client.post("/search", json={"text": "blue", "gallery": "others"})).json()["hits"]
        assert hits[0]["score"] > 0.97
