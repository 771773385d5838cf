"""The list of scenarios that readers ask for: bounded, the same for any order of records, never a fault of a reader."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.nearline import DirectorySource, Policy, RankedItem, RankLog, Stream, Visit
from headwater.nearline.columns import RecordColumns
from headwater.nearline.scenarios import (
    MAX_SCENARIOS,
    NEWEST,
    SCENARIOS,
    days_of_records,
    days_of_states,
    decode,
    put,
    seen_scenarios,
)
from headwater.nearline.state import QueuedVisit, UserState
from headwater.store import LmdbStore

DAY = 86_400
NOW = 1_700_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "store")
    yield opened
    opened.close()


def visit(scenario: str, timestamp: int = NOW, user: int = 1) -> Visit:
    items = [RankedItem(5, 1.0)]
    return Visit(request_id=f"{scenario}{timestamp}", scenario=scenario, user=user, timestamp=timestamp, items=items)


def taken(days: list[dict[str, int]], policy: Policy) -> dict[str, int]:
    raw = None
    for part in days:
        for write in put(raw, part, policy):
            raw = write.value
    return decode(raw)


@given(st.lists(st.dictionaries(st.sampled_from([f"s{n}" for n in range(90)]), st.integers(0, 9)), max_size=30))
def test_any_order_ends_in_the_same_bounded_list_of_the_newest(days: list[dict[str, int]]) -> None:
    policy = Policy(truncate={"s3": 5})
    found = taken(days, policy)
    newest: dict[str, int] = {}
    for part in days:
        for name, day in part.items():
            newest[name] = max(day, newest.get(name, 0))
    ordered = sorted(newest, key=lambda name: (name == "s3", newest[name], name), reverse=True)
    assert found == {name: newest[name] for name in ordered[:MAX_SCENARIOS]}
    assert taken(days[::-1], policy) == found


def test_made_up_names_push_out_none_that_the_policy_names() -> None:
    flood = [{f"made-up-{n}": 20_000 + n} for n in range(200)]
    found = taken([{"main_search": 10}, *flood], Policy())
    assert len(found) == MAX_SCENARIOS
    assert "main_search" in found
    assert "made-up-199" in found
    assert "made-up-0" not in found


def test_a_policy_that_names_more_has_room_for_all_it_names() -> None:
    names = [f"n{n}" for n in range(MAX_SCENARIOS + 10)]
    assert set(taken([dict.fromkeys(names, 1)], Policy(truncate=dict.fromkeys(names, 5)))) == set(names)


def test_a_list_that_says_so_already_is_not_written_again() -> None:
    (write,) = put(None, {"a": 3}, Policy())
    assert put(write.value, {"a": 3}, Policy()) == []
    assert put(write.value, {"a": 2}, Policy()) == []
    assert len(put(write.value, {"a": 4}, Policy())) == 1


def test_only_visits_that_are_queued_count() -> None:
    records = RecordColumns.of([visit("a", 3 * DAY), visit("a", 2 * DAY), visit("homepage"), visit("refused")])
    policy = Policy(truncate={"a": 5}, truncate_other=0)
    assert days_of_records(records, policy) == {"a": 3}
    state = UserState(queues={"a": [QueuedVisit.of(3 * DAY, "r", b"x"), QueuedVisit.of(DAY, "q", b"x")]})
    assert days_of_states([state]) == {"a": 3}


def test_streams_of_two_partitions_keep_one_list(store: LmdbStore, tmp_path: Path) -> None:
    log = RankLog(tmp_path / "log", clock=lambda: NOW + DAY)
    log.append_many([visit(f"s{user % 3}", NOW, user) for user in range(20)])
    for index in (0, 1, 0):
        Stream(DirectorySource(tmp_path / "log"), store, Policy(), partition=(index, 2)).run_once()
    log.append(visit("newest", NOW + DAY, 3))
    log.close()
    for index in (0, 1):
        Stream(DirectorySource(tmp_path / "log"), store, Policy(), partition=(index, 2)).run_once()
    assert seen_scenarios(store) == ["newest", "s0", "s1", "s2"]


def test_a_torn_list_is_empty_to_readers_and_begun_anew_by_the_stream(store: LmdbStore, tmp_path: Path) -> None:
    with store._env.begin(write=True) as txn:
        txn.put(SCENARIOS.encode() + b"\0" + NEWEST, b"torn")
    assert seen_scenarios(store) == []
    log = RankLog(tmp_path / "log", clock=lambda: NOW)
    log.append(visit("a"))
    log.close()
    Stream(DirectorySource(tmp_path / "log"), store, Policy()).run_once()
    assert seen_scenarios(store) == ["a"]
