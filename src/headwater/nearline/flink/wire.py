"""A user's records on their way from a reader to the user's state: bytes that no pickle has touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from headwater.nearline.columns import NO_SCENARIO, RecordColumns

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Wire(msgspec.Struct, array_like=True, gc=False):
    timestamps: bytes
    behaviours: bytes
    scenarios: bytes
    scenario_names: tuple[str, ...]
    request_ids: list[str]
    offsets: bytes
    items: bytes
    categories: bytes


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Wire)


def by_user(columns: RecordColumns) -> Iterator[tuple[int, bytes]]:
    """(user key, that user's records in their order, packed) for each user in `columns`, by key."""
    order = np.argsort(columns.users, kind="stable")
    users = columns.users[order]
    starts = np.flatnonzero(np.append(True, users[1:] != users[:-1])) if len(users) else np.zeros(0, np.intp)
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(users)], strict=False):
        yield int(users[start]), pack(columns.take(order[start:stop].astype(np.int64)))


def pack(columns: RecordColumns) -> bytes:
    """Records of one user, without the user and without scenarios that none of them has."""
    used, places = np.unique(columns.scenarios, return_inverse=True)
    codes: list[int] = used.tolist()
    has_none = NO_SCENARIO in codes
    return _ENCODER.encode(
        _Wire(
            timestamps=columns.timestamps.tobytes(),
            behaviours=columns.behaviours.tobytes(),
            scenarios=(places - has_none).astype(np.int32).tobytes(),
            scenario_names=tuple(columns.scenario_names[code] for code in codes if code != NO_SCENARIO),
            request_ids=columns.request_ids,
            offsets=columns.offsets.tobytes(),
            items=columns.items.tobytes(),
            categories=columns.categories.tobytes(),
        )
    )


def unpack(raw: bytes, user: int) -> RecordColumns:
    """What `pack` packed, of that user."""
    wire = _DECODER.decode(raw)
    timestamps = _longs(wire.timestamps)
    return RecordColumns(
        users=np.full(len(timestamps), user, np.int64),
        timestamps=timestamps,
        behaviours=np.frombuffer(wire.behaviours, np.int8),
        scenarios=np.frombuffer(wire.scenarios, np.int32),
        scenario_names=wire.scenario_names,
        request_ids=wire.request_ids,
        offsets=_longs(wire.offsets),
        items=_longs(wire.items),
        categories=_longs(wire.categories),
    )


def _longs(raw: bytes) -> NDArray[np.int64]:
    return np.frombuffer(raw, np.int64)
