"""How fast the nearline stream is, and how large its state: `python benchmarks/nearline.py`.

One process, one core. Visits of 500 items out of 100,000, three scenarios, queues of 10, k 200. Every batch of the
runtime is durable (fsync) when it counts. Figures with machine and date stand in docs/nearline.md.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from headwater.data import Queries, Vocabulary
from headwater.nearline import DirectorySource, NearlineChannel, Policy, RankedItem, RankLog, Stream, Visit, operator
from headwater.nearline.local import CANDIDATES, STATES
from headwater.nearline.ranklog import decode_line, encode_line
from headwater.profile import Profile
from headwater.store import LmdbStore, key_bytes

ITEMS, LENGTH, SCENARIOS = 100_000, 500, ("mini_detail", "main_search", "post_purchase")


def make_visits(n: int, users: int) -> list[Visit]:
    """Visits of random items of 100 categories, users in turn: a batch meets most users once."""
    random = np.random.default_rng(0)
    now = int(time.time()) - n
    visits = []
    for at in range(n):
        items = random.choice(ITEMS, LENGTH, replace=False).tolist()
        visits.append(
            Visit(
                request_id=f"{at:024d}",
                scenario=SCENARIOS[at // users % 3],
                user=at % users,
                timestamp=now + at,
                items=[RankedItem(item, 1 - rank / LENGTH, item % 100, ["itemcf"]) for rank, item in enumerate(items)],
            )
        )
    return visits


def say(what: str, figure: str) -> None:
    """One row of the report."""
    print(f"{what:<58}{figure:>22}", flush=True)


def spread(seconds: list[float]) -> str:
    """The median and the 99th percentile in ms."""
    return f"p50 {np.percentile(seconds, 50) * 1e3:.2f}, p99 {np.percentile(seconds, 99) * 1e3:.2f} ms"


def pure_operator(visits: list[Visit], policy: Policy) -> None:
    """decode, apply and candidates of one user whose three queues are full."""
    lines = [encode_line(visit) for visit in visits]
    start = time.perf_counter()
    for line in lines:
        decode_line(line, appended=time.time())
    say("decode a JSON line of 500 items", f"{len(lines) / (time.perf_counter() - start):,.0f} visits/s")
    state = operator.apply_all(None, visits[:60], policy)
    start = time.perf_counter()
    for record in visits[60:]:
        state = operator.apply(state, record, policy)
    say("apply, 3 full queues", f"{540 / (time.perf_counter() - start):,.0f} visits/s")
    start = time.perf_counter()
    for _ in range(200):
        operator.candidates(state, policy)
    say("candidates of 3 full queues (15,000 entries)", f"{(time.perf_counter() - start) / 200 * 1e3:.2f} ms")
    say("state of 3 full queues", f"{len(state) / 1024:.1f} KiB")


def runtime(folder: Path, visits: list[Visit], policy: Policy, users: int) -> None:
    """From log files to readable candidates."""
    log = RankLog(folder / "log")
    start = time.perf_counter()
    for visit in visits:
        log.append(visit)
    log.close()
    say("RankLog.append", f"{len(visits) / (time.perf_counter() - start):,.0f} visits/s")
    store = LmdbStore(folder / "store")
    stream = Stream(DirectorySource(folder / "log"), store, policy)
    start = time.perf_counter()
    while stream.run_once():
        pass
    say(f"log -> LMDB, durable, {users:,} users", f"{len(visits) / (time.perf_counter() - start):,.0f} visits/s")
    states = [len(value) for _, value in store.scan(STATES)]
    say("state of a user, mean", f"{np.mean(states) / 1024:.1f} KiB")
    say("candidates of a user, mean", f"{np.mean([len(v) for _, v in store.scan(CANDIDATES)]) / 1024:.1f} KiB")

    channel = NearlineChannel(store, Vocabulary(np.arange(ITEMS)))
    waits = []
    for user in range(min(users, 1_000)):
        queries = request(user)
        start = time.perf_counter()
        channel.retrieve(queries, 200)
        waits.append(time.perf_counter() - start)
    say("NearlineChannel.retrieve of 200, one user", spread(waits))
    append_to_readable(folder, store, stream, users)
    store.close()


def append_to_readable(folder: Path, store: LmdbStore, stream: Stream, users: int) -> None:
    """How long after `append` the visit's first item can be read, with 20 visits a second coming in."""
    stop = threading.Event()
    running = threading.Thread(target=stream.run, args=(stop,))
    running.start()
    log = RankLog(folder / "log")
    waits = []
    for at in range(100):
        key, user = ITEMS + at, at % users
        start = time.perf_counter()
        log.append(
            Visit(
                request_id=f"x{at}",
                scenario="in_shop",
                user=user,
                timestamp=int(time.time()),
                items=[RankedItem(key, 1.0)],
            )
        )
        while key.to_bytes(8, "little") not in (store.get_many(CANDIDATES, [key_bytes(user)])[0] or b""):
            time.sleep(0.001)
        waits.append(time.perf_counter() - start)
        time.sleep(max(0.0, 0.05 - waits[-1]))
    stop.set()
    running.join()
    log.close()
    say("append -> readable", spread(waits))


def profile_import(folder: Path) -> None:
    """A million events of 6,040 users, the size of MovieLens-1M."""
    random = np.random.default_rng(0)
    store = LmdbStore(folder / "profiles")
    profile = Profile(store)
    users = random.integers(0, 6_040, 1_000_000)
    items = random.integers(0, 3_706, 1_000_000)
    times = np.sort(random.integers(0, 10**9, 1_000_000))
    start = time.perf_counter()
    profile.append_many(users, items, times, np.ones(1_000_000, np.int8))
    say("Profile.append_many of 1,000,000 events, 6,040 users", f"{time.perf_counter() - start:.2f} s")
    waits = []
    for at in range(200):
        start = time.perf_counter()
        profile.append(at, [1], [10**9 + at], [1])
        waits.append(time.perf_counter() - start)
    say("Profile.append of one event, durable", spread(waits))
    store.close()


def request(user: int) -> Queries:
    """One request of a user without history."""
    none = np.zeros(0, np.int64)
    return Queries(
        users=np.array([-1], np.int32),
        user_keys=np.array([user], np.int64),
        offsets=np.zeros(2, np.int64),
        items=none.astype(np.int32),
        times=none,
        behaviours=none.astype(np.int8),
        request_times=np.zeros(1, np.int64),
        scenarios=("homepage",),
    )


def main() -> None:
    """Print the report."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--visits", type=int, default=9_000)
    arguments.add_argument("--users", type=int, default=300)
    given = arguments.parse_args()
    policy = Policy()
    pure_operator(make_visits(600, users=1), policy)
    with tempfile.TemporaryDirectory() as folder:
        runtime(Path(folder), make_visits(given.visits, given.users), policy, given.users)
        profile_import(Path(folder))


if __name__ == "__main__":
    main()
