"""Rows of JSON, columns of JSON and Arrow batches say the same, and refuse the same."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import SchemaError, StoreError
from headwater.nearline.arrow import SCHEMA, ArrowRankLog, decode_batch, to_batch, to_records
from headwater.nearline.columns import NO_SCENARIO, VISIT, Decoded, RecordColumns, decode_lines, partition_of
from headwater.nearline.ranklog import RankLog
from headwater.nearline.records import (
    MAX_AHEAD,
    MAX_ITEMS,
    RankedItem,
    Record,
    UserEvent,
    Visit,
    decode_line,
    encode_line,
)
from headwater.nearline.state import NO_CATEGORY

NOW = 1_700_000_000
VISITS = Visit(
    request_id="r1",
    scenario="mini_detail",
    user=-7,
    timestamp=NOW,
    release="2024-01",
    arm="b",
    items=[RankedItem(3, 0.5, 11, ["itemcf", "popular"], True, 0), RankedItem(2**63 - 1, -1e300)],
)
EVENT = UserEvent(user=1, item=2, behaviour="cart", timestamp=NOW, scenario="homepage", request_id="r0")

KEYS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
ITEMS = st.builds(
    RankedItem,
    KEYS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.none() | KEYS,
    st.lists(TEXT, max_size=2),
    st.booleans(),
    st.none() | st.integers(0, 100),
)
RECORDS = st.builds(
    Visit,
    request_id=TEXT,
    scenario=TEXT,
    user=KEYS,
    timestamp=st.integers(0, NOW),
    items=st.lists(ITEMS, min_size=1, max_size=4),
) | st.builds(
    UserEvent,
    user=KEYS,
    item=KEYS,
    behaviour=st.sampled_from(["impression", "click", "cart", "purchase"]),
    timestamp=st.integers(0, NOW),
    scenario=st.none() | TEXT,
    request_id=st.none() | TEXT,
)


def same(left: RecordColumns, right: RecordColumns) -> bool:
    names = [
        [columns.scenario_names[code] if code >= 0 else None for code in columns.scenarios] for columns in (left, right)
    ]
    columns = ("users", "timestamps", "behaviours", "offsets", "items", "categories")
    return (
        all(np.array_equal(getattr(left, name), getattr(right, name)) for name in columns)
        and names[0] == names[1]
        and left.request_ids == right.request_ids
    )


@given(st.lists(RECORDS, max_size=6))
def test_every_form_of_a_log_gives_the_same_columns(records: list[Record]) -> None:
    expected = RecordColumns.of(records)
    stamps = [float(NOW)] * len(records)
    for columnar in (False, True):
        decoded = decode_lines([encode_line(record, columnar=columnar) for record in records], stamps)
        assert (decoded.refused, decoded.rows.tolist()) == ([], list(range(len(records))))
        assert same(decoded.columns, expected)
    from_arrow = decode_batch(to_batch(records), appended=NOW)
    assert from_arrow.refused == []
    assert same(from_arrow.columns, expected)


@given(st.lists(RECORDS, max_size=6))
def test_columns_of_json_and_arrow_batches_give_the_records_back_whole(records: list[Record]) -> None:
    lines = [encode_line(record, columnar=True) for record in records]
    assert [decode_line(line, appended=NOW) for line in lines] == records
    assert to_records(to_batch(records)) == records


def test_the_columns_of_two_records_are_these() -> None:
    columns = RecordColumns.of([VISITS, EVENT])
    assert columns.users.tolist() == [-7, 1]
    assert columns.behaviours.tolist() == [VISIT, 2]
    assert (columns.scenarios.tolist(), columns.scenario_names) == ([0, 1], ("mini_detail", "homepage"))
    assert columns.offsets.tolist() == [0, 2, 3]
    assert columns.items.tolist() == [3, 2**63 - 1, 2]
    assert columns.categories.tolist() == [11, NO_CATEGORY, NO_CATEGORY]


def test_an_event_may_have_neither_scenario_nor_request() -> None:
    columns = RecordColumns.of([UserEvent(user=1, item=2, behaviour="click", timestamp=3)])
    assert (columns.scenarios.tolist(), columns.request_ids) == ([NO_SCENARIO], [""])


@given(st.lists(RECORDS, max_size=6), st.data())
def test_taking_rows_is_taking_records(records: list[Record], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(records) - 1), max_size=6)) if records else []
    taken = RecordColumns.of(records).take(np.array(rows, np.int64))
    assert same(taken, RecordColumns.of([records[row] for row in rows]))


def test_a_sliced_batch_is_its_rows_alone() -> None:
    batch = to_batch([VISITS, EVENT, VISITS, EVENT]).slice(1, 2)
    assert same(decode_batch(batch, appended=NOW).columns, RecordColumns.of([EVENT, VISITS]))


# -- what is refused


def columnar(**fields: object) -> bytes:
    return json.dumps({**json.loads(encode_line(VISITS, columnar=True)), **fields}).encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (columnar(scores=[0.5]), r"\$\.scores"),
        (columnar(categories=[1, 2, 3]), r"\$\.categories"),
        (columnar(items=[], scores=[]), r"\$\.items"),
        (columnar(items=[1] * (MAX_ITEMS + 1), scores=[0.5] * (MAX_ITEMS + 1)), r"\$\.items"),
        (columnar(items=[1, 2**63]), "64 bits"),
        (columnar(categories=[1, -(2**63) - 1]), "64 bits"),
        (columnar(items=[1, None]), r"\$\.items"),
        (columnar(scores=[0.5, float("nan")]), "malformed"),
        (columnar(scores=[0.5, "0.4"]), r"\$\.scores"),
        (columnar(scores=[0.5, 0.4]).replace(b"0.4", b"1e999"), "finite|range"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(line: bytes, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason):
        decode_line(line, appended=NOW)
    decoded = decode_lines([encode_line(EVENT), line, encode_line(EVENT)], [NOW] * 3)
    assert decoded.rows.tolist() == [0, 2]
    ((row, why),) = decoded.refused
    assert row == 1
    assert why


def test_what_the_stream_does_not_look_at_is_still_checked_where_the_whole_record_is_read() -> None:
    for field in ({"positions": [-1, 0]}, {"exposed": [True]}, {"channels": [["a"]]}):
        with pytest.raises(SchemaError, match=next(iter(field))):
            decode_line(columnar(**field), appended=NOW)


def arrow(**changes: object) -> Decoded:
    """An event, the visit with changed columns, an event."""
    row = {**to_batch([VISITS]).to_pylist()[0], **changes}
    event = to_batch([EVENT]).to_pylist()[0]
    return decode_batch(pa.RecordBatch.from_pylist([event, row, event], SCHEMA), appended=NOW)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"behaviour": "wish"}, "behaviour"),
        ({"scenario": None}, "scenario"),
        ({"scenario": ""}, "scenario"),
        ({"scenario": "s" * 65}, "scenario"),
        ({"request_id": None}, "request_id"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "r" * 129}, "request_id"),
        ({"timestamp": -1}, "timestamp"),
        ({"timestamp": NOW * 1_000}, "timestamp"),
        ({"timestamp": NOW + MAX_AHEAD + 1}, "appended"),
        ({"items": [], "scores": [], "categories": []}, "items"),
        ({"items": [1] * (2 * MAX_ITEMS), "scores": [1.0] * (2 * MAX_ITEMS), "categories": None}, "items"),
        ({"items": [1, None]}, "null"),
        ({"scores": None}, "scores"),
        ({"scores": [0.5]}, "scores"),
        ({"scores": [0.5, None]}, "finite"),
        ({"scores": [0.5, float("nan")]}, "finite"),
        ({"scores": [float("-inf"), 0.5]}, "finite"),
        ({"categories": [1]}, "categories"),
        ({"behaviour": "click"}, "exactly one item"),
    ],
)
def test_a_row_of_a_batch_that_does_not_fit_is_refused_and_its_neighbours_are_not(
    changes: dict[str, object], reason: str
) -> None:
    decoded = arrow(**changes)
    ((row, why),) = decoded.refused
    assert row == 1
    assert reason in why
    assert same(decoded.columns, RecordColumns.of([EVENT, EVENT]))


def test_a_batch_without_a_column_or_with_another_type_or_null_users_is_refused_whole() -> None:
    batch = to_batch([VISITS])
    with pytest.raises(SchemaError, match="'items'"):
        decode_batch(batch.drop_columns(["items"]), appended=NOW)
    with pytest.raises(SchemaError, match="'user' has type string"):
        decode_batch(batch.set_column(0, "user", pa.array(["seven"])), appended=NOW)
    with pytest.raises(SchemaError, match="'user' has 1 nulls"):
        decode_batch(batch.set_column(0, "user", pa.array([None], pa.int64())), appended=NOW)


# -- the Arrow writer


def test_appended_batches_are_stamped_and_read_back(tmp_path: Path) -> None:
    log = ArrowRankLog(tmp_path / "log", clock=lambda: NOW + 0.25, fsync=True)
    log.append_many([VISITS, EVENT])
    log.append_many([EVENT])
    log.close()
    (path,) = (tmp_path / "log").glob("*.arrows")
    with pa.ipc.open_stream(path) as reader:
        batches = list(reader)
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert [record.appended for batch in batches for record in to_records(batch)] == [NOW + 0.25] * 3
    assert same(decode_batch(batches[0], appended=0).columns, RecordColumns.of([VISITS, EVENT]))


def test_arrow_files_rotate_by_size(tmp_path: Path) -> None:
    log = ArrowRankLog(tmp_path, rotate_bytes=1, clock=lambda: NOW)
    log.append_many([VISITS])
    log.append_many([EVENT])
    log.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_batch_that_could_not_be_read_back_is_refused_at_the_writer(tmp_path: Path) -> None:
    log = ArrowRankLog(tmp_path / "log", clock=lambda: NOW)
    bad = Visit(request_id="r", scenario="s", user=1, timestamp=NOW, items=[RankedItem(1, float("nan"))])
    with pytest.raises(SchemaError):
        log.append_many([VISITS, bad])
    with pytest.raises(SchemaError, match="row 1: a score"):
        log.append_batch(to_batch([VISITS, bad]))
    assert not (tmp_path / "log").exists()


def test_a_folder_that_cannot_be_written_is_named_by_the_arrow_writer(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a file stands in the way")
    with pytest.raises(StoreError, match="log"):
        ArrowRankLog(tmp_path / "log").append_many([EVENT])


def test_a_rank_log_by_columns_reads_back_as_it_was(tmp_path: Path) -> None:
    log = RankLog(tmp_path, columnar=True, clock=lambda: NOW)
    log.append(VISITS)
    log.close()
    (line,) = next(tmp_path.iterdir()).read_bytes().splitlines()
    assert json.loads(line)["type"] == "columns"
    read = decode_line(line, appended=0)
    assert isinstance(read, Visit)
    assert read.items == VISITS.items


# -- several processes


@given(st.lists(KEYS, max_size=20), st.integers(1, 7))
def test_a_user_has_one_partition(users: list[int], partitions: int) -> None:
    keys = np.array(users, np.int64)
    found = partition_of(keys, partitions)
    assert ((found >= 0) & (found < partitions)).all()
    assert [int(partition_of(keys[at : at + 1], partitions)[0]) for at in range(len(keys))] == found.tolist()


def test_partitions_have_about_as_many_users_and_keep_their_numbers() -> None:
    found = partition_of(np.arange(10_000), 4)
    assert np.bincount(found).min() > 2_300
    assert found[:8].tolist() == [0, 0, 3, 2, 1, 1, 3, 1], "users change processes, whose states they have not"
