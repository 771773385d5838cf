"""What every Store must do. A subclass gives the fixtures `store`, `another`, `elapse`, `edit` and `opening`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from headwater.errors import StoreError, TornValue
from headwater.store import Put, Store
from headwater.store.base import MAX_VALUE

Edit = Callable[[str, bytes, Callable[[bytes], bytes]], None]

IMPORTS = "import sys; from headwater.store import LmdbStore, Put, RedisStore\n"


def flipped(raw: bytes, at: int) -> bytes:
    """The same bytes, one of them altered."""
    return raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :]


class StoreContract:
    """Fixtures of a subclass.

    store, another : Store
        Two openings of the same data, as two processes have them.
    elapse : callable
        Lets that many seconds go by for the store.
    edit : callable
        Changes the stored bytes of (namespace, key) behind the store's back.
    opening : str
        The Python expression that opens the same data in another process.
    """

    def test_a_value_is_read_as_written_and_none_where_there_is_none(self, store: Store) -> None:
        assert store.put_many([Put("a", b"x", b"one"), Put("a", b"y", b"")]) == 2
        assert store.get_many("a", [b"y", b"missing", b"x", b"x"]) == [b"", None, b"one", b"one"]
        assert store.get_many("a", []) == []

    def test_a_later_write_replaces_an_earlier_one(self, store: Store) -> None:
        assert store.put_many([Put("a", b"x", b"one"), Put("a", b"x", b"two")]) == 2
        assert store.get_many("a", [b"x"]) == [b"two"]

    def test_another_opening_sees_what_was_written(self, store: Store, another: Store) -> None:
        store.put_many([Put("a", b"x", b"one")])
        assert another.get_many("a", [b"x"]) == [b"one"]
        another.put_many([Put("a", b"x", b"two")])
        assert store.get_many("a", [b"x"]) == [b"two"]

    def test_namespaces_do_not_meet_even_where_one_begins_like_another(self, store: Store) -> None:
        store.put_many([Put("a", b"x", b"1"), Put("ab", b"x", b"2"), Put("a", b"bx", b"3")])
        assert store.get_many("ab", [b"x"]) == [b"2"]
        assert list(store.scan("a")) == [(b"bx", b"3"), (b"x", b"1")]
        assert list(store.scan("ab")) == [(b"x", b"2")]

    def test_a_namespace_is_a_text_that_can_be_told_from_the_key(self, store: Store) -> None:
        for namespace in ("", "a\0b"):
            with pytest.raises(StoreError, match="namespace"):
                store.get_many(namespace, [b"x"])

    def test_a_key_that_is_too_long_is_refused_and_nothing_is_written(self, store: Store) -> None:
        with pytest.raises(StoreError, match=r"'a'.*allows"):
            store.put_many([Put("a", b"x", b"1"), Put("a", b"k" * 100_000, b"2")])
        assert store.get_many("a", [b"x"]) == [None]

    def test_binary_keys_and_large_values_come_back_whole(self, store: Store) -> None:
        key, value = bytes(range(256)), bytes(range(256)) * 4_096
        store.put_many([Put("a", key, value)])
        assert store.get_many("a", [key]) == [value]

    def test_a_value_that_is_too_large_is_refused_and_nothing_is_written(self, store: Store) -> None:
        with pytest.raises(StoreError, match=r"b'y'.*'a'.*allows"):
            store.put_many([Put("a", b"x", b"1"), Put("a", b"y", bytes(MAX_VALUE + 1))])
        assert store.get_many("a", [b"x", b"y"]) == [None, None]

    def test_a_batch_of_thousands_is_written_and_replaced(self, store: Store) -> None:
        keys = [(index * 7_919 % 10_007).to_bytes(4, "big") for index in range(5_000)]
        assert store.put_many([Put("a", key, key * 100, offset=1) for key in keys]) == 5_000
        assert store.get_many("a", keys) == [key * 100 for key in keys]
        again = [Put("a", key, b"new", offset=1 + at % 2) for at, key in enumerate(keys)]
        assert store.put_many(again) == 2_500
        assert store.get_many("a", keys[:2]) == [keys[0] * 100, b"new"]

    # -- scan

    def test_a_scan_gives_every_value_in_key_order(self, store: Store) -> None:
        keys = [index.to_bytes(3, "big") for index in range(2_500)]
        store.put_many([Put("a", key, key) for key in reversed(keys)])
        store.put_many([Put("b", b"x", b"")])
        assert list(store.scan("a")) == [(key, key) for key in keys]
        assert list(store.scan("missing")) == []

    def test_a_scan_of_a_prefix_gives_the_keys_that_begin_with_it_and_no_other(self, store: Store) -> None:
        keys = [b"a", b"b", b"b\xff", b"b\xff\xff", b"ba", b"c"]
        store.put_many([Put("a", key, key) for key in keys] + [Put("ab", b"b", b"of another namespace")])
        assert list(store.scan("a", b"b")) == [(key, key) for key in sorted(keys) if key.startswith(b"b")]
        assert list(store.scan("a", b"b\xff")) == [(b"b\xff", b"b\xff"), (b"b\xff\xff", b"b\xff\xff")]
        assert list(store.scan("a", b"d")) == []

    def test_a_store_can_be_written_while_it_is_scanned(self, store: Store) -> None:
        store.put_many([Put("a", index.to_bytes(3, "big"), b"old") for index in range(2_500)])
        for key, _ in store.scan("a"):
            store.put_many([Put("a", key, b"new" * 1_000)] if key[-1] == 0 else [])
        assert sum(value != b"old" for _, value in store.scan("a")) == 10

    # -- expiry

    def test_a_value_is_gone_when_its_time_has_come(self, store: Store, elapse: Callable[[float], None]) -> None:
        store.put_many([Put("a", b"x", b"1", ttl=10), Put("a", b"y", b"2")])
        elapse(9)
        assert store.get_many("a", [b"x", b"y"]) == [b"1", b"2"]
        elapse(2)
        assert store.get_many("a", [b"x", b"y"]) == [None, b"2"]
        assert list(store.scan("a")) == [(b"y", b"2")]
        assert store.delete_many("a", [b"x"]) == 0

    def test_a_new_write_takes_the_expiry_away(self, store: Store, elapse: Callable[[float], None]) -> None:
        store.put_many([Put("a", b"x", b"1", ttl=10)])
        store.put_many([Put("a", b"x", b"2")])
        elapse(11)
        assert store.get_many("a", [b"x"]) == [b"2"]

    def test_a_change_sees_an_expired_value_as_none(self, store: Store, elapse: Callable[[float], None]) -> None:
        store.put_many([Put("a", b"x", b"1", ttl=10)])
        elapse(11)
        assert store.update("a", b"x", lambda value: b"gone" if value is None else b"there", ttl=5) == b"gone"
        elapse(6)
        assert store.get_many("a", [b"x"]) == [None]

    def test_a_time_to_live_must_be_positive(self, store: Store) -> None:
        with pytest.raises(ValueError, match="ttl"):
            store.put_many([Put("a", b"x", b"1"), Put("a", b"y", b"1", ttl=0)])
        assert list(store.scan("a")) == []

    # -- idempotence

    def test_a_replayed_log_changes_nothing(self, store: Store) -> None:
        log = [Put("a", b"x", b"one", offset=0), Put("a", b"y", b"two", offset=1), Put("a", b"x", b"three", offset=2)]
        assert store.put_many(log) == 3
        before = list(store.scan("a"))
        assert store.put_many(log) == 0
        assert [store.put_many([put]) for put in log] == [0, 0, 0]
        assert list(store.scan("a")) == before == [(b"x", b"three"), (b"y", b"two")]

    def test_a_write_without_offset_always_writes_and_keeps_the_offset(self, store: Store) -> None:
        store.put_many([Put("a", b"x", b"one", offset=5)])
        assert store.put_many([Put("a", b"x", b"two")]) == 1
        assert store.put_many([Put("a", b"x", b"replayed", offset=5)]) == 0
        assert store.put_many([Put("a", b"x", b"three", offset=6)]) == 1
        assert store.get_many("a", [b"x"]) == [b"three"]

    def test_an_offset_goes_with_its_key(self, store: Store, elapse: Callable[[float], None]) -> None:
        store.put_many([Put("a", b"x", b"1", offset=5), Put("a", b"y", b"1", offset=5, ttl=10)])
        store.delete_many("a", [b"x"])
        elapse(11)
        assert store.put_many([Put("a", b"x", b"2", offset=1), Put("a", b"y", b"2", offset=1)]) == 2

    # -- read, change, write

    def test_update_replaces_deletes_and_returns_the_new_value(self, store: Store) -> None:
        assert store.update("a", b"x", lambda value: b"1" if value is None else b"?") == b"1"
        assert store.update("a", b"x", lambda value: (value or b"") + b"2") == b"12"
        assert store.update("a", b"x", lambda _: None) is None
        assert store.get_many("a", [b"x"]) == [None]
        assert store.update("a", b"x", lambda value: value) is None

    def test_update_many_writes_what_follows_from_all_values_read(self, store: Store) -> None:
        store.put_many([Put("a", b"x", b"1"), Put("b", b"y", b"2")])
        keys = [("a", b"x"), ("b", b"y"), ("b", b"missing")]
        assert store.update_many(keys, lambda values: [Put("c", b"z", repr(values).encode())]) == 1
        assert store.get_many("c", [b"z"]) == [b"[b'1', b'2', None]"]

    def test_a_change_that_fails_leaves_everything_as_it_was(self, store: Store) -> None:
        store.put_many([Put("a", b"x", b"1")])

        def fail(_: object) -> bytes:
            raise RuntimeError("no")

        with pytest.raises(RuntimeError, match="no"):
            store.update("a", b"x", fail)
        with pytest.raises(RuntimeError, match="no"):
            store.update_many([("a", b"x")], lambda values: [Put("a", b"y", fail(values))])
        assert list(store.scan("a")) == [(b"x", b"1")]

    def test_delete_counts_what_was_there(self, store: Store) -> None:
        store.put_many([Put("a", b"x", b"1"), Put("a", b"y", b"2")])
        assert store.delete_many("a", [b"x", b"missing", b"x"]) == 1
        assert list(store.scan("a")) == [(b"y", b"2")]

    # -- damage

    def test_a_torn_value_is_named_and_never_served(self, store: Store, edit: Edit) -> None:
        store.put_many([Put("a", b"x", b"value" * 100), Put("a", b"y", b"fine")])
        edit("a", b"x", lambda raw: raw[: len(raw) // 2])
        for read in (
            lambda: store.get_many("a", [b"y", b"x"]),
            lambda: list(store.scan("a")),
            lambda: store.update("a", b"x", lambda value: value),
            lambda: store.update_many([("a", b"x")], lambda _: [Put("a", b"y", b"lost")]),
        ):
            with pytest.raises(TornValue, match=r"b'x'.*'a'"):
                read()
        assert store.get_many("a", [b"y"]) == [b"fine"]

    def test_a_put_of_none_removes_the_key_in_the_same_step(self, store: Store) -> None:
        store.put_many([Put("a", b"x", b"1", offset=9), Put("a", b"y", b"2")])
        assert store.put_many([Put("a", b"x", None), Put("a", b"y", b"3"), Put("a", b"z", None)]) == 2
        assert store.get_many("a", [b"x", b"y", b"z"]) == [None, b"3", None]
        assert store.put_many([Put("a", b"x", b"4", offset=1)]) == 1, "the offset went with the key"

    def test_a_torn_value_is_replaced_or_deleted(self, store: Store, edit: Edit) -> None:
        for key in (b"x", b"y", b"z"):
            store.put_many([Put("a", key, b"value" * 100, offset=9)])
            edit("a", key, lambda raw: raw[: len(raw) // 2])
        assert store.put_many([Put("a", b"x", b"new"), Put("a", b"y", b"new", offset=1)]) == 2
        assert store.delete_many("a", [b"z"]) == 1
        assert list(store.scan("a")) == [(b"x", b"new"), (b"y", b"new")]

    @pytest.mark.parametrize("at", [0, 2, 3, 4, 12, 20, 27, 28, -1])
    def test_one_changed_byte_anywhere_in_a_stored_value_is_noticed(self, store: Store, edit: Edit, at: int) -> None:
        store.put_many([Put("a", b"x", b"value" * 100, offset=3)])
        edit("a", b"x", lambda raw: flipped(raw, at % len(raw)))
        with pytest.raises(TornValue, match=r"b'x'.*'a'"):
            store.get_many("a", [b"x"])

    def test_a_value_that_another_program_wrote_is_refused(self, store: Store, edit: Edit) -> None:
        store.put_many([Put("a", b"x", b"1")])
        edit("a", b"x", lambda _: b"written by something that knows no envelope")
        with pytest.raises(StoreError, match="not written by Headwater"):
            store.get_many("a", [b"x"])

    def test_a_value_of_a_later_envelope_version_is_refused_by_name(self, store: Store, edit: Edit) -> None:
        store.put_many([Put("a", b"x", b"1")])
        edit("a", b"x", lambda raw: raw[:2] + b"\x02" + raw[3:])
        with pytest.raises(StoreError, match="version 2"):
            store.get_many("a", [b"x"])

    # -- several processes, some of them killed

    def test_updates_of_several_processes_lose_nothing(self, store: Store, opening: str) -> None:
        code = (
            f"{IMPORTS}store = {opening}\n"
            "for _ in range(100): store.update('a', b'n', lambda value: b'%d' % (int(value or 0) + 1))\n"
        )
        processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
        for _ in range(100):
            store.update("a", b"n", lambda value: b"%d" % (int(value or 0) + 1))
        assert [process.wait() for process in processes] == [0, 0]
        assert store.get_many("a", [b"n"]) == [b"300"]

    def test_readers_of_several_processes_see_each_write_whole(self, store: Store, opening: str) -> None:
        code = (
            f"{IMPORTS}store = {opening}\n"
            "print('reading', flush=True)\n"
            "while True:\n"
            "    values = store.get_many('a', [b'x', b'y', b'z'])\n"
            "    assert len(set(values)) == 1, values\n"
            "    if values[0] == b'stop': break\n"
        )
        readers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
        for reader in readers:
            assert reader.stdout
            assert reader.stdout.readline() == "reading\n"
        for at in range(200):
            store.put_many([Put("a", key, b"%d" % at * 1_000) for key in (b"x", b"y", b"z")])
        store.put_many([Put("a", key, b"stop") for key in (b"x", b"y", b"z")])
        assert [reader.wait() for reader in readers] == [0] * 4
        for reader in readers:
            assert reader.stdout
            reader.stdout.close()

    def test_a_writer_killed_at_any_moment_tears_nothing_and_loses_nothing_acknowledged(
        self, store: Store, opening: str
    ) -> None:
        code = (
            f"{IMPORTS}store, n = {opening}, int(sys.argv[1])\n"
            "while True:\n"
            "    value = b'%d' % n * 3_000\n"
            "    store.put_many([Put('a', b'%d' % key, value) for key in range(5)])\n"
            "    store.put_many([Put('log', b'%08d' % n, value)])\n"
            "    print(n, flush=True)\n"
            "    n += 1\n"
        )
        acknowledged = 0
        for round_ in range(5):
            command = [sys.executable, "-c", code, str(acknowledged + 1)]
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

    def test_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        with pytest.raises(StoreError, match="open"):
            store.get_many("a", [b"x"])
