"""The nearline channel passes the Channel contract and answers from whatever the store holds."""

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from headwater.data import Dataset, Queries, Vocabulary, key_of
from headwater.errors import ConfigError
from headwater.nearline import NearlineChannel, Policy, RankedItem, Visit, operator, scenarios
from headwater.nearline.columns import RecordColumns
from headwater.nearline.scenarios import NEWEST, SCENARIOS
from headwater.nearline.state import UserState
from headwater.nearline.stored import CANDIDATES, candidates_key, writes
from headwater.retrieval import Candidates, Channel, Mask, Reason
from headwater.store import LmdbStore, Put, RedisStore
from redis_server import RedisServer

sys.path.insert(0, str(Path(__file__).parents[1] / "retrieval"))
from channel_contract import N_ITEMS, ChannelContract

ITEMS = Vocabulary(["a", "b", "c", "d"])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path / "store")
    yield opened
    opened.close()


def visit(user: int, request_id: str, timestamp: int, items: list[str], scenario: str = "mini_detail") -> Visit:
    ranked = [RankedItem(key_of(item), 1.0) for item in items]
    return Visit(request_id=request_id, scenario=scenario, user=user, timestamp=timestamp, items=ranked)


def put(store: LmdbStore, user: int, *visits: Visit) -> None:
    states = {user: UserState()}
    operator.take_in(states, RecordColumns.of(visits), Policy())
    store.put_many(writes({user: UserState()}, states, Policy()))
    known = store.get_many(SCENARIOS, [NEWEST])[0]
    store.put_many(scenarios.put(known, scenarios.days_of_states(states.values()), Policy()))


def queries(*users: int) -> Queries:
    none = np.zeros(0, np.int64)
    return Queries(
        users=np.full(len(users), -1, np.int32),
        user_keys=np.array(users, np.int64),
        offsets=np.zeros(len(users) + 1, np.int64),
        items=none.astype(np.int32),
        times=none,
        behaviours=none.astype(np.int8),
        request_times=np.full(len(users), 1_000, np.int64),
        scenarios=("homepage",) * len(users),
    )


class TestContract(ChannelContract):
    @pytest.fixture(autouse=True)
    def opened(self, store: LmdbStore) -> None:
        self.store = store

    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        random = np.random.default_rng(1)
        ids = list(data.items.ids)
        for user in queries.user_keys[:-3].tolist():  # three users have never been ranked for
            visits = [
                visit(user, f"{n}", n, [str(item) for item in random.permutation(ids)[: random.integers(1, N_ITEMS)]])
                for n in range(4)
            ]
            put(self.store, user, *visits)
        return NearlineChannel(self.store, data.items)


def test_the_score_is_equation_6_and_the_reason_names_scenario_visit_age_and_rank(store: LmdbStore) -> None:
    put(store, 1, visit(1, "r1", 100, ["a", "b"]), visit(1, "r2", 200, ["c", "a"], "main_search"))
    channel = NearlineChannel(store, ITEMS)
    found = channel.retrieve(queries(1), 10)
    assert ITEMS.decode(found.items) == ["c", "a", "b"]
    assert found.scores.tolist() == pytest.approx([1.0, 50 / 51, 50 / 51 * 10 / 11])
    assert channel.explain(queries(1), found) == [
        (Reason("nearline", scenario="main_search", visit="r2", rank=0, age_seconds=800),),
        (Reason("nearline", scenario="main_search", visit="r2", rank=1, age_seconds=800),),
        (Reason("nearline", scenario="mini_detail", visit="r1", rank=1, age_seconds=900),),
    ]


def test_items_outside_the_vocabulary_are_dropped_and_their_room_goes_to_the_next(store: LmdbStore) -> None:
    put(store, 1, visit(1, "r", 100, ["gone", "a", "gone too", "b", "c"]))
    found = NearlineChannel(store, ITEMS).retrieve(queries(1), 2)
    assert ITEMS.decode(found.items) == ["a", "b"]


def test_what_the_mask_refuses_leaves_its_room_to_the_next(store: LmdbStore) -> None:
    put(store, 1, visit(1, "r", 100, ["a", "b", "c"]))
    allowed = Mask(np.array([0, 1]), np.array([ITEMS.code("a")], np.int32))
    found = NearlineChannel(store, ITEMS).retrieve(queries(1), 2, allowed=allowed)
    assert ITEMS.decode(found.items) == ["b", "c"]


def test_users_are_asked_for_by_key_and_one_may_be_asked_for_twice(store: LmdbStore) -> None:
    put(store, -5, visit(-5, "r", 100, ["a"]))
    put(store, key_of("someone"), visit(key_of("someone"), "r", 100, ["b"]))
    found = NearlineChannel(store, ITEMS).retrieve(queries(key_of("someone"), 7, -5, key_of("someone")), 5)
    assert found.rows.tolist() == [0, 2, 3]
    assert ITEMS.decode(found.items) == ["b", "a", "b"]


def test_a_reason_holds_although_the_stream_replaced_the_candidates_meanwhile(store: LmdbStore) -> None:
    channel = NearlineChannel(store, ITEMS)
    put(store, 1, visit(1, "old", 100, ["a"]))
    found = channel.retrieve(queries(1), 5)
    put(store, 1, visit(1, "new", 200, ["b"]))
    assert channel.explain(queries(1), found)[0][0].visit == "old"


def test_another_process_can_explain_what_it_did_not_retrieve(store: LmdbStore) -> None:
    put(store, 1, visit(1, "r", 100, ["a"]))
    found = NearlineChannel(store, ITEMS).retrieve(queries(1), 5)
    other = NearlineChannel(store, ITEMS)
    reason = Reason("nearline", scenario="mini_detail", visit="r", rank=0, age_seconds=900)
    assert other.explain(queries(1), found) == [(reason,)]
    store.delete_many(CANDIDATES, [candidates_key(1, "mini_detail")])
    assert NearlineChannel(store, ITEMS).explain(queries(1), found) == [(Reason("nearline"),)]


def test_only_its_own_candidates_of_a_merge_are_explained(store: LmdbStore) -> None:
    put(store, 1, visit(1, "r", 100, ["a"]))
    channel = NearlineChannel(store, ITEMS)
    channel.retrieve(queries(1), 5)
    zero = np.zeros(2, np.int32)
    merged = Candidates(
        1, zero, np.array([1, 0], np.int32), zero.astype(np.float32), np.array([1, 2], np.uint32), ("x", "nearline")
    )
    assert [len(reasons) for reasons in channel.explain(queries(1), merged)] == [0, 1]


@pytest.mark.parametrize("damage", ["torn in the store", "of another version"])
def test_an_unreadable_value_costs_one_user_the_candidates_and_nobody_else(
    store: LmdbStore, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    put(store, 1, visit(1, "r", 100, ["a"]))
    put(store, 3, visit(3, "r", 100, ["b"]))
    if damage == "of another version":
        store.put_many([Put(CANDIDATES, candidates_key(2, "mini_detail"), b"HC\x63 something of the future")])
    else:
        with store._env.begin(write=True) as txn:
            txn.put(CANDIDATES.encode() + b"\0" + candidates_key(2, "mini_detail"), b"HW\x01 torn")
    channel = NearlineChannel(store, ITEMS)
    with caplog.at_level(logging.WARNING):
        found = channel.retrieve(queries(1, 2, 3), 5)
        channel.retrieve(queries(2), 5)
    assert found.rows.tolist() == [0, 2]
    assert channel.unreadable == 2
    assert len(caplog.records) == 1


def test_only_the_scenarios_asked_for_are_answered_from_and_each_has_its_weight(store: LmdbStore) -> None:
    put(store, 1, visit(1, "r1", 100, ["a", "b"]), visit(1, "r2", 200, ["c"], "main_search"))
    one = NearlineChannel(store, ITEMS, scenarios=["mini_detail"]).retrieve(queries(1), 10)
    assert (ITEMS.decode(one.items), one.scores.tolist()) == (["a", "b"], pytest.approx([1.0, 50 / 51]))
    weighted = NearlineChannel(store, ITEMS, weights={"mini_detail": 2.0}).retrieve(queries(1), 10)
    assert ITEMS.decode(weighted.items) == ["a", "b", "c"]
    assert weighted.scores.tolist() == pytest.approx([2 * 10 / 11, 2 * 10 / 11 * 50 / 51, 1.0])


def test_several_scenarios_and_users_come_in_one_read(store: LmdbStore) -> None:
    class Counting(LmdbStore):
        """The store, which notes what it is asked."""

        def __init__(self) -> None:
            self.reads: list[tuple[str, int]] = []

        def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
            self.reads.append((namespace, len(keys)))
            return store.get_many(namespace, keys)

    put(store, 1, visit(1, "r1", 100, ["a"]), visit(1, "r2", 200, ["c"], "main_search"))
    put(store, 2, visit(2, "r3", 100, ["b"], "in_shop"))
    counting = Counting()
    NearlineChannel(counting, ITEMS).retrieve(queries(1, 2), 5)
    assert counting.reads == [(SCENARIOS, 1), (CANDIDATES, 6)]
    del counting.reads[:]
    NearlineChannel(counting, ITEMS, scenarios=["in_shop", "main_search"]).retrieve(queries(1, 2), 5)
    assert counting.reads == [(CANDIDATES, 4)]


def test_the_first_visit_of_a_scenario_is_found_by_the_next_request(store: LmdbStore) -> None:
    channel = NearlineChannel(store, ITEMS)
    put(store, 1, visit(1, "r1", 100, ["a"]))
    assert ITEMS.decode(channel.retrieve(queries(1), 5).items) == ["a"]
    put(store, 1, visit(1, "r2", 200, ["c"], "main_search"))
    assert set(ITEMS.decode(channel.retrieve(queries(1), 5).items)) == {"a", "c"}


def test_a_month_old_visit_does_not_tie_with_now(store: LmdbStore) -> None:
    put(
        store,
        1,
        visit(1, "old", 100, ["a"], "main_search"),
        *(visit(1, f"n{n}", 200 + n, ["bcd"[n]]) for n in range(3)),
    )
    found = NearlineChannel(store, ITEMS).retrieve(queries(1), 10)
    assert ITEMS.decode(found.items) == ["d", "c", "b", "a"]
    assert found.scores.tolist() == pytest.approx([1.0, 10 / 11, 10 / 12, 10 / 13])


def test_separate_channels_keep_the_scores_of_their_own_scenario(store: LmdbStore) -> None:
    put(store, 1, visit(1, "r1", 100, ["a", "b"]), visit(1, "r2", 200, ["b", "c"], "main_search"))
    search, detail = NearlineChannel.separate(store, ITEMS, ["main_search", "mini_detail"])
    assert (search.name, detail.name) == ("nearline/main_search", "nearline/mini_detail")
    of_search, of_detail = (channel.retrieve(queries(1), 10) for channel in (search, detail))
    assert (ITEMS.decode(of_search.items), of_search.scores[0]) == (["b", "c"], 1.0)
    assert (ITEMS.decode(of_detail.items), of_detail.scores[0]) == (["a", "b"], 1.0)
    assert detail.explain(queries(1), of_detail)[0][0].scenario == "mini_detail"


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_not_above_0_is_refused_by_name(store: LmdbStore, weight: float) -> None:
    with pytest.raises(ConfigError, match="main_search"):
        NearlineChannel(store, ITEMS, weights={"main_search": weight})


def test_a_store_that_is_away_costs_the_nearline_candidates_and_one_warning(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore(redis_server.url)
    states = {1: UserState()}
    operator.take_in(states, RecordColumns.of([visit(1, "r", 100, ["a"])]), Policy())
    store.put_many(writes({1: UserState()}, states, Policy()))
    now = [10.0]
    channel = NearlineChannel(store, ITEMS, scenarios=["mini_detail"], clock=lambda: now[0])
    redis_server.kill()
    try:
        with caplog.at_level(logging.WARNING):
            assert len(channel.retrieve(queries(1), 5)) == 0
            assert len(channel.retrieve(queries(1), 5)) == 0  # within a second it is not even asked
            assert channel.failures == 1
            now[0] += 1.5
            assert len(channel.retrieve(queries(1), 5)) == 0
            assert channel.failures == 2
        assert [record.levelname for record in caplog.records] == ["WARNING"]
    finally:
        redis_server.start()
    now[0] += 1.5
    found = channel.retrieve(queries(1), 5)
    assert ITEMS.decode(found.items) == ["a"]
    store.close()


@pytest.mark.parametrize("refused", [0, 30, 70, 120])
def test_however_many_of_the_best_are_refused_the_next_ones_come(store: LmdbStore, refused: int) -> None:
    ids = [f"i{n:03d}" for n in range(130)]
    items = Vocabulary(ids)
    put(store, 1, visit(1, "r", 100, ids))
    allowed = Mask(np.array([0, refused]), np.arange(refused, dtype=np.int32))
    found = NearlineChannel(store, items).retrieve(queries(1), 10, allowed=allowed)
    assert items.decode(found.items) == ids[refused : refused + 10]
