"""The same quota merge over any channel whose users and items are vectors: what quotas do without prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from headwater.data.queries import Queries
from headwater.retrieval.base import Candidates, Mask, Reasons
from headwater.retrieval.divide.clusters import Clusters
from headwater.retrieval.divide.lists import ClusterIndexes, StatesOf, by_quota
from headwater.retrieval.divide.masks import ClusterMasks
from headwater.retrieval.divide.quotas import require_alpha
from headwater.retrieval.learned import LearnedChannel

if TYPE_CHECKING:
    from numpy.typing import NDArray

LogChances = Callable[[Queries], "NDArray[np.float64]"]
"""(n, K) log p(cluster | user) of requests, -inf where a history has no known item: `Intent.log_chances`, say."""


@dataclass(frozen=True)
class QuotaMerged:
    """A trained channel's items, shared out among clusters by quota as `Divide` does.

    Attributes
    ----------
    channel : LearnedChannel
        One vector a user.
    clusters : Clusters
    log_chances : function
        From an intent model, or `chances_of_scores`.
    alpha : float
        See `quotas`.

    Raises
    ------
    ConfigError
        alpha is negative or not finite.
    """

    channel: LearnedChannel[Any]
    clusters: Clusters
    log_chances: LogChances
    alpha: float = 1.0
    _indexes: dict[str, ClusterIndexes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_alpha(self.alpha)

    @property
    def name(self) -> str:
        return self.channel.name

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        """Exactly k items of each query, or all that may be returned. Raises `ValueError` where k is not positive."""
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        masks = ClusterMasks.of(allowed, self.clusters, len(queries))
        chances, states_of = self.log_chances(queries), self.states_of(queries)
        return by_quota(self.name, chances, masks, self.indexes, states_of, k=k, alpha=self.alpha)[0]

    @property
    def indexes(self) -> ClusterIndexes:
        """Of each cluster's items."""
        if not self._indexes:
            table = self.channel.network.items.table().detach()
            self._indexes["made"] = ClusterIndexes(table, self.clusters, self.channel.config.search)
        return self._indexes["made"]

    def states_of(self, queries: Queries) -> StatesOf:
        """The channel's own states of `queries`, the same for every cluster."""
        known, states = self.channel.encode(queries)
        at = np.zeros(len(queries), np.int64)
        at[known] = np.arange(len(known))
        return lambda rows, tasks: states[torch.from_numpy(at[rows]).to(states.device)]

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        """See the channel's own."""
        return self.channel.explain(queries, candidates)


def chances_of_scores(channel: LearnedChannel[Any], clusters: Clusters) -> LogChances:
    """p(cluster | user) by the channel's own scores: Σ exp(score) of the cluster's items over that of all.

    Items of the history are left out, since nobody is given them again.
    """

    @torch.inference_mode()
    def log_chances(queries: Queries) -> NDArray[np.float64]:
        rows, states = channel.encode(queries)
        table = channel.network.items.table()
        labels = torch.from_numpy(clusters.labels.astype(np.int64)).to(table.device)
        found = np.full((len(queries), len(clusters)), -np.inf)
        size = max(1, (1 << 24) // max(len(table), 1))
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            scores = (states[start : start + size] @ table.T).float()
            asked = queries.take(block)
            is_known = (asked.items >= 0) & (asked.items < len(table))
            at = [
                torch.from_numpy(part[is_known].astype(np.int64)).to(table.device)
                for part in (asked.rows(), asked.items)
            ]
            scores[at[0], at[1]] = -torch.inf
            weights = (scores - scores.amax(1, keepdim=True)).double().exp()
            total = weights.new_zeros(len(block), len(clusters)).index_add_(1, labels, weights)
            chances = total / total.sum(1, keepdim=True)
            found[block] = chances.clamp(min=1e-300).log().cpu().numpy()
        return found

    return log_chances
