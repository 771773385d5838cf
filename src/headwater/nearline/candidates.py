"""Nearline candidates of one user: of one scenario, as they are stored, or of several together.

Stored bytes, version 2, little-endian, without padding: ``HC``, uint8 version, uint8 strategy, uint32 α, uint32 β,
uint16 m, uint16 v, uint8 bytes of an item (4 where all are in [0, 2³²), else 8), uint16 length, UTF-8 scenario; v
visits of the queue, newest first, as in a state; m items, best first; m uint8 visits; m uint16 ranks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from headwater.errors import ArtefactError
from headwater.nearline.state import QueuedVisit, read_visit_heads

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCORE, FIFO, RANDOM = 0, 1, 2
"""How candidates are ordered, as a number: `Policy.strategy`."""

_SLOT_BITS = 14

_MAGIC = b"HC"
_VERSION = 2
_HEAD = struct.Struct("<2sBBIIHHBH")


@dataclass(frozen=True, slots=True)
class NearlineCandidates:
    """m candidates of one user, best first, and the v visits of the queues that they come from.

    Attributes
    ----------
    strategy : int
        `SCORE`, `FIFO` or `RANDOM`.
    alpha, beta : int
        Of eq. 6.
    items : (m,) int64
        Item keys.
    visits : (m,) int64
        Row of the visit below that gave the item its best place.
    ranks : (m,) int64
        *rank_index*: the item's place in that visit's list, from 0, repeated items not counted.
    scenarios, request_ids : tuple of v str
    timestamps, content_hashes : (v,) int64, uint64
    time_indices : (v,) int64
        *time_index*: the visit's place, newest first, from 0, among the visits of its scenario, or of all
        scenarios that these candidates were combined from.
    weights : (v,) float64
        What the scores of the visit's items are multiplied by.
    """

    strategy: int
    alpha: int
    beta: int
    items: NDArray[np.int64]
    visits: NDArray[np.int64]
    ranks: NDArray[np.int64]
    scenarios: tuple[str, ...]
    request_ids: tuple[str, ...]
    timestamps: NDArray[np.int64]
    content_hashes: NDArray[np.uint64]
    time_indices: NDArray[np.int64]
    weights: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def none(cls) -> NearlineCandidates:
        """No candidate, as for a user without a state."""
        no = np.zeros(0, np.int64)
        return cls(SCORE, 1, 1, no, no, no, (), (), no, no.astype(np.uint64), no)

    @property
    def scores(self) -> NDArray[np.float64]:
        """(m,) in (0, 1], times the weight: the best candidates have the greatest.

        `SCORE`: eq. 6, α/(α + rank_index) · β/(β + time_index), taken from the integer product that candidates are
        ordered by, so that equal products have equal scores. `FIFO`: β/(β + time_index + u), and `RANDOM`: 1 - u,
        where u in [0, 1) is the item's hash.
        """
        times = self.time_indices[self.visits]
        if self.strategy == SCORE:
            scores = self.alpha * self.beta / ((self.alpha + self.ranks) * (self.beta + times))
        else:
            hashes = shuffled(self.items, self._salts())
            part = (hashes >> np.uint64(11)).astype(np.float64) / 2.0**53
            scores = self.beta / (self.beta + times + part) if self.strategy == FIFO else 1.0 - part
        return scores * self.weights[self.visits] if len(self.weights) else scores

    def _salts(self) -> NDArray[np.uint64]:
        """(m,) hash of the content that each item's place was shuffled with."""
        if self.strategy == FIFO:
            return self.content_hashes[self.visits]
        return np.full(len(self), self.content_hashes[np.argmin(self.time_indices)] if len(self) else 0, np.uint64)


def shuffled(items: NDArray[np.int64], salts: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(m,) hashes that order items as `FIFO` and `RANDOM` do: `kernels.best` computes the same ones."""
    return _mix(items.astype(np.uint64) ^ _mix(salts))


def _mix(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        keys = (keys ^ (keys >> np.uint64(33))) * np.uint64(factor)
    return keys ^ (keys >> np.uint64(33))


def combine(parts: Sequence[NearlineCandidates], weights: Mapping[str, float] | None = None) -> NearlineCandidates:
    """The candidates of several scenarios of one user as one list, best first.

    *time_index* is counted again, over the visits of all of them: a scenario's newest visit, be it a month old, must
    not tie with now. The items are those that each scenario had kept by its own count, so what the recount would
    have drawn from deeper in a list is missing: an approximation of eq. 6 over all queues. An item of several
    scenarios has its best place; each scenario has had its own category cap.

    Parameters
    ----------
    parts : sequence of NearlineCandidates
        Of different scenarios.
    weights : dict of scenario to float, optional
        Above 0; what a scenario's scores are multiplied by; 1 for one that is not named.
    """
    parts = [part for part in parts if len(part.scenarios)]
    if not parts:
        return NearlineCandidates.none()
    rows = parts[0] if len(parts) == 1 else _concatenated(parts)
    moments = list(zip(rows.timestamps.tolist(), rows.request_ids, rows.scenarios, strict=True))
    order = sorted(range(len(moments)), key=moments.__getitem__, reverse=True)
    time_indices = np.empty(len(order), np.int64)
    time_indices[order] = np.arange(len(order))
    factors = np.ones(len(order)) if not weights else np.array([weights.get(name, 1.0) for name in rows.scenarios])
    rows = replace(rows, time_indices=time_indices, weights=factors)
    best = _firsts(rows.items, _order(rows))
    return replace(rows, items=rows.items[best], visits=rows.visits[best], ranks=rows.ranks[best])


def _concatenated(parts: Sequence[NearlineCandidates]) -> NearlineCandidates:
    starts = np.cumsum([0, *(len(part.scenarios) for part in parts)])[:-1]
    return replace(
        parts[0],
        items=np.concatenate([part.items for part in parts]),
        visits=np.concatenate([part.visits + start for part, start in zip(parts, starts, strict=True)]),
        ranks=np.concatenate([part.ranks for part in parts]),
        scenarios=tuple(name for part in parts for name in part.scenarios),
        request_ids=tuple(request_id for part in parts for request_id in part.request_ids),
        timestamps=np.concatenate([part.timestamps for part in parts]),
        content_hashes=np.concatenate([part.content_hashes for part in parts]),
    )


def _order(rows: NearlineCandidates) -> NDArray[np.intp]:
    """Places of the rows, best first: by score, then time index, then rank."""
    times = rows.time_indices[rows.visits]
    if rows.strategy == SCORE and len(rows.scenarios) < 1 << 14 and (rows.weights == rows.weights[0]).all():
        # The three numbers as one, which sorts several times faster: 34 bits, 14 and 13 at most.
        products = (rows.alpha + rows.ranks) * (rows.beta + times)
        return np.argsort(products << 27 | times << 13 | rows.ranks)
    return np.lexsort((rows.ranks, times, -rows.scores))


def _firsts(items: NDArray[np.int64], places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of `places` whose item comes there for the first time."""
    found = items[places]
    slots = found.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(64 - _SLOT_BITS)
    table = np.empty(1 << _SLOT_BITS, np.int64)
    rows = np.arange(len(found))
    table[slots[::-1]] = rows[::-1]  # of those that share a slot the first stays
    owners = table[slots]
    is_first = owners == rows
    others = np.flatnonzero(~is_first)
    # Most of the others are the owner's item again. A few are not, and the first of each counts.
    seen: set[int] = set()
    for row in others[found[owners[others]] != found[others]].tolist():
        item = int(found[row])
        is_first[row] = item not in seen
        seen.add(item)
    return places[is_first]


def encode(
    strategy: int,
    alpha: int,
    beta: int,
    scenario: str,
    queue: Sequence[QueuedVisit],
    items: NDArray[np.uint32] | NDArray[np.int64],
    visits: NDArray[np.uint8],
    ranks: NDArray[np.uint16],
) -> bytes:
    """The bytes of one scenario's candidates; the arguments are named as in `NearlineCandidates`.

    Items are written as wide as they are given: uint32 is for those that all fit, and only then, for equal
    candidates have equal bytes. For each candidate 7 bytes or 11; for each visit 18 and its request id.
    """
    name = scenario.encode()
    head = _HEAD.pack(_MAGIC, _VERSION, strategy, alpha, beta, len(items), len(queue), items.itemsize, len(name))
    packed = [visit.packed for visit in queue]
    return b"".join((head, name, *packed, items.tobytes(), visits.tobytes(), ranks.tobytes()))


def head_of(strategy: int, alpha: int, beta: int) -> bytes:
    """What the bytes of all candidates of one policy begin with."""
    return _HEAD.pack(_MAGIC, _VERSION, strategy, alpha, beta, 0, 0, 0, 0)[:12]


def decode(raw: bytes) -> NearlineCandidates:
    """Read what `encode` wrote.

    Raises
    ------
    ArtefactError
        The bytes are no candidates, are cut short, or are of another version.
    """
    return decode_all([raw])


def decode_all(raws: Sequence[bytes]) -> NearlineCandidates:
    """The stored candidates of several scenarios of one user, one after another, for `combine` to put together.

    Much faster than a `decode` for each. Raises as `decode` does.
    """
    joined = _Joined()
    for raw in raws:
        if raw[:2] != _MAGIC:
            raise ArtefactError("these bytes are not nearline candidates")
        if raw[2:3] != bytes([_VERSION]):
            raise ArtefactError(
                f"the nearline candidates have version {raw[2:3].hex() or 'none'}, and this Headwater reads version "
                f"{_VERSION}; the user's next record replaces them"
            )
        try:
            joined.add(raw)
        except (struct.error, ValueError, IndexError) as error:
            raise ArtefactError(f"the nearline candidates are cut short: {error}") from error
    return joined.candidates()


class _Joined:
    """Stored candidates, of which those of several scenarios become one, without an array for each."""

    def __init__(self) -> None:
        self._first: tuple[int, int, int] | None = None
        self._lengths: list[int] = []
        self._visits_before: list[int] = []
        self._items: list[bytes] = []
        self._is_wide: list[bool] = []
        self._visits: list[bytes] = []
        self._ranks: list[bytes] = []
        self._scenarios: list[str] = []
        self._request_ids: list[str] = []
        self._timestamps: list[int] = []
        self._hashes: list[int] = []
        self._times: list[int] = []

    def add(self, raw: bytes) -> None:
        """Raises where the bytes are cut short; nothing of them is added then."""
        _, _, strategy, alpha, beta, m, v, width, length = _HEAD.unpack_from(raw)
        at = _HEAD.size + length
        scenario = raw[_HEAD.size : at].decode()
        heads, request_ids, at = read_visit_heads(raw, at, v)
        if at + (width + 3) * m != len(raw):
            raise ValueError(f"{at + (width + 3) * m} bytes are described, and there are {len(raw)}")
        self._first = self._first or (strategy, alpha, beta)
        self._lengths.append(m)
        self._visits_before.append(len(self._scenarios))
        self._is_wide.append(width == 8)
        self._items.append(raw[at : at + width * m])
        at += width * m
        self._visits.append(raw[at : at + m])
        self._ranks.append(raw[at + m :])
        self._scenarios += (scenario,) * v
        self._request_ids += request_ids
        self._timestamps += [head[0] for head in heads]
        self._hashes += [head[1] for head in heads]
        self._times += range(v)

    def candidates(self) -> NearlineCandidates:
        """All that were added, one scenario's after another's; the time indices count each scenario's own visits."""
        if self._first is None:
            return NearlineCandidates.none()
        strategy, alpha, beta = self._first
        if any(self._is_wide):
            widths = ["<i8" if is_wide else "<u4" for is_wide in self._is_wide]
            own = [np.frombuffer(raw, width) for raw, width in zip(self._items, widths, strict=True)]
            items = np.concatenate(own).astype(np.int64)
        else:
            items = np.frombuffer(b"".join(self._items), "<u4").astype(np.int64)
        visits = np.frombuffer(b"".join(self._visits), "u1").astype(np.int64)
        if len(self._lengths) > 1:
            visits += np.repeat(self._visits_before, self._lengths)
        return NearlineCandidates(
            strategy=strategy,
            alpha=alpha,
            beta=beta,
            items=items,
            visits=visits,
            ranks=np.frombuffer(b"".join(self._ranks), "<u2").astype(np.int64),
            scenarios=tuple(self._scenarios),
            request_ids=tuple(self._request_ids),
            timestamps=np.array(self._timestamps, np.int64),
            content_hashes=np.array(self._hashes, np.uint64),
            time_indices=np.array(self._times, np.int64),
        )
