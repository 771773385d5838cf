"""A mask cut by cluster: how many items each cluster has room for, and what may be returned of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from headwater.retrieval.base import Mask
from headwater.retrieval.divide.clusters import Clusters

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ClusterMasks:
    """The listed items of a mask, each known by its cluster and its place there.

    Attributes
    ----------
    clusters : Clusters
    rows, places : (m,) int64
        Distinct listed items of known codes: the query row, and the place in the cluster; by cluster, then row.
    starts : (K + 1,) int64
        Where each cluster's begin.
    is_allowlist : bool
    catalogue : (items,) bool
        Which items may be returned to anybody, by cluster and place (`Clusters.by_cluster`).
    n_rows : int
    """

    clusters: Clusters
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    starts: NDArray[np.int64]
    is_allowlist: bool
    catalogue: NDArray[np.bool_]
    n_rows: int

    @classmethod
    def of(cls, allowed: Mask | None, clusters: Clusters, n_rows: int) -> Self:
        """Cut `allowed` by cluster; codes that the clusters do not have are no items of the model."""
        n_items = len(clusters.labels)
        mask = allowed or Mask(np.zeros(n_rows + 1, np.int64), np.zeros(0, np.int32))
        listed = np.repeat(np.arange(n_rows, dtype=np.int64), np.diff(mask.offsets))
        items = mask.items[mask.offsets[0] : mask.offsets[-1]]
        is_known = (items >= 0) & (items < n_items)
        rows, items = np.divmod(np.unique(listed[is_known] * max(n_items, 1) + items[is_known]), max(n_items, 1))
        catalogue = np.ones(n_items, bool)
        if mask.catalogue is not None:
            catalogue[: len(mask.catalogue)] = mask.catalogue[:n_items]
        of_cluster = clusters.labels[items]
        order = np.argsort(of_cluster, kind="stable")
        starts = np.searchsorted(of_cluster[order], np.arange(len(clusters) + 1))
        return cls(
            clusters,
            rows[order],
            clusters.places[items[order]],
            starts.astype(np.int64),
            mask.is_allowlist,
            catalogue[clusters.by_cluster],
            n_rows,
        )

    def rooms(self) -> NDArray[np.int64]:
        """(rows, K) how many items of each cluster may be returned."""
        of_cluster = np.repeat(np.arange(len(self.clusters)), np.diff(self.starts))
        counts = self.catalogue[self.clusters.starts[of_cluster] + self.places]
        listed = np.zeros((self.n_rows, len(self.clusters)), np.int64)
        np.add.at(listed, (self.rows, of_cluster), counts)
        if self.is_allowlist:
            return listed
        labels = self.clusters.labels[self.clusters.by_cluster]
        return np.bincount(labels[self.catalogue], minlength=len(self.clusters)) - listed

    def within(self, cluster: int, rows: NDArray[np.int64]) -> Mask:
        """The mask of some rows, ascending, over the places of one cluster."""
        mine = slice(int(self.starts[cluster]), int(self.starts[cluster + 1]))
        at = np.searchsorted(rows, self.rows[mine])
        is_asked = rows[np.minimum(at, len(rows) - 1)] == self.rows[mine]
        offsets = np.searchsorted(at[is_asked], np.arange(len(rows) + 1)).astype(np.int64)
        begin = int(self.clusters.starts[cluster])
        catalogue = self.catalogue[begin : begin + int(self.clusters.sizes[cluster])]
        return Mask(offsets, self.places[mine][is_asked].astype(np.int32), self.is_allowlist, catalogue)
