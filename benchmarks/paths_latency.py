"""Path retrieval in one process and one thread, and what two processes share.

    nice -n -10 python benchmarks/paths_latency.py                     # 1 M items x 100 neighbours, about 3 GB
    python benchmarks/paths_latency.py --items 100000 --users 2000     # smaller

Timed for each user is a whole request as a greedy channel answers it, Python included, from what lies in an artefact
and is mapped: the levels of 200 events (position and gap), both nets' part of the user (attributes, counts of
categories), TrigNet over 200 triggers, p of the Direct Net, the best 50 triggers, 50 rows of 100 neighbours, sums,
direct part, what was seen refused, the best 300. Data are generated. Every user is asked once a repeat and differs from
the others, so that their rows and vectors are in no cache but by chance; the pages of the files are in memory. Where
other programs share the cores, their turns are in the wall clock and not in the processor's: both are shown, with the
load.

The second part opens the same files in two processes and says what each has resident, and how much of it is shared.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before numpy is loaded: one thread is what is measured

import gc
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

import headwater
from headwater.data import Queries, Vocabulary
from headwater.data.folder import file_checksum
from headwater.index.neighbours import Header, empty_rows, write_table
from headwater.nn.catalogue import GAP_LEVELS, Catalogue, InputConfig
from headwater.retrieval import Mask
from headwater.retrieval.artefact import write_tensors
from headwater.retrieval.paths.config import PathsConfig
from headwater.retrieval.paths.features import COUNT_LEVELS, POPULARITY, PathFeatures
from headwater.retrieval.paths.serving import INDEX, SERVED, GreedyPaths
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
        """(users, 200) distinct triggers of each user, oldest first; users of too few clusters to have as many are
        left out."""
        found: list[list[int]] = []
        while len(found) < users:
            interests = self.rng.choice(CLUSTERS, (users, INTERESTS), p=self.weight)
            weight = 1 / np.arange(1, INTERESTS + 1)
            chosen = self.rng.choice(INTERESTS, (users, 2 * TRIGGERS), p=weight / weight.sum())
            clusters = np.take_along_axis(interests, chosen, 1)
            size = self.starts[clusters + 1] - self.starts[clusters]
            items = self.members[self.starts[clusters] + (size * self.rng.random(clusters.shape) ** 2).astype(np.int64)]
            distinct = (list(dict.fromkeys(own))[:TRIGGERS] for own in items.tolist())
            found += [own for own in distinct if len(own) == TRIGGERS]
        return np.array(found[:users], np.int32)

    def weights(self) -> PathWeights:
        """TrigNet and both parts of the Direct Net, drawn; p is as long as a mean of a user's item vectors."""

        def drawn(*shape: int) -> NDArray[np.float32]:
            return self.rng.normal(0, shape[-2 if len(shape) > 1 else -1] ** -0.5, shape).astype(np.float32)

        def users() -> UserWeights:
            counts = {
                name: drawn(COUNT_LEVELS, int(codes.max()) + 1, WIDTH) for name, codes in self.attributes().items()
            }
            return UserWeights(
                drawn(WIDTH), drawn(20, WIDTH), {"age": drawn(8, WIDTH)[self.rng.integers(0, 8, 2)]}, counts
            )

        none = np.zeros((0, 0), np.float32)
        return PathWeights(
            leak=0.01,
            trigger_users=users(),
            trigger_items=self.rng.normal(0, 1, (self.n_items, WIDTH)).astype(np.float32),
            trigger_behaviours={"positions": drawn(TRIGGERS, WIDTH), "gaps": drawn(GAP_LEVELS, WIDTH)},
            trigger_layers=((drawn(WIDTH, 32), drawn(32)), (drawn(32, 1), drawn(1))),
            similarity_triggers=none,
            similarity_targets=none,
            similarity_levels=(),
            similarity_layers=(),
            direct_items=self.vectors,
            direct_users=users(),
            direct_layers=((drawn(WIDTH, WIDTH), drawn(WIDTH)),),
        )

    def attributes(self) -> dict[str, NDArray[np.int32]]:
        """Category (the cluster) and a bin of popularity, of each item."""
        places = np.empty(self.n_items, np.int64)
        places[self.members] = np.arange(self.n_items)
        popularity = 2 + np.minimum((places - self.starts[self.clusters]) // 64, 15)
        return {
            "category": self.clusters[:, None].astype(np.int32) + 1,
            POPULARITY: popularity[:, None].astype(np.int32),
        }

    def features(self) -> PathFeatures:
        """Of items, and of no known user."""
        catalogue = Catalogue(self.n_items, self.attributes(), np.zeros(0, np.float32), np.zeros(0, np.int64))
        return PathFeatures(catalogue, np.zeros(0, np.int64), {"age": np.zeros((1, 1), np.int32)})


def saved(n_items: int, folder: Path) -> World:
    """Write what a greedy artefact holds beside the network: the index, and what a request reads."""
    world = World(n_items, 0)
    started = time.perf_counter()
    header = Header(DEPTH, n_items, 0, n_items, Vocabulary(np.arange(n_items)).fingerprint(), "generated")
    write_table(folder / INDEX, header, world.rows())
    features = {f"features.{name}": values for name, values in world.features().tensors().items()}
    write_tensors(folder / SERVED, {**world.weights().served(), **features})
    index, arrays = ((folder / name).stat().st_size / 1e6 for name in (INDEX, SERVED))
    taken = time.perf_counter() - started
    print(f"index {index:.1f} MB, arrays {arrays:.1f} MB, generated in {taken:.0f} s")
    return world


def opened(n_items: int, folder: Path) -> GreedyPaths:
    config = PathsConfig(
        search="greedy", length=TRIGGERS, followed_triggers=FOLLOWED, neighbours=DEPTH,
        inputs=InputConfig(attributes=("category",), gaps=True), user_attributes=("age",),
    )  # fmt: skip
    files = {INDEX: "generated", SERVED: file_checksum(folder / SERVED)}
    return GreedyPaths.load(folder, config, n_items, files, Vocabulary(np.arange(n_items)))


def request(history: NDArray[np.int32], user: int) -> Queries:
    offsets = np.array([0, len(history)])
    times = 1_700_000_000 + np.cumsum(np.arange(len(history), dtype=np.int64) * (user + 17) % 90_000)
    return Queries(
        users=np.array([-1], np.int32), user_keys=np.array([user]), offsets=offsets, items=history, times=times,
        behaviours=np.ones(len(history), np.int8), request_times=times[-1:] + 60, scenarios=("homepage",),
    )  # fmt: skip


def retrieval(world: World, n_users: int, repeats: int, folder: Path) -> None:
    started = time.perf_counter()
    channel = opened(world.n_items, folder)
    print(f"opened and verified in {time.perf_counter() - started:.2f} s")
    queries = [request(history, user) for user, history in enumerate(world.histories(n_users))]
    wall, processor, hops = np.zeros((3, repeats, n_users))
    reached = np.zeros(n_users, np.int64)
    gc.disable()
    for repeat in range(repeats):
        for user, query in enumerate(queries):
            allowed = Mask.seen(query)
            started, used = time.perf_counter_ns(), time.thread_time_ns()
            found = channel.retrieve(query, K, allowed=allowed)
            processor[repeat, user] = (time.thread_time_ns() - used) / 1e6
            wall[repeat, user] = (time.perf_counter_ns() - started) / 1e6
            reached[user] = found.reached[0]
            assert len(found.candidates) == K
        for user, query in enumerate(queries[:1000]):
            started = time.perf_counter_ns()
            channel._hops(channel._requests(query), 0)
            hops[repeat, user] = (time.perf_counter_ns() - started) / 1e6
        print(f"  repeat {repeat + 1}: wall {_percentiles(wall[repeat])}; processor {_percentiles(processor[repeat])}; "
              f"load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    gc.enable()
    low, half, high = np.percentile(reached, [1, 50, 99])
    print(f"{world.n_items:,} items, {n_users:,} users of {TRIGGERS} triggers, m {FOLLOWED} x k {DEPTH}, K {K}: "
          f"{half:.0f} items reached (1 % {low:.0f}, 99 % {high:.0f}); levels, TrigNet and p "
          f"{np.median(hops[:, :1000]):.3f} ms of it")  # fmt: skip
    print("| ms | p50 | p90 | p99 | most |\n|---|---|---|---|---|")
    for label, taken in (("wall", wall), ("processor", processor)):
        middle = np.median([_figures(own) for own in taken], axis=0)
        print(f"| {label}, median of {repeats} repeats | " + " | ".join(f"{figure:.3f}" for figure in middle) + " |")
    each = _figures(np.median(wall, axis=0))
    print("| wall, each user's median | " + " | ".join(f"{figure:.3f}" for figure in each) + " |")


def memory(world: World, folder: Path) -> None:
    """Two processes that serve 500 users each from one folder: what is resident, and what of it is the other's too."""
    histories = world.histories(1000).reshape(2, 500, -1)
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:  # both are alive until both have answered
        barrier = context.Manager().Barrier(2)
        parts = pool.starmap(_resident, [(world.n_items, folder, own, barrier) for own in histories], chunksize=1)
    print("| MB | resident | of it mapped files | shared with the other | its own |\n|---|---|---|---|---|")
    for at, (resident, mapped, shared, own) in enumerate(parts):
        print(f"| process {at + 1} | {resident:.0f} | {mapped:.0f} | {shared:.0f} | {own:.0f} |")
    print(f"| both together | {parts[0][0] + parts[1][0] - parts[0][2]:.0f} | | | |")


def _resident(n_items: int, folder: Path, histories: NDArray[np.int32], barrier: Any) -> tuple[float, ...]:
    channel = opened(n_items, folder)
    for user, history in enumerate(histories):
        channel.retrieve(request(history, user), K)
    barrier.wait()
    sizes = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, size, _ = line.split()
        sizes[name.rstrip(":")] = int(size) / 1e3
    barrier.wait()
    own = sizes["Private_Clean"] + sizes["Private_Dirty"]
    shared = sizes["Shared_Clean"] + sizes["Shared_Dirty"]
    return sizes["Rss"], sizes["Rss"] - sizes["Anonymous"], shared, own


def _figures(taken: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.percentile(taken, [50, 90, 99, 100])


def _percentiles(taken: NDArray[np.float64]) -> str:
    return "p50 {:.3f}, p90 {:.3f}, p99 {:.3f}, most {:.2f} ms".format(*_figures(taken))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--part", choices=["retrieval", "memory"], help="one of them alone")
    chosen = parser.parse_args()
    print(f"headwater {headwater.__version__}, {os.cpu_count()} cores ({platform.machine()}), "
          f"numpy {np.__version__}, numba {numba.__version__}, niceness {os.nice(0)}")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = saved(chosen.items, folder)
        if chosen.part != "memory":
            retrieval(world, chosen.users, chosen.repeats, folder)
        if chosen.part != "retrieval":
            memory(world, folder)


if __name__ == "__main__":
    main()
