"""A growing folder of log files is read in order, whole lines only, from wherever the consumer stopped."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.nearline.records import MAX_LINE
from headwater.nearline.sources import DirectorySource


def drain(
    source: DirectorySource, position: dict[str, int], max_records: int = 1_000
) -> tuple[list[bytes], dict[str, int]]:
    read: list[bytes] = []
    while True:
        batch = source.poll(position, max_records)
        assert len(batch.lines) <= max_records
        if not batch.lines:
            return read, batch.position
        read += [line.raw for line in batch.lines]
        position = batch.position


def test_lines_come_in_order_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_bytes(b"one\ntwo\n")
    (tmp_path / "2.jsonl").write_bytes(b"three\n")
    (tmp_path / "notes.txt").write_bytes(b"not a log\n")
    batch = DirectorySource(tmp_path).poll({}, 10)
    assert [(line.raw, line.part, line.offset, line.length) for line in batch.lines] == [
        (b"one\n", "1.jsonl", 0, 4),
        (b"two\n", "1.jsonl", 4, 4),
        (b"three\n", "2.jsonl", 0, 6),
    ]
    assert batch.position == {"1.jsonl": 8, "2.jsonl": 6}
    assert batch.lines[0].appended == (tmp_path / "1.jsonl").stat().st_mtime


@given(st.lists(st.lists(st.integers(0, 99), max_size=8), max_size=4), st.integers(1, 5))
def test_every_line_is_read_once_whatever_the_size_of_a_poll(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]], max_records: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    for at, numbers in enumerate(files):
        (folder / f"{at}.jsonl").write_bytes(b"".join(b"%d %d\n" % (at, number) for number in numbers))
    read, position = drain(DirectorySource(folder), {}, max_records)
    for at, numbers in enumerate(files):
        assert [line for line in read if line.startswith(b"%d " % at)] == [b"%d %d\n" % (at, n) for n in numbers]
    assert drain(DirectorySource(folder), position)[0] == []
    assert sorted(drain(DirectorySource(folder), {})[0]) == sorted(read)


def test_an_unfinished_line_is_left_until_it_is_finished(tmp_path: Path) -> None:
    source, path = DirectorySource(tmp_path), tmp_path / "1.jsonl"
    path.write_bytes(b"one\ntw")
    first = source.poll({}, 10)
    assert [line.raw for line in first.lines] == [b"one\n"]
    again = source.poll(first.position, 10)
    assert (again.lines, again.position, again.pending_bytes) == ([], first.position, 0)
    with path.open("ab") as file:
        file.write(b"o")
    assert source.poll(first.position, 10).lines == []
    with path.open("ab") as file:
        file.write(b"\nthree\n")
    assert [line.raw for line in source.poll(first.position, 10).lines] == [b"two\n", b"three\n"]


def test_files_that_appear_and_files_that_grow_are_found(tmp_path: Path) -> None:
    source = DirectorySource(tmp_path / "later")
    assert source.poll({}, 10).lines == []
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "2.jsonl").write_bytes(b"one\n")
    first = source.poll({}, 10)
    (tmp_path / "later" / "1.jsonl").write_bytes(b"two\n")
    with (tmp_path / "later" / "2.jsonl").open("ab") as file:
        file.write(b"three\n")
    assert sorted(line.raw for line in source.poll(first.position, 10).lines) == [b"three\n", b"two\n"]


def test_a_busy_file_does_not_hold_up_the_others(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_bytes(b"busy\n" * 1_000)
    (tmp_path / "2.jsonl").write_bytes(b"quiet\n")
    batch = DirectorySource(tmp_path).poll({}, 10)
    assert b"quiet\n" in [line.raw for line in batch.lines]
    assert batch.pending_bytes == 5 * 995


def test_the_position_of_a_deleted_file_is_dropped_and_kept_while_the_folder_is_away(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    for name in ("1.jsonl", "2.jsonl"):
        (folder / name).write_bytes(b"one\n")
    source = DirectorySource(folder)
    position = source.poll({}, 10).position
    folder.rename(tmp_path / "away")
    assert source.poll(position, 10).position == position
    (tmp_path / "away").rename(folder)
    (folder / "1.jsonl").unlink()
    assert source.poll(position, 10).position == {"2.jsonl": 4}


def test_a_file_that_was_cut_is_not_read_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "1.jsonl"
    path.write_bytes(b"one\ntwo\n")
    source = DirectorySource(tmp_path)
    position = source.poll({}, 10).position
    path.write_bytes(b"x\n")
    for _ in range(3):
        assert source.poll(position, 10).lines == []
    assert [record.message for record in caplog.records if "must only grow" in record.message] == [
        caplog.records[0].message
    ]


def test_a_line_that_is_too_long_is_passed_with_its_length_and_what_follows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "1.jsonl"
    path.write_bytes(b"one\n" + b"x" * (3 * MAX_LINE))
    source = DirectorySource(tmp_path)
    first = source.poll({}, 10)
    assert [line.raw for line in first.lines] == [b"one\n"]
    with path.open("ab") as file:
        file.write(b"\ntwo\n")
    long, last = source.poll(first.position, 10).lines
    assert (long.offset, long.length, len(long.raw)) == (4, 3 * MAX_LINE + 1, MAX_LINE + 1)
    assert last.raw == b"two\n"


def test_a_line_of_just_the_largest_size_is_whole(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_bytes(b"x" * MAX_LINE + b"\n" + b"two\n")
    first, second = DirectorySource(tmp_path).poll({}, 10).lines
    assert (first.length, len(first.raw), second.raw) == (MAX_LINE + 1, MAX_LINE + 1, b"two\n")
