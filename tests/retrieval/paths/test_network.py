"""The nets by their equations, written out pair by pair beside the factorised ones."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional

from headwater.data import Dataset
from headwater.nn.inputs import InputConfig
from headwater.nn.sequences import Histories
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.export import exported
from headwater.retrieval.paths.features import PathFeatures, UserFeatures, request_windows
from headwater.retrieval.paths.fields import count_levels
from headwater.retrieval.paths.network import Layers, PathNetwork, spread

SIZES = (5, 7)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def data(marketplace: Dataset) -> Dataset:
    random = np.random.default_rng(0)
    ages = pa.table({"id": marketplace.users.ids, "age": random.integers(1, 5, len(marketplace.users))})
    return replace(
        marketplace,
        event_ratings=random.integers(1, 6, len(marketplace)).astype(np.float32),
        user_attributes=ages,
    )


def config_of(**settings: Any) -> PathsConfig:
    small: dict[str, Any] = {
        "length": 15,
        "dimension": 6,
        "field_dimension": 3,
        "trigger_hidden": (5, 4),
        "similarity_hidden": (6, 4),
        "direct_hidden": (7,),
        "dropout": 0.0,
        "inputs": InputConfig(attributes=("category",), ratings=True, gaps=True),
        "user_attributes": ("age",),
    }
    return PathsConfig(**(small | settings))


def made(data: Dataset, config: PathsConfig, mean_triggers: float = 10.0) -> tuple[PathNetwork, PathFeatures]:
    torch.manual_seed(0)
    features = PathFeatures.of(data, config.inputs, config.user_attributes, config.bins)
    network = PathNetwork(config, features, SIZES, mean_triggers)
    with torch.no_grad():  # far from the start, so that every part is felt
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return network.eval(), features


def asked(data: Dataset, features: PathFeatures, config: PathsConfig, n: int) -> Any:
    histories = Histories.from_dataset(data, torch.device("cpu"))
    windows = request_windows(histories, np.arange(n), config.length, times=True)
    rows = torch.from_numpy(features.user_rows(data.users.keys[:n]))
    return UserFeatures(rows, torch.full((n,), 4)), windows


def by_hand(layers: Layers, first: torch.Tensor) -> torch.Tensor:
    hidden = first
    for linear in layers.linears:
        hidden = torch.where(hidden > 0, hidden, layers.leak * hidden) @ linear.weight.T + linear.bias
    return hidden


@pytest.mark.parametrize("path_dimension", [1, 3])
def test_factorised_weights_are_those_of_plain_concatenation_pair_by_pair(data: Dataset, path_dimension: int) -> None:
    config = config_of(path_dimension=path_dimension)
    network, features = made(data, config)
    users, windows = asked(data, features, config, 4)
    random = np.random.default_rng(1)
    targets = torch.from_numpy(random.integers(0, len(data.items), (4, 3)))
    levels = torch.from_numpy(random.integers(0, 5, (4, 3, windows.items.shape[1], 2)).astype(np.uint8))
    trigger, similarity, direct = network.trigger, network.similarity, network.direct
    assert direct is not None
    with torch.no_grad():
        weights = network.weights(users, windows, targets, levels)
        z, a = network.users(users, windows), network.behaviours(windows)
        trigger_weight = torch.cat([trigger.user.weight, trigger.behaviour.weight, trigger.item.weight], 1)
        pair_weight = torch.cat([similarity.trigger.weight, similarity.pair.weight, similarity.target.weight], 1)
        for row in range(4):
            for column in range(3):
                target = targets[row, column]
                for place in range(int(windows.counts[row])):
                    x = network.items(windows.items[row, place])
                    t = by_hand(
                        trigger.layers, trigger_weight @ torch.cat([z[row], a[row, place], x]) + trigger.user.bias
                    )
                    c = torch.cat(
                        [
                            table.weight[int(level)]
                            for table, level in zip(similarity.levels, levels[row, column, place], strict=True)
                        ]
                    )
                    joined = torch.cat([x, c, network.items(target)])
                    s = by_hand(similarity.layers, pair_weight @ joined + similarity.trigger.bias)
                    expected = functional.softplus((t * s).sum() if path_dimension > 1 else t + s)
                    torch.testing.assert_close(
                        weights.paths[row, column, place], expected.squeeze(), rtol=1e-4, atol=1e-5
                    )
                assert not weights.paths[row, column, int(windows.counts[row]) :].any()
                p = direct.user(direct.users(users, windows))[row]
                q = direct.item(direct.items(target[None]))[0]
                torch.testing.assert_close(
                    weights.direct[row, column], functional.softplus(p @ q), rtol=1e-4, atol=1e-5
                )


def test_an_item_is_projected_alike_alone_and_with_the_whole_catalogue(data: Dataset) -> None:
    network, _ = made(data, config_of())
    few, many = torch.tensor([3, 140, 3]), torch.arange(len(data.items)).repeat(2)
    with torch.no_grad():
        alone = network.items.projected(network.similarity.trigger, few)
        torch.testing.assert_close(alone, network.items.projected(network.similarity.trigger, many)[few])


@pytest.mark.parametrize("path_dimension", [1, 4])
@pytest.mark.parametrize("nets", [(True, True), (True, False), (False, True), (False, False)])
def test_before_training_a_click_is_as_likely_as_a_positive_among_candidates(
    data: Dataset, path_dimension: int, nets: tuple[bool, bool]
) -> None:
    config = config_of(path_dimension=path_dimension, has_direct_net=nets[0], has_bias_net=nets[1], negatives=32)
    torch.manual_seed(0)
    features = PathFeatures.of(data, config.inputs, config.user_attributes, config.bins)
    network = PathNetwork(config, features, SIZES, mean_triggers=15.0)
    users, windows = asked(data, features, config, 40)
    windows = windows._replace(is_event=torch.ones_like(windows.is_event))
    targets = torch.randint(len(data.items), (40, 5))
    levels = torch.randint(5, (40, 5, windows.items.shape[1], 2)).to(torch.uint8)
    with torch.no_grad():
        total = network.weights(users, windows, targets, levels).total()
        if network.bias is not None:
            total = total + functional.softplus(network.bias(users.lengths, users.lengths))
    clicks = 1 - torch.exp(-total)
    assert clicks.mean().item() == pytest.approx(1 / 33, rel=0.2)


def test_levels_spread_to_pairs_have_the_gradient_of_indexing() -> None:
    levels = torch.randint(6, (3, 4, 5), dtype=torch.uint8)
    table = torch.randn(6, 7, dtype=torch.float64, requires_grad=True)
    slopes = torch.randn(3, 4, 5, 7, dtype=torch.float64)
    (found,) = torch.autograd.grad((spread(table, levels) * slopes).sum(), table)
    (expected,) = torch.autograd.grad((table[levels.long()] * slopes).sum(), table)
    torch.testing.assert_close(found, expected)


def test_counts_of_values_are_of_the_window_alone_in_doublings(data: Dataset) -> None:
    config = config_of()
    features = PathFeatures.of(data, config.inputs, (), config.bins)
    _, windows = asked(data, features, config, 6)
    codes = features.catalogue.attributes["category"]
    n_values = int(codes.max()) + 1
    found = count_levels(windows, torch.from_numpy(codes), n_values).view(6, -1, n_values).numpy()
    for row in range(6):
        events = windows.items[row][windows.is_event[row]].numpy()
        counts = np.bincount(codes[events].reshape(-1), minlength=n_values)
        for level in range(found.shape[1]):
            np.testing.assert_array_equal(found[row, level, 1:], counts[1:] >= 2**level)
    assert not found[:, :, 0].any()


@pytest.mark.parametrize("has_direct_net", [True, False])
def test_exported_arrays_give_the_networks_weights_without_torch(data: Dataset, has_direct_net: bool) -> None:
    config = config_of(has_direct_net=has_direct_net)
    network, features = made(data, config)
    weights = exported(network, features)
    users, windows = asked(data, features, config, 5)
    target, levels = 17, torch.randint(5, (5, 1, windows.items.shape[1], 2)).to(torch.uint8)
    with torch.no_grad():
        expected = network.weights(users, windows, torch.full((5, 1), target), levels)
        behaviours = network.behaviours.levels(windows)

    def after(hidden: np.ndarray, layers: Any) -> np.ndarray:
        for weight, bias in layers:
            hidden = np.where(hidden > 0, hidden, weights.leak * hidden) @ weight + bias
        return hidden

    codes = features.catalogue.attributes
    for row in range(5):
        n = int(windows.counts[row])
        triggers = windows.items[row, :n].numpy()
        known = (8, int(users.rows[row]), triggers, codes)  # 8 events: level 4
        first = weights.trigger_items[triggers] + weights.trigger_users.first_layer(*known)
        for name, table in weights.trigger_behaviours.items():
            first = first + table[behaviours[name][row, :n].numpy()]
        t = after(first, weights.trigger_layers)[:, 0]
        first = weights.similarity_triggers[triggers] + weights.similarity_targets[target]
        for measure, table in enumerate(weights.similarity_levels):
            first = first + table[levels[row, 0, :n, measure].numpy()]
        s = after(first, weights.similarity_layers)[:, 0]
        np.testing.assert_allclose(np.log1p(np.exp(t + s)), expected.paths[row, 0, :n].numpy(), rtol=1e-4, atol=1e-6)
        if weights.direct_users is None or weights.direct_items is None or expected.direct is None:
            assert not has_direct_net
            continue
        p = after(weights.direct_users.first_layer(*known), weights.direct_layers)
        direct = np.log1p(np.exp(p @ weights.direct_items[target]))
        assert direct == pytest.approx(float(expected.direct[row, 0]), rel=1e-4)
