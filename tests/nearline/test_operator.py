"""The operator against golden values of eq. 6, and against a plain reference on any records in any order."""

import struct
from itertools import permutations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Found, content_hash, reference

from headwater.errors import ArtefactError
from headwater.nearline import operator
from headwater.nearline.arrow import decode_batch, to_batch
from headwater.nearline.candidates import NearlineCandidates, combine
from headwater.nearline.candidates import decode as decode_candidates
from headwater.nearline.columns import RecordColumns
from headwater.nearline.policy import Policy
from headwater.nearline.records import RankedItem, Record, UserEvent, Visit
from headwater.nearline.state import NO_CATEGORY, QueuedVisit, UserState, decode, encode, pack_content

DAY = 86_400


def visit(
    request_id: str,
    timestamp: int,
    items: list[int] | list[tuple[int, int | None]],
    scenario: str = "mini_detail",
) -> Visit:
    pairs = [item if isinstance(item, tuple) else (item, None) for item in items]
    ranked = [RankedItem(item, 1.0 - at / 1_000, category) for at, (item, category) in enumerate(pairs)]
    return Visit(request_id=request_id, scenario=scenario, user=7, timestamp=timestamp, items=ranked)


def event(behaviour: str, item: int, timestamp: int) -> UserEvent:
    return UserEvent(user=7, item=item, behaviour=behaviour, timestamp=timestamp)  # type: ignore[arg-type]


def after(records: list[Record], policy: Policy) -> bytes | None:
    state = None
    for record in records:
        state = operator.apply(state, record, policy)
    return state


def found(records: list[Record], policy: Policy = Policy()) -> list[Found]:  # noqa: B008 - frozen
    return rows(operator.candidates(after(records, policy), policy))


def rows(candidates: NearlineCandidates) -> list[Found]:
    return [
        Found(
            int(item),
            candidates.scenarios[at],
            candidates.request_ids[at],
            int(rank),
            int(candidates.time_indices[at]),
            float(score),
        )
        for item, at, rank, score in zip(
            candidates.items, candidates.visits, candidates.ranks, candidates.scores, strict=True
        )
    ]


def stored(state: UserState, policy: Policy) -> dict[str, bytes]:
    queues = [(scenario, queue, state.acted_items) for scenario, queue in state.queues.items()]
    return dict(zip(state.queues, operator.stored_candidates(queues, policy), strict=True))


# -- golden values


def test_final_score_is_equation_6() -> None:
    # alpha 50, beta 10. Newest visit (time index 0): 50/50 * 10/10, 50/51 * 10/10. The older (1): 50/50 * 10/11, …
    got = found([visit("a", 100, [1, 2]), visit("b", 200, [3, 4])])
    assert [(row.item, row.rank, row.time_index) for row in got] == [(3, 0, 0), (4, 1, 0), (1, 0, 1), (2, 1, 1)]
    assert [row.score for row in got] == pytest.approx([1.0, 50 / 51, 10 / 11, 50 / 51 * 10 / 11], abs=1e-12)


def test_equal_products_stand_by_time_index() -> None:
    # (50 + 5) * 10 == 50 * (10 + 1): the newer visit's sixth item goes before the older one's first.
    got = found([visit("a", 100, [9]), visit("b", 200, [1, 2, 3, 4, 5, 6, 7])])
    assert [row.item for row in got] == [1, 2, 3, 4, 5, 6, 9, 7]
    assert got[5].score == got[6].score == 500 / 550


def test_an_item_on_several_lists_has_its_best_place() -> None:
    got = found([visit("a", 100, [5, 1]), visit("b", 200, [*range(10, 30), 5])])
    # 5: (50 + 20) * 10 = 700 in the newer visit, 50 * 11 = 550 in the older one.
    assert next(row for row in got if row.item == 5)[1:5] == ("mini_detail", "a", 0, 1)


def test_time_indices_count_all_scenarios_together() -> None:
    records = [
        visit("a", 100, [1], "main_search"),
        visit("b", 300, [2], "mini_detail"),
        visit("c", 200, [3], "in_shop"),
    ]
    assert [(row.item, row.time_index) for row in found(records)] == [(2, 0), (3, 1), (1, 2)]


def test_repeated_items_go_before_the_list_is_cut() -> None:
    policy = Policy(truncate={"mini_detail": 3})
    got = found([visit("a", 100, [1, 1, 2, 1, 3, 4])], policy)
    assert [(row.item, row.rank) for row in got] == [(1, 0), (2, 1), (3, 2)]


def test_each_scenario_is_cut_at_its_own_length() -> None:
    policy = Policy()
    lengths = {"mini_detail": 500, "post_purchase": 500, "main_search": 500, "in_shop": 20, "photo_search": 20}
    for scenario, length in lengths.items():
        state = after([visit("a", 100, list(range(600)), scenario)], policy)
        assert len(operator.candidates(state, Policy(k=10_000))) == length, scenario
    state = after([visit("a", 100, list(range(600)), "never heard of")], Policy(truncate_other=30))
    assert len(operator.candidates(state, Policy(k=10_000))) == 30


def test_acted_items_and_capped_categories_leave_their_ranks_behind() -> None:
    records = [visit("a", 100, [(1, 8), (2, 8), (3, 8), (4, 9), (5, None)]), event("click", 1, 150)]
    got = found(records, Policy(category_cap=1))
    assert [(row.item, row.rank) for row in got] == [(2, 1), (4, 3), (5, 4)]


def test_items_without_a_category_are_not_capped() -> None:
    got = found([visit("a", 100, list(range(30)))], Policy(category_cap=1))
    assert len(got) == 30


@pytest.mark.parametrize(
    ("behaviour", "stays"), [("impression", True), ("click", False), ("cart", False), ("purchase", False)]
)
def test_an_act_removes_an_item_and_an_impression_does_not(behaviour: str, stays: bool) -> None:
    got = found([event(behaviour, 1, 50), visit("a", 100, [1, 2])])
    assert (1 in [row.item for row in got]) is stays


def test_an_acted_item_comes_back_when_the_act_has_aged_out() -> None:
    records: list[Record] = [event("click", 1, 0), visit("a", 7 * DAY, [1, 2])]
    assert [row.item for row in found(records)] == [2]
    assert [row.item for row in found([*records, event("impression", 9, 7 * DAY + 1)])] == [1, 2]


def test_a_visit_ages_out_counted_from_the_newest_record_of_any_kind() -> None:
    old = visit("a", 0, [1])
    assert [row.item for row in found([old, event("impression", 9, 7 * DAY)])] == [1]
    assert found([old, event("impression", 9, 7 * DAY + 1)]) == []
    assert found([old, visit("b", 7 * DAY + 1, [2], "homepage")]) == []


def test_visits_of_the_target_are_never_queued() -> None:
    assert found([visit("a", 100, [1, 2], "homepage")]) == []
    assert [row.item for row in found([visit("a", 100, [1, 2], "homepage")], Policy(target="in_shop"))] == [1, 2]


def test_a_queue_keeps_the_newest_visits_by_time_then_request_id() -> None:
    records = [visit(name, time, [at]) for at, (name, time) in enumerate([("b", 5), ("a", 5), ("z", 4), ("c", 6)])]
    got = found(records, Policy(visits=2))
    assert [(row.request_id, row.time_index) for row in got] == [("c", 0), ("b", 1)]


def test_of_two_records_with_one_request_id_the_later_wins_and_then_the_greater_content() -> None:
    early, late = visit("a", 100, [1]), visit("a", 200, [2])
    for order in ([early, late], [late, early]):
        assert [row.item for row in found(order)] == [2]
    versions = [visit("a", 100, [item]) for item in (1, 2, 3)]
    winner = max(versions, key=lambda version: content_hash(version, Policy()))
    for order in permutations(versions):
        assert [row.item for row in found(list(order))] == [winner.items[0].item]


def test_a_larger_alpha_favours_recent_visits_and_a_larger_beta_high_ranks() -> None:
    records = [visit("a", 100, [1]), visit("b", 200, list(range(10, 110)))]

    def place(policy: Policy) -> int:
        return [row.item for row in found(records, policy)].index(1)

    assert [place(Policy(alpha=alpha)) for alpha in (10, 50, 200)] == [2, 6, 21]
    assert [place(Policy(beta=beta)) for beta in (1, 10, 50)] == [51, 6, 2]


def test_fifo_takes_the_newest_visit_first_and_shuffles_inside_it() -> None:
    policy = Policy(strategy="fifo", k=25)
    got = found([visit("a", 100, list(range(20))), visit("b", 200, list(range(100, 120)))], policy)
    assert {row.item for row in got[:20]} == set(range(100, 120))
    assert {row.item for row in got[20:]} < set(range(20))
    assert [row.rank for row in got[:20]] != sorted(row.rank for row in got[:20])
    assert [row.score for row in got] == sorted((row.score for row in got), reverse=True)


def test_random_takes_from_all_visits_alike_and_differently_after_each_visit() -> None:
    policy = Policy(strategy="random", k=200)
    records: list[Record] = [visit(f"{n}", n, list(range(1_000 * n, 1_000 * n + 500))) for n in range(4)]
    got = found(records, policy)
    shares = np.bincount([row.time_index for row in got])
    assert shares.min() > 25
    assert 200 < np.mean([row.rank for row in got]) < 300
    again = found([*records, visit("x", 9, [5])], policy)
    assert len({row.item for row in got} & {row.item for row in again}) < 60


def test_glare_is_fed_by_the_targets_own_log_alone() -> None:
    records: list[Record] = [visit("a", 100, [1], "homepage"), visit("b", 200, [2], "mini_detail")]
    assert [row.item for row in found(records)] == [2]
    assert [row.item for row in found(records, Policy().glare())] == [1]


# -- any records, any order, any repetition

POLICIES = st.builds(
    Policy,
    truncate=st.just({"in_shop": 2, "mini_detail": 5}),
    truncate_other=st.just(4),
    visits=st.integers(1, 3),
    visits_in_all=st.integers(1, 5),
    acted_items=st.integers(1, 3),
    max_age_seconds=st.integers(1, 30),
    category_cap=st.integers(1, 3),
    k=st.integers(1, 12),
    alpha=st.sampled_from([1, 2, 50, 100_000]),
    beta=st.sampled_from([1, 3, 10, 100_000]),
    strategy=st.sampled_from(["score", "score", "fifo", "random"]),
    sources=st.sampled_from([None, None, ("homepage",), ("in_shop", "other")]),
)
TIMES = st.integers(0, 40)
VISITS = st.builds(
    visit,
    request_id=st.sampled_from("abcdefg"),
    timestamp=TIMES,
    items=st.lists(st.tuples(st.integers(-8, 8), st.none() | st.integers(-1, 2)), min_size=1, max_size=8),
    scenario=st.sampled_from(["in_shop", "mini_detail", "homepage", "other"]),
)
EVENTS = st.builds(
    event,
    behaviour=st.sampled_from(["impression", "click", "cart", "purchase"]),
    item=st.integers(-8, 8),
    timestamp=TIMES,
)
RECORDS = st.lists(VISITS | VISITS | EVENTS, max_size=25)


@settings(max_examples=400)
@given(RECORDS, POLICIES)
def test_candidates_are_those_of_the_reference(records: list[Record], policy: Policy) -> None:
    assert found(records, policy) == reference(records, policy)


@settings(max_examples=400)
@given(RECORDS, POLICIES, st.data())
def test_any_order_and_any_repetition_end_in_the_same_bytes(
    records: list[Record], policy: Policy, data: st.DataObject
) -> None:
    repeated = data.draw(st.lists(st.sampled_from(records), max_size=10)) if records else []
    shuffled = data.draw(st.permutations(records + repeated))
    assert after(shuffled, policy) == after(records, policy)


@given(RECORDS, POLICIES, st.integers(0, 25))
def test_records_one_by_one_and_in_batches_end_in_the_same_bytes(
    records: list[Record], policy: Policy, cut: int
) -> None:
    first = operator.apply_all(None, records[:cut], policy)
    both = operator.apply_all(first, records[cut:], policy)
    assert both == (after(records, policy) or operator.apply_all(None, [], policy))


@given(RECORDS, POLICIES, TIMES, st.integers(0, 25))
def test_forgetting_leaves_what_the_later_records_alone_would_and_no_replay_undoes_it(
    records: list[Record], policy: Policy, at: int, cut: int
) -> None:
    untouched = operator.apply_all(operator.forget(None, at), [r for r in records if r.timestamp > at], policy)
    forgotten = operator.forget(operator.apply_all(None, records[:cut], policy), at)
    replayed = operator.apply_all(forgotten, records, policy)
    assert replayed == untouched
    assert operator.forget(replayed, at - 1) == replayed


@given(RECORDS, POLICIES)
def test_the_state_stays_within_its_bounds(records: list[Record], policy: Policy) -> None:
    state = decode(operator.apply_all(None, records, policy))
    assert len(state.acted_items) <= policy.acted_items
    assert sum(map(len, state.queues.values())) <= policy.visits_in_all
    assert all(0 < len(queue) <= policy.visits for queue in state.queues.values())


@given(RECORDS, POLICIES)
def test_the_bytes_of_state_and_candidates_decode_to_what_was_encoded(records: list[Record], policy: Policy) -> None:
    state = operator.apply_all(None, records, policy)
    assert encode(decode(state)) == state
    for scenario, raw in stored(decode(state), policy).items():
        assert rows(decode_candidates(raw)) == rows(operator.candidates(state, policy, scenario))


@settings(max_examples=300)
@given(RECORDS, POLICIES)
def test_what_is_stored_of_a_scenario_is_what_the_reference_finds_in_it(records: list[Record], policy: Policy) -> None:
    state = operator.apply_all(None, records, policy)
    for scenario, raw in stored(decode(state), policy).items():
        assert rows(decode_candidates(raw)) == reference(records, policy, scenario)


@given(RECORDS, POLICIES)
def test_states_of_many_users_at_once_are_those_of_each_alone(records: list[Record], policy: Policy) -> None:
    of_users: list[Record] = [msgspec.structs.replace(record, user=at % 3) for at, record in enumerate(records)]
    states = {user: UserState() for user in range(3)}
    operator.take_in(states, RecordColumns.of(of_users), policy)
    for user, state in states.items():
        assert encode(state) == operator.apply_all(None, of_users[user::3], policy)


@given(RECORDS, POLICIES, TIMES, st.integers(0, 25))
def test_states_as_of_a_time_are_those_of_the_records_up_to_it(
    records: list[Record], policy: Policy, at: int, cut: int
) -> None:
    parts = [RecordColumns.of(records[cut:]), RecordColumns.of(records[:cut])]
    kept = [record for record in records if record.timestamp <= at]
    states = operator.as_of(parts, at, policy)
    assert {user: encode(state) for user, state in states.items()} == (
        {7: operator.apply_all(None, kept, policy)} if kept else {}
    )


def test_columns_that_lie_in_arrows_memory_are_taken_in_as_they_are() -> None:
    records: list[Record] = [visit("a", 100, [(5, 1), (6, 2)]), visit("b", 200, [(7, 1)])]
    columns = decode_batch(to_batch(records), appended=200).columns
    assert not columns.items.flags.writeable
    states = {7: UserState()}
    operator.take_in(states, columns, Policy())
    assert encode(states[7]) == operator.apply_all(None, records, Policy())


# -- several scenarios together


def test_time_is_counted_again_over_the_scenarios_that_are_combined() -> None:
    records: list[Record] = [
        visit("a", 100, [1, 2], "main_search"),
        visit("b", 300, [3], "mini_detail"),
        visit("c", 200, [4, 2], "in_shop"),
    ]
    state = after(records, Policy())
    assert [row.time_index for row in rows(operator.candidates(state, Policy(), "main_search"))] == [0, 0]
    parts = [decode_candidates(raw) for raw in stored(decode(state or b""), Policy()).values()]
    both = rows(combine(parts))
    assert [(row.item, row.time_index, row.rank) for row in both] == [(3, 0, 0), (4, 1, 0), (2, 1, 1), (1, 2, 0)]
    assert [row.score for row in both] == [500 / 500, 500 / (50 * 11), 500 / (51 * 11), 500 / (50 * 12)]


def test_a_scenarios_weight_multiplies_its_scores() -> None:
    state = after([visit("a", 100, [1], "main_search"), visit("b", 300, [2], "mini_detail")], Policy())
    parts = [decode_candidates(raw) for raw in stored(decode(state or b""), Policy()).values()]
    both = rows(combine(parts, {"main_search": 2.0}))
    assert [(row.item, row.score) for row in both] == [(1, 2.0 * 10 / 11), (2, 1.0)]


@given(RECORDS, POLICIES.filter(lambda policy: policy.strategy != "random"))
def test_combining_is_exact_where_no_scenario_had_to_leave_anything_out(records: list[Record], policy: Policy) -> None:
    roomy = policy.model_copy(update={"k": 10_000, "category_cap": 10_000})
    state = operator.apply_all(None, records, roomy)
    parts = [decode_candidates(raw) for raw in stored(decode(state), roomy).values()]
    exact = rows(operator.candidates(state, roomy))
    assert sorted(rows(combine(parts))) == sorted(exact)
    if policy.strategy == "score":
        # An item in two lists of a scenario was kept at its best place by that scenario's own count.
        assert [row.score for row in rows(combine(parts))] == [row.score for row in exact]


def test_no_parts_combine_to_none() -> None:
    assert len(combine([])) == 0
    assert len(combine([NearlineCandidates.none()])) == 0


# -- worst cases


def test_full_queues_of_repeated_items_under_a_cap_agree_with_the_reference() -> None:
    order = np.random.default_rng(0)
    records: list[Record] = [
        visit(f"{scenario}{n}", n, [(int(item), int(item) % 3) for item in order.integers(0, 700, 500)], scenario)
        for scenario in ("mini_detail", "main_search", "post_purchase")
        for n in range(12)
    ]
    records += [event("click", item, 12) for item in range(0, 700, 2)]
    for policy in (Policy(), Policy(category_cap=1), Policy(k=10_000, category_cap=1_000)):
        assert found(records, policy) == reference(records, policy)


def test_the_largest_keys_and_weights_do_not_overflow() -> None:
    policy = Policy(alpha=100_000, beta=100_000, visits=250, visits_in_all=250, truncate_other=5_000, k=10_000)
    extremes = [2**63 - 1, -(2**63), 0, -1]
    records: list[Record] = [visit(f"{n:03d}", n, [n, *extremes], "other") for n in range(250)]
    records.append(visit("long", 0, list(range(1_000, 6_000)), "long"))
    assert found(records, policy) == reference(records, policy)


def test_a_full_queue_takes_less_than_64_kb() -> None:
    records: list[Record] = [
        visit(f"{n:024d}", n, [(n * 500 + item, item % 100) for item in range(500)]) for n in range(12)
    ]
    state = after(records, Policy())
    assert state is not None
    assert len(state) < 64_000


# -- bytes of other versions


def version_1(state: UserState, contents: dict[str, tuple[list[int], list[int]]]) -> bytes:
    """The bytes that Headwater 0.1 wrote."""
    acts = len(state.acted_items)
    raw = struct.pack("<2sBqqI", b"HN", 1, state.newest, state.forgotten_at, acts)
    raw += state.acted_items.tobytes() + state.acted_times.tobytes() + struct.pack("<H", len(state.queues))
    for scenario, queue in sorted(state.queues.items()):
        raw += struct.pack("<H", len(scenario)) + scenario.encode() + struct.pack("<H", len(queue))
        for kept in queue:
            items, categories = contents[kept.request_id]
            table = sorted(set(categories))
            content = struct.pack(f"<HH{len(items)}q{len(table)}q", len(items), len(table), *items, *table)
            content += struct.pack(f"<{len(items)}H", *(table.index(category) for category in categories))
            raw += struct.pack("<qH", kept.timestamp, len(kept.request_id)) + kept.request_id.encode()
            raw += struct.pack("<QI", 12345, len(content)) + content
    return raw


def test_a_state_of_version_1_is_read_and_goes_on_as_if_it_had_always_been_one_of_version_2() -> None:
    lists = {"a": [(5, 9), (-3, None), (8, 2)], "b": [(2**40, 9), (5, 9)], "c": [(1, None)]}
    records: list[Record] = [
        visit("a", 100, lists["a"]),
        visit("b", 200, lists["b"]),
        visit("c", 150, lists["c"], "in_shop"),
        event("click", 77, 160),
    ]
    now = after(records, Policy())
    assert now is not None
    contents = {
        name: ([item for item, _ in pairs], [NO_CATEGORY if c is None else c for _, c in pairs])
        for name, pairs in lists.items()
    }
    old = version_1(decode(now), contents)
    assert operator.apply_all(old, [], Policy()) == now
    later = visit("d", 300, [6])
    assert operator.apply(old, later, Policy()) == operator.apply(now, later, Policy())
    assert rows(operator.candidates(old, Policy())) == rows(operator.candidates(now, Policy()))
    for length in range(3, len(old)):
        with pytest.raises(ArtefactError):
            operator.candidates(old[:length], Policy())


def test_a_state_may_leave_its_contents_to_be_kept_elsewhere() -> None:
    state = decode(after([visit("a", 100, [1, 2]), event("click", 3, 50)], Policy()) or b"")
    index = decode(encode(state, with_contents=False))
    assert [kept.packed for _, kept in index.visits()] == [kept.packed for _, kept in state.visits()]
    assert [kept.content for _, kept in index.visits()] == [b""]


@pytest.mark.parametrize("n_categories", [1, 256, 257])
@pytest.mark.parametrize("first", [0, 2**32 - 300, 2**32, -1])
def test_a_packed_list_is_as_narrow_as_its_keys_allow(first: int, n_categories: int) -> None:
    items = np.arange(300) + first
    raw = pack_content(items, np.arange(300) % n_categories)
    item_width = 4 if first >= 0 and first + 300 <= 2**32 else 8
    size = 8 + 8 * n_categories + 300 * (item_width + (1 if n_categories <= 256 else 2))
    assert len(raw) == size + -size % 8
    state = UserState(newest=1, queues={"s": [QueuedVisit.of(1, "r", raw)]})
    got = operator.candidates(encode(state), Policy(category_cap=1, k=300))
    assert got.items.tolist() == items[:n_categories].tolist()


def test_a_state_that_is_cut_short_or_of_another_version_is_refused() -> None:
    state = after([visit("a", 1, [1, 2]), event("click", 3, 2)], Policy())
    assert state is not None
    for length in range(len(state)):
        with pytest.raises(ArtefactError):
            operator.apply(state[:length], event("click", 1, 3), Policy())
    with pytest.raises(ArtefactError, match="version 03"):
        operator.candidates(b"HN\x03" + state[3:], Policy())
    with pytest.raises(ArtefactError, match="not a nearline state"):
        operator.candidates(b"{}" + state, Policy())


def test_candidates_that_are_cut_short_or_of_another_version_are_refused() -> None:
    (raw,) = stored(decode(after([visit("a", 1, [1, 2])], Policy()) or b""), Policy()).values()
    for length in range(len(raw)):
        with pytest.raises(ArtefactError):
            decode_candidates(raw[:length])
    with pytest.raises(ArtefactError, match="version 01"):
        decode_candidates(b"HC\x01" + raw[3:])


def test_a_user_without_a_state_has_no_candidates() -> None:
    assert len(operator.candidates(None, Policy())) == 0
