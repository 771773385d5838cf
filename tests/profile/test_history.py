"""The online history is bounded, ordered and idempotent, and a forgotten user stays forgotten."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.data import Behaviour
from headwater.errors import ArtefactError
from headwater.profile import History, Profile
from headwater.store import LmdbStore, Put, key_bytes

Event = tuple[int, int, int]
"""(time, item, behaviour)"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "store")
    yield opened
    opened.close()


def events(history: History) -> list[Event]:
    return list(zip(history.times.tolist(), history.items.tolist(), history.behaviours.tolist(), strict=True))


def append(profile: Profile, user: int, made: list[Event]) -> None:
    columns = np.array(made, np.int64).reshape(-1, 3).T
    profile.append(user, columns[1], columns[0], columns[2])


def test_events_come_back_oldest_first_and_ties_in_the_order_they_came(store: LmdbStore) -> None:
    profile = Profile(store)
    append(profile, -3, [(20, 5, 1), (10, 9, 1)])
    append(profile, -3, [(10, 4, 3), (15, -(2**63), 2)])
    (history,) = profile.history([-3])
    assert events(history) == [(10, 9, 1), (10, 4, 3), (15, -(2**63), 2), (20, 5, 1)]
    assert (history.items.dtype, history.times.dtype, history.behaviours.dtype) == (np.int64, np.int64, np.int8)


def test_users_are_kept_apart_and_an_unknown_one_has_an_empty_history(store: LmdbStore) -> None:
    profile = Profile(store)
    profile.append_many([1, 2, 1], [10, 20, 11], [5, 5, 4], [Behaviour.CLICK, Behaviour.CART, Behaviour.CLICK])
    first, unknown, second, again = profile.history([1, 99, 2, 1])
    assert events(first) == events(again) == [(4, 11, 1), (5, 10, 1)]
    assert events(second) == [(5, 20, 2)]
    assert len(unknown) == 0


def test_of_too_many_events_the_newest_stay(store: LmdbStore) -> None:
    profile = Profile(store, max_events=3)
    append(profile, 1, [(time, time, 1) for time in (5, 1, 4, 2, 3)])
    assert [time for time, _, _ in events(profile.history([1])[0])] == [3, 4, 5]


EVENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(-2, 2), st.integers(1, 3)), max_size=20)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.integers(1, 6), st.data())
def test_the_events_kept_do_not_depend_on_order_or_repetition(
    store: LmdbStore, made: list[Event], max_events: int, data: st.DataObject
) -> None:
    profile = Profile(store, max_events=max_events)
    shuffled = data.draw(st.permutations(made + made[:3]))
    cut = data.draw(st.integers(0, len(shuffled)))
    for user, parts in ((1, [made]), (2, [shuffled[:cut], shuffled[cut:]])):
        store.delete_many("profile", [key_bytes(user)])
        for part in parts:
            append(profile, user, part)
    first, second = (events(history) for history in profile.history([1, 2]))
    assert sorted(first) == sorted(second) == sorted(set(made))[-max_events:]
    assert [time for time, _, _ in second] == sorted(time for time, _, _ in second)
    assert first == sorted((event for event in dict.fromkeys(made) if event in set(first)), key=lambda event: event[0])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.integers(1, 6))
def test_sending_everything_again_changes_no_byte(store: LmdbStore, made: list[Event], max_events: int) -> None:
    profile = Profile(store, max_events=max_events)
    store.delete_many("profile", [key_bytes(1)])
    append(profile, 1, made)
    before = store.get_many("profile", [key_bytes(1)])
    for event in made:
        append(profile, 1, [event])
    append(profile, 1, made)
    assert store.get_many("profile", [key_bytes(1)]) == before


def test_thousands_of_users_are_imported_at_once(store: LmdbStore) -> None:
    users = np.repeat(np.arange(2_500), 4)
    order = np.random.default_rng(0).permutation(len(users))
    times = np.tile(np.arange(4), 2_500)
    profile = Profile(store)
    profile.append_many(users[order], (users * 10 + times)[order], times[order], np.ones(len(users))[order])
    for user, history in enumerate(profile.history(range(2_500))):
        assert history.items.tolist() == [user * 10 + time for time in range(4)]


def test_nothing_to_append_is_no_error(store: LmdbStore) -> None:
    Profile(store).append_many([], [], [], [])
    assert list(store.scan("profile")) == []


def test_appends_from_several_threads_lose_nothing(store: LmdbStore) -> None:
    profile = Profile(store)
    threads = [
        threading.Thread(target=lambda first=first: [append(profile, 1, [(first + n, 1, 1)]) for n in range(25)])
        for first in (0, 100, 200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(profile.history([1])[0]) == 75


def test_columns_of_different_lengths_are_refused(store: LmdbStore) -> None:
    with pytest.raises(ValueError, match="2 users, 1 items"):
        Profile(store).append_many([1, 2], [1], [1], [1])
    with pytest.raises(ValueError, match="max_events"):
        Profile(store, max_events=0)


# -- forgetting


def test_a_forgotten_user_is_gone_and_older_events_do_not_come_back(store: LmdbStore) -> None:
    profile = Profile(store)
    made = [(10, 1, 1), (20, 2, 1)]
    append(profile, 1, made)
    append(profile, 2, made)
    profile.forget(1, at=30)
    append(profile, 1, [*made, (30, 3, 1)])
    assert [len(history) for history in profile.history([1, 2])] == [0, 2]
    append(profile, 1, [(31, 4, 1)])
    profile.forget(1, at=5)
    append(profile, 1, made)
    assert events(profile.history([1])[0]) == [(31, 4, 1)]


def test_a_user_who_was_never_seen_can_be_forgotten(store: LmdbStore) -> None:
    profile = Profile(store)
    profile.forget(1, at=30)
    append(profile, 1, [(10, 1, 1)])
    assert len(profile.history([1])[0]) == 0


# -- damage


def test_a_torn_history_begins_anew_and_leaves_the_others_alone(store: LmdbStore) -> None:
    profile = Profile(store)
    append(profile, 1, [(10, 1, 1)])
    append(profile, 2, [(10, 2, 1)])
    with store._env.begin(write=True) as txn:
        txn.put(b"profile\0" + key_bytes(1), b"torn")
    assert [len(history) for history in profile.history([1, 2])] == [0, 1]
    append(profile, 1, [(11, 1, 1)])
    assert [len(history) for history in profile.history([1, 2])] == [1, 1]


@pytest.mark.parametrize("value", [b"", b"HP\x02" + bytes(12), b"HP\x01" + bytes(12) + b"x"])
def test_a_history_of_another_version_or_length_is_refused(store: LmdbStore, value: bytes) -> None:
    store.put_many([Put("profile", key_bytes(1), value)])
    with pytest.raises(ArtefactError, match="profile"):
        Profile(store).history([1])
