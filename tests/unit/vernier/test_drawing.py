"""Boxes and heat maps on pictures, and answers as a notebook shows them."""

import base64
import io
import re
import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from runtime.engines.fake import PALETTE
from runtime.errors import UsageError
from tests.unit.vernier.conftest import Running, picture
from vernier import AsyncClient, Client, ItemReference, UrlReference, draw
from vernier.client.models import GroundAnswer, Grounding, Hit, Region, ScoredBox

WHITE = (255, 255, 255)


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.url) as opened:
        yield opened


@pytest.fixture
def gallery(client: Client) -> Iterator[str]:
    name = f"d{uuid.uuid4().hex[:12]}"
    client.create_gallery(name)
    client.add("red", image=picture("red"), text="a <b>red</b> picture", gallery=name)
    client.add("words", text="no picture here, red", gallery=name)
    yield name
    client.delete_gallery(name)


def found(*boxes: tuple[float, float, float, float], heatmap: object = None) -> GroundAnswer:
    grounding = Grounding(
        phrase="a cup", start=0, end=5, boxes=tuple(ScoredBox(box=box, score=0.5) for box in boxes), heatmap=heatmap
    )
    return GroundAnswer(groundings=(grounding,), image_size=(600, 400))


def changed(image: Image.Image) -> np.ndarray:
    """Where a white picture is no longer white."""
    return np.asarray(image).min(axis=2) < 250


def test_a_box_is_drawn_where_it_is_and_nowhere_else() -> None:
    drawn = draw(Image.new("RGB", (600, 400), WHITE), found((300, 200, 500, 350)))
    assert drawn.size == (600, 400)
    marked = changed(drawn)
    for x, y in ((300, 275), (500, 275), (400, 200), (400, 350)):  # the middle of each side
        assert marked[y, x], (x, y)
    assert not marked[210:340, 310:490].any()  # inside
    assert not marked[:, :290].any()
    assert not marked[360:].any()
    rows = np.flatnonzero(marked[:, 320])
    assert rows.min() < 195  # the name stands above the box


def test_a_small_picture_is_enlarged_and_its_boxes_with_it() -> None:
    answer = GroundAnswer(
        groundings=(Grounding(phrase="x", start=0, end=1, boxes=(ScoredBox(box=(30, 20, 60, 40), score=1),)),),
        image_size=(60, 40),
    )
    drawn = draw(Image.new("RGB", (60, 40), WHITE), answer)
    assert drawn.size == (480, 320)
    assert changed(drawn)[240, 240]
    assert not changed(drawn)[:, :230].any()


def test_boxes_are_in_pixels_of_the_picture_as_sent_whatever_is_drawn_on() -> None:
    drawn = draw(Image.new("RGB", (1200, 800), WHITE), found((300, 200, 500, 350)))
    assert changed(drawn)[550, 600]
    assert not changed(drawn)[:, :590].any()


def test_the_heat_lies_where_it_is_hot() -> None:
    cold_but_one = ((0.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    drawn = draw(Image.new("RGB", (600, 400), WHITE), found(heatmap=cold_but_one), heat="a cup")
    assert drawn.getpixel((60, 60)) == WHITE
    red, green, blue = drawn.getpixel((570, 370))
    assert red > 240
    assert blue < 200
    assert green < 250
    as_png = io.BytesIO()
    Image.fromarray((np.asarray(cold_but_one) * 255).astype(np.uint8)).save(as_png, "PNG")
    encoded = base64.b64encode(as_png.getvalue()).decode()
    again = draw(Image.new("RGB", (600, 400), WHITE), found(heatmap=encoded), heat="a cup")
    assert np.array_equal(np.asarray(again), np.asarray(drawn))


@pytest.mark.parametrize("heatmap", [None, "no base64!", base64.b64encode(b"no picture").decode()])
def test_without_a_heat_map_there_is_no_heat(heatmap: str | None) -> None:
    with pytest.raises(UsageError, match="heat map of 'a cup'"):
        draw(picture("red"), found(heatmap=heatmap), heat="a cup")


def test_regions_of_a_hit_are_drawn() -> None:
    region = Region(phrase="a cup", start=0, end=5, box=(300, 200, 500, 350), score=0.5)
    hit = Hit(id="x", score=1, image_size=(600, 400), regions=(region,))
    image = Image.new("RGB", (600, 400), WHITE)
    assert np.array_equal(np.asarray(draw(image, hit)), np.asarray(draw(image, found((300, 200, 500, 350)))))


def pictures_in(html: str) -> list[Image.Image]:
    assert "http" not in html
    assert "<script" not in html
    return [
        Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"data:image/jpeg;base64,([^\"]+)", html)
    ]


def test_hits_show_their_pictures_after_the_client_is_closed(server: Running, client: Client, gallery: str) -> None:
    with Client(server.url) as gone:
        answer = gone.search("red", gallery=gallery, include=("text",))
    html = answer._repr_html_()
    (shown,) = pictures_in(html)
    assert np.abs(np.asarray(shown.convert("RGB"))[20, 30].astype(int) - PALETTE["red"]).max() < 12
    assert "a &lt;b&gt;red&lt;/b&gt; picture" in html
    assert client.search("red", gallery=gallery, filter={"n": 1})._repr_html_() == "<em>Nothing found.</em>"


def test_what_has_no_picture_says_so(client: Client, gallery: str) -> None:
    html = client.search("red", gallery=gallery, target="text")._repr_html_()
    assert "has no picture" in html
    assert "no picture here" in client.item("words", gallery=gallery)._repr_html_()
    before = client.search("red", gallery=gallery)
    client.delete("red", gallery=gallery)
    assert "has no such item" in before._repr_html_()
    answer = client.ground(picture("red"), "red")
    assert GroundAnswer(**answer.model_dump())._repr_html_().count("<em>") == 1


def test_explained_hits_show_regions(client: Client, gallery: str) -> None:
    (hit,) = client.search("red", gallery=gallery, top_k=1).hits
    region = Region(phrase="red", start=0, end=3, box=(10, 10, 30, 30), score=0.5)
    (drawn,) = pictures_in(hit.model_copy(update={"regions": (region,), "image_size": (64, 48)})._repr_html_())
    assert drawn.size == (480, 360)


def test_answers_about_a_picture_show_it(client: Client, gallery: str) -> None:
    for image in (picture("red"), ItemReference("red")):
        answer = client.ground(image, "red", gallery=gallery, heatmap="png")
        assert len(pictures_in(answer._repr_html_())) == 2
        judged = client.proofread(image, "a blue picture", gallery=gallery)
        html = judged._repr_html_()
        assert len(pictures_in(html)) == 1
        assert 'line-through">blue</span>' in html
    assert len(pictures_in(client.item("red", gallery=gallery)._repr_html_())) == 1
    remote = answer.model_copy()
    remote.shows(_cannot_look)
    assert "fetched by the server" in remote._repr_html_()


def _cannot_look() -> bytes:
    from vernier.client.calls import _looked_at

    return _looked_at(UrlReference("https://example.org/x.jpg"), "default", lambda *_: b"")()


async def test_answers_of_the_async_client_show_themselves_in_a_running_loop(server: Running) -> None:
    async with AsyncClient(server.url) as client:
        await client.add("blue", image=picture("blue"))
        answer = await client.search("blue", top_k=1)
        assert len(pictures_in(answer._repr_html_())) == 1
        await client.delete("blue")
