"""What is held in memory takes records in as the operator does, to the byte, whichever way it goes about it."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.nearline import Policy, RankedItem, UserEvent, Visit, operator, places
from headwater.nearline.arena import Arena
from headwater.nearline.columns import RecordColumns
from headwater.nearline.records import Record
from headwater.nearline.resident import Residents
from headwater.nearline.state import UserState, encode
from headwater.nearline.stored import STATES, VISITS, writes
from headwater.store import Put

SCENARIOS = ("in_shop", "mini_detail", "é", "homepage", "in")


class Remembered:
    """What was written, as much of a `Store` as reading states needs."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, bytes], bytes] = {}

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.values.get((namespace, key)) for key in keys]

    def write(self, puts: Sequence[Put]) -> None:
        for put in puts:
            if put.value is None:
                self.values.pop((put.namespace, put.key), None)
            else:
                self.values[put.namespace, put.key] = put.value


def visit(user: int, request_id: str, timestamp: int, items: list[int], scenario: str) -> Visit:
    ranked = [RankedItem(item, 1.0, item % 3 if item % 5 else None) for item in items]
    return Visit(request_id=request_id, scenario=scenario, user=user, timestamp=timestamp, items=ranked)


def following(draw: st.DrawFn) -> list[list[Record]]:
    """Batches in which most visits are newer than all before them, as in a log that nobody delays."""
    now = 0
    batches: list[list[Record]] = []
    for _ in range(draw(st.integers(1, 5))):
        batch: list[Record] = []
        for _ in range(draw(st.integers(0, 8))):
            now += draw(st.sampled_from([0, 1, 1, 2, 9]))
            when = max(0, now - draw(st.sampled_from([0, 0, 0, 0, 0, 3, 12])))
            user = draw(st.sampled_from([1, -2, 3]))
            kind = draw(st.sampled_from([None] * 7 + ["click", "impression"]))
            if kind is None:
                items = draw(st.lists(st.sampled_from([*range(9), -1, 2**40]), min_size=1, max_size=6))
                request_id = draw(st.sampled_from(["a", "b", "bb", "é" * 3, f"r{now}"]))
                batch.append(visit(user, request_id, when, items, draw(st.sampled_from(SCENARIOS))))
            else:
                batch.append(UserEvent(user=user, item=draw(st.integers(0, 8)), behaviour=kind, timestamp=when))  # type: ignore[arg-type]
        batches.append(batch)
    return batches


POLICIES = st.builds(
    Policy,
    visits=st.integers(1, 4),
    visits_in_all=st.integers(1, 8),
    acted_items=st.integers(1, 3),
    max_age_seconds=st.integers(1, 60),
    category_cap=st.integers(1, 3),
    k=st.integers(1, 12),
    strategy=st.sampled_from(["score", "score", "fifo", "random"]),
    truncate_other=st.integers(1, 6),
)


def by_the_operator(batches: list[list[Record]], policies: list[Policy]) -> dict[tuple[str, bytes], bytes]:
    store = Remembered()
    states = {user: UserState() for user in (1, -2, 3)}
    for batch, policy in zip(batches, policies, strict=True):
        users = {record.user for record in batch}
        before = {user: states[user].copy() for user in users}
        operator.take_in(states, RecordColumns.of(batch), policy)
        store.write(writes(before, {user: states[user] for user in users}, policy))
    return store.values


@settings(max_examples=600)
@given(st.composite(following)(), st.data())
def test_the_writes_are_those_of_the_operator(batches: list[list[Record]], data: st.DataObject) -> None:
    first = data.draw(POLICIES)
    # A policy may change between batches, and with it what the states may hold.
    policies = [data.draw(st.sampled_from([first] * 5 + [data.draw(POLICIES)])) for _ in batches]
    memory_bytes = data.draw(st.sampled_from([1 << 30, 1 << 30, 3_000, 0]))
    store = Remembered()
    residents = Residents(store, memory_bytes)  # type: ignore[arg-type]
    for batch, policy in zip(batches, policies, strict=True):
        cut = data.draw(st.integers(0, len(batch)))
        parts = [RecordColumns.of(part) for part in (batch[:cut], batch[cut:]) if part]
        store.write(residents.take_in(parts, policy))
        residents.trim()
        assert residents.size <= memory_bytes
    assert store.values == by_the_operator(batches, policies)


def test_visits_that_come_in_the_order_of_their_times_need_no_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    store, policy = Remembered(), Policy(visits=3)
    residents = Residents(store, 1 << 30)  # type: ignore[arg-type]

    def refuse(*_: object) -> None:
        raise AssertionError("the operator was asked")

    monkeypatch.setattr(operator, "take_in", refuse)
    for at in range(10):
        batch: list[Record] = [
            visit(user, f"r{at}-{n}", 100 * at + n, [at, n, user], scenario)
            for user in (5, 6)
            for n, scenario in enumerate(("in_shop", "mini_detail", "in_shop"))
        ]
        batch.append(UserEvent(user=5, item=1, behaviour="impression", timestamp=100 * at))
        batch.append(visit(6, f"h{at}", 100 * at + 9, [1], "homepage"))
        store.write(residents.take_in([RecordColumns.of(batch)], policy))
    monkeypatch.undo()
    assert sum(namespace == STATES for namespace, _ in store.values) == 2
    assert sum(key[8:9] == b"\xff" for namespace, key in store.values if namespace == VISITS) == 2 * 2 * 3


def test_records_that_were_taken_in_already_write_nothing() -> None:
    store, policy = Remembered(), Policy()
    residents = Residents(store, 1 << 30)  # type: ignore[arg-type]
    columns = RecordColumns.of([visit(1, "a", 5, [1, 2], "in_shop"), visit(1, "b", 6, [3], "in_shop")])
    store.write(residents.take_in([columns], policy))
    assert residents.take_in([columns], policy) == []
    residents.drop()
    assert residents.take_in([columns], policy) == []


# -- the arena


def state_of(n: int, size: int) -> UserState:
    state = UserState()
    ranked = list(range(size))
    records = [visit(1, f"r{at}", at + 1, ranked, "mini_detail") for at in range(n)]
    operator.take_in({1: state}, RecordColumns.of(records), Policy())
    return state


def test_a_state_comes_back_as_it_was_put_also_after_the_memory_has_moved() -> None:
    arena = Arena()
    states = {user: state_of(user % 4, 1 + 30 * user) for user in range(1, 20)}
    for user, state in states.items():
        arena.put(user, state)
    arena.reserve(200 << 20)
    for user, state in states.items():
        assert encode(arena.state(user)) == encode(state)


def test_places_are_used_again_and_what_is_let_go_costs_nothing() -> None:
    arena = Arena()
    for _ in range(50):
        for user in range(20):
            arena.put(user, state_of(3, 40))
    used = int(arena.used[0])
    for _ in range(50):
        arena.leave(range(20))
        assert (len(arena), arena.size) == (0, 0)
        for user in range(20):
            arena.put(user, state_of(3, 40))
    assert arena.used[0] == used


def test_the_users_seen_longest_ago_are_let_go_first() -> None:
    arena = Arena()
    for user in range(10):
        arena.put(user, state_of(1, 100))
    one = arena.size // 10
    arena.rows([0, 1])
    arena.trim(3 * one)
    assert [user for user in range(10) if user in arena] == [0, 1, 9]


@given(st.integers(1, 1 << 24))
def test_a_place_is_as_large_as_asked_for_and_not_much_larger(size: int) -> None:
    given_out = places.size_of_place(size)
    assert size <= given_out <= max(size + 63, size * 9 // 8 + 64)
    assert given_out % 64 == 0


def test_a_place_given_back_is_given_out_again() -> None:
    words, free, used = np.zeros(1 << 12, np.int64), np.zeros(places.CLASSES, np.int64), np.array([64, 0])
    first = places.allocate(words, free, used, 100)
    second = places.allocate(words, free, used, 100)
    places.release(words, free, used, first, 100)
    assert places.allocate(words, free, used, 120) == first != second
    assert used.tolist() == [64 + 2 * 128, 2 * 128]
