"""Popular: counts, recency, and the contract."""

import numpy as np
import pytest
from channel_contract import TrainedChannelContract, generated_dataset, strangers

from headwater.data import Dataset, Queries, Vocabulary
from headwater.errors import ConfigError
from headwater.retrieval import Reason
from headwater.retrieval.classic import Popular, PopularConfig


class TestPopularContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Popular:
        return Popular().fit(data)


class TestRecentPopularContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Popular:
        return Popular(PopularConfig(name="trending", half_life_days=2.0)).fit(data)


def three_items(times: list[int], unit: str = "seconds") -> Dataset:
    return Dataset.from_events(
        "three",
        Vocabulary([1, 2, 3, 4]),
        Vocabulary(["a", "b", "c"]),
        event_users=np.array([0, 1, 2, 3], np.int32),
        event_items=np.array([2, 2, 1, 1], np.int32),
        event_times=np.array(times),
        time_unit=unit,  # type: ignore[arg-type]
    )


def test_equal_counts_stand_in_item_order_and_untouched_items_are_left_out() -> None:
    found = Popular().fit(three_items([0, 0, 0, 0])).retrieve(strangers(1), 3)
    assert found.items.tolist() == [1, 2]
    assert found.scores.tolist() == [2.0, 2.0]


def test_a_half_life_lets_recent_interactions_count_more() -> None:
    day = 86_400
    channel = Popular(PopularConfig(half_life_days=1.0)).fit(three_items([2 * day, 2 * day, 0, day]))
    found = channel.retrieve(strangers(1), 3)
    assert found.items.tolist() == [2, 1]
    assert found.scores.tolist() == [2.0, 0.75]


def test_a_half_life_needs_times() -> None:
    with pytest.raises(ConfigError, match="half_life_days needs event times, and three has positions"):
        Popular(PopularConfig(half_life_days=1.0)).fit(three_items([0, 1, 2, 3], "position"))


def test_the_reason_is_popularity_alone() -> None:
    channel = Popular().fit(generated_dataset())
    found = channel.retrieve(strangers(1), 2)
    assert channel.explain(strangers(1), found) == [(Reason("popular"),), (Reason("popular"),)]


def test_strangers_get_the_most_popular_items() -> None:
    data = generated_dataset()
    found = Popular().fit(data).retrieve(strangers(1), 4)
    assert data.item_counts[found.items].tolist() == sorted(data.item_counts, reverse=True)[:4]
