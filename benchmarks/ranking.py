"""How fast rankers learn, and how fast they score.

    python benchmarks/ranking.py train --data ml-1m.npz --threads 2              # MovieLens-1M; `headwater data pack`
    python benchmarks/ranking.py train --generated 4000000 --device cuda --batch-size 16000 --precision bf16
    nice -n -10 python benchmarks/ranking.py score                               # 300 candidates, one thread

`train` learns from rated impressions as `fit` does, batches included: the figure is impressions a second over all
steps, beside the time that the process itself was given, since other programs may share the cores. MovieLens' days are
too short for a GPU's batches: `--generated` makes a log of ten days, 100,000 users and as many items, with 50 to 100
events before it.

`score` times whole requests of a service, Python included: 300 candidates of a generated catalogue of 100,000 items
with category and shop, another user, history and list each time. For comparison the same network is asked in torch,
candidates and histories laid out as in training.
"""

from __future__ import annotations

import argparse
import os
import sys

if "score" in sys.argv:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # before numpy is loaded: one thread is what is measured

import platform
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from headwater.data import Dataset, Queries, Vocabulary
from headwater.data.impressions import DAY, Impressions
from headwater.data.packed import unpack
from headwater.data.rated import rated_impressions
from headwater.nn.training import TrainingConfig
from headwater.ranking import ranker_class
from headwater.ranking.config import SearchConfig
from headwater.ranking.export import exported
from headwater.ranking.features import RankingFeatures
from headwater.ranking.networks.din import RankingInputs
from headwater.ranking.scoring import Scorer
from headwater.retrieval import Candidates

ITEMS, USERS, VALUES, CANDIDATES = 100_000, 10_000, 500, 300
WIDTHS = {"ranker": (200, 80), "extraction": (512, 256, 128, 64)}
"""The default of a ranker, and the widths of knowledge extraction (section 6.2 of KEEP)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    train = verbs.add_parser("train")
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="a file of `headwater data pack ml-1m`")
    source.add_argument("--generated", type=int, help="impressions of a generated log")
    train.add_argument("--kinds", nargs="+", default=["din", "can"])
    train.add_argument("--widths", choices=WIDTHS, default="ranker")
    train.add_argument("--rows", type=int, default=200_000, help="of --data: impressions, the first ones")
    train.add_argument("--batch-size", type=int, default=2_000)
    train.add_argument("--device", default="cpu")
    train.add_argument("--precision", default="tf32")
    train.add_argument("--threads", type=int)
    score = verbs.add_parser("score")
    score.add_argument("--kinds", nargs="+", default=["din", "can"])
    score.add_argument("--requests", type=int, default=300)
    arguments = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load}")
    if arguments.verb == "train":
        measure_training(arguments)
    else:
        measure_scoring(arguments)


def measure_training(arguments: argparse.Namespace) -> None:
    if arguments.generated:
        impressions, items, users = generated_impressions(arguments.generated), ("category", "shop"), ()
    else:
        impressions = rated_impressions(unpack(arguments.data))
        impressions = impressions.select(np.arange(len(impressions)) < arguments.rows)
        items, users = ("genres", "release_year"), ("gender", "age", "occupation")
    print(f"{len(impressions):,} impressions of {len(impressions.day_slices())} days, history 50")
    for kind in arguments.kinds:
        found = ranker_class(kind)
        config = found.config_class(
            item_attributes=items,
            user_attributes=users,
            user_dimension=48 if arguments.generated else 0,
            hidden=WIDTHS[arguments.widths],
            training=TrainingConfig(
                epochs=1,
                batch_size=arguments.batch_size,
                second_moment=0.999,
                device=arguments.device,
                precision=arguments.precision,
                threads=arguments.threads,
            ),
        )
        given = time.process_time()
        report = found(config).fit(impressions).report
        given = time.process_time() - given
        print(
            f"{kind:4} {arguments.widths} {report.positives_per_second:9,.0f} impressions/s; "
            f"{len(impressions) / given:9,.0f} for each second of a core"
        )


def generated_impressions(n: int) -> Impressions:
    random = np.random.default_rng(0)
    users, items = Vocabulary(np.arange(ITEMS)), Vocabulary(np.arange(ITEMS))
    lengths = random.integers(50, 101, ITEMS)
    histories = Dataset.from_events(
        "generated",
        users,
        items,
        event_users=np.repeat(np.arange(ITEMS, dtype=np.int32), lengths),
        event_items=random.integers(0, ITEMS, int(lengths.sum())).astype(np.int32),
        event_times=random.integers(0, DAY, int(lengths.sum())),
    )
    return Impressions.of_columns(
        "generated",
        users,
        items,
        user_codes=random.integers(0, ITEMS, n).astype(np.int32),
        item_codes=random.integers(0, ITEMS, n).astype(np.int32),
        times=DAY + np.sort(random.integers(0, 10 * DAY, n)),
        labels={"click": (random.random(n) < 0.1).astype(np.int8)},
        histories=histories,
        item_attributes=pa.table(
            {"id": items.ids, **{name: random.integers(0, VALUES, ITEMS) for name in ("category", "shop")}}
        ),
    )


def measure_scoring(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    values = {name: random.integers(1, VALUES, (ITEMS + 1, 1)).astype(np.int32) for name in ("category", "shop")}
    features = RankingFeatures(
        items=Vocabulary(np.arange(ITEMS)).fingerprint(),
        users="",
        item_fields=values,
        user_fields={},
        user_keys=np.arange(USERS),
        context_levels={},
        tasks=("click",),
        n_items=ITEMS,
    )
    print(f"{'':34}{'wall p50':>9}{'p99':>7}{'core p50':>10}{'p99':>7}{'torch p50':>11}   ms")
    for kind in arguments.kinds:
        for search in (None, SearchConfig()):
            for widths, hidden in WIDTHS.items():
                for length in (50, 200):
                    config = ranker_class(kind).config_class(
                        item_attributes=("category", "shop"),
                        user_dimension=48,
                        hidden=hidden,
                        length=length,
                        search=search,
                    )
                    torch.manual_seed(0)
                    network = ranker_class(kind)(config).new_network(features).eval()
                    scorer = Scorer(config, features, exported(network, features, config))
                    wall, core = [], []
                    for request in range(arguments.requests + 20):
                        asked = a_request(random, length)
                        start = time.perf_counter(), time.thread_time()
                        scorer.score(*asked)
                        if request >= 20:
                            wall.append(1e3 * (time.perf_counter() - start[0]))
                            core.append(1e3 * (time.thread_time() - start[1]))
                    plain = torch_time(network, random, length, search)
                    name = f"{kind} {widths} history {length}{' search' if search else ''}"
                    print(
                        f"{name:34}{np.median(wall):9.2f}{np.quantile(wall, 0.99):7.2f}"
                        f"{np.median(core):10.2f}{np.quantile(core, 0.99):7.2f}{plain:11.2f}",
                        flush=True,
                    )


def a_request(random: np.random.Generator, length: int) -> tuple[Queries, Candidates]:
    queries = Queries(
        users=np.zeros(1, np.int32),
        user_keys=random.integers(0, USERS, 1),
        offsets=np.array([0, length], np.int64),
        items=random.integers(0, ITEMS, length).astype(np.int32),
        times=np.arange(length),
        behaviours=np.ones(length, np.int8),
        request_times=np.array([length]),
        scenarios=("homepage",),
    )
    items = random.choice(ITEMS, CANDIDATES, replace=False)
    return queries, Candidates.single("any", 1, np.zeros(CANDIDATES, np.int32), items, np.zeros(CANDIDATES))


@torch.inference_mode()
def torch_time(
    network: torch.nn.Module, random: np.random.Generator, length: int, search: SearchConfig | None
) -> float:
    """Median ms of a core for 300 candidates in torch, every candidate beside a history of its own."""
    found = []
    for _ in range(20):
        items = torch.from_numpy(random.integers(1, ITEMS + 1, CANDIDATES))
        history = torch.from_numpy(random.integers(1, ITEMS + 1, length)).expand(CANDIDATES, length).contiguous()
        searched = history[:, : search.kept].contiguous() if search else None
        none = torch.zeros(CANDIDATES, 0, dtype=torch.int64)
        inputs = RankingInputs(torch.ones(CANDIDATES, dtype=torch.int64), items, history, searched, none)
        start = time.thread_time()
        network(inputs)
        found.append(1e3 * (time.thread_time() - start))
    return float(np.median(found[5:]))


if __name__ == "__main__":
    main()
