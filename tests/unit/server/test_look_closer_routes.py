import struct
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from runtime.bundle import GroundingFit, Logistic
from runtime.encoder import Encoder
from runtime.engines.fake import fake_encoder
from runtime.engines.protocol import Engine
from runtime.grounding import DEFAULT_BUDGET
from runtime.preprocess.image import ImageTransform
from server.settings import Settings
from tests.unit.server.conftest import fill, serving, settings_for
from tests.unit.server.drawing import PALETTE, file_of, jpeg, square


async def post(client: httpx.AsyncClient, path: str, **body: object) -> dict:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def two_squares() -> bytes:
    """400 x 200: red at the top left, blue at the bottom right."""
    image = square("red", size=(400, 200), box=(0, 0, 99, 99))
    image.paste(PALETTE["blue"], (300, 100, 400, 200))
    return file_of(image, "PNG")


async def test_ground_finds_each_phrase_in_pixels_as_sent(client: httpx.AsyncClient) -> None:
    image = {"base64": b64encode(two_squares()).decode()}
    answer = await post(client, "/ground", image=image, phrases=["red", "blue"])
    assert answer["image_size"] == [400, 200]
    red, blue = (grounding["boxes"][0]["box"] for grounding in answer["groundings"])
    assert red[2] < 200 < blue[0]
    assert red[3] <= 130
    assert blue[1] >= 70
    assert all(0 <= x <= 400 and 0 <= y <= 200 for box in (red, blue) for x, y in (box[:2], box[2:]))
    assert [(g["start"], g["end"]) for g in answer["groundings"]] == [(0, 3), (0, 4)]
    assert all(len(grounding["boxes"]) == 1 for grounding in answer["groundings"])
    assert all("heatmap" not in grounding for grounding in answer["groundings"])


async def test_ground_takes_the_phrases_of_a_text(client: httpx.AsyncClient) -> None:
    text = "A red square, and a blue circle."
    answer = await post(client, "/ground", image={"item": "red"}, text=text)
    assert [g["phrase"] for g in answer["groundings"]] == ["red square", "blue circle"]
    assert all(text[g["start"] : g["end"]] == g["phrase"] for g in answer["groundings"])
    nothing = await post(client, "/ground", image={"item": "red"}, text="and of the")
    assert nothing["groundings"] == []


async def test_ground_draws_heat_as_numbers_and_as_a_picture(client: httpx.AsyncClient) -> None:
    image = {"base64": b64encode(two_squares()).decode()}
    grid = (await post(client, "/ground", image=image, phrases=["blue"], heatmap="grid"))["groundings"][0]["heatmap"]
    png = (await post(client, "/ground", image=image, phrases=["blue"], heatmap="png"))["groundings"][0]["heatmap"]
    heat = np.asarray(grid)
    assert heat.shape == (4, 4)
    assert heat.argmax() // 4 >= 2
    assert heat.argmax() % 4 == 3
    drawn = Image.open(BytesIO(b64decode(png)))
    assert drawn.mode == "L"
    assert np.allclose(np.asarray(drawn) / 255, heat, atol=0.01)


@pytest.mark.parametrize(
    ("encoder", "method"),
    [
        (fake_encoder(word_maps=True), "grad_cam"),
        (fake_encoder(), "attention"),
        (fake_encoder(fusion=False), "patch_similarity"),
        (fake_encoder(word_maps=True, regions=True), "grad_cam"),
    ],
)
async def test_heat_maps_of_phrases_and_words_name_how_they_were_made(
    tmp_path: Path, encoder: Encoder, method: str
) -> None:
    image = {"base64": b64encode(two_squares()).decode()}
    text = "a red square, and a blue circle"
    async with serving(settings_for(tmp_path), encoder) as client:
        answer = await post(client, "/ground", image=image, text=text, heatmap="grid", words=True)
        drawn = await post(client, "/ground", image=image, text=text, heatmap="png", words=True)
        plain = await post(client, "/ground", image=image, text=text)
        info = (await client.get("/info")).json()
    assert answer["heatmap_method"] == drawn["heatmap_method"] == info["bundle"]["heatmaps"] == method
    assert "words" not in plain
    assert "heatmap_method" not in plain
    red, blue = (np.asarray(grounding["heatmap"]) for grounding in answer["groundings"])
    assert np.unravel_index(red.argmax(), red.shape) in [(0, 0), (1, 0)]
    assert np.unravel_index(blue.argmax(), blue.shape) in [(2, 3), (3, 3)]
    assert [text[word["start"] : word["end"]] for word in answer["words"]] == [word["word"] for word in answer["words"]]
    words = {word["word"]: np.asarray(word["heatmap"]) for word in answer["words"]}
    assert list(words) == ["a", "red", "square", "and", "blue", "circle"]
    assert words["circle"].argmax() == words["blue"].argmax() == blue.argmax()
    if method == "grad_cam":
        assert not words["and"].any()
    for word, other in zip(answer["words"], drawn["words"], strict=True):
        picture = np.asarray(Image.open(BytesIO(b64decode(other["heatmap"])))) / 255
        assert np.allclose(picture, word["heatmap"], atol=0.01)


async def test_ground_gives_as_many_boxes_as_asked(client: httpx.AsyncClient) -> None:
    image = square("red", size=(400, 400), box=(0, 0, 99, 99))
    image.paste(PALETTE["red"], (300, 300, 400, 400))
    reference = {"base64": b64encode(file_of(image, "PNG")).decode()}
    boxes = (await post(client, "/ground", image=reference, phrases=["red"], top_k=5))["groundings"][0]["boxes"]
    assert len(boxes) == 2


async def test_boxes_of_a_bundle_that_crops_lie_in_the_whole_picture(tmp_path: Path) -> None:
    encoder = fake_encoder()
    image_input = encoder.manifest.image.model_copy(update={"resize": "crop"})
    encoder.manifest = encoder.manifest.model_copy(update={"image": image_input})
    encoder.image_transform = ImageTransform(size_px=32, resize="crop")
    picture = square("red", size=(400, 200), box=(100, 0, 199, 99))  # the top left of what is seen
    async with serving(settings_for(tmp_path), encoder) as client:
        answer = await post(
            client,
            "/ground",
            image={"base64": b64encode(file_of(picture, "PNG")).decode()},
            phrases=["red"],
            heatmap="grid",
        )
    box = answer["groundings"][0]["boxes"][0]["box"]
    assert box[0] == pytest.approx(100, abs=1)
    assert 180 <= box[2] <= 240
    heat = np.asarray(answer["groundings"][0]["heatmap"])
    assert heat.shape == (4, 8)
    assert heat[:, :2].max() == heat[:, 6:].max() == 0


@pytest.mark.parametrize(
    "body",
    [
        {"phrases": ["red"], "text": "red"},
        {},
        {"phrases": []},
        {"phrases": ["red"], "top_k": 0},
        {"text": "a", "heatmap": "jpg"},
        {"text": "a", "words": True},
        {"phrases": ["a"], "heatmap": "grid", "words": True},
    ],
)
async def test_ground_refuses_what_cannot_be_meant(client: httpx.AsyncClient, body: dict) -> None:
    answer = await client.post("/ground", json={"image": {"item": "red"}} | body)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


@pytest.mark.parametrize("path", ["/ground", "/proofread"])
async def test_a_picture_is_needed(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, json={"text": "red"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "image"


async def test_proofread_colours_the_wrong_word(client: httpx.AsyncClient) -> None:
    text = "A Blue square, with a red circle"
    answer = await post(client, "/proofread", image={"item": "red"}, text=text)
    assert all(text[word["start"] : word["end"]] == word["word"] for word in answer["words"])
    assert [word["word"] for word in answer["words"]] == ["A", "Blue", "square", "with", "a", "red", "circle"]
    wrong = {word["word"]: word for word in answer["words"]}["Blue"]
    assert wrong["is_error"] is True
    assert wrong["error_probability"] > 0.5
    assert wrong["suggestions"][0]["word"] == "red"
    assert len(wrong["suggestions"]) == 3
    assert answer["corrected_text"] == "A Red square, with a red circle"
    assert answer["match"] < 0.5


async def test_proofread_leaves_a_true_caption_alone(client: httpx.AsyncClient) -> None:
    answer = await post(client, "/proofread", image={"item": "red"}, text="a red square")
    assert not any(word["is_error"] for word in answer["words"])
    assert answer["corrected_text"] == "a red square"
    assert answer["match"] > 0.9


async def test_proofread_obeys_its_dials(client: httpx.AsyncClient) -> None:
    text = "a blue square"
    none = await post(client, "/proofread", image={"item": "red"}, text=text, suggestions=0)
    assert all(word["suggestions"] == [] for word in none["words"])
    lenient = await post(client, "/proofread", image={"item": "red"}, text=text, threshold=1.0)
    assert not any(word["is_error"] for word in lenient["words"])
    sent = await client.post(
        "/proofread",
        files={
            "request": (None, '{"text": "a blue square"}', "application/json"),
            "image": ("a.jpg", jpeg("red"), "image/jpeg"),
        },
    )
    assert sent.json()["words"][1]["is_error"] is True


async def test_proofread_answers_several_texts_of_one_picture(client: httpx.AsyncClient) -> None:
    texts = ["a blue square", " ", "A red square", "word " * 500]
    answer = await post(client, "/proofread", image={"item": "red"}, texts=texts, suggestions=2)
    assert answer["method"] == "masked_words"
    wrong, empty, right, long = answer["results"]
    alone = await post(client, "/proofread", image={"item": "red"}, text=texts[0], suggestions=2)
    assert wrong == {name: alone[name] for name in ("words", "corrected_text", "match")}
    assert right["corrected_text"] == "A red square"
    assert [empty["code"], long["code"]] == ["text_empty", "text_too_long"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "either text or texts"),
        ({"text": "red", "texts": ["red"]}, "either text or texts"),
        ({"texts": []}, "at least 1"),
        ({"texts": ["red"] * 257}, "at most 256"),
    ],
)
async def test_proofread_wants_a_text_or_texts(client: httpx.AsyncClient, asked: dict[str, object], said: str) -> None:
    answer = await client.post("/proofread", json={"image": {"item": "red"}, **asked})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert said in answer.text


async def test_a_proof_reader_is_one_pass_for_all_texts_and_one_for_the_picture(tmp_path: Path) -> None:
    encoder = fake_encoder(proof_reader=True)
    calls: list[tuple[str, int, tuple[str, ...]]] = []
    for name in ("image_encoder", "proof_reader"):
        encoder.engines[name] = Counting(name, encoder.engines[name], calls)
    async with serving(settings_for(tmp_path, patch_tokens="none"), encoder) as client:
        await fill(client, ("red",))
        assert all("image_levels" not in outputs for name, rows, outputs in calls[-1:] if name == "image_encoder")
        info = (await client.get("/info")).json()
        assert info["bundle"]["proofreading"] == "word_errors"
        calls.clear()
        texts = ["a red square", "a Blue square", "a green and red star"]
        answer = await post(client, "/proofread", image={"item": "red"}, texts=texts)
        assert answer["method"] == "word_errors"
        assert [result["corrected_text"] for result in answer["results"]] == [
            "a red square",
            "a Red square",
            "a red and red star",
        ]
        assert [(name, rows) for name, rows, _ in calls] == [("image_encoder", 1), ("proof_reader", 3)]
        again = await post(client, "/proofread", image={"item": "red"}, text=texts[1])
        assert again["words"] == answer["results"][1]["words"]
        assert [name for name, _, _ in calls].count("image_encoder") == 1
        explained = await post(client, "/search", text="a blue square", explain=True)
        assert explained["hits"][0]["words"][1]["error_probability"] > 0.5


class Counting:
    """An engine that notes what it ran."""

    provider = "fake"

    def __init__(self, name: str, inner: Engine, calls: list[tuple[str, int, tuple[str, ...]]]) -> None:
        self.name, self.inner, self.calls = name, inner, calls

    def run(self, inputs, outputs=None):
        self.calls.append((self.name, len(next(iter(inputs.values()))), tuple(outputs or ())))
        return self.inner.run(inputs, outputs)


async def test_embed_gives_unit_vectors_in_order(client: httpx.AsyncClient) -> None:
    inputs = [{"text": "red"}, {"image": {"item": "blue"}}, {"text": "blue"}]
    answer = await post(client, "/embed", inputs=inputs)
    vectors = np.asarray(answer["embeddings"])
    assert vectors.shape == (3, answer["dim"])
    assert answer["space"] == fake_encoder().space
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[1] @ vectors[2] > vectors[1] @ vectors[0]
    alone = await post(client, "/embed", inputs=[{"text": "blue"}])
    assert np.allclose(alone["embeddings"][0], vectors[2], atol=1e-6)


@pytest.mark.parametrize("entry", [{}, {"text": "a", "image": {"item": "red"}}, "red", {"text": None}])
async def test_embed_wants_one_thing_per_input(client: httpx.AsyncClient, entry: object) -> None:
    answer = await client.post("/embed", json={"inputs": [entry]})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


async def test_openai_shape(client: httpx.AsyncClient) -> None:
    uri = "data:image/jpeg;base64," + b64encode(jpeg("red")).decode()
    plain = await post(client, "/v1/embeddings", input=["red", uri], model="anything")
    assert plain["object"] == "list"
    assert [entry["index"] for entry in plain["data"]] == [0, 1]
    assert plain["data"][0]["object"] == "embedding"
    assert plain["usage"]["prompt_tokens"] == plain["usage"]["total_tokens"] > 0
    packed = await post(client, "/v1/embeddings", input="red", encoding_format="base64")
    raw = b64decode(packed["data"][0]["embedding"])
    assert np.allclose(struct.unpack(f"<{len(raw) // 4}f", raw), plain["data"][0]["embedding"], atol=1e-6)
    wrong = await client.post("/v1/embeddings", json={"input": "red", "dimensions": 3})
    assert wrong.json()["errors"][0]["field"] == "dimensions"
    own = len(plain["data"][0]["embedding"])
    assert (await client.post("/v1/embeddings", json={"input": "red", "dimensions": own})).status_code == 200


async def test_a_bundle_without_patches_grounds_by_masking_alone(tmp_path: Path) -> None:
    encoder = fake_encoder(fusion=False)
    seen = encoder.manifest.graphs["image_encoder"]
    kept = tuple(output for output in seen.outputs if output.name != "patch_embeddings")
    graphs = {**encoder.manifest.graphs, "image_encoder": seen.model_copy(update={"outputs": kept})}
    encoder.manifest = encoder.manifest.model_copy(update={"graphs": graphs})
    async with serving(settings_for(tmp_path), encoder) as client:
        await fill(client, ("red",))
        assert (await post(client, "/ground", image={"item": "red"}, phrases=["red"]))["method"] == "shapley"
        answer = await client.post("/ground", json={"image": {"item": "red"}, "phrases": ["red"], "budget": 0})
        assert (answer.status_code, answer.json()["code"]) == (501, "graph_missing")
        explained = await post(client, "/search", text="red", explain=True)
        assert explained["hits"][0]["regions"] == []
        assert explained["hits"][0]["words"]


async def test_ground_says_what_is_not_there_and_obeys_a_threshold(tmp_path: Path) -> None:
    encoder = fake_encoder()
    fit = GroundingFit(method="relevance", present=9, absent=9, most_false_alarms=0.1, false_alarms=0.0, recall=1.0)
    update = {"grounding": Logistic(scale=20, bias=-12), "grounding_threshold": 0.5, "grounding_fit": fit}
    calibration = encoder.manifest.calibration.model_copy(update=update)
    encoder.manifest = encoder.manifest.model_copy(update={"calibration": calibration})
    async with serving(settings_for(tmp_path), encoder) as client:
        image = {"base64": b64encode(two_squares()).decode()}
        answer = await post(client, "/ground", image=image, phrases=["red", "green"])
        assert [len(grounding["boxes"]) for grounding in answer["groundings"]] == [1, 0]
        assert answer["calibrated"] is True
        lenient = await post(client, "/ground", image=image, phrases=["green"], threshold=0.0)
        assert len(lenient["groundings"][0]["boxes"]) == 1


async def test_two_encoders_alone_mask_parts_of_the_picture_within_the_budget(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, max_ground_budget=200), fake_encoder(fusion=False)) as client:
        await fill(client, ("red",))
        image = {"base64": b64encode(two_squares()).decode()}
        answer = await post(client, "/ground", image=image, phrases=["blue"], budget=64)
        assert (answer["method"], answer["calibrated"]) == ("shapley", False)
        assert answer["groundings"][0]["boxes"][0]["box"][0] > 200
        assert answer["timings_ms"]["ground"] > 0
        stored = await post(client, "/ground", image={"item": "red"}, phrases=["red"])
        assert stored["method"] == "shapley"
        cheap = await post(client, "/ground", image=image, phrases=["blue"], budget=0)
        assert cheap["method"] == "patch_similarity"
        for wrong, said in ((201, "at most 200"), (3, "fewer than 16")):
            refused = await client.post("/ground", json={"image": image, "phrases": ["red"], "budget": wrong})
            assert refused.status_code == 422
            assert said in refused.text


async def test_a_hundred_class_names_are_one_batch_of_texts_and_read_once(tmp_path: Path) -> None:
    encoder = fake_encoder(regions=True)
    inner, batches = encoder.engines["text_encoder"], []

    class Counting:
        provider = "fake"

        def run(self, inputs, outputs=None):
            batches.append(len(inputs["ids"]))
            return inner.run(inputs, outputs)

    encoder.engines["text_encoder"] = Counting()
    async with serving(settings_for(tmp_path), encoder) as client:
        image = {"base64": b64encode(two_squares()).decode()}
        batches.clear()
        names = ["red", "blue", *(f"thing {chr(97 + at % 26)} {at}" for at in range(98))]
        first = await post(client, "/ground", image=image, phrases=names, top_k=10)
        assert sum(batches) == 100
        assert len(first["groundings"]) == 100
        again = await post(client, "/ground", image=image, phrases=names, top_k=10)
        assert sum(batches) == 100
        assert again["groundings"] == first["groundings"]
        assert again["method"] == "regions"


async def test_a_stored_picture_is_grounded_without_looking_at_it_again(tmp_path: Path) -> None:
    encoder = fake_encoder(regions=True)
    inner, seen = encoder.engines["image_encoder"], []

    class Counting:
        provider = "fake"

        def run(self, inputs, outputs=None):
            seen.append(len(inputs["pixels"]))
            return inner.run(inputs, outputs)

    encoder.engines["image_encoder"] = Counting()
    async with serving(settings_for(tmp_path, cache_bytes=0), encoder) as client:
        await client.put("/galleries/default/items/two", files={"image": ("two.png", two_squares(), "image/png")})
        seen.clear()
        stored = await post(client, "/ground", image={"item": "two"}, phrases=["red", "blue"])
        assert seen == []
        sent = await post(
            client, "/ground", image={"base64": b64encode(two_squares()).decode()}, phrases=["red", "blue"]
        )
        assert seen == [1]
        for kept, fresh in zip(stored["groundings"], sent["groundings"], strict=True):
            assert kept["boxes"][0]["box"] == pytest.approx(fresh["boxes"][0]["box"], abs=1)
            assert kept["boxes"][0]["score"] == pytest.approx(fresh["boxes"][0]["score"], abs=0.01)
        missing = await client.post("/ground", json={"image": {"item": "none"}, "phrases": ["red"]})
        assert missing.status_code == 404


async def test_the_server_looks_at_as_many_masked_pictures_as_the_runtime_does_by_itself() -> None:
    assert Settings.model_fields["ground_budget"].default == DEFAULT_BUDGET
