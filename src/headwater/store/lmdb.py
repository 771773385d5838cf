"""The embedded store: one folder, several processes reading and writing it at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import lmdb

from headwater.errors import StoreError, TornValue
from headwater.store.base import Put
from headwater.store.envelope import Envelope, seal, unseal

_Result = TypeVar("_Result")

_MAX_READERS = 512
_MAX_NOTED = 10_000
_SCAN_ENTRIES = 1_000
_SCAN_BYTES = 8 << 20


class LmdbStore:
    """`Store` over LMDB. Threads share one `LmdbStore`; every process opens its own.

    Every writing call is one transaction that is on the disk (fsync) when the call returns: neither kill -9 nor
    a power cut loses it, and readers see all of it or nothing. Writers of all processes take turns; readers never
    wait. An expired value reads as None at once; its space is freed by this process's next write after
    a read or a scan came across it.

    Parameters
    ----------
    path : Path or str
        A folder on a local disk (LMDB does not work over a network file system); made where there is none.
    map_size : int
        Bytes of address space to begin with. The map doubles when it is full, so this is no limit;
        the file takes only what is stored.
    clock : callable
        Unix seconds; decides what has expired.

    Raises
    ------
    StoreError
        The folder cannot be made or opened, is open in this process already, or holds no LMDB data.
    """

    def __init__(self, path: Path | str, *, map_size: int = 1 << 30, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._clock = clock
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._env = lmdb.open(str(self._path), map_size=map_size, max_readers=_MAX_READERS)
            # A process that was killed while reading holds its slot, and with it the pages it saw.
            self._env.reader_check()
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"cannot open a store in {self._path}: {error}") from error
        self._map_size: int = self._env.info()["map_size"]
        self._max_key: int = self._env.max_key_size()
        self._owner = os.getpid()
        self._turn = threading.Condition()
        self._active = 0
        self._is_resizing = False
        self._noted: set[bytes] = set()

    # -- the seam

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Store.get_many`. One read transaction: the values are of one moment."""
        addresses = [self._address(namespace, key) for key in keys]

        def read(txn: lmdb.Transaction) -> list[bytes | None]:
            now = self._clock()
            return [self._living(txn, address, now) for address in addresses]

        return self._run(read, write=False)

    def put_many(self, puts: Sequence[Put]) -> int:
        """See `Store.put_many`."""
        return self.update_many((), lambda _: puts)

    def update(
        self,
        namespace: str,
        key: bytes,
        change: Callable[[bytes | None], bytes | None],
        *,
        ttl: float | None = None,
    ) -> bytes | None:
        """See `Store.update`."""
        address = self._address(namespace, key)

        def write(txn: lmdb.Transaction) -> bytes | None:
            now = self._clock()
            value = change(self._living(txn, address, now))
            if value is None:
                txn.delete(address)
            else:
                self._put(txn, address, Put(namespace, key, value, ttl), now)
            return value

        return self._run(write, write=True)

    def update_many(
        self,
        keys: Sequence[tuple[str, bytes]],
        change: Callable[[list[bytes | None]], Sequence[Put]],
    ) -> int:
        """See `Store.update_many`."""
        addresses = [self._address(namespace, key) for namespace, key in keys]

        def write(txn: lmdb.Transaction) -> int:
            now = self._clock()
            puts = change([self._living(txn, address, now) for address in addresses])
            return sum(self._put(txn, self._address(put.namespace, put.key), put, now) for put in puts)

        return self._run(write, write=True)

    def delete_many(self, namespace: str, keys: Sequence[bytes]) -> int:
        """See `Store.delete_many`."""
        addresses = [self._address(namespace, key) for key in keys]

        def write(txn: lmdb.Transaction) -> int:
            now = self._clock()
            living = 0
            for address in addresses:
                envelope = _peek(txn, address)
                living += txn.delete(address) and not (envelope is not None and envelope.is_expired(now))
            return living

        return self._run(write, write=True)

    def scan(self, namespace: str) -> Iterator[tuple[bytes, bytes]]:
        """See `Store.scan`. Each page of at most 1,000 entries or 8 MiB is a snapshot; no transaction stays open
        between pages, so that a slow reader keeps no old pages alive.
        """
        prefix = self._address(namespace, b"")
        after: bytes | None = None
        while True:
            page, after = self._run(lambda txn, after=after: self._page(txn, prefix, after), write=False)
            yield from page
            if after is None:
                return

    def close(self) -> None:
        """See `Store.close`. Any later call raises `StoreError`."""
        self._env.close()

    # -- values

    def _address(self, namespace: str, key: bytes) -> bytes:
        if not namespace or "\0" in namespace:
            raise StoreError(f"a namespace is a text without NUL that is not empty, not {namespace!r}")
        address = namespace.encode() + b"\0" + key
        if len(address) > self._max_key:
            raise StoreError(
                f"key {key[:32]!r}… of namespace {namespace!r} takes {len(address)} bytes with its namespace; "
                f"LMDB allows {self._max_key}. Store a hash of the key instead."
            )
        return address

    def _living(self, txn: lmdb.Transaction, address: bytes, now: float) -> bytes | None:
        raw = txn.get(address)
        if raw is None:
            return None
        envelope = self._opened(address, raw)
        if envelope.is_expired(now):
            self._note(address)
            return None
        return envelope.payload

    def _opened(self, address: bytes, raw: bytes | memoryview) -> Envelope:
        try:
            return unseal(raw)
        except TornValue as error:
            namespace, _, key = address.partition(b"\0")
            raise TornValue(
                f"{self._path}: key {key!r} of namespace {namespace.decode()!r}: {error}. "
                "Delete the key, or put a new value there."
            ) from error

    def _put(self, txn: lmdb.Transaction, address: bytes, put: Put, now: float) -> bool:
        if put.ttl is not None and not put.ttl > 0:
            raise ValueError(f"ttl must be above 0 seconds, not {put.ttl}")
        if put.value is None:
            return txn.delete(address)
        stored = _peek(txn, address)
        offset = put.offset
        if stored is not None and stored.offset is not None and not stored.is_expired(now):
            if offset is None:
                offset = stored.offset
            elif offset <= stored.offset:
                return False
        expires = None if put.ttl is None else now + put.ttl
        txn.put(address, seal(put.value, expires=expires, offset=offset))
        return True

    def _page(
        self, txn: lmdb.Transaction, prefix: bytes, after: bytes | None
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """One page of a scan, and the address it ended at; None where nothing is left."""
        now = self._clock()
        page: list[tuple[bytes, bytes]] = []
        seen = size = 0
        with txn.cursor() as cursor:
            found = cursor.set_range(prefix if after is None else after + b"\0")
            while found:
                address, raw = bytes(cursor.key()), cursor.value()
                if not address.startswith(prefix):
                    break
                envelope = self._opened(address, raw)
                if envelope.is_expired(now):
                    self._note(address)
                else:
                    page.append((address[len(prefix) :], envelope.payload))
                seen, size = seen + 1, size + len(raw)
                if seen == _SCAN_ENTRIES or size >= _SCAN_BYTES:
                    return page, address
                found = cursor.next()
        return page, None

    # -- expired values: reads note them, the next write removes them

    def _note(self, address: bytes) -> None:
        if len(self._noted) < _MAX_NOTED:
            self._noted.add(address)

    def _remove_noted(self, txn: lmdb.Transaction) -> None:
        noted, self._noted = self._noted, set()
        now = self._clock()
        for address in noted:
            envelope = _peek(txn, address)
            if envelope is not None and envelope.is_expired(now):
                txn.delete(address)

    # -- transactions and the size of the map

    def _run(self, work: Callable[[lmdb.Transaction], _Result], *, write: bool) -> _Result:
        """`work` inside one transaction, again with a larger map for as long as the map is too small."""
        if os.getpid() != self._owner:
            raise StoreError(f"{self._path} was opened before this process was forked; open a store of its own here")
        while True:
            map_size = self._enter()
            try:
                with self._env.begin(write=write, buffers=True) as txn:
                    if write and self._noted:
                        self._remove_noted(txn)
                    return work(txn)
            except lmdb.MapFullError:
                wanted = 2 * map_size
            except lmdb.MapResizedError:
                wanted = 0  # another process has grown it: adopt its size
            except lmdb.Error as error:
                raise StoreError(
                    f"{self._path}: {error}. Check that the store is open and that its disk has room."
                ) from error
            finally:
                self._leave()
            self._resize(map_size, wanted)

    def _enter(self) -> int:
        with self._turn:
            while self._is_resizing:
                self._turn.wait()
            self._active += 1
            return self._map_size

    def _leave(self) -> None:
        with self._turn:
            self._active -= 1
            self._turn.notify_all()

    def _resize(self, seen: int, wanted: int) -> None:
        """Give the map `wanted` bytes (0: what another process gave it), unless it has changed since `seen`.

        LMDB may move the map, so no transaction of this process may be under way: new ones wait at `_enter`.
        """
        with self._turn:
            while self._is_resizing:
                self._turn.wait()
            if self._map_size != seen:
                return
            self._is_resizing = True
            try:
                while self._active:
                    self._turn.wait()
                self._env.reader_check()  # pages that only a dead reader holds are room, too
                self._env.set_mapsize(wanted)
                self._map_size = self._env.info()["map_size"]
            except lmdb.Error as error:
                raise StoreError(f"{self._path}: cannot grow the map to {wanted} bytes: {error}") from error
            finally:
                self._is_resizing = False
                self._turn.notify_all()


def _peek(txn: lmdb.Transaction, address: bytes) -> Envelope | None:
    """The envelope at an address; None where there is none or it is torn, and so can only be replaced."""
    raw = txn.get(address)
    if raw is None:
        return None
    try:
        return unseal(raw)
    except TornValue:
        return None
