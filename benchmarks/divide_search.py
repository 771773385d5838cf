"""What a request costs over K: clusters with a quota, items that are compared, time, and what approximate indexes miss.

    nice -n -10 python benchmarks/divide_search.py

Generated item vectors lie in a thousand groups; k-means cuts them into K clusters (wants the extra `divide`). A user's
state points at a few groups, and the chance of a cluster is a softmax over its centroid. Every K answers the same
requests by quotas (alpha 1) of the same length, one batch at a time in one thread; the first row compares with every
item. States are given, so that the encoder is left out: with the paper's prompts it runs once for each cluster with a
quota, with late ones once.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy is loaded: one thread is what is measured

import platform
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from headwater.index.vector import Method, VectorIndex
from headwater.retrieval.divide.clusters import Clusters, k_means
from headwater.retrieval.divide.lists import ClusterIndexes, Passes, by_quota
from headwater.retrieval.divide.masks import ClusterMasks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.retrieval.base import Candidates

GROUPS, DIMENSION, BATCH = 1_000, 64, 64


def generated(n_items: int, n_queries: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(items, d) vectors about the centres of groups, and (n, d) states that point at three of these each."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((GROUPS, DIMENSION)) / np.sqrt(DIMENSION)
    of_item = random.choice(GROUPS, n_items, p=random.dirichlet(np.full(GROUPS, 2.0)))
    items = centres[of_item] + 0.5 * random.standard_normal((n_items, DIMENSION)) / np.sqrt(DIMENSION)
    liked = centres[random.integers(0, GROUPS, (n_queries, 3))]
    states = (liked * random.dirichlet(np.ones(3), n_queries)[:, :, None]).sum(1)
    states += 0.2 * random.standard_normal((n_queries, DIMENSION)) / np.sqrt(DIMENSION)
    return items.astype(np.float32), states.astype(np.float32)


def answered(
    clusters: Clusters, indexes: ClusterIndexes, states: NDArray[np.float32], log_chances: NDArray[np.float64], k: int
) -> tuple[list[Candidates], list[Passes], float]:
    """Lists and passes of every batch, and the processor seconds of all of them."""
    lists, passes = [], []
    started = time.thread_time()
    for at in range(0, len(states), BATCH):
        part = torch.from_numpy(states[at : at + BATCH])
        chances = log_chances[at : at + BATCH]
        masks = ClusterMasks.of(None, clusters, len(part))
        found, asked = by_quota(
            "divide", chances, masks, indexes, lambda rows, _, of=part: of[torch.from_numpy(rows)], k=k, alpha=1.0
        )
        lists.append(found)
        passes.append(asked)
    return lists, passes, time.thread_time() - started


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def shared(found: list[Candidates], exact: list[Candidates]) -> float:
    """Share of the exact lists that is found."""
    kept = total = 0
    for one, other in zip(found, exact, strict=True):
        pairs = [candidates.rows.astype(np.int64) << 32 | candidates.items for candidates in (one, other)]
        kept, total = kept + int(np.isin(pairs[1], pairs[0]).sum()), total + len(pairs[1])
    return kept / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("-k", type=int, default=300, help="items of a list")
    parser.add_argument("--clusters", type=int, nargs="+", default=[10, 30, 100, 300, 1_000])
    parser.add_argument("--sharpness", type=float, default=50.0, help="of chances: the higher, the fewer clusters")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{chosen.items:,} items, d {DIMENSION}, {chosen.queries} requests of {chosen.k}, {platform.machine()}, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    items, states = generated(chosen.items, chosen.queries)
    whole = VectorIndex(items, method="exact")
    whole.search(states[:BATCH], chosen.k)
    started = time.thread_time()
    for at in range(0, len(states), BATCH):
        whole.search(states[at : at + BATCH], chosen.k)
    every = 1e3 * (time.thread_time() - started) / len(states)
    print("| K | index | clusters of a request | items compared | ms of a request | of its exact list | built in s |")
    print("|---|---|---|---|---|---|---|")
    print(f"| 1 | exact | 1.0 | 100% | {every:.2f} | - | - |")
    for n in chosen.clusters:
        labels = k_means(items, n, seed=0)
        clusters = Clusters(labels.astype(np.int32), tuple(f"cluster {at}" for at in range(n)), items)
        log_chances = log_softmax(chosen.sharpness * (states @ clusters.centroids().T).astype(np.float64))
        exact: list[Candidates] = []
        methods: list[Method] = ["exact", "ivf", "hnsw"] if clusters.sizes.min() > 2_000 else ["exact"]
        for method in methods:
            indexes = ClusterIndexes(torch.from_numpy(items), clusters, method)
            started = time.thread_time()
            answered(clusters, indexes, states[:BATCH], log_chances[:BATCH], chosen.k)
            built = time.thread_time() - started
            lists, passes, seconds = answered(clusters, indexes, states, log_chances, chosen.k)
            exact = exact or lists
            asked = np.concatenate([one.asked > 0 for one in passes])
            compared = (asked @ clusters.sizes).mean() / chosen.items
            share = f"{compared:.1%}" if method == "exact" else "-"
            print(
                f"| {n} | {method} | {asked.sum(1).mean():.1f} | {share} | "
                f"{1e3 * seconds / len(states):.2f} | {shared(lists, exact):.4f} | {built:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
