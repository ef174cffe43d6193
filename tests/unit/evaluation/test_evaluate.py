import json
import subprocess
import sys

import pytest

from evaluation.run import evaluate
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import DataError, UsageError
from runtime.preprocess.image import decode_image
from tests.unit.evaluation.conftest import COLOURS, draw, write_lines


def other(colour):
    return COLOURS[(COLOURS.index(colour) + 1) % len(COLOURS)]


@pytest.fixture
def files(tmp_path, images):
    """The five files about the world of `images`, all of them true."""
    retrieval = [
        {"image": f"{c}.png", "captions": [c, f"a {c} square"], "split": "dev" if c == "red" else "test"}
        for c in COLOURS
    ]
    hard_negatives = [
        {
            "image": f"{c}.png",
            "caption": f"a {c} square.",
            "negative_caption": f"a {other(c)} square.",
            "type": "colour" if at % 2 else "colour2",
            "diff": [{"pos_words": [1, 2], "neg_words": [1, 2]}],
        }
        for at, c in enumerate(COLOURS)
    ]
    grounding = [
        {
            "image": f"{c}.png",
            "phrase": c,
            "boxes": [[at % 4 / 4, at % 4 / 4, at % 4 / 4 + 0.25, at % 4 / 4 + 0.25]],
        }
        for at, c in enumerate(COLOURS)
    ]
    image_pairs = [
        {
            "image": f"{c}.png",
            "negative_image": f"{other(c)}.png",
            "caption": f"a {c} square",
            "negative_caption": f"a {other(c)} square",
            "type": "colour",
        }
        for c in COLOURS
    ]
    judgements = [{"image": f"{c}.png", "caption": f"a {c} square", "scores": [4, 4, 3]} for c in COLOURS]
    judgements += [{"image": f"{c}.png", "caption": f"a {other(c)} square", "scores": [1, 1, 2]} for c in COLOURS]
    rows = {
        "retrieval": retrieval,
        "hard_negatives": hard_negatives,
        "grounding": grounding,
        "image_pairs": image_pairs,
        "judgements": judgements,
    }
    return {name: write_lines(tmp_path / f"{name}.jsonl", lines) for name, lines in rows.items()}


def rewrite(path, change):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_lines(path, [{**row, **(change(row) or {})} for row in rows])


@pytest.mark.parametrize("fusion", [True, False])
def test_a_model_that_sees_colours_is_right_about_everything(fusion, images, files):
    result = evaluate(fake_encoder(fusion=fusion), images=images, **files)
    json.dumps(result, allow_nan=False)
    assert list(result) == [
        "bundle",
        "retrieval",
        "hard_negatives",
        "proofreading",
        "grounding",
        "image_pairs",
        "judgements",
        "skipped",
    ]
    assert result["bundle"]["judge"] == ("match" if fusion else "dual")
    for direction in ("text_to_image", "image_to_text"):
        assert result["retrieval"][direction]["r@1"] == 1
        assert result["retrieval"][direction]["median_rank"] == 1
    assert result["retrieval"]["count"] == 7
    assert result["retrieval"]["text_to_image"]["count"] == 14
    hard = result["hard_negatives"]
    assert (hard["count"], hard["accuracy"], hard["dual_accuracy"]) == (7, 1, 1)
    assert hard["blind_accuracy"] < 0.75  # another colour: right by accident only
    assert {kind: group["count"] for kind, group in hard["by_type"].items()} == {"colour": 3, "colour2": 4}
    proof = result["proofreading"]
    assert (proof["count"], proof["count_corrections"]) == (7, 7)
    assert proof["auroc"] == proof["word_top1"] == proof["correction_top1"] == 1
    assert proof["blind_correction_top1"] <= 2 / 7
    assert proof["blind_auroc"] < 0.95
    ground = result["grounding"]
    assert (ground["count"], ground["count_single_box"]) == (7, 7)
    assert ground["pointing"] == 1
    assert ground["acc@0.5"] > ground["whole_image_acc@0.5"] == 0
    pairs = result["image_pairs"]
    assert pairs["accuracy"] == pairs["dual_accuracy"] == pairs["text"] == pairs["image"] == pairs["group"] == 1
    assert pairs["blind_accuracy"] < 0.5
    assert result["judgements"]["count_judgements"] == 42
    assert result["judgements"]["tau_c"] > 0.6
    assert result["skipped"] == {"count": 0, "pictures": []}


def test_the_same_call_gives_the_same_result(images, files):
    assert evaluate(fake_encoder(), images=images, **files) == evaluate(fake_encoder(), images=images, **files)


def test_only_what_is_asked_for_is_answered(images, files):
    result = evaluate(fake_encoder(), images=images, grounding=files["grounding"])
    assert set(result) == {"bundle", "grounding", "skipped"}


def test_hard_negatives_without_a_diff_are_not_proofread(images, files):
    rewrite(files["hard_negatives"], lambda row: {"diff": None})
    result = evaluate(fake_encoder(), images=images, hard_negatives=files["hard_negatives"])
    assert result["hard_negatives"]["accuracy"] == 1
    assert "proofreading" not in result


def test_a_broken_and_a_missing_picture_are_named_and_left_out(images, files):
    (images / "red.png").write_bytes(b"no picture")
    (images / "blue.png").unlink()
    result = evaluate(fake_encoder(), images=images, **files)
    assert result["skipped"]["count"] == 2
    assert [entry["image"] for entry in result["skipped"]["pictures"]] == ["blue.png", "red.png"]
    assert "No such file" in result["skipped"]["pictures"][0]["reason"]
    assert "not a picture" in result["skipped"]["pictures"][1]["reason"]
    assert result["retrieval"]["count"] == result["hard_negatives"]["count"] == result["grounding"]["count"] == 5
    # red-green, green-blue, blue-yellow and black-red have lost a picture.
    assert result["image_pairs"]["count"] == 3
    assert result["judgements"]["count"] == 10


def test_too_many_broken_pictures_are_fatal(images, files):
    for at in range(6):
        (images / f"{COLOURS[at]}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="6 of 7 pictures") as caught:
        evaluate(fake_encoder(), images=images, **files)
    assert caught.value.code == "too_many_broken_pictures"


def test_a_group_of_which_nothing_is_left_is_fatal(images, files, tmp_path):
    (images / "red.png").unlink()
    only_red = write_lines(tmp_path / "red.jsonl", [{"image": "red.png", "caption": "red", "scores": [1]}])
    with pytest.raises(DataError, match="no row of judgements is left"):
        evaluate(fake_encoder(), images=images, retrieval=files["retrieval"], judgements=only_red)
    with pytest.raises(DataError, match="1 of 1 pictures"):
        evaluate(fake_encoder(), images=images, judgements=only_red)


def test_a_split_and_a_limit(images, files):
    only = evaluate(fake_encoder(), images=images, retrieval=files["retrieval"], split="test")
    assert only["retrieval"]["count"] == 6
    few = evaluate(fake_encoder(), images=images, limit=3, split="test", **files)
    assert few["retrieval"]["count"] == few["hard_negatives"]["count"] == few["judgements"]["count"] == 3


def test_pictures_without_captions_take_no_part_in_retrieval(images, files):
    rewrite(files["retrieval"], lambda row: {"captions": []} if row["image"] == "red.png" else None)
    assert evaluate(fake_encoder(), images=images, retrieval=files["retrieval"])["retrieval"]["count"] == 6
    rewrite(files["retrieval"], lambda row: {"captions": []})
    with pytest.raises(DataError, match=r"no row of .*retrieval\.jsonl has a caption"):
        evaluate(fake_encoder(), images=images, retrieval=files["retrieval"])


def test_a_picture_on_two_lines_is_one_picture(images, tmp_path):
    rows = [{"image": f"{c}.png", "captions": [text]} for text in ("{}", "a {} square") for c in COLOURS]
    for row, c in zip(rows, COLOURS * 2, strict=True):
        row["captions"] = [row["captions"][0].format(c)]
    result = evaluate(fake_encoder(), images=images, retrieval=write_lines(tmp_path / "r.jsonl", rows))
    assert result["retrieval"]["count"] == 7
    assert result["retrieval"]["image_to_text"]["r@1"] == 1


def test_with_one_picture_there_is_no_blind_control(images, files):
    result = evaluate(fake_encoder(), images=images, hard_negatives=files["hard_negatives"], limit=1)
    assert result["hard_negatives"]["accuracy"] == 1
    assert result["hard_negatives"]["blind_accuracy"] is None
    assert result["proofreading"]["auroc"] == 1
    assert result["proofreading"]["blind_auroc"] is None


def test_more_pictures_than_are_at_hand_at_once(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rows = []
    for at in range(120):
        colour = COLOURS[at % len(COLOURS)]
        draw(folder, f"{at}.png", colour, cell=(at % 4, at % 3))
        rows.append({"image": f"{at}.png", "caption": colour, "negative_caption": other(colour), "type": "x"})
    seen = []
    result = evaluate(
        fake_encoder(),
        images=folder,
        hard_negatives=write_lines(tmp_path / "h.jsonl", rows),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert result["hard_negatives"]["accuracy"] == 1
    assert 0 < result["hard_negatives"]["blind_accuracy"] < 0.5
    assert seen == [(40, 120), (80, 120), (120, 120)]


def test_progress_ends_at_its_total(images, files):
    (images / "red.png").unlink()
    seen = []
    evaluate(fake_encoder(), images=images, progress=lambda *step: seen.append(step), **files)
    assert seen == sorted(seen)
    assert seen[-1] == (21, 21)  # 7 pictures, 14 captions


def test_boxes_are_those_of_the_picture_where_the_encoder_sees_a_crop(tmp_path):
    encoder = fake_encoder()
    crop = encoder.manifest.image.model_copy(update={"resize": "crop"})
    encoder.manifest = encoder.manifest.model_copy(update={"image": crop})
    encoder.image_transform = crop.transform()
    folder = tmp_path / "images"
    folder.mkdir()
    draw(folder, "square.png", "red", cell=(1, 2), size_px=64)
    wide = decode_image((folder / "square.png").read_bytes())
    canvas = wide.resize((128, 64)).copy()
    canvas.paste(PALETTE["white"], (0, 0, 128, 64))
    canvas.paste(wide, (32, 0))
    canvas.save(folder / "wide.png")
    # In the middle square the cell (1, 2) of four is [48, 64] of 128 across and [32, 48] of 64 down.
    row = {"image": "wide.png", "phrase": "red", "boxes": [[48 / 128, 32 / 64, 64 / 128, 48 / 64]]}
    result = evaluate(encoder, images=folder, grounding=write_lines(tmp_path / "g.jsonl", [row]))
    assert result["grounding"]["pointing"] == 1
    assert result["grounding"]["centre_pointing"] == 1  # on the border
    assert result["grounding"]["acc@0.5"] == 1


def test_one_word_put_right_in_two_ways(images, tmp_path):
    rows = [
        {
            "image": "red.png",
            "caption": caption,
            "negative_caption": "blue blue",
            "type": "x",
            "diff": [{"pos_words": [at, at + 1], "neg_words": [at, at + 1]}],
        }
        for at, caption in enumerate(["red blue", "blue red"])
    ]
    result = evaluate(fake_encoder(), images=images, hard_negatives=write_lines(tmp_path / "h.jsonl", rows))
    assert result["proofreading"]["correction_top1"] == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, UsageError, "nothing to evaluate"),
        ({"retrieval": "x.jsonl", "limit": 0}, UsageError, "at least 1"),
        ({"retrieval": "x.jsonl"}, DataError, "x.jsonl"),
    ],
)
def test_a_call_that_cannot_be_meant(arguments, error, message, tmp_path):
    with pytest.raises(error, match=message):
        evaluate(fake_encoder(), images=tmp_path, **arguments)


def test_a_folder_that_is_not_there(files, tmp_path):
    with pytest.raises(DataError, match="no folder of pictures"):
        evaluate(fake_encoder(), images=tmp_path / "nowhere", **files)


def test_nothing_heavy_is_imported():
    code = "import sys, evaluation.suite, evaluation.report\nprint([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["torch", "scipy", "sklearn", "transformers", "matplotlib", "faiss"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bundle_that_cannot_ground_says_so_and_does_the_rest_unless_it_may_mask(images, files):
    encoder = fake_encoder(fusion=False)
    seen = encoder.manifest.graphs["image_encoder"]
    outputs = tuple(output for output in seen.outputs if output.name != "patch_embeddings")
    graphs = {**encoder.manifest.graphs, "image_encoder": seen.model_copy(update={"outputs": outputs})}
    encoder.manifest = encoder.manifest.model_copy(update={"graphs": graphs})
    files_of = {"retrieval": files["retrieval"], "grounding": files["grounding"]}
    result = evaluate(encoder, images=images, **files_of)
    assert result["retrieval"]["text_to_image"]["r@1"] == 1
    assert "grounding" not in result
    assert "cannot ground" in result["unavailable"]["grounding"]
    masked = evaluate(encoder, images=images, **files_of, limit=2, ground_budget=32)
    assert masked["grounding"]["count"] == 2
    assert masked["bundle"]["grounding"] == "shapley"


def test_without_another_caption_image_pairs_have_no_blind_control(images, files):
    result = evaluate(fake_encoder(), images=images, image_pairs=files["image_pairs"], limit=1)
    assert result["image_pairs"]["accuracy"] == 1
    assert result["image_pairs"]["blind_accuracy"] is None
