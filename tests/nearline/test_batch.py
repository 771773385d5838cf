"""Candidates as of a time from a log: batch mode, Glare and backfills, into a store or a file."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import StoreError
from headwater.nearline import (
    DirectorySource,
    Policy,
    RankedItem,
    RankLog,
    Stream,
    UserEvent,
    Visit,
    forget,
)
from headwater.nearline.arrow import ArrowRankLog
from headwater.nearline.batch import Backfill, backfill, last_midnight, write_file, write_store
from headwater.nearline.candidates import decode
from headwater.nearline.scenarios import SCENARIOS, seen_scenarios
from headwater.nearline.state import encode
from headwater.nearline.stored import CANDIDATES, POSITIONS, STATES, VISITS, candidates_key
from headwater.store import LmdbStore, RedisStore
from redis_server import RedisServer

NOON = 1_700_049_600  # 2023-11-15 12:00 UTC
MIDNIGHT = NOON - 43_200
LATER = NOON + 86_400


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "store")
    yield opened
    opened.close()


def visit(user: int, timestamp: int, items: list[int], scenario: str = "mini_detail") -> Visit:
    ranked = [RankedItem(item, 0.5, item % 4) for item in items]
    return Visit(request_id=f"r{timestamp}", scenario=scenario, user=user, timestamp=timestamp, items=ranked)


YESTERDAY = [
    visit(1, MIDNIGHT - 500, [1, 2, 3]),
    visit(1, MIDNIGHT - 400, [9, 8], "homepage"),
    UserEvent(user=1, item=2, behaviour="click", timestamp=MIDNIGHT - 300),
    visit(2, MIDNIGHT - 200, [5], "main_search"),
]
TODAY = [visit(1, NOON, [7]), UserEvent(user=1, item=1, behaviour="click", timestamp=NOON + 1), visit(3, NOON, [4])]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    writer = RankLog(tmp_path / "log", clock=lambda: NOON)
    writer.append_many([*TODAY, *YESTERDAY])  # not in the order of their times
    writer.close()
    return tmp_path / "log"


def items_of(store: LmdbStore, user: int, scenario: str) -> list[int] | None:
    (raw,) = store.get_many(CANDIDATES, [candidates_key(user, scenario)])
    return None if raw is None else decode(raw).items.tolist()


def contents(store: LmdbStore) -> dict[str, list[tuple[bytes, bytes]]]:
    return {name: list(store.scan(name)) for name in (CANDIDATES, STATES, VISITS, SCENARIOS)}


def read(log: Path, policy: Policy | None = None, until: int = MIDNIGHT, since: int = 0) -> Backfill:
    return backfill(DirectorySource(log), policy or Policy(), until=until, since=since)


def test_the_last_midnight_is_the_end_of_yesterday() -> None:
    assert last_midnight(NOON) == MIDNIGHT - 1
    assert last_midnight(MIDNIGHT) == MIDNIGHT - 1
    assert last_midnight(MIDNIGHT - 1) == MIDNIGHT - 86_401


def test_batch_mode_knows_yesterday_and_nothing_of_today(log: Path, store: LmdbStore) -> None:
    found = read(log, until=last_midnight(NOON))
    assert (found.records, found.outside, found.refused) == (4, 3, 0)
    assert write_store(found.states, store, Policy()) == 2
    assert items_of(store, 1, "mini_detail") == [1, 3]  # 2 was clicked, 1 only today
    assert items_of(store, 2, "main_search") == [5]
    assert items_of(store, 3, "mini_detail") is None
    assert seen_scenarios(store) == ["main_search", "mini_detail"]


def test_glare_has_the_targets_own_log_alone(log: Path, store: LmdbStore) -> None:
    write_store(read(log, Policy().glare()).states, store, Policy().glare())
    assert items_of(store, 1, "homepage") == [9, 8]
    assert items_of(store, 1, "mini_detail") is None


def test_what_a_stream_stores_and_what_a_backfill_of_its_log_stores_are_the_same_bytes(
    log: Path, store: LmdbStore, tmp_path: Path
) -> None:
    Stream(DirectorySource(log), store, Policy()).run_once()
    other = LmdbStore(tmp_path / "other")
    write_store(read(log, until=LATER).states, other, Policy())
    assert contents(other) == contents(store)
    other.close()


def test_records_before_the_beginning_are_left_out(log: Path) -> None:
    found = read(log, since=MIDNIGHT - 350)
    assert sorted(found.states) == [1, 2]
    assert found.states[1].queues == {}
    assert (found.records, found.outside) == (2, 5)


def test_arrow_logs_and_bad_records_among_good_ones_are_read(log: Path) -> None:
    writer = ArrowRankLog(log, clock=lambda: NOON)
    writer.append_many([visit(4, MIDNIGHT - 10, [6])])
    writer.close()
    (log / "0.jsonl").write_bytes(b"no record\n" + b"x" * (5 << 20) + b"\n")
    (log / "9.arrows").write_bytes(b"this is no Arrow stream at all")
    found = read(log)
    assert sorted(found.states) == [1, 2, 4]
    assert found.refused == 3
    assert [(letter.part, letter.offset) for letter in found.letters] == [
        ("0.jsonl", 0),
        ("0.jsonl", 10),
        ("9.arrows", 0),
    ]


def test_a_later_batch_replaces_what_an_earlier_one_left_and_removes_users_who_are_gone(
    log: Path, store: LmdbStore, tmp_path: Path
) -> None:
    write_store(read(log, until=LATER).states, store, Policy())
    assert items_of(store, 3, "mini_detail") == [4]
    shorter = Policy(k=1)
    states = read(log).states
    write_store(states, store, shorter)
    fresh = LmdbStore(tmp_path / "fresh")
    write_store(states, fresh, shorter)
    assert contents(store) == contents(fresh)
    assert items_of(store, 1, "mini_detail") == [1]
    fresh.close()


def test_a_live_streams_store_is_left_alone_unless_asked_and_the_stream_comes_back_to_the_present(
    log: Path, store: LmdbStore, tmp_path: Path
) -> None:
    stream = Stream(DirectorySource(log), store, Policy())
    stream.run_once()
    live = contents(store)
    states = read(log).states
    with pytest.raises(StoreError, match=r"live stream \('stream'\).*--overwrite"):
        write_store(states, store, Policy())
    assert contents(store) == live
    write_store(states, store, Policy(), overwrite=True)
    assert items_of(store, 1, "mini_detail") == [1, 3]
    assert list(store.scan(POSITIONS)) == []
    writer = RankLog(log, clock=lambda: LATER)
    writer.append(visit(9, LATER, [1]))
    writer.close()
    while stream.run_once():  # it was running all the while
        pass
    other = LmdbStore(tmp_path / "other")
    Stream(DirectorySource(log), other, Policy()).run_once()
    assert contents(store) == contents(other)
    other.close()


def test_a_forgotten_user_does_not_come_back_with_a_backfill(log: Path, store: LmdbStore) -> None:
    forget(store, 1, at=MIDNIGHT)
    write_store(read(log).states, store, Policy())
    assert items_of(store, 1, "mini_detail") is None
    assert items_of(store, 2, "main_search") == [5]
    write_store(read(log, until=LATER).states, store, Policy())
    assert items_of(store, 1, "mini_detail") == [7]


def test_a_file_has_a_line_for_each_user_and_scenario(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "out" / "candidates.jsonl"
    assert write_file(read(log).states, path, Policy(), until=MIDNIGHT) == 2
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {
        "user": 1,
        "scenario": "mini_detail",
        "as_of": MIDNIGHT,
        "items": [1, 3],
        "scores": pytest.approx([1.0, 50 / 52]),
        "ranks": [0, 2],
        "times": [MIDNIGHT - 500] * 2,
        "request_ids": [f"r{MIDNIGHT - 500}"] * 2,
    }
    assert (second["user"], second["items"]) == (2, [5])
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(log: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="candidates cannot be written"):
        write_file(read(log).states, tmp_path / "file" / "x.jsonl", Policy(), until=MIDNIGHT)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 50)), max_size=12), st.integers(0, 50))
def test_as_of_a_time_is_what_a_stream_would_have_had_then(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[int, int]], until: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    records = [visit(user, NOON + at, [user, at]) for user, at in made]
    for name, kept in (("all", records), ("then", [record for record in records if record.timestamp <= NOON + until])):
        writer = RankLog(folder / name, clock=lambda: LATER)
        writer.append_many(kept)
        writer.close()
    past, then = read(folder / "all", until=NOON + until), read(folder / "then", until=LATER)
    assert {user: encode(state) for user, state in past.states.items()} == {
        user: encode(state) for user, state in then.states.items()
    }


def test_a_store_on_a_server_is_filled_and_replaced_alike(
    log: Path, store: LmdbStore, redis_server: RedisServer
) -> None:
    server = RedisStore(redis_server.url)
    for until in (LATER, MIDNIGHT):
        write_store(read(log, until=until).states, server, Policy())
    write_store(read(log).states, store, Policy())
    for name in (CANDIDATES, STATES, VISITS, SCENARIOS):
        assert list(server.scan(name)) == list(store.scan(name))
    server.close()
