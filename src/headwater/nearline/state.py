"""What the operator remembers of one user, and its bytes.

The bytes are canonical: equal states have equal bytes, whatever order the records came in. Layout, version 1,
little-endian, without padding:

- ``HN``, uint8 version, int64 newest event time, int64 forgotten-at (-1 where there is none)
- uint32 n; n int64 acted items, ascending; n int64 newest act times
- uint16 queues; each, by scenario: uint16 length, UTF-8 scenario, uint16 visits; each, newest first:
  int64 timestamp, uint16 length, UTF-8 request id, uint64 content hash, uint32 length, content
- content: uint16 n, uint16 c; n int64 items, best first; c int64 categories, ascending; n uint16 places in them

At the default policy a full queue of 10 visits of 500 items takes 50 KB and 8 bytes for each category of each
visit; a whole state is bounded by `visits_in_all` visits and `acted_items` acted items.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
_VERSION = 1
_HEAD = struct.Struct("<2sBqqI")
_SHAPE = struct.Struct("<HH")
_SHORT = struct.Struct("<H")
_LONG = struct.Struct("<q")
_TAIL = struct.Struct("<QI")


@dataclass(frozen=True, slots=True)
class QueuedVisit:
    """A visit in a queue: its list without repeated items, truncated.

    Attributes
    ----------
    timestamp : int
    request_id : str
    content : bytes
        Items and categories, see `pack_content`.
    content_hash : int
        xxh3-64 of `content`.
    """

    timestamp: int
    request_id: str
    content: bytes
    content_hash: int

    @classmethod
    def of(
        cls, timestamp: int, request_id: str, items: NDArray[np.int64], categories: NDArray[np.int64]
    ) -> QueuedVisit:
        """A visit from its (n,) items, best first, and their (n,) categories."""
        content = pack_content(items, categories)
        return cls(timestamp, request_id, content, xxhash.xxh3_64_intdigest(content))

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


def pack_content(items: NDArray[np.int64], categories: NDArray[np.int64]) -> bytes:
    """The content of a visit as bytes; each category is written once, for a list has few."""
    table, places = np.unique(categories, return_inverse=True)
    return b"".join(
        (
            _SHAPE.pack(len(items), len(table)),
            items.astype("<i8").tobytes(),
            table.astype("<i8").tobytes(),
            places.astype("<u2").tobytes(),
        )
    )


def unpack_content(content: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n,) items, best first, and (n,) categories of a visit's content."""
    n, c = _SHAPE.unpack_from(content)
    items = np.frombuffer(content, "<i8", n, _SHAPE.size)
    table = np.frombuffer(content, "<i8", c, _SHAPE.size + 8 * n)
    places = np.frombuffer(content, "<u2", n, _SHAPE.size + 8 * (n + c))
    return items, table[places]


def encode(state: UserState) -> bytes:
    """The canonical bytes of a state."""
    parts = [
        _HEAD.pack(_MAGIC, _VERSION, state.newest, state.forgotten_at, len(state.acted_items)),
        state.acted_items.astype("<i8").tobytes(),
        state.acted_times.astype("<i8").tobytes(),
        _SHORT.pack(len(state.queues)),
    ]
    for scenario in sorted(state.queues):
        queue = state.queues[scenario]
        parts += [_text(scenario), _SHORT.pack(len(queue))]
        for visit in queue:
            parts += [
                _LONG.pack(visit.timestamp),
                _text(visit.request_id),
                _TAIL.pack(visit.content_hash, len(visit.content)),
                visit.content,
            ]
    return b"".join(parts)


def decode(raw: bytes) -> UserState:
    """Read what `encode` wrote.

    Raises
    ------
    ArtefactError
        The bytes are no state, are cut short, or are of another version.
    """
    if raw[:2] != _MAGIC:
        raise ArtefactError("these bytes are not a nearline state")
    if raw[2:3] != bytes([_VERSION]):
        raise ArtefactError(
            f"the nearline state has version {raw[2:3].hex() or 'none'}, and this Headwater reads version {_VERSION}; "
            "run the Headwater that wrote it, or delete the state and replay the rank log"
        )
    try:
        return _decode_body(raw)
    except (struct.error, ValueError) as error:
        raise ArtefactError(f"the nearline state is cut short: {error}") from error


def _decode_body(raw: bytes) -> UserState:
    _, _, newest, forgotten_at, n = _HEAD.unpack_from(raw)
    at = _HEAD.size
    acted = np.frombuffer(raw, "<i8", 2 * n, at)
    at += 16 * n
    (n_queues,) = _SHORT.unpack_from(raw, at)
    at += _SHORT.size
    queues: dict[str, list[QueuedVisit]] = {}
    for _ in range(n_queues):
        scenario, at = _read_text(raw, at)
        (n_visits,) = _SHORT.unpack_from(raw, at)
        at += _SHORT.size
        queue: list[QueuedVisit] = []
        for _ in range(n_visits):
            (timestamp,) = _LONG.unpack_from(raw, at)
            request_id, at = _read_text(raw, at + _LONG.size)
            content_hash, length = _TAIL.unpack_from(raw, at)
            at += _TAIL.size
            queue.append(QueuedVisit(timestamp, request_id, raw[at : at + length], content_hash))
            at += length
        queues[scenario] = queue
    if at != len(raw):
        raise ValueError(f"{at} bytes are described, and there are {len(raw)}")
    return UserState(newest, forgotten_at, acted[:n], acted[n:], queues)


def _text(value: str) -> bytes:
    raw = value.encode()
    return _SHORT.pack(len(raw)) + raw


def _read_text(raw: bytes, at: int) -> tuple[str, int]:
    (length,) = _SHORT.unpack_from(raw, at)
    at += _SHORT.size
    return raw[at : at + length].decode(), at + length
