"""How fast knowledge is learned, published and asked.

    python benchmarks/knowledge.py train --data ml-1m.npz --threads 2       # MovieLens-1M; `headwater data pack ml-1m`
    python benchmarks/knowledge.py train --generated 4000000 --device cuda --batch-size 16000 --precision bf16
    python benchmarks/knowledge.py center --users 1000000 --items 1000000   # some 5 GB of disk below --folder

`train` learns as `Extraction.fit` does, batches and pairs included: the figure is impressions a second over all steps,
beside the time that the process itself was given, since other programs may share the cores.

`center` publishes generated knowledge (64 numbers a user and an item, 192 a pair, five observed categories a user)
while another process reads, and then asks for 500 (u, i, c) at a time: of one user, as a ranker does, and of 500
users, in process and over loopback HTTP, where the service is granian with the routes of `headwater serve` alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from headwater.data.vocabulary import key_of
from headwater.knowledge.built import write_built
from headwater.knowledge.center import Center
from headwater.knowledge.http import HttpKnowledge

WIDTH, OF_PAIRS, CATEGORIES, OBSERVED, ROWS = 64, 192, 500, 5, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    train = verbs.add_parser("train")
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="a file of `headwater data pack ml-1m`")
    source.add_argument("--generated", type=int, help="impressions of a generated log")
    train.add_argument("--rows", type=int, default=200_000, help="of --data: impressions, the first ones")
    train.add_argument("--batch-size", type=int, default=2_000)
    train.add_argument("--device", default="cpu")
    train.add_argument("--precision", default="tf32")
    train.add_argument("--threads", type=int)
    center = verbs.add_parser("center")
    center.add_argument("--users", type=int, default=1_000_000)
    center.add_argument("--items", type=int, default=1_000_000)
    center.add_argument("--requests", type=int, default=1_000)
    center.add_argument("--folder", type=Path, default=Path("benchmark-knowledge"))
    center.add_argument("--port", type=int, default=8099)
    reading = verbs.add_parser("read", help="what `center` starts beside a publish")
    serving = verbs.add_parser("serve", help="what `center` starts to be asked over HTTP")
    for verb in (reading, serving):
        verb.add_argument("--folder", type=Path, required=True)
    serving.add_argument("--port", type=int, required=True)
    reading.add_argument("--users", type=int, required=True)
    reading.add_argument("--items", type=int, required=True)
    arguments = parser.parse_args()
    {"train": measure_training, "center": measure_center, "read": read, "serve": serve}[arguments.verb](arguments)


def say_machine() -> None:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load}", flush=True)


# -- training


def measure_training(arguments: argparse.Namespace) -> None:
    from headwater.data.packed import unpack
    from headwater.data.rated import rated_impressions
    from headwater.knowledge.config import ExtractionConfig
    from headwater.knowledge.extract import Extraction
    from headwater.nn.settings import TrainingConfig

    say_machine()
    if arguments.generated:
        from ranking import generated_impressions

        impressions, attributes = generated_impressions(arguments.generated), ("shop", "category")
    else:
        impressions = rated_impressions(unpack(arguments.data), conversion=5.0)
        impressions = impressions.select(np.arange(len(impressions)) < arguments.rows)
        attributes = ("category",)
    print(f"{len(impressions):,} impressions of {len(impressions.day_slices())} days, {', '.join(impressions.tasks)}")
    training = TrainingConfig(
        epochs=1,
        batch_size=arguments.batch_size,
        second_moment=0.999,
        device=arguments.device,
        precision=arguments.precision,
        threads=arguments.threads,
    )
    given = time.process_time()
    report = Extraction(ExtractionConfig(item_attributes=attributes, training=training)).fit(impressions).report
    given = time.process_time() - given
    print(
        f"extraction {report.positives_per_second:9,.0f} impressions/s; "
        f"{len(impressions) / given:9,.0f} for each second of a core"
    )


# -- the center


def measure_center(arguments: argparse.Namespace) -> None:
    say_machine()
    folder: Path = arguments.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        started = time.perf_counter()
        generate(folder / "built", arguments.users, arguments.items)
        print(f"generated and written in {time.perf_counter() - started:.1f} s", flush=True)
        center = Center(folder / "center")
        center.publish(folder / "built")
        words = ["--users", str(arguments.users), "--items", str(arguments.items)]
        with_folder = [sys.executable, __file__, "read", "--folder", str(folder / "center"), *words]
        reader = subprocess.Popen(with_folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert reader.stdout
        reader.stdout.readline()
        started = time.perf_counter()
        center.publish(folder / "built")
        print(
            f"publish of {arguments.users:,} users while another process reads: {time.perf_counter() - started:.1f} s"
        )
        print(reader.communicate("\n")[0].strip(), flush=True)
        ask("in process", center.get, arguments)
        command = [sys.executable, __file__, "serve", "--folder", str(folder / "center"), "--port", str(arguments.port)]
        service = subprocess.Popen(command)
        try:
            client = HttpKnowledge(f"http://127.0.0.1:{arguments.port}")
            wait_for(client)
            ask("over loopback HTTP", client.get, arguments)
        finally:
            service.terminate()
            service.wait()
    finally:
        shutil.rmtree(folder)
    say_machine()


def generate(folder: Path, users: int, items: int) -> None:
    random = np.random.default_rng(0)
    some = random.normal(size=(1 << 16, OF_PAIRS)).astype(np.float16)
    observed = np.sort(random.integers(0, CATEGORIES // OBSERVED, (users, OBSERVED)), 1) + np.arange(OBSERVED) * 100
    pairs = np.empty((users * OBSERVED, OF_PAIRS), np.float16)
    for start in range(0, len(pairs), len(some)):
        pairs[start : start + len(some)] = some[: len(pairs) - start]
    arrays = {
        "user_keys": np.arange(users),
        "users": np.resize(some[:, :WIDTH], (users, WIDTH)),
        "pair_offsets": np.arange(users + 1) * OBSERVED,
        "pair_categories": observed.reshape(-1),
        "pairs": pairs,
        "item_keys": np.arange(items),
        "items": np.resize(some[:, :WIDTH], (items, WIDTH)),
        "item_categories": random.integers(0, CATEGORIES, items),
        "category_keys": np.sort([key_of(f"c{code}") for code in range(CATEGORIES)]),
        "default_user": np.zeros(WIDTH),
        "default_item": np.zeros(WIDTH),
        "default_pairs": np.zeros((CATEGORIES + 1, OF_PAIRS)),
    }
    widths = {"user": WIDTH, "item": WIDTH, "product": WIDTH, "click": 64, "conversion": 64, "cart": 64}
    write_built(folder, arrays, {"parts": widths, "users": "", "items": "", "made_of": [], "as_of": 0, "data": ""})


def ask(where: str, get: Callable, arguments: argparse.Namespace) -> None:
    random = np.random.default_rng(1)
    categories = np.sort([key_of(f"c{code}") for code in range(CATEGORIES)])
    for what, spread in (("one user", 1), (f"{ROWS} users", ROWS)):
        took, given = [], []
        for _ in range(arguments.requests):
            users = np.resize(random.integers(0, arguments.users, spread), ROWS)
            items, codes = random.integers(0, arguments.items, ROWS), categories[random.integers(0, CATEGORIES, ROWS)]
            begin, own = time.perf_counter(), time.thread_time()
            get(users, items, codes)
            took.append(1e3 * (time.perf_counter() - begin))
            given.append(1e3 * (time.thread_time() - own))
        wall, core = np.percentile(took, [50, 99]), np.percentile(given, [50, 99])
        print(
            f"{ROWS} (u, i, c) of {what} {where}: p50 {wall[0]:.2f} ms, p99 {wall[1]:.2f} ms "
            f"(of this thread's own time {core[0]:.2f}, {core[1]:.2f})",
            flush=True,
        )


def read(arguments: argparse.Namespace) -> None:
    """Ask until told to stop, and say how it went."""
    import threading

    center, told = Center(arguments.folder), threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), told.set()), daemon=True).start()
    random, took = np.random.default_rng(2), []
    users = random.integers(0, arguments.users, (64, ROWS))
    items = random.integers(0, arguments.items, (64, ROWS))
    center.get(users[0], items[0])
    print("reads", flush=True)
    while not told.is_set():
        begin = time.perf_counter()
        center.get(users[len(took) % 64], items[len(took) % 64])
        took.append(1e3 * (time.perf_counter() - begin))
        time.sleep(0.01)
    p50, p99 = np.percentile(took, [50, 99])
    print(f"meanwhile {len(took):,} batches of {ROWS} users read: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


class Opened:
    """What the routes ask."""

    def __init__(self, folder: Path) -> None:
        self.knowledge = Center(folder)


def create():
    from litestar import Litestar
    from litestar.datastructures import State

    from headwater.service import knowledge

    state = State({"live": Opened(Path(os.environ["BENCHMARK_CENTER"]))})
    return Litestar([knowledge.ask, knowledge.held], state=state, openapi_config=None)


def serve(arguments: argparse.Namespace) -> None:
    from granian import Granian
    from granian.constants import Interfaces

    os.environ["BENCHMARK_CENTER"] = str(arguments.folder.absolute())
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent)  # workers import this file by its name
    Granian(
        "knowledge:create", factory=True, address="127.0.0.1", port=arguments.port, interface=Interfaces.ASGI
    ).serve()


def wait_for(client: HttpKnowledge) -> None:
    from headwater.errors import StoreAway

    for _ in range(300):
        try:
            client.held()
            return
        except StoreAway:
            time.sleep(0.1)
    raise SystemExit("the service does not start")


if __name__ == "__main__":
    main()
