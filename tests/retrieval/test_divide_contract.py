"""Divide against the channel contract, in both merges.

What is asked of one item by quota depends on what else may be returned and on how many: three sentences of the contract
are said otherwise there, and stronger.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from channel_contract import N_ITEMS, LearnedChannelContract, columns, generated_dataset

from headwater.data import Dataset, Queries
from headwater.nn.training import TrainingConfig
from headwater.retrieval import Candidates, Channel, Mask
from headwater.retrieval.divide.channel import Divide
from headwater.retrieval.divide.clusters import ClusterConfig
from headwater.retrieval.divide.config import DivideConfig, IntentConfig
from headwater.retrieval.divide.masks import ClusterMasks
from headwater.retrieval.divide.quotas import quotas

TRAINING = TrainingConfig(epochs=2, batch_size=64, device="cpu", threads=1)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def trained(merge: str) -> Divide:
    settings: dict[str, Any] = {
        "length": 12,
        "dimension": 16,
        "heads": 2,
        "layers": 1,
        "clusters": ClusterConfig(n=5, dimension=8, epochs=2),
        "intent": IntentConfig(dimension=16, layers=1, training=TRAINING),
        "training": TRAINING,
        "merge": merge,
    }
    return Divide(DivideConfig(**settings)).fit(generated_dataset())


class TestDivideCalibratedContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("calibrated")


class TestDivideQuotaContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("quota")

    def test_a_shorter_answer_is_the_beginning_of_a_longer_one(self, channel: Channel, queries: Queries) -> None:
        """Each length has quotas of its own; within a cluster the shorter answer is the beginning."""
        longer, shorter = channel.retrieve(queries, 20), channel.retrieve(queries, 7)
        labels = trained("quota").clusters.labels
        for row in range(len(queries)):
            for cluster in range(5):
                few, many = (found.of(row)[labels[found.of(row)] == cluster] for found in (shorter, longer))
                assert few.tolist() == many[: len(few)].tolist()

    def test_a_mask_gives_the_unmasked_answer_without_the_refused_items(
        self, channel: Channel, queries: Queries
    ) -> None:
        """Of each cluster, as many as its quota among what is allowed; and exactly k, as long as there are so many."""
        rng = np.random.default_rng(3)
        divide = trained("quota")
        labels = divide.clusters.labels
        everything = channel.retrieve(queries, N_ITEMS)
        log_chances = divide.intent.log_chances(queries, N_ITEMS)
        is_known = np.isfinite(log_chances).any(1)
        sizes = rng.integers(0, 30, len(queries))
        listed = np.concatenate([np.zeros(0, np.int32), *(rng.choice(N_ITEMS, size, False) for size in sizes)])
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        catalogue = rng.random(N_ITEMS) < 0.6
        for is_allowlist in (False, True):
            for shown in (None, catalogue, np.zeros(N_ITEMS, bool)):
                mask = Mask(offsets, listed.astype(np.int32), is_allowlist, shown)
                found = channel.retrieve(queries, 6, allowed=mask)
                assert mask.allows(found.rows, found.items).all()
                rooms = ClusterMasks.of(mask, divide.clusters, len(queries)).rooms()
                asked = quotas(np.exp(log_chances), rooms, 6, 1.0)
                kept = everything.select(mask.allows(everything.rows, everything.items))
                for row in range(len(queries)):
                    items = found.of(row).tolist()
                    assert len(items) == len(set(items)) == (min(6, rooms[row].sum()) if is_known[row] else 0)
                    for cluster in range(5) if is_known[row] else ():
                        best = [item for item in kept.of(row).tolist() if labels[item] == cluster]
                        mine = [item for item in items if labels[item] == cluster]
                        assert mine == best[: asked[row, cluster]]

    def test_only_clusters_with_a_quota_are_encoded(self, channel: Any, queries: Queries) -> None:
        few = channel.with_merge("quota", 1e6)
        few.retrieve(queries, 3)
        likeliest = few.passes.chances.argmax(1)
        has_history = few.passes.chances.any(1)
        asked = few.passes.asked[has_history]
        rooms = few.clusters.sizes[likeliest[has_history]]
        np.testing.assert_array_equal(asked[np.arange(len(asked)), likeliest[has_history]], np.minimum(3, rooms))
        assert few.passes.n == (few.passes.asked > 0).sum()
        assert few.passes.n < 1.2 * has_history.sum()
        channel.retrieve(queries, 40)
        assert channel.passes.n > 2 * few.passes.n


def test_every_merge_answers_with_the_same_columns_when_loaded() -> None:
    channel, queries = trained("quota"), generated_dataset().queries(np.arange(40, dtype=np.int32))
    equal, calibrated = channel.with_merge("quota", 0.0), channel.with_merge("calibrated")
    found: list[Candidates] = [one.retrieve(queries, 5) for one in (channel, equal, calibrated)]
    assert columns(calibrated.retrieve(queries, 5)) == columns(trained("calibrated").retrieve(queries, 5))
    answered = np.diff(found[1].offsets) > 0
    per_cluster = equal.passes.asked[answered]  # type: ignore[union-attr]
    assert (per_cluster == 1).all(), "alpha 0: five items of five clusters"
