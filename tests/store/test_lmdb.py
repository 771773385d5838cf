"""LMDB passes the Store contract, and keeps it when several processes write and some of them are killed."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

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
    def edit(self, tmp_path: Path) -> Callable[[str, bytes, Callable[[bytes], bytes]], None]:
        return lambda namespace, key, change: edit_raw(tmp_path / "store", namespace, key, change)

    @pytest.fixture
    def opening(self, tmp_path: Path) -> str:
        return f"LmdbStore({str(tmp_path / 'store')!r}, map_size=1 << 16)"


def edit_raw(path: Path, namespace: str, key: bytes, change: Callable[[bytes], bytes]) -> None:
    """Change stored bytes from another process, below the store."""
    code = "import lmdb, sys\nwith lmdb.open(sys.argv[1], map_size=1 << 24) as env, env.begin(write=True) as txn:\n"
    address = namespace.encode() + b"\0" + key
    read = f"    sys.stdout.buffer.write(txn.get({address!r}))\n"
    done = subprocess.run([sys.executable, "-c", code + read, str(path)], capture_output=True, check=True)
    write = f"    txn.put({address!r}, sys.stdin.buffer.read())\n"
    subprocess.run([sys.executable, "-c", code + write, str(path)], input=change(done.stdout), check=True)


def keys_on_disk(path: Path) -> list[bytes]:
    code = "import lmdb, sys\nwith lmdb.open(sys.argv[1], map_size=1 << 28) as env, env.begin() as txn:\n"
    code += "    sys.stdout.buffer.write(b','.join(key for key, _ in txn.cursor()))\n"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=True)
    return done.stdout.split(b",")


def test_the_space_of_an_expired_value_comes_back_although_nobody_reads_it(
    store: LmdbStore, clock: Clock, tmp_path: Path
) -> None:
    store.put_many([Put("a", b"x", b"1", ttl=10), Put("a", b"y", b"1", ttl=10_000), Put("a", b"z", b"1")])
    clock.elapse(601)
    store.put_many([Put("b", b"w", b"1")])
    assert keys_on_disk(tmp_path / "store") == [b"a\0y", b"a\0z", b"b\0w"]


def test_of_thousands_of_values_that_expire_together_each_write_removes_a_few(
    store: LmdbStore, clock: Clock, tmp_path: Path
) -> None:
    store.put_many([Put("a", b"%04d" % at, b"1", ttl=10) for at in range(1_000)])
    clock.elapse(601)
    left = [1_000]
    while left[-1]:
        store.put_many([Put("b", b"w", b"1")])
        left.append(len(keys_on_disk(tmp_path / "store")) - 1)
        assert 0 < left[-2] - left[-1] <= 64
    assert store.get_many("b", [b"w"]) == [b"1"]


def test_values_go_as_fast_as_they_come(store: LmdbStore, clock: Clock, tmp_path: Path) -> None:
    for round_ in range(20):
        store.put_many([Put("a", b"%02d-%03d" % (round_, at), b"1", ttl=10) for at in range(200)])
        clock.elapse(601)
    assert len(keys_on_disk(tmp_path / "store")) <= 3 * 200


def test_a_value_renewed_after_it_expired_stays(store: LmdbStore, clock: Clock) -> None:
    store.put_many([Put("a", b"x", b"1", ttl=10)])
    clock.elapse(601)
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


def test_the_pages_of_a_reader_that_was_killed_are_used_again(store: LmdbStore, tmp_path: Path) -> None:
    code = (
        "import lmdb, sys, time\n"
        "env = lmdb.open(sys.argv[1], map_size=1 << 28, max_readers=512); txn = env.begin(); txn.get(b'a')\n"
        "print('reads', flush=True); time.sleep(600)\n"
    )

    def write(times: int) -> int:
        for at in range(times):
            store.put_many([Put("a", b"%02d" % n, bytes([at % 256]) * 1_950) for n in range(20)])
        return (tmp_path / "store" / "data.mdb").stat().st_size

    before = write(10)
    reader = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
    assert reader.stdout
    assert reader.stdout.readline() == "reads\n"
    held = write(100)
    assert held > before + 100 * 40_000, "while it lives, all that was written since stays"
    os.kill(reader.pid, signal.SIGKILL)
    reader.wait()
    reader.stdout.close()
    write(256)
    assert write(300) < held + 256 * 45_000, "of the last 300 writes, none made the file longer"
    assert write(300) == write(1)


def test_a_disk_without_room_is_said_and_nothing_of_the_call_is_applied(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from headwater.errors import StoreFull\n"
        "from headwater.store import LmdbStore, Put\n"
        "store = LmdbStore(sys.argv[1], map_size=1 << 16)\n"
        "limit = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limit[1]))\n"
        "try:\n"
        "    for at in range(1_000):\n"
        "        store.put_many([Put('a', b'%04d-%d' % (at, half), bytes(5_000)) for half in (0, 1)])\n"
        "except StoreFull as error: print(error)\n"
        "keys = [key for key, _ in store.scan('a')]\n"
        "assert keys == [b'%04d-%d' % (each, half) for each in range(at) for half in (0, 1)] and at > 10\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limit)\n"
        "assert store.put_many([Put('b', b'x', bytes(3_000_000))]) == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "store")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the disk is full" in done.stdout


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
