"""An audit of small datasets whose wrong captions are known: found, ranked, resumed after kill -9, never stopped."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from evaluation.audit import Summary, audit
from evaluation.audit.journal import Journal
from runtime.bundle import CaptionErrorFit
from runtime.encoder import Encoder
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import DataError, UsageError
from tests.unit.vernier.colour_bundle import write_colour_bundle

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for colour, rgb in PALETTE.items():
        Image.new("RGB", (40, 40), rgb).save(folder / f"{colour}.png")
    return folder


def write(file: Path, *rows: object) -> Path:
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return file


def run(images: Path, captions: Path, encoder: Encoder | None = None, **options: object) -> Summary:
    encoder = encoder or fake_encoder(proof_reader=True)
    return audit(encoder, captions, images=images, out=captions.parent / "audit", **options)  # type: ignore[arg-type]


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("made_of", "threshold"),
    [({"proof_reader": True}, None), ({}, None), ({"fusion": False}, 0.13)],
    ids=["word errors", "masked words", "leave one out"],
)
def test_the_wrong_captions_are_ranked_first_by_every_method(
    tmp_path: Path, images: Path, made_of: dict[str, bool], threshold: float | None
):
    captions = write(
        tmp_path / "captions.jsonl",
        {"image": "red.png", "captions": ["a red square", "A Green square, it is!"]},
        {"image": "blue.png", "captions": ["a blue star"]},
        "",
        {"image": "green.png", "captions": ["a purple circle"]},
    )
    summary = run(images, captions, fake_encoder(**made_of), threshold=threshold)
    assert (summary.pictures, summary.captions, summary.suspects, summary.problems) == (3, 4, 2, 0)
    found = lines(summary.report)
    assert [one["rank"] for one in found] == [1, 2]
    assert {(one["image"], one["line"], one["caption"]) for one in found} == {
        ("red.png", 1, "A Green square, it is!"),
        ("green.png", 4, "a purple circle"),
    }
    assert found[0]["score"] >= found[1]["score"]
    of_red = next(one for one in found if one["image"] == "red.png")
    assert of_red["corrected_text"] == "A Red square, it is!"
    assert [word["word"] for word in of_red["words"] if word["is_error"]] == ["Green"]


def test_captions_that_do_not_match_are_suspects_even_where_no_word_is_called_wrong(tmp_path: Path, images: Path):
    plain = fake_encoder()
    fit = CaptionErrorFit(
        word=0.0,
        match=-2.0,
        bias=0.0,
        threshold=0.9,
        prior=0.05,
        right=100,
        wrong=100,
        most_false_alarms=0.02,
        false_alarms=0.0,
        recall=1.0,
        ap={"word": 0.5, "match": 1.0, "both": 1.0},
    )
    calibration = plain.manifest.calibration.model_copy(update={"caption_error": fit, "word_error_threshold": 1.0})
    manifest = plain.manifest.model_copy(update={"calibration": calibration})
    encoder = Encoder(manifest, plain.text_transform, plain.engines)
    rows = [{"image": "red.png", "captions": ["a red square", "a blue square"]}]
    summary = run(images, write(tmp_path / "captions.jsonl", *rows), encoder)
    assert (summary.captions, summary.suspects, summary.errors) == (2, 1, 0)
    (found,) = lines(summary.report)
    assert found["caption"] == "a blue square"
    # the fake's match is 4 less 8 times the share of a wanted colour that is missing, nearly all of it here
    assert found["score"] == pytest.approx(1 / (1 + math.exp(-2 * 4)), abs=0.01)
    assert "a blue square" in summary.page.read_text("utf-8")


def test_the_page_stands_alone_and_shows_words_as_they_are(tmp_path: Path, images: Path):
    caption = 'a <b>Green</b> square & "more"'
    captions = write(tmp_path / "captions.jsonl", {"image": "red.png", "captions": [caption]})
    page = run(images, captions).page.read_text("utf-8")
    assert page.count("<li>") == 1
    assert "&lt;b&gt;<mark" in page
    assert ">Green</mark>&lt;/b&gt; square &amp; &quot;more&quot;" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<script" not in page
    assert "red (" in page, "what should stand there"


def test_what_is_broken_is_reported_and_stops_nothing(tmp_path: Path, images: Path):
    (images / "torn.png").write_bytes((images / "red.png").read_bytes()[:40])
    captions = write(
        tmp_path / "captions.jsonl",
        "{torn",
        {"image": "red.png", "captions": ["a blue square", " ", "word " * 5000]},
        {"image": "gone.png", "captions": ["a blue square"]},
        {"image": "torn.png", "captions": ["a blue square"]},
        {"image": "no\0name", "captions": ["a blue square"]},
        {"picture": "red.png"},
    )
    summary = run(images, captions)
    assert (summary.captions, summary.suspects, summary.problems) == (1, 1, 7)
    problems = lines(summary.problems_report)
    said = {(problem.get("line"), problem.get("image")): problem["reason"] for problem in problems}
    assert "No such file" in said[3, "gone.png"]
    assert "cannot be read" in said[4, "torn.png"]
    assert "image" in said[6, None]
    assert {problem["caption"][:4] for problem in problems if "caption" in problem} == {" ", "word"}


def test_a_picture_of_many_lines_is_encoded_once(tmp_path: Path, images: Path):
    encoder = fake_encoder(proof_reader=True)
    inner = encoder.engines["image_encoder"]
    rows: list[int] = []

    class Counting:
        provider = "fake"

        def run(self, inputs, outputs=None):
            rows.append(len(inputs["pixels"]))
            return inner.run(inputs, outputs)

    encoder.engines["image_encoder"] = Counting()
    captions = write(
        tmp_path / "captions.jsonl",
        *({"image": f"{colour}.png", "captions": [f"a {colour} star"]} for colour in PALETTE),
        *({"image": f"{colour}.png", "captions": [f"a {colour} circle"]} for colour in PALETTE),
    )
    assert run(images, captions, encoder).captions == 2 * len(PALETTE)
    assert sum(rows) == len(PALETTE)
    assert run(images, captions, encoder).taken_over == len(PALETTE)
    assert sum(rows) == len(PALETTE), "what is done is not done again"


def test_another_question_in_the_same_folder_is_refused(tmp_path: Path, images: Path):
    captions = write(tmp_path / "captions.jsonl", {"image": "red.png", "captions": ["a red square"]})
    run(images, captions)
    with pytest.raises(UsageError, match="an audit of another threshold"):
        run(images, captions, threshold=0.9)
    with pytest.raises(UsageError, match="an audit of another bundle"):
        run(images, captions, fake_encoder(name="other"))
    write(captions, {"image": "red.png", "captions": ["a red circle"]})
    with pytest.raises(UsageError, match="an audit of another captions"):
        run(images, captions)


def test_nothing_to_audit_is_an_error(tmp_path: Path, images: Path):
    captions = write(tmp_path / "captions.jsonl", {"image": "x.png", "captions": ["a red square"]})
    with pytest.raises(DataError, match=r"nothing of .* can be audited \(the first: the picture cannot be read"):
        run(images, captions)
    with pytest.raises(DataError, match="no folder of pictures"):
        run(tmp_path / "nowhere", captions)
    with pytest.raises(DataError, match="cannot be read"):
        audit(fake_encoder(), tmp_path / "none.jsonl", images=images, out=tmp_path / "other")


def test_two_audits_do_not_write_one_journal(tmp_path: Path):
    file = tmp_path / "journal.sqlite"
    with Journal(file), pytest.raises(UsageError, match="another audit is at work"):
        Journal(file)
    (tmp_path / "noise.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(UsageError, match="no audit's journal"):
        Journal(tmp_path / "noise.sqlite")


def test_an_audit_that_was_killed_goes_on(tmp_path: Path):
    """A real process, killed after its first pictures: the rest is done once more called, and all is as if never."""
    bundle, images = tmp_path / "bundle", tmp_path / "images"
    write_colour_bundle(bundle)
    images.mkdir()
    colours = list(PALETTE)
    rows = []
    for at in range(320):
        colour, said = colours[at % len(colours)], colours[at * 7 % len(colours)]
        Image.new("RGB", (16, 16), PALETTE[colour]).save(images / f"{at}.png")
        rows.append({"image": f"{at}.png", "captions": [f"a {said} star and a {said} circle"] * 4})
    captions = write(tmp_path / "captions.jsonl", *rows)
    command = [
        sys.executable,
        "-m",
        "vernier",
        "audit",
        str(captions),
        "--images",
        str(images),
        "--bundle",
        str(bundle),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    assert process.stderr.readline() == "Auditing: 16/320\n"
    process.send_signal(signal.SIGKILL)
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL
    left = tmp_path / "captions-audit"
    assert not (left / "report.jsonl").exists()
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, env=environment, check=True)
    summary = json.loads(again.stdout)
    assert 16 <= summary["taken_over"] < 320
    assert summary["captions"] == 4 * 320
    unbroken = audit(Encoder.load(bundle), captions, images=images, out=tmp_path / "unbroken")
    assert unbroken.report.read_bytes() == (left / "report.jsonl").read_bytes()
    assert unbroken.page.read_bytes() == (left / "report.html").read_bytes()
    assert summary["suspects"] == unbroken.suspects > 0
