"""A bazaar's behaviour at size: seconds to make the world and to play its days, and the most memory that it took.

    python benchmarks/bazaar.py --users 100000 --items 100000 --days 7

Every page is made (candidates, features, scores, exposure), looked at and counted; rankers are untrained and lists
below the page are not sorted, as nobody reads rank logs here. One thread.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time

import headwater
from headwater.simulation.config import SCENARIOS, BazaarConfig, WorldConfig
from headwater.simulation.play import Play
from headwater.simulation.summary import STAGES, Funnel
from headwater.simulation.world import make_world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=7)
    given = parser.parse_args()
    config = BazaarConfig(world=WorldConfig(users=given.users, items=given.items, days=given.days))
    load = os.getloadavg()[0]
    Play(make_world(BazaarConfig(world=WorldConfig(users=20, items=200, days=1, categories=12)))).play_day(Funnel())
    print(f"headwater {headwater.__version__}, {platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before")
    clock, processor = time.perf_counter(), time.process_time()
    world = make_world(config)
    print(f"world {config.hash}: {time.perf_counter() - clock:.1f} s")
    play, funnel = Play(world, ranks_all=False), Funnel()
    clock, processor = time.perf_counter(), time.process_time()
    for _ in range(given.days):
        play.play_day(funnel)
    wall, used = time.perf_counter() - clock, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    counted = ", ".join(f"{funnel.total(stage):,} {stage}" for stage in STAGES)
    print(f"{given.days} days: {wall:.0f} s by the clock, {used:.0f} s of processor, peak {peak:.2f} GiB")
    print(f"load {os.getloadavg()[0]:.1f} after; {counted}")
    for code, name in enumerate(SCENARIOS):
        rate, buys = funnel.ratio(code, "clicks", "exposures"), funnel.ratio(code, "purchases", "exposures")
        print(f"{name:14} CTR {rate:.4f}  CTCVR {buys:.5f}  {funnel.counts[code].tolist()}")


if __name__ == "__main__":
    main()
