"""What the operator remembers of one user, and its bytes.

The bytes are canonical: equal states have equal bytes, whatever order the records came in. Layout, version 2,
little-endian, without padding:

- ``HN``, uint8 version, int64 newest event time, int64 forgotten-at (-1 where there is none)
- uint32 n; n int64 acted items, ascending; n int64 newest act times
- uint16 queues; each, by scenario: uint16 length, UTF-8 scenario, uint16 visits; each visit, newest first:
  int64 timestamp, uint64 content hash, uint16 length, UTF-8 request id
- for each visit in that order: uint32 length, content (see `kernels`); length 0 where it is kept elsewhere

Version 1, which had the contents between the visits and 8 bytes for each item, is read too, and written as 2. At
the default policy a full queue of 10 visits of 500 items of 100 categories takes 33 KB where item keys are below
2³², 53 KB where they are not; a whole state is bounded by `visits_in_all` visits and `acted_items` acted items.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import xxhash

from headwater.errors import ArtefactError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_CATEGORY = -(2**63)
"""Stands for "no category" among category keys; such items are not capped."""

NEVER = -1
"""Stands for "no time yet": timestamps are not negative."""

_MAGIC = b"HN"
VERSION = 2
"""Of the bytes that `encode` writes."""

_HEAD = struct.Struct("<2sBqqI")
_SHORT = struct.Struct("<H")
_LENGTH = struct.Struct("<I")
_VISIT = struct.Struct("<qQH")


class QueuedVisit(msgspec.Struct, frozen=True, gc=False):
    """A visit in a queue: its list without repeated items, truncated.

    Attributes
    ----------
    timestamp : int
    request_id : str
    content_hash : int
        xxh3-64 of `content`.
    content : bytes
        Items and categories, see `kernels`; empty where it is kept elsewhere.
    packed : bytes
        What a state and its candidates say of the visit, beside its content.
    """

    timestamp: int
    request_id: str
    content_hash: int
    content: bytes
    packed: bytes

    @classmethod
    def of(cls, timestamp: int, request_id: str, content: bytes) -> QueuedVisit:
        """A visit with its content."""
        content_hash, name = xxhash.xxh3_64_intdigest(content), request_id.encode()
        return cls(timestamp, request_id, content_hash, content, _VISIT.pack(timestamp, content_hash, len(name)) + name)

    @property
    def order(self) -> tuple[int, str, int]:
        """Visits of one queue in ascending order of this are oldest first."""
        return self.timestamp, self.request_id, self.content_hash


@dataclass(slots=True)
class UserState:
    """One user's state, decoded.

    Attributes
    ----------
    newest : int
        The newest time of any record, Unix seconds, or `NEVER`.
    forgotten_at : int
        Records up to this time are not taken in, or `NEVER`.
    acted_items : (n,) int64, ascending
    acted_times : (n,) int64
        The newest act on each of them.
    queues : dict of scenario to list of QueuedVisit
        Newest first; no queue is empty.
    """

    newest: int = NEVER
    forgotten_at: int = NEVER
    acted_items: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    acted_times: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    queues: dict[str, list[QueuedVisit]] = field(default_factory=dict[str, list[QueuedVisit]])

    def copy(self) -> UserState:
        """A state that may be changed without changing this one."""
        queues = {scenario: queue.copy() for scenario, queue in self.queues.items()}
        return UserState(self.newest, self.forgotten_at, self.acted_items, self.acted_times, queues)

    def visits(self) -> Iterator[tuple[str, QueuedVisit]]:
        """(scenario, visit) in the order of the bytes."""
        for scenario in sorted(self.queues):
            for visit in self.queues[scenario]:
                yield scenario, visit


def pack_contents(
    items: NDArray[np.int64],
    categories: NDArray[np.int64],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    truncations: NDArray[np.int64],
) -> list[bytes]:
    """The content of each of v lists ``items[starts[n]:stops[n]]`` (eq. 4): repeated items go first, then the list
    is cut at `truncations[n]` different ones."""
    from headwater.nearline import kernels  # who only reads candidates needs no compiler

    room = len(starts) * kernels.SPARE_BYTES + int((stops - starts).sum()) * kernels.BYTES_PER_ITEM
    out, ends = np.empty(room + -room % 8, np.uint8), np.empty(len(starts), np.int64)
    kernels.pack(items, categories, starts, stops, truncations, out, ends)
    at = [0, *ends.tolist()]
    return [out[at[n] : at[n + 1]].tobytes() for n in range(len(starts))]


def pack_content(items: NDArray[np.int64], categories: NDArray[np.int64]) -> bytes:
    """The content of one list of different items."""
    n = np.array([len(items)], np.int64)
    (content,) = pack_contents(items, categories, np.zeros(1, np.int64), n, n)
    return content


def encode(state: UserState, *, with_contents: bool = True) -> bytes:
    """The canonical bytes of a state; without contents they are left for the caller to keep."""
    parts = [
        _HEAD.pack(_MAGIC, VERSION, state.newest, state.forgotten_at, len(state.acted_items)),
        state.acted_items.astype("<i8", copy=False).tobytes(),
        state.acted_times.astype("<i8", copy=False).tobytes(),
        _SHORT.pack(len(state.queues)),
    ]
    for scenario in sorted(state.queues):
        queue = state.queues[scenario]
        name = scenario.encode()
        parts += [_SHORT.pack(len(name)), name, _SHORT.pack(len(queue)), *[visit.packed for visit in queue]]
    if with_contents:
        for _, visit in state.visits():
            parts += [_LENGTH.pack(len(visit.content)), visit.content]
    else:
        parts.append(bytes(_LENGTH.size * sum(map(len, state.queues.values()))))
    return b"".join(parts)


def decode(raw: bytes) -> UserState:
    """Read what `encode` wrote, in this version of the bytes or an older one.

    Raises
    ------
    ArtefactError
        The bytes are no state, are cut short, or are of a later version.
    """
    if raw[:2] != _MAGIC:
        raise ArtefactError("these bytes are not a nearline state")
    read = _READERS.get(raw[2] if len(raw) > 2 else 0)
    if read is None:
        raise ArtefactError(
            f"the nearline state has version {raw[2:3].hex() or 'none'}, and this Headwater reads versions "
            f"{', '.join(map(str, sorted(_READERS)))}; run the Headwater that wrote it, or delete the state and replay "
            "the rank log"
        )
    try:
        return read(raw)
    except (struct.error, ValueError) as error:
        raise ArtefactError(f"the nearline state is cut short: {error}") from error


def _read_head(raw: bytes) -> tuple[UserState, int]:
    _, _, newest, forgotten_at, n = _HEAD.unpack_from(raw)
    acted = np.frombuffer(raw, "<i8", 2 * n, _HEAD.size)
    return UserState(newest, forgotten_at, acted[:n], acted[n:]), _HEAD.size + 16 * n


def read_visit_heads(raw: bytes, at: int, n: int) -> tuple[list[tuple[int, int, int]], list[str], int]:
    """n visits written as `QueuedVisit.packed`: (time, content hash, bytes of the id), the ids, where they end."""
    heads: list[tuple[int, int, int]] = []
    request_ids: list[str] = []
    unpack, size = _VISIT.unpack_from, _VISIT.size
    for _ in range(n):
        head = unpack(raw, at)
        at += size + head[2]
        heads.append(head)
        request_ids.append(raw[at - head[2] : at].decode())
    return heads, request_ids, at


def _read_visits(raw: bytes, at: int, n: int) -> tuple[list[QueuedVisit], int]:
    visits: list[QueuedVisit] = []
    heads, request_ids, end = read_visit_heads(raw, at, n)
    for (timestamp, content_hash, length), request_id in zip(heads, request_ids, strict=True):
        packed = raw[at : at + _VISIT.size + length]
        at += len(packed)
        visits.append(QueuedVisit(timestamp, request_id, content_hash, b"", packed))
    return visits, end


def _read_2(raw: bytes) -> UserState:
    state, at = _read_head(raw)
    (n_queues,) = _SHORT.unpack_from(raw, at)
    at += _SHORT.size
    for _ in range(n_queues):
        scenario, at = _read_text(raw, at)
        (n_visits,) = _SHORT.unpack_from(raw, at)
        state.queues[scenario], at = _read_visits(raw, at + _SHORT.size, n_visits)
    for queue in state.queues.values():
        for place, visit in enumerate(queue):
            (length,) = _LENGTH.unpack_from(raw, at)
            at += _LENGTH.size + length
            if length:
                queue[place] = msgspec.structs.replace(visit, content=raw[at - length : at])
    _check_end(raw, at)
    return state


def _read_1(raw: bytes) -> UserState:
    state, at = _read_head(raw)
    (n_queues,) = _SHORT.unpack_from(raw, at)
    at += _SHORT.size
    for _ in range(n_queues):
        scenario, at = _read_text(raw, at)
        (n_visits,) = _SHORT.unpack_from(raw, at)
        at += _SHORT.size
        queue: list[QueuedVisit] = []
        for _ in range(n_visits):
            (timestamp,) = struct.unpack_from("<q", raw, at)
            request_id, at = _read_text(raw, at + 8)
            _, length = struct.unpack_from("<QI", raw, at)
            at += 12 + length
            queue.append(QueuedVisit.of(timestamp, request_id, pack_content(*_content_1(raw[at - length : at]))))
        state.queues[scenario] = queue
    _check_end(raw, at)
    return state


def _content_1(content: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    n, c = struct.unpack_from("<HH", content)
    items = np.frombuffer(content, "<i8", n, 4).copy()
    table = np.frombuffer(content, "<i8", c, 4 + 8 * n)
    return items, table[np.frombuffer(content, "<u2", n, 4 + 8 * (n + c))]


_READERS = {1: _read_1, 2: _read_2}


def _check_end(raw: bytes, at: int) -> None:
    if at != len(raw):
        raise ValueError(f"{at} bytes are described, and there are {len(raw)}")


def _read_text(raw: bytes, at: int) -> tuple[str, int]:
    (length,) = _SHORT.unpack_from(raw, at)
    at += _SHORT.size
    return raw[at : at + length].decode(), at + length
