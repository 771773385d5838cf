"""K-means by faiss, over directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def k_means(vectors: NDArray[np.float32], n: int, *, seed: int) -> NDArray[np.int32]:
    """(m,) labels 0..n - 1 of vectors (m, d), m of n or more, brought to length 1; a cluster may stay empty.

    The best of five runs of 50 rounds, in one thread, so that one seed has one result.

    Raises `ImportError` where faiss is not installed.
    """
    import faiss

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
