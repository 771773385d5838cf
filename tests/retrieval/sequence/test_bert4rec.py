import numpy as np
import pytest
import torch

from headwater.config import parse
from headwater.data import Dataset, Vocabulary
from headwater.nn.sequences import Histories
from headwater.retrieval.sequence.bert4rec import BERT4Rec, BERT4RecConfig, with_hidden_item

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def walks(n_users: int = 60, n_items: int = 30, length: int = 12) -> Dataset:
    items = (np.arange(n_users)[:, None] * 7 + np.arange(length)) % n_items
    return Dataset.from_events(
        "walks",
        Vocabulary(np.arange(n_users)),
        Vocabulary(np.arange(n_items)),
        event_users=np.repeat(np.arange(n_users, dtype=np.int32), length),
        event_items=items.ravel().astype(np.int32),
        event_times=np.tile(np.arange(length) ** 2, n_users),
        event_ratings=np.ones(n_users * length, np.float32),
    )


def test_a_request_is_the_history_with_a_hidden_item_behind_it() -> None:
    data = walks()
    first = np.zeros(len(data), bool)
    first[:12] = True
    first[12:14] = True
    queries = data.keep(first).queries(np.array([0, 1], np.int32), request_times=np.array([130, 30]))
    windows = Histories.from_queries(queries, 30, CPU).windows(np.array([0, 1]), 3, times=True)
    wide, is_hidden = with_hidden_item(windows, 4)
    assert is_hidden.tolist() == [[False, False, False, True], [False, False, True, False]]
    assert wide.items.tolist() == [[9, 10, 11, 0], [7, 8, 0, 0]]
    assert wide.positions.tolist() == [[0, 1, 2, 3], [1, 2, 3, 0]]
    assert wide.counts.tolist() == [4, 3]
    assert wide.is_event.tolist() == [[True] * 4, [True, True, True, False]]
    assert wide.gaps is not None
    assert wide.gaps[is_hidden].tolist() == [130 - 121, 30 - 1]
    assert wide.ratings is not None
    assert wide.ratings[is_hidden].isnan().all()


def test_it_learns_what_follows() -> None:
    settings = {
        "length": 12,
        "dimension": 16,
        "layers": 1,
        "heads": 2,
        "dropout": 0.0,
        "last_only": 0.5,
        "training": {"epochs": 120, "batch_size": 16, "learning_rate": 0.01, "device": "cpu"},
    }
    channel = BERT4Rec(parse(BERT4RecConfig, settings, "test")).fit(walks())
    data = walks(30)
    known = data.event_times < 11**2
    found = channel.retrieve(data.keep(known).queries(np.arange(30, dtype=np.int32)), 1)
    assert (found.items == data.event_items[~known]).mean() > 0.9
