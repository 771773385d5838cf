"""Users' states as Flink keeps them, and the store that follows them: what the keyed function of the job does.

Flink holds the truth: one value of bytes for each user, with the whole state in it. When it recovers it goes back to an
older one, while the store stays ahead. So what is written is never "what this record changed" but the difference
between what the store has and what the state says: a value carries the epoch under which the store was last known to
have followed it, and where that is not the present one, the user's state is read from the store first. After a
recovery, a rescaling, or a `forget` beside the job, the epoch is another, and all of this heals by itself.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence

from headwater.errors import StoreAway, StoreFull
from headwater.nearline import operator
from headwater.nearline.columns import RecordColumns
from headwater.nearline.policy import Policy
from headwater.nearline.state import UserState, decode, encode
from headwater.nearline.stored import FORGOTTEN, MARKS, Reader, writes
from headwater.store.base import Put, Store

logger = logging.getLogger(__name__)

EPOCH_BYTES = 8
"""A value is the epoch, and then the state as `state.encode` writes it."""

PENDING_USERS = 1_000
"""Users whose writes wait at most; the next one has them written."""


class Updates:
    """Takes records into users' values, and has the store follow.

    Writes are gathered: `take_in` returns a user's new value at once, and `flush` makes the store follow all of them in
    one atomic step. Between the two the caller holds a promise for each user, which must be as durable as the value: a
    timer. Where it fires in a process that knows nothing of that user, `settle` does what was left undone.

    Parameters
    ----------
    store : Store
    policy : Policy
    patience_seconds : float
        How long `flush` tries a store again that is away or full, before it raises.
    pause : callable
        Waits so many seconds.
    """

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        patience_seconds: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._policy = policy
        self._patience_seconds = patience_seconds
        self._pause = pause
        self._reader = Reader(store)
        self._pending: dict[int, tuple[UserState, UserState]] = {}
        self._promises: set[tuple[int, int]] = set()
        self._epoch = b""
        self._mark: bytes | None = None
        self._begin()

    def take_in(self, user: int, value: bytes | None, records: RecordColumns, due: int) -> bytes:
        """The user's value after some records of that user; the caller keeps it, and a timer at `due` with it.

        Raises
        ------
        ArtefactError
            The value was written by another version of Headwater, and is named by it.
        StoreError
            The store had to be asked or written, and cannot be.
        """
        stored, state = self._known(user, value)
        operator.take_in({user: state}, records, self._policy)
        self._pending[user] = stored, state
        self._promises.add((user, due))
        raw = self._epoch + encode(state)
        if len(self._pending) >= PENDING_USERS:
            self.flush()
        return raw

    def settle(self, user: int, value: bytes | None, due: int) -> bytes | None:
        """A timer came due: the store follows. Returns the user's value where it is another now, else None."""
        changed = None
        if (user, due) in self._promises:
            self._promises.discard((user, due))
        elif value is not None:
            # Another process made the promise. Whether it kept it, nobody can say.
            stored, state = self._known(user, value)
            self._pending[user] = stored, state
            changed = self._epoch + encode(state)
        self.flush()
        return changed

    def flush(self) -> None:
        """Make the store follow all values that were given out.

        Raises `StoreAway` or `StoreFull` where the store stays so; nothing is lost by trying again.
        """
        waited = 0.0
        while self._pending:
            try:
                if self._write():
                    self._pending.clear()
                else:
                    logger.info("states were changed beside the job: they are compared with the store again")
                    self._compare_again()
            except (StoreAway, StoreFull) as error:
                if waited >= self._patience_seconds:
                    raise
                logger.error("the write is tried again in 1 s: %s", error)
                self._pause(1.0)
                waited += 1.0

    # -- what the store has

    def _known(self, user: int, value: bytes | None) -> tuple[UserState, UserState]:
        """What the store has of a user, and the user's state, to be changed."""
        if user in self._pending:
            return self._pending[user]
        if value is not None and value[:EPOCH_BYTES] == self._epoch:
            state = decode(value[EPOCH_BYTES:])
            return state.copy(), state
        states, stored = self._reader.read([user])
        if value is None:  # a job without a past goes on from where the store is
            return stored[user], states[user]
        state = decode(value[EPOCH_BYTES:])
        _adopt(state, stored[user])
        return stored[user], state

    def _compare_again(self) -> None:
        self._begin()
        _, stored = self._reader.read(self._pending)
        for user, (_, state) in self._pending.items():
            _adopt(state, stored[user])
        self._pending = {user: (stored[user], state) for user, (_, state) in self._pending.items()}

    def _begin(self) -> None:
        (self._mark,) = self._store.get_many(MARKS, [FORGOTTEN])
        self._epoch = os.urandom(EPOCH_BYTES)

    def _write(self) -> bool:
        """Write what waits; False, and nothing written, where states were changed beside the job."""
        stored = {user: pair[0] for user, pair in self._pending.items()}
        puts = writes(stored, {user: pair[1] for user, pair in self._pending.items()}, self._policy)
        is_foreign = False

        def change(found: list[bytes | None]) -> Sequence[Put]:
            nonlocal is_foreign
            is_foreign = found[0] != self._mark
            return [] if is_foreign else puts

        self._store.update_many([(MARKS, FORGOTTEN)], change)
        return not is_foreign


def _adopt(state: UserState, stored: UserState) -> None:
    """Forget what the store forgot; lists that both sides have become the same objects, and are not written."""
    if stored.forgotten_at > state.forgotten_at:
        operator.forget_until(state, stored.forgotten_at)
    for scenario, queue in stored.queues.items():
        own = {(visit.request_id, visit.content_hash): visit for visit in state.queues.get(scenario, [])}
        # What the store has lost of a list is written again.
        queue[:] = [own.get((one.request_id, one.content_hash), one) if one.content else one for one in queue]
