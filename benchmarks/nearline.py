"""How fast the nearline stream is, and how large its state: `python benchmarks/nearline.py`.

Visits of 500 items out of 100,000 in 100 categories, queues of 10, k 200, from a log of Arrow batches into LMDB; each
batch is durable (fsync) when it counts. Queues are filled before anything is measured, and filled on, until the store
writes where it has written before: a disk may take new places at a tenth of the speed. Figures are given by the wall
clock and by processor time, for other work may run beside. Those of docs/nearline.md name the options they were
measured with.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from headwater.nearline import ArrowRankLog, DirectorySource, Policy, RankedItem, RankLog, Stream, Visit, operator
from headwater.nearline.arrow import SCHEMA, decode_batch, to_records
from headwater.nearline.candidates import combine, decode, decode_all
from headwater.nearline.columns import decode_lines
from headwater.nearline.records import encode_line
from headwater.nearline.scenarios import seen_scenarios
from headwater.nearline.state import UserState, encode
from headwater.nearline.stored import CANDIDATES, STATES, candidates_key, is_content, writes
from headwater.store import LmdbStore

CATALOGUE, CATEGORIES, ROWS = 100_000, 100, 2_000
BATCHES = 3
"""Batches of the stream that wait in the log at a time: while one is written, the next is worked out."""


class Traffic:
    """Visits of random users in rounds: each user comes once in each round, in an order of its own."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.users, self.length = given.users, given.items
        self.first_key = 1 << 40 if given.wide else 0
        self.scenarios = [f"scenario_{n}" for n in range(given.scenarios)]
        self.random = np.random.default_rng(0)
        self.made = 0
        self._round = np.zeros(0, np.int64)

    def batch(self, n: int) -> pa.RecordBatch:
        """The next n visits."""
        while len(self._round) < n:
            self._round = np.concatenate([self._round, self.random.permutation(self.users)])
        users, self._round = self._round[:n], self._round[n:]
        items = self.random.integers(0, CATALOGUE, n * self.length)
        offsets = pa.array(np.arange(n + 1, dtype=np.int32) * self.length)
        numbers = np.arange(self.made, self.made + n)
        self.made += n
        names = pa.array([None], pa.string())
        scenarios = (numbers // self.users % len(self.scenarios)).astype(np.int32)
        columns = {
            "user": pa.array(users),
            "timestamp": pa.array(1_700_000_000 + numbers // 1_000),
            "behaviour": pa.DictionaryArray.from_arrays(pa.array([None] * n, pa.int32()), pa.array([], pa.string())),
            "scenario": pa.DictionaryArray.from_arrays(pa.array(scenarios), pa.array(self.scenarios)),
            "request_id": pa.array([f"{number:024d}" for number in numbers.tolist()]),
            "items": pa.ListArray.from_arrays(offsets, pa.array(items + self.first_key)),
            "scores": pa.ListArray.from_arrays(offsets, pa.array(np.tile(np.linspace(1, 0, self.length), n))),
            "categories": pa.ListArray.from_arrays(offsets, pa.array(items % CATEGORIES)),
            "release": pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), names),
            "arm": pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), names),
        }
        nothing = [pa.nulls(n, field.type) for field in SCHEMA if field.name not in columns]
        absent = [field.name for field in SCHEMA if field.name not in columns]
        columns |= dict(zip(absent, nothing, strict=True))
        return pa.RecordBatch.from_pydict(columns, SCHEMA)

    def batches(self, visits: int) -> Iterator[pa.RecordBatch]:
        """Batches of `ROWS`."""
        for at in range(0, visits, ROWS):
            yield self.batch(min(ROWS, visits - at))


def say(what: str, figure: str) -> None:
    """One row of the report."""
    print(f"{what:<58}{figure:>42}", flush=True)


def rate(n: int, wall: float, cpu: float) -> str:
    """Records a second by both clocks."""
    return f"{n / wall:,.0f}/s; {n / cpu:,.0f} a processor second"


def spread(seconds: list[float]) -> str:
    """The median and the 99th percentile in ms."""
    return f"p50 {np.percentile(seconds, 50) * 1e3:.2f}, p99 {np.percentile(seconds, 99) * 1e3:.2f} ms"


def parts(traffic: Traffic, policy: Policy) -> None:
    """What each step costs by itself, for queues that are full."""
    batch = traffic.batch(ROWS)
    n = min(batch.num_rows, 500)
    records = to_records(batch.slice(0, n))
    rows = [encode_line(record) for record in records]
    columns_of = [encode_line(record, columnar=True) for record in records]
    for what, work in {
        "decode JSON, rows": lambda: decode_lines(rows, [2e9] * n),
        "decode JSON, columns": lambda: decode_lines(columns_of, [2e9] * n),
        "decode Arrow": lambda: decode_batch(batch.slice(0, n), appended=2e9),
    }.items():
        work()
        start = time.process_time()
        work()
        say(what, f"{(time.process_time() - start) / n * 1e6:.1f} µs a visit")
    states = {user: UserState() for user in range(200)}
    few = argparse.Namespace(users=200, items=traffic.length, wide=traffic.first_key > 0, scenarios=1)
    fill = Traffic(few)
    for _ in range(policy.visits):
        operator.take_in(states, decode_batch(fill.batch(200), appended=2e9).columns, policy)
    columns = decode_batch(fill.batch(200), appended=2e9).columns
    before = {user: state.copy() for user, state in states.items()}
    start = time.process_time()
    operator.take_in(states, columns, policy)
    say("the operator takes a late visit into a full queue", f"{(time.process_time() - start) / 200 * 1e6:.1f} µs")
    start = time.process_time()
    operator.rank([(queue, s.acted_items) for s in states.values() for queue in s.queues.values()], policy)
    say("the best k of a full queue", f"{(time.process_time() - start) / 200 * 1e6:.1f} µs")
    start = time.process_time()
    writes(before, states, policy)
    say("the same, and all that is to be written", f"{(time.process_time() - start) / 200 * 1e6:.1f} µs a visit")
    say("state of a user and scenario", f"{len(encode(states[0])) / 1024:.1f} KiB")


def stream_through(
    folder: Path, stream: Stream, batches: Iterator[pa.RecordBatch], form: str, at_once: int
) -> tuple[float, float]:
    """Write some batches' visits to the log and take them in, and so on; the seconds, by both clocks, of taking in."""
    wall = cpu = 0.0
    while group := list(islice(batches, max(1, BATCHES * at_once // ROWS))):
        log = ArrowRankLog(folder)
        for batch in group:
            if form == "arrow":
                log.append_batch(batch)
            else:
                lines = [encode_line(record, columnar=form == "columns") for record in to_records(batch)]
                (folder / f"{time.time_ns()}.jsonl").write_bytes(b"".join(lines))
        log.close()
        wanted, stop = stream.status().records + sum(batch.num_rows for batch in group), threading.Event()
        running = threading.Thread(target=stream.run, args=(stop,), daemon=True)
        start = time.perf_counter(), time.process_time()
        running.start()
        while stream.status().records < wanted:
            assert running.is_alive(), "the stream has failed"
            time.sleep(0.002)
        wall, cpu = wall + time.perf_counter() - start[0], cpu + time.process_time() - start[1]
        stop.set()
        running.join()
        for path in folder.iterdir():
            path.unlink()
    return wall, cpu


def runtime(folder: Path, given: argparse.Namespace, policy: Policy) -> None:
    """Log to store, with full queues; then how long an append takes to be read."""
    traffic = Traffic(given)
    (folder / "log").mkdir()
    store = LmdbStore(folder / "store", map_size=64 << 30)
    stream = Stream(DirectorySource(folder / "log"), store, policy, batch=given.batch, memory_bytes=given.memory << 20)
    fill = given.users * given.fill * given.scenarios
    wall, cpu = stream_through(folder / "log", stream, traffic.batches(fill), "arrow", given.batch)
    if fill:
        say(f"fill: Arrow -> LMDB, {fill:,} visits", rate(fill, wall, cpu))
    for form in filter(None, given.forms.split(",")):
        visits = given.visits if form == "arrow" else min(given.visits, 10_000)
        wall, cpu = stream_through(folder / "log", stream, traffic.batches(visits), form, given.batch)
        say(
            f"{form} -> LMDB, {given.users:,} users, {stream.status().memory_bytes >> 20:,} MiB held",
            rate(visits, wall, cpu),
        )
    sizes_on_disk = [path.stat().st_size for path in (folder / "store").rglob("*") if path.is_file()]
    say("store on disk", f"{sum(sizes_on_disk) / 2**20:,.0f} MiB")
    sizes: dict[str, list[int]] = {"a state": [], "a list": [], "candidates": []}
    for key, value in islice(store.scan(CANDIDATES), 2_000):
        sizes["a list" if is_content(key) else "candidates"].append(len(value))
    sizes["a state"] = [len(value) for _, value in islice(store.scan(STATES), 2_000)]
    for what, lengths in sizes.items():
        say(f"{what}, stored", f"{np.mean(lengths):,.0f} bytes")
    reads(store, given.users)
    append_to_readable(folder / "log", store, stream, given)
    store.close()


def reads(store: LmdbStore, users: int) -> None:
    """A user's candidates of all scenarios."""
    names = seen_scenarios(store)
    chosen = np.random.default_rng(1).integers(0, users, 2_000).tolist()
    steps: list[tuple[str, Callable[[list[bytes]], object]]] = [
        ("read", lambda raws: raws),
        ("read and decode", decode_all),
        ("read, decode and combine", lambda raws: combine([decode_all(raws)])),
    ]
    for what, step in steps:
        waits: list[float] = []
        for user in chosen:
            start = time.perf_counter()
            raws = store.get_many(CANDIDATES, [candidates_key(user, name) for name in names])
            step([raw for raw in raws if raw is not None])
            waits.append(time.perf_counter() - start)
        say(f"{what} a user's {len(names)} scenarios", spread(waits))


def append_to_readable(folder: Path, store: LmdbStore, stream: Stream, given: argparse.Namespace) -> None:
    """How long after `append` a visit's first item can be read, while other visits come in."""
    traffic = Traffic(given)
    stop = threading.Event()
    running = threading.Thread(target=stream.run, args=(stop,), kwargs={"poll_seconds": 0.002})
    running.start()
    probe = RankLog(folder)
    step = given.load * 0.01
    load = iter([traffic.batch(int(step)) for _ in range(300)]) if step >= 1 else iter(())
    waits: list[float] = []
    ahead = ArrowRankLog(folder)
    begin = time.perf_counter()
    for at in range(100):
        for _ in range(3):  # one batch each 10 ms
            if (batch := next(load, None)) is not None:
                ahead.append_batch(batch)
            begin += 0.01
            time.sleep(max(0.0, begin - time.perf_counter()))
        key, user = CATALOGUE + at, at % given.users
        item = RankedItem(key, 1.0)
        start = time.perf_counter()
        visit = Visit(request_id=f"x{at}", scenario="probe", user=user, timestamp=int(time.time()), items=[item])
        probe.append(visit)
        while True:
            (raw,) = store.get_many(CANDIDATES, [candidates_key(user, "probe")])
            if raw is not None and key in decode(raw).items:
                break
            time.sleep(0.0005)
        waits.append(time.perf_counter() - start)
    stop.set()
    running.join()
    probe.close()
    ahead.close()
    say(f"append -> readable at {given.load:,} visits/s", spread(waits))


_WORKER = """
import sys, time
from headwater.nearline import DirectorySource, Policy, Stream
from headwater.store import LmdbStore
log, store, index, n, batch = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
stream = Stream(DirectorySource(log), LmdbStore(store, map_size=64 << 30), Policy(), partition=(index, n), batch=batch)
print("ready", flush=True); sys.stdin.readline()
start = time.perf_counter(), time.process_time()
while stream.run_once(): pass
print(stream.status().records, time.perf_counter() - start[0], time.process_time() - start[1], flush=True)
"""


def processes(folder: Path, given: argparse.Namespace) -> None:
    """The same log taken in by one process and by several; empty queues."""
    traffic = Traffic(given)
    log = ArrowRankLog(folder / "shared-log")
    for batch in traffic.batches(given.visits):
        log.append_batch(batch)
    log.close()
    for n in range(1, given.processes + 1):
        store = folder / f"store-of-{n}"
        arguments = [str(folder / "shared-log"), str(store)]
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", _WORKER, *arguments, str(index), str(n), str(given.batch)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for index in range(n)
        ]
        for worker in workers:
            assert worker.stdout
            worker.stdout.readline()
        start = time.perf_counter()
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("go\n")
            worker.stdin.flush()
        said = [worker.communicate()[0].split() for worker in workers]
        wall = time.perf_counter() - start
        assert sum(int(records) for records, _, _ in said) == given.visits
        say(f"{n} process{'es' * (n > 1)}, empty queues", rate(given.visits, wall, sum(float(cpu) for *_, cpu in said)))
        shutil.rmtree(store)


def main() -> None:
    """Print the report."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--users", type=int, default=5_000)
    arguments.add_argument("--visits", type=int, default=40_000, help="that are measured")
    arguments.add_argument("--items", type=int, default=500, help="of a visit")
    arguments.add_argument("--queue", type=int, default=10, help="visits kept of a user and scenario")
    arguments.add_argument("--fill", type=int, default=12, help="visits of a user and scenario before the measurement")
    arguments.add_argument("--scenarios", type=int, default=1)
    arguments.add_argument("--batch", type=int, default=8_000, help="records of one durable write at most")
    arguments.add_argument("--memory", type=int, default=4_096, help="MiB of states to hold")
    arguments.add_argument("--forms", default="arrow,columns,rows", help="of the log: arrow, columns and rows of JSON")
    arguments.add_argument("--load", type=int, default=5_000, help="visits/s while append -> readable is measured")
    arguments.add_argument("--processes", type=int, default=2, help="to grow to; 0 leaves this out")
    arguments.add_argument("--wide", action="store_true", help="item keys of 8 bytes, as of text ids")
    arguments.add_argument("--flink", action="store_true", help="Flink beside the local runtime, and nothing else")
    arguments.add_argument("--task-manager", type=int, default=2_048, help="MiB of Java of a TaskManager on Flink")
    arguments.add_argument("--core", type=int, help="the one core that everything runs on; all where it is left out")
    given = arguments.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    policy = Policy(visits=given.queue)
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {vars(given)}")
    with tempfile.TemporaryDirectory() as folder:
        if given.flink:
            from nearline_flink import flink

            flink(Path(folder), Traffic(given), given, say)
            print(f"load of the machine after: {os.getloadavg()[0]:.1f}")
            return
        parts(Traffic(given), policy)
        runtime(Path(folder), given, policy)
        if given.processes:
            processes(Path(folder), given)
    print(f"load of the machine after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
