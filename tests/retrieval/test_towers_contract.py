"""DSSM, YoutubeDNN, BST, MIND and ComiRec against the channel contract: plain, and with every input they can read."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from channel_contract import N_ITEMS, LearnedChannelContract, generated_dataset

from headwater.data import Dataset, Queries
from headwater.nn.inputs import InputConfig
from headwater.nn.objective import ObjectiveConfig
from headwater.nn.training import TrainingConfig
from headwater.retrieval import Channel, channel_class

SMALL: dict[str, Any] = {
    "length": 12,
    "dimension": 16,
    "hidden": (16,),
    "training": TrainingConfig(epochs=2, batch_size=64, device="cpu"),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# A channel keeps nothing between requests, so one training serves all tests of a class.


@cache
def trained(kind: str, *, is_rich: bool = False) -> Any:
    """Rich: with every input that a model can read, and an objective that is not its default."""
    cls = channel_class(kind)
    settings = {name: value for name, value in SMALL.items() if name in cls.config_class.model_fields}
    data = generated_dataset()
    if is_rich:
        settings["inputs"] = InputConfig(attributes=("id",), ratings=True, gaps=True, request_time=True)
        settings["objective"] = ObjectiveConfig(loss="softmax")
        data = replace(data, event_ratings=np.random.default_rng(1).integers(1, 6, len(data)).astype(np.float32))
    return cls(cls.config_class(**settings)).fit(data)


class TestDSSMContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("dssm")


class TestYoutubeDNNContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("youtube_dnn")


class TestBSTContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("bst")


class TestMINDContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("mind")


class TestComiRecContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained("comirec")


@pytest.mark.parametrize("kind", ["dssm", "youtube_dnn", "bst", "mind", "comirec"])
def test_every_optional_input_is_read(kind: str) -> None:
    channel = trained(kind, is_rich=True)
    data = generated_dataset()
    queries = data.queries(np.flatnonzero(data.lengths > 3).astype(np.int32))
    ratings = np.random.default_rng(2).integers(1, 6, len(queries.items)).astype(np.float32)
    queries = replace(queries, ratings=ratings)
    scores = channel.retrieve(queries, N_ITEMS).scores
    for name, changed in {
        "ratings": replace(queries, ratings=6 - ratings),
        "request time": replace(queries, request_times=queries.request_times + 1_000_000),
        "gaps": replace(queries, times=queries.times * 3),
        "items": replace(queries, items=queries.items[::-1].copy()),
    }.items():
        assert not np.array_equal(scores, channel.retrieve(changed, N_ITEMS).scores), name


@pytest.mark.parametrize("kind", ["dssm", "youtube_dnn", "bst", "mind", "comirec"])
def test_one_seed_gives_one_model_and_another_seed_another(kind: str) -> None:
    cls = channel_class(kind)
    settings = {name: value for name, value in SMALL.items() if name in cls.config_class.model_fields}
    data = generated_dataset()
    queries = data.queries(np.arange(20, dtype=np.int32))

    def scores(seed: int) -> bytes:
        config = cls.config_class(**settings | {"training": SMALL["training"].model_copy(update={"seed": seed})})
        return cls(config).fit(data).retrieve(queries, 5).scores.tobytes()

    assert scores(0) == scores(0)
    assert scores(0) != scores(1)
