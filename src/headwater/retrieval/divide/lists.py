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

ClusterSearch = Callable[[int, Tensor, int, "NDArray[np.int64]"], Found]
"""Finds the k best places of one cluster, for the states of some rows: cluster, states, k, rows."""


class Passes(NamedTuple):
    """What a batch of requests was answered with.

    Attributes
    ----------
    chances : (n, K) float64
        p(cluster | user); 0 for a request without a known item.
    asked : (n, K) int64
        Items asked of each cluster: its quota, or where the merge has none all that it may give, at most k.
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
        self._by_cluster = vectors[torch.from_numpy(clusters.by_cluster).to(vectors.device)].split(
            clusters.sizes.tolist()
        )
        self._method: Method = method
        self._made: dict[int, VectorIndex] = {}

    def vectors(self, cluster: int) -> Tensor:
        """(size, d) of one cluster's items, by their place in it."""
        return self._by_cluster[cluster]

    def search(self, cluster: int, states: Tensor, k: int, masks: ClusterMasks, rows: NDArray[np.int64]) -> Found:
        """The k best items (by their place in the cluster) for each of the states, which are of `rows`, ascending."""
        if cluster not in self._made:
            self._made[cluster] = VectorIndex(self.vectors(cluster), method=self._method)
        return self._made[cluster].search(states, k, allowed=masks.within(cluster, rows))

    def searching(self, masks: ClusterMasks) -> ClusterSearch:
        """`search` with those masks, as `gather` wants it."""
        return lambda cluster, states, k, rows: self.search(cluster, states, k, masks, rows)


class Gathered(NamedTuple):
    """Items of several clusters, best first, by cluster and then by query row.

    Attributes
    ----------
    rows, items : (m,) int32
    counts : (K, n) int64
        How many are of each cluster and row.
    """

    rows: NDArray[np.int32]
    items: NDArray[np.int32]
    counts: NDArray[np.int64]


def gather(
    asked: NDArray[np.int64],
    clusters: Clusters,
    states_of: StatesOf,
    search: ClusterSearch,
) -> Gathered:
    """As many items of each cluster as are asked (n, K), or as are found; every state is encoded in one go."""
    tasks, rows = np.nonzero(asked.T)
    states = states_of(rows, tasks)
    none = np.zeros(0, np.int32)
    parts, counts = [(none, none)], np.zeros(asked.T.shape, np.int64)
    for cluster in np.unique(tasks).tolist():
        start, stop = np.searchsorted(tasks, [cluster, cluster + 1]).tolist()
        mine = rows[start:stop]
        wanted = asked[mine, cluster]
        found = search(cluster, states[start:stop], int(wanted.max()), mine)
        kept = places_in_rows(found.rows) < wanted[found.rows]
        at = found.rows[kept]
        counts[cluster, mine] = np.bincount(at, minlength=len(mine))
        parts.append((mine[at].astype(np.int32), clusters.members(cluster)[found.items[kept]].astype(np.int32)))
    of_rows, of_items = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Gathered(of_rows, of_items, counts)


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

    Parameters
    ----------
    log_chances : (n, K)
        -inf in the row of a query that has no answer.

    Returns
    -------
    Candidates
        See `shared_out`.
    Passes
    """
    asked = asked_by_quota(log_chances, masks, k, alpha)
    found = gather(asked, masks.clusters, states_of, indexes.searching(masks))
    passes = Passes(np.exp(log_chances), asked, int((asked > 0).sum()))
    return shared_out(name, found, log_chances, asked, alpha), passes


def asked_by_quota(log_chances: NDArray[np.float64], masks: ClusterMasks, k: int, alpha: float) -> NDArray[np.int64]:
    """(n, K) the quota of each cluster; none where a query has no answer."""
    asked = np.zeros(log_chances.shape, np.int64)
    is_known = np.isfinite(log_chances).any(1)
    asked[is_known] = quotas(np.exp(log_chances[is_known]), masks.rooms()[is_known], k, alpha)
    return asked


def shared_out(
    name: str, found: Gathered, log_chances: NDArray[np.float64], asked: NDArray[np.int64], alpha: float
) -> Candidates:
    """The first items of each cluster, as many as are asked of it, as one list.

    A cluster's item at place p (from 0) stands in the list by p_k^α / (p + 1/2), so that every beginning of the list is
    shared out in about the same proportions. Scores say the place in the list, from 1 downwards.

    Parameters
    ----------
    found : Gathered
        What was found of the clusters, at least as much as is asked, or all there is.
    """
    given = np.minimum(asked.T, found.counts)
    firsts = (np.cumsum(found.counts) - found.counts.ravel()).reshape(given.shape)
    begins = (np.cumsum(given) - given.ravel()).reshape(given.shape)
    place = np.arange(given.sum()) - np.repeat(begins, given.ravel())
    at = np.repeat(firsts, given.ravel()) + place
    rows, items = found.rows[at], found.items[at]
    weights = alpha * np.repeat(log_chances.T, given.ravel()) - np.log(place + 0.5)
    order = np.lexsort((items, -weights, rows))
    rows = rows[order]
    return Candidates.single(name, len(log_chances), rows, items[order], 1 / (1.0 + places_in_rows(rows)))


def places_in_rows(rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """(m,) the place of each entry among those of its row, from 0; equal rows stand together."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1) != 0)
    sizes = np.diff(starts, append=len(rows))
    return np.arange(len(rows)) - np.repeat(starts, sizes)
