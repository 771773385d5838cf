"""Arrow IPC stream files are read while they grow: whole batches only, with the dictionaries that stand before them."""

import io
import struct
from pathlib import Path

import pyarrow as pa
import pytest

from headwater.nearline.sources import Batch, DirectorySource

SCHEMA = pa.schema([("number", pa.int64()), ("names", pa.list_(pa.dictionary(pa.int32(), pa.string())))])


def stream(batches: list[list[int]], *, close: bool = True, deltas: bool = True) -> tuple[bytes, list[int]]:
    """A stream's bytes, and where each batch (with its dictionaries) ends."""
    sink, ends = io.BytesIO(), []
    writer = pa.ipc.new_stream(sink, SCHEMA, options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=deltas))
    for numbers in batches:
        rows = [{"number": number, "names": [f"n{number}", None, "n0"]} for number in numbers]
        writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
        ends.append(sink.tell())
    if close:
        writer.close()
    return sink.getvalue(), ends


def numbers_of(batch: Batch) -> list[list[int]]:
    for block in batch.blocks:
        for row in block.rows.to_pylist():
            assert row["names"] == [f"n{row['number']}", None, "n0"]
    return [block.rows.column("number").to_pylist() for block in batch.blocks]


def test_whole_batches_are_handed_over_with_their_place(tmp_path: Path) -> None:
    raw, ends = stream([[1, 2, 3], [4, 5]])
    (tmp_path / "1.arrows").write_bytes(raw)
    batch = DirectorySource(tmp_path).poll({}, 100)
    assert numbers_of(batch) == [[1, 2, 3], [4, 5]]
    assert batch.records == 5
    assert batch.position == {"1.arrows": len(raw)}
    for block, end in zip(batch.blocks, ends, strict=True):
        assert (block.part, block.offset + block.length) == ("1.arrows", end)
        assert block.appended == (tmp_path / "1.arrows").stat().st_mtime


def test_no_batch_is_begun_once_there_are_enough_records(tmp_path: Path) -> None:
    raw, ends = stream([[1, 2, 3], [4, 5], [6]])
    (tmp_path / "1.arrows").write_bytes(raw)
    source = DirectorySource(tmp_path)
    first = source.poll({}, 2)
    assert numbers_of(first) == [[1, 2, 3]]
    assert first.position == {"1.arrows": ends[0]}
    assert first.pending_bytes == len(raw) - ends[0]
    assert numbers_of(source.poll(first.position, 3)) == [[4, 5], [6]]


@pytest.mark.parametrize("deltas", [True, False], ids=["growing dictionaries", "replaced dictionaries"])
def test_a_reader_that_begins_in_the_middle_knows_the_dictionaries(tmp_path: Path, deltas: bool) -> None:
    raw, ends = stream([[1], [2], [3, 1]], deltas=deltas)
    (tmp_path / "1.arrows").write_bytes(raw)
    source = DirectorySource(tmp_path)
    assert numbers_of(source.poll({}, 100)) == [[1], [2], [3, 1]]
    for start, wanted in zip(ends, ([[2], [3, 1]], [[3, 1]], []), strict=True):
        assert numbers_of(DirectorySource(tmp_path).poll({"1.arrows": start}, 100)) == wanted
        assert numbers_of(source.poll({"1.arrows": start}, 100)) == wanted


def test_a_file_cut_at_any_byte_gives_the_batches_before_and_goes_on_when_it_is_finished(tmp_path: Path) -> None:
    raw, ends = stream([[1, 2], [3], [4]])
    path = tmp_path / "1.arrows"
    for cut in range(0, len(raw), 5):
        path.write_bytes(raw[:cut])
        source = DirectorySource(tmp_path)
        first = source.poll({}, 100)
        whole = sum(end <= cut for end in ends)
        assert numbers_of(first) == [[1, 2], [3], [4]][:whole]
        again = source.poll(first.position, 100)
        assert (again.records, again.pending_bytes) == (0, 0)
        path.write_bytes(raw)
        assert numbers_of(source.poll(first.position, 100)) == [[1, 2], [3], [4]][whole:]
        assert not first.lines


def test_a_file_may_hold_one_stream_after_another(tmp_path: Path) -> None:
    first, _ = stream([[1], [2]])
    second, _ = stream([[7], [8]])
    (tmp_path / "1.arrows").write_bytes(first + second)
    assert numbers_of(DirectorySource(tmp_path).poll({}, 100)) == [[1], [2], [7], [8]]
    assert numbers_of(DirectorySource(tmp_path).poll({"1.arrows": len(first)}, 100)) == [[7], [8]]


def test_a_batch_whose_content_cannot_be_is_a_fault_and_the_next_is_read(tmp_path: Path) -> None:
    raw, _ = stream([[1], [2], [3]])
    path = tmp_path / "1.arrows"
    path.write_bytes(raw)
    block = DirectorySource(tmp_path).poll({}, 100).blocks[1]
    # The offsets of its list column, [0, 3], now point far behind its values.
    at = raw.index(struct.pack("<ii", 0, 3), block.offset)
    path.write_bytes(raw[:at] + struct.pack("<ii", 0, 3_000_000) + raw[at + 8 :])
    batch = DirectorySource(tmp_path).poll({}, 100)
    assert numbers_of(batch) == [[1], [3]]
    (fault,) = batch.lines
    assert (fault.part, fault.offset, fault.length) == ("1.arrows", block.offset, block.length)
    assert "cannot be read" in fault.fault
    assert batch.records == 3


@pytest.mark.parametrize("damage", [b"garbage!" * 4, b"\xff\xff\xff\xff" + b"\x10\0\0\0" + b"\x07" * 16], ids=str)
def test_where_no_message_begins_the_rest_is_one_fault_and_what_is_appended_later_is_read(
    tmp_path: Path, damage: bytes
) -> None:
    raw, _ = stream([[1], [2]])
    path = tmp_path / "1.arrows"
    path.write_bytes(raw + damage)
    source = DirectorySource(tmp_path)
    first = source.poll({}, 100)
    assert numbers_of(first) == [[1], [2]]
    (fault,) = first.lines
    assert (fault.offset, fault.length, fault.raw) == (len(raw), len(damage), damage)
    assert source.poll(first.position, 100).records == 0
    later, _ = stream([[3]])
    with path.open("ab") as file:
        file.write(later)
    assert numbers_of(source.poll(first.position, 100)) == [[3]]


def test_any_changed_byte_gives_a_fault_or_a_batch_and_never_an_error(tmp_path: Path) -> None:
    raw, _ = stream([[1], [2]])
    path = tmp_path / "1.arrows"
    for at in range(0, len(raw), 3):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 0x55]) + raw[at + 1 :])
        source = DirectorySource(tmp_path)
        position = {}
        for _ in range(20):
            batch = source.poll(position, 100)
            for block in batch.blocks:
                block.rows.to_pylist()
            if batch.position == position:
                break
            position = batch.position
        else:
            pytest.fail(f"byte {at}: the source does not come to an end")


def test_a_batch_that_is_too_long_is_a_fault_and_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater.nearline.sources import blocks

    raw, _ = stream([[1], list(range(100)), [3]])
    (tmp_path / "1.arrows").write_bytes(raw)
    monkeypatch.setattr(blocks, "MAX_BATCH", 1_000)
    batch = DirectorySource(tmp_path).poll({}, 1_000)
    assert numbers_of(batch) == [[1], [3]]
    assert "at most 1000 are read" in batch.lines[0].fault
    assert len(batch.lines[0].raw) <= 4_096


def test_lines_and_batches_may_lie_in_one_folder(tmp_path: Path) -> None:
    raw, _ = stream([[1]])
    (tmp_path / "1.arrows").write_bytes(raw)
    (tmp_path / "2.jsonl").write_bytes(b"two\n")
    batch = DirectorySource(tmp_path).poll({}, 100)
    assert numbers_of(batch) == [[1]]
    assert [line.raw for line in batch.lines] == [b"two\n"]
