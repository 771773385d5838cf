"""Rank-log files are checked record by record, and one form becomes another without a loss."""

import os
from pathlib import Path

import pyarrow as pa
import pytest

from headwater.errors import SchemaError
from headwater.nearline import RankedItem, UserEvent, Visit
from headwater.nearline.arrow import SCHEMA, to_batch
from headwater.nearline.files import Bad, Checked, convert, records, validate
from headwater.nearline.records import MAX_LINE, Record, encode_line

RECORDS: list[Record] = [
    Visit(
        request_id="r1",
        scenario="mini_detail",
        user=1,
        timestamp=100,
        items=[RankedItem(5, 0.5, 7, ["itemcf"], True, 0), RankedItem(6, 0.25)],
        release="one",
        arm="b",
        appended=101.5,
    ),
    UserEvent(user=1, item=5, behaviour="click", timestamp=102, scenario="mini_detail", request_id="r1"),
    Visit(request_id="r2", scenario="main_search", user=-(2**63), timestamp=103, items=[RankedItem(2**63 - 1, -1.0)]),
]


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(map(encode_line, RECORDS)))
    return path


@pytest.mark.parametrize("forms", [["a.jsonl"], ["a.arrows"], ["a.arrows", "b.jsonl"], ["a.jsonl", "b.arrows"]])
@pytest.mark.parametrize("columnar", [True, False])
def test_records_survive_any_chain_of_forms(lines: Path, forms: list[str], columnar: bool) -> None:
    path = lines
    for form in forms:
        assert convert(path, lines.parent / form, columnar=columnar) == Checked(visits=2, events=1, items=3)
        path = lines.parent / form
    assert list(records(path)) == RECORDS


def test_an_arrow_ipc_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "log.arrow"
    with pa.ipc.new_file(path, SCHEMA) as writer:
        writer.write_batch(to_batch(RECORDS))
    assert list(records(path)) == RECORDS


def test_by_columns_is_asked_for_by_name(lines: Path) -> None:
    convert(lines, lines.parent / "columns.jsonl", columnar=True)
    assert (lines.parent / "columns.jsonl").read_bytes().startswith(b'{"type":"columns"')


def test_every_bad_line_is_counted_with_its_place_and_reason(lines: Path) -> None:
    with lines.open("ab") as file:
        file.write(b'{"type":"visit"\n\xff\n\n' + b" " * (MAX_LINE + 5) + b"\n")
        file.write(b'{"type":"event","user":1,"item":2,"behaviour":"buy","timestamp":1}\n')
        file.write(encode_line(RECORDS[1])[:-1])
    checked = validate(lines)
    assert (checked.visits, checked.events, checked.bad) == (2, 1, 6)
    assert [bad.place for bad in checked.first] == [f"{lines}:{number}" for number in range(4, 10)]
    for bad, reason in zip(
        checked.first, ["truncated", "malformed", "truncated", "4194310 bytes", "behaviour", "no newline"], strict=True
    ):
        assert reason in bad.reason


def test_only_the_first_bad_ones_are_kept(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(b"x\n" * 100)
    checked = validate(tmp_path / "log.jsonl")
    assert (checked.bad, len(checked.first)) == (100, 20)


def test_bad_rows_and_damage_of_an_arrow_stream_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "log.arrows"
    rows = to_batch(RECORDS).to_pylist()
    rows[1] = {**rows[1], "items": [1, 2]}
    rows.append({**rows[0], "positions": [-1, None]})
    with path.open("wb") as file:
        with pa.ipc.new_stream(file, SCHEMA) as writer:
            writer.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))
        whole = file.tell()
        file.write(b"\xff\xff\xff\xff\x00\x01\x00\x00 half of a batch")
    checked = validate(path)
    assert (checked.visits, checked.events, checked.bad) == (2, 0, 3)
    event, position, torn = checked.first
    assert event.place.endswith("row 1")
    assert event.reason == "an event needs exactly one item"
    assert position.place.endswith("row 3")
    assert torn == Bad(f"{path}, byte {whole}", "the last 24 bytes are no whole batch: a stream waits for the rest")


def test_nothing_is_written_where_a_record_is_bad_unless_those_may_be_skipped(lines: Path) -> None:
    with lines.open("ab") as file:
        file.write(b"broken\n")
    to = lines.parent / "out.arrows"
    assert convert(lines, to).bad == 1
    assert os.listdir(lines.parent) == [lines.name]
    assert convert(lines, to, skip_bad=True).bad == 1
    assert list(records(to)) == RECORDS


def test_what_cannot_be_read_or_written_is_said_at_once(lines: Path) -> None:
    with pytest.raises(SchemaError, match="is there already"):
        convert(lines, lines)
    with pytest.raises(SchemaError, match=r"written as \.jsonl or \.arrows"):
        convert(lines, lines.parent / "log.csv")
    with pytest.raises(SchemaError, match="is no file; name the files in it"):
        validate(lines.parent)
    (lines.parent / "log.csv").write_bytes(b"user\n")
    with pytest.raises(SchemaError, match=r"ends in \.jsonl"):
        validate(lines.parent / "log.csv")
    (lines.parent / "log.arrow").write_bytes(b"no arrow")
    with pytest.raises(SchemaError, match="no Arrow IPC file"):
        validate(lines.parent / "log.arrow")


def test_progress_ends_at_the_size_of_the_file(lines: Path) -> None:
    convert(lines, lines.parent / "a.arrows")
    with pa.ipc.new_file(lines.parent / "a.arrow", SCHEMA) as writer:
        writer.write_batch(to_batch(RECORDS))
    for name in ("log.jsonl", "a.arrows", "a.arrow"):
        done: list[int] = []
        validate(lines.parent / name, told=done.append)
        assert done == sorted(done)
        assert done[-1] == (lines.parent / name).stat().st_size
