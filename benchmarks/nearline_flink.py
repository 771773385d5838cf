"""The nearline stream on Flink beside the local one: `python benchmarks/nearline.py --flink`.

Both take the same log in, of visits as `Traffic` makes them, into an LMDB store each, on this machine: one TaskManager
with one slot, states on its heap, a checkpoint each second. Then the TaskManager is killed while another stands by, and
at last single visits are followed from `append` until they can be read.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from headwater.nearline import ArrowRankLog, DirectorySource, Policy, RankedItem, RankLog, Stream, Visit
from headwater.nearline.arrow import to_records
from headwater.nearline.candidates import decode
from headwater.nearline.flink.cluster import Installation, LocalCluster
from headwater.nearline.flink.control import Job
from headwater.nearline.flink.settings import JobSettings
from headwater.nearline.records import encode_line
from headwater.nearline.stored import CANDIDATES, candidates_key
from headwater.store import LmdbStore, Store

if TYPE_CHECKING:
    from nearline import Traffic

ENVIRONMENT = Path(__file__).parents[1] / ".venv-flink"
LIMIT = 500.0
"""Seconds after which a step that has not ended will not."""


def flink(folder: Path, traffic: Traffic, given: argparse.Namespace, say: Callable[[str, str], None]) -> None:
    """The report."""
    forms = [form for form in given.forms.split(",") if form]
    for form in forms:
        _write(folder / form, traffic, given.visits, form)
    local = {form: _local(folder / form, folder / f"local-{form}", given) for form in forms}
    for form in forms:
        say(f"local: {form} -> LMDB, {given.visits:,} visits, {given.users:,} users", f"{local[form]:,.0f}/s")
    installation = Installation(ENVIRONMENT)
    cluster_folder = folder / "cluster"
    cluster_folder.mkdir()
    with LocalCluster(installation, cluster_folder, task_manager_mib=given.task_manager) as cluster:
        for form in forms:
            _on_flink(folder, form, local[form], cluster, installation, traffic, given, say)


def _write(folder: Path, traffic: Traffic, visits: int, form: str) -> None:
    folder.mkdir()
    for at, batch in enumerate(traffic.batches(visits)):
        _append(folder, batch, form, at)


def _append(folder: Path, batch: pa.RecordBatch, form: str, number: int) -> None:
    if form == "arrow":
        log = ArrowRankLog(folder)
        # A batch comes whole, however many records a reader asks for.
        for start in range(0, batch.num_rows, 250):
            log.append_batch(batch.slice(start, 250))
        log.close()
    else:
        lines = [encode_line(record, columnar=form == "columns") for record in to_records(batch)]
        (folder / f"{number:06d}.jsonl").write_bytes(b"".join(lines))


def _local(log: Path, place: Path, given: argparse.Namespace) -> float:
    store = LmdbStore(place)
    stream = Stream(DirectorySource(log), store, Policy(), batch=given.batch)
    start = time.perf_counter()
    while stream.run_once():
        pass
    rate = stream.status().records / (time.perf_counter() - start)
    store.close()
    return rate


def _on_flink(
    folder: Path,
    form: str,
    local: float,
    cluster: LocalCluster,
    installation: Installation,
    traffic: Traffic,
    given: argparse.Namespace,
    say: Callable[[str, str], None],
) -> None:
    place = folder / f"flink-{form}"
    store = LmdbStore(place)
    settings = JobSettings(
        name=f"bench-{form}", log=str(folder / form), store=str(place), checkpoints=str(folder / f"checkpoints-{form}")
    )
    job = Job(cluster.url, settings, store)
    job.submit(installation)
    job.wait_until_running()
    # The first tenth pays for compiled code that is loaded, and for Java that is not compiled yet.
    _wait(lambda: job.status().records >= given.visits // 10, job)
    start, before = time.perf_counter(), job.status().records
    _wait(lambda: job.status().records >= given.visits, job)
    rate = (given.visits - before) / (time.perf_counter() - start)
    say(f"Flink, one TaskManager: {form} -> LMDB", f"{rate:,.0f}/s; local / Flink {local / rate:.1f}")
    done = job.checkpoints()["counts"]["completed"]
    _wait(lambda: job.checkpoints()["counts"]["completed"] > done + 1, job)
    newest = job.checkpoints()["latest"]["completed"]
    say("a checkpoint", f"{newest['state_size'] / 2**20:,.1f} MiB in {newest['end_to_end_duration']:,} ms")
    _freshness(folder / form, store, say)
    _recovery(folder / form, form, job, cluster, traffic, say)
    job.stop()
    store.close()


def _freshness(log: Path, store: Store, say: Callable[[str, str], None]) -> None:
    import numpy as np

    probe = RankLog(log)
    waits: list[float] = []
    for at in range(60):
        start, key = time.perf_counter(), 1_000_000 + at
        # Out of step with the checkpoints, so that some fall into one.
        time.sleep(0.03 * (at % 7))
        item = RankedItem(key, 1.0)
        start = time.perf_counter()
        visit = Visit(request_id=f"x{at}", scenario="probe", user=at, timestamp=int(time.time()), items=[item])
        probe.append(visit)
        while True:
            (raw,) = store.get_many(CANDIDATES, [candidates_key(at, "probe")])
            if raw is not None and key in decode(raw).items:
                break
            time.sleep(0.001)
        waits.append(time.perf_counter() - start)
    probe.close()
    p50, p99 = np.percentile(waits, [50, 99])
    say("append -> readable", f"p50 {p50 * 1e3:,.0f}, p99 {p99 * 1e3:,.0f}, max {max(waits) * 1e3:,.0f} ms")


def _recovery(
    log: Path, form: str, job: Job, cluster: LocalCluster, traffic: Traffic, say: Callable[[str, str], None]
) -> None:
    """From the kill until a record is read that had not been read before."""
    cluster.add_task_manager()
    cluster.wait_for(2)
    _append(log, traffic.batch(2_000), form, 900_000)
    _wait(lambda: job.status().pending_bytes > 0, job)
    cluster.kill_task_manager()
    start, seen = time.perf_counter(), job.status().records
    _wait(lambda: job.status().records > seen, job)
    restored = job.checkpoints()["latest"]["restored"]["id"]
    say(
        "killed, with another TaskManager standing by",
        f"back after {time.perf_counter() - start:.1f} s; checkpoint {restored}, {job.replayed():,} replayed",
    )


def _wait(claim: Callable[[], bool], job: Job) -> None:
    until = time.monotonic() + LIMIT
    while not claim():
        assert time.monotonic() < until, job.trouble()
        time.sleep(0.02)
