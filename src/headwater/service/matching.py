"""What finds and orders candidates, for one request or for many at once: channels, their merge, and the ranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headwater.data.queries import Queries
from headwater.data.vocabulary import Vocabulary
from headwater.nearline.channel import NearlineChannel
from headwater.ranking.base import Ranker
from headwater.retrieval.base import Candidates, Channel, Mask
from headwater.retrieval.merge import WeightedQuotas, merge
from headwater.store.base import Store


@dataclass(frozen=True)
class Matching:
    """The stages source and score, which know queries alone: who asks, and how many ask at once, is the caller's.

    Attributes
    ----------
    channels : sequence of Channel
    quotas : WeightedQuotas
        With a weight for each of them.
    ranker : Ranker
    """

    channels: Sequence[Channel]
    quotas: WeightedQuotas
    ranker: Ranker

    def source(self, queries: Queries, pool: int, allowed: Mask) -> Candidates:
        """Ask every channel for `pool` candidates of each query, and merge them into as many by weighted quotas."""
        parts = [channel.retrieve(queries, pool, allowed=allowed) for channel in self.channels]
        return merge(parts, pool, strategy=self.quotas)

    def score(self, queries: Queries, candidates: Candidates) -> Candidates:
        """The candidates of each query in the ranker's order, with its scores; equal scores by item code."""
        scores = self.ranker.score(queries, candidates)
        order = np.lexsort((candidates.items, -scores, candidates.rows))
        ranked = candidates.select(order)
        return Candidates(ranked.n_queries, ranked.rows, ranked.items, scores[order], ranked.channels, ranked.names)


def nearline_channels(store: Store, items: Vocabulary, weights: Mapping[str, float]) -> list[NearlineChannel]:
    """A channel for each scenario that `weights` names, as ``nearline/main_search``; one of all scenarios without."""
    scenarios = [name.removeprefix("nearline/") for name in weights if name.startswith("nearline/")]
    return NearlineChannel.separate(store, items, scenarios) or [NearlineChannel(store, items)]
