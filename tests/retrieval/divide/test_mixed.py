"""SASRec+ and the quota merge over a channel that knows no clusters."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from small import cut, objective, training

from headwater.data import Dataset, leave_one_out
from headwater.errors import ConfigError
from headwater.nn.batches import NextItemBatches
from headwater.nn.inputs import Catalogue
from headwater.nn.objective import Objective
from headwater.nn.sequences import Histories
from headwater.retrieval import Mask
from headwater.retrieval.divide.clusters import ClusterConfig, clusters_of
from headwater.retrieval.divide.config import IntentConfig
from headwater.retrieval.divide.intent import Intent
from headwater.retrieval.divide.merged import QuotaMerged, chances_of_scores
from headwater.retrieval.divide.mixed import SASRecPlus, SASRecPlusConfig, SASRecPlusNetwork
from headwater.retrieval.sequence.sasrec import SASRec, SASRecConfig

COLUMN = ClusterConfig(source="column", n=6)
SIZES: dict[str, Any] = {"length": 12, "dimension": 16, "heads": 2, "layers": 1, "dropout": 0.0}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def plus(mix: float, loss: str = "bce", n: int = 1, **changed: Any) -> SASRecPlusConfig:
    values = SIZES | {"clusters": COLUMN, "mix": mix, "objective": objective(loss, n, shared=False)}
    return SASRecPlusConfig(**values | {"training": training(2)} | changed)


def test_without_hard_negatives_it_is_sasrec(marketplace: Dataset) -> None:
    queries = marketplace.queries(np.arange(50, dtype=np.int32))
    plain = SASRec(SASRecConfig(**SIZES, objective=objective("bce", 1), training=training(2))).fit(marketplace)
    mixed = SASRecPlus(plus(0.0, objective=objective("bce", 1))).fit(marketplace)
    assert plain.retrieve(queries, 9).items.tolist() == mixed.retrieve(queries, 9).items.tolist()


@pytest.mark.parametrize("excludes_seen", [False, True])
@pytest.mark.parametrize("loss", ["bce", "sampled-softmax"])
def test_the_loss_is_what_its_draws_give_on_average(marketplace: Dataset, loss: str, excludes_seen: bool) -> None:
    """Over many draws: BCE by the mixture's chances, and the softmax's corrected sum by the sum over all items."""
    config, cpu = plus(0.4, loss, 4000), torch.device("cpu")
    config = config.model_copy(
        update={"objective": config.objective.model_copy(update={"excludes_seen": excludes_seen})}
    )
    clusters = cut(np.arange(150) % 5, 5)
    torch.manual_seed(0)
    network = SASRecPlusNetwork(config, Catalogue.of(marketplace, config.inputs), clusters)
    with torch.no_grad():
        network.inputs.items.own.normal_(std=0.3)
    few = marketplace.keep(marketplace.event_users < 2)
    batch = NextItemBatches(Histories.from_dataset(few, cpu), 12, 8).batch(0, 0)
    found = network.loss(batch, Objective(config.objective, marketplace.item_counts, cpu)).item()
    hidden = network(batch.windows).flatten(0, 1)[batch.at].detach()
    scores, positives = hidden @ network.items.table().detach().T, batch.targets
    at = torch.arange(len(positives))
    labels = torch.arange(150) % 5
    is_positive = torch.arange(150) == positives[:, None]
    is_left_out = is_positive.clone()
    if excludes_seen:
        for row, items in enumerate(batch.seen().tolist()):
            is_left_out[row, [item for item in items if item >= 0]] = True
    if loss == "bce":
        chances = 0.6 / 150 + 0.4 / 30 * (labels == labels[positives][:, None])
        negative = (chances * torch.nn.functional.softplus(scores)).masked_fill(is_left_out, 0).sum(1)
        expected = ((4000 * negative + torch.nn.functional.softplus(-scores[at, positives])) / 4001).sum()
    else:
        kept = scores.masked_fill(is_left_out & ~is_positive, -torch.inf)
        expected = (kept.logsumexp(1) - scores[at, positives]).sum()
    assert found == pytest.approx(expected.item(), rel=0.01)


def test_a_mixture_trains_and_needs_drawn_negatives(marketplace: Dataset) -> None:
    channel = SASRecPlus(plus(0.5, training=training(4))).fit(marketplace)
    assert channel.report is not None
    losses = [loss for _, loss, _ in channel.report.curve]
    assert losses[-1] < losses[0]
    with pytest.raises(ValidationError, match="mix needs drawn negatives"):
        plus(0.5, "softmax")


def test_quotas_over_plain_sasrec_are_exact_by_its_scores_and_by_a_classifier(marketplace: Dataset) -> None:
    split = leave_one_out(marketplace)
    config = plus(0.0, intent=IntentConfig(dimension=16, layers=1, training=training(2)))
    channel = SASRecPlus(config).fit(split.train)
    clusters = clusters_of(split.train, COLUMN)
    intent = Intent.fit(split.train, clusters, config, stops_early=False)
    queries, seen = split.test.queries, Mask.seen(split.test.queries)
    chances = chances_of_scores(channel, clusters)(queries)
    np.testing.assert_allclose(np.exp(chances).sum(1), 1.0)
    table = channel.network.items.table().detach()
    _, states = channel.encode(queries)
    weights = (table @ states[3]).double().exp().numpy()
    weights[queries.items[queries.offsets[3] : queries.offsets[4]]] = 0.0
    expected = np.bincount(clusters.labels, weights=weights, minlength=6) / weights.sum()
    np.testing.assert_allclose(np.exp(chances[3]), expected, rtol=1e-4)
    for log_chances in (chances_of_scores(channel, clusters), lambda asked: intent.log_chances(asked, 150)):
        for alpha in (0.0, 1.0, 1e6):
            merged = QuotaMerged(channel, clusters, log_chances, alpha)
            found = merged.retrieve(queries, 12, allowed=seen)
            assert (np.diff(found.offsets) == 12).all()
            assert seen.allows(found.rows, found.items).all()
            if alpha == 0:
                per_cluster = np.bincount(clusters.labels[found.of(0)], minlength=6)
                assert per_cluster.tolist() == [2] * 6
            assert merged.explain(queries.slice(0, 1), found.select(found.rows == 0))
    with pytest.raises(ConfigError, match="alpha"):
        replace(merged, alpha=-1.0)
