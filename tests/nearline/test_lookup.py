"""What the store knows of one user."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.nearline import DirectorySource, Policy, RankedItem, RankLog, Stream, UserEvent, Visit, forget
from headwater.nearline.lookup import QueuedList, look_up
from headwater.nearline.stored import CANDIDATES, VISITS, candidates_key, visit_key
from headwater.store import LmdbStore

NOW = 1_700_000_000


def visit(request_id: str, timestamp: int, items: list[int], scenario: str = "mini_detail") -> Visit:
    ranked = [RankedItem(item, 0.5) for item in items]
    return Visit(request_id=request_id, scenario=scenario, user=1, timestamp=timestamp, items=ranked)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "store")
    log = RankLog(tmp_path / "log", clock=lambda: NOW)
    log.append(visit("r1", NOW - 50, [1, 2, 2, 3]))
    log.append(visit("r2", NOW - 40, [4]))
    log.append(visit("r3", NOW - 30, [5, 6], "main_search"))
    log.append(UserEvent(user=1, item=2, behaviour="cart", timestamp=NOW - 20))
    log.close()
    Stream(DirectorySource(tmp_path / "log"), opened, Policy()).run_once()
    yield opened
    opened.close()


def test_queues_acts_and_candidates_are_told(store: LmdbStore) -> None:
    known = look_up(store, 1)
    assert known is not None
    assert (known.newest, known.forgotten_at) == (NOW - 20, None)
    assert (known.acted_items.tolist(), known.acted_times.tolist()) == ([2], [NOW - 20])
    assert known.queues == {
        "main_search": [QueuedList("r3", NOW - 30, 2)],
        "mini_detail": [QueuedList("r2", NOW - 40, 1), QueuedList("r1", NOW - 50, 3)],
    }
    assert {name: found.items.tolist() for name, found in known.candidates.items()} == {
        "main_search": [5, 6],
        "mini_detail": [4, 1, 3],
    }


def test_one_scenario_may_be_asked_for(store: LmdbStore) -> None:
    known = look_up(store, 1, ["main_search", "unheard_of"])
    assert known is not None
    assert (list(known.queues), list(known.candidates)) == (["main_search"], ["main_search"])


def test_a_user_never_seen_is_none_and_a_forgotten_one_says_so(store: LmdbStore) -> None:
    assert look_up(store, 2) is None
    forget(store, 1, at=NOW)
    known = look_up(store, 1)
    assert known is not None
    assert (known.newest, known.forgotten_at, known.queues, known.candidates) == (None, NOW, {}, {})


def test_expired_candidates_and_a_lost_list_are_told_as_such(store: LmdbStore) -> None:
    store.delete_many(CANDIDATES, [candidates_key(1, "main_search")])
    store.delete_many(VISITS, [visit_key(1, "mini_detail", "r2")])
    known = look_up(store, 1)
    assert known is not None
    assert list(known.candidates) == ["mini_detail"]
    assert [queued.items for queued in known.queues["mini_detail"]] == [None, 3]
