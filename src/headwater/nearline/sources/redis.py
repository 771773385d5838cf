"""A log on Redis or Valkey: a stream of entries, each with a record's JSON line in the field ``record``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headwater.errors import StoreError
from headwater.nearline.records import MAX_LINE, Record, stamped_lines
from headwater.nearline.sources.base import Batch, Line, Position
from headwater.store.connection import Connection

STREAM = "headwater-ranklog"
"""Key of the stream, unless another is named."""

_FIELD = b"record"
_SEQUENCE_BITS = 20

_Entry = tuple[bytes, Mapping[bytes, bytes]]


class RedisSource:
    """A Redis stream, read by positions: every consumer reads everything, and any position can be read again.

    A position is durable in one step with what the consumer did, so that nothing comes twice. Consumers that must
    share the work by user read a stream each.

    Parameters
    ----------
    url : str
        See `Connection`.
    stream : str
        Its key; may be made later.

    Raises
    ------
    StoreError
        The URL cannot be read, or the package `redis` is not installed.
    """

    def __init__(self, url: str, stream: str = STREAM) -> None:
        self._server = Connection(url)
        self._stream = stream

    def poll(self, position: Position, max_records: int) -> Batch:
        """See `Source.poll`. `Batch.pending_bytes` is estimated from the times of the entries."""
        after = position.get(self._stream, 0)
        entries = self._server.command("XRANGE", self._stream, "(" + _id(after), "+", "COUNT", max_records)
        lines = [_line(self._stream, entry) for entry in entries]
        if not lines:
            return Batch(position=dict(position))
        reached = lines[-1].offset
        return Batch(lines, {**position, self._stream: reached}, self._pending_bytes(reached, lines))

    def commit(self, position: Position) -> None:
        """See `Source.commit`: the stream keeps its entries, however often they are read."""

    def close(self) -> None:
        """Let go of the connection."""
        self._server.close()

    def _pending_bytes(self, reached: int, lines: list[Line]) -> int:
        """What lies behind `reached`, by the lines' mean length. 0 only where it is the last entry."""
        known: dict[str, Any] = self._server.command("XINFO STREAM", self._stream)
        if not known["first-entry"]:
            return 0
        first, last = _number(known["first-entry"][0]), _number(known["last-entry"][0])
        if reached >= last:
            return 0
        share = (last - reached) / max(last - first, 1)
        entries = max(1, round(known["length"] * min(share, 1.0)))
        return entries * max(1, sum(line.length for line in lines) // max(len(lines), 1))


class RedisGroupSource(RedisSource):
    """A Redis stream whose consumers share the entries: each entry goes to one of them.

    What a consumer has polled stays its own until it commits. Where it dies, it gets that again when it is back under
    its name; or, after `idle_seconds`, another consumer does. An entry may thus come twice, but none is lost.

    The entries of a user go to any consumer, so consumers that share must keep their states in the store.

    Parameters
    ----------
    url, stream : str
        As of `RedisSource`.
    group : str
        Of the consumers that share; made at the stream's beginning where there is none. Every group reads everything.
    consumer : str
        One for each process, and the same when it is started again.
    idle_seconds : float
        How long a polled entry may stay uncommitted before another consumer takes it: longer than any batch takes.
    clock : callable
        Seconds that never jump back; decides how often to look for such entries.
    """

    def __init__(
        self,
        url: str,
        stream: str = STREAM,
        *,
        group: str = "headwater",
        consumer: str,
        idle_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(url, stream)
        self._group = group
        self._consumer = consumer
        self._part = f"{stream}/{group}/{consumer}"
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._next_claim = float("-inf")
        self._is_member = False
        # Polled and not committed, in the order in which they came; the first has the number `_first`. A position
        # counts in these numbers, for what is taken over from a dead consumer is older than what came before.
        self._held: list[Line] = []
        self._ids: dict[bytes, None] = {}
        self._first: int | None = None
        self._own_after: bytes | None = b"0"

    def poll(self, position: Position, max_records: int) -> Batch:
        """See `Source.poll`. `Batch.pending_bytes` is estimated from the times of the entries."""
        if self._first is None:
            self._first = position.get(self._part, 0)
        start = min(max(position.get(self._part, 0) - self._first, 0), len(self._held))
        try:
            self._join()
            self._fetch(start + max_records)
            lines = self._held[start : start + max_records]
            pending = self._pending(lines, len(self._held) - start - len(lines)) if lines else 0
        except StoreError as error:
            # An answer that was lost may have made entries this consumer's own: ask for those again.
            self._own_after = b"0"
            self._is_member = self._is_member and "NOGROUP" not in str(error)
            raise
        if not lines:
            return Batch(position=dict(position))
        return Batch(lines, {**position, self._part: self._first + start + len(lines)}, pending)

    def commit(self, position: Position) -> None:
        """See `Source.commit`: the entries are acknowledged, and will go to nobody else."""
        done = position.get(self._part, 0) - (self._first or 0)
        ids = list(self._ids)[: max(done, 0)]
        if not ids:
            return
        self._server.command("XACK", self._stream, self._group, *ids)
        del self._held[: len(ids)]
        for id_ in ids:
            del self._ids[id_]
        self._first = (self._first or 0) + len(ids)

    def _join(self) -> None:
        if self._is_member:
            return
        try:
            self._server.command("XGROUP CREATE", self._stream, self._group, "0", "MKSTREAM")
        except StoreError as error:
            if "BUSYGROUP" not in str(error):  # which says that there is the group already
                raise
        self._is_member = True

    def _fetch(self, wanted: int) -> None:
        """Come to hold `wanted` entries: own ones from before, those of the dead, then new ones."""
        while self._own_after is not None and len(self._held) < wanted:
            found = self._read(self._own_after, wanted)
            self._hold(found)
            self._own_after = found[-1][0] if len(found) == wanted else None
        missing = wanted - len(self._held)
        if missing > 0 and self._clock() >= self._next_claim:
            milliseconds = max(1, round(self._idle_seconds * 1_000))
            claimed = self._server.command(
                "XAUTOCLAIM", self._stream, self._group, self._consumer, milliseconds, "0", "COUNT", missing
            )
            if not self._hold(claimed[1]):
                self._next_claim = self._clock() + self._idle_seconds / 2
            missing = wanted - len(self._held)
        if missing > 0:
            self._hold(self._read(b">", missing))

    def _read(self, after: bytes, count: int) -> list[_Entry]:
        answer = self._server.command(
            "XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", count, "STREAMS", self._stream, after
        )
        return answer[0][1] if answer else []

    def _hold(self, entries: Sequence[_Entry]) -> int:
        """Returns how many of them were not held already."""
        new = [entry for entry in entries if entry[0] and entry[0] not in self._ids]
        self._held += [_line(self._stream, entry) for entry in new]
        self._ids |= dict.fromkeys(entry[0] for entry in new)
        return len(new)

    def _pending(self, lines: list[Line], held: int) -> int:
        groups: list[dict[str, Any]] = self._server.command("XINFO GROUPS", self._stream)
        (delivered,) = (group["last-delivered-id"] for group in groups if group["name"] == self._group.encode())
        mean = max(1, sum(line.length for line in lines) // len(lines))
        return self._pending_bytes(_number(delivered), lines) + held * mean


class RedisRankLog:
    """The writer of a rank log on Redis, for `RedisSource` and `RedisGroupSource`; threads may share one.

    A record whose `append` returned is as safe as the server keeps its data: with `appendonly yes` it survives kill -9,
    with `appendfsync always` a power cut.

    Parameters
    ----------
    url, stream : str
        As of `RedisSource`.
    max_entries : int or None
        About how many entries the stream keeps; older ones go, read or not. None keeps all.
    columnar : bool
        Write visits by columns; see `RankLog`.
    clock : callable
        Unix seconds, stamped on every record as `appended`.
    """

    def __init__(
        self,
        url: str,
        stream: str = STREAM,
        *,
        max_entries: int | None = None,
        columnar: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._server = Connection(url)
        limit = () if max_entries is None else ("MAXLEN", "~", max_entries)
        self._command = ("XADD", stream, *limit, "*", _FIELD)
        self._columnar = columnar
        self._clock = clock

    def append(self, record: Record) -> None:
        """Write one record.

        Raises
        ------
        SchemaError
            The record could not be read back; see `RankLog.append`.
        StoreAway
            The server cannot be reached. The record may have been written; a second copy changes nothing.
        StoreFull
            The server has no room. Nothing was written.
        """
        self.append_many([record])

    def append_many(self, records: Sequence[Record]) -> None:
        """Write several records in one round trip, all of them or none. Raises as `append` does."""
        lines = stamped_lines(records, now=self._clock(), columnar=self._columnar)
        self._server.pipeline([(*self._command, line) for line in lines], atomic=True)

    def close(self) -> None:
        """Let go of the connection."""
        self._server.close()


def _line(stream: str, entry: _Entry) -> Line:
    id_, fields = entry
    offset = _number(id_)
    raw = fields.get(_FIELD)
    fault = ""
    if raw is None:
        fault = "the entry has no field 'record'" if fields else "the stream was trimmed before the entry was read"
        raw = b" ".join(part for field in fields.items() for part in field)
    return Line(raw[: MAX_LINE + 1], stream, offset, len(raw), (offset >> _SEQUENCE_BITS) / 1_000, fault)


def _number(id_: bytes) -> int:
    """An entry's id, milliseconds and a sequence number, as one number of the same order."""
    milliseconds, sequence = id_.split(b"-")
    if int(sequence) >> _SEQUENCE_BITS:
        raise StoreError(
            f"entry {id_.decode()}: more than {1 << _SEQUENCE_BITS} entries of one millisecond cannot be told apart; "
            "let the server choose the ids (XADD with *)"
        )
    return int(milliseconds) << _SEQUENCE_BITS | int(sequence)


def _id(number: int) -> str:
    return f"{number >> _SEQUENCE_BITS}-{number & ((1 << _SEQUENCE_BITS) - 1)}"
