"""Galleries in a real Milvus: what every gallery promises, moving to another model, copying, and Milvus going away.

One server for all of it (`scripts/milvus.sh` brings it), in a folder of its own, killed and started again at the end.
"""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from index import Gallery, NewItem, milvus_server, open_gallery, thumbnail
from index.copy import copy
from index.migrate import Migration, roll_back
from index.milvus import MilvusGallery
from index.milvus_rows import listed
from index.milvus_server import MilvusAddress
from runtime.encoder import Encoder
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import GalleryError
from server.errors import status_of
from server.service import Service
from tests.conftest import ROOT
from tests.contracts.gallery_contract import METADATA, ODD_NAMES, GalleryContract
from tests.unit.index.conftest import DIM, SPACE, new_item, unit
from tests.unit.server.conftest import fill, serving, settings_for

pytestmark = pytest.mark.milvus

_INSTALL_S, _START_S = 300, 120
_ETCD_PORT = 2380
COLOURS = list(PALETTE)


class Milvus:
    """A Milvus server in a process of its own."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.folder = folder
        self._program = home / "bin" / "milvus-server"
        (folder / "data").mkdir()
        (folder / "data" / "bin").symlink_to(home / "run" / "bin")  # else it is unpacked again
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = int(listener.getsockname()[1])
        self.start()

    def start(self) -> None:
        """Start it, and wait until its port is open."""
        command: list[str | Path] = [self._program, "--data", str(self.folder / "data"), "--proxy-port", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError("Milvus did not start")

    def kill(self) -> None:
        """End it and its children at once."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def uri(self, name: str, **options: object) -> str:
        return f"milvus://127.0.0.1:{self.port}/{name}?" + "&".join(f"{key}={value}" for key, value in options.items())


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Milvus]:
    installed = subprocess.run(
        [ROOT / "scripts" / "milvus.sh"], capture_output=True, text=True, timeout=_INSTALL_S, check=False
    )
    if installed.returncode != 0:
        pytest.skip(f"no Milvus server can be installed: {installed.stderr.strip()[-300:]}")
    folder = tmp_path_factory.mktemp("milvus")
    with socket.socket() as attempt:
        if attempt.connect_ex(("127.0.0.1", _ETCD_PORT)) == 0:
            pytest.skip(f"another Milvus or etcd has port {_ETCD_PORT}, which cannot be changed")
    server = Milvus(Path(installed.stdout.strip()), folder)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


class Emptied:
    """One collection for many tests: making one takes Milvus seconds, emptying it does not."""

    def __init__(self, milvus: Milvus, pictures: Path) -> None:
        self.uri = milvus.uri("contract", index="FLAT", pictures=pictures)
        self.opened: list[Gallery] = []

    def open_it(self, **options: Any) -> Gallery:
        self.opened.append(open_gallery(self.uri, **{"space": SPACE, "dim": DIM, "create": True, **options}))
        return self.opened[-1]

    def clean(self) -> None:
        for gallery in self.opened:
            gallery.close()
        self.opened.clear()
        with open_gallery(self.uri, space=SPACE, dim=DIM, create=True) as gallery:
            assert isinstance(gallery, MilvusGallery)
            if pks := [row["pk"] for row in gallery.all_rows(["pk"])]:
                gallery.server.call("delete", gallery.collection, filter=listed(pks))
                gallery.upsert([new_item("last", np.random.default_rng(0))])  # returns when all that is seen
                gallery.delete("last")


@pytest.fixture(scope="module")
def emptied(milvus: Milvus, tmp_path_factory: pytest.TempPathFactory) -> Emptied:
    return Emptied(milvus, tmp_path_factory.mktemp("pictures"))


class TestMilvusGallery(GalleryContract):
    @pytest.fixture
    def open_it(self, emptied: Emptied) -> Iterator[Callable[..., Gallery]]:
        yield emptied.open_it
        emptied.clean()


def gallery_at(milvus: Milvus, name: str, folder: Path, **options: Any) -> MilvusGallery:
    uri = milvus.uri(name, index="FLAT", pictures=folder / "kept")
    gallery = open_gallery(uri, **{"space": SPACE, "dim": DIM, "create": True, **options})
    assert isinstance(gallery, MilvusGallery)
    return gallery


def pictures_of(encoder: Encoder, number: int, first: int = 0) -> list[NewItem]:
    """Squares of the fake model's colours, with texts."""
    items = []
    for at in range(first, first + number):
        colour = COLOURS[at % len(COLOURS)]
        image = Image.new("RGB", (64, 48), PALETTE[colour])
        items.append(
            NewItem(
                id=f"{colour}-{at}",
                image_embedding=encoder.embed_images([image]).embedding[0],
                text_embedding=encoder.embed_texts([colour]).embedding[0] if at % 2 else None,
                text=colour if at % 2 else None,
                metadata={"at": at},
                picture=thumbnail(image),
                content_digest=f"{colour} {at}",
            )
        )
    return items


def test_it_goes_over_to_another_model_and_back(milvus: Milvus, tmp_path: Path) -> None:
    first, second = fake_encoder(name="first"), fake_encoder(name="second")
    gallery = gallery_at(milvus, "moving-house", tmp_path, space=first.space, dim=first.dim)
    gallery.upsert(pictures_of(first, 20))
    turns = iter(range(100))

    def meanwhile(done: int, total: int) -> None:
        if next(turns) == 1:
            gallery.upsert(pictures_of(first, 3, first=20))
            gallery.delete("red-0")

    moved = Migration(encoder=second, batch_size=8, progress=meanwhile).run(gallery)
    assert isinstance(moved, MilvusGallery)
    assert (moved.space, moved.info().items, moved.verify()) == (second.space, 22, [])
    blue = second.embed_texts(["blue"]).embedding
    for one in (moved, gallery):  # who searched before goes on searching as before
        assert [hit.id for hit in one.search(blue, top_k=3)[0]] == ["blue-10", "blue-18", "blue-2"]
    with pytest.raises(GalleryError) as caught:
        gallery.upsert(pictures_of(first, 1))
    assert caught.value.code == "gallery_switched"
    assert gallery.delete("blue-2") is True
    assert [hit.id for hit in moved.search(blue, top_k=9)[0]][:2] == ["blue-10", "blue-18"]
    assert moved.get("blue-2") is None
    with pytest.raises(GalleryError) as caught:
        gallery_at(milvus, "moving-house", tmp_path, space=first.space, dim=first.dim)
    assert caught.value.code == "space_mismatch"
    moved.upsert(pictures_of(second, 1, first=23))
    with pytest.raises(GalleryError, match="its bundle"):
        roll_back(moved, None)
    back = roll_back(moved, first)
    assert (back.space, back.info().items, back.verify()) == (first.space, 22, [])
    assert back.get("blue-2") is None
    assert back.get("white-23") is not None
    back.discard_standby()
    assert back.standby() is None
    back.close()
    moved.close()
    gallery.close()


def test_a_gallery_is_copied_there_and_back(milvus: Milvus, tmp_path: Path, rng: np.random.Generator) -> None:
    with open_gallery(tmp_path / "here", space=SPACE, dim=DIM, create=True) as here:
        items = [
            new_item(
                name, rng, metadata=METADATA[at % len(METADATA)], picture=name.encode() if at % 3 else None,
                text=name if at % 2 else None, text_embedding=unit(rng, DIM) if at % 2 else None,
            )
            for at, name in enumerate([*ODD_NAMES, *(f"i{number}" for number in range(60))])
        ]  # fmt: skip
        here.upsert(items)
        with gallery_at(milvus, "copied", tmp_path) as there:
            there.upsert(items[:20])
            report = copy(here, there)
            assert (report.copied, report.unchanged, report.others) == (len(items) - 20, 20, 0)
            assert report.searches > 20
            assert there.verify() == []
            with open_gallery(tmp_path / "back", space=SPACE, dim=DIM, create=True) as again:
                copy(there, again)
                assert again.verify() == []
                there.delete("i7")
                assert copy(there, again).others == 1
                stored = again.get("i9")
                alike = {"content_digest": stored.content_digest, "metadata": stored.metadata}
                bad = new_item("i9", rng, picture=again.picture("i9"), **alike)
                again.delete("i9")
                again.upsert([bad])  # looks the same, and is not
                with pytest.raises(GalleryError) as caught:
                    copy(there, again)
                assert caught.value.code == "copy_differs"


def test_large_and_impossible_items_are_refused(milvus: Milvus, tmp_path: Path, rng: np.random.Generator) -> None:
    with gallery_at(milvus, "copied", tmp_path) as gallery:
        before = gallery.info().items
        for parts, code in (
            ({"metadata": {"values": list(range(5_000))}}, "metadata_invalid"),
            ({"text": "\U0001f600" * 20_000}, "text_invalid"),
        ):
            with pytest.raises(GalleryError) as caught:
                gallery.upsert([new_item("large", rng, **parts)])
            assert caught.value.code == code
        assert gallery.upsert([new_item("large", rng, text="日" * 20_000)]) == ["created"]
        assert gallery.delete("large")
        assert gallery.info().items == before


def test_a_gallery_that_cannot_be_made_leaves_nothing_behind(milvus: Milvus) -> None:
    with pytest.raises(GalleryError, match="pictures=FOLDER"):
        open_gallery(milvus.uri("placeless", index="FLAT"), space=SPACE, dim=DIM, create=True)
    with pytest.raises(GalleryError) as caught:
        open_gallery(milvus.uri("placeless", index="FLAT"))
    assert caught.value.code == "unknown_gallery"
    with pytest.raises(GalleryError, match="M out of range") as caught:
        open_gallery(milvus.uri("odd", pictures="none", **{"build.M": -1}), space=SPACE, dim=DIM, create=True)
    assert caught.value.code == "gallery_failed"
    with open_gallery(milvus.uri("odd", pictures="none"), space=SPACE, dim=DIM, create=True) as gallery:
        assert gallery.info().index_kind == "milvus-hnsw"


async def test_it_is_served(milvus: Milvus, tmp_path: Path) -> None:
    uri = milvus.uri("served", pictures=tmp_path / "kept")
    async with serving(settings_for(tmp_path, gallery=uri)) as client:
        await fill(client)
        query = {"text": "green", "top_k": 2, "filter": {"number": {"gte": 1}}, "rerank": 2, "explain": True}
        answer = (await client.post("/search", json=query)).json()
        assert answer["hits"][0]["id"] == "green"
        assert answer["hits"][0]["regions"]
        picture = await client.get("/galleries/default/items/red/image")
        assert picture.headers["content-type"] == "image/jpeg"
        described = (await client.get("/galleries/default")).json()
        assert (described["items"], described["index_kind"], described["read_only"]) == (4, "milvus-hnsw", False)


def test_killed_while_it_is_written_it_loses_nothing(
    milvus: Milvus, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was acknowledged is there after Milvus was killed and started again, and nothing is there twice."""
    gallery = gallery_at(milvus, "survivor", tmp_path)
    acknowledged: dict[str, int] = {}
    sent: dict[str, int] = {}
    broken: list[GalleryError] = []
    killed = threading.Event()

    def write(thread: int) -> None:
        draw = np.random.default_rng(thread)
        for at in range(10_000):
            names = [f"t{thread}-{(at * 5 + offset) % 40}" for offset in range(5)]
            sent.update(dict.fromkeys(names, at))
            try:
                gallery.upsert([new_item(name, draw, metadata={"at": at}, content_digest=str(at)) for name in names])
            except GalleryError as error:
                broken.append(error)
                return
            acknowledged.update(dict.fromkeys(names, at))
            if killed.is_set():
                return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 60:
        assert not broken
        time.sleep(0.05)
    monkeypatch.setattr(milvus_server, "_PATIENCE_S", 1.5)  # of calls that begin now
    milvus.kill()
    killed.set()
    for thread in threads:
        thread.join()
    assert broken
    assert {error.code for error in broken} == {"gallery_unreachable"}
    with pytest.raises(GalleryError) as caught:
        gallery.search(unit(rng, 1, DIM), top_k=1)
    assert (caught.value.code, status_of(caught.value)) == ("gallery_unreachable", 503)
    service = Service(settings_for(tmp_path, gallery=milvus.uri("survivor")), encoder=fake_encoder())
    with pytest.raises(GalleryError, match="is it running there"):  # which `vernier serve` prints, and ends
        service.start()
    monkeypatch.setattr(milvus_server, "_PATIENCE_S", 60.0)
    milvus.start()
    stored = {item.id: item.metadata["at"] for item in gallery.page(limit=1000).items}
    assert gallery.verify() == []
    assert set(acknowledged) <= set(stored)
    for name, at in stored.items():  # as acknowledged, or as of a later write that broke off
        assert acknowledged.get(name, -1) <= at <= sent[name]
    retried = [new_item(name, rng, metadata={"at": at}, content_digest=str(at)) for name, at in sent.items()]
    gallery.upsert(retried)
    assert {item.id: item.metadata["at"] for item in gallery.page(limit=1000).items} == sent
    assert gallery.info().items == len(sent)
    assert gallery.verify() == []
    gallery.close()


@pytest.mark.parametrize(
    "uri",
    [
        "milvus://", "milvus:///name", "milvus://host/Name", "milvus://host/n?index", "milvus://host/n?depth=3",
        "milvus://host:x/n", "milvus://user:secret@host/n", "milvus://host/n?wait=maybe",
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_meant(uri: str) -> None:
    with pytest.raises(GalleryError) as caught:
        MilvusAddress.parse(uri)
    assert caught.value.code in ("gallery_uri_invalid", "gallery_name_invalid")
    assert "secret" not in str(caught.value)


def test_an_address_is_read() -> None:
    address = MilvusAddress.parse(
        "milvus://host:1/a-b?index=GPU_CAGRA&build.graph_degree=64&search.itopk_size=128&shards=4"
    )
    assert (address.server, address.name, address.index, address.shards) == ("host:1", "a-b", "GPU_CAGRA", 4)
    assert (address.build, address.search) == ({"graph_degree": 64}, {"itopk_size": 128})
