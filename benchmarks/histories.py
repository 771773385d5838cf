"""How fast profiles take events: `python benchmarks/histories.py`. Figures and their date stand in docs/store.md."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from headwater.profile import Profile
from headwater.store import LmdbStore


def main() -> None:
    """Print the report: a million events of 6,040 users, the size of MovieLens-1M, and then one at a time."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        store = LmdbStore(Path(folder) / "profiles")
        profile = Profile(store)
        users = random.integers(0, 6_040, 1_000_000)
        items = random.integers(0, 3_706, 1_000_000)
        times = np.sort(random.integers(0, 10**9, 1_000_000))
        start = time.perf_counter()
        profile.append_many(users, items, times, np.ones(1_000_000, np.int8))
        print(f"append_many of 1,000,000 events of 6,040 users: {time.perf_counter() - start:.2f} s")
        waits = []
        for at in range(200):
            start = time.perf_counter()
            profile.append(at, [1], [10**9 + at], [1])
            waits.append(time.perf_counter() - start)
        store.close()
    print(
        f"append of one event, durable: p50 {np.median(waits) * 1e3:.2f}, p99 {np.percentile(waits, 99) * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main()
