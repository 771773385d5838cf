"""Which cluster each item is of: by item2vec and k-means, by a column of the items, or as given."""

from __future__ import annotations

import io
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np
from pydantic import Field

from headwater.config import Settings
from headwater.data.dataset import Dataset
from headwater.data.item2vec import item2vec
from headwater.errors import ConfigError
from headwater.index.k_means import k_means

if TYPE_CHECKING:
    import scipy.sparse as sp
    from numpy.typing import NDArray


OTHERS = "others"
"""The cluster of all values of a column that have none of their own."""


class ClusterConfig(Settings):
    """How items are cut into clusters."""

    source: Literal["item2vec", "column", "file"] = "item2vec"
    """`item2vec`: k-means over skip-gram vectors of histories (section 2.2); `column`: a column of the items, as the
    paper's production system has it; `file`: what `headwater data cluster` wrote,
    for machines without gensim and faiss."""

    n: int = Field(default=10, ge=1)
    """K (10 on MovieLens-1M, 15 on KuaiRand in the paper); a `file` has its own. With `column` the n - 1 most common
    values have a cluster each, and all others one together."""

    column: str = "category"
    """Of `column`."""

    path: Path | None = None
    """Of `file`."""

    dimension: int = Field(default=64, ge=1)
    """Of item2vec (32..128)."""

    window: int = Field(default=10, ge=1)
    """Of item2vec: events before and behind (5..20)."""

    epochs: int = Field(default=20, ge=1)
    """Of item2vec (10..50)."""

    seed: int = 0
    """Of item2vec and k-means; one thread each, so that one seed has one result."""


@dataclass(frozen=True)
class Clusters:
    """A partition of the catalogue.

    Attributes
    ----------
    labels : (items,) int32
        The cluster of each item.
    names : tuple of str
        Of every cluster, K of them.
    vectors : (items, d) float32, or None
        What k-means cut, for new items to join by.
    """

    labels: NDArray[np.int32]
    names: tuple[str, ...]
    vectors: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < len(self.names)):
            raise ConfigError(f"labels of clusters must be 0 to {len(self.names) - 1}")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(K,) items of each cluster; a cluster may be empty."""
        return np.bincount(self.labels, minlength=len(self)).astype(np.int64)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(K,) where each cluster's items begin in `by_cluster`."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def by_cluster(self) -> NDArray[np.int64]:
        """(items,) item codes, those of the first cluster first, ascending within each."""
        return np.argsort(self.labels, kind="stable").astype(np.int64)

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """(items,) the place of each item among those of its cluster."""
        places = np.empty(len(self.labels), np.int64)
        places[self.by_cluster] = np.arange(len(self.labels)) - self.starts[self.labels[self.by_cluster]]
        return places

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """(items,) where each item stands in `by_cluster`."""
        return self.starts[self.labels] + self.places

    def members(self, cluster: int) -> NDArray[np.int64]:
        """Item codes of one cluster, ascending."""
        start = int(self.starts[cluster])
        return self.by_cluster[start : start + int(self.sizes[cluster])]

    def centroids(self) -> NDArray[np.float32]:
        """(K, d) means of the clusters' vectors brought to length 1, as k-means has them; 0 of an empty one.

        Raises `ConfigError` where there are no vectors.
        """
        if self.vectors is None:
            raise ConfigError("these clusters have no vectors: items join them by their column, not by nearness")
        total = np.zeros((len(self), self.vectors.shape[1]), np.float64)
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        np.add.at(total, self.labels, self.vectors / np.maximum(lengths, 1e-12))
        return (total / np.maximum(self.sizes, 1)[:, None]).astype(np.float32)

    def nearest(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """(n,) the cluster, of those that have items, whose centroid is nearest to each of (n, d) vectors."""
        centroids = self.centroids().astype(np.float64)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        apart = (centroids**2).sum(1) - 2 * unit.astype(np.float64) @ centroids.T
        apart[:, self.sizes == 0] = np.inf
        return apart.argmin(1).astype(np.int32)

    def grown(self, labels: NDArray[np.int32], vectors: NDArray[np.float32] | None = None) -> Clusters:
        """With more items behind those that there are: their clusters, and their vectors where items have any."""
        if (self.vectors is None) != (vectors is None):
            raise ConfigError("new items need vectors where the others have them, and only there")
        together = None if self.vectors is None or vectors is None else np.concatenate([self.vectors, vectors])
        return Clusters(np.concatenate([self.labels, labels]).astype(np.int32), self.names, together)


def clusters_of(data: Dataset, config: ClusterConfig) -> Clusters:
    """Cut the items of `data`.

    Raises
    ------
    ConfigError
        More clusters than items are asked for, the column or file is not there or of another catalogue, or gensim or
        faiss is missing.
    """
    if config.source == "file":
        return load_clusters(config.path, data)
    if config.n > len(data.items):
        raise ConfigError(f"{config.n} clusters are asked of {len(data.items)} items; set clusters.n to fewer")
    if config.source == "column":
        return _by_column(data, config)
    try:
        vectors = item2vec(
            data, dimension=config.dimension, window=config.window, epochs=config.epochs, seed=config.seed
        )
        labels = k_means(vectors, config.n, seed=config.seed)
    except ImportError as error:
        raise ConfigError(
            f"{error}: make clusters where gensim and faiss are (headwater data cluster), and give them as a file"
        ) from error
    return Clusters(labels, tuple(f"cluster {at}" for at in range(config.n)), vectors)


def _by_column(data: Dataset, config: ClusterConfig) -> Clusters:
    """The n - 1 most common values, and one cluster of all other items, those without a value among them."""
    values = _values(data, config.column)
    known, counts = np.unique([value for value in values if value is not None], return_counts=True)
    common = [str(value) for value in known[np.lexsort((known, -counts))]]
    is_whole = len(common) <= config.n and None not in values
    names = tuple(common) if is_whole else (*common[: config.n - 1], OTHERS)
    return Clusters(clusters_of_values(data, config.column, names), names)


def clusters_of_values(data: Dataset, column: str, names: tuple[str, ...]) -> NDArray[np.int32]:
    """(items,) the cluster named by each item's value of a column, and the last one where none is."""
    at = {name: place for place, name in enumerate(names)}
    values = (OTHERS if value is None else value for value in _values(data, column))
    return np.array([at.get(value, len(names) - 1) for value in values], np.int32)


def _values(data: Dataset, column: str) -> list[str | None]:
    table = data.item_attributes
    if column not in table.column_names:
        nearest = get_close_matches(column, table.column_names, 1, 0.0)
        raise ConfigError(f"items have no column {column!r}; did you mean {nearest[0]!r}?")
    return [None if value is None else str(value) for value in table.column(column).to_pylist()]


def neighbour_means(data: Dataset, n_known: int) -> sp.csr_array:
    """(items - n_known, n_known) weights that make means of the known items that stood just before and after each new
    one in a history; a row of 0 where none did."""
    import scipy.sparse as sp

    users, items = data.event_users, data.event_items
    is_pair = users[1:] == users[:-1]
    before, after = items[:-1][is_pair], items[1:][is_pair]
    new, near = np.concatenate([before, after]), np.concatenate([after, before])
    kept = (new >= n_known) & (near < n_known)
    shape = (len(data.items) - n_known, n_known)
    counts = sp.csr_array((np.ones(kept.sum(), np.float32), (new[kept] - n_known, near[kept])), shape=shape)
    totals = np.maximum(counts.sum(1), 1).astype(np.float32)
    return sp.csr_array(sp.diags_array(1 / totals) @ counts)


def load_clusters(path: Path | None, data: Dataset) -> Clusters:
    """Read what `save_clusters` wrote of `data`. Raises `ConfigError` where it is damaged or of other items."""
    if path is None:
        raise ConfigError("clusters.source is 'file': say which with clusters.path")
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            labels, names = found["labels"].astype(np.int32), tuple(str(name) for name in found["names"])
            fingerprint = str(found["fingerprint"])
            vectors = found["vectors"].astype(np.float32) if "vectors" in found else None
        # numpy gives an array in place of an archive for a bare .npy, which is no context.
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, BadZipFile) as error:
        raise ConfigError(f"{path} holds no clusters: {error}; write it with `headwater data cluster`") from error
    if fingerprint != data.items.fingerprint() or labels.shape != (len(data.items),):
        raise ConfigError(f"{path} has clusters of another catalogue than {data.name}'s; make them again")
    return Clusters(labels, names, vectors)


def save_clusters(clusters: Clusters, data: Dataset, path: Path) -> None:
    """Write clusters of `data` for `ClusterConfig(source="file")`."""
    given: dict[str, Any] = {} if clusters.vectors is None else {"vectors": clusters.vectors}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as handle:
        np.savez_compressed(
            handle,
            labels=clusters.labels,
            names=np.array(clusters.names),
            fingerprint=np.array(data.items.fingerprint()),
            **given,
        )
