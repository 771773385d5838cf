"""MIND's equations, against values worked by hand."""

import math

import numpy as np
import pytest
import torch

from headwater.data import Dataset
from headwater.nn.inputs import Catalogue
from headwater.nn.prefixes import PrefixBatches
from headwater.nn.sequences import Histories
from headwater.retrieval.towers.mind import MINDConfig, MINDNetwork, route, squash

CPU = torch.device("cpu")


def network(data: Dataset, **settings: object) -> MINDNetwork:
    config = MINDConfig.model_validate({"dimension": 8, "hidden": (8,), "interests": 4, **settings})
    torch.manual_seed(5)
    made = MINDNetwork(config, Catalogue.of(data, config.inputs)).eval()
    with torch.no_grad():
        made.inputs.items.own.mul_(50)  # scores that differ visibly
    return made


def test_two_rounds_of_routing_two_events_to_two_interests_by_hand() -> None:
    votes = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    logits = torch.tensor([[[math.log(3), 0.0], [0.0, 0.0]]])
    everything = torch.ones(1, 2, dtype=torch.bool)
    capsules, weights = route(votes, logits, everything, everything, 1)
    torch.testing.assert_close(weights, torch.tensor([[[0.75, 0.25], [0.5, 0.5]]]))
    torch.testing.assert_close(capsules, torch.tensor([[[0.75, 0.5], [0.25, 0.5]]]))
    # u₁ = (.75, .5) · √.8125 / 1.8125 = (.37299, .24866), u₂ = (.25, .5) · √.3125 / 1.3125 = (.10648, .21296);
    # event 1 then has logits ln 3 + .37299 and .10648, event 2 has .24866 and .21296.
    capsules, weights = route(votes, logits, everything, everything, 2)
    expected = torch.tensor([[[0.79659, 0.20341], [0.50892, 0.49108]]])
    torch.testing.assert_close(weights, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(capsules, expected.transpose(1, 2), atol=1e-5, rtol=0)


def test_events_arerouted_to_the_interests_there_are_and_padding_to_none() -> None:
    votes, logits = torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    is_event = torch.arange(5) < torch.tensor([[5], [3]])
    has_interest = torch.arange(4) < torch.tensor([[4], [2]])
    capsules, weights = route(votes, logits, is_event, has_interest, 3)
    torch.testing.assert_close(weights.sum(2), is_event.float())
    assert not weights[1, :, 2:].any()
    assert not capsules[1, 2:].any()
    alone, _ = route(votes[1:, :3], logits[1:, :3], is_event[1:, :3], has_interest[1:], 3)
    torch.testing.assert_close(alone[0], capsules[1])


def test_squashing_keeps_the_direction_and_brings_the_length_below_one() -> None:
    # |z| = 5: the length becomes 25/26.
    torch.testing.assert_close(squash(torch.tensor([3.0, 4.0])), torch.tensor([3.0, 4.0]) * 5 / 26)
    zero = torch.zeros(3, requires_grad=True)
    squash(zero).sum().backward()
    assert torch.isfinite(squash(zero)).all()
    assert zero.grad is not None
    assert torch.isfinite(zero.grad).all()


@pytest.mark.parametrize(
    ("events", "interests"), [(1, 1), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3), (15, 3), (16, 4), (40, 4)]
)
def test_longer_histories_have_more_interests_up_to_k(marketplace: Dataset, events: int, interests: int) -> None:
    made = network(marketplace)
    queries = marketplace.queries(np.array([0], np.int32))
    items = np.random.default_rng(0).permutation(len(marketplace.items))[:events].astype(np.int32)
    history = Histories.from_queries(queries, 0, CPU)._replace(
        lengths=np.array([events]),
        offsets=torch.tensor([0, events]),
        items=torch.from_numpy(items),
        times=torch.zeros(events),
    )
    vectors = made.encode(history, np.array([0]))
    assert vectors.shape == (1, 4, 8)
    assert len(torch.unique(vectors[0], dim=0)) == interests
    assert (vectors[0, interests:] == vectors[0, 0]).all()


def test_label_aware_attention_goes_from_the_mean_to_the_nearest_interest(marketplace: Dataset) -> None:
    batch = PrefixBatches(Histories.from_dataset(marketplace, CPU), 30, 500, positions=1).batch(0, 0)
    made = network(marketplace)
    vectors = made(batch.windows)
    products = torch.einsum("bkd,bd->bk", vectors, made.items(batch.targets))
    made.sharpness = 1e6
    best = vectors[torch.arange(len(vectors)), products.argmax(1)]
    torch.testing.assert_close(made.for_targets(vectors, batch), best)
    made.sharpness = 0.0
    for row, count in enumerate(batch.windows.counts.tolist()):
        interests = max(1, min(4, int(math.log2(count))))  # stand-ins weigh nothing
        torch.testing.assert_close(made.for_targets(vectors, batch)[row], vectors[row, :interests].mean(0))


def test_what_events_add_sums_to_the_length_of_the_capsule_that_the_item_is_nearest_to(marketplace: Dataset) -> None:
    made = network(marketplace)
    windows = Histories.from_dataset(marketplace, CPU).windows(np.arange(20), 30)
    items = torch.arange(20)
    best = torch.einsum("bkd,bd->bk", made(windows), made.items(items)).argmax(1)
    _, capsules, _ = made.routed(windows)
    parts = made.parts(windows, items)
    assert not parts[~windows.is_event].any()
    torch.testing.assert_close(parts.sum(1), capsules[torch.arange(20), best].norm(dim=1))
