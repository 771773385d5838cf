"""A mask cut by cluster: how many items each cluster has room for, and what may be returned of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from headwater.retrieval.base import Mask

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ClusterMasks:
    """The listed items of a mask, each known by its cluster and its place there.

    Attributes
    ----------
    rows, clusters, places : (m,) int64
        Distinct listed items of known codes, ascending by row.
    is_allowlist : bool
    catalogues : list of (size,) bool
        For each cluster, which of its items may be returned to anybody.
    n_rows : int
    """

    rows: NDArray[np.int64]
    clusters: NDArray[np.int64]
    places: NDArray[np.int64]
    is_allowlist: bool
    catalogues: list[NDArray[np.bool_]]
    n_rows: int

    @classmethod
    def of(cls, allowed: Mask | None, labels: NDArray[np.integer], n_clusters: int, n_rows: int) -> Self:
        """Cut `allowed` by labels (items,); codes beyond these are no items of the model."""
        n_items = len(labels)
        mask = allowed or Mask(np.zeros(n_rows + 1, np.int64), np.zeros(0, np.int32))
        listed = np.repeat(np.arange(n_rows), np.diff(mask.offsets)).astype(np.int64) * max(n_items, 1)
        is_known = (mask.items >= 0) & (mask.items < n_items)
        pairs = np.unique(listed[is_known] + mask.items[is_known])
        rows, items = np.divmod(pairs, max(n_items, 1))
        catalogue = np.ones(n_items, bool)
        if mask.catalogue is not None:
            catalogue[: len(mask.catalogue)] = mask.catalogue[:n_items]
        members = [np.flatnonzero(labels == k) for k in range(n_clusters)]
        place = np.zeros(n_items, np.int64)
        for of_cluster in members:
            place[of_cluster] = np.arange(len(of_cluster))
        clusters = labels[items].astype(np.int64)
        catalogues = [catalogue[of_cluster] for of_cluster in members]
        return cls(rows, clusters, place[items], mask.is_allowlist, catalogues, n_rows)

    def rooms(self) -> NDArray[np.int64]:
        """(rows, K) how many items of each cluster may be returned."""
        listed = np.zeros((self.n_rows, len(self.catalogues)), np.int64)
        sizes = np.array([len(mask) for mask in self.catalogues])
        everything = np.concatenate([np.zeros(0, bool), *self.catalogues])
        counts = everything[(np.cumsum(sizes) - sizes)[self.clusters] + self.places]
        np.add.at(listed, (self.rows, self.clusters), counts)
        if self.is_allowlist:
            return listed
        return np.array([mask.sum() for mask in self.catalogues], np.int64) - listed

    def within(self, cluster: int, rows: NDArray[np.int64]) -> Mask:
        """The mask of some rows, ascending, over the places of one cluster."""
        at = np.full(self.n_rows, -1, np.int64)
        at[rows] = np.arange(len(rows))
        mine = (self.clusters == cluster) & (at[self.rows] >= 0)
        offsets = np.searchsorted(at[self.rows[mine]], np.arange(len(rows) + 1)).astype(np.int64)
        return Mask(offsets, self.places[mine].astype(np.int32), self.is_allowlist, self.catalogues[cluster])
