"""The sync client against a real server."""

import io
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from runtime.engines.fake import PALETTE
from runtime.errors import ImageError, UsageError, VernierError
from tests.unit.vernier.conftest import Running, picture, serving
from vernier import ApiError, Client, ItemReference, NewItem, Retry, ServerUnreachableError, UrlReference
from vernier.client.drawing import draw
from vernier.client.models import Problem, ProofreadText

COLOURS = ("red", "green", "blue", "yellow")


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.url) as opened:
        yield opened


@pytest.fixture
def gallery(client: Client) -> Iterator[str]:
    """A gallery of four pictures with their texts."""
    name = f"g{uuid.uuid4().hex[:12]}"
    client.create_gallery(name)
    for number, colour in enumerate(COLOURS):
        client.add(colour, image=picture(colour), text=f"a {colour} picture", metadata={"n": number}, gallery=name)
    yield name
    client.delete_gallery(name)


def test_health_and_info(client: Client) -> None:
    assert client.health().status == "ready"
    info = client.info()
    assert info["bundle"]["name"] == "fake"


def test_search_by_text_finds_the_picture_of_that_colour(client: Client, gallery: str) -> None:
    answer = client.search("blue", gallery=gallery, top_k=2, include=("metadata", "text"))
    assert answer.hits[0].id == "blue"
    assert answer.hits[0].metadata == {"n": 2}
    assert answer.hits[0].text == "a blue picture"
    assert answer.gallery.items == 4
    assert answer.timings_ms["total"] > 0


def test_search_by_text_and_picture_lies_between(client: Client, gallery: str) -> None:
    answer = client.search("blue", image=picture("red"), gallery=gallery)
    assert {hit.id for hit in answer.hits[:2]} == {"blue", "red"}


def test_search_among_texts_and_with_a_filter(client: Client, gallery: str) -> None:
    assert client.search(image=picture("green"), target="text", gallery=gallery).hits[0].id == "green"
    answer = client.search("blue", gallery=gallery, filter={"n": {"lt": 2}})
    assert {hit.id for hit in answer.hits} == {"red", "green"}


def test_reranked_and_explained_hits(client: Client, gallery: str) -> None:
    hit = client.search("a red picture", gallery=gallery, rerank=2, explain=True, top_k=1).hits[0]
    assert hit.id == "red"
    assert hit.match is not None
    assert hit.words is not None
    assert [word.word for word in hit.words] == ["a", "red", "picture"]
    assert hit.words[1].heatmap is None
    half = picture("white")  # of a picture that is red all over no part is hotter than another
    half.paste(picture("red", size=(32, 48)), (0, 0))
    client.add("half", image=half, metadata={"n": 9}, gallery=gallery)
    answer = client.search("a red picture", gallery=gallery, explain=True, heatmap="grid", filter={"n": 9})
    assert answer.heatmap_method == "attention"
    (warm,) = answer.hits
    assert warm.words is not None
    assert warm.words[1].heatmap is not None
    heated = draw(warm.picture(), warm, heat="red")
    assert heated.getpixel((120, 240)) != draw(warm.picture(), warm).getpixel((120, 240))


def every_kind_of(image: Image.Image, folder: Path) -> Iterator[object]:
    """The same picture as a path, a path in a text, bytes, PIL and numpy."""
    file = folder / "picture.png"
    image.save(file)
    yield from (file, str(file), file.read_bytes(), image, np.asarray(image), np.asarray(image) / 255)


def test_a_picture_may_be_a_path_bytes_pil_or_numpy(client: Client, gallery: str, tmp_path: Path) -> None:
    for kind in every_kind_of(picture("yellow"), tmp_path):
        hit = client.search(image=kind, gallery=gallery).hits[0]  # type: ignore[arg-type]
        assert hit.id == "yellow"
        assert hit.score == pytest.approx(1, abs=1e-3)


def test_pictures_of_every_mode_are_sent(client: Client, gallery: str) -> None:
    grey = np.full((20, 30), 250, np.uint8)
    for image in (grey, grey[..., None], Image.new("CMYK", (9, 9)), Image.new("I;16", (9, 9)), Image.new("1", (9, 9))):
        assert client.search(image=image, gallery=gallery).hits  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("/nowhere/at-all.jpg", "cannot be read"),
        (np.zeros((2, 3, 4, 5), np.uint8), "shape"),
        (np.zeros((0, 3), np.uint8), "shape"),
        (np.full((4, 4), 7.5), "0..1"),
        (np.full((4, 4), np.nan), "0..1"),
        (np.zeros((4, 4), np.int64), "int64"),
        (object(), "object is no picture"),
    ],
)
def test_what_is_no_picture_is_refused_before_it_is_sent(client: Client, wrong: object, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        client.search(image=wrong)  # type: ignore[arg-type]


def test_grounding_gives_boxes_in_pixels_and_spans(client: Client) -> None:
    image = Image.new("RGB", (80, 40), PALETTE["white"])
    image.paste(PALETTE["red"], (40, 0, 80, 40))
    answer = client.ground(image, ["red", "white"])
    assert answer.image_size == (80, 40)
    assert [grounding.phrase for grounding in answer.groundings] == ["red", "white"]
    x0, _, x1, _ = answer.groundings[0].boxes[0].box
    assert x0 >= 20
    assert x1 == pytest.approx(80, abs=8)
    by_text = client.ground(image, text="a red square", heatmap="grid")
    assert by_text.groundings[0].heatmap is not None
    assert by_text.method == answer.method
    assert by_text.words is None
    with_words = client.ground(image, text="a red square", heatmap="grid", words=True)
    assert with_words.words is not None
    assert [word.word for word in with_words.words] == ["a", "red", "square"]
    assert with_words.heatmap_method == "attention"
    assert draw(image, with_words, heat="red").getpixel((470, 120)) != draw(image, with_words).getpixel((470, 120))
    with pytest.raises(UsageError, match="words are those of a text"):
        client.ground(image, "red", heatmap="grid", words=True)


def test_grounding_one_phrase_as_a_text_is_not_its_letters(client: Client) -> None:
    assert [grounding.phrase for grounding in client.ground(picture("red"), "red").groundings] == ["red"]


def test_grounding_needs_phrases_or_a_text(client: Client) -> None:
    with pytest.raises(UsageError):
        client.ground(picture("red"))
    with pytest.raises(UsageError):
        client.ground(picture("red"), ["red"], text="red")


def test_proofreading_finds_the_wrong_word(client: Client) -> None:
    answer = client.proofread(picture("red"), "a blue picture")
    assert [word.word for word in answer.words if word.is_error] == ["blue"]
    assert answer.corrected_text == "a red picture"
    assert 0 <= answer.match <= 1


def test_several_texts_of_one_picture_at_once(client: Client) -> None:
    good, wrong, empty = client.proofread_all(picture("red"), ["a red picture", "a blue picture", " "])
    assert isinstance(good, ProofreadText)
    assert isinstance(wrong, ProofreadText)
    assert [word.word for word in wrong.words if word.is_error] == ["blue"]
    assert not any(word.is_error for word in good.words)
    assert isinstance(empty, Problem)
    assert empty.code == "text_empty"


def test_a_part_of_a_picture_is_named(client: Client) -> None:
    image = Image.new("RGB", (80, 40), PALETTE["white"])
    image.paste(PALETTE["red"], (40, 0, 80, 40))
    for part in ({"point": (60, 20)}, {"box": (40, 0, 80, 40)}):
        answer = client.identify(image, phrases=["blue", "red"], top_k=1, **part)  # type: ignore[arg-type]
        assert [name.phrase for name in answer.names] == ["red"]
        assert (answer.source, answer.candidates) == ("request", 2)


def test_what_the_gallery_holds_is_named_and_not_sent(client: Client, gallery: str) -> None:
    answer = client.proofread(ItemReference("red"), "a blue picture", gallery=gallery)
    assert answer.corrected_text == "a red picture"
    assert client.ground(ItemReference("red"), "red", gallery=gallery).image_size == (64, 48)


def test_embedding_gives_unit_vectors_in_order(client: Client) -> None:
    answer = client.embed(["red", "blue"], images=[picture("red")])
    vectors = np.asarray(answer.embeddings)
    assert vectors.shape == (3, answer.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert vectors[2] @ vectors[0] > vectors[2] @ vectors[1]


def test_items_come_page_by_page_and_go(client: Client, gallery: str) -> None:
    assert [item.id for item in client.items(gallery=gallery, page_size=3)] == list(COLOURS)
    assert [item.id for item in client.items(gallery=gallery, filter={"n": 1})] == ["green"]
    client.delete("green", gallery=gallery)
    with pytest.raises(ApiError) as caught:
        client.item("green", gallery=gallery)
    assert (caught.value.status, caught.value.code) == (404, "unknown_item")
    assert client.gallery(gallery).items == 3
    assert gallery in {known.name for known in client.galleries()}


def test_an_item_comes_back_as_it_was_put(client: Client, gallery: str) -> None:
    name = "a folder/ünïcode & more?#.jpg"
    put = client.add(name, image=picture("purple"), metadata={"deep": {"er": [1, 2]}}, gallery=gallery)
    assert put.outcome == "created"
    assert client.add(name, image=picture("purple"), metadata={"deep": {"er": [1, 2]}}, gallery=gallery).outcome == (
        "unchanged"
    )
    item = client.item(name, gallery=gallery)
    assert (item.id, item.metadata, item.has_picture) == (name, {"deep": {"er": [1, 2]}}, True)
    stored = Image.open(io.BytesIO(client.item_picture(name, gallery=gallery)))
    assert stored.size == (64, 48)


def test_bulk_add_keeps_the_good_ones(client: Client, gallery: str, tmp_path: Path) -> None:
    good = [NewItem(id=f"i{n}", image=picture("orange", size=(40 + n, 40))) for n in range(7)]
    items = [
        *good[:3],
        NewItem(id="broken", image=b"not a picture"),
        NewItem(id="missing", image=tmp_path / "missing.jpg"),
        NewItem(id="text", text="an orange circle", metadata={"k": True}),
        *good[3:],
        NewItem(id="nothing"),
        NewItem(id="red", image=picture("orange"), text="changed"),
    ]
    done: list[int] = []
    outcomes = list(
        client.add_many(iter(items), gallery=gallery, max_items=4, progress=lambda count, _: done.append(count))
    )
    assert [outcome.id for outcome in outcomes] == [item.id for item in items]
    problems = {outcome.id: outcome.problem.code for outcome in outcomes if outcome.problem}
    assert problems == {"broken": "image_undecodable", "missing": "image_undecodable", "nothing": "request_invalid"}
    assert outcomes[-1].outcome == "replaced"
    assert all(outcome.ok == (outcome.id not in problems) for outcome in outcomes)
    assert done == [4, 8, 12]
    again = list(client.add_many(good, gallery=gallery, max_bytes=1))
    assert {outcome.outcome for outcome in again} == {"unchanged"}


def test_bulk_add_reads_no_further_than_it_sends(client: Client, gallery: str) -> None:
    read = 0

    def endless() -> Iterator[NewItem]:
        nonlocal read
        while True:
            read += 1
            yield NewItem(id=f"n{read}", text=f"a red picture {read}")

    outcomes = client.add_many(endless(), gallery=gallery, max_items=5)
    for _ in range(6):
        assert next(outcomes).ok
    assert read == 10


def test_the_problem_is_carried_by_the_error(client: Client) -> None:
    with pytest.raises(ApiError, match="text_empty") as caught:
        client.search("  ")
    error = caught.value
    assert isinstance(error, VernierError)
    assert (error.status, error.code) == (422, "text_empty")
    assert error.problem["code"] == "text_empty"
    assert error.retry_after_s is None
    with pytest.raises(ApiError) as caught:
        client.search("red", gallery="nowhere")
    assert caught.value.code == "unknown_gallery"
    with pytest.raises(ApiError) as caught:
        client.search(image=UrlReference("http://127.0.0.1/secret"))
    assert caught.value.code == "url_not_allowed"


def test_keys(tmp_path: Path) -> None:
    for running in serving(tmp_path, api_keys="read:0123456789abcdef"):
        with Client(running.url) as nobody, pytest.raises(ApiError) as caught:
            nobody.search("red")
        assert caught.value.code == "unauthorized"
        with Client(running.url, api_key="0123456789abcdef") as reader:
            assert reader.search("red").hits == ()
            with pytest.raises(ApiError) as caught:
                reader.add("x", text="red")
        assert caught.value.code == "forbidden"


def test_nothing_listens(unused_port: int) -> None:
    with (
        Client(f"http://127.0.0.1:{unused_port}", retry=Retry(attempts=2, first_wait_s=0)) as client,
        pytest.raises(ServerUnreachableError, match="vernier serve"),
    ):
        client.health()


def test_an_address_must_be_one() -> None:
    with pytest.raises(UsageError, match="no address"):
        Client("localhost:8000")
    with pytest.raises(UsageError, match="no address"):
        Client("http://[::1")


def test_the_address_may_come_from_the_environment(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERNIER_URL", server.url)
    with Client() as client:
        assert client.health().status == "ready"


def test_connections_are_used_again(server: Running) -> None:
    with Client(server.url) as client:
        client.health()
        (first,) = client._http._transport._pool.connections  # type: ignore[attr-defined]
        client.search("red")
        assert client._http._transport._pool.connections == [first]  # type: ignore[attr-defined]


def test_what_is_no_vernier_server_is_said_so(server: Running) -> None:
    def elsewhere(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"hello": "world"}, request=request)

    with (
        Client(server.url, transport=httpx.MockTransport(elsewhere)) as client,
        pytest.raises(VernierError, match="does not understand") as caught,
    ):
        client.search("red")
    assert caught.value.code == "unexpected_answer"
