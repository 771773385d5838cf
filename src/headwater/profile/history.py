"""The user's online history: bounded, in time order, the same whatever is sent twice."""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.errors import ArtefactError, TornValue
from headwater.store.base import Put, Store, key_bytes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

logger = logging.getLogger(__name__)

NAMESPACE = "profile"

_NEVER = -(2**63)
_MAGIC = b"HP"
_VERSION = 1
_HEAD = struct.Struct("<2sBqI")
_USERS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class History:
    """n events of one user, oldest first; events at one time in the order in which they came in.

    Attributes
    ----------
    items : (n,) int64
        Item keys.
    times : (n,) int64
        Unix seconds, or positions where the data set has no clock.
    behaviours : (n,) int8
        `Behaviour` values.
    """

    items: NDArray[np.int64]
    times: NDArray[np.int64]
    behaviours: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def of(cls, items: ArrayLike, times: ArrayLike, behaviours: ArrayLike) -> History:
        """Columns of one length as a history, in the order given."""
        return cls(np.asarray(items, np.int64), np.asarray(times, np.int64), np.asarray(behaviours, np.int8))


class Profile:
    """Users' histories in a store, by 64-bit user key.

    Holds item keys, never codes, so it outlives releases. An event is (time, item, behaviour); one that is there
    already changes nothing. Of more than `max_events` the greatest by (time, item, behaviour) are kept, so
    which events stay does not depend on the order in which they came.

    Parameters
    ----------
    store : Store
    max_events : int
        Events kept for each user; 17 bytes each. The default holds the longest history of MovieLens-1M (2,314).

    Raises
    ------
    ValueError
        `max_events` is not positive.
    """

    def __init__(self, store: Store, *, max_events: int = 2_500) -> None:
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, not {max_events}")
        self._store = store
        self._max_events = max_events

    def append(self, user_key: int, items: ArrayLike, times: ArrayLike, behaviours: ArrayLike) -> None:
        """Add (n,) events of one user. Atomic, durable when it returns, and idempotent."""
        fresh = History.of(items, times, behaviours)
        self.append_many(np.full(len(fresh), user_key, np.int64), fresh.items, fresh.times, fresh.behaviours)

    def append_many(self, users: ArrayLike, items: ArrayLike, times: ArrayLike, behaviours: ArrayLike) -> None:
        """Add (n,) events, row r of user key `users[r]`, in the order in which they came in.

        A thousand users at a time are one atomic write; a crash in between leaves whole users, and
        calling again with the same events completes them.

        Raises
        ------
        ValueError
            The columns are not of one length.
        """
        owners, fresh = np.asarray(users, np.int64), History.of(items, times, behaviours)
        if not len(owners) == len(fresh.items) == len(fresh.times) == len(fresh.behaviours):
            raise ValueError(
                f"columns of one length are needed, not {len(owners)} users, {len(fresh.items)} items, "
                f"{len(fresh.times)} times and {len(fresh.behaviours)} behaviours"
            )
        by_user = np.argsort(owners, kind="stable")
        user_keys, starts = np.unique(owners[by_user], return_index=True)
        stops = np.append(starts, len(owners))[1:]
        for begin in range(0, len(user_keys), _USERS_AT_ONCE):
            group = slice(begin, begin + _USERS_AT_ONCE)
            keys = [key_bytes(user_key) for user_key in user_keys[group].tolist()]
            parts = [_rows(fresh, by_user[start:stop]) for start, stop in zip(starts[group], stops[group], strict=True)]

            def change(values: list[bytes | None], keys: list[bytes] = keys, parts: list[History] = parts) -> list[Put]:
                return [
                    Put(NAMESPACE, key, self._joined(value, part))
                    for key, value, part in zip(keys, values, parts, strict=True)
                ]

            pairs = [(NAMESPACE, key) for key in keys]
            try:
                self._store.update_many(pairs, change)
            except TornValue:
                self._drop_torn(keys)
                self._store.update_many(pairs, change)

    def history(self, user_keys: Sequence[int]) -> list[History]:
        """The history of each user; an empty one where there is none.

        A history that fails its checksum is logged, and empty too: that user begins anew, all others are served.
        """
        keys = [key_bytes(user_key) for user_key in user_keys]
        try:
            stored = self._store.get_many(NAMESPACE, keys)
        except TornValue:
            stored = [self._value(key) for key in keys]
        return [_decode(value)[1] for value in stored]

    def forget(self, user_key: int, *, at: int) -> None:
        """Remove a user's events up to time `at`, and take in none up to that time again.

        What stays is the key with that time. `headwater.nearline.forget` does the same for the stream's state.
        """

        def change(value: bytes | None) -> bytes:
            forgotten_at, history = _decode(value)
            return _encode(*_forgotten(max(forgotten_at, at), history))

        key = key_bytes(user_key)
        try:
            self._store.update(NAMESPACE, key, change)
        except TornValue:  # nothing of it can be read, so nothing of it can be kept
            self._store.put_many([Put(NAMESPACE, key, change(None))])

    def _value(self, key: bytes) -> bytes | None:
        try:
            return self._store.get_many(NAMESPACE, [key])[0]
        except TornValue as error:
            logger.error("a profile is lost, and begins anew: %s", error)
            return None

    def _drop_torn(self, keys: Sequence[bytes]) -> None:
        torn = [key for key in keys if self._value(key) is None]
        self._store.delete_many(NAMESPACE, torn)

    def _joined(self, value: bytes | None, fresh: History) -> bytes:
        forgotten_at, old = _decode(value)
        return _encode(*_forgotten(forgotten_at, _merged(old, fresh, self._max_events)))


def _rows(history: History, rows: NDArray[np.intp] | NDArray[np.bool_]) -> History:
    return History(history.items[rows], history.times[rows], history.behaviours[rows])


def _forgotten(at: int, history: History) -> tuple[int, History]:
    return at, _rows(history, history.times > at)


def _merged(old: History, fresh: History, max_events: int) -> History:
    both = History(
        np.concatenate([old.items, fresh.items]),
        np.concatenate([old.times, fresh.times]),
        np.concatenate([old.behaviours, fresh.behaviours]),
    )
    # lexsort is stable: of equal events the one that came first stands first, and is the one kept.
    order = np.lexsort((both.behaviours, both.items, both.times))
    ordered = _rows(both, order)
    is_new = np.ones(len(order), bool)
    is_new[1:] = (
        (ordered.times[1:] != ordered.times[:-1])
        | (ordered.items[1:] != ordered.items[:-1])
        | (ordered.behaviours[1:] != ordered.behaviours[:-1])
    )
    kept = np.sort(order[is_new][-max_events:])
    return _rows(both, kept[np.argsort(both.times[kept], kind="stable")])


def _encode(forgotten_at: int, history: History) -> bytes:
    return b"".join(
        (
            _HEAD.pack(_MAGIC, _VERSION, forgotten_at, len(history)),
            history.items.astype("<i8").tobytes(),
            history.times.astype("<i8").tobytes(),
            history.behaviours.astype("<i1").tobytes(),
        )
    )


def _decode(value: bytes | None) -> tuple[int, History]:
    if value is None:
        return _NEVER, History.of([], [], [])
    if len(value) < _HEAD.size or value[:3] != _MAGIC + bytes([_VERSION]):
        raise ArtefactError(
            f"a stored profile begins with {value[:3].hex()}, and this Headwater reads {_MAGIC.hex()}{_VERSION:02x}; "
            "run the Headwater that wrote it, or delete the user's key"
        )
    _, _, forgotten_at, n = _HEAD.unpack_from(value)
    if len(value) != _HEAD.size + 17 * n:
        raise ArtefactError(f"a stored profile of {n} events has {len(value)} bytes, not {_HEAD.size + 17 * n}")
    at = _HEAD.size
    return forgotten_at, History(
        np.frombuffer(value, "<i8", n, at),
        np.frombuffer(value, "<i8", n, at + 8 * n),
        np.frombuffer(value, "<i1", n, at + 16 * n),
    )
