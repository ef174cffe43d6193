"""The async client against a real server; what it shares with the sync one is tested there."""

import asyncio
import inspect
import uuid
from collections.abc import AsyncIterator

import pytest

from tests.unit.vernier.conftest import Running, picture
from vernier import ApiError, AsyncClient, Client, ItemReference, NewItem, Retry, ServerUnreachableError


@pytest.fixture
async def client(server: Running) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url) as opened:
        yield opened


@pytest.fixture
async def gallery(client: AsyncClient) -> AsyncIterator[str]:
    name = f"a{uuid.uuid4().hex[:12]}"
    await client.create_gallery(name)
    yield name
    await client.delete_gallery(name)


def public(kind: type) -> dict[str, object]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


def test_both_clients_have_the_same_methods_with_the_same_parameters_and_words() -> None:
    sync, asynchronous = public(Client), public(AsyncClient)
    assert list(sync) == list(asynchronous)
    for name, method in sync.items():
        assert inspect.signature(method).parameters == inspect.signature(asynchronous[name]).parameters, name  # type: ignore[arg-type]
        assert inspect.getdoc(method) == inspect.getdoc(asynchronous[name]), name


async def test_every_kind_of_answer(client: AsyncClient, gallery: str) -> None:
    assert (await client.health()).status == "ready"
    assert (await client.info())["bundle"]["name"] == "fake"
    put = await client.add("red", image=picture("red"), text="a red picture", metadata={"n": 1}, gallery=gallery)
    assert put.outcome == "created"
    assert (await client.search("red", gallery=gallery)).hits[0].id == "red"
    assert (await client.search(image=picture("red"), gallery=gallery)).hits[0].id == "red"
    assert (await client.ground(ItemReference("red"), "red", gallery=gallery)).image_size == (64, 48)
    assert (await client.proofread(picture("red"), "a blue picture")).corrected_text == "a red picture"
    assert len(await client.proofread_all(picture("red"), ["a blue picture", "a red one"])) == 2
    assert (await client.identify(picture("red"), point=(9, 9), phrases=["red"])).names[0].phrase == "red"
    assert len((await client.embed(["red"], images=[picture("blue")])).embeddings) == 2
    assert (await client.item("red", gallery=gallery)).metadata == {"n": 1}
    assert (await client.item_picture("red", gallery=gallery)).startswith(b"\xff\xd8")
    assert (await client.gallery(gallery)).items == 1
    assert gallery in {known.name for known in await client.galleries()}
    await client.delete("red", gallery=gallery)
    assert [item async for item in client.items(gallery=gallery)] == []


async def test_bulk_add_and_paging(client: AsyncClient, gallery: str) -> None:
    items = [NewItem(id=f"i{n}", text=f"a red picture {n}") for n in range(5)]
    items.insert(2, NewItem(id="broken", image=b"no picture"))
    done: list[int] = []
    outcomes = [
        outcome
        async for outcome in client.add_many(
            items, gallery=gallery, max_items=4, progress=lambda count, _: done.append(count)
        )
    ]
    assert [outcome.ok for outcome in outcomes] == [True, True, False, True, True, True]
    assert done == [4, 6]
    assert [item.id async for item in client.items(gallery=gallery, page_size=2)] == ["i0", "i1", "i2", "i3", "i4"]


async def test_many_at_once(client: AsyncClient, gallery: str) -> None:
    await client.add("red", image=picture("red"), gallery=gallery)
    answers = await asyncio.gather(*(client.search("red", gallery=gallery) for _ in range(20)))
    assert all(answer.hits[0].id == "red" for answer in answers)


async def test_errors(client: AsyncClient, unused_port: int) -> None:
    with pytest.raises(ApiError) as caught:
        await client.search("red", gallery="nowhere")
    assert caught.value.code == "unknown_gallery"
    async with AsyncClient(f"http://127.0.0.1:{unused_port}", retry=Retry(attempts=1)) as nobody:
        with pytest.raises(ServerUnreachableError):
            await nobody.health()
