"""The nearline candidates of one user, and their bytes in the store."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.errors import ArtefactError
from headwater.nearline.state import NEVER

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"HC"
_VERSION = 1
_HEAD = struct.Struct("<2sBIIqHH")
_VISIT = struct.Struct("<HqHH")


@dataclass(frozen=True, slots=True)
class NearlineCandidates:
    """m candidates of one user, best first, and the v visits that they were ranked on.

    Attributes
    ----------
    alpha, beta : int
        Of eq. 6.
    newest : int
        The newest time of any record of the user, Unix seconds; -1 where there is none.
    items : (m,) int64
        Item keys.
    visits : (m,) int64
        Row of the visit below that gave the item its best score.
    ranks : (m,) int64
        *rank_index*: the item's place in that visit's list, from 0, repeated items not counted.
    scenarios, request_ids : tuple of v str
    timestamps : (v,) int64
    time_indices : (v,) int64
        *time_index*: the visit's place among all the user's visits of all scenarios, newest first, from 0.
    """

    alpha: int
    beta: int
    newest: int
    items: NDArray[np.int64]
    visits: NDArray[np.int64]
    ranks: NDArray[np.int64]
    scenarios: tuple[str, ...]
    request_ids: tuple[str, ...]
    timestamps: NDArray[np.int64]
    time_indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def none(cls) -> NearlineCandidates:
        """No candidate, as for a user without a state."""
        no = np.zeros(0, np.int64)
        return cls(1, 1, NEVER, no, no, no, (), (), no, no)

    @property
    def scores(self) -> NDArray[np.float64]:
        """(m,) eq. 6: α/(α + rank_index) · β/(β + time_index), in (0, 1].

        Taken from the integer product that candidates are ordered by, so equal products have equal scores.
        """
        product = (self.alpha + self.ranks) * (self.beta + self.time_indices[self.visits])
        return self.alpha * self.beta / product


def encode(candidates: NearlineCandidates) -> bytes:
    """Compact bytes: 12 for each candidate and, for each visit, 14 with its two names."""
    parts = [
        _HEAD.pack(
            _MAGIC,
            _VERSION,
            candidates.alpha,
            candidates.beta,
            candidates.newest,
            len(candidates),
            len(candidates.scenarios),
        )
    ]
    for row, (scenario, request_id) in enumerate(zip(candidates.scenarios, candidates.request_ids, strict=True)):
        names = scenario.encode(), request_id.encode()
        parts.append(
            _VISIT.pack(candidates.time_indices[row], candidates.timestamps[row], len(names[0]), len(names[1]))
        )
        parts += names
    parts += [
        candidates.items.astype("<i8").tobytes(),
        candidates.visits.astype("<u2").tobytes(),
        candidates.ranks.astype("<u2").tobytes(),
    ]
    return b"".join(parts)


def decode(raw: bytes) -> NearlineCandidates:
    """Read what `encode` wrote.

    Raises
    ------
    ArtefactError
        The bytes are no candidates, are cut short, or are of another version.
    """
    if raw[:2] != _MAGIC:
        raise ArtefactError("these bytes are not nearline candidates")
    if raw[2:3] != bytes([_VERSION]):
        raise ArtefactError(
            f"the nearline candidates have version {raw[2:3].hex() or 'none'}, and this Headwater reads version "
            f"{_VERSION}; the user's next record replaces them"
        )
    try:
        return _decode_body(raw)
    except (struct.error, ValueError, IndexError) as error:
        raise ArtefactError(f"the nearline candidates are cut short: {error}") from error


def _decode_body(raw: bytes) -> NearlineCandidates:
    _, _, alpha, beta, newest, m, v = _HEAD.unpack_from(raw)
    at = _HEAD.size
    scenarios: list[str] = []
    request_ids: list[str] = []
    times = np.empty((2, v), np.int64)
    for row in range(v):
        times[0, row], times[1, row], scenario, request_id = _VISIT.unpack_from(raw, at)
        at += _VISIT.size
        scenarios.append(raw[at : at + scenario].decode())
        at += scenario
        request_ids.append(raw[at : at + request_id].decode())
        at += request_id
    if at + 12 * m != len(raw):
        raise ValueError(f"{at + 12 * m} bytes are described, and there are {len(raw)}")
    return NearlineCandidates(
        alpha=alpha,
        beta=beta,
        newest=newest,
        items=np.frombuffer(raw, "<i8", m, at),
        visits=np.frombuffer(raw, "<u2", m, at + 8 * m).astype(np.int64),
        ranks=np.frombuffer(raw, "<u2", m, at + 10 * m).astype(np.int64),
        scenarios=tuple(scenarios),
        request_ids=tuple(request_ids),
        timestamps=times[1],
        time_indices=times[0],
    )
