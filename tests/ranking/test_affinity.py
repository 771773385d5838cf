"""AffinityRanker: one scale for the candidates of any channel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Dataset, Queries, Vocabulary
from headwater.errors import LineageError
from headwater.ranking import Ranker
from headwater.ranking.affinity import AffinityConfig, AffinityRanker
from headwater.retrieval import Candidates, RoundRobin, Trainable, merge
from headwater.retrieval.classic import ItemCF, ItemCFConfig, Popular

# Items 0 and 1 go together, 2 and 3 go together; 2 is the most popular, nobody has 4.
HISTORIES = [[0, 1], [0, 1], [2, 3], [2, 3], [2], [2], [1, 2]]


def dataset() -> Dataset:
    users = np.repeat(np.arange(len(HISTORIES)), [len(history) for history in HISTORIES]).astype(np.int32)
    return Dataset.from_events(
        "pairs",
        Vocabulary(np.arange(len(HISTORIES))),
        Vocabulary(["a", "b", "c", "d", "e"]),
        event_users=users,
        event_items=np.array([item for history in HISTORIES for item in history], np.int32),
        event_times=np.arange(len(users)),
    )


def asked(*histories: list[int]) -> Queries:
    lengths = [len(history) for history in histories]
    items = np.array([item for history in histories for item in history], np.int32)
    return Queries(
        users=np.full(len(histories), -1, np.int32),
        user_keys=np.arange(len(histories), dtype=np.int64),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=items,
        times=np.arange(len(items)),
        behaviours=np.ones(len(items), np.int8),
        request_times=np.full(len(histories), 100),
        scenarios=("homepage",) * len(histories),
    )


def every_item(n_queries: int, n_items: int = 5) -> Candidates:
    rows, items = (index.ravel() for index in np.indices((n_queries, n_items)))
    return Candidates.single("any", n_queries, rows, items, np.zeros(len(rows)))


def ranked(ranker: AffinityRanker, *histories: list[int]) -> list[list[int]]:
    scores = ranker.score(asked(*histories), every_item(len(histories))).reshape(-1, 5)
    return [np.lexsort((np.arange(5), -row)).tolist() for row in scores]


def test_it_is_a_trainable_ranker() -> None:
    assert isinstance(AffinityRanker(), Ranker)
    assert isinstance(AffinityRanker(), Trainable)
    assert AffinityRanker().name == AffinityRanker.kind == "affinity"


def test_the_score_is_mean_similarity_plus_weighted_log_popularity() -> None:
    config = AffinityConfig(similarity=ItemCFConfig(half_life=1.0), popularity_weight=0.1)
    scores = AffinityRanker(config).fit(dataset()).score(asked([0, 3]), every_item(1))
    # Newest 3 weighs 1, 0 weighs 1/2. cos(3, 2) = 2 / sqrt(2 x 5); cos(0, 1) = 2 / sqrt(2 x 3).
    assert scores.dtype == np.float32
    assert scores[2] == pytest.approx(2 / 10**0.5 / 1.5 + 0.1)
    assert scores[1] == pytest.approx(0.5 * 2 / 6**0.5 / 1.5 + 0.1 * np.log(4) / np.log(6), rel=1e-6)
    assert scores[4] == 0.0


def test_what_goes_with_the_history_comes_first_and_popularity_orders_the_rest() -> None:
    assert ranked(AffinityRanker().fit(dataset()), [0])[0][:3] == [1, 2, 0]


def test_without_a_history_the_order_is_the_popular_one() -> None:
    assert ranked(AffinityRanker().fit(dataset()), [])[0] == [2, 1, 0, 3, 4]


@given(first=st.lists(st.integers(0, 4), max_size=6), second=st.lists(st.integers(0, 4), max_size=6))
def test_a_query_scores_the_same_alone_and_in_a_batch(first: list[int], second: list[int]) -> None:
    ranker = AffinityRanker().fit(dataset())
    together = ranker.score(asked(first, second), every_item(2))
    np.testing.assert_array_equal(together[5:], ranker.score(asked(second), every_item(1)))


def test_candidates_of_several_channels_are_scored_alike() -> None:
    data, queries = dataset(), asked([0], [])
    similar = ItemCF().fit(data)
    parts = [similar.retrieve(queries, 5), Popular().fit(data).retrieve(queries, 5)]
    merged = merge(parts, 5, strategy=RoundRobin(["itemcf", "popular"]))
    ranker = AffinityRanker(similarity=similar).fit(data)
    scores = ranker.score(queries, merged)
    everything = ranker.score(queries, every_item(2)).reshape(2, 5)
    np.testing.assert_array_equal(scores, everything[merged.rows, merged.items])


def test_a_shared_similarity_ranks_as_an_own_one_of_equal_settings() -> None:
    shared = AffinityRanker(similarity=ItemCF(ItemCFConfig(half_life=2.0)).fit(dataset())).fit(dataset())
    own = AffinityRanker(AffinityConfig(similarity=ItemCFConfig(half_life=2.0))).fit(dataset())
    queries, candidates = asked([0, 3, 2]), every_item(1)
    np.testing.assert_array_equal(shared.score(queries, candidates), own.score(queries, candidates))


def test_a_shared_similarity_of_another_vocabulary_is_refused() -> None:
    other = Dataset.from_events(
        "other",
        Vocabulary([1]),
        Vocabulary(["x", "y", "z", "p", "q"]),
        event_users=np.zeros(2, np.int32),
        event_items=np.array([0, 1], np.int32),
        event_times=np.arange(2),
    )
    with pytest.raises(LineageError, match="similarity 'itemcf'"):
        AffinityRanker(similarity=ItemCF().fit(dataset())).fit(other)


def test_a_loaded_ranker_gives_the_same_bytes_and_passes_over_newer_items(tmp_path) -> None:
    ranker = AffinityRanker(AffinityConfig(popularity_weight=0.3)).fit(dataset())
    ranker.save(tmp_path / "ranker")
    again = AffinityRanker.load(tmp_path / "ranker", dataset().items.extended(["new"]))
    queries = asked([0, 1], [2, 5], [])
    assert again.config == ranker.config
    scores = again.score(queries, every_item(3, 6)).reshape(3, 6)
    np.testing.assert_array_equal(scores[:, :5].ravel(), ranker.score(queries, every_item(3)))
    assert scores[:, 5].tolist() == [0.0, 0.0, 0.0]


def test_another_vocabulary_is_refused(tmp_path) -> None:
    AffinityRanker().fit(dataset()).save(tmp_path / "ranker")
    with pytest.raises(LineageError, match=r"affinity at .*ranker"):
        AffinityRanker.load(tmp_path / "ranker", Vocabulary(["e", "d", "c", "b", "a"]))
