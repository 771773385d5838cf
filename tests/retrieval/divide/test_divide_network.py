"""The encoder told its cluster, and the loss within clusters against brute force."""

import numpy as np
import pytest
import torch
from small import cut, objective, settings

from headwater.data import Dataset
from headwater.nn.inputs import Catalogue
from headwater.nn.losses import calibrated_exponent
from headwater.nn.sequences import Histories
from headwater.retrieval.divide.batches import DivideBatches
from headwater.retrieval.divide.clusters import Clusters
from headwater.retrieval.divide.config import DivideConfig, IntentConfig
from headwater.retrieval.divide.network import DivideNetwork
from headwater.retrieval.divide.objective import WithinObjective

CPU = torch.device("cpu")


@pytest.fixture
def clusters() -> Clusters:
    return cut(np.random.default_rng(5).integers(0, 4, 150), 5)  # the last one is empty


def network_of(data: Dataset, config: DivideConfig, clusters: Clusters) -> DivideNetwork:
    torch.manual_seed(3)
    return DivideNetwork(config, Catalogue.of(data, config.inputs), len(clusters))


def within(config: DivideConfig, data: Dataset, clusters: Clusters) -> WithinObjective:
    return WithinObjective(config.objective, clusters, data.item_counts, CPU)


def batches_of(data: Dataset, config: DivideConfig, clusters: Clusters, *, size: int = 24) -> DivideBatches:
    return DivideBatches(
        Histories.from_dataset(data, CPU),
        clusters,
        length=config.length,
        batch_size=size,
        tasks_per_user=None if config.adaptation == "output" else 3,
        seed=0,
        times=False,
    )


def test_prompts_at_one_leave_the_encoder_as_it_is(marketplace: Dataset, clusters: Clusters) -> None:
    plain, prompted = (network_of(marketplace, settings(adaptation=kind), clusters) for kind in ("none", "hadamard"))
    batch = batches_of(marketplace, settings(), clusters).batch(0, 0)
    torch.testing.assert_close(plain(batch.windows, batch.tasks), prompted(batch.windows, batch.tasks))
    with torch.no_grad():
        prompted.scales[1] = 2.0  # type: ignore[index]
    moved = (plain(batch.windows, batch.tasks) - prompted(batch.windows, batch.tasks)).abs().amax((1, 2)) > 1e-6
    assert moved.tolist() == (batch.tasks == 1).tolist(), "a prompt is its own cluster's"


def test_hadamard_multiplies_items_before_positions(marketplace: Dataset, clusters: Clusters) -> None:
    network = network_of(marketplace, settings(), clusters)
    batch = batches_of(marketplace, settings(), clusters).batch(0, 0)
    with torch.no_grad():
        network.scales.normal_()  # type: ignore[union-attr]
    items = network.inputs.items(batch.windows.items) * network.scales[batch.tasks][:, None]  # type: ignore[index]
    expected = network.encoders[0](items + network.inputs.positions(batch.windows.positions), batch.windows.is_event)
    torch.testing.assert_close(network(batch.windows, batch.tasks), expected)


def test_a_prefix_stands_before_the_first_event_and_is_no_output(marketplace: Dataset, clusters: Clusters) -> None:
    network = network_of(marketplace, settings(adaptation="prefix"), clusters)
    batch = batches_of(marketplace, settings(), clusters).batch(0, 0)
    outputs = network(batch.windows, batch.tasks)
    assert outputs.shape[:2] == batch.windows.items.shape
    with torch.no_grad():
        network.prefixes[2].normal_()  # type: ignore[index]
    moved = (outputs - network(batch.windows, batch.tasks)).abs().amax(2) > 1e-6
    expected = (batch.tasks == 2)[:, None] & batch.windows.is_event
    assert torch.equal(moved & batch.windows.is_event, expected), "every event of these rows sees it"


def test_experts_mix_four_encoders_and_alike_ones_are_one(marketplace: Dataset, clusters: Clusters) -> None:
    network = network_of(marketplace, settings(adaptation="experts"), clusters)
    assert len(network.encoders) == 4
    for encoder in network.encoders[1:]:
        encoder.load_state_dict(network.encoders[0].state_dict())
    batch = batches_of(marketplace, settings(), clusters).batch(0, 0)
    with torch.no_grad():
        network.gates.normal_()  # type: ignore[union-attr]
    vectors = network.inputs(batch.windows)
    torch.testing.assert_close(
        network(batch.windows, batch.tasks), network.encoders[0](vectors, batch.windows.is_event)
    )


@pytest.mark.parametrize("loss", ["softmax", "unseen-softmax"])
def test_the_softmax_is_over_the_positives_cluster_alone(marketplace: Dataset, clusters: Clusters, loss: str) -> None:
    config = settings(objective=objective(loss))
    network, data = network_of(marketplace, config, clusters), marketplace
    batch = batches_of(data, config, clusters).batch(0, 0)
    found = network.loss(batch, within(config, data, clusters))
    hidden = network(batch.windows, batch.tasks).detach()
    table, w, expected = network.items.table().detach(), batch.windows.items.shape[1], 0.0
    for at, target in zip(batch.at.tolist(), batch.targets.tolist(), strict=True):
        row = at // w
        seen = set(batch.windows.items[row, : at % w + 1].tolist())
        members = [
            item
            for item in clusters.members(int(clusters.labels[target])).tolist()
            if loss == "softmax" or item == target or item not in seen
        ]
        scores = table[members] @ hidden[row, at % w]
        expected += float(torch.logsumexp(scores, 0) - scores[members.index(target)])
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("negatives", ["uniform", "popularity"])
@pytest.mark.parametrize(
    ("loss", "shared"),
    [("bce", False), ("bce", True), ("sampled-softmax", True), ("sampled-softmax", False), ("gbce", True)],
)
def test_drawn_negatives_are_of_the_cluster_and_none_that_the_user_chose(
    marketplace: Dataset, clusters: Clusters, loss: str, shared: bool, negatives: str
) -> None:
    config = settings(objective=objective(loss, 5, shared=shared, negatives=negatives))
    network = network_of(marketplace, config, clusters)
    made = batches_of(marketplace, config, clusters)
    batch = made.batch(0, 0)
    found = network.loss(batch, within(config, marketplace, clusters)).item()
    # The same draws again, and the sums by hand.
    shape = (len(clusters), 5) if shared else (batch.n_positives, 5)
    random = torch.rand(shape, generator=made.batch(0, 0).generator, dtype=torch.float64).numpy()
    hidden = network(batch.windows, batch.tasks).detach()
    table, w, expected = network.items.table().detach(), batch.windows.items.shape[1], 0.0
    n_left_out = 0
    for m, target in enumerate(batch.targets.tolist()):
        row, cluster = int(batch.at[m]) // w, int(clusters.labels[target])
        members = clusters.members(cluster)
        weights = marketplace.item_counts[members] if negatives == "popularity" else np.ones(len(members))
        chances = np.maximum(weights, 1) / np.maximum(weights, 1).sum()
        places = np.searchsorted(np.cumsum(chances), random[cluster if shared else m], side="right")
        chosen = {*batch.windows.items[row][batch.windows.is_event[row]].tolist(), int(batch.last[row])}
        kept = [place for place in places.tolist() if int(members[place]) not in chosen]
        n_left_out += 5 - len(kept)
        state = hidden[row, int(batch.at[m]) % w]
        positive, negative = table[target] @ state, table[members[kept]] @ state
        if loss == "sampled-softmax":
            corrected = negative - torch.from_numpy(np.log(5 * chances[kept])).float()
            expected += float(torch.logsumexp(torch.cat([positive[None], corrected]), 0) - positive)
        else:
            power = calibrated_exponent(5, len(members), 0.75) if loss == "gbce" else 1.0
            parts = torch.nn.functional.softplus(negative).sum() + power * torch.nn.functional.softplus(-positive)
            expected += float(parts) / 6
    assert n_left_out > 0
    assert found == pytest.approx(expected, rel=1e-4)


def test_hard_negatives_are_the_highest_scored_and_in_batch_ones_are_positives_of_the_cluster(
    marketplace: Dataset, clusters: Clusters
) -> None:
    made = batches_of(marketplace, settings(), clusters)
    batch = made.batch(0, 0)
    asked = torch.arange(5)
    config = settings(objective=objective("bce", 40, negatives="in-batch"))
    drawn = within(config, marketplace, clusters)._draw(asked, 40, batch)
    for cluster, start, stop in batch.groups:
        assert set(drawn[cluster].tolist()) <= set(batch.targets[start:stop].tolist())
    easy, hard = (settings(objective=objective("bce", 4, negatives=negatives)) for negatives in ("uniform", "hard"))
    network = network_of(marketplace, easy, clusters)
    losses = [network.loss(made.batch(0, 0), within(config, marketplace, clusters)).item() for config in (easy, hard)]
    assert losses[1] > losses[0]


@pytest.mark.parametrize("loss", ["bce", "sampled-softmax", "unseen-softmax", "softmax"])
@pytest.mark.parametrize("negatives", ["uniform", "popularity", "in-batch", "hard"])
def test_empty_and_one_item_clusters_do_no_harm(marketplace: Dataset, loss: str, negatives: str) -> None:
    labels = np.full(150, 1)
    labels[int(np.argmax(marketplace.item_counts))] = 2
    clusters = cut(labels, 4)
    config = settings(objective=objective(loss, 4, negatives=negatives))
    network = network_of(marketplace, config, clusters)
    batch = batches_of(marketplace, config, clusters).batch(0, 0)
    assert {cluster for cluster, *_ in batch.groups} == {1, 2}
    total = network.loss(batch, within(config, marketplace, clusters))
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


def test_late_prompts_are_given_to_one_pass_that_has_all_targets(marketplace: Dataset, clusters: Clusters) -> None:
    config = settings(adaptation="output", objective=objective("softmax"))
    network = network_of(marketplace, config, clusters)
    with torch.no_grad():
        network.scales.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    batch = batches_of(marketplace, config, clusters, size=1000).batch(0, 0)
    assert batch.tasks is None
    assert batch.n_passes == len(marketplace.users)
    assert batch.n_positives == np.minimum(marketplace.lengths - 1, config.length).sum()
    assert batch.clusters.tolist() == clusters.labels[batch.targets].tolist() == sorted(batch.clusters.tolist())
    outputs = network.encoders[0](network.inputs(batch.windows), batch.windows.is_event).flatten(0, 1).detach()
    table, expected = network.items.table().detach(), 0.0
    for at, target, cluster in zip(
        *(column.tolist() for column in (batch.at, batch.targets, batch.clusters)), strict=True
    ):
        members = clusters.members(cluster).tolist()
        scores = table[members] @ (outputs[at] * network.scales[cluster].detach())  # type: ignore[index]
        expected += float(torch.logsumexp(scores, 0) - scores[members.index(target)])
    found = network.loss(batch, within(config, marketplace, clusters))
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("prototypes", [1, 3])
def test_a_joint_intent_adds_the_loss_of_the_targets_cluster(
    marketplace: Dataset, clusters: Clusters, prototypes: int
) -> None:
    joint = IntentConfig(is_joint=True, prototypes=prototypes)
    config = settings(adaptation="output", intent=joint, objective=objective("unseen-softmax"))
    network = network_of(marketplace, config, clusters)
    batch, within_clusters = (
        batches_of(marketplace, config, clusters).batch(0, 0),
        within(config, marketplace, clusters),
    )
    both, head, network.intent = network.loss(batch, within_clusters), network.intent, None
    alone = network.loss(batch, within_clusters)
    states = network(batch.windows).flatten(0, 1)[batch.at]
    weights, borders = head.prototypes.weight, head.prototypes.bias  # type: ignore[union-attr]
    chances = (states @ weights.T + borders).softmax(-1).view(len(states), len(clusters), prototypes).sum(-1)
    expected = -chances[torch.arange(len(states)), batch.clusters].log().sum()
    torch.testing.assert_close(both - alone, expected, rtol=1e-4, atol=1e-3)


def test_a_joint_intent_needs_an_encoder_without_prompts() -> None:
    with pytest.raises(ValueError, match="adaptation 'output', not 'hadamard'"):
        settings(intent=IntentConfig(is_joint=True))
