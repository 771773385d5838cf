"""ItemCF: seconds to fit, milliseconds to retrieve, and how well, beside a peer in the same run.

    python benchmarks/itemcf.py --dataset ml-1m     # after `headwater data get ml-1m`
    python benchmarks/itemcf.py --items 100000 --users 100000 --events 5000000    # generated, for the scale alone

The peer is `implicit` (`pip install implicit`); without it its row says so. It is given histories and asked for
candidates exactly as our channels are: one query at a time for the latency, seen items left out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
import resource
import time
from typing import Any

import numpy as np
import scipy.sparse as sp

import headwater
from headwater.data import Dataset, HeldOut, Queries, Split, Vocabulary, leave_one_out
from headwater.metrics import FullRanking, SampledNegatives
from headwater.retrieval import Candidates, Mask, Reasons, evaluate, latency
from headwater.retrieval.classic import ItemCF, ItemCFConfig, Popular

CONFIGS = {
    "cosine, 50 neighbours": ItemCFConfig(neighbours=50),
    "tuned, no recency": ItemCFConfig(neighbours=70, user_exponent=0.5),
    "tuned": ItemCFConfig(neighbours=200, shrinkage=0.06, user_exponent=1.0, power=1.5, half_life=2.0),
}
"""Chosen on the validation part of ML-1M; see docs/channels.md for the search."""


MOST_QUERIES = 10_000
"""More are not asked, so that a large generated set stays a matter of minutes; ML-1M has 6,040."""


class ImplicitCosine:
    """`implicit`'s CosineRecommender asked through our seam, for a comparison on equal terms."""

    name = "implicit cosine"

    def __init__(self, neighbours: int) -> None:
        from implicit.nearest_neighbours import CosineRecommender

        self.model = CosineRecommender(K=neighbours, num_threads=0)

    def fit(self, data: Dataset) -> ImplicitCosine:
        self.model.fit(sp.csr_matrix(data.matrix()), show_progress=False)
        return self

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        if allowed is None or allowed.is_allowlist:
            raise NotImplementedError("asked for unseen items only")
        n_items = self.model.similarity.shape[0]
        rows, items, scores = [], [], []
        for row in range(len(queries)):
            history = np.unique(queries.items[queries.offsets[row] : queries.offsets[row + 1]])
            seen = sp.csr_matrix((np.ones(len(history)), history, [0, len(history)]), shape=(1, n_items))
            found, score = self.model.recommend(0, seen, N=k)
            # It pads a short answer with items of score 0, which are no candidates.
            found, score = found[score > 0], score[score > 0]
            order = np.lexsort((found, -score))
            rows.append(np.full(len(found), row))
            items.append(found[order])
            scores.append(score[order])
        return Candidates.single(
            self.name, len(queries), np.concatenate(rows), np.concatenate(items), np.concatenate(scores)
        )

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        raise NotImplementedError


def generated(users: int, items: int, events: int, seed: int) -> Dataset:
    """Interactions with the long tails of real ones, of users and of items."""
    rng = np.random.default_rng(seed)
    by_user = rng.lognormal(0, 1, users)
    by_item = 1 / np.arange(1, items + 1) ** 0.8
    return Dataset.from_events(
        f"generated {users} x {items}, {events} events, seed {seed}",
        Vocabulary(np.arange(users)),
        Vocabulary(np.arange(items)),
        event_users=rng.choice(users, events, p=by_user / by_user.sum()).astype(np.int32),
        event_items=rng.choice(items, events, p=by_item / by_item.sum()).astype(np.int32),
        event_times=np.arange(events),
    )


def first_queries(held_out: HeldOut, n: int) -> HeldOut:
    n = min(n, len(held_out))
    return HeldOut(held_out.queries.slice(0, n), held_out.offsets[: n + 1], held_out.targets[: held_out.offsets[n]])


def row(label: str, channel: Any, split: Split, *, is_sampled: bool = True) -> None:
    started = time.perf_counter()
    channel.fit(split.train)
    fitted = time.perf_counter() - started
    asked = first_queries(split.test, MOST_QUERIES)
    speed = latency(channel, asked.queries, k=200)
    full = evaluate(channel, asked, FullRanking(), train=split.train).metrics
    cells = [full["hr@10"], full["hr@20"], full["hr@50"], full["ndcg@10"]]
    if is_sampled:
        sampled = evaluate(channel, asked, SampledNegatives(), train=split.train).metrics
        cells += [sampled["hr@10"], sampled["ndcg@10"]]
    figures = " | ".join(f"{cell:.4f}" for cell in cells) + ("" if is_sampled else " | not run | not run")
    print(f"| {label} | {fitted:.2f} | {speed.p50_ms:.2f} | {speed.p99_ms:.2f} | {figures} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", help="a data set that `headwater data get` or `import` made")
    parser.add_argument("--min-interactions", type=int, default=1, help="leave out items with fewer (5: 3,416 films)")
    parser.add_argument("--users", type=int, default=6_040)
    parser.add_argument("--items", type=int, default=3_706)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.dataset:
        from headwater.data.catalogue import load

        data = load(chosen.dataset)
    else:
        data = generated(chosen.users, chosen.items, chosen.events, chosen.seed)
    if chosen.min_interactions > 1:
        data = data.with_frequent_items(chosen.min_interactions)
    split = leave_one_out(data)

    started = time.perf_counter()
    importlib.import_module("headwater.retrieval.classic.itemcf_kernels")

    compiled = time.perf_counter() - started
    print(f"{data.name}: {len(data):,} interactions, {len(data.users):,} users, {len(data.items):,} items")
    print(
        f"headwater {headwater.__version__}, {os.cpu_count()} cores ({platform.machine()}), kernels in {compiled:.1f} s"
    )
    print("| channel | fit s | p50 ms | p99 ms | HR@10 | HR@20 | HR@50 | NDCG@10 | HR@10, 99 neg. | NDCG@10, 99 neg. |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    row("Popular", Popular(), split)
    for label, config in CONFIGS.items():
        row(f"ItemCF, {label}", ItemCF(config), split)
    if importlib.util.find_spec("implicit"):
        row("implicit CosineRecommender, K 50", ImplicitCosine(50), split, is_sampled=False)
    else:
        print("| implicit CosineRecommender | not installed |" + " |" * 8)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GiB")


if __name__ == "__main__":
    main()
