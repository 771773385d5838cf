"""Which cluster each item is of: by item2vec and k-means, by a column of the items, or as given."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from headwater.config import Settings
from headwater.data.dataset import Dataset
from headwater.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ClusterConfig(Settings):
    """How items are cut into clusters."""

    source: Literal["item2vec", "column", "file"] = "item2vec"
    """`item2vec`: k-means over skip-gram vectors of histories (section 2.2); `column`: a column of the items, as the
    paper's production system has it; `file`: what `Clusters.save` wrote, for machines without gensim and faiss."""

    n: int = Field(default=10, ge=1)
    """K (10 on MovieLens-1M, 15 on KuaiRand in the paper). With `column` the n - 1 most common values have a cluster
    each, and all others one together."""

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


@dataclass(frozen=True, slots=True)
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

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(K,) items of each cluster; a cluster may be empty."""
        return np.bincount(self.labels, minlength=len(self)).astype(np.int64)

    def members(self, cluster: int) -> NDArray[np.int64]:
        """Item codes of one cluster, ascending."""
        return np.flatnonzero(self.labels == cluster)

    def centroids(self) -> NDArray[np.float32]:
        """(K, d) means of the clusters' vectors, 0 of an empty one. Raises `ConfigError` where there are no vectors."""
        if self.vectors is None:
            raise ConfigError("these clusters have no vectors: items join them by their column, not by nearness")
        total = np.zeros((len(self), self.vectors.shape[1]), np.float64)
        np.add.at(total, self.labels, self.vectors)
        return (total / np.maximum(self.sizes, 1)[:, None]).astype(np.float32)

    def nearest(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """(n,) the cluster, of those that have items, whose centroid is nearest to each of (n, d) vectors."""
        centroids = self.centroids().astype(np.float64)
        apart = ((vectors[:, None].astype(np.float64) - centroids) ** 2).sum(2)
        apart[:, self.sizes == 0] = np.inf
        return apart.argmin(1).astype(np.int32)


def clusters_of(data: Dataset, config: ClusterConfig) -> Clusters:
    """Cut the items of `data`.

    Raises
    ------
    ConfigError
        More clusters than items are asked for, the column or file is not there or of another catalogue, or gensim or
        faiss is missing.
    """
    if config.n > max(len(data.items), 1):
        raise ConfigError(f"{config.n} clusters are asked of {len(data.items)} items; set clusters.n to fewer")
    if config.source == "column":
        return _by_column(data, config)
    if config.source == "file":
        return _from_file(data, config)
    vectors = item_vectors(data, config)
    return Clusters(k_means(vectors, config.n, config.seed), tuple(str(at) for at in range(config.n)), vectors)


def item_vectors(data: Dataset, config: ClusterConfig) -> NDArray[np.float32]:
    """(items, dimension) item2vec (Barkan and Koenigstein, 2016): skip-gram over histories, 0 without an event."""
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise ConfigError(f"{error}: make clusters where gensim is, and give them as a file") from error
    histories = [
        [str(item) for item in data.event_items[start:stop]]
        for start, stop in zip(data.offsets[:-1].tolist(), data.offsets[1:].tolist(), strict=True)
    ]
    model = Word2Vec(
        histories,
        vector_size=config.dimension,
        window=config.window,
        epochs=config.epochs,
        sg=1,
        negative=10,
        sample=1e-3,
        min_count=1,
        workers=1,
        seed=config.seed + 1,  # gensim takes 0 for none
        hashfxn=int,  # Python's own hash of text differs from run to run
    )
    vectors = np.zeros((len(data.items), config.dimension), np.float32)
    codes = np.array([int(word) for word in model.wv.index_to_key], np.int64)
    vectors[codes] = model.wv.vectors
    return vectors


def k_means(vectors: NDArray[np.float32], n: int, seed: int) -> NDArray[np.int32]:
    """(m,) labels of faiss's k-means over vectors brought to length 1."""
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(f"{error}: make clusters where faiss is, and give them as a file") from error
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), np.float32)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        means = faiss.Kmeans(unit.shape[1], n, niter=50, nredo=5, seed=seed + 1, min_points_per_centroid=1)
        means.train(unit)
        return means.index.search(unit, 1)[1][:, 0].astype(np.int32)
    finally:
        faiss.omp_set_num_threads(threads)


def _by_column(data: Dataset, config: ClusterConfig) -> Clusters:
    """The n - 1 most common values, and one cluster of all other items, those without a value among them."""
    table = data.item_attributes
    if config.column not in table.column_names:
        nearest = get_close_matches(config.column, table.column_names, 1, 0.0)
        raise ConfigError(f"items have no column {config.column!r}; did you mean {nearest[0]!r}?")
    values = [None if value is None else str(value) for value in table.column(config.column).to_pylist()]
    known, counts = np.unique([value for value in values if value is not None], return_counts=True)
    common = [str(value) for value in known[np.lexsort((known, -counts))]]
    is_whole = len(common) <= config.n and None not in values
    names = common if is_whole else common[: config.n - 1]
    at = {name: place for place, name in enumerate(names)}
    labels = np.array([at.get(value, len(names)) for value in values], np.int32)  # type: ignore[arg-type]
    return Clusters(labels, tuple(names) if is_whole else (*names, "others"))


def _from_file(data: Dataset, config: ClusterConfig) -> Clusters:
    if config.path is None:
        raise ConfigError("clusters.source is 'file': say which with clusters.path")
    try:
        with np.load(config.path, allow_pickle=False) as found:
            labels, names = found["labels"].astype(np.int32), tuple(str(name) for name in found["names"])
            fingerprint = str(found["fingerprint"])
            vectors = found["vectors"].astype(np.float32) if "vectors" in found else None
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{config.path} holds no clusters: {error}") from error
    if fingerprint != data.items.fingerprint() or len(labels) != len(data.items):
        raise ConfigError(f"{config.path} has clusters of another catalogue than {data.name}'s; make them again")
    return Clusters(labels, names, vectors)


def save_clusters(clusters: Clusters, data: Dataset, path: Path) -> None:
    """Write clusters of `data` for `ClusterConfig(source="file")`."""
    given = {} if clusters.vectors is None else {"vectors": clusters.vectors}
    with path.open("wb") as handle:
        np.savez_compressed(
            handle,
            labels=clusters.labels,
            names=np.array(clusters.names),
            fingerprint=np.array(data.items.fingerprint()),
            **given,
        )
