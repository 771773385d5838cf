"""ItemCF: the formula by hand and against a dense reference, inductive retrieval, and the contract."""

import numpy as np
import pytest
from channel_contract import N_ITEMS, TrainedChannelContract, columns, generated_dataset, strangers
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.data import Dataset, Queries, Vocabulary
from headwater.errors import ArtefactError
from headwater.retrieval import Mask
from headwater.retrieval.classic import ItemCF, ItemCFConfig

ALL_USERS = np.arange(40, dtype=np.int32)


class TestItemCFContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> ItemCF:
        return ItemCF().fit(data)


class TestTunedItemCFContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> ItemCF:
        return ItemCF(
            ItemCFConfig(
                name="similar",
                neighbours=7,
                shrinkage=0.1,
                target_exponent=0.6,
                user_exponent=1,
                power=1.5,
                half_life=2,
                window=10,
            )
        ).fit(data)


def dataset(histories: list[list[int]], n_items: int) -> Dataset:
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories]).astype(np.int32)
    items = np.array([item for history in histories for item in history], np.int32)
    return Dataset.from_events(
        "by hand",
        Vocabulary(np.arange(len(histories))),
        Vocabulary(np.arange(n_items)),
        event_users=users,
        event_items=items,
        event_times=np.arange(len(users)),
    )


def history(items: list[int]) -> Queries:
    stranger = strangers(1)
    return Queries(
        users=stranger.users,
        user_keys=stranger.user_keys,
        offsets=np.array([0, len(items)]),
        items=np.array(items, np.int32),
        times=np.arange(len(items)),
        behaviours=np.ones(len(items), np.int8),
        request_times=stranger.request_times,
        scenarios=stranger.scenarios,
    )


def answer(channel: ItemCF, items: list[int]) -> dict[int, float]:
    found = channel.retrieve(history(items), 100)
    return dict(zip(found.items.tolist(), found.scores.tolist(), strict=True))


# Users {0, 1}, {0, 1}, {0, 2}: item 0 has 3 users, 1 has 2, 2 has 1; 0 and 1 meet twice, 0 and 2 once.
THREE_USERS = [[0, 1], [1, 0], [0, 2]]


def test_similarity_is_the_cosine_of_co_occurrence() -> None:
    scores = answer(ItemCF().fit(dataset(THREE_USERS, 4)), [0])
    assert scores == pytest.approx({1: 2 / 6**0.5, 2: 1 / 3**0.5}, rel=1e-6)


def test_shrinkage_exponents_and_power_enter_as_documented() -> None:
    config = ItemCFConfig(shrinkage=1.5, target_exponent=0.75, power=2.0)
    scores = answer(ItemCF(config).fit(dataset(THREE_USERS, 4)), [0])
    expected = {1: (2 / (3**0.25 * 2**0.75 + 1.5)) ** 2, 2: (1 / (3**0.25 * 1**0.75 + 1.5)) ** 2}
    assert scores == pytest.approx(expected, rel=1e-6)


def test_a_long_history_counts_less_in_each_of_its_pairs() -> None:
    # Weights 1/4 for the user of four items, 1/2 for the other: c_0 = 3/4, c_1 = 3/4, c_2 = 1/4, pair (0, 1) 3/4.
    scores = answer(ItemCF(ItemCFConfig(user_exponent=1.0)).fit(dataset([[0, 1, 2, 3], [0, 1]], 4)), [0])
    assert scores == pytest.approx({1: 1.0, 2: 0.25 / (0.75 * 0.25) ** 0.5, 3: 0.25 / (0.75 * 0.25) ** 0.5}, rel=1e-6)


def test_an_item_chosen_twice_by_one_user_co_occurs_once() -> None:
    repeated = ItemCF().fit(dataset([[0, 1, 1, 0], [1, 0], [0, 2]], 4))
    assert answer(repeated, [0]) == answer(ItemCF().fit(dataset(THREE_USERS, 4)), [0])


def test_a_trigger_one_half_life_older_weighs_half() -> None:
    channel = ItemCF(ItemCFConfig(half_life=1.0)).fit(dataset(THREE_USERS, 4))
    scores = answer(channel, [0, 1, 3])  # newest is 3, which nobody chose; 1 weighs 1/2, 0 weighs 1/4
    expected = {0: 2 / 6**0.5 / 2, 1: 2 / 6**0.5 / 4, 2: 1 / 3**0.5 / 4}
    assert scores == pytest.approx(expected, rel=1e-6)


def test_only_the_window_is_a_trigger() -> None:
    channel = ItemCF(ItemCFConfig(window=1)).fit(dataset(THREE_USERS, 4))
    assert answer(channel, [0, 2]) == answer(channel, [2])
    assert answer(channel, [0, 2]) == pytest.approx({0: 1 / 3**0.5}, rel=1e-6)


def test_neighbours_are_kept_per_recommended_item_so_a_rare_item_stays_reachable() -> None:
    # Item 0 meets 1 five times and 2 once. With one neighbour each, 2 still keeps its only trigger, 0.
    channel = ItemCF(ItemCFConfig(neighbours=1)).fit(dataset([[0, 1]] * 5 + [[0, 2]], 3))
    assert set(answer(channel, [0])) == {1, 2}


def test_a_history_without_a_known_item_has_no_candidates() -> None:
    channel = ItemCF().fit(generated_dataset())
    assert len(channel.retrieve(history([]), 10)) == 0
    assert len(channel.retrieve(history([N_ITEMS - 1]), 10)) == 0


def dense_scores(data: Dataset, queries: Queries, config: ItemCFConfig) -> np.ndarray:
    """The formula in dense float64, without a kernel."""
    chosen = data.matrix().toarray().astype(np.float64)
    weights = np.maximum(chosen.sum(1), 1) ** -config.user_exponent
    together = (chosen * weights[:, None]).T @ chosen
    counts = np.diag(together).copy()
    norms = counts[:, None] ** (1 - config.target_exponent) * counts[None, :] ** config.target_exponent
    with np.errstate(invalid="ignore", divide="ignore"):
        similarity = np.nan_to_num((together / (norms + config.shrinkage)) ** config.power)
    np.fill_diagonal(similarity, 0)
    for target in range(len(counts)):
        kept = np.lexsort((np.arange(len(counts)), -similarity[:, target].astype(np.float32)))[: config.neighbours]
        similarity[np.setdiff1d(np.arange(len(counts)), kept), target] = 0
    scores = np.zeros((len(queries), len(counts)))
    for row in range(len(queries)):
        events = queries.items[queries.offsets[row] : queries.offsets[row + 1]][::-1]
        for age, item in enumerate(events[: config.window]):
            scores[row] += similarity[item] * (0.5 ** (age / config.half_life) if config.half_life else 1.0)
    return scores


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    neighbours=st.integers(1, 70),
    shrinkage=st.sampled_from([0.0, 0.3, 5.0]),
    target_exponent=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    user_exponent=st.sampled_from([0.0, 0.5, 1.0]),
    power=st.sampled_from([0.5, 1.0, 2.0]),
    half_life=st.sampled_from([None, 1.5, 8.0]),
    window=st.sampled_from([None, 1, 6]),
)
def test_every_score_is_that_of_the_dense_formula(seed: int, **options: float | None) -> None:
    config = ItemCFConfig.model_validate(options)
    data = generated_dataset(seed)
    queries = data.queries(ALL_USERS)
    expected = dense_scores(data, queries, config)
    channel = ItemCF(config).fit(data)
    rows, items = (index.ravel() for index in np.indices(expected.shape))
    np.testing.assert_allclose(channel.score_pairs(queries, rows, items), expected.ravel(), rtol=2e-6, atol=1e-9)


def test_pair_scores_are_the_retrieved_ones_in_any_order_of_pairs() -> None:
    data = generated_dataset()
    queries = data.queries(ALL_USERS)
    channel = ItemCF(ItemCFConfig(half_life=3.0)).fit(data)
    found = channel.retrieve(queries, 15, allowed=Mask.seen(queries))
    np.testing.assert_array_equal(channel.score_pairs(queries, found.rows, found.items), found.scores)
    shuffled = np.random.default_rng(0).permutation(len(found))
    scores = channel.score_pairs(queries, found.rows[shuffled], found.items[shuffled])
    np.testing.assert_array_equal(scores, found.scores[shuffled])


def test_pairs_that_no_trigger_reaches_and_unknown_items_score_zero() -> None:
    channel = ItemCF().fit(dataset(THREE_USERS, 4))
    assert channel.score_pairs(history([0]), np.zeros(2, int), np.array([3, 4])).tolist() == [0.0, 0.0]


def test_the_number_of_threads_changes_nothing() -> None:
    data = generated_dataset()
    one, four = (ItemCF().fit(data, threads=threads) for threads in (1, 4))
    for name, tensor in one.tensors().items():
        np.testing.assert_array_equal(tensor, four.tensors()[name])


def test_shares_are_each_triggers_part_of_the_score_strongest_first() -> None:
    channel = ItemCF().fit(dataset([[0, 2], [0, 2], [1, 2], [1, 3]], 4))
    query = history([1, 0, 1])  # item 1 twice: its two parts are one reason
    found = channel.retrieve(query, 1, allowed=Mask.seen(query))
    first, second = channel.explain(query, found)[0]
    to_two = {0: 2 / (2 * 3) ** 0.5, 1: 2 * 1 / (2 * 3) ** 0.5}
    assert found.items.tolist() == [2]
    assert {first.trigger, second.trigger} == {0, 1}
    assert first.share == pytest.approx(to_two[0] / sum(to_two.values()))
    assert first.share + second.share == pytest.approx(1.0, abs=1e-9)


def test_history_weights_sum_the_weights_of_known_items() -> None:
    channel = ItemCF(ItemCFConfig(half_life=1.0, window=3)).fit(dataset(THREE_USERS, 4))
    assert channel.history_weights(history([2, 2, 99, 1])).tolist() == [1 + 0.25]
    assert channel.history_weights(history([])).tolist() == [0.0]


def test_a_data_set_of_one_item_or_none_is_fitted_and_answers_nothing() -> None:
    for histories, n_items in (([[0]], 1), ([[]], 0)):
        channel = ItemCF().fit(dataset(histories, n_items))
        assert len(channel.retrieve(strangers(1), 3)) == 0


def test_an_untrained_channel_is_not_saved(tmp_path) -> None:
    with pytest.raises(ArtefactError, match="not trained; call fit before save"):
        ItemCF().save(tmp_path / "channel")


def test_two_runs_give_the_same_bytes() -> None:
    queries = generated_dataset().queries(ALL_USERS)
    first, second = (ItemCF().fit(generated_dataset()).retrieve(queries, 20) for _ in range(2))
    assert columns(first) == columns(second)


def test_fitting_leaves_the_data_set_as_it_was() -> None:
    data = generated_dataset()
    before = data.checksum()
    ItemCF().fit(data)
    assert data.checksum() == before
