"""Where a version's records of users stand: one LMDB folder each, or under a prefix of their own on a Redis server."""

from __future__ import annotations

import errno
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from headwater.errors import StoreError, StoreFull

Records = Iterable[list[tuple[bytes, bytes]]]

FOLDER = "users"
_MAP_BYTES = 1 << 40
_PAGE = 4_096
_REDIS_PREFIX = b"headwater-knowledge\0"
_SCAN_KEYS = 5_000


class Shelf(Protocol):
    """Holds the records of the users of each version."""

    def fill(self, version: int, folder: Path, records: Records) -> None:
        """Put all records of a version there, on the disk. Raises `StoreFull` where there is no room."""
        ...

    def get_many(self, version: int, folder: Path, keys: Sequence[bytes]) -> list[bytes | None]:
        """The record of each user; None of one who has none."""
        ...

    def scan(self, version: int, folder: Path, at_once: int) -> Records:
        """All records of a version, some at a time."""
        ...

    def drop(self, version: int, folder: Path) -> None:
        """Remove what `fill` put there outside `folder`, however far it came."""
        ...

    def let_go(self, folder: Path) -> None:
        """Read the version no more, so that the space of what is removed comes back."""
        ...


class LmdbShelf:
    """Records in `FOLDER` below the version's folder: written once in the order of keys, then only read."""

    def fill(self, version: int, folder: Path, records: Records) -> None:
        """See `Shelf`."""
        import lmdb

        path = folder / FOLDER
        path.mkdir()
        try:
            env = lmdb.open(str(path), map_size=_MAP_BYTES, lock=False, sync=False, metasync=False)
            try:
                for some in records:
                    with env.begin(write=True) as transaction, transaction.cursor() as cursor:
                        cursor.putmulti(some, append=True)
                env.sync(True)
            finally:
                env.close()
        except (lmdb.Error, OSError) as error:
            if isinstance(error, lmdb.DiskError) or _is_full(path / "data.mdb"):
                raise StoreFull(f"{path}: the disk is full ({error}); make room and publish again") from error
            raise StoreError(f"{path} cannot be written: {error}") from error

    def get_many(self, version: int, folder: Path, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Shelf`."""
        import lmdb

        try:
            with _opened(folder / FOLDER).env.begin() as transaction:
                return list(map(transaction.get, keys))
        except lmdb.Error as error:
            raise StoreError(f"{folder / FOLDER} cannot be read: {error}") from error

    def scan(self, version: int, folder: Path, at_once: int) -> Records:
        """See `Shelf`; in the order of keys."""
        import lmdb

        try:
            with _opened(folder / FOLDER).env.begin() as transaction, transaction.cursor() as cursor:
                pairs = ((bytes(key), bytes(record)) for key, record in cursor)
                while some := list(islice(pairs, at_once)):
                    yield some
        except lmdb.Error as error:
            raise StoreError(f"{folder / FOLDER} cannot be read: {error}") from error

    def drop(self, version: int, folder: Path) -> None:
        """See `Shelf`: it is all in the folder."""

    def let_go(self, folder: Path) -> None:
        """See `Shelf`."""
        with _opening:
            _recent.pop(str(folder / FOLDER), None)


def _is_full(path: Path) -> bool:
    """Whether the file can grow no more; LMDB calls a write of which there was room for a part an I/O error."""
    try:
        with path.open("ab") as handle:
            handle.write(bytes(_PAGE))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return False


class _Opened:
    """A folder of LMDB for reading; every reader of a process shares it, for LMDB is opened once a process."""

    def __init__(self, path: Path) -> None:
        import lmdb

        self.env = lmdb.open(
            str(path), map_size=_MAP_BYTES, readonly=True, lock=False, max_spare_txns=16, readahead=False
        )


_all_opened: weakref.WeakValueDictionary[tuple[int, int, int], _Opened] = weakref.WeakValueDictionary()
_recent: dict[str, tuple[tuple[int, int, int], _Opened]] = {}
_opening = threading.Lock()
_KEPT_OPEN = 16


def _opened(path: Path) -> _Opened:
    try:
        about = (path / "data.mdb").stat()
    except FileNotFoundError as error:
        raise StoreError(f"{path} is not there") from error
    mark = (os.getpid(), about.st_dev, about.st_ino)
    recent = _recent.get(str(path))
    if recent is not None and recent[0] == mark:
        return recent[1]
    with _opening:
        found = _all_opened.get(mark)
        if found is None:
            found = _all_opened[mark] = _Opened(path)
        _recent[str(path)] = (mark, found)
        while len(_recent) > _KEPT_OPEN:
            del _recent[next(iter(_recent))]
    return found


class RedisShelf:
    """Records on a Redis or Valkey server, beside what else is there.

    Parameters
    ----------
    url : str
        See `headwater.store.connection.Connection`.
    center : str
        Tells several centers on one server apart.
    """

    def __init__(self, url: str, center: str) -> None:
        from headwater.store.connection import Connection

        self._server = Connection(url)
        self._prefix = _REDIS_PREFIX + center.encode() + b"\0"

    def _of(self, version: int) -> bytes:
        return self._prefix + version.to_bytes(8, "big")

    def fill(self, version: int, folder: Path, records: Records) -> None:
        """See `Shelf`."""
        prefix = self._of(version)
        for some in records:
            words: list[Any] = [part for key, record in some for part in (prefix + key, record)]
            self._server.command("MSET", *words)

    def get_many(self, version: int, folder: Path, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Shelf`. One round trip."""
        prefix = self._of(version)
        return self._server.command("MGET", *(prefix + key for key in keys)) if keys else []

    def scan(self, version: int, folder: Path, at_once: int) -> Records:
        """See `Shelf`; in any order, and perhaps one twice. Goes through the keys of the whole server."""
        start = len(self._of(version))
        for page in self._pages(version):
            for at in range(0, len(page), at_once):
                keys = page[at : at + at_once]
                records = self._server.command("MGET", *keys)
                yield [(key[start:], record) for key, record in zip(keys, records, strict=True) if record is not None]

    def drop(self, version: int, folder: Path) -> None:
        """See `Shelf`. Goes through the keys of the whole server."""
        for page in self._pages(version):
            self._server.command("UNLINK", *page)

    def _pages(self, version: int) -> Iterator[list[bytes]]:
        """Keys of a version on the server."""
        start = self._of(version)
        pattern = b"".join(b"\\" + bytes([byte]) if byte in b"*?[]^\\" else bytes([byte]) for byte in start) + b"*"
        cursor: int | bytes = 0
        while True:
            cursor, page = self._server.command("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_KEYS)
            if page:
                yield page
            if int(cursor) == 0:
                return

    def let_go(self, folder: Path) -> None:
        """See `Shelf`: nothing is held."""
