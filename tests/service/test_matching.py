"""What finds and orders candidates answers many requests at once as it answers each of them."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from headwater.data import Dataset
from headwater.data.queries import Queries
from headwater.errors import ConfigError
from headwater.ranking.affinity import AffinityRanker
from headwater.retrieval.base import Mask
from headwater.retrieval.classic import ItemCF, Popular
from headwater.retrieval.merge import WeightedQuotas
from headwater.service.matching import Matching, nearline_channels
from headwater.store import LmdbStore


@pytest.fixture
def matching(marketplace: Dataset) -> Matching:
    channels = [ItemCF().fit(marketplace), Popular().fit(marketplace)]
    return Matching(channels, WeightedQuotas({"itemcf": 2.0, "popular": 1.0}), AffinityRanker().fit(marketplace))


def test_a_batch_is_answered_as_its_requests_are(matching: Matching, marketplace: Dataset) -> None:
    def answer(queries: Queries) -> list[tuple[int, float, tuple[str, ...]]]:
        ranked = matching.score(queries, matching.source(queries, 20, Mask.seen(queries)))
        return [
            (int(item), float(score), ranked.channels_at(at))
            for at, (item, score) in enumerate(zip(ranked.items, ranked.scores, strict=True))
        ]

    users = np.arange(5, dtype=np.int32)
    together = answer(marketplace.queries(users))
    apart = [answer(marketplace.queries(users[row : row + 1])) for row in range(5)]
    assert all(len(of_one) == 20 for of_one in apart)
    assert together == [candidate for of_one in apart for candidate in of_one]
    assert len({channels for _, _, channels in together}) == 3, "of either channel, and of both"


def test_each_requests_candidates_stand_by_score_then_code(matching: Matching, marketplace: Dataset) -> None:
    queries = marketplace.queries(np.arange(3, dtype=np.int32))
    ranked = matching.score(queries, matching.source(queries, 20, Mask.seen(queries)))
    keys = list(zip(ranked.rows.tolist(), (-ranked.scores).tolist(), ranked.items.tolist(), strict=True))
    assert keys == sorted(keys)


def test_a_channel_without_a_weight_is_refused(matching: Matching, marketplace: Dataset) -> None:
    queries = marketplace.queries(np.arange(1, dtype=np.int32))
    with pytest.raises(ConfigError, match="popular"):
        Matching(matching.channels, WeightedQuotas({"itemcf": 1.0}), matching.ranker).source(
            queries, 5, Mask.seen(queries)
        )


def test_weights_of_scenarios_make_a_channel_each_and_none_makes_one_of_all(
    tmp_path: Path, marketplace: Dataset
) -> None:
    with closing(LmdbStore(tmp_path / "store")) as store:
        named = nearline_channels(store, marketplace.items, {"itemcf": 1.0, "nearline/a": 1.0, "nearline/b": 0.0})
        assert [channel.name for channel in named] == ["nearline/a", "nearline/b"]
        assert [channel.name for channel in nearline_channels(store, marketplace.items, {})] == ["nearline"]
