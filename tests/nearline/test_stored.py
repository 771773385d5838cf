"""What is written for a batch brings the store to what the states say, however the records were cut into batches."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.nearline import Policy, RankedItem, UserEvent, Visit, operator
from headwater.nearline.columns import RecordColumns
from headwater.nearline.records import Record
from headwater.nearline.state import UserState, encode
from headwater.nearline.stored import (
    CANDIDATES,
    STATES,
    VISITS,
    Reader,
    candidates_key,
    forget_writes,
    visit_key,
    writes,
)
from headwater.store import LmdbStore, Put, key_bytes

USERS = (1, -2)

POLICIES = st.builds(
    Policy,
    visits=st.integers(1, 3),
    visits_in_all=st.integers(1, 5),
    acted_items=st.integers(1, 3),
    max_age_seconds=st.integers(1, 30),
    k=st.integers(1, 5),
)


def visit(user: int, request_id: str, timestamp: int, items: list[int], scenario: str) -> Visit:
    ranked = [RankedItem(item, 1.0, item % 2) for item in items]
    return Visit(request_id=request_id, scenario=scenario, user=user, timestamp=timestamp, items=ranked)


VISIT_RECORDS = st.builds(
    visit,
    user=st.sampled_from(USERS),
    request_id=st.sampled_from("abcde"),
    timestamp=st.integers(0, 40),
    items=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    scenario=st.sampled_from(["in_shop", "mini_detail", "homepage"]),
)
EVENTS = st.builds(
    UserEvent,
    user=st.sampled_from(USERS),
    item=st.integers(0, 6),
    behaviour=st.sampled_from(["impression", "click"]),
    timestamp=st.integers(0, 40),
)
BATCHES = st.lists(st.lists(VISIT_RECORDS | VISIT_RECORDS | EVENTS, max_size=6), max_size=6)


def apply(stored: dict[tuple[str, bytes], bytes], puts: Sequence[Put]) -> None:
    for put in puts:
        if put.value is None:
            stored.pop((put.namespace, put.key), None)
        else:
            stored[put.namespace, put.key] = put.value


def run(batches: list[list[Record]], policy: Policy) -> tuple[dict[tuple[str, bytes], bytes], dict[int, UserState]]:
    stored: dict[tuple[str, bytes], bytes] = {}
    states = {user: UserState() for user in USERS}
    for batch in batches:
        before = {user: state.copy() for user, state in states.items()}
        operator.take_in(states, RecordColumns.of(batch), policy)
        apply(stored, writes(before, states, policy))
    return stored, states


@settings(max_examples=400)
@given(BATCHES, POLICIES)
def test_the_store_has_what_the_states_say_and_nothing_else(batches: list[list[Record]], policy: Policy) -> None:
    stored, states = run(batches, policy)
    expected: dict[tuple[str, bytes], bytes] = {}
    for user, state in states.items():
        queues = [(scenario, queue, state.acted_items) for scenario, queue in state.queues.items()]
        for (scenario, queue, _), value in zip(queues, operator.stored_candidates(queues, policy), strict=True):
            expected[CANDIDATES, candidates_key(user, scenario)] = value
            for kept in queue:
                expected[VISITS, visit_key(user, scenario, kept.request_id)] = kept.content
        if any(record.user == user for batch in batches for record in batch):
            expected[STATES, key_bytes(user)] = encode(state, with_contents=False)
    assert stored == expected


@given(BATCHES, POLICIES)
def test_any_batches_of_the_same_records_end_in_the_same_store(batches: list[list[Record]], policy: Policy) -> None:
    whole = [record for batch in batches for record in batch]
    assert run(batches, policy)[0] == run([whole], policy)[0]


@given(BATCHES, POLICIES, st.integers(0, 40))
def test_what_is_forgotten_leaves_the_store(batches: list[list[Record]], policy: Policy, at: int) -> None:
    stored, states = run(batches, policy)
    apply(stored, forget_writes(1, states[1], at))
    own = key_bytes(1)
    kept = states[1].copy()
    operator.forget_until(kept, at)
    # Neither candidates nor another visit's content.
    rest = {place[1]: value for place, value in stored.items() if place[0] == VISITS and place[1].startswith(own)}
    assert rest == {visit_key(1, scenario, v.request_id): v.content for scenario, v in kept.visits()}
    assert stored[STATES, own] == encode(kept, with_contents=False)


@pytest.fixture
def store(tmp_path: Path) -> LmdbStore:
    return LmdbStore(tmp_path / "store")


def test_states_are_read_from_the_store_as_they_were_written(store: LmdbStore) -> None:
    records: list[Record] = [visit(1, f"r{n}", n, [n, n + 1], "mini_detail") for n in range(4)]
    records.append(UserEvent(user=1, item=9, behaviour="cart", timestamp=5))
    states = {1: UserState()}
    operator.take_in(states, RecordColumns.of(records), Policy())
    store.put_many(writes({1: UserState()}, states, Policy()))
    read, stored = Reader(store).read([1, 2])
    assert encode(read[1]) == encode(states[1])
    assert encode(read[2]) == encode(UserState())
    assert writes(stored, read, Policy()) == []
