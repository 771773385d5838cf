"""SASRec and BERT4Rec against the channel contract: plain, and with every input they can read."""

from functools import cache
from typing import Any

import pytest
import torch
from channel_contract import LearnedChannelContract, generated_dataset

from headwater.data import Dataset, Queries
from headwater.nn.inputs import InputConfig
from headwater.nn.training import TrainingConfig
from headwater.retrieval import Channel
from headwater.retrieval.sequence.bert4rec import BERT4Rec, BERT4RecConfig
from headwater.retrieval.sequence.sasrec import SASRec, SASRecConfig

SMALL: dict[str, Any] = {
    "length": 12,
    "dimension": 16,
    "layers": 1,
    "heads": 2,
    "training": TrainingConfig(epochs=2, batch_size=16, device="cpu"),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# A channel keeps nothing between requests, so one training serves all tests of a class.


@cache
def sasrec() -> SASRec:
    return SASRec(SASRecConfig(**SMALL)).fit(generated_dataset())


@cache
def sasrec_with_times() -> SASRec:
    inputs = InputConfig(gaps=True, request_time=True, attributes=("id",))
    return SASRec(SASRecConfig(name="timed", inputs=inputs, **SMALL)).fit(generated_dataset())


@cache
def bert4rec() -> BERT4Rec:
    return BERT4Rec(BERT4RecConfig(**SMALL)).fit(generated_dataset())


@cache
def bert4rec_with_times() -> BERT4Rec:
    inputs = InputConfig(gaps=True, request_time=True)
    return BERT4Rec(BERT4RecConfig(inputs=inputs, **SMALL)).fit(generated_dataset())


class TestSASRecContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return sasrec()


class TestTimedSASRecContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return sasrec_with_times()


class TestBERT4RecContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return bert4rec()


class TestTimedBERT4RecContract(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return bert4rec_with_times()
