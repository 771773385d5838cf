"""One index for every model that gives vectors: exact below about 100,000 items, faiss above."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from headwater.index.exact import Allowed, Found, exact_search, in_catalogue, listed_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

Method = Literal["auto", "exact", "ivf", "hnsw"]

EXACT_BELOW = 100_000
"""Items up to which `auto` searches exactly: a matrix product is faster there than any graph, and misses nothing."""


class VectorIndex:
    """Finds the items of highest inner product with any of a query's vectors.

    Parameters
    ----------
    vectors : (items, d) float32 Tensor or array
        Stay on their device for exact search; faiss keeps a copy on the host.
    method : "auto", "exact", "ivf" or "hnsw"
        `ivf` looks into the `effort` of 4·√items lists that lie nearest; `hnsw` walks a graph with a beam of
        `effort`.
    effort : int, optional
        More finds more and takes longer; `recall_against_exact` says how much is missed. By default a sixteenth of
        the lists, or a beam of 256.
    """

    def __init__(self, vectors: Tensor | NDArray[np.float32], *, method: Method = "auto", effort: int | None = None):
        self._vectors = torch.from_numpy(vectors) if isinstance(vectors, np.ndarray) else vectors.detach()
        if method == "auto":
            method = "exact" if len(self._vectors) < EXACT_BELOW else "ivf"
        self.method: Literal["exact", "ivf", "hnsw"] = method
        self._effort = effort
        self._ann: Any = None if method == "exact" else self._build()

    def __len__(self) -> int:
        return len(self._vectors)

    def search(
        self,
        queries: Tensor | NDArray[np.float32],
        k: int,
        *,
        allowed: Allowed | None = None,
        has_vector: Tensor | None = None,
    ) -> Found:
        """The k best allowed items of each query; fewer where fewer are allowed.

        Parameters
        ----------
        queries : (n, d), or (n, v, d) for v vectors a query
            An item's score is its highest over the query's vectors.
        k : int
        allowed : Allowed, optional
            n rows.
        has_vector : (n, v) bool, optional
            Which of the v vectors a query has; at least one each.

        Raises
        ------
        ValueError
            k is not positive.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        asked = torch.from_numpy(queries) if isinstance(queries, np.ndarray) else queries.detach()
        asked = asked.to(self._vectors.device)
        if asked.ndim == 2:
            asked = asked[:, None]
        # A list of what alone may be found is short: scoring it misses nothing that a graph might.
        if self._ann is None or (allowed is not None and allowed.is_allowlist):
            return exact_search(asked, self._vectors, k, allowed=allowed, has_vector=has_vector)
        return self._approximate(asked, k, allowed, has_vector)

    def _build(self) -> Any:
        import faiss

        n, d = self._vectors.shape
        vectors = np.ascontiguousarray(self._vectors.float().cpu().numpy())
        if self.method == "hnsw":
            index = faiss.IndexHNSWFlat(d, 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = 200
        else:
            lists = max(1, min(int(4 * np.sqrt(n)), n // 39 or 1))  # faiss wants 39 vectors to place a list
            quantiser = faiss.IndexFlatIP(d)
            index = faiss.IndexIVFFlat(quantiser, d, lists, faiss.METRIC_INNER_PRODUCT)
            index.train(vectors)
        index.add(vectors)
        return index

    def _parameters(self, allowed: Allowed | None, depth: int) -> Any:
        faiss: Any = import_module("faiss")  # its stubs do not know the search parameters
        selector = None
        catalogue = None if allowed is None else in_catalogue(allowed, len(self))
        if catalogue is not None:
            selector = faiss.IDSelectorBatch(np.flatnonzero(catalogue))
        if self.method == "hnsw":
            return faiss.SearchParametersHNSW(sel=selector, efSearch=max(self._effort or 256, depth))
        lists = self._ann.nlist
        return faiss.SearchParametersIVF(sel=selector, nprobe=min(self._effort or max(1, lists // 16), lists))

    def _approximate(self, queries: Tensor, k: int, allowed: Allowed | None, has_vector: Tensor | None) -> Found:
        n, v, d = queries.shape
        flat = np.ascontiguousarray(queries.reshape(n * v, d).float().cpu().numpy())
        owners = np.repeat(np.arange(n), v)
        if has_vector is not None:
            kept = has_vector.reshape(-1).cpu().numpy()
            flat, owners = np.ascontiguousarray(flat[kept]), owners[kept]
        refused = np.zeros(0, np.int64)
        longest = 0
        if allowed is not None:
            rows, items = listed_pairs(allowed, 0, n, len(self))
            refused = np.unique(rows * len(self) + items)
            longest = int(np.bincount(refused // len(self), minlength=1).max(initial=0))
        # Deep enough that k are left of every vector's list whatever is refused.
        depth = min(k + longest, len(self))
        scores, items = self._ann.search(flat, depth, params=self._parameters(allowed, depth))
        rows = np.repeat(owners, depth)
        scores, items = scores.reshape(-1), items.reshape(-1).astype(np.int64)
        kept = items >= 0
        kept[kept] = ~np.isin(rows[kept] * len(self) + items[kept], refused)
        rows, items, scores = rows[kept], items[kept], scores[kept]
        # One query's vectors may find one item: its highest score stands.
        order = np.lexsort((-scores, items, rows))
        rows, items, scores = rows[order], items[order], scores[order]
        is_first = np.ones(len(rows), bool)
        is_first[1:] = (rows[1:] != rows[:-1]) | (items[1:] != items[:-1])
        rows, items, scores = rows[is_first], items[is_first], scores[is_first]
        order = np.lexsort((items, -scores, rows))
        rows, items, scores = rows[order], items[order], scores[order]
        is_kept = np.arange(len(rows)) - np.searchsorted(rows, rows) < k
        return Found(rows[is_kept].astype(np.int32), items[is_kept].astype(np.int32), scores[is_kept])


def recall_against_exact(index: VectorIndex, queries: Tensor | NDArray[np.float32], k: int) -> float:
    """The share of the k exact best items that `index` finds, over all queries; 1 for an exact index."""
    found = index.search(queries, k)
    exact = VectorIndex(index._vectors, method="exact").search(queries, k)
    width = len(index)
    ours = found.rows.astype(np.int64) * width + found.items
    theirs = exact.rows.astype(np.int64) * width + exact.items
    return float(np.isin(theirs, ours).mean()) if len(theirs) else 1.0
