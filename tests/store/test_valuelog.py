"""Large values lie in a log beside LMDB: its space comes back, and nobody is ever shown what is not there."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.errors import StoreError, TornValue
from headwater.store import LmdbStore, Put
from headwater.store.envelope import seal
from headwater.store.valuelog import ValueLogError, Writing

SEGMENT = 1 << 17
LARGE = 3_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = opening(tmp_path)
    yield opened
    opened.close()


def opening(tmp_path: Path) -> LmdbStore:
    store = LmdbStore(tmp_path / "store")
    store._log.segment_bytes = SEGMENT
    return store


def value(key: int, version: int) -> bytes:
    return b"%04d-%06d." % (key, version) * (LARGE // 12)


def put(store: LmdbStore, keys: list[int], version: int) -> None:
    store.put_many([Put("a", b"%04d" % key, value(key, version)) for key in keys])


def segments(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "store" / "values").iterdir())


def log_bytes(tmp_path: Path) -> int:
    return sum(path.stat().st_size for path in segments(tmp_path))


def test_values_of_all_sizes_around_the_limit_come_back(store: LmdbStore, tmp_path: Path) -> None:
    sizes = [*range(1_950, 2_050), 4_096, 100_000, 3 * SEGMENT, 0]
    store.put_many([Put("a", b"%06d" % size, bytes([size % 251]) * size) for size in sizes])
    assert store.get_many("a", [b"%06d" % size for size in sizes]) == [bytes([size % 251]) * size for size in sizes]
    assert list(store.scan("a")) == [(b"%06d" % size, bytes([size % 251]) * size) for size in sorted(sizes)]
    assert log_bytes(tmp_path) > 3 * SEGMENT


def test_a_value_that_grows_or_shrinks_moves_in_and_out(store: LmdbStore) -> None:
    for size in (10, LARGE, LARGE + 1, 10, LARGE, 2_000):
        store.put_many([Put("a", b"x", bytes(size))])
        assert store.get_many("a", [b"x"]) == [bytes(size)]
    assert store.delete_many("a", [b"x"]) == 1
    assert store.get_many("a", [b"x"]) == [None]


def test_the_space_of_replaced_values_is_used_again(store: LmdbStore, tmp_path: Path) -> None:
    for version in range(200):
        put(store, list(range(40)), version)
    assert [store.get_many("a", [b"%04d" % key]) for key in range(40)] == [[value(key, 199)] for key in range(40)]
    assert log_bytes(tmp_path) < 10 * SEGMENT


def test_the_space_of_deleted_and_of_expired_values_is_used_again(tmp_path: Path) -> None:
    now = [1_000.0]
    store = LmdbStore(tmp_path / "store", clock=lambda: now[0])
    store._log.segment_bytes = SEGMENT
    for version in range(60):
        keys = [b"%d-%d" % (version, key) for key in range(80)]
        store.put_many([Put("a", key, bytes(LARGE), ttl=60 if at % 2 else None) for at, key in enumerate(keys)])
        store.delete_many("a", keys[::2])
        now[0] += 601
    assert log_bytes(tmp_path) < 20 * SEGMENT
    store.close()


def test_what_lies_between_dead_values_is_moved_and_stays_what_it_was(tmp_path: Path) -> None:
    now = [1_000.0]
    store = LmdbStore(tmp_path / "store", clock=lambda: now[0])
    store._log.segment_bytes = SEGMENT
    generator = random.Random(3)
    # Every eighth value is never written again: it keeps its segment until it is moved.
    kept = list(range(0, 400, 8))
    store.put_many(
        [
            Put("a", b"%04d" % key, value(key, 0), ttl=1e6 if key in kept else None, offset=7 if key in kept else None)
            for key in range(400)
        ]
    )
    first = segments(tmp_path)[0]
    versions = dict.fromkeys(range(400), 0)
    for version in range(1, 300):
        chosen = generator.sample([key for key in range(400) if key not in kept], 40)
        put(store, chosen, version)
        versions |= dict.fromkeys(chosen, version)
    assert first not in segments(tmp_path)
    assert log_bytes(tmp_path) < 2 * 400 * LARGE + 8 * SEGMENT
    assert [found for _, found in store.scan("a")] == [value(key, version) for key, version in versions.items()]
    assert store.put_many([Put("a", b"0000", b"a replay", offset=7)]) == 0, "the offset went with the value"
    assert store.put_many([Put("a", b"0008", b"news", offset=8)]) == 1
    now[0] += 1e6
    assert store.get_many("a", [b"0016"]) == [None], "the expiry went with the value"
    store.close()


def test_a_value_torn_in_the_log_is_named_and_mended_by_a_put(store: LmdbStore, tmp_path: Path) -> None:
    put(store, [1, 2, 3], 0)
    (path,) = segments(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[raw.index(value(2, 0)) + 50] ^= 1
    path.write_bytes(raw)
    assert store.get_many("a", [b"0001", b"0003"]) == [value(1, 0), value(3, 0)]
    with pytest.raises(TornValue, match="0002"):
        store.get_many("a", [b"0002"])
    with pytest.raises(TornValue, match="0002"):
        list(store.scan("a"))
    put(store, [2], 1)
    assert store.get_many("a", [b"0002"]) == [value(2, 1)]


def test_segments_that_are_gone_or_damaged_cost_their_values_and_no_other(store: LmdbStore, tmp_path: Path) -> None:
    put(store, list(range(100)), 0)
    segments(tmp_path)[0].unlink()
    damaged = segments(tmp_path)[0]
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with pytest.raises(TornValue, match="0000"):
        store.get_many("a", [b"0000"])
    assert store.get_many("a", [b"0099"]) == [value(99, 0)]
    for version in range(1, 30):
        put(store, list(range(50, 100)), version)  # enough to look through the two that cannot be
    assert len(store.get_many("a", [b"%04d" % key for key in range(50, 100)])) == 50
    put(store, list(range(50)), 30)
    assert len(list(store.scan("a"))) == 100


def test_a_call_that_failed_after_it_had_written_leaves_nothing(
    store: LmdbStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, list(range(60)), 0)
    put(store, list(range(60)), 1)  # the first segment holds nothing any more
    finish = Writing.finish

    def fail(self: Writing) -> None:
        finish(self)
        raise ValueLogError("No space left on device")

    for version in range(2, 20):
        monkeypatch.setattr(Writing, "finish", fail)
        with pytest.raises(StoreError, match="disk is full"):
            put(store, list(range(60)), 99)
        monkeypatch.setattr(Writing, "finish", finish)
        assert [found for _, found in store.scan("a")] == [value(key, version - 1) for key in range(60)]
        put(store, list(range(60)), version)
        assert [found for _, found in store.scan("a")] == [value(key, version) for key in range(60)]
    assert log_bytes(tmp_path) < 20 * SEGMENT


READER = (
    "import sys\n"
    "from headwater.store import LmdbStore\n"
    "store = LmdbStore(sys.argv[1])\n"
    "keys = [b'%04d' % key for key in range(40)]\n"
    "print('reads', flush=True)\n"
    "seen = 0\n"
    "while seen < 199:\n"
    "    found = store.get_many('a', keys)\n"
    "    versions = {int(raw[5:11]) for raw in found}\n"
    "    assert len(versions) == 1 and min(versions) >= seen, versions  # of one moment\n"
    "    assert all(raw == raw[:12] * (len(raw) // 12) and raw[:4] == key for raw, key in zip(found, keys))\n"
    "    (seen,) = versions\n"
    "    assert [raw[:4] for _, raw in store.scan('a')] == keys\n"
)


def test_readers_see_one_moment_while_segments_are_written_again(store: LmdbStore, tmp_path: Path) -> None:
    put(store, list(range(40)), 0)
    command = [sys.executable, "-c", READER, str(tmp_path / "store")]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert reader.stdout
    assert reader.stdout.readline() == "reads\n"
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while reader.poll() is None:
                found = store.get_many("a", [b"%04d" % key for key in range(40)])
                assert len({raw[5:11] for raw in found if raw}) == 1
        except BaseException as error:
            failures.append(error)

    beside = threading.Thread(target=read)
    beside.start()
    for version in range(1, 200):
        put(store, list(range(40)), version)
    assert reader.communicate(timeout=120)[1] == ""
    beside.join()
    assert not failures


WRITER = (
    "import sys\n"
    "from headwater.store import LmdbStore, Put\n"
    "store = LmdbStore(sys.argv[1]); store._log.segment_bytes = 1 << 17\n"
    "version = int(sys.argv[2])\n"
    "while True:\n"
    "    store.put_many([Put('a', b'%04d' % key, b'%04d-%06d.' % (key, version) * 250) for key in range(40)])\n"
    "    print(version, flush=True); version += 1\n"
)


def test_a_writer_that_is_killed_loses_nothing_acknowledged_and_leaves_nothing_torn(tmp_path: Path) -> None:
    generator, acknowledged = random.Random(1), 0
    for _ in range(int(os.environ.get("HEADWATER_KILLS", "5"))):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "store"), str(acknowledged + 1)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout
        for _ in range(generator.randrange(5, 60)):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = int((writer.communicate()[0].split() or [acknowledged])[-1])
        store = LmdbStore(tmp_path / "store")
        (version,) = {int(raw[5:11]) for _, raw in store.scan("a")}
        assert version >= acknowledged
        assert [found for _, found in store.scan("a")] == [value(key, version) for key in range(40)]
        acknowledged = version
        store.close()
    assert log_bytes(tmp_path) < 12 * SEGMENT


def test_large_values_that_stand_in_lmdb_are_read_and_move_when_they_are_written(
    store: LmdbStore, tmp_path: Path
) -> None:
    """As stores have them that were written before there was a log."""
    keys = [b"x", b"y"]
    with store._env.begin(write=True) as txn:
        for key in keys:
            txn.put(b"a\0" + key, seal(value(1, 0), offset=3))
    assert store.get_many("a", keys) == [value(1, 0)] * 2
    assert store.put_many([Put("a", b"x", value(2, 0), offset=3), Put("a", b"y", value(3, 0), offset=4)]) == 1
    assert list(store.scan("a")) == [(b"x", value(1, 0)), (b"y", value(3, 0))]
    (path,) = segments(tmp_path)
    assert value(3, 0) in path.read_bytes()
    assert value(1, 0) not in path.read_bytes()
