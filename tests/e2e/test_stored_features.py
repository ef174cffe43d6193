"""A server on a socket that is killed: what it kept of pictures is there with them, and answers need no picture."""

from pathlib import Path

import httpx

from index import open_folder
from tests.e2e.conftest import start_program
from tests.unit.server.drawing import jpeg

PROGRAM = """
from runtime.engines.fake import fake_encoder
from server.run import serve
from server.settings import load_settings

serve(load_settings(), encoder=fake_encoder(regions=True, codes=True))
"""
COLOURS = ("red", "green", "blue", "yellow")


def test_what_was_kept_of_pictures_outlives_a_kill(tmp_path: Path) -> None:
    server = start_program(PROGRAM, tmp_path)
    try:
        files = [("images", (colour, jpeg(colour))) for colour in (*COLOURS, "orange")]
        files.append(("images", ("red again", jpeg("red") + b"\n")))
        written = httpx.post(f"{server.url}/galleries/default/items", files=files)
        assert written.json()["created"] == 6, written.text
    finally:
        server.process.kill()
        server.process.wait()
    with open_folder(tmp_path / "galleries" / "default") as gallery:
        assert gallery.verify() == []
        assert set(gallery.features([*COLOURS], ("codes", "regions", "patch_tokens"))["red"].parts) == {
            "codes",
            "regions",
            "patch_tokens",
        }
        found = gallery.near_duplicates()
        assert (found.method, found.pairs) == ("codes", 1)
        assert set(found.examples[0][:2]) == {"red", "red again"}
    server = start_program(PROGRAM, tmp_path)
    try:
        query = {"text": "a blue square", "rerank": 6, "min_match": 0.5, "explain": True}
        answer = httpx.post(f"{server.url}/search", json=query).json()
        assert [hit["id"] for hit in answer["hits"]] == ["blue"]
        assert (answer["left_out"], answer["pictures_read"]) == (5, 0)
        assert answer["hits"][0]["regions"]
        nothing = httpx.post(f"{server.url}/search", json={**query, "text": "a purple square"}).json()
        assert (nothing["hits"], nothing["left_out"]) == ([], 6)
    finally:
        assert server.stop() == 0
