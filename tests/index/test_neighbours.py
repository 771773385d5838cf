import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headwater.data import Vocabulary
from headwater.errors import ArtefactError, LineageError
from headwater.index.neighbours import (
    ABSENT,
    HEADER_BYTES,
    Header,
    NeighbourTable,
    empty_rows,
    merge_shards,
    row_type,
    write_table,
)

N_ITEMS, K = 7, 3
VOCABULARY = Vocabulary(np.arange(100, 100 + N_ITEMS))


def header(first: int = 0, rows: int = N_ITEMS, run: str = "m") -> Header:
    return Header(K, N_ITEMS, first, rows, VOCABULARY.fingerprint(), run)


def filled() -> NDArray[np.void]:
    """Item i has i % 4 neighbours: i + 1, i + 2, ... at 2, 1, 0."""
    rows = empty_rows(N_ITEMS, K)
    for item in range(N_ITEMS):
        for place in range(item % 4):
            rows["items"][item, place] = (item + 1 + place) % N_ITEMS
            rows["scores"][item, place] = 2 - place
        rows["digest"][item] = 1000 + item
    return rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "index" / "neighbours"
    write_table(place, header(), [filled()])
    return place


def test_what_was_written_is_read_row_by_row_and_many_at_once(path: Path) -> None:
    table = NeighbourTable.open(path, VOCABULARY)
    assert (len(table), table.k, table.header) == (N_ITEMS, K, header())
    items, scores = table.row(6)
    assert (items.tolist(), scores.tolist()) == ([0, 1], [2, 1])
    assert (items.dtype, scores.dtype) == (np.int32, np.float16)
    items, scores = table.rows(np.array([5, 4, 3]))
    assert items.tolist() == [[6, ABSENT, ABSENT], [ABSENT] * 3, [4, 5, 6]]
    assert scores.tolist() == [[2, -np.inf, -np.inf], [-np.inf] * 3, [2, 1, 0]]
    assert table.digests.tolist() == list(range(1000, 1007))


def test_an_item_that_the_table_does_not_know_has_no_neighbours(path: Path) -> None:
    table = NeighbourTable.open(path, VOCABULARY)
    for item in (-1, N_ITEMS, 1 << 40):
        assert len(table.row(item)[0]) == 0
    items, scores = table.rows(np.array([-1, N_ITEMS]))
    assert (items == ABSENT).all()
    assert np.isneginf(scores).all()


def test_what_is_mapped_cannot_be_written_to(path: Path) -> None:
    table = NeighbourTable.open(path, VOCABULARY)
    with pytest.raises(ValueError, match="read-only"):
        table.items[0, 0] = 1


def test_a_million_items_of_a_hundred_neighbours_take_640_megabytes_and_rows_begin_on_cache_lines() -> None:
    assert row_type(100).itemsize * 1_000_000 == 640_000_000
    for k in range(1, 300):
        layout = row_type(k)
        assert layout.itemsize % 64 == 0
        assert 0 <= layout.itemsize - (6 * k + 8) < 64 + 8


def test_a_table_without_items_is_one(tmp_path: Path) -> None:
    none = Vocabulary([])
    write_table(tmp_path / "t", Header(K, 0, 0, 0, none.fingerprint()), [])
    assert len(NeighbourTable.open(tmp_path / "t", none)) == 0


def test_a_vocabulary_that_has_grown_since_still_reads_it(path: Path) -> None:
    assert len(NeighbourTable.open(path, VOCABULARY.extended([7, 8]))) == N_ITEMS


def test_another_vocabulary_is_refused_by_name(path: Path) -> None:
    with pytest.raises(LineageError, match=r"index at .*neighbours was built on another vocabulary .* Rebuild it"):
        NeighbourTable.open(path, Vocabulary(np.arange(N_ITEMS)))


@given(st.data())
def test_one_flipped_bit_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("flip") / "t"
    write_table(path, header(), [filled()])
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    with pytest.raises(ArtefactError, match=r"t(:| is| was).*(Build|Name)"):
        NeighbourTable.open(path, VOCABULARY)


@pytest.mark.parametrize("length", [0, 5, 100, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 64, -1])
def test_a_truncated_file_is_refused(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtefactError, match=r"truncated|no table of neighbours"):
        NeighbourTable.open(path, VOCABULARY)


def test_a_missing_file_and_another_format_version_are_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtefactError, match=r"nowhere cannot be read .* Build the index"):
        NeighbourTable.open(path.parent / "nowhere", VOCABULARY)
    monkeypatch.setattr("headwater.index.neighbours.VERSION", 2)
    with pytest.raises(ArtefactError, match="format version 1; this one reads 2"):
        NeighbourTable.open(path, VOCABULARY)


def test_a_failed_write_leaves_the_old_table_and_nothing_else(path: Path) -> None:
    with pytest.raises(ValueError, match="6 rows were given, and the header says 7"):
        write_table(path, header(), [filled()[:6]])
    with pytest.raises(ValueError, match="k = 3"):
        write_table(path, header(), [empty_rows(N_ITEMS, 4)])
    assert NeighbourTable.open(path, VOCABULARY).row(6)[0].tolist() == [0, 1]
    assert [entry.name for entry in path.parent.iterdir()] == ["neighbours"]


def test_merged_shards_are_the_bytes_of_the_single_table_in_any_order(path: Path, tmp_path: Path) -> None:
    shards = []
    for shard, (start, stop) in enumerate([(0, 3), (3, 3), (3, 7)]):
        shards.append(tmp_path / f"shard-{shard}")
        write_table(shards[-1], header(start, stop - start), [filled()[start:stop]])
    merge_shards(reversed(shards), tmp_path / "merged", VOCABULARY)
    assert (tmp_path / "merged").read_bytes() == path.read_bytes()


def test_shards_that_do_not_make_one_table_are_refused(tmp_path: Path) -> None:
    head, tail, other = tmp_path / "head", tmp_path / "tail", tmp_path / "other"
    write_table(head, header(0, 4), [filled()[:4]])
    write_table(tail, header(4, 3), [filled()[4:]])
    write_table(other, header(4, 3, run="newer"), [filled()[4:]])
    to = tmp_path / "merged"
    with pytest.raises(ArtefactError, match="end at row 4 of 7"):
        merge_shards([head], to, VOCABULARY)
    with pytest.raises(ArtefactError, match=r"tail begins at row 4, .* end at 0: one is missing"):
        merge_shards([tail], to, VOCABULARY)
    with pytest.raises(ArtefactError, match="one stands twice"):
        merge_shards([head, tail, head], to, VOCABULARY)
    with pytest.raises(ArtefactError, match="other is of another run"):
        merge_shards([head, other], to, VOCABULARY)
    with pytest.raises(ArtefactError, match="no shards"):
        merge_shards([], to, VOCABULARY)
    assert not to.exists()
    with pytest.raises(ArtefactError, match=r"rows 0..4 of 7: it is one shard. Merge"):
        NeighbourTable.open(head, VOCABULARY)


def test_a_table_is_mapped_and_not_copied_so_that_processes_share_its_pages(path: Path) -> None:
    program = f"""
from headwater.data import Vocabulary
from headwater.index.neighbours import NeighbourTable
table = NeighbourTable.open({str(path)!r}, Vocabulary(list(range(100, 107))))
print("open", flush=True)
input()
print(table.row(6)[0].tolist())
"""
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with path.open("r+b") as file:  # what no program of ours does: only pages in common can tell the other process
        file.seek(HEADER_BYTES + 6 * row_type(K).itemsize)
        file.write(np.int32(3).tobytes())
    assert other.communicate("\n")[0] == "[3, 1]\n"


def test_neither_torch_nor_faiss_is_loaded_to_read_a_table() -> None:
    program = "import sys, headwater.index.neighbours; print('torch' in sys.modules, 'faiss' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert answer.split() == ["False", "False"]
