"""A user is forgotten in everything that is online, and what was removed is said."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.nearline import DirectorySource, Policy, RankedItem, RankLog, Stream, UserEvent, Visit, dead_letters
from headwater.nearline.lookup import look_up
from headwater.nearline.stored import STATES
from headwater.profile.history import Profile
from headwater.service.forget import Forgotten, forget_user
from headwater.store import LmdbStore, key_bytes

NOW = 1_700_000_000


def visit(user: int, scenario: str = "mini_detail") -> Visit:
    items = [RankedItem(item, 0.5) for item in (1, 2, 3)]
    return Visit(request_id="r", scenario=scenario, user=user, timestamp=NOW - 50, items=items)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    log = RankLog(tmp_path / "log", clock=lambda: NOW)
    log.append_many([visit(1), visit(1, "main_search"), visit(11)])
    log.append(UserEvent(user=1, item=2, behaviour="click", timestamp=NOW - 40))
    log.close()
    with (tmp_path / "log" / "0.jsonl").open("wb") as file:
        file.write(b'{"type":"visit","user":1,"items":[]}\n{"type":"visit","user": 1,"torn\n{"user":11}\nnobody\n')
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path: Path, log: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "store")
    Stream(DirectorySource(log), opened, Policy()).run_once()
    for user in (1, 11):
        Profile(opened).append(user, [2, 3], [NOW - 40, NOW - 30], [1, 1])
    yield opened
    opened.close()


def test_all_that_knows_the_user_is_removed_and_counted_and_nothing_of_others(store: LmdbStore) -> None:
    assert forget_user(store, 1, at=NOW) == Forgotten(events=2, visits=2, acts=1, candidates=4, dead_letters=2)
    assert len(Profile(store).history([1])[0]) == 0
    known, other = look_up(store, 1), look_up(store, 11)
    assert known is not None
    assert other is not None
    assert (known.forgotten_at, known.queues, known.candidates) == (NOW, {}, {})
    assert (len(Profile(store).history([11])[0]), list(other.candidates)) == (2, ["mini_detail"])
    assert [letter.raw for letter in dead_letters(store)] == [b'{"user":11}\n', b"nobody\n"]


def test_neither_a_replayed_log_nor_events_sent_again_bring_the_user_back(store: LmdbStore, log: Path) -> None:
    forget_user(store, 1, at=NOW)
    Stream(DirectorySource(log), store, Policy(), name="replay").run_once()
    Profile(store).append(1, [2], [NOW - 40], [1])
    again = forget_user(store, 1, at=NOW)
    # Only the refused records of the replayed log name the user again.
    assert again == Forgotten(events=0, visits=0, acts=0, candidates=0, dead_letters=2)


def test_what_is_later_than_the_forgetting_stays_and_is_not_counted(store: LmdbStore) -> None:
    done = forget_user(store, 1, at=NOW - 45)
    assert (done.events, done.visits, done.acts) == (0, 2, 0)
    assert len(Profile(store).history([1])[0]) == 2
    known = look_up(store, 1)
    assert known is not None
    assert known.acted_items.tolist() == [2]


def test_a_user_whom_nobody_knows_is_nothing(store: LmdbStore) -> None:
    assert forget_user(store, 5, at=NOW).is_nothing


def test_a_torn_state_is_forgotten_too_uncounted(store: LmdbStore) -> None:
    with store._env.begin(write=True) as txn:
        txn.put(STATES.encode() + b"\0" + key_bytes(1), b"torn")
    done = forget_user(store, 1, at=NOW)
    assert (done.is_unreadable, done.visits, done.events) == (True, 0, 2)
    known = look_up(store, 1)
    assert known is not None
    assert (known.queues, known.candidates) == ({}, {})
