"""Items of several clusters as one list: asked by quota, searched within clusters, and put in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from headwater.index.exact import Found
from headwater.index.vector import Method, VectorIndex
from headwater.retrieval.base import Candidates
from headwater.retrieval.divide.clusters import Clusters
from headwater.retrieval.divide.masks import ClusterMasks
from headwater.retrieval.divide.quotas import quotas

if TYPE_CHECKING:
    from numpy.typing import NDArray

StatesOf = Callable[["NDArray[np.int64]", "NDArray[np.int64]"], Tensor]
"""(m, d) states of query rows, each for a cluster: what the rows' vectors are compared with there."""


class Passes(NamedTuple):
    """What a batch of requests was answered with.

    Attributes
    ----------
    chances : (n, K) float64
        p(cluster | user); 0 for a request without a known item.
    asked : (n, K) int64
        Items asked of each cluster.
    n : int
        Pairs of a user and a cluster that were encoded and searched.
    """

    chances: NDArray[np.float64]
    asked: NDArray[np.int64]
    n: int


class ClusterIndexes:
    """An index over each cluster's items, by its size exact or approximate, made when it is first asked.

    Parameters
    ----------
    vectors : (items, d)
    clusters : Clusters
    method : "auto", "exact", "ivf" or "hnsw"
    """

    def __init__(self, vectors: Tensor, clusters: Clusters, method: Method) -> None:
        self._vectors, self._clusters = vectors, clusters
        self._method: Method = method
        self._made: dict[int, VectorIndex] = {}

    def vectors(self, cluster: int) -> Tensor:
        """(size, d) of one cluster's items, by their place in it."""
        return self._vectors[self._codes(cluster)]

    def search(self, cluster: int, states: Tensor, k: int, masks: ClusterMasks, rows: NDArray[np.int64]) -> Found:
        """The k best items (by their place in the cluster) for each of the states, which are of `rows`, ascending."""
        if cluster not in self._made:
            self._made[cluster] = VectorIndex(self.vectors(cluster), method=self._method)
        return self._made[cluster].search(states, k, allowed=masks.within(cluster, rows))

    def _codes(self, cluster: int) -> Tensor:
        return torch.from_numpy(self._clusters.members(cluster)).to(self._vectors.device)


class Gathered(NamedTuple):
    """Items of several clusters: query rows, clusters, item codes and scores, each (m,)."""

    rows: NDArray[np.int64]
    clusters: NDArray[np.int64]
    items: NDArray[np.int32]
    scores: NDArray[np.float64]


def gather(
    asked: NDArray[np.int64],
    clusters: Clusters,
    states_of: StatesOf,
    search: Callable[[int, Tensor, int, NDArray[np.int64]], Found],
) -> Gathered:
    """As many items of each cluster as are asked (n, K), or as are found; every state is encoded in one go.

    `search(cluster, states, k, rows)` finds the k best places of one cluster.
    """
    tasks, rows = np.nonzero(asked.T)
    states = states_of(rows, tasks)
    parts = []
    for cluster in np.unique(tasks).tolist():
        start, stop = np.searchsorted(tasks, [cluster, cluster + 1]).tolist()
        mine = rows[start:stop]
        wanted = asked[mine, cluster]
        found = search(cluster, states[start:stop], int(wanted.max()), mine)
        kept = places_in_rows(found.rows) < wanted[found.rows]
        codes = clusters.members(cluster)[found.items[kept]].astype(np.int32)
        at = found.rows[kept]
        parts.append(Gathered(mine[at], np.full(len(at), cluster), codes, found.scores[kept].astype(np.float64)))
    none = np.zeros(0, np.int64)
    empty = Gathered(none, none, none.astype(np.int32), none.astype(np.float64))
    return Gathered(*(np.concatenate(c) for c in zip(empty, *parts, strict=True)))


def by_quota(
    name: str,
    log_chances: NDArray[np.float64],
    masks: ClusterMasks,
    indexes: ClusterIndexes,
    states_of: StatesOf,
    *,
    k: int,
    alpha: float,
) -> tuple[Candidates, Passes]:
    """Exactly k items of each query, or all that it has room for: of each cluster its quota (see `quotas`).

    A cluster's item at place p (from 0) stands in the list by p_k^α / (p + 1/2), so that every beginning of the list is
    shared out in about the same proportions. Scores say the place in the list, from 1 downwards.

    Parameters
    ----------
    log_chances : (n, K)
        -inf in the row of a query that has no answer.
    """
    asked = np.zeros(log_chances.shape, np.int64)
    is_known = np.isfinite(log_chances).any(1)
    chances = np.exp(log_chances)
    asked[is_known] = quotas(chances[is_known], masks.rooms()[is_known], k, alpha)
    found = gather(
        asked,
        masks.clusters,
        states_of,
        lambda cluster, states, wanted, rows: indexes.search(cluster, states, wanted, masks, rows),
    )
    place = places_in_rows(found.clusters * len(log_chances) + found.rows)
    weights = alpha * log_chances[found.rows, found.clusters] - np.log(place + 0.5)
    order = np.lexsort((found.items, -weights, found.rows))
    rows = found.rows[order]
    scores = 1 / (1.0 + places_in_rows(rows))
    candidates = Candidates.single(name, len(log_chances), rows, found.items[order], scores)
    return candidates, Passes(chances, asked, int((asked > 0).sum()))


def places_in_rows(rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """(m,) the place of each entry among those of its row, from 0; equal rows stand together."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1) != 0)
    sizes = np.diff(starts, append=len(rows))
    return np.arange(len(rows)) - np.repeat(starts, sizes)
