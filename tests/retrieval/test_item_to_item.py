"""Item-to-item retrieval over every kind of model, against the channel contract and against the sum written out."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from channel_contract import N_ITEMS, N_UNTOUCHED, ChannelContract, RoundsWithTheBatch, generated_dataset

from headwater.data import Dataset, Queries
from headwater.errors import ConfigError
from headwater.nn.training import TrainingConfig
from headwater.retrieval import Channel, Mask, channel_class
from headwater.retrieval import item_to_item as module
from headwater.retrieval.item_to_item import ItemToItem, neighbours_of

TRAINING = TrainingConfig(epochs=2, batch_size=64, device="cpu")

SMALL: dict[str, dict[str, Any]] = {
    "itemcf": {"half_life": 2.0},
    "pearson": {},
    "swing": {"half_life": 3.0},
    "slim": {"l1": 0.5, "l2": 5.0, "window": 4},
    "ease": {"regularisation": 5.0, "half_life": 4.0},
    "mf": {"factors": 8, "epochs": 3, "half_life": 2.0},
    "dssm": {"dimension": 8, "hidden": (8,), "length": 3, "training": TRAINING},
    "youtube_dnn": {"dimension": 8, "hidden": (8,), "is_tied": False, "training": TRAINING},
    "bst": {"dimension": 8, "hidden": (8,), "training": TRAINING},
    "comirec": {"dimension": 8, "hidden": (8,), "training": TRAINING},
    "sasrec": {"dimension": 8, "layers": 1, "heads": 1, "length": 10, "training": TRAINING},
    "paths": {"dimension": 8, "length": 6, "negatives": 4, "training": TRAINING},
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@cache
def fitted(kind: str, **more: Any) -> Any:
    cls = channel_class(kind)
    known = {name: value for name, value in SMALL[kind].items() if name in cls.config_class.model_fields}
    return cls(cls.config_class(**known | more)).fit(generated_dataset())


class TestItemToItemOfItemCFContract(ChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return ItemToItem(fitted("itemcf"))


class TestItemToItemOfEASEContract(ChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return ItemToItem(fitted("ease"))


class TestItemToItemOfMFContract(RoundsWithTheBatch, ChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return ItemToItem(fitted("mf"))


class TestItemToItemOfBSTContract(RoundsWithTheBatch, ChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return ItemToItem(fitted("bst"))


class TestItemToItemOfPathsContract(RoundsWithTheBatch, ChannelContract):
    def make_channel(self, data: Dataset, queries: Queries) -> Channel:
        return ItemToItem(fitted("paths"))


@pytest.mark.parametrize("kind", SMALL)
def test_a_score_is_the_unweighted_sum_of_the_similarities_to_the_history(kind: str) -> None:
    channel = fitted(kind)
    data = generated_dataset()
    queries = data.queries(np.flatnonzero(data.lengths > 2).astype(np.int32))
    matrix = channel.similarities(np.arange(N_ITEMS)).astype(np.float64)
    found = ItemToItem(channel).retrieve(queries, N_ITEMS)
    for row in range(len(queries)):
        history = queries.items[queries.offsets[row] : queries.offsets[row + 1]]
        expected = matrix[history].sum(0)
        mine = found.rows == row
        assert set(found.items[mine]) == set(np.flatnonzero(expected.astype(np.float32)))
        np.testing.assert_allclose(found.scores[mine], expected[found.items[mine]], rtol=1e-5, atol=1e-6)


def test_without_weights_itemcf_and_ease_are_their_own_item_to_item_retrieval() -> None:
    data = generated_dataset()
    queries = data.queries(np.arange(len(data.users), dtype=np.int32))
    for kind, same in (("itemcf", {"half_life": None}), ("ease", {"half_life": None})):
        plain = fitted(kind, **same).retrieve(queries, 10, allowed=Mask.seen(queries))
        found = ItemToItem(fitted(kind)).retrieve(queries, 10, allowed=Mask.seen(queries))
        np.testing.assert_array_equal(found.items, plain.items)
        np.testing.assert_array_equal(found.scores, plain.scores)


def test_the_similarity_of_paths_is_softplus_of_what_simnet_says_of_the_pair() -> None:
    paths = fitted("paths")
    triggers, targets = np.array([3, 0]), np.array([1, 2, 8])
    s = paths.score_pairs(np.repeat(triggers, 3), np.tile(targets, 2)).astype(np.float64)
    expected = np.log1p(np.exp(s)).reshape(2, 3)
    np.testing.assert_allclose(paths.similarities(triggers, targets), expected, rtol=1e-5)
    np.testing.assert_allclose(paths.similarities(triggers)[:, targets], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["mf", "dssm", "bst", "sasrec"])
def test_the_similarity_of_models_with_vectors_is_their_inner_product(kind: str) -> None:
    channel = fitted(kind)
    vectors = channel.tensors()["factors"] if kind == "mf" else channel.network.items.table().detach().numpy()
    np.testing.assert_allclose(channel.similarities(np.array([4, 7])), vectors[[4, 7]] @ vectors.T, atol=1e-6)


@pytest.mark.parametrize("kind", ["itemcf", "ease", "bst"])
def test_asking_for_few_triggers_at_a_time_changes_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = generated_dataset()
    queries = data.queries(np.arange(len(data.users), dtype=np.int32))
    whole = ItemToItem(fitted(kind)).retrieve(queries, 15)
    monkeypatch.setattr(module, "VALUES_AT_ONCE", 7 * N_ITEMS)
    asked: list[int] = []
    channel = fitted(kind)
    original = channel.similarities

    def counted(triggers: Any, targets: Any = None) -> Any:
        asked.append(len(triggers))
        return original(triggers, targets)

    monkeypatch.setattr(channel, "similarities", counted, raising=False)
    parts = ItemToItem(channel).retrieve(queries, 15)
    assert max(asked) <= 7
    np.testing.assert_array_equal(parts.items, whole.items)
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-6)


def test_a_channel_without_similarities_is_refused_by_name() -> None:
    popular = channel_class("popular")().fit(generated_dataset())
    with pytest.raises(ConfigError, match="popular says nothing of how similar"):
        ItemToItem(popular)
    with pytest.raises(ConfigError, match="path_dimension = 1"):
        fitted("paths", path_dimension=2, name="vector").similarities(np.array([0]))


def test_neighbours_stand_best_first_without_the_item_itself() -> None:
    channel = fitted("bst")
    found = neighbours_of(channel, 5, 8)
    row = channel.similarities(np.array([5]))[0]
    others = np.delete(np.arange(N_ITEMS), 5)
    best = others[np.argsort(-row[others], kind="stable")][:8]
    np.testing.assert_array_equal(found.items, best)
    np.testing.assert_array_equal(found.similarities, row[best])


def test_an_item_that_nobody_had_has_no_neighbours_by_co_occurrence() -> None:
    found = neighbours_of(fitted("itemcf"), N_ITEMS - N_UNTOUCHED, 5)
    assert len(found.items) == 0


@pytest.mark.parametrize("item", [-1, N_ITEMS])
def test_an_unknown_item_is_named(item: int) -> None:
    with pytest.raises(ConfigError, match=f"not trained on item {item}"):
        neighbours_of(fitted("itemcf"), item, 5)
