"""ComiRec's equations by hand, and its aggregation against the greedy algorithm of the paper, step by step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwater.data import Dataset
from headwater.errors import ConfigError
from headwater.nn.inputs import Catalogue
from headwater.nn.prefixes import PrefixBatches
from headwater.nn.sequences import Histories, Windows
from headwater.nn.training import TrainingConfig
from headwater.retrieval import Candidates, Mask
from headwater.retrieval.towers.comirec import ComiRec, ComiRecConfig, ComiRecNetwork, aggregate

CPU = torch.device("cpu")


def network(data: Dataset, **settings: object) -> ComiRecNetwork:
    config = ComiRecConfig.model_validate({"dimension": 8, "interests": 3, **settings})
    torch.manual_seed(5)
    made = ComiRecNetwork(config, Catalogue.of(data, config.inputs)).eval()
    with torch.no_grad():
        made.inputs.items.own.mul_(50)  # scores that differ visibly
    return made


def windows_of(data: Dataset, n: int = 20) -> Windows:
    return Histories.from_dataset(data, CPU).windows(np.arange(n), 50)


def trained(data: Dataset, **settings: object) -> ComiRec:
    training = TrainingConfig(epochs=2, batch_size=256, device="cpu")
    return ComiRec(ComiRecConfig.model_validate({"dimension": 8, "training": training, **settings})).fit(data)


def test_interests_are_attended_sums_of_the_items_by_hand(marketplace: Dataset) -> None:
    made = network(marketplace, dimension=1, interests=2, attention=1)
    with torch.no_grad():
        made.inputs.items.own[:2, 0] = torch.tensor([1.0, 3.0])
        assert made.inputs.positions is not None
        made.inputs.positions.weight.zero_()
        made.first.weight.fill_(0.5)
        made.second.weight.copy_(torch.tensor([[2.0], [0.0]]))
    two = windows_of(marketplace, 1)._replace(
        items=torch.tensor([[0, 1, 0]]),
        counts=torch.tensor([2]),
        is_event=torch.tensor([[True, True, False]]),
        positions=torch.tensor([[48, 49, 0]]),
    )
    # Logits of interest 1: 2 tanh(.5) = .92423 and 2 tanh(1.5) = 1.81030, so 1 / (1 + e^-.88606) = .70808 for the
    # later event; interest 2 has weight 0 everywhere and takes the mean.
    torch.testing.assert_close(
        made.weights(two), torch.tensor([[[0.29192, 0.5], [0.70808, 0.5], [0.0, 0.0]]]), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(made(two), torch.tensor([[[0.29192 + 3 * 0.70808], [2.0]]]), atol=1e-4, rtol=0)


def test_the_target_trains_the_interest_that_is_nearest_to_it(marketplace: Dataset) -> None:
    made = network(marketplace)
    batch = PrefixBatches(Histories.from_dataset(marketplace, CPU), 50, 64).batch(0, 0)
    chosen = made.for_targets(made(batch.windows), batch)
    scores = made(batch.windows) @ made.items(batch.targets)[..., None]
    torch.testing.assert_close((chosen * made.items(batch.targets)).sum(1), scores[..., 0].amax(1))


def test_what_events_add_sums_to_the_score(marketplace: Dataset) -> None:
    made = network(marketplace)
    windows = windows_of(marketplace)
    items = torch.arange(20)
    scores = torch.einsum("bkd,bd->bk", made(windows), made.items(items)).amax(1)
    parts = made.parts(windows, items)
    assert not parts[~windows.is_event].any()
    torch.testing.assert_close(parts.sum(1), scores)


def test_reasons_are_the_greatest_positive_parts_of_the_score(marketplace: Dataset) -> None:
    channel = trained(marketplace, explained_events=3)
    queries = marketplace.queries(np.arange(20, dtype=np.int32))
    found = channel.retrieve(queries, 3, allowed=Mask.seen(queries))
    made = channel.network
    assert isinstance(made, ComiRecNetwork)
    windows = Histories.from_queries(queries, len(marketplace.items), CPU).windows(found.rows.astype(np.int64), 50)
    parts = made.parts(windows, torch.from_numpy(found.items).long()).detach().double().numpy()
    for at, reasons in enumerate(channel.explain(queries, found)):
        named = [event for event in np.argsort(-parts[at])[:3] if parts[at, event] > 0]
        assert named
        assert [reason.trigger for reason in reasons] == [int(windows.items[at, event]) for event in named]
        shares = parts[at, named] / parts[at, named].sum()
        assert [reason.share for reason in reasons] == pytest.approx(shares.tolist())


# -- aggregation

# Quarters, so that sums are exact and ties are ties.
quarters = st.integers(-40, 40).map(lambda value: value / 4)


def pool_of(scores: list[list[float]]) -> Candidates:
    width = max(len(row) for row in scores)
    dense = np.full((len(scores), width), -np.inf, np.float32)
    for row, values in enumerate(scores):
        dense[row, : len(values)] = values
    return Candidates.from_scores("comirec", dense, width)


def greedy(scores: dict[int, float], categories: list[int], diversity: float) -> list[int]:
    """Algorithm 1 as it is written: take the item that adds most to Q, again and again; ties by item."""
    chosen: list[int] = []
    while len(chosen) < len(scores):
        gains = {
            item: score + diversity * sum(categories[item] != categories[other] for other in chosen)
            for item, score in scores.items()
            if item not in chosen
        }
        chosen.append(min(gains, key=lambda item: (-gains[item], item)))
    return chosen


@given(
    st.lists(st.lists(quarters, min_size=1, max_size=9), min_size=1, max_size=3),
    st.lists(st.integers(0, 3), min_size=9, max_size=9),
    st.integers(0, 20).map(lambda value: value / 4),
    st.integers(1, 9),
)
def test_one_sort_gives_the_order_of_the_greedy_algorithm(
    scores: list[list[float]], categories: list[int], diversity: float, k: int
) -> None:
    found = aggregate(pool_of(scores), np.array(categories, np.int32), diversity, k)
    assert found.n_queries == len(scores)
    for row, values in enumerate(scores):
        assert found.of(row).tolist() == greedy(dict(enumerate(values)), categories, diversity)[:k]


@given(st.lists(st.lists(quarters, min_size=1, max_size=9), min_size=1, max_size=3))
def test_without_diversity_the_aggregation_is_the_plain_merge(scores: list[list[float]]) -> None:
    pool = pool_of(scores)
    found = aggregate(pool, np.arange(9, dtype=np.int32) % 2, 0.0, 9)
    for column in ("rows", "items", "scores", "channels"):
        np.testing.assert_array_equal(getattr(found, column), getattr(pool, column))


def test_the_same_category_costs_an_item_its_place_there_by_hand() -> None:
    pool = pool_of([[9.0, 8.0, 7.0, 5.0]])
    found = aggregate(pool, np.array([0, 0, 0, 1], np.int32), 2.0, 4)
    assert list(zip(found.items.tolist(), found.scores.tolist(), strict=True)) == [(0, 9), (1, 6), (3, 5), (2, 3)]


def test_great_diversity_shows_every_category_before_any_twice(marketplace: Dataset) -> None:
    channel = trained(marketplace, diversity=1e4)
    queries = marketplace.queries(np.arange(20, dtype=np.int32))
    found = channel.retrieve(queries, 6, allowed=Mask.seen(queries))
    categories = marketplace.categories[0]
    for row in range(20):
        assert sorted(categories[found.of(row)].tolist()) == [0, 1, 2, 3, 4, 5]
    longer = channel.retrieve(queries, 20, allowed=Mask.seen(queries))
    np.testing.assert_array_equal(longer.items[longer.ranks() < 6], found.items)
    with pytest.raises(ValueError, match="k must be at least 1"):
        channel.retrieve(queries, 0)


def test_a_loaded_channel_still_knows_the_categories(marketplace: Dataset, tmp_path: Path) -> None:
    channel = trained(marketplace, diversity=0.01)
    channel.save(tmp_path / "comirec")
    again = ComiRec.load(tmp_path / "comirec", marketplace.items)
    queries = marketplace.queries(np.arange(20, dtype=np.int32))
    found, expected = again.retrieve(queries, 9), channel.retrieve(queries, 9)
    np.testing.assert_array_equal(found.items, expected.items)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_diversity_without_categories_is_refused(marketplace: Dataset) -> None:
    plain = replace(marketplace, item_attributes=marketplace.item_attributes.drop_columns(["category"]))
    with pytest.raises(ConfigError, match=r"no `category`: comirec\.diversity must be 0"):
        trained(plain, diversity=0.5)
