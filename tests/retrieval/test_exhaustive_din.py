"""DIN over the whole catalogue, against the contract of channels and the ranker that it is."""

from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from channel_contract import N_ITEMS, N_USERS, LearnedChannelContract, generated_dataset

from headwater.data import Dataset, Queries, Vocabulary, leave_one_out
from headwater.errors import ConfigError
from headwater.nn.training import TrainingConfig
from headwater.ranking.exhaustive import ExhaustiveDIN, ExhaustiveDINConfig
from headwater.ranking.networks.din import RankingInputs
from headwater.retrieval import Channel

SMALL: dict[str, Any] = {
    "length": 12,
    "dimension": 4,
    "unit_hidden": 6,
    "hidden": (8,),
    "negatives": 30,
    "training": TrainingConfig(epochs=2, batch_size=64, device="cpu"),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def attributed() -> Dataset:
    data = generated_dataset()
    genres: list[list[str] | None] = [["a", "b"], ["c"], None]
    return replace(
        data,
        item_attributes=pa.table({"id": data.items.ids, "genres": genres * (N_ITEMS // 3)}),
        user_attributes=pa.table({"id": data.users.ids, "age": np.arange(N_USERS) % 4}),
    )


@cache
def trained(*, reads_attributes: bool) -> ExhaustiveDIN:
    settings = dict(SMALL)
    if reads_attributes:
        settings |= {"item_attributes": ("genres",), "user_attributes": ("age",)}
    return ExhaustiveDIN(ExhaustiveDINConfig(**settings)).fit(attributed())


class TestExhaustiveDIN(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained(reads_attributes=False)


class TestExhaustiveDINWithAttributes(LearnedChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return trained(reads_attributes=True)


def cyclic(n_users: int = 60, n_items: int = 12) -> Dataset:
    """Everybody goes on to the next item, round and round."""
    length = 9
    starts = np.arange(n_users) % n_items
    items = (starts[:, None] + np.arange(length)) % n_items
    return Dataset.from_events(
        "cyclic",
        Vocabulary(np.arange(n_users)),
        Vocabulary(np.arange(n_items)),
        event_users=np.repeat(np.arange(n_users, dtype=np.int32), length),
        event_items=items.reshape(-1).astype(np.int32),
        event_times=np.tile(np.arange(length), n_users),
    )


def test_it_learns_what_follows_what() -> None:
    split = leave_one_out(cyclic())
    settings: dict[str, Any] = SMALL | {
        "length": 1,
        "dimension": 8,
        "training": TrainingConfig(epochs=60, batch_size=32, device="cpu"),
    }
    channel = ExhaustiveDIN(ExhaustiveDINConfig(**settings)).fit(split.train)
    found = channel.retrieve(split.validation.queries, 1)
    assert (found.items == split.validation.targets).mean() > 0.9


def test_its_scores_are_the_networks_for_that_user_and_item() -> None:
    channel, data = trained(reads_attributes=True), attributed()
    queries = data.queries(np.array([7, 3], np.int32))
    found = channel.retrieve(queries, N_ITEMS)
    for row, user in enumerate((7, 3)):
        events = queries.items[queries.offsets[row] : queries.offsets[row + 1]][-12:]
        own = found.rows == row
        with torch.inference_mode():
            for item, score in zip(found.items[own].tolist()[:5], found.scores[own].tolist()[:5], strict=True):
                inputs = RankingInputs(
                    users=torch.tensor([user + 1]),
                    items=torch.tensor([item + 1]),
                    history=torch.from_numpy(events.astype(np.int64) + 1)[None],
                    searched=None,
                    context=torch.zeros(1, 0, dtype=torch.long),
                )
                assert channel.network(inputs)["click"].item() == pytest.approx(score, abs=1e-5)


def test_a_run_that_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    data = generated_dataset()
    training = TrainingConfig(epochs=4, batch_size=64, validate_every=1, checkpoint_seconds=0, device="cpu")
    settings: dict[str, Any] = SMALL | {"training": training}
    config = ExhaustiveDINConfig(**settings)
    rising = count(1)  # each epoch is the best one so far
    whole = ExhaustiveDIN(config).fit(data, validate=lambda _: next(rising), checkpoint=tmp_path / "whole")

    class Stopped(Exception):
        pass

    again = count(1)

    def stop(_: ExhaustiveDIN) -> float:
        value = next(again)
        if value == 3:
            raise Stopped
        return value

    with pytest.raises(Stopped):
        ExhaustiveDIN(config).fit(data, validate=stop, checkpoint=tmp_path / "cut")
    resumed = ExhaustiveDIN(config).fit(data, validate=stop, checkpoint=tmp_path / "cut", resume=True)
    for name, weight in whole.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name])


def test_before_it_is_trained_it_says_so() -> None:
    with pytest.raises(ConfigError, match="exhaustive_din is not trained yet"):
        ExhaustiveDIN().retrieve(generated_dataset().queries(np.array([1], np.int32)), 3)


def test_an_attribute_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="colour"):
        ExhaustiveDIN(ExhaustiveDINConfig(**SMALL, item_attributes=("colour",))).fit(generated_dataset())
