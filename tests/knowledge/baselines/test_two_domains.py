"""CoNet and DARec: what each domain's tower learns from, what crosses between them, and what is kept from crossing."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from headwater.data import Impressions
from headwater.errors import ConfigError
from headwater.knowledge.baselines.conet import CoNet, CrossedTowers
from headwater.knowledge.baselines.config import CoNetConfig, DARecConfig
from headwater.knowledge.baselines.darec import AdversarialTowers, DARec, reversed_gradient
from headwater.knowledge.baselines.domains import BothDomains, DomainBatches, with_domains
from headwater.ranking.batches import InputColumns
from headwater.ranking.can import CAN, CANConfig
from headwater.ranking.din import DIN, DINConfig
from headwater.ranking.features import RankingFeatures
from headwater.ranking.networks.layers import TaskTower
from made_up import SMALL, impressions

CONFIG = DINConfig(**SMALL)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def crossed(width: int = 5, hidden: tuple[int, ...] = (7, 4), std: float = 1.0) -> CrossedTowers:
    config = CONFIG.model_copy(update={"hidden": hidden})
    return CrossedTowers(TaskTower(width, hidden, "prelu"), config, CoNetConfig(cross_std=std))


def of_odd_items(data: Impressions) -> Impressions:
    return with_domains(data, data.item_codes % 2 == 1)


def batches(data: Impressions, size: int = 64) -> DomainBatches:
    columns = InputColumns(data, RankingFeatures.of(data, CONFIG), CONFIG, torch.device("cpu"))
    return DomainBatches(data, columns, size, seed=3, device=torch.device("cpu"))


# -- CoNet


@given(st.integers(0, 2**31), st.lists(st.integers(1, 9), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_without_cross_weights_there_are_two_networks_that_know_nothing_of_each_other(
    seed: int, hidden: list[int]
) -> None:
    torch.manual_seed(seed)
    towers = crossed(hidden=tuple(hidden))
    vectors = torch.randn(11, 5)
    said = towers.of_domains(vectors)
    assert not torch.equal(said.target, towers.target(vectors)), "crossed ones hear each other"
    for cross in towers.crosses:
        torch.nn.init.zeros_(cross.weight)  # type: ignore[arg-type]
    said = towers.of_domains(vectors)
    assert torch.equal(said.target, towers.target(vectors))
    assert torch.equal(said.source, towers.source(vectors))
    assert torch.equal(towers(vectors), said.target)


def test_each_layer_adds_what_the_others_layer_before_it_said_by_one_matrix_both_ways() -> None:
    towers = crossed(width=2, hidden=(2, 1))
    x = torch.tensor([[1.0, 2.0]])
    with torch.no_grad():
        for tower, weights in (
            (towers.target, ([[1.0, 0], [0, 1]], [[1.0, 1]])),
            (towers.source, ([[2.0, 0], [0, 2]], [[3.0, 0]])),
        ):
            for layer, weight in zip(tower.hidden(), weights, strict=True):
                layer.linear.weight.copy_(torch.tensor(weight))
            tower.output.weight.copy_(torch.tensor([[0.0], [1.0]]))
        towers.crosses[0].weight.copy_(torch.tensor([[0.0, 1], [0, 0]]))  # type: ignore[operator]
        towers.crosses[1].weight.copy_(torch.tensor([[10.0, 0]]))  # type: ignore[operator]
    # First layer: target (1, 2) + (2, 0) = (3, 2), source (2, 4) + (2, 0) = (4, 4).
    # Second: target 3 + 2 + 10 * 4 = 45, source 3 * 4 + 10 * 3 = 42.
    said = towers.of_domains(x)
    assert (said.target.item(), said.source.item()) == (45.0, 42.0)


@pytest.mark.parametrize("std", [0.0, 1.0])
def test_what_the_target_learns_teaches_the_source_through_the_cross_weights_alone(std: float) -> None:
    towers = crossed()
    for cross in towers.crosses:
        torch.nn.init.normal_(cross.weight, std=std)  # type: ignore[arg-type]
    towers.of_domains(torch.randn(9, 5)).target.sum().backward()
    gradient = towers.source.hidden()[0].linear.weight.grad
    assert gradient is not None
    assert bool(gradient.abs().sum() > 0) == (std > 0)


# -- DARec


@given(st.floats(0, 5, width=32), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_reversed_gradient_comes_back_times_minus_its_strength(strength: float, seed: int) -> None:
    torch.manual_seed(seed)
    vectors = torch.randn(4, 3, requires_grad=True)
    weights = torch.randn(4, 3)
    said = reversed_gradient(vectors, strength)
    assert torch.equal(said, vectors)
    (said * weights).sum().backward()
    assert vectors.grad is not None
    assert torch.equal(vectors.grad, -strength * weights)


def test_the_discriminator_learns_to_tell_domains_and_what_is_shared_learns_to_hide_them() -> None:
    plain = AdversarialTowers(
        TaskTower(5, (7, 4), "prelu"), CONFIG.model_copy(update={"hidden": (7, 4)}), DARecConfig()
    )
    reversing = copy.deepcopy(plain)
    plain.strength, reversing.strength = -1.0, 0.5
    vectors, is_target = torch.randn(30, 5), torch.arange(30).remainder(2).float()
    for towers in (plain, reversing):
        domain = towers.of_domains(vectors).domain
        assert domain is not None
        functional.binary_cross_entropy_with_logits(domain, is_target).backward()
    shared = [towers.target.hidden()[0].linear.weight.grad for towers in (plain, reversing)]
    own = [towers.discriminator[0].weight.grad for towers in (plain, reversing)]
    assert torch.allclose(shared[1], -0.5 * shared[0])  # type: ignore[operator,arg-type]
    assert shared[0].abs().sum() > 0  # type: ignore[union-attr]
    assert torch.equal(own[0], own[1])  # type: ignore[arg-type]


def test_what_is_shared_tells_less_of_the_domain_the_stronger_the_reversal() -> None:
    data = of_odd_items(impressions(6, tasks=("click",)))
    areas = {}
    for strength in (0.0, 1.0):
        model = DARec(DIN(CONFIG), DARecConfig(reversal=strength, hidden=16)).fit(data)
        columns = InputColumns(data, model.features, CONFIG, torch.device("cpu"))
        with torch.inference_mode():
            vectors = torch.cat(model.network.parts(columns.inputs(np.arange(len(data)))), 1)
            towers: Any = model.network.tasks["click"]
            said = towers.of_domains(vectors).domain
        areas[strength] = roc_auc_score(data.sub_domains, said)
    assert areas[1.0] < areas[0.0] - 0.1


# -- both


def test_the_source_learns_from_every_impression_and_the_target_from_its_own() -> None:
    data = of_odd_items(impressions(2))
    made = batches(data)
    batch, rows = made.batch(1, 2), made.rows(1, 2)
    for task in data.tasks:
        asked = data.samples(task)[rows]
        is_odd = data.item_codes[rows] % 2 == 1
        assert batch.whole.is_asked[task].tolist() == asked.tolist()
        assert batch.target.is_asked[task].tolist() == (asked & is_odd).tolist()
        assert batch.target.n_samples[task] == (asked & is_odd).sum()
    parts = [made.batch(1, 2, process=at, n_processes=2) for at in range(2)]
    assert torch.equal(torch.cat([part.is_target for part in parts]), batch.is_target)
    assert {part.target.n_samples["click"] for part in parts} == {batch.target.n_samples["click"]}
    with pytest.raises(ConfigError, match="which of two domains"):
        batches(impressions(2))


def test_a_batch_of_the_source_alone_teaches_the_targets_tower_nothing() -> None:
    data = with_domains(impressions(2), np.zeros(len(impressions(2)), bool))
    model = CoNet(DIN(CONFIG))
    network = model.new_network(RankingFeatures.of(data, CONFIG))
    for task in network.tasks:
        for cross in network.tasks[task].crosses:  # type: ignore[union-attr]
            torch.nn.init.zeros_(cross.weight)  # type: ignore[arg-type]
    BothDomains(network, CONFIG)(batches(data).batch(0, 0)).backward()
    towers: Any = network.tasks["click"]
    assert towers.target.output.weight.grad.abs().sum() == 0
    assert towers.source.output.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", [CoNet, DARec])
def test_a_small_target_is_ordered_better_by_what_the_source_has_taught(kind: type[Any]) -> None:
    data = impressions(8, tasks=("click",))
    # Every twentieth impression of odd items: hardly a day's worth, of which the base model alone learns little.
    kept = (data.item_codes % 2 == 0) | (np.arange(len(data)) % 20 == 0)
    test = data.select((data.item_codes % 2 == 1) & (data.days >= 6))
    train = data.select(kept & (data.days < 6))
    both = kind(DIN(CONFIG)).fit(of_odd_items(train)).predict(test)["click"]
    alone = DIN(CONFIG).fit(train.select(train.item_codes % 2 == 1)).predict(test)["click"]
    assert roc_auc_score(test.labels["click"], both) > roc_auc_score(test.labels["click"], alone) + 0.05


@pytest.mark.parametrize("base", [DIN(CONFIG), CAN(CANConfig(**SMALL))], ids=["din", "can"])
@pytest.mark.parametrize("kind", [CoNet, DARec])
def test_one_seed_gives_one_result_and_other_settings_another(kind: type[Any], base: Any) -> None:
    data = of_odd_items(impressions(2))
    said = [kind(base).fit(data).predict(data)["click"] for _ in range(2)]
    assert np.array_equal(*said)
    other = CoNetConfig(cross_std=0.5) if kind is CoNet else DARecConfig(reversal=1.0)
    assert not np.array_equal(said[0], kind(base, other).fit(data).predict(data)["click"])


def test_a_checkpoint_of_other_settings_is_refused_and_so_is_serving(tmp_path: Any) -> None:
    data = of_odd_items(impressions(2))
    model = CoNet(DIN(CONFIG)).fit(data, checkpoint=tmp_path / "checkpoint")
    with pytest.raises(ConfigError, match="other settings"):
        CoNet(DIN(CONFIG), CoNetConfig(cross_std=0.5)).fit(data, checkpoint=tmp_path / "checkpoint", resume=True)
    with pytest.raises(ConfigError, match="CrossedTowers is not held by arrays"):
        model.save(tmp_path / "model")
