"""Path retrieval in one process and one thread, and SimNet's pairs a second: generated data, cold users.

    nice -n -10 python benchmarks/paths_latency.py                     # 1 M items x 100 neighbours, about 2 GB
    python benchmarks/paths_latency.py --items 100000 --users 2000     # smaller

Timed for each user, all after its events are known: TrigNet over 200 triggers, the best 50 of them, 50 rows of 100
neighbours, sums, direct part, what was seen refused, the best 300. Every user is asked once a repeat and differs from
the others, so that their rows and vectors are in no cache but by chance; the pages of the index are in memory. Python
objects are part of the time. Where other programs share the cores, their turns are in the wall clock and not in the
processor's: both are shown, with the load.

The second part scores the candidate pairs of an index in one thread: SimNet as it stands in the paper, over a
concatenation for each pair, in torch and in the batch that suits it best, and as index generation does it.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy is loaded: one thread is what is measured

import gc
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

import headwater
from headwater.data import Vocabulary
from headwater.index.neighbours import Header, NeighbourTable, empty_rows, write_table
from headwater.retrieval import Mask
from headwater.retrieval.paths.nets import SimilarityScorer, TriggerScorer
from headwater.retrieval.paths.search import PathSearch
from headwater.retrieval.paths.weights import PathWeights, UserWeights

K, DEPTH, TRIGGERS, FOLLOWED = 300, 100, 200, 50
WIDTH = 64
CLUSTERS = 2_000
"""Of items that share neighbours; their sizes fall as 1 / rank^0.8, as categories' do."""
INTERESTS = 12
"""Clusters that a user's triggers come from, the n-th half as often as ... 1 / n."""
HOME = 0.85
"""Share of an item's neighbours that are of its own cluster; the rest are from anywhere, popular ones first."""


@numba.njit(cache=True)
def draw_neighbours(first, clusters, starts, members, k, home, rng, out_items):
    """Distinct neighbours of items first.., popular members of a cluster more often: place = size x u²."""
    stamp = np.full(len(clusters), -1, np.int64)
    for row in range(len(out_items)):
        item = first + row
        start, stop = starts[clusters[item]], starts[clusters[item] + 1]
        stamp[item] = item
        size, tries = 0, 0
        while size < k:
            tries += 1
            if rng.random() < home and tries < 3 * k:
                other = members[start + int((stop - start) * rng.random() ** 2)]
            else:
                other = members[int(len(members) * rng.random())]
            if stamp[other] != item:
                stamp[other] = item
                out_items[row, size] = other
                size += 1


class World:
    """A catalogue of clusters, its index, and users whose triggers come from a few clusters each."""

    def __init__(self, n_items: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        weight = 1 / np.arange(1, CLUSTERS + 1) ** 0.8
        self.weight = weight / weight.sum()
        self.clusters = rng.choice(CLUSTERS, n_items, p=self.weight)
        self.members = np.argsort(self.clusters, kind="stable").astype(np.int32)
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(self.clusters, minlength=CLUSTERS))])
        # Items know each other by their clusters, and so do their vectors.
        centre = rng.normal(0, 0.25, (CLUSTERS, WIDTH)).astype(np.float32)
        self.vectors = centre[self.clusters] + rng.normal(0, 0.25, (n_items, WIDTH)).astype(np.float32)
        self.n_items = n_items
        self.rng = rng

    def rows(self, batch: int = 50_000) -> Iterator[NDArray[np.void]]:
        for start in range(0, self.n_items, batch):
            rows = empty_rows(min(batch, self.n_items - start), DEPTH)
            items = np.empty((len(rows), DEPTH), np.int32)
            draw_neighbours(start, self.clusters, self.starts, self.members, DEPTH, HOME, self.rng, items)
            scores = self.rng.normal(-1, 1.2, items.shape).astype(np.float16)
            order = np.lexsort((items, -scores))
            rows["items"] = np.take_along_axis(items, order, 1)
            rows["scores"] = np.take_along_axis(scores, order, 1)
            yield rows

    def histories(self, users: int) -> NDArray[np.int32]:
        """(users, 200) distinct triggers of each user, oldest first."""
        interests = self.rng.choice(CLUSTERS, (users, INTERESTS), p=self.weight)
        weight = 1 / np.arange(1, INTERESTS + 1)
        chosen = self.rng.choice(INTERESTS, (users, 2 * TRIGGERS), p=weight / weight.sum())
        clusters = np.take_along_axis(interests, chosen, 1)
        size = self.starts[clusters + 1] - self.starts[clusters]
        items = self.members[self.starts[clusters] + (size * self.rng.random(clusters.shape) ** 2).astype(np.int64)]
        return np.stack([list(dict.fromkeys(own))[:TRIGGERS] for own in items.tolist()]).astype(np.int32)


def network(n_items: int, rng: np.random.Generator) -> TriggerScorer:
    def weights(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0, shape[0] ** -0.5, shape).astype(np.float32)

    layers = ((weights(WIDTH, 32), weights(32)), (weights(32, 1), weights(1)))
    return TriggerScorer(rng.normal(0, 1, (n_items, WIDTH)).astype(np.float32), weights(64, WIDTH), layers)


def retrieval(n_items: int, n_users: int, repeats: int, folder: Path) -> None:
    world = World(n_items, 0)
    vocabulary = Vocabulary(np.arange(n_items))
    path = folder / "neighbours"
    started = time.perf_counter()
    write_table(path, Header(DEPTH, n_items, 0, n_items, vocabulary.fingerprint()), world.rows())
    written = time.perf_counter() - started
    started = time.perf_counter()
    table = NeighbourTable.open(path, vocabulary)
    print(f"index {path.stat().st_size / 1e6:.1f} MB; generated in {written:.0f} s, opened and verified in "
          f"{time.perf_counter() - started:.2f} s")  # fmt: skip
    search = PathSearch(table, world.vectors, triggers=FOLLOWED)
    net = network(n_items, world.rng)
    histories = world.histories(n_users)
    behaviours = world.rng.integers(0, 64, (n_users, TRIGGERS, 3)).astype(np.int32)
    users = world.vectors[histories[:, :5]].mean(axis=1) * 1.2
    user_parts = world.rng.normal(0, 1, (n_users, WIDTH)).astype(np.float32)
    offsets = np.array([0, TRIGGERS])
    wall, processor, trigger_net = np.zeros((3, repeats, n_users))
    reached = np.zeros(n_users, np.int64)
    gc.disable()
    for repeat in range(repeats):
        for user in range(n_users):
            started, used = time.perf_counter_ns(), time.thread_time_ns()
            triggers = histories[user]
            scores = net(user_parts[user], triggers, behaviours[user])
            between = time.perf_counter_ns()
            found = search.retrieve(
                "paths", users[user : user + 1], offsets, triggers, scores, K, allowed=Mask(offsets, triggers)
            )
            processor[repeat, user] = (time.thread_time_ns() - used) / 1e6
            wall[repeat, user] = (time.perf_counter_ns() - started) / 1e6
            trigger_net[repeat, user] = (between - started) / 1e6
            reached[user] = found.reached[0]
            assert len(found.candidates) == K
        print(f"  repeat {repeat + 1}: wall {_percentiles(wall[repeat])}; processor {_percentiles(processor[repeat])}; "
              f"load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    gc.enable()
    low, half, high = np.percentile(reached, [1, 50, 99])
    print(f"{n_items:,} items, {n_users:,} users of {TRIGGERS} triggers, m {FOLLOWED} x k {DEPTH}, K {K}: "
          f"{half:.0f} items reached (1 % {low:.0f}, 99 % {high:.0f}); "
          f"TrigNet {np.median(trigger_net):.3f} ms")  # fmt: skip
    print("| ms | p50 | p90 | p99 | most |\n|---|---|---|---|---|")
    for label, taken in (("wall", wall), ("processor", processor)):
        middle = np.median([_figures(own) for own in taken], axis=0)
        print(f"| {label}, median of {repeats} repeats | " + " | ".join(f"{figure:.3f}" for figure in middle) + " |")
    each = _figures(np.median(wall, axis=0))
    print("| wall, each user's median | " + " | ".join(f"{figure:.3f}" for figure in each) + " |")


def _figures(taken: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.percentile(taken, [50, 90, 99, 100])


def _percentiles(taken: NDArray[np.float64]) -> str:
    return "p50 {:.3f}, p90 {:.3f}, p99 {:.3f}, most {:.2f} ms".format(*_figures(taken))


class Similarity:
    """A SimNet of drawn weights: items and 4 measures of co-occurrence embedded, two hidden layers."""

    FIELD, MEASURES, LEVELS, HIDDEN, NEXT, LEAK = 16, 4, 35, 64, 32, 0.01

    def __init__(self, n_items: int) -> None:
        torch.manual_seed(0)
        width = WIDTH + 2 * self.FIELD
        self.items = torch.randn(n_items, width) * 0.3
        self.levels = [torch.randn(self.LEVELS, self.FIELD) for _ in range(self.MEASURES)]
        self.first = torch.randn(2 * width + self.MEASURES * self.FIELD, self.HIDDEN) * 0.08
        self.bias = torch.randn(self.HIDDEN) * 0.1
        self.next = torch.randn(self.HIDDEN, self.NEXT) * 0.15
        self.next_bias = torch.randn(self.NEXT) * 0.1
        self.last = torch.randn(self.NEXT, 1) * 0.2
        self.width = width

    @torch.inference_mode()
    def concatenated(self, triggers: torch.Tensor, targets: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        of_pair = [table[levels[:, at]] for at, table in enumerate(self.levels)]
        inputs = torch.cat([self.items[triggers], *of_pair, self.items[targets]], 1)
        hidden = functional.leaky_relu(torch.addmm(self.bias, inputs, self.first), self.LEAK)
        hidden = functional.leaky_relu(torch.addmm(self.next_bias, hidden, self.next), self.LEAK)
        return (hidden @ self.last)[:, 0]

    def factorised(self) -> SimilarityScorer:
        start = self.width
        tables = []
        for table in self.levels:
            tables.append((table @ self.first[start : start + self.FIELD]).numpy())
            start += self.FIELD
        layers = ((self.next.numpy(), self.next_bias.numpy()), (self.last.numpy(), np.zeros(1, np.float32)))
        none, nobody = np.zeros((0, 0), np.float32), UserWeights(np.zeros(0, np.float32), np.zeros((0, 0)), {}, {})
        triggers = (self.items @ self.first[: self.width] + self.bias).numpy()
        targets = (self.items @ self.first[start:]).numpy()
        weights = PathWeights(self.LEAK, nobody, none, {}, (), triggers, targets, tuple(tables), layers, None, None, ())
        return SimilarityScorer(weights, ())


def similarity(n_items: int, repeats: int) -> None:
    torch.set_num_threads(1)
    net = Similarity(n_items)
    started = time.perf_counter()
    factorised = net.factorised()
    projected = time.perf_counter() - started
    rng = np.random.default_rng(0)
    n = 200 * 1000  # of 200 items, 1,000 candidates each
    triggers = np.repeat(rng.integers(0, n_items, 200), 1000).astype(np.int32)
    targets = rng.integers(0, n_items, n).astype(np.int32)
    levels = rng.integers(0, net.LEVELS, (n, net.MEASURES)).astype(np.uint8)
    given = [torch.from_numpy(part.astype(np.int64)) for part in (triggers, targets, levels)]
    found: dict[str, list[float]] = {}
    largest = 0.0
    for _ in range(repeats):
        started = time.thread_time()
        ours = factorised.of_levels(triggers, targets, levels)
        found.setdefault("factorised, compiled", []).append(n / (time.thread_time() - started) / 1e6)
        for size in (1 << 11, 1 << 13, 1 << 17):
            started = time.thread_time()
            theirs = torch.cat(
                [net.concatenated(*(part[at : at + size] for part in given)) for at in range(0, n, size)]
            )
            found.setdefault(f"concatenated, torch, {size} pairs", []).append(n / (time.thread_time() - started) / 1e6)
            largest = max(largest, float(np.abs(ours - theirs.numpy()).max()))
    best = max(np.median(figures) for label, figures in found.items() if label.startswith("concatenated"))
    print(f"SimNet, {n_items:,} items projected in {projected:.2f} s, one thread, processor time, median of {repeats}; "
          f"scores differ by {largest:.1e} at most")  # fmt: skip
    print("| | M pairs/s | of the best concatenated |\n|---|---|---|")
    for label, figures in found.items():
        print(f"| {label} | {np.median(figures):.2f} | {np.median(figures) / best:.1f} x |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--part", choices=["retrieval", "similarity"], help="one of the two alone")
    chosen = parser.parse_args()
    print(f"headwater {headwater.__version__}, {os.cpu_count()} cores ({platform.machine()}), "
          f"numpy {np.__version__}, numba {numba.__version__}, niceness {os.nice(0)}")  # fmt: skip
    if chosen.part != "similarity":
        with tempfile.TemporaryDirectory() as folder:
            retrieval(chosen.items, chosen.users, chosen.repeats, Path(folder))
    if chosen.part != "retrieval":
        similarity(min(chosen.items, 100_000), chosen.repeats)


if __name__ == "__main__":
    main()
