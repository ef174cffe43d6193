"""From a public CLIP or SigLIP of random weights to a server that searches, reranks, grounds and proofreads with it."""

import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from export import build
from runtime.encoder import Encoder
from tests.unit.server.conftest import serving, settings_for
from tests.unit.training.photo_set import write_photos
from tests.unit.training.public_towers import write_clip, write_siglip
from training.checkpoint import load_trained
from training.data.learned_guesser import LearnedGuesserConfig
from training.model.word_guesser import SmallGuesserConfig
from training.recipes import from_clip
from training.train import run

QUICK = dataclasses.replace(
    from_clip._SMALL, reader_width=64, codes=16, batch_size=8, matched=8, dear=4, num_steps=20, waits=2
)
WRITE = {"clip": write_clip, "siglip": write_siglip}
of_clip = pytest.mark.parametrize("trained", ["clip"], indirect=True)
"""Exporting takes half a minute; SigLIP's graphs have their test in tests/unit/export/test_tower_graphs.py."""


def guesser(*, model: SmallGuesserConfig) -> LearnedGuesserConfig:
    small = dataclasses.replace(model, width=16, heads=2)
    return LearnedGuesserConfig(model=small, num_captions=40, num_steps=60, batch_size=16, learning_rate=0.02)


@pytest.fixture(scope="module", params=list(WRITE))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """The data, the public model beside it, the last checkpoint of seven steps on it, and what they said."""
    folder = tmp_path_factory.mktemp(request.param)
    data = folder / "data"
    write_photos(data, count=40)
    lines = [json.loads(line) for line in (data / "captions.jsonl").read_text().splitlines()]
    words = {word for line in lines for caption in line["captions"] for word in caption.lower().split()}
    public = WRITE[request.param](data / "towers" / "clip", words)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(from_clip, "_SMALL", QUICK)
        patch.setattr(from_clip, "LearnedGuesserConfig", guesser)
        said = Console(file=io.StringIO(), width=10_000)
        recipe = "training.recipes.from_clip:small"
        checkpoint = run(recipe, data=data, workdir=folder / "work", max_steps=7, console=said)
    return data, public, checkpoint, said.file.getvalue()


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, _, checkpoint, _ = trained
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    build(checkpoint, out, data=data)
    return out


def test_every_objective_was_trained(trained) -> None:
    last = trained[3].splitlines()[-1].split()
    for term in ("itc", "mlm", "itm", "vilem", "soft_mask", "loupe", "nas"):
        assert float(last[last.index(term) + 1]) > 0, term


def test_the_towers_go_on_from_the_public_ones(trained) -> None:
    _, public, checkpoint, _ = trained
    model = load_trained(checkpoint).model
    before = public.vision_model.state_dict()
    after = model.image_encoder.tower.state_dict()
    moved = [(value - before[name]).abs().max().item() for name, value in after.items() if value.is_floating_point()]
    assert 0 < max(moved) < 2e-4  # five steps at a tenth of the rate
    table = model.text_encoder.tower.get_input_embeddings().weight
    given = public.text_model.get_input_embeddings().weight
    assert len(table) == len(given) + 1
    torch.testing.assert_close(table[:-1], given, atol=2e-4, rtol=0)
    torch.testing.assert_close(table[-1], given.mean(dim=0), atol=2e-4, rtol=0)


@of_clip
def test_the_bundle_has_every_graph_and_names_no_place_on_this_machine(trained, exported: Path) -> None:
    encoder = Encoder.load(exported, provider="cpu", num_threads=1)
    assert set(encoder.manifest.graphs) >= {"image_encoder", "text_encoder", "fusion", "word_maps", "proof_reader"}
    assert encoder.has_proof_reader
    assert "region_boxes" in {spec.name for spec in encoder.manifest.graphs["image_encoder"].outputs}
    for file in exported.iterdir():
        assert str(trained[0].parent).encode() not in file.read_bytes(), file.name


@of_clip
async def test_it_serves_search_with_rerank_proofread_and_ground(trained, exported: Path, tmp_path: Path) -> None:
    data = trained[0]
    encoder = Encoder.load(exported, provider="cpu", num_threads=1)
    async with serving(settings_for(tmp_path), encoder) as client:
        for number in range(4):
            picture = (data / "images" / f"{number}.png").read_bytes()
            answer = await client.put(f"/galleries/default/items/{number}", files={"image": (f"{number}.png", picture)})
            assert answer.status_code == 201, answer.text
        found = await client.post("/search", json={"text": "a red ball on the left", "rerank": 4, "explain": True})
        assert found.status_code == 200, found.text
        hits = found.json()["hits"]
        assert len(hits) == 4
        assert all(0 <= hit["match"] <= 1 for hit in hits)
        proof = await client.post(
            "/proofread",
            json={"image": {"item": "0"}, "text": "a green box on the right", "threshold": 0.0, "suggestions": 3},
        )
        assert proof.status_code == 200, proof.text
        words = {word["word"]: word for word in proof.json()["words"]}
        suggested = {one["word"] for word in words.values() for one in word["suggestions"]}
        assert suggested  # whole words of the captions, whatever the vocabulary marks
        assert suggested & set("ball box red green blue white on left right that".split())
        assert all(word.isalpha() for word in suggested)
        ground = await client.post("/ground", json={"image": {"item": "0"}, "phrases": ["a red ball"]})
        assert ground.status_code == 200, ground.text
        (box,) = ground.json()["groundings"][0]["boxes"]
        assert box["box"][2] > box["box"][0]
