"""Paths against the channel contract: plain, as vectors, without nets, and with every input that it can read."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from channel_contract import N_ITEMS, N_USERS, LearnedChannelContract, TrainedChannelContract, generated_dataset

from headwater.data import Dataset, Queries
from headwater.nn.inputs import InputConfig
from headwater.nn.training import TrainingConfig
from headwater.retrieval import Channel
from headwater.retrieval.paths.channel import Paths
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.simnet import SimNet, SimNetConfig

SMALL: dict[str, Any] = {
    "length": 12,
    "dimension": 8,
    "field_dimension": 4,
    "trigger_hidden": (8,),
    "similarity_hidden": (8, 4),
    "direct_hidden": (8,),
    "negatives": 8,
    "training": TrainingConfig(epochs=2, batch_size=64, device="cpu"),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def rich_dataset() -> Dataset:
    data = generated_dataset()
    random = np.random.default_rng(1)
    return replace(
        data,
        event_ratings=random.integers(1, 6, len(data)).astype(np.float32),
        item_attributes=pa.table(
            {
                "id": data.items.ids,
                "genres": [["a", "b"], ["c"], None] * (N_ITEMS // 3),
                "price": [float("nan"), None, *random.random(N_ITEMS - 2).tolist()],
            }
        ),
        user_attributes=pa.table({"id": data.users.ids, "age": random.integers(1, 5, N_USERS)}),
    )


@cache
def trained(kind: str, search: str = "exact") -> Paths:
    data = generated_dataset()
    settings = dict(SMALL)
    if kind == "vector":
        settings["path_dimension"] = 3
    if kind == "only paths":
        settings |= {"has_direct_net": False, "has_bias_net": False, "loss": "bce"}
    if kind == "rich":
        data = rich_dataset()
        settings["inputs"] = InputConfig(
            attributes=("genres", "price"), ratings=True, gaps=True, request_time=True, periods=True
        )
        settings["user_attributes"] = ("age",)
        settings["measures"] = ("count", "conditional", "window-cosine", "swing")
        settings["session_gap"] = 100_000
    if search == "greedy":
        settings |= {"search": "greedy", "neighbours": 10, "candidates_per_item": 30, "followed_triggers": 5}
    return Paths(PathsConfig(**settings)).fit(data)


class TestPathsContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("plain")


class TestVectorPathsContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("vector")


class TestOnlyPathsContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("only paths")


class TestRichPathsContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("rich")


class TestGreedyPathsContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("plain", "greedy")


class TestOnlyGreedyPathsContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("only paths", "greedy")


@cache
def simnet() -> SimNet:
    settings = {**SMALL, "neighbours": 10, "candidates_per_item": 30, "followed_triggers": 5}
    return SimNet(SimNetConfig(**settings)).fit(generated_dataset())


class TestSimNetContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return simnet()


def test_simnets_index_adds_up_what_the_rows_of_the_latest_triggers_hold() -> None:
    channel, data = simnet(), generated_dataset()
    queries = data.queries(np.arange(4))
    found = channel.retrieve(queries, 50)
    assert len(found) > 20
    for row in range(4):
        history = queries.items[queries.offsets[row] : queries.offsets[row + 1]][-5:]
        expected: dict[int, float] = {}
        for trigger in history.tolist():
            for item, similarity in zip(*channel.index.row(trigger), strict=True):
                if item >= 0:
                    expected[int(item)] = expected.get(int(item), 0.0) + float(np.logaddexp(0, np.float32(similarity)))
        mine = found.rows == row
        assert dict(zip(found.items[mine].tolist(), found.scores[mine].tolist(), strict=True)) == pytest.approx(
            expected, rel=1e-5
        )


class TestRichGreedyPathsContract(TrainedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("rich", "greedy")
