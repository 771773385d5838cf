"""The embedded store: one folder, several processes reading and writing it at once."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import lmdb

from headwater.errors import StoreError, StoreFull, TornValue
from headwater.store.base import Put, address
from headwater.store.envelope import Envelope, claims_offset, is_expired, unseal
from headwater.store.staging import stage
from headwater.store.valuelog import INLINE_BYTES, PRIVATE, MovedValue, ValueLog, ValueLogError, Writing, is_pointer

_Result = TypeVar("_Result")

_NO_ROOM = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
_LITTLE_ROOM = 16 << 20
_MAX_READERS = 512
_READER_CHECK_WRITES = 256
_SWEEP_ENTRIES = 64
_SWEEP_SECONDS = 600.0
_SCAN_ENTRIES = 1_000
_SCAN_BYTES = 8 << 20
_PUBLIC = bytes([PRIVATE[0] + 1])


class LmdbStore:
    """`Store` over LMDB. Threads share one `LmdbStore`; every process opens its own.

    Every writing call is one transaction that is on the disk (fsync) when the call returns: neither kill -9 nor
    a power cut loses it, and readers see all of it or nothing. Writers of all processes take turns; readers never
    wait. An expired value reads as None at once. Its space comes back bit by bit: each writing call looks at two stored
    values for each one it writes, at least at 64, and removes the expired ones; once it has gone round, the next
    round begins ten minutes after this one did.

    A reader that was killed holds the pages that it saw; writers look for such readers every 256 writes, and before
    the map grows.

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
        self._log = ValueLog(self._path / "values")
        self._owner = os.getpid()
        self._turn = threading.Condition()
        self._active = 0
        self._is_resizing = False
        self._writes = 0
        self._swept: bytes | None = None
        self._sweep_began = float("-inf")

    # -- the seam

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Store.get_many`. One read transaction: the values are of one moment."""
        addresses = [address(namespace, key) for key in keys]

        def read(txn: lmdb.Transaction) -> list[bytes | None]:
            now = self._clock()
            return [self._living(txn, place, now) for place in addresses]

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
        updated: list[bytes | None] = []

        def write(values: list[bytes | None]) -> list[Put]:
            updated[:] = [change(values[0])]
            return [Put(namespace, key, updated[0], ttl)]

        self.update_many([(namespace, key)], write)
        return updated[0]

    def update_many(
        self,
        keys: Sequence[tuple[str, bytes]],
        change: Callable[[list[bytes | None]], Sequence[Put]],
    ) -> int:
        """See `Store.update_many`."""
        addresses = [address(namespace, key) for namespace, key in keys]

        def write(txn: lmdb.Transaction) -> int:
            now = self._clock()
            puts = change([self._living(txn, place, now) for place in addresses])
            log = Writing(self._log, txn)
            # All in the order of addresses: neighbours share pages, and each page is then looked up and written once.
            pointers: dict[bytes, bytes] = {}
            staged, effective = stage(puts, lambda places: self._stored(txn, places, pointers), now, seals_expiry=True)
            written: list[tuple[bytes, bytes]] = []
            gone: list[bytes] = []
            for place, (value, _) in staged.items():
                if value is None:
                    gone.append(place)
                elif len(place) + len(value) > INLINE_BYTES:
                    written.append((place, log.add(place, value)))
                else:
                    written.append((place, value))
            for place, raw in pointers.items():
                if place in staged:
                    log.lose(raw)
            for place in gone:
                txn.delete(place)
            with txn.cursor() as cursor:
                cursor.putmulti(written)
            self._sweep(txn, now, max(_SWEEP_ENTRIES, 2 * len(staged)), log)
            log.finish()
            return effective

        return self._run(write, write=True)

    def delete_many(self, namespace: str, keys: Sequence[bytes]) -> int:
        """See `Store.delete_many`."""
        addresses = [address(namespace, key) for key in keys]

        def write(txn: lmdb.Transaction) -> int:
            now = self._clock()
            log = Writing(self._log, txn)
            living = 0
            for place in addresses:
                raw = txn.get(place)
                living += raw is not None and not is_expired(raw, now)
                log.lose(raw)
                txn.delete(place)
            log.finish()
            return living

        return self._run(write, write=True)

    def scan(self, namespace: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """See `Store.scan`. Each page of at most 1,000 entries or 8 MiB is a snapshot; no transaction stays open
        between pages, so that a slow reader keeps no old pages alive.
        """
        key_at = len(address(namespace, b""))
        start = address(namespace, prefix)
        after: bytes | None = None
        while True:
            page, after = self._run(lambda txn, after=after: self._page(txn, start, key_at, after), write=False)
            yield from page
            if after is None:
                return

    def close(self) -> None:
        """See `Store.close`. Any later call raises `StoreError`."""
        self._env.close()
        self._log.close()

    # -- values

    def _living(self, txn: lmdb.Transaction, place: bytes, now: float) -> bytes | None:
        raw = txn.get(place)
        if raw is None:
            return None
        envelope = self._opened(place, raw)
        return None if envelope.is_expired(now) else envelope.payload

    def _opened(self, place: bytes, raw: bytes | memoryview) -> Envelope:
        try:
            return unseal(self._log.read(raw) if is_pointer(raw) else raw)
        except TornValue as error:
            if is_pointer(raw) and self._is_moved(place, raw):
                raise MovedValue from error
            namespace, _, key = place.partition(b"\0")
            raise TornValue(
                f"{self._path}: key {key!r} of namespace {namespace.decode()!r}: {error}. "
                "Delete the key, or put a new value there."
            ) from error

    def _is_moved(self, place: bytes, raw: bytes | memoryview) -> bool:
        with self._env.begin() as now:
            return now.get(place) != bytes(raw)

    def _stored(
        self, txn: lmdb.Transaction, places: Sequence[bytes], pointers: dict[bytes, bytes]
    ) -> dict[bytes, bytes | memoryview]:
        """What stands at each of the addresses, valid until the first write; the pointers among it are added."""
        stored: dict[bytes, bytes | memoryview] = {}
        with txn.cursor() as cursor:
            for found, raw in cursor.getmulti(places):
                place = bytes(found)
                stored[place] = raw
                if is_pointer(raw):
                    pointers[place] = bytes(raw)
                    if claims_offset(raw):
                        with suppress(TornValue):
                            stored[place] = self._log.read(raw)
        return stored

    def _page(
        self, txn: lmdb.Transaction, start: bytes, key_at: int, after: bytes | None
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None]:
        """One page of a scan, and the address it ended at; None where nothing is left."""
        now = self._clock()
        page: list[tuple[bytes, bytes]] = []
        seen = size = 0
        with txn.cursor() as cursor:
            found = cursor.set_range(start if after is None else after + b"\0")
            while found:
                place, raw = bytes(cursor.key()), cursor.value()
                if not place.startswith(start):
                    break
                envelope = self._opened(place, raw)
                if not envelope.is_expired(now):
                    page.append((place[key_at:], envelope.payload))
                seen, size = seen + 1, size + len(raw)
                if seen == _SCAN_ENTRIES or size >= _SCAN_BYTES:
                    return page, place
                found = cursor.next()
        return page, None

    def _sweep(self, txn: lmdb.Transaction, now: float, entries: int, log: Writing) -> None:
        """Remove the expired ones among the next `entries` values, in the order of addresses."""
        if self._swept is None:
            if 0 <= now - self._sweep_began < _SWEEP_SECONDS:
                return
            self._sweep_began, self._swept = now, b""
        expired: list[bytes] = []
        with txn.cursor() as cursor:
            found = cursor.set_range(max(self._swept + b"\0", _PUBLIC))
            for _ in range(entries):
                if not found:
                    break
                place = self._swept = bytes(cursor.key())
                if is_expired(cursor.value(), now):
                    log.lose(cursor.value())
                    expired.append(place)
                found = cursor.next()
        if not found:
            self._swept = None
        for place in expired:
            txn.delete(place)

    # -- transactions and the size of the map

    def _run(self, work: Callable[[lmdb.Transaction], _Result], *, write: bool) -> _Result:
        """`work` inside one transaction, again with a larger map for as long as the map is too small."""
        if os.getpid() != self._owner:
            raise StoreError(f"{self._path} was opened before this process was forked; open a store of its own here")
        while True:
            map_size = self._enter()
            try:
                if write:
                    self._look_for_dead_readers()
                with self._env.begin(write=write, buffers=True) as txn:
                    return work(txn)
            except MovedValue:
                continue
            except ValueLogError as error:
                raise self._failure(error) from error
            except lmdb.MapFullError:
                wanted = 2 * map_size
            except lmdb.MapResizedError:
                wanted = 0  # another process has grown it: adopt its size
            except lmdb.Error as error:
                raise self._failure(error) from error
            finally:
                self._leave()
            self._resize(map_size, wanted)

    def _failure(self, error: lmdb.Error | ValueLogError) -> StoreError:
        no_room = isinstance(error, lmdb.DiskError) or any(text in str(error) for text in _NO_ROOM)
        # A disk that takes a part of a write only is an "Input/output error" to LMDB.
        if no_room or (os.strerror(errno.EIO) in str(error) and shutil.disk_usage(self._path).free < _LITTLE_ROOM):
            return StoreFull(f"{self._path}: the disk is full ({error}). Nothing was written; make room and try again.")
        if isinstance(error, lmdb.ReadersFullError):
            return StoreError(f"{self._path}: {_MAX_READERS} threads read it already: {error}. Read from fewer.")
        return StoreError(f"{self._path}: {error}. Check that the store is open and that its disk has room.")

    def _look_for_dead_readers(self) -> None:
        self._writes += 1
        if self._writes % _READER_CHECK_WRITES == 0:
            self._env.reader_check()

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
                if wanted and self._env.reader_check():
                    return  # pages that only dead readers held are room, too
                self._env.set_mapsize(wanted)
                self._map_size = self._env.info()["map_size"]
            except lmdb.Error as error:
                raise StoreError(f"{self._path}: cannot grow the map to {wanted} bytes: {error}") from error
            finally:
                self._is_resizing = False
                self._turn.notify_all()
