"""Every command that needs no torch, run as it is called: exit status, what it prints, what it leaves behind."""

import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from runtime.engines.fake import PALETTE
from tests.unit.vernier.colour_bundle import write_colour_bundle
from tests.unit.vernier.conftest import Running, picture
from vernier.cli import main

COLOURS = ("red", "green", "blue", "yellow")


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    status: int
    out: str
    err: str


Vernier = Callable[..., Ran]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command sets up logging for its process; the next test is another process, as it were."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def vernier(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Vernier:
    """Run `vernier ARGUMENTS` in an empty directory."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    for name in os.environ:
        if name.startswith("VERNIER_"):
            monkeypatch.delenv(name)

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["vernier", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Ran(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "colours"
    write_colour_bundle(out)
    return out


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four good pictures and two that are none."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for colour in COLOURS:
        picture(colour).save(folder / "more" / f"{colour}.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "half.png").write_bytes((folder / "more" / "red.png").read_bytes()[:60])
    return folder


@pytest.fixture
def gallery(vernier: Vernier, pictures: Path, bundle: Path, tmp_path: Path) -> Path:
    place = tmp_path / "gallery"
    assert vernier("index", "add", place, "--bundle", bundle, pictures).status == 0
    return place


def two_halves(folder: Path) -> Path:
    """White on the left, red on the right."""
    image = Image.new("RGB", (80, 40), PALETTE["white"])
    image.paste(PALETTE["red"], (40, 0, 80, 40))
    image.save(folder / "halves.png")
    return folder / "halves.png"


def test_pictures_go_in_and_broken_ones_are_named(
    vernier: Vernier, pictures: Path, bundle: Path, tmp_path: Path
) -> None:
    place = tmp_path / "gallery"
    first = vernier("index", "add", place, "--bundle", bundle, pictures)
    assert first.status == 0
    assert "4 created, 0 replaced, 0 unchanged, 2 left out; 4 items now" in first.err
    assert "broken.jpg" in first.err
    assert "half.png" in first.err
    again = vernier("index", "add", place, pictures, "--bundle", bundle, "--json")
    report = json.loads(again.out)
    assert (report["created"], report["unchanged"], report["items"]) == (0, 4, 4)
    assert {Path(entry["source"]).name for entry in report["broken"]} == {"broken.jpg", "half.png"}


def test_nothing_that_can_be_used_is_a_failure(vernier: Vernier, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    ran = vernier("index", "add", tmp_path / "gallery", "--bundle", bundle, tmp_path / "broken.jpg")
    assert ran.status == 1
    assert "nothing could be added" in ran.err


def test_a_gallery_is_searched_by_text_and_by_picture(
    vernier: Vernier, gallery: Path, bundle: Path, pictures: Path
) -> None:
    here = ("--gallery", gallery, "--bundle", bundle)
    answer = json.loads(vernier("search", "blue", *here, "--json", "--top-k", 2).out)
    assert answer["hits"][0]["id"] == "more/blue.png"
    assert len(answer["hits"]) == 2
    plain = vernier("search", "--image", pictures / "more" / "green.png", *here)
    assert plain.status == 0
    assert plain.out.split()[1] == "more/green.png"
    none = vernier("search", "blue", *here, "--filter", '{"n": 3}')
    assert (none.status, none.out) == (0, "")
    assert "Nothing found among 4 items" in none.err


def test_searching_leaves_the_gallery_free_and_unchanged(vernier: Vernier, gallery: Path, bundle: Path) -> None:
    before = json.loads(vernier("index", "stats", gallery, "--json").out)
    vernier("search", "blue", "--gallery", gallery, "--bundle", bundle)
    after = json.loads(vernier("index", "stats", gallery, "--json").out)
    assert before["version"] == after["version"]
    assert after["items"] == 4
    assert (Path.cwd() / "galleries").exists() is False


def test_a_gallery_is_looked_after(vernier: Vernier, gallery: Path) -> None:
    verified = vernier("index", "verify", gallery)
    assert (verified.status, verified.out) == (0, "")
    assert "is whole: 4 items" in verified.err
    assert vernier("index", "compact", gallery).status == 0
    assert vernier("index", "rebuild", gallery).status == 0
    assert json.loads(vernier("index", "verify", gallery, "--json").out) == {"items": 4, "problems": []}
    stats = vernier("index", "stats", gallery)
    assert "image vectors" in stats.out


def test_what_is_kept_of_pictures_is_chosen_changed_and_told(
    vernier: Vernier, pictures: Path, bundle: Path, tmp_path: Path
) -> None:
    place = tmp_path / "bare"

    def stats() -> dict:
        return json.loads(vernier("index", "stats", place, "--json").out)

    assert vernier("index", "add", place, "--bundle", bundle, pictures, "--patch-tokens", "none").status == 0
    assert (stats()["patch_tokens"], stats()["feature_bytes"]) == ("none", 0)
    other = vernier("index", "add", place, "--bundle", bundle, pictures, "--patch-tokens", "fp16")
    assert (other.status, "--patch-tokens fp16` changes that" in other.err) == (2, True)
    made = vernier("index", "features", place, "--bundle", bundle, "--patch-tokens", "int8", "--json")
    assert json.loads(made.out)["made"] == 4
    assert (stats()["patch_tokens"], stats()["pictures_with_features"]) == ("int8", 4)
    again = vernier("index", "features", place, "--bundle", bundle)
    assert "0 pictures looked at, 4 were whole" in again.err
    assert vernier("index", "features", "milvus://here/x", "--bundle", bundle).status == 2


def test_near_duplicates_are_told(vernier: Vernier, gallery: Path, bundle: Path, pictures: Path) -> None:
    picture("red").save(pictures / "again.bmp")
    assert vernier("index", "add", gallery, "--bundle", bundle, pictures / "again.bmp").status == 0
    found = json.loads(vernier("index", "stats", gallery, "--near-duplicates", "--json").out)["near_duplicates"]
    assert (found["method"], found["pairs"], found["groups"], found["looked_at"]) == ("vectors", 1, 1, 5)
    assert set(found["examples"][0][:2]) == {"again.bmp", "more/red.png"}
    assert "near duplicates by vectors" in vernier("index", "stats", gallery, "--near-duplicates").err


@pytest.mark.parametrize("command", ["stats", "verify", "compact", "rebuild"])
def test_looking_after_no_gallery(vernier: Vernier, tmp_path: Path, command: str) -> None:
    ran = vernier("index", command, tmp_path / "nothing")
    assert ran.status == 1
    assert ran.err.startswith("vernier: there is no gallery at")
    assert not (tmp_path / "nothing").exists()


def test_searching_a_folder_that_is_no_gallery_makes_none(vernier: Vernier, pictures: Path, bundle: Path) -> None:
    ran = vernier("search", "red", "--gallery", pictures, "--bundle", bundle)
    assert ran.status == 1
    assert "there is no gallery" in ran.err
    assert not list(pictures.glob("*.sqlite"))


def test_phrases_are_boxed(vernier: Vernier, bundle: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.png"
    ran = vernier("ground", two_halves(tmp_path), "red", "white", "--bundle", bundle, "--out", overlay, "--json")
    assert ran.status == 0
    answer = json.loads(ran.out)
    boxes = {grounding["phrase"]: grounding["boxes"][0]["box"] for grounding in answer["groundings"]}
    assert boxes["red"][0] >= 20
    assert boxes["white"][2] <= 60
    drawn = Image.open(overlay)
    assert drawn.size == (480, 240)
    assert drawn.getcolors(1 << 20) != Image.open(two_halves(tmp_path)).resize((480, 240)).getcolors(1 << 20)
    plain = vernier("ground", two_halves(tmp_path), "red", "--bundle", bundle)
    assert plain.out.startswith("red  ")


def test_where_an_overlay_cannot_go_is_said_first(vernier: Vernier, bundle: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path / "overlay.txt", tmp_path / "nowhere" / "overlay.png"):
        ran = vernier("ground", two_halves(tmp_path), "red", "--bundle", bundle, "--out", wrong)
        assert ran.status == 2


def test_a_text_is_proofread(vernier: Vernier, bundle: Path, pictures: Path) -> None:
    ran = vernier("proofread", pictures / "more" / "red.png", "a blue picture", "--bundle", bundle, "--json")
    answer = json.loads(ran.out)
    assert [word["word"] for word in answer["words"]] == ["a", "blue", "picture"]
    plain = vernier("proofread", pictures / "more" / "red.png", "a blue picture", "--bundle", bundle)
    assert plain.status == 0
    assert "match: " in plain.out


def test_several_texts_are_proofread_and_a_bad_one_is_said(vernier: Vernier, bundle: Path, pictures: Path) -> None:
    image = pictures / "more" / "red.png"
    ran = vernier("proofread", image, "a blue picture", "a red picture", "--bundle", bundle, "--json")
    alone = vernier("proofread", image, "a blue picture", "--bundle", bundle, "--json")
    blue, red = json.loads(ran.out)["results"]
    assert blue["words"] == json.loads(alone.out)["words"]
    assert [word["word"] for word in red["words"]] == ["a", "red", "picture"]
    plain = vernier("proofread", image, "a blue picture", " ", "--bundle", bundle)
    assert plain.status == 1
    assert plain.out.startswith("a blue picture:\n")
    assert "' ' could not be judged" in plain.err
    assert "1 of 2 texts could not be judged" in plain.err


def test_a_server_is_asked_instead(vernier: Vernier, server: Running, tmp_path: Path) -> None:
    image = two_halves(tmp_path)
    assert "red" in vernier("ground", image, "red", "--url", server.url).out
    assert vernier("proofread", image, "a blue picture", "--url", server.url).out.count("wrong") == 1
    assert vernier("search", "red", "--url", server.url).status == 0
    missing = vernier("search", "red", "--url", server.url, "--gallery", "nowhere")
    assert missing.status == 1
    assert "unknown_gallery" in missing.err


def test_what_cannot_be_meant(vernier: Vernier, bundle: Path, pictures: Path, server: Running) -> None:
    red = pictures / "more" / "red.png"
    for arguments in (
        ("search",),
        ("search", "red", "--bundle", bundle),
        ("search", "red", "--url", server.url, "--bundle", bundle),
        ("search", "red", "--url", server.url, "--filter", "{"),
        ("search", "red", "--url", server.url, "--filter", "[]"),
        ("search", "red", "--url", "localhost"),
        ("search", "red", "--top-k", "0"),
        ("ground", red),
        ("ground", red, "red", "--url", server.url, "--bundle", bundle),
        ("proofread", red),
        ("scenes", "out"),
        ("scenes", "out", "--count", "3", "--seed", "1", "--split", "nothing"),
        ("scenes", "out", "--count", "0", "--seed", "1"),
        ("eval", bundle),
        ("eval", bundle, "--retrieval", "captions.jsonl"),
        ("eval", bundle, "--suite", "suite.toml", "--split", "dev"),
        ("index", "add", "gallery"),
        ("serve", "--port", "99999"),
        ("nothing",),
        ("search", "red", "--nothing"),
    ):
        ran = vernier(*arguments)
        assert ran.status == 2, (arguments, ran)
        assert ran.err
        assert ran.out == ""


def test_what_fails(vernier: Vernier, bundle: Path, pictures: Path, gallery: Path, unused_port: int) -> None:
    broken, red = pictures / "broken.jpg", pictures / "more" / "red.png"
    damaged = pictures / "damaged"
    shutil.copytree(bundle, damaged)
    (damaged / "text_encoder.onnx").write_bytes(b"something else")
    for arguments, said in (
        (("ground", broken, "red", "--bundle", bundle), "image_undecodable"),
        (("ground", pictures / "missing.png", "red", "--bundle", bundle), "cannot be read"),
        (("proofread", red, "  ", "--bundle", bundle), "text_empty"),
        (("proofread", red, "red", "--bundle", pictures), "holds no bundle"),
        (("search", "red", "--gallery", gallery, "--bundle", damaged), "damaged"),
        (("search", "red", "--url", f"http://127.0.0.1:{unused_port}"), "nothing answers"),
        (("eval", pictures, "--retrieval", "x.jsonl", "--images", pictures), "x.jsonl"),
        (("index", "add", gallery, "--bundle", bundle, pictures / "nowhere"), "no file or folder"),
        (("serve", "--bundle", pictures), "holds no bundle"),
    ):
        ran = vernier(*arguments)
        assert ran.status == 1, (arguments, ran)
        assert said in ran.err
        assert ran.err.count("vernier: ") == 1


def test_scenes_are_drawn_and_evaluated(vernier: Vernier, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "scenes"
    assert vernier("scenes", out, "--count", 8, "--seed", 3, "--split", "val").status == 0
    lists = {"captions.jsonl", "hard_negatives.jsonl", "grounding.jsonl", "image_pairs.jsonl"}
    assert {path.name for path in out.iterdir()} == {*lists, "detection.json", "images"}
    numbers = tmp_path / "numbers" / "out.json"
    ran = vernier(
        "eval", bundle, "--images", out / "images", "--retrieval", out / "captions.jsonl",
        "--hard-negatives", out / "hard_negatives.jsonl", "--grounding", out / "grounding.jsonl",
        "--image-pairs", out / "image_pairs.jsonl", "--detection", out / "detection.json", "--json", numbers,
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert json.loads(numbers.read_text())["detection"]["count"] == 8
    result = json.loads(numbers.read_text())
    assert result["retrieval"]["text_to_image"]["count"] == 8
    assert "Retrieval" in ran.out
    alone = vernier(
        "eval", bundle, "--images", out / "images", "--detection", out / "detection.json", "--json", numbers
    )
    assert alone.status == 0, alone.err
    assert json.loads(numbers.read_text())["detection"] == result["detection"]
    suite = tmp_path / "suite.toml"
    suite.write_text('images = "scenes/images"\n[[run]]\nname = "drawn"\nretrieval = "scenes/captions.jsonl"\n')
    ran = vernier("eval", bundle, "--suite", suite, "--json", numbers)
    assert ran.status == 0, ran.err
    assert json.loads(numbers.read_text())["runs"]["drawn"]["retrieval"]["count"] == 8


def test_the_doctor_looks_at_everything(vernier: Vernier, bundle: Path, gallery: Path, unused_port: int) -> None:
    ran = vernier("doctor", "--bundle", bundle, "--gallery", gallery, "--port", unused_port, "--json")
    findings = {finding["what"]: finding for finding in json.loads(ran.out)}
    assert ran.status == 0, ran.out
    wanted = {"python", "cores", "memory", "disk", "onnxruntime", "faiss", "bundle", "gallery", "port"}
    assert wanted <= set(findings)
    assert "4 items" in findings["gallery"]["found"]


def test_the_doctor_says_what_is_wrong_and_how_to_mend_it(vernier: Vernier, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        ran = vernier("doctor", "--bundle", tmp_path, "--gallery", tmp_path, "--port", port)
    assert ran.status == 1
    assert ran.out.count("wrong") == 3
    assert ran.out.count("->") >= 3


def test_the_doctor_knows_a_server_of_ours(vernier: Vernier, server: Running, bundle: Path) -> None:
    ran = vernier("doctor", "--bundle", bundle, "--port", server.url.rpartition(":")[2])
    assert "a Vernier server answers" in ran.out
    assert ran.status == 0, ran.out


def test_progress_is_told_in_plain_lines(vernier: Vernier, tmp_path: Path) -> None:
    ran = vernier("scenes", tmp_path / "scenes", "--count", 5, "--seed", 1)
    assert "Drawing: 5/5\n" in ran.err
    assert ran.out == ""


def test_the_version(vernier: Vernier) -> None:
    assert vernier("--version").out.startswith("vernier ")
