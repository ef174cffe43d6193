"""The small parts of a large gallery: packed ids, a file that is only added to, memory over a file."""

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.codes_file import CodesFile
from index.names import Names
from index.region import Region

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(
    named=st.dictionaries(st.integers(1, 60), IDS, max_size=30),
    gone=st.sets(st.integers(0, 80)),
    later=st.dictionaries(st.integers(61, 90), IDS, max_size=5),
)
def test_names_are_what_a_dictionary_holds(named: dict[int, str], gone: set[int], later: dict[int, str]) -> None:
    names = Names()
    for row in sorted(named):
        names.put(row, named[row])
        names.put(row, named[row])  # an item that is replaced keeps its row and id
    for row in gone:
        names.remove(row)
    names = Names.from_packed(*names.packed())
    for row in sorted(later):
        names.put(row, later[row])
    held = {row: name for row, name in named.items() if row not in gone} | later
    assert dict(names) == held
    assert len(names) == len(held)
    rows = sorted(held)
    assert names.of(rows) == names.of(rows) == [held[row] for row in rows]


@pytest.mark.parametrize("ends", [[3, 2, 6], [1, 2, 5], [1, 2]])
def test_names_that_do_not_fit_together_are_refused(ends: list[int]) -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        Names.from_packed(b"abcdef", np.asarray(ends), np.ones(3, bool))


def test_a_file_counts_what_was_written_wholly(tmp_path: Path) -> None:
    codes = np.arange(120, dtype=np.uint8).reshape(30, 4)
    file = CodesFile(tmp_path / "codes", code_bytes=4)
    file.append([codes[:10], codes[10:15]])
    first = file.sha256

    def broken() -> object:
        yield codes[15:20]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        file.append(broken())  # type: ignore[arg-type]
    assert (file.count, file.sha256) == (15, first)
    assert file.path.read_bytes() == codes[:15].tobytes()
    again = CodesFile.checked(file.path, 60, 4, sha256=first)
    again.append([codes[15:]])
    assert file.path.read_bytes() == codes.tobytes()
    assert CodesFile.checked(file.path, 120, 4, sha256=again.sha256).count == 30
    for num_bytes in (116, 124):
        with pytest.raises(ValueError, match="checksum"):
            CodesFile.checked(file.path, num_bytes, 4, sha256=again.sha256)


@pytest.mark.parametrize("num_bytes", [0, 100, mmap.PAGESIZE, 3 * mmap.PAGESIZE + 77])
def test_a_file_lies_at_the_beginning_of_memory(tmp_path: Path, num_bytes: int) -> None:
    content = np.random.default_rng(0).integers(0, 256, 4 * mmap.PAGESIZE).astype(np.uint8)
    file = tmp_path / "file"
    file.write_bytes(content.tobytes())
    region = Region(6 * mmap.PAGESIZE)
    region.bytes[num_bytes : num_bytes + 50] = 7
    region.lay(file, num_bytes)
    assert (region.bytes[:num_bytes] == content[:num_bytes]).all()
    assert (region.bytes[num_bytes : num_bytes + 50] == 7).all()
    assert not region.bytes[num_bytes + 50 :].any()
    region.bytes[num_bytes:] = 9  # what lies behind can be written, and the file stays
    assert file.read_bytes() == content.tobytes()
    with pytest.raises(ValueError, match="shorter"):
        region.lay(file, 5 * mmap.PAGESIZE)
    region.bytes[num_bytes:] = np.append(content, region.bytes)[num_bytes : len(region)]
    for longer in (num_bytes, num_bytes + 3, len(content)):
        region.lay(file, longer, start=num_bytes)
        assert (region.bytes[: len(content)] == content).all()
