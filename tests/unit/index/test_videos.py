"""Videos: one item each, found by any of its frames' colours, with the time at which that colour is shown."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from index import open_folder, video
from index.checks import content_digest, content_digest_of_file
from index.copy import copy
from index.gallery import Gallery
from index.ingest import add
from index.migrate import Migration
from index.sources import list_sources
from index.video import NUM_FRAMES, VideoFrame, mean_embedding, sample_frames
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import ImageError, VernierError
from tests.unit.index.videos import RATE, write_sound, write_video
from tests.unit.server.conftest import fill, serving, settings_for

ENCODER = fake_encoder()


def gallery_at(folder: Path) -> Gallery:
    return open_folder(folder, space=ENCODER.space, dim=ENCODER.dim, create=True)


def query(text: str) -> np.ndarray:
    return ENCODER.embed_texts([text]).embedding


def colour_of(frame: VideoFrame) -> str:
    seen = np.asarray(frame.image).mean(axis=(0, 1))
    return min(PALETTE, key=lambda name: float(np.abs(seen - np.asarray(PALETTE[name])).sum()))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two videos and a picture's neighbours that are none."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a.mp4", ["red", "green", "blue"])
    write_video(folder / "b.webm", ["yellow", "white"])
    return folder


@pytest.mark.parametrize("text", [None, "", "a caption"])
@pytest.mark.parametrize("size", [0, 7, (1 << 20) + 3])
def test_a_file_read_in_blocks_has_the_digest_of_its_bytes(tmp_path: Path, size: int, text: str | None):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "file").write_bytes(data)
    assert content_digest_of_file(tmp_path / "file", text=text) == content_digest(picture=data, text=text)


@pytest.mark.parametrize("name", ["a.mp4", "b.webm"])
def test_frames_are_spread_evenly_and_say_their_time(clips: Path, name: str):
    frames = sample_frames(clips / name)
    colours = ["red", "green", "blue"] if name == "a.mp4" else ["yellow", "white"]
    assert len(frames) == NUM_FRAMES
    times = [frame.time_s for frame in frames]
    assert times == sorted(set(times))
    wanted = [(at + 0.5) * len(colours) / NUM_FRAMES for at in range(NUM_FRAMES)]
    np.testing.assert_allclose(times, wanted, atol=1 / RATE)
    assert [colour_of(frame) for frame in frames] == [colours[int(time)] for time in times]


def test_a_far_frame_is_jumped_to_and_is_the_same(clips: Path, monkeypatch: pytest.MonkeyPatch):
    through = sample_frames(clips / "a.mp4", count=5)
    monkeypatch.setattr(video, "_READ_THROUGH_S", 0.0)
    jumped = sample_frames(clips / "a.mp4", count=5)
    assert [frame.time_s for frame in jumped] == [frame.time_s for frame in through]
    for one, other in zip(jumped, through, strict=True):
        assert np.array_equal(np.asarray(one.image), np.asarray(other.image))


def test_a_video_of_unknown_length_is_gone_through(clips: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(video, "_duration", lambda container, stream: None)
    frames = sample_frames(clips / "a.mp4", count=3)
    assert [colour_of(frame) for frame in frames] == ["red", "green", "blue"]


def test_a_video_shorter_than_the_frames_gives_all_it_has(tmp_path: Path):
    write_video(tmp_path / "short.mp4", ["red"], seconds_each=0.5)
    assert len(sample_frames(tmp_path / "short.mp4")) == RATE // 2


def test_a_gallery_takes_a_video_as_one_item_and_says_when(clips: Path, tmp_path: Path):
    with gallery_at(tmp_path / "gallery") as gallery:
        report = add(gallery, ENCODER, [clips])
        assert (report.created, report.broken) == (2, [])
        assert gallery.info().items == 2
        frames = gallery.frames(["a.mp4", "b.webm"])["a.mp4"]
        np.testing.assert_allclose(gallery.vector("a.mp4"), mean_embedding(frames.embeddings), atol=1e-6)
        for colour, (start, end) in {"red": (0, 1), "green": (1, 2), "blue": (2, 3)}.items():
            (hits,) = gallery.search(query(colour), top_k=1)
            assert hits[0].id == "a.mp4"
            assert start <= frames.best_time_s(query(colour)[0]) < end
        assert gallery.picture("a.mp4") in gallery.frame_pictures("a.mp4")
        assert gallery.verify() == []
        again = add(gallery, ENCODER, [clips])
        assert (again.created, again.unchanged) == (0, 2)
    with open_folder(tmp_path / "gallery", read_only=True) as again_open:
        assert set(again_open.frames(["a.mp4", "b.webm"])) == {"a.mp4", "b.webm"}


def test_frames_go_with_their_video(clips: Path, tmp_path: Path):
    with gallery_at(tmp_path / "gallery") as gallery:
        add(gallery, ENCODER, [clips])
        lines = tmp_path / "lines.jsonl"
        lines.write_text('{"image": "a.mp4", "year": 2026}\n{"image": "b.webm", "id": "b.webm", "text": "bright"}\n')
        report = add(gallery, ENCODER, [lines], images_dir=clips)
        assert report.replaced == 2
        assert gallery.get("a.mp4").metadata == {"year": 2026}
        assert len(gallery.frames(["a.mp4"])["a.mp4"].times_s) == NUM_FRAMES  # known by its digest
        with gallery_at(tmp_path / "copy") as other:
            copy(gallery, other)
            assert other.frame_pictures("b.webm") == gallery.frame_pictures("b.webm")
        gallery.delete("a.mp4")
        assert (gallery.frames(["a.mp4"]), gallery.frame_pictures("a.mp4")) == ({}, ())
        write_picture = tmp_path / "b.webm.png"
        sample_frames(clips / "b.webm")[0].image.save(write_picture)
        lines.write_text('{"image": "b.webm.png", "id": "b.webm"}\n')
        add(gallery, ENCODER, [lines], images_dir=tmp_path)
        assert gallery.frames(["b.webm"]) == {}  # a picture has taken its place
        assert gallery.verify() == []


def test_another_model_sees_every_frame(clips: Path, tmp_path: Path):
    other = fake_encoder(name="other")
    gallery = gallery_at(tmp_path / "gallery")
    add(gallery, ENCODER, [clips])
    with Migration(encoder=other).run(gallery) as moved:
        frames = moved.frames(["a.mp4"])["a.mp4"]
        assert frames.embeddings.shape == (NUM_FRAMES, other.dim)
        np.testing.assert_allclose(moved.vector("a.mp4"), mean_embedding(frames.embeddings), atol=1e-6)
        assert 1 <= frames.best_time_s(other.embed_texts(["green"]).embedding[0]) < 2
        assert moved.verify() == []


def test_what_is_no_good_video_is_named_and_the_rest_goes_in(clips: Path, tmp_path: Path, monkeypatch):
    folder = tmp_path / "mixed"
    shutil.copytree(clips, folder)
    (folder / "empty.mp4").touch()
    (folder / "text.mkv").write_text("this is no video")
    (folder / "cut.mp4").write_bytes((clips / "a.mp4").read_bytes()[:200])
    write_sound(folder / "sound.mp4")
    with gallery_at(tmp_path / "gallery") as gallery:
        report = add(gallery, ENCODER, [folder])
        assert report.created == 2
        reasons = {Path(name).name: reason for name, reason in report.broken}
        assert set(reasons) == {"empty.mp4", "text.mkv", "cut.mp4", "sound.mp4"}
        assert "no moving picture" in reasons["sound.mp4"]
        assert all("damaged or none" in reasons[name] for name in ("empty.mp4", "text.mkv", "cut.mp4"))
    monkeypatch.setattr(video, "MAX_SECONDS", 2)
    with pytest.raises(ImageError, match="lasts") as caught:
        sample_frames(clips / "a.mp4")
    assert caught.value.code == "video_too_large"
    monkeypatch.setattr(video, "MAX_PIXELS", 100)
    with pytest.raises(ImageError, match="64 x 48 pixels"):
        sample_frames(clips / "a.mp4")


def test_without_pyav_it_is_said_what_brings_it(clips: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VernierError, match=r"vernier\[video\]") as caught:
        sample_frames(clips / "a.mp4")
    assert caught.value.code == "extra_missing"
    assert [source.id for source in list_sources([clips]).sources] == ["a.mp4", "b.webm"]


async def test_hits_say_when_on_the_server_too(clips: Path, tmp_path: Path):
    with gallery_at(tmp_path / "galleries" / "default") as gallery:
        add(gallery, ENCODER, [clips])
    async with serving(settings_for(tmp_path)) as client:
        asked = {"text": "blue", "top_k": 1, "rerank": 2}
        (hit,) = (await client.post("/search", json=asked)).json()["hits"]
        assert hit["id"] == "a.mp4"
        assert 2 <= hit["time_seconds"] < 3
        await fill(client, ("green",))
        (hit,) = (await client.post("/search", json={"text": "green", "top_k": 1})).json()["hits"]
        assert hit["id"] == "green"  # all of a picture against a third of a video
        assert "time_seconds" not in hit
