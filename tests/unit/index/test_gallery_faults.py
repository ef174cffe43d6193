"""Large galleries on a disk that is full, and from snapshots that are damaged."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index import LocalGallery, local, open_gallery
from tests.unit.index.conftest import DIM, SPACE, new_item, rounded, unit

Open = Callable[..., LocalGallery]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a gallery that is searched as large ones are, with writes after its snapshot."""
    folder, rng = tmp_path_factory.mktemp("once") / "gallery", np.random.default_rng(7)
    with pytest.MonkeyPatch.context() as patch, open_gallery(folder, space=SPACE, dim=DIM, create=True) as gallery:
        patch.setattr(local, "EXACT_UP_TO", 100)
        gallery.upsert([new_item(f"i{at}", rng) for at in range(1500)])
        (tuning,) = gallery.tune(kind="ivf-pq")
        assert tuning.kind == "ivf-pq"
        gallery.upsert([new_item(f"late{at}", rng) for at in range(20)])
        gallery.delete("i3")
    return folder


@pytest.fixture
def tuned(made_once: Path, tmp_path: Path, open_here: Open, monkeypatch: pytest.MonkeyPatch) -> LocalGallery:
    monkeypatch.setattr(local, "EXACT_UP_TO", 100)
    shutil.copytree(made_once, tmp_path / "gallery")
    return open_here()


def answers(gallery: LocalGallery) -> list:
    return [[hit.id for hit in hits] for hits in gallery.search(unit(np.random.default_rng(5), 8, DIM), top_k=20)]


def test_a_full_disk(tmp_path: Path) -> None:
    """On a real file system of 8 MB, which only some systems let a test have."""
    mount = 'mount -t tmpfs -o size=8m none "$0" && exec "$@"'
    within = ["unshare", "-Urm", "sh", "-c", mount, str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*within, "true"], capture_output=True).returncode:
        pytest.skip("file systems cannot be made here")
    command = [*within, sys.executable, "-m", "tests.unit.index.full_disk", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("victim", ["codes", "codec", "rows", "candidates", "names"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove"])
def test_a_damaged_part_is_told_and_everything_is_made_from_the_file(
    open_here: Open, tuned: LocalGallery, caplog: pytest.LogCaptureFixture, victim: str, harm: str
) -> None:
    before = answers(tuned)
    tuned.close()
    pattern = "names.*" if victim == "names" else f"image.*.{victim}"
    (file,) = (tuned.folder / "snapshot").glob(pattern)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if harm == "remove":
        file.unlink()
    else:
        file.write_bytes(data[:-10] if harm == "truncate" else data)
    with caplog.at_level(logging.WARNING):
        again = open_here()
    assert "snapshot_rejected" in caplog.text
    assert file.name in caplog.text
    assert answers(again) == before
    again.rebuild()
    assert again.verify() == []


def test_codes_behind_those_that_count_are_written_over(open_here: Open, tuned: LocalGallery) -> None:
    """What a killed or failed snapshot left at the end of the file of codes."""
    before = answers(tuned)
    tuned.close()
    (file,) = (tuned.folder / "snapshot").glob("image.*.codes")
    with file.open("ab") as stream:
        stream.write(b"\xff" * 1000)
    again = open_here()
    again.snapshot()
    again.close()
    third = open_here()
    assert third.stats().changes_in_log == 0
    assert answers(third) == before
    assert third.verify() == []


def test_a_reader_beside_the_writer_of_a_large_gallery(
    open_here: Open, tuned: LocalGallery, rng: np.random.Generator
) -> None:
    reader = open_here(read_only=True, create=False)
    for step in range(3):
        tuned.upsert([new_item(f"step {step}", rng), new_item("i7", rng, content_digest=str(step))])
        tuned.snapshot()
        assert answers(reader) == answers(tuned)
    tuned.tune(kind="hnsw")
    tuned.upsert([new_item("last", rng)])
    assert answers(reader) == answers(tuned)
    assert reader.verify() == []


def test_a_large_gallery_is_tuned_anew_when_much_of_it_is_stale(
    tuned: LocalGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "TUNED_FROM", 100)
    before = set((tuned.folder / "snapshot").glob("image.*.codes"))
    assert not tuned._is_tuning_due("image")
    other = np.random.default_rng(8)
    tuned.upsert([new_item(f"i{at}", other, content_digest="b") for at in range(1000)])
    found = answers(tuned)
    assert tuned._is_tuning_due("image")
    tuned.tune(kind="ivf-pq")
    assert not tuned._is_tuning_due("image")
    assert answers(tuned) == found
    assert tuned.verify() == []
    assert not before & set((tuned.folder / "snapshot").glob("image.*.codes"))


def test_int8_is_taken_where_it_finds_enough_and_refused_loudly_where_not(
    open_here: Open, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(local, "EXACT_UP_TO", 100)
    gallery = open_here()
    gallery.upsert([new_item(f"i{at}", rng) for at in range(1500)])
    (tuning,) = gallery.tune(vectors="int8", kind="ivf-pq")
    assert (tuning.vectors, gallery.tune(kind="hnsw")[0].vectors) == ("int8", "int8")  # and it stays as it was chosen
    assert tuning.recall >= 0.95
    same = unit(rng, DIM)
    alike = (same + 0.002 * rng.standard_normal((1500, DIM))).astype(np.float32)  # nearer than a byte can tell
    alike[::2] *= -1
    alike /= np.linalg.norm(alike, axis=1, keepdims=True)
    gallery.upsert([new_item(f"i{at}", rng, image_embedding=alike[at], content_digest="b") for at in range(1500)])
    with caplog.at_level(logging.WARNING):
        (tuning,) = gallery.tune(vectors="int8", kind="ivf-pq")
    assert "int8_finds_too_little" in caplog.text
    assert tuning.vectors != "int8"
    found = rounded(gallery.search(alike[:20], top_k=1))
    assert [hits[0][0] for hits in found] == [f"i{at}" for at in range(20)]
    assert gallery.verify() == []
