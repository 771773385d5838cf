"""Redis passes the Store contract on real servers, and says what is wrong when they are away or full."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from store_contract import StoreContract

from headwater.errors import StoreAway, StoreError, StoreFull
from headwater.store import Put, RedisStore
from redis_server import BUNDLED, RedisServer

PREFIX = b"headwater\0"


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    opened = RedisStore(redis_server.url)
    yield opened
    opened.close()


class TestRedis(StoreContract):
    @pytest.fixture
    def another(self, redis_server: RedisServer) -> Iterator[RedisStore]:
        opened = RedisStore(redis_server.url)
        yield opened
        opened.close()

    @pytest.fixture
    def elapse(self, redis_server: RedisServer) -> Callable[[float], None]:
        """The server's clock cannot be set, so every key's time to live is cut."""

        def elapse(seconds: float) -> None:
            with redis_server.client() as client:
                for key in client.scan_iter():
                    left = client.pttl(key)
                    if left > 0:
                        client.pexpire(key, int(left - 1_000 * seconds))

        return elapse

    @pytest.fixture
    def edit(self, redis_server: RedisServer) -> Callable[[str, bytes, Callable[[bytes], bytes]], None]:
        def edit(namespace: str, key: bytes, change: Callable[[bytes], bytes]) -> None:
            place = PREFIX + namespace.encode() + b"\0" + key
            with redis_server.client() as client:
                client.set(place, change(client.get(place)), keepttl=True)

        return edit

    @pytest.fixture
    def opening(self, redis_server: RedisServer) -> str:
        return f"RedisStore({redis_server.url!r})"


def test_stores_of_different_prefixes_do_not_meet(redis_server: RedisServer, store: RedisStore) -> None:
    other = RedisStore(redis_server.url, prefix="headwater2")
    store.put_many([Put("a", b"x", b"1")])
    assert other.get_many("a", [b"x"]) == [None]
    assert list(other.scan("a")) == []
    other.put_many([Put("a", b"x", b"2")])
    assert list(store.scan("a")) == [(b"x", b"1")]
    other.close()


def test_a_namespace_with_the_signs_of_a_pattern_is_scanned_as_it_is(store: RedisStore) -> None:
    store.put_many([Put("a*", b"x", b"1"), Put("ab", b"y", b"2"), Put("[ab]?", b"z", b"3"), Put("a?\\", b"z", b"4")])
    assert list(store.scan("a*")) == [(b"x", b"1")]
    assert list(store.scan("[ab]?")) == [(b"z", b"3")]
    assert list(store.scan("a?\\")) == [(b"z", b"4")]


def test_a_time_to_live_is_the_servers_so_that_the_space_comes_back(
    redis_server: RedisServer, store: RedisStore
) -> None:
    store.put_many([Put("a", b"x", b"1", ttl=0.02), Put("a", b"y", b"1", ttl=1e6)])
    with redis_server.client() as client:
        deadline = time.monotonic() + 20
        while client.exists(PREFIX + b"a\0x"):
            assert time.monotonic() < deadline
        assert 0 < client.pttl(PREFIX + b"a\0y") <= 1e9


def test_a_server_that_is_away_is_one_error_and_the_store_goes_on_when_it_is_back(
    redis_server: RedisServer, store: RedisStore
) -> None:
    store.put_many([Put("a", b"x", b"1")])
    redis_server.kill()
    try:
        for ask in (
            lambda: store.get_many("a", [b"x"]),
            lambda: store.put_many([Put("a", b"x", b"2")]),
            lambda: list(store.scan("a")),
            lambda: store.delete_many("a", [b"x"]),
        ):
            with pytest.raises(StoreAway, match=r"cannot be reached.*try again"):
                ask()
    finally:
        redis_server.start()
    assert store.get_many("a", [b"x"]) == [b"1"]


def test_a_full_server_says_so_and_nothing_of_the_batch_is_written() -> None:
    with RedisServer(BUNDLED, "--maxmemory", "4mb", "--maxmemory-policy", "noeviction") as server:
        store = RedisStore(server.url)

        def fill() -> None:
            for at in range(100):
                store.put_many([Put("a", b"%d-%d" % (at, half), bytes(100_000)) for half in range(2)])

        with pytest.raises(StoreFull, match="Nothing was written"):
            fill()
        halves = [key.partition(b"-")[0] for key, _ in store.scan("a")]
        assert halves
        assert all(halves.count(at) == 2 for at in halves)
        store.delete_many("a", [key for key, _ in store.scan("a")])
        assert store.put_many([Put("a", b"x", b"1")]) == 1
        store.close()


def test_a_call_that_would_be_too_much_for_a_server_is_refused(store: RedisStore) -> None:
    value = bytes(64 << 20)
    with pytest.raises(StoreError, match="several calls"):
        store.put_many([Put("a", b"%d" % at, value) for at in range(5)])
    assert list(store.scan("a")) == []


def test_a_key_of_another_program_is_refused(redis_server: RedisServer, store: RedisStore) -> None:
    with redis_server.client() as client:
        client.rpush(PREFIX + b"a\0x", "a list")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        store.put_many([Put("a", b"x", b"1")])


def test_writers_who_never_come_to_it_are_told(store: RedisStore, redis_server: RedisServer) -> None:
    other = RedisStore(redis_server.url)

    def interrupted(values: list[bytes | None]) -> list[Put]:
        other.update("a", b"x", lambda value: b"%d" % (int(value or 0) + 1))
        return [Put("a", b"y", b"lost")]

    with pytest.raises(StoreError, match="in a row"):
        store.update_many([("a", b"x")], interrupted)
    assert list(store.scan("a")) == [(b"x", b"100")]
    other.close()


def test_threads_share_a_store(store: RedisStore) -> None:
    def work() -> None:
        for _ in range(25):
            store.update("a", b"n", lambda value: b"%d" % (int(value or 0) + 1))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get_many("a", [b"n"]) == [b"100"]


def test_what_was_acknowledged_survives_a_server_that_is_killed(redis_server: RedisServer, store: RedisStore) -> None:
    for at in range(50):
        store.put_many([Put("a", b"%02d" % at, b"1"), Put("b", b"%02d" % at, b"1")])
    redis_server.kill()
    redis_server.start()
    assert len(list(store.scan("a"))) == len(list(store.scan("b"))) == 50


def test_a_wrong_password_is_named_and_no_password_is_shown() -> None:
    with RedisServer(BUNDLED, "--requirepass", "right-one") as server:
        wrong = RedisStore(server.url.replace("unix://", "unix://:wrong-one@"))
        with pytest.raises(StoreError, match="password") as refused:
            wrong.get_many("a", [b"x"])
        assert "wrong-one" not in str(refused.value)
        right = RedisStore(server.url.replace("unix://", "unix://:right-one@"))
        right.put_many([Put("a", b"x", b"1")])
        server.kill()
        with pytest.raises(StoreAway) as away:
            right.get_many("a", [b"x"])
        assert "right-one" not in str(away.value)
        server.start()


@pytest.mark.parametrize(
    "url", ["redis://:se/cret@host", "redis://:secret@host:port", "http://:secret@host", "redis://[::secret", "secret"]
)
def test_a_url_that_cannot_be_read_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(StoreError, match="URL") as refused:
        RedisStore(url)
    assert "cret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_name_of_a_server_shows_neither_user_nor_password() -> None:
    store = RedisStore("redis://me:secret@127.0.0.1:1/3")
    with pytest.raises(StoreAway, match=r"redis://127\.0\.0\.1:1/3 cannot be reached") as away:
        store.get_many("a", [b"x"])
    assert "secret" not in str(away.value)
    store.close()


def test_a_store_works_on_in_a_forked_child(store: RedisStore) -> None:
    store.put_many([Put("a", b"x", b"1")])
    child = os.fork()
    if not child:
        ok = store.get_many("a", [b"x"]) == [b"1"]
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.get_many("a", [b"x"]) == [b"1"]


def test_a_stopped_writer_holds_up_nobody(redis_server: RedisServer, store: RedisStore) -> None:
    code = (
        f"from headwater.store import RedisStore; store = RedisStore({redis_server.url!r})\n"
        "def count(value):\n"
        "    print('in', flush=True)\n"
        "    return b'%d' % (int(value or 0) + 1)\n"
        "while True: store.update('a', b'n', count)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    writer.stdout.readline()
    os.kill(writer.pid, signal.SIGSTOP)
    try:
        assert store.put_many([Put("a", b"n", b"0")]) == 1
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
