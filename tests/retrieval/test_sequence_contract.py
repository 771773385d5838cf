"""SASRec and BERT4Rec against the channel contract: plain, and with every input they can read."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from channel_contract import TrainedChannelContract, generated_dataset

from headwater.data import Dataset, Queries
from headwater.nn.inputs import InputConfig
from headwater.nn.training import TrainingConfig
from headwater.retrieval import Candidates, Channel, Mask
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


class SequenceContract(TrainedChannelContract):
    """The contract, but for one sentence: products of another shape may round the last bits otherwise."""

    def test_a_batch_answers_as_its_queries_do_one_by_one(self, channel: Channel, queries: Queries) -> None:
        allowed = Mask.seen(queries)
        alone = Candidates.stack(
            [
                (row, channel.retrieve(queries.slice(row, row + 1), 9, allowed=allowed.slice(row, row + 1)))
                for row in range(len(queries))
            ]
        )
        together = channel.retrieve(queries, 9, allowed=allowed)
        np.testing.assert_array_equal(alone.rows, together.rows)
        np.testing.assert_array_equal(alone.items, together.items)
        np.testing.assert_allclose(alone.scores, together.scores, atol=1e-5)


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


class TestSASRecContract(SequenceContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return sasrec()


class TestTimedSASRecContract(SequenceContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return sasrec_with_times()


class TestBERT4RecContract(SequenceContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return bert4rec()


class TestTimedBERT4RecContract(SequenceContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return bert4rec_with_times()
