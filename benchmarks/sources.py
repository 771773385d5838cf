"""How fast rank logs are handed to a stream: `python benchmarks/sources.py`.

Visits of 500 items. A source finds records and their places; decoding them is `benchmarks/nearline.py`'s. Rates stand
by the wall clock and by this process's processor time. Figures with machine and date stand in docs/sources.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from headwater.nearline import RankedItem, RankLog, Visit
from headwater.nearline.arrow import ArrowRankLog
from headwater.nearline.sources import DirectorySource, RedisGroupSource, RedisRankLog, RedisSource, Source
from store import bundled, running, say

BATCH = 500


def make_visits(n: int) -> list[Visit]:
    """Visits of random items."""
    random = np.random.default_rng(0)
    now = int(time.time())
    return [
        Visit(
            request_id=f"{at:024d}",
            scenario=("mini_detail", "main_search")[at % 2],
            user=at,
            timestamp=now,
            items=[RankedItem(item, 0.5, item % 100, ["itemcf"]) for item in random.integers(0, 10**6, 500).tolist()],
        )
        for at in range(n)
    ]


def drain(what: str, source: Source) -> None:
    """From the beginning to the end of a log, with a commit for each poll."""
    wall, cpu = time.perf_counter(), time.process_time()
    position, records, size = {}, 0, 0
    while True:
        batch = source.poll(position, BATCH)
        if not batch.records:
            break
        records += batch.records
        size += sum(line.length for line in batch.lines) + sum(block.length for block in batch.blocks)
        position = batch.position
        source.commit(position)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    per_visit = f"{size / records / 1e3:.1f} KB a visit"
    say(what, f"{records / wall:,.0f} visits/s, processor {cpu / records * 1e6:.1f} us a visit, {per_visit}")


def main() -> None:
    """Print the report."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--visits", type=int, default=5_000)
    arguments.add_argument("--redis", help="a redis-server or valkey-server binary")
    given = arguments.parse_args()
    visits = make_visits(given.visits)
    with tempfile.TemporaryDirectory(prefix="sources-") as name:
        folder = Path(name)
        lines, columns = RankLog(folder / "lines"), RankLog(folder / "columns", columnar=True)
        batches = ArrowRankLog(folder / "batches")
        for at in range(0, len(visits), BATCH):
            for log in (lines, columns, batches):
                log.append_many(visits[at : at + BATCH])
        for log in (lines, columns, batches):
            log.close()
        for kind in ("lines", "columns", "batches"):
            DirectorySource(folder / kind).poll({}, BATCH)
            drain(f"DirectorySource, {kind}", DirectorySource(folder / kind))
        with running(folder, given.redis or bundled(), "everysec") as url:
            writer = RedisRankLog(url)
            start = time.perf_counter()
            for at in range(0, len(visits), BATCH):
                writer.append_many(visits[at : at + BATCH])
            say(f"RedisRankLog.append_many of {BATCH}", f"{len(visits) / (time.perf_counter() - start):,.0f} visits/s")
            drain("RedisSource", RedisSource(url))
            drain("RedisGroupSource", RedisGroupSource(url, consumer="one"))


if __name__ == "__main__":
    main()
