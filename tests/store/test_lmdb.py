"""LMDB passes the Store contract, and keeps it when several processes write and some of them are killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest
from store_contract import StoreContract

from headwater.errors import StoreError
from headwater.store import LmdbStore, Put, Store


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def elapse(self, seconds: float) -> None:
        self.now += seconds


class SecondOpening:
    """A store of another process, driven through its standard input, as far as the contract needs it."""

    def __init__(self, path: Path) -> None:
        code = (
            "import sys; from headwater.store import LmdbStore, Put; store = LmdbStore(sys.argv[1], map_size=1 << 16)\n"
            "for line in sys.stdin:\n"
            "    namespace, key, *value = line.split()\n"
            "    if value: store.put_many([Put(namespace, key.encode(), value[0].encode())])\n"
            "    print(store.get_many(namespace, [key.encode()])[0].decode(), flush=True)\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, *words: str) -> bytes:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip().encode()

    def get_many(self, namespace: str, keys: list[bytes]) -> list[bytes]:
        return [self._ask(namespace, key.decode()) for key in keys]

    def put_many(self, puts: list[Put]) -> None:
        for put in puts:
            self._ask(put.namespace, put.key.decode(), put.value.decode())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[LmdbStore]:
    # A map of 64 KB: growing is the rule in these tests.
    opened = LmdbStore(tmp_path / "store", map_size=1 << 16, clock=clock)
    yield opened
    opened.close()


class TestLmdb(StoreContract):
    @pytest.fixture
    def another(self, store: Store, tmp_path: Path) -> Iterator[SecondOpening]:
        opened = SecondOpening(tmp_path / "store")
        yield opened
        opened.close()

    @pytest.fixture
    def elapse(self, clock: Clock) -> Callable[[float], None]:
        return clock.elapse

    @pytest.fixture
    def tear(self, tmp_path: Path) -> Callable[[str, bytes], None]:
        def tear(namespace: str, key: bytes) -> None:
            edit_raw(tmp_path / "store", namespace, key, lambda raw: raw[: len(raw) // 2])

        return tear


def edit_raw(path: Path, namespace: str, key: bytes, change: Callable[[bytes], bytes]) -> None:
    """Change stored bytes from another process, below the store."""
    code = "import lmdb, sys\nwith lmdb.open(sys.argv[1], map_size=1 << 24) as env, env.begin(write=True) as txn:\n"
    address = namespace.encode() + b"\0" + key
    read = f"    sys.stdout.buffer.write(txn.get({address!r}))\n"
    done = subprocess.run([sys.executable, "-c", code + read, str(path)], capture_output=True, check=True)
    write = f"    txn.put({address!r}, sys.stdin.buffer.read())\n"
    subprocess.run([sys.executable, "-c", code + write, str(path)], input=change(done.stdout), check=True)


def test_a_value_that_another_program_wrote_is_refused(store: LmdbStore, tmp_path: Path) -> None:
    store.put_many([Put("a", b"x", b"1")])
    edit_raw(tmp_path / "store", "a", b"x", lambda _: b"written by something that knows no envelope")
    with pytest.raises(StoreError, match="not written by Headwater"):
        store.get_many("a", [b"x"])


def test_a_value_of_a_later_envelope_version_is_refused(store: LmdbStore, tmp_path: Path) -> None:
    store.put_many([Put("a", b"x", b"1")])
    edit_raw(tmp_path / "store", "a", b"x", lambda raw: raw[:2] + b"\x02" + raw[3:])
    with pytest.raises(StoreError, match="version 2"):
        store.get_many("a", [b"x"])


def test_an_expired_value_frees_its_space_with_the_next_write_after_it_was_met(
    store: LmdbStore, clock: Clock, tmp_path: Path
) -> None:
    store.put_many([Put("a", b"x", b"1", ttl=10), Put("a", b"y", b"1", ttl=10)])
    clock.elapse(11)
    assert list(store.scan("a")) == []
    store.put_many([Put("b", b"z", b"1")])
    store.close()
    with lmdb.open(str(tmp_path / "store")) as env, env.begin() as txn:
        assert [key for key, _ in txn.cursor()] == [b"b\0z"]


def test_a_value_renewed_after_it_was_met_expired_stays(store: LmdbStore, clock: Clock) -> None:
    store.put_many([Put("a", b"x", b"1", ttl=10)])
    clock.elapse(11)
    assert store.get_many("a", [b"x"]) == [None]
    store.put_many([Put("a", b"x", b"2")])
    store.put_many([Put("b", b"y", b"3")])
    assert store.get_many("a", [b"x"]) == [b"2"]


def test_the_map_grows_under_threads_that_read_and_write(store: LmdbStore) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for index in range(20):
                store.put_many([Put(name, index.to_bytes(2, "big"), bytes(50_000))])
                assert store.get_many(name, [index.to_bytes(2, "big")]) == [bytes(50_000)]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [len(list(store.scan(name))) for name in "abcd"] == [20] * 4


def test_a_map_that_another_process_grew_is_adopted(store: LmdbStore, tmp_path: Path) -> None:
    code = (
        "import sys; from headwater.store import LmdbStore, Put; store = LmdbStore(sys.argv[1], map_size=1 << 16)\n"
        "for i in range(40): store.put_many([Put('a', i.to_bytes(2, 'big'), bytes(50_000))])\n"
    )
    store.put_many([Put("b", b"x", b"1")])
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "store")], check=True)
    assert len(list(store.scan("a"))) == 40
    assert store.put_many([Put("b", b"x", b"2")]) == 1


def test_updates_of_several_processes_lose_nothing(store: LmdbStore, tmp_path: Path) -> None:
    code = (
        "import sys; from headwater.store import LmdbStore; store = LmdbStore(sys.argv[1], map_size=1 << 16)\n"
        "for _ in range(100): store.update('a', b'n', lambda value: b'%d' % (int(value or 0) + 1))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    for _ in range(100):
        store.update("a", b"n", lambda value: b"%d" % (int(value or 0) + 1))
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert store.get_many("a", [b"n"]) == [b"400"]


def test_a_writer_killed_at_any_moment_tears_nothing_and_loses_nothing_acknowledged(
    store: LmdbStore, tmp_path: Path
) -> None:
    code = (
        "import sys; from headwater.store import LmdbStore, Put; store = LmdbStore(sys.argv[1], map_size=1 << 16)\n"
        "n = int(sys.argv[2])\n"
        "while True:\n"
        "    value = b'%d' % n * 3_000\n"
        "    store.put_many([Put('a', b'%d' % key, value) for key in range(5)])\n"
        "    store.put_many([Put('log', b'%08d' % n, value)])\n"
        "    print(n, flush=True)\n"
        "    n += 1\n"
    )
    acknowledged = 0
    for round_ in range(5):
        command = [sys.executable, "-c", code, str(tmp_path / "store"), str(acknowledged + 1)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(0.01 + 0.017 * round_)
        os.kill(writer.pid, signal.SIGKILL)
        seen = [int(line) for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
        acknowledged = max(seen, default=acknowledged + 1)
        values = {value for _, value in store.scan("a")}
        assert len(values) == 1, "the five keys of one put_many are of one round"
        log = [int(key) for key, _ in store.scan("log")]
        assert log == list(range(1, len(log) + 1))
        assert len(log) >= acknowledged
        acknowledged = len(log)


def test_a_store_opened_before_a_fork_is_refused_in_the_child(store: LmdbStore) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            store.get_many("a", [b"x"])
        except StoreError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as said:
        assert "forked" in said.read()


@pytest.mark.parametrize("kind", ["a file", "foreign data"])
def test_a_folder_that_is_no_store_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "place"
    if kind == "a file":
        path.write_bytes(b"")
    else:
        path.mkdir()
        (path / "data.mdb").write_bytes(b"not lmdb" * 2_000)
    with pytest.raises(StoreError, match="place"):
        LmdbStore(path)


def test_one_process_opens_a_folder_once(store: LmdbStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="already open"):
        LmdbStore(tmp_path / "store")
