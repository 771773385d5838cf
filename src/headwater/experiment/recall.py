"""What greedy retrieval along an index finds of what scoring every item finds, and what that costs in quality."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headwater.data import HeldOut, Split
from headwater.errors import ConfigError
from headwater.experiment.measure import Say, fit_channel
from headwater.metrics.protocols import FullRanking
from headwater.recipe import Recipe
from headwater.retrieval.base import Candidates, Channel, Mask
from headwater.retrieval.evaluation import Latency, evaluate, latency, validation_figure
from headwater.retrieval.paths.channel import Paths
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.search import recall_against_exact

KS = (10, 50, 100, 300)
"""Cut-offs of recall."""

QUERIES_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class IndexRecall:
    """One way to search, measured.

    Attributes
    ----------
    neighbours, followed : int or None
        k of the index and m, triggers followed; None where every item was scored.
    recall : dict of int to float
        Cut-off K -> share of exact mode's first K candidates, what was seen left out, that stand among these first K.
    metrics : dict of str to float
        `hr@10` and `ndcg@10`, full ranking.
    retrieving : Latency
        Of one query at a time, the largest cut-off asked for.
    index_seconds : float
        To build the index.
    """

    neighbours: int | None
    followed: int | None
    recall: dict[int, float]
    metrics: dict[str, float]
    retrieving: Latency
    index_seconds: float


def trained_paths(recipe: Recipe, split: Split, *, say: Say = lambda _: None) -> Paths:
    """The recipe's first Paths channel, fitted on the training part and scoring every item.

    Raises `ConfigError` where it has none.
    """
    settings = next((one for one in recipe.channels if isinstance(one, PathsConfig)), None)
    if settings is None:
        raise ConfigError(f"the recipe on {recipe.dataset} has no channel of kind 'paths'")
    exact = settings.model_copy(update={"search": "exact"})
    return fit_channel(exact, split.train, validate=validation_figure(split), say=say)[0]


def recall_of_index(
    channel: Paths, split: Split, held_out: HeldOut, *, neighbours: Sequence[int], followed: Sequence[int]
) -> Iterator[IndexRecall]:
    """Exact mode, then each depth k with each number m of followed triggers; each index is built of 10 k pairs an item.

    Parameters
    ----------
    channel : Paths
        Trained on the training part of `split`.
    """
    exact = channel.exactly()
    reference = _answers(exact, held_out)
    yield _measured(exact, split, held_out, reference, reference, None, None, 0.0)
    for k in neighbours:
        started = time.perf_counter()
        index = channel.greedily(split.train, neighbours=k, candidates_per_item=10 * k).index
        seconds = time.perf_counter() - started
        for m in followed:
            greedy = channel.along(index, followed_triggers=m)
            yield _measured(greedy, split, held_out, _answers(greedy, held_out), reference, k, m, seconds)


def _answers(channel: Channel, held_out: HeldOut) -> Candidates:
    return Candidates.stack(
        [
            (start, channel.retrieve(queries, max(KS), allowed=Mask.seen(queries)))
            for start, queries in held_out.queries.batches(QUERIES_AT_ONCE)
        ]
    )


def _measured(
    channel: Channel,
    split: Split,
    held_out: HeldOut,
    found: Candidates,
    reference: Candidates,
    neighbours: int | None,
    followed: int | None,
    seconds: float,
) -> IndexRecall:
    metrics = evaluate(channel, held_out, FullRanking(), train=split.train, ks=(10,)).metrics
    return IndexRecall(
        neighbours=neighbours,
        followed=followed,
        recall={
            k: recall_against_exact(found.select(found.ranks() < k), reference.select(reference.ranks() < k))
            for k in KS
        },
        metrics={name: metrics[name] for name in ("hr@10", "ndcg@10")},
        retrieving=latency(channel, held_out.queries, k=max(KS)),
        index_seconds=seconds,
    )
