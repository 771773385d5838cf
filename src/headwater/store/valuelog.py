"""Where `LmdbStore` keeps large values: one after another in files, with a pointer in LMDB to each.

A value that would take pages of its own in LMDB costs two scattered writes of 4 KB, its page and the list of freed
ones; at the end of a file it costs its length, in one stretch with all others of the call. (The split of keys and
values is that of Lu et al., "WiscKey: Separating Keys from Values in SSD-conscious Storage", FAST 2016.)

Files are segments, numbered as they were begun. A record in one is uint16 bytes of the address, uint32 bytes of the
sealed value, the address, the sealed value (`envelope`). Nothing is ever changed in place, and nothing counts that no
pointer names, so that a call that was cut short leaves nothing behind. A pointer is 40 bytes, little-endian: ``HL``
and the rest of the sealed value's header, its checksum, uint32 segment, offset and length. How long each segment is,
and how much of it still counts, is one value in LMDB, which changes with the pointers or not at all.

Segments of which nothing counts any more are written again under a new number, which costs the disk less than new
ones. Where more than a third of what is kept does not count, each call copies some of what counts out of the emptiest
segment. Readers of other processes are not asked: a pointer that was read before its segment was written again leads
to a value of another checksum, or to no file, and the caller reads the pointer again.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from headwater.errors import TornValue
from headwater.store.envelope import HEADER_BYTES, seal, unseal

if TYPE_CHECKING:
    import lmdb

_P = ParamSpec("_P")
_R = TypeVar("_R")

PRIVATE = b"\0"
"""What addresses of the log's own in LMDB begin with; no namespace does."""

INLINE_BYTES = 2_030
"""An address and a value that are longer together would get pages of their own in LMDB."""

SEGMENT_BYTES = 64 << 20
"""A segment is not begun anew before the current one is this long; one value may be longer."""

_TABLE = PRIVATE + b"segments"
_MARK = b"HL"
_PLACE = struct.Struct("<III")
_RECORD = struct.Struct("<HI")
_ROW = struct.Struct("<IQQ")
_OPEN_FILES = 128
_SPARE_SEGMENTS = 4
_LEAST_CLEANED = 1 << 16
_CLEANED_FOR_EACH = 4
"""Bytes looked through for each byte written: at least a third of those does not count."""


class MovedValue(Exception):
    """The value was replaced, and its segment written again, since its pointer was read."""


class ValueLogError(Exception):
    """The log could not be written; the system says why."""


def _says_why(work: Callable[_P, _R]) -> Callable[_P, _R]:
    @wraps(work)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return work(*args, **kwargs)
        except OSError as error:
            raise ValueLogError(str(error)) from error

    return guarded


class _Segment(NamedTuple):
    size: int
    living: int


def is_pointer(raw: bytes | memoryview) -> bool:
    """Whether what LMDB holds is the place of a value, and not a value."""
    return raw[:2] == _MARK


class ValueLog:
    """The segments of one store; each process has its own `ValueLog`, whose threads share it.

    Parameters
    ----------
    folder : Path
        Made with the first large value.
    segment_bytes : int
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.segment_bytes = segment_bytes
        self._turn = threading.Lock()
        self._files: dict[int, int] = {}
        self.cleaning: tuple[int, int] = (0, 0)
        """The segment that is being emptied, and how far that is."""
        self.unreadable: set[int] = set()
        """Segments that could not be gone through to their end."""

    def read(self, pointer: bytes | memoryview) -> bytes:
        """The sealed value that a pointer names.

        Raises
        ------
        TornValue
            What lies there is not that value: it is torn, or was replaced since the pointer was read.
        """
        segment, at, length = _PLACE.unpack(pointer[HEADER_BYTES:])
        for is_fresh in (False, True):
            found = self._read(segment, at, length, is_fresh=is_fresh)
            if len(found) == length and found[2:HEADER_BYTES] == pointer[2:HEADER_BYTES]:
                return found
        raise TornValue(f"segment {segment} of the value log has something else at byte {at}: the value is torn")

    def path(self, segment: int) -> Path:
        """The file of a segment."""
        return self.folder / f"{segment:010d}.values"

    def close(self) -> None:
        """Let go of the files."""
        with self._turn:
            while self._files:
                os.close(self._files.popitem()[1])

    def _read(self, segment: int, at: int, length: int, *, is_fresh: bool) -> bytes:
        with self._turn:  # so that no file is closed under a reader
            if is_fresh and segment in self._files:
                # Its name may be another file's by now: one of a call that failed, say.
                os.close(self._files.pop(segment))
            if segment not in self._files:
                try:
                    self._files[segment] = os.open(self.path(segment), os.O_RDONLY)
                except FileNotFoundError:
                    return b""
                if len(self._files) > _OPEN_FILES:
                    os.close(self._files.pop(next(iter(self._files))))
            return os.pread(self._files[segment], length, at)


class Writing:
    """The log within one write transaction of LMDB: what is lost and added counts if the transaction does.

    Parameters
    ----------
    log : ValueLog
    txn : lmdb.Transaction
    """

    def __init__(self, log: ValueLog, txn: lmdb.Transaction) -> None:
        self._log = log
        self._txn = txn
        self._before = _table(txn.get(_TABLE))
        self._segments = dict(self._before)
        self._head = max(self._segments, default=0)
        self._end = self._segments[self._head].size if self._head else 0
        self._pending: list[bytes] = []
        self._added = self._written = 0

    def lose(self, raw: bytes | memoryview | None) -> None:
        """What LMDB held is replaced or removed."""
        if raw is not None and is_pointer(raw):
            segment, _, length = _PLACE.unpack(raw[HEADER_BYTES:])
            if segment in self._segments:
                size, living = self._segments[segment]
                self._segments[segment] = _Segment(size, living - length)

    def add(self, address: bytes, sealed: bytes) -> bytes:
        """Append a value; returns the pointer for LMDB to hold. Raises `ValueLogError`."""
        n_address, n_sealed = len(address), len(sealed)
        size = _RECORD.size + n_address + n_sealed
        if not self._head or (self._end and self._end + size > self._log.segment_bytes):
            self._write()
            self._head, self._end = self._begin(self._head + 1), 0
        self._pending += (_RECORD.pack(n_address, n_sealed), address, sealed)
        self._end += size
        self._added += n_sealed
        return _MARK + sealed[2:HEADER_BYTES] + _PLACE.pack(self._head, self._end - n_sealed, n_sealed)

    def finish(self) -> None:
        """Bring all that was added onto the disk, and what is said of the segments into the transaction.

        Raises `ValueLogError`.
        """
        if self._head:
            self._write()
            self._clean()
            self._write()
        if self._segments != self._before:
            rows = (_ROW.pack(segment, *self._segments[segment]) for segment in sorted(self._segments))
            self._txn.put(_TABLE, seal(b"".join(rows)))

    # -- files

    @_says_why
    def _begin(self, segment: int) -> int:
        path = self._log.path(segment)
        path.parent.mkdir(exist_ok=True)
        # Of these nothing counted before this transaction already, so nothing will where it fails.
        empty = [other for other, row in self._before.items() if not row.living and other in self._segments]
        used = next((other for other in empty if _renamed(self._log.path(other), path)), None)
        for n, other in enumerate(empty):
            is_spare = other != used and n <= _SPARE_SEGMENTS and self._log.path(other).exists()
            if not is_spare:
                self._log.path(other).unlink(missing_ok=True)
                del self._segments[other]
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
        _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        self._segments[segment] = _Segment(0, 0)
        return segment

    @_says_why
    def _write(self) -> None:
        if not self._pending:
            return
        data = memoryview(b"".join(self._pending))
        at = self._end - len(data)
        file = os.open(self._log.path(self._head), os.O_WRONLY)
        try:
            while data:
                done = os.pwrite(file, data, at)
                data, at = data[done:], at + done
            os.fdatasync(file)
        finally:
            os.close(file)
        self._segments[self._head] = _Segment(self._end, self._segments[self._head].living + self._added)
        self._written += self._added
        self._added = 0
        self._pending.clear()

    # -- space

    @_says_why
    def _clean(self) -> None:
        """Copy what counts out of the emptiest segment, where too much of what is kept does not count."""
        left_out = {self._head, *self._log.unreadable}
        kept = {segment: row for segment, row in self._segments.items() if row.living and segment not in left_out}
        size, living = sum(row.size for row in kept.values()), sum(row.living for row in kept.values())
        if 2 * size <= 3 * living + 4 * self._log.segment_bytes:
            return
        budget = max(_LEAST_CLEANED, _CLEANED_FOR_EACH * self._written)
        while budget > 0 and kept:
            victim, at = self._log.cleaning
            if victim not in kept:
                victim, at = min((row.living / row.size, segment) for segment, row in kept.items())[1], 0
            size = kept.pop(victim).size
            end = min(at + budget, size)
            budget -= end - at
            try:
                file = os.open(self._log.path(victim), os.O_RDONLY)
            except FileNotFoundError:  # whoever reads its values is told
                del self._segments[victim]
                continue
            try:
                while at < end:
                    at += self._move(file, victim, at)
            except struct.error:  # no record begins here: what follows cannot be told apart, and stays
                self._log.unreadable.add(victim)
            finally:
                os.close(file)
            self._log.cleaning = (victim, at) if at < size else (0, 0)

    def _move(self, file: int, segment: int, at: int) -> int:
        """Copy the record at byte `at` if it counts; returns its length."""
        n_address, n_sealed = _RECORD.unpack(os.pread(file, _RECORD.size, at))
        if not n_address:
            raise struct.error
        start = at + _RECORD.size + n_address
        address = os.pread(file, n_address, at + _RECORD.size)
        raw = self._txn.get(address)
        if raw is not None and is_pointer(raw) and _PLACE.unpack(raw[HEADER_BYTES:])[:2] == (segment, start):
            sealed = os.pread(file, n_sealed, start)
            # A torn one is moved as it is: whoever reads it is told.
            pointer = _MARK + bytes(raw[2:HEADER_BYTES]) + self.add(address, sealed)[HEADER_BYTES:]
            self.lose(raw)
            self._txn.put(address, pointer)
        return _RECORD.size + n_address + n_sealed


def _table(raw: bytes | memoryview | None) -> Mapping[int, _Segment]:
    rows: Sequence[tuple[int, int, int]] = [] if raw is None else list(_ROW.iter_unpack(unseal(raw).payload))
    return {segment: _Segment(size, living) for segment, size, living in rows}


def _renamed(old: Path, new: Path) -> bool:
    try:
        old.rename(new)
    except FileNotFoundError:  # by a call that failed afterwards
        return False
    return True


def _sync(path: Path, flags: int) -> None:
    file = os.open(path, flags)
    try:
        os.fsync(file)
    finally:
        os.close(file)
