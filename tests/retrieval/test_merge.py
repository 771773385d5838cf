"""Merging channels: exactly k, once each, by quota, in an order that says why."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import ConfigError
from headwater.retrieval import Candidates, RoundRobin, WeightedQuotas, merge
from headwater.retrieval.merge import quotas

NAMES = ("first", "second", "third")


def part(name: str, *lists: list[int]) -> Candidates:
    """Candidates of one channel from one list of items a query."""
    rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    items = np.array([item for items in lists for item in items], np.int32)
    scores = np.concatenate([np.zeros(0), *(np.arange(len(items), 0, -1) for items in lists)])
    return Candidates.single(name, len(lists), rows, items, scores)


def even(*names: str) -> WeightedQuotas:
    return WeightedQuotas(dict.fromkeys(names, 1.0))


# -- quotas


def test_quotas_are_rounded_by_largest_remainder() -> None:
    # 10 x (.47, .36, .17) = 4.7, 3.6, 1.7: two places are left, for the remainders .7 and .7.
    assert quotas(np.array([0.47, 0.36, 0.17]), np.full((1, 3), 99), 10).tolist() == [[5, 3, 2]]


def test_equal_remainders_go_to_whoever_stands_first() -> None:
    assert quotas(np.ones(3), np.full((1, 3), 99), 4).tolist() == [[2, 1, 1]]


def test_the_room_of_a_short_source_goes_to_the_others_by_weight() -> None:
    # The first has 1 of its 5; the 9 left are shared 2 : 1.
    assert quotas(np.array([5.0, 2.0, 1.0]), np.array([[1, 99, 99]]), 10).tolist() == [[1, 6, 3]]


def test_a_source_of_weight_zero_gives_nothing() -> None:
    assert quotas(np.array([1.0, 0.0]), np.array([[3, 9]]), 10).tolist() == [[3, 0]]


@settings(max_examples=200)
@given(
    weights=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6),
    k=st.integers(1, 60),
    data=st.data(),
)
def test_quotas_fill_k_within_room_and_stay_within_one_of_the_exact_share(weights, k, data) -> None:
    room = np.array([data.draw(st.lists(st.integers(0, 40), min_size=len(weights), max_size=len(weights)))])
    given_out = quotas(np.array(weights), room, k)[0]
    assert given_out.sum() == min(k, room.sum())
    assert (given_out <= room[0]).all()
    assert (given_out >= 0).all()
    share = k * np.array(weights) / sum(weights)
    if (room[0] >= np.ceil(share)).all():
        assert (np.abs(given_out - share) < 1 + 1e-6).all()


# -- the merged list


def test_the_beginning_of_the_list_is_shared_out_as_the_whole_is() -> None:
    merged = merge(
        [part("first", list(range(9))), part("second", list(range(10, 19)))],
        8,
        strategy=WeightedQuotas({"first": 3.0, "second": 1.0}),
    )
    # Standing (p + 1/2) / w: the first's at 1/6, 3/6, 5/6, ...; the second's at 1/2, 3/2, ...
    assert merged.of(0).tolist() == [0, 1, 10, 2, 3, 4, 11, 5]


def test_an_item_of_several_channels_is_taken_once_and_keeps_all_their_bits() -> None:
    merged = merge([part("first", [1, 2]), part("second", [3, 1])], 10, strategy=even("first", "second"))
    assert merged.of(0).tolist() == [1, 3, 2]
    assert [merged.channels_at(at) for at in range(3)] == [("first", "second"), ("second",), ("first",)]


def test_a_shared_item_counts_for_the_channel_that_puts_it_foremost() -> None:
    # 9 stands first for the second channel: it fills that one's only place, and the first gives 1, 2.
    weights = WeightedQuotas({"first": 2.0, "second": 1.0})
    merged = merge([part("first", [1, 2, 3, 9]), part("second", [9, 8])], 3, strategy=weights)
    assert sorted(merged.of(0).tolist()) == [1, 2, 9]


def test_a_channel_that_runs_short_gives_its_room_to_the_others() -> None:
    merged = merge([part("first", [1]), part("second", [2, 3, 4, 5])], 4, strategy=even("first", "second"))
    assert merged.of(0).tolist() == [1, 2, 3, 4]


def test_a_channel_of_weight_zero_adds_no_item_but_keeps_its_bit() -> None:
    weights = WeightedQuotas({"first": 1.0, "second": 0.0})
    merged = merge([part("first", [1, 2]), part("second", [7, 2])], 5, strategy=weights)
    assert merged.of(0).tolist() == [1, 2]
    assert merged.channels_at(1) == ("first", "second")


def test_round_robin_takes_turns_in_its_own_order() -> None:
    parts = [part("first", [1, 2, 3]), part("second", [1, 4]), part("third", [5])]
    merged = merge(parts, 4, strategy=RoundRobin(["third", "second", "first", "absent"]))
    assert merged.of(0).tolist() == [5, 1, 4, 2]


def test_scores_say_the_order_and_nothing_else() -> None:
    merged = merge([part("first", [4, 5], [6])], 9, strategy=even("first"))
    assert merged.scores.tolist() == [1.0, 0.5, 1.0]
    assert merged.rows.tolist() == [0, 0, 1]


def test_weights_of_absent_channels_do_no_harm() -> None:
    merged = merge([part("first", [1, 2])], 2, strategy=even("first", "down today"))
    assert merged.of(0).tolist() == [1, 2]


def test_nothing_found_is_nothing_merged() -> None:
    merged = merge([part("first", [], []), part("second", [], [])], 5, strategy=even("first", "second"))
    assert (len(merged), merged.n_queries, merged.names) == (0, 2, ("first", "second"))


@pytest.mark.parametrize("strategy", [WeightedQuotas({"first": 1.0}), RoundRobin(["first"])])
def test_a_channel_that_the_strategy_does_not_know_is_named(strategy: WeightedQuotas | RoundRobin) -> None:
    with pytest.raises(ConfigError, match="'second' has no"):
        merge([part("first", [1]), part("second", [2])], 3, strategy=strategy)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_weight_is_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match="weight of channel 'first'"):
        WeightedQuotas({"first": weight})


@pytest.mark.parametrize(
    ("parts", "k", "message"),
    [
        ([], 3, "nothing to merge"),
        ([part("first", [1])], 0, "k must be at least 1"),
        ([part("first", [1]), part("first", [2])], 3, "distinct channel names"),
        ([part("first", [1]), part("second", [2], [3])], 3, "different queries: 1, 2 rows"),
        ([merge([part("first", [1]), part("second", [1])], 1, strategy=even(*NAMES))], 3, "one channel"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(parts: list[Candidates], k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge(parts, k, strategy=even(*NAMES))


lists = st.lists(st.lists(st.integers(0, 30), unique=True, max_size=15), min_size=3, max_size=3)
strategies = st.one_of(
    st.permutations(NAMES).map(RoundRobin),
    st.lists(st.floats(0.01, 10), min_size=3, max_size=3).map(
        lambda weights: WeightedQuotas(dict(zip(NAMES, weights, strict=True)))
    ),
)


@settings(max_examples=200, deadline=None)
@given(by_channel=st.lists(lists, min_size=1, max_size=3), k=st.integers(1, 50), strategy=strategies)
def test_exactly_k_without_repeats_of_what_was_found_whatever_is_merged(by_channel, k, strategy) -> None:
    parts = [part(name, *found) for name, found in zip(NAMES, by_channel, strict=False)]
    merged = merge(parts, k, strategy=strategy)
    for row in range(3):
        union = {item for found in by_channel for item in found[row]}
        items = merged.of(row).tolist()
        assert len(items) == len(set(items)) == min(k, len(union))
        assert set(items) <= union
    for at in range(len(merged)):
        finders = tuple(p.names[0] for p in parts if merged.items[at] in p.of(int(merged.rows[at])))
        assert merged.channels_at(at) == finders
    assert (np.lexsort((merged.items, -merged.scores, merged.rows)) == np.arange(len(merged))).all()


@settings(max_examples=100, deadline=None)
@given(weights=st.lists(st.floats(0.1, 10), min_size=3, max_size=3), k=st.integers(1, 40))
def test_every_channel_gives_its_quota_when_nobody_runs_short(weights, k) -> None:
    parts = [part(name, list(range(100 * at, 100 * at + 50))) for at, name in enumerate(NAMES)]
    merged = merge(parts, k, strategy=WeightedQuotas(dict(zip(NAMES, weights, strict=True))))
    given_out = np.bincount(merged.items // 100, minlength=3)
    assert given_out.tolist() == quotas(np.array(weights), np.full((1, 3), 50), k)[0].tolist()
    for at in range(3):  # each gives its best ones
        assert sorted(merged.items[merged.items // 100 == at] % 100) == list(range(given_out[at]))


@settings(max_examples=50, deadline=None)
@given(by_channel=st.lists(lists, min_size=2, max_size=3), k=st.integers(1, 20), strategy=strategies)
def test_a_query_is_merged_the_same_alone_and_in_a_batch(by_channel, k, strategy) -> None:
    parts = [part(name, *found) for name, found in zip(NAMES, by_channel, strict=False)]
    merged = merge(parts, k, strategy=strategy)
    for row in range(3):
        alone = merge([part(p.names[0], p.of(row).tolist()) for p in parts], k, strategy=strategy)
        assert alone.of(0).tolist() == merged.of(row).tolist()
