"""The rank log keeps what was appended, whole, and the door says what it refuses."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import SchemaError, StoreError
from headwater.nearline.ranklog import RankLog
from headwater.nearline.records import (
    MAX_AHEAD,
    MAX_ITEMS,
    MAX_LINE,
    RankedItem,
    Record,
    UserEvent,
    Visit,
    decode_line,
    encode_line,
)

NOW = 1_700_000_000
VISIT = Visit(
    request_id="r1",
    scenario="mini_detail",
    user=-7,
    timestamp=NOW,
    release="2024-01",
    arm="b",
    items=[RankedItem(3, 0.5, 11, ["itemcf", "popular"], True, 0), RankedItem(2**63 - 1, -1e300)],
)
EVENT = UserEvent(user=1, item=2, behaviour="cart", timestamp=NOW, scenario="homepage", request_id="r0")


def lines(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.iterdir()) for line in path.read_bytes().splitlines(keepends=True)]


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(encode_line(VISIT)), **fields}).encode()


# -- form

KEYS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
TIMES = st.integers(0, NOW)
ITEMS = st.builds(
    RankedItem,
    KEYS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | KEYS,
    st.lists(TEXT, max_size=3),
    st.booleans(),
    st.none() | st.integers(0, 100),
)
VISITS = st.builds(
    Visit, request_id=TEXT, scenario=TEXT, user=KEYS, timestamp=TIMES, items=st.lists(ITEMS, min_size=1, max_size=4)
)
EVENTS = st.builds(
    UserEvent,
    user=KEYS,
    item=KEYS,
    behaviour=st.sampled_from(["impression", "click", "cart", "purchase"]),
    timestamp=TIMES,
    scenario=st.none() | TEXT,
    request_id=st.none() | TEXT,
)


@given(VISITS | EVENTS)
def test_a_record_is_one_line_and_reads_back_as_it_was(record: Record) -> None:
    line = encode_line(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_line(line, appended=NOW) == record


def test_the_line_is_the_documented_json() -> None:
    assert json.loads(encode_line(VISIT)) == {
        "type": "visit",
        "request_id": "r1",
        "scenario": "mini_detail",
        "user": -7,
        "timestamp": NOW,
        "items": [[3, 0.5, 11, ["itemcf", "popular"], True, 0], [2**63 - 1, -1e300, None, [], False, None]],
        "release": "2024-01",
        "arm": "b",
    }
    assert json.loads(encode_line(EVENT))["type"] == "event"


def test_a_list_may_leave_out_what_is_not_known_of_an_item() -> None:
    record = decode_line(changed(items=[[1, 0.5]]), appended=NOW)
    assert isinstance(record, Visit)
    assert record.items == [RankedItem(1, 0.5, None, [], False, None)]


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert decode_line(changed(added_later=[1, 2]), appended=NOW) == VISIT


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "truncated"),
        (b'{"type":"visit"', "truncated"),
        (b"not json", "malformed"),
        (b"[1, 2]", "object"),
        (b"[" * 100_000, "object"),
        (b"{}", "type"),
        (b'{"type":"other"}', r"\$\.type"),
        (encode_line(VISIT).replace(b"mini", b"\xff\xfe"), "UTF-8"),
        (changed(request_id=""), r"\$\.request_id"),
        (changed(request_id="r" * 129), r"\$\.request_id"),
        (changed(scenario="s" * 65), r"\$\.scenario"),
        (changed(user=2**63), r"\$\.user"),
        (changed(user="seven"), r"\$\.user"),
        (changed(timestamp=-1), r"\$\.timestamp"),
        (changed(timestamp=1.5), r"\$\.timestamp"),
        (changed(timestamp=NOW * 1_000), r"\$\.timestamp"),
        (changed(items=[]), r"\$\.items"),
        (changed(items=[[n, 0.1] for n in range(MAX_ITEMS + 1)]), r"\$\.items"),
        (changed(items=[[1, 0.5], [2]]), r"\$\.items\[1\]"),
        (changed(items=[[1, 0.5], [2, None]]), r"\$\.items\[1\]\[1\]"),
        (changed(items=[[1, float("nan")]]), "malformed"),
        (changed(items=[[1, 0.5]]).replace(b"0.5", b"1e999"), r"\$\.items\[0\]\[1\]"),
        (changed(items=[[2**63, 0.5]]), r"\$\.items\[0\]\[0\]"),
        (encode_line(EVENT).replace(b"cart", b"wish"), r"\$\.behaviour"),
    ],
)
def test_a_malformed_line_is_refused_and_the_reason_names_the_field(line: bytes, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        decode_line(line, appended=NOW)


def test_a_line_that_is_too_long_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(SchemaError, match=str(MAX_LINE)):
        decode_line(b'"' + b"x" * MAX_LINE, appended=NOW)


def test_a_timestamp_far_ahead_of_its_append_time_is_refused() -> None:
    ahead = changed(timestamp=NOW + MAX_AHEAD)
    assert decode_line(ahead, appended=NOW).timestamp == NOW + MAX_AHEAD
    with pytest.raises(SchemaError, match="after the record was appended"):
        decode_line(ahead, appended=NOW - 1)


def test_the_append_time_in_the_line_counts_before_the_sources() -> None:
    stamped = changed(timestamp=NOW + MAX_AHEAD + 10, appended=NOW + 10)
    assert decode_line(stamped, appended=0).timestamp == NOW + MAX_AHEAD + 10
    with pytest.raises(SchemaError, match="appended"):
        decode_line(changed(appended=NOW - MAX_AHEAD - 1), appended=NOW)


# -- the writer


def test_an_appended_record_is_stamped_and_reads_back(tmp_path: Path) -> None:
    log = RankLog(tmp_path / "log", clock=lambda: NOW + 0.25)
    log.append(VISIT)
    log.append(EVENT)
    log.close()
    read = [decode_line(line, appended=0) for line in lines(tmp_path / "log")]
    assert read == [msgspec.structs.replace(record, appended=NOW + 0.25) for record in (VISIT, EVENT)]


@pytest.mark.parametrize(
    "record",
    [
        msgspec.structs.replace(VISIT, items=[RankedItem(1, float("nan"))]),
        msgspec.structs.replace(VISIT, items=[RankedItem(1, float("inf"))]),
        msgspec.structs.replace(VISIT, items=[]),
        msgspec.structs.replace(VISIT, user=2**63),
        msgspec.structs.replace(VISIT, user=2**64),
        msgspec.structs.replace(VISIT, scenario="\ud800"),
        msgspec.structs.replace(VISIT, user=object()),
        msgspec.structs.replace(VISIT, timestamp=NOW + 366 * 86_400),
        msgspec.structs.replace(EVENT, behaviour="wish"),
    ],
)
def test_what_could_not_be_read_back_is_refused_at_the_writer_and_leaves_no_trace(
    tmp_path: Path, record: Record
) -> None:
    log = RankLog(tmp_path, clock=lambda: NOW)
    log.append(EVENT)
    with pytest.raises(SchemaError):
        log.append(record)
    log.append(EVENT)
    log.close()
    assert len(lines(tmp_path)) == 2


def test_files_rotate_by_size_at_whole_lines_and_sort_by_time(tmp_path: Path) -> None:
    log = RankLog(tmp_path, rotate_bytes=400, clock=lambda: NOW)
    for item in range(20):
        log.append(msgspec.structs.replace(EVENT, item=item))
    log.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) > 3
    assert all(path.stat().st_size <= 400 for path in files)
    assert all(path.name.endswith(f"-{os.getpid()}.jsonl") for path in files)
    read = [decode_line(line, appended=NOW) for line in lines(tmp_path)]
    assert [record.item for record in read if isinstance(record, UserEvent)] == list(range(20))


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    log = RankLog(tmp_path, rotate_bytes=20_000)

    def write(item: int) -> None:
        for at in range(50):
            log.append(msgspec.structs.replace(EVENT, item=item * 50 + at))

    threads = [threading.Thread(target=write, args=(item,)) for item in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    read = [decode_line(line, appended=time.time()) for line in lines(tmp_path)]
    assert sorted(record.item for record in read if isinstance(record, UserEvent)) == list(range(200))


def test_a_line_that_the_disk_did_not_take_whole_leaves_no_part_and_later_ones_go_on(tmp_path: Path) -> None:
    log = RankLog(tmp_path)
    log.append(EVENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(lines(tmp_path)[0]) + 10, hard))
    try:
        with pytest.raises(StoreError, match="part of the line"):
            log.append(EVENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.append(EVENT)
    log.close()
    assert len(lines(tmp_path)) == 2
    assert all(decode_line(line, appended=time.time()) for line in lines(tmp_path))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a file stands in the way")
    with pytest.raises(StoreError, match="log"):
        RankLog(tmp_path / "log").append(EVENT)


def test_a_forked_child_writes_a_file_of_its_own(tmp_path: Path) -> None:
    log = RankLog(tmp_path)
    log.append(EVENT)
    child = os.fork()
    if not child:
        log.append(EVENT)
        os._exit(0)
    os.waitpid(child, 0)
    log.append(EVENT)
    log.close()
    assert sorted(len(path.read_bytes().splitlines()) for path in tmp_path.iterdir()) == [1, 2]


def test_a_killed_writer_loses_no_acknowledged_record(tmp_path: Path) -> None:
    code = (
        "import sys; from headwater.nearline import RankLog, UserEvent; log = RankLog(sys.argv[1], rotate_bytes=4096)\n"
        "n = 0\n"
        "while True:\n"
        "    log.append(UserEvent(user=1, item=n, behaviour='click', timestamp=5)); print(n, flush=True); n += 1\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    seen = [int(writer.stdout.readline()) for _ in range(50)]
    os.kill(writer.pid, signal.SIGKILL)
    seen += [int(line) for line in writer.stdout if line.endswith("\n")]
    writer.wait()
    writer.stdout.close()
    whole = [line for line in lines(tmp_path) if line.endswith(b"\n")]
    read = [decode_line(line, appended=time.time()) for line in whole]
    written = [record.item for record in read if isinstance(record, UserEvent)]
    assert written == list(range(len(written)))
    assert len(written) >= len(seen)
