"""The stream process on one machine: reads a source, applies the operator, writes the store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from headwater.errors import SchemaError, StoreError, TornValue
from headwater.nearline import candidates, operator
from headwater.nearline.deadletter import DeadLetter, to_put
from headwater.nearline.policy import Policy
from headwater.nearline.ranklog import MAX_LINE, Record, Visit, decode_line
from headwater.nearline.sources import Line, Position, Source
from headwater.store.base import Put, Store, key_bytes

logger = logging.getLogger(__name__)

STATES = "nearline-state"
"""Namespace of users' states, by user key."""

CANDIDATES = "nearline"
"""Namespace of users' candidates, by user key."""

POSITIONS = "nearline-position"
"""Namespace of how far each stream has read, by the stream's name."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a stream has done since it was started.

    Attributes
    ----------
    records : int
        Taken in; dead letters apart.
    dead_letters : int
    pending_bytes : int
        Unread bytes of the source at the last poll.
    lag_seconds : float
        While records wait: the age of the newest one taken in. 0 where nothing waits.
    torn_states : int
        States that failed their checksum and were begun anew.
    failures : int
        Batches that the store refused and that were tried again.
    """

    records: int = 0
    dead_letters: int = 0
    pending_bytes: int = 0
    lag_seconds: float = 0.0
    torn_states: int = 0
    failures: int = 0


class Stream:
    """Moves rank logs into candidates, a batch at a time.

    States, candidates, dead letters and the new position of a batch are one atomic write. A crash at any
    instant repeats the batch or does not; both end in the same bytes, for the operator takes a repeated record
    as none.

    Parameters
    ----------
    source : Source
    store : Store
    policy : Policy
    name : str
        Under which the position is kept. Another name reads the source from its beginning.
    batch : int
        Records of one batch at most.
    clock : callable
        Unix seconds; for the status only.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        policy: Policy,
        *,
        name: str = "stream",
        batch: int = 256,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._store = store
        self._policy = policy
        self._name = name.encode()
        self._batch = batch
        self._clock = clock
        self._records = self._dead_letters = self._pending_bytes = self._torn_states = self._failures = 0
        self._newest_append = 0.0

    def run_once(self) -> int:
        """Take in one batch; returns how many lines were read, 0 where there was nothing new.

        Raises
        ------
        StoreError
            The store is away or full. Nothing of the batch was written; calling again repeats it.
        ArtefactError
            A state was written by another version of Headwater.
        """
        position = self._position()
        polled = self._source.poll(position, self._batch)
        self._pending_bytes = polled.pending_bytes
        if polled.position == position:
            return 0
        by_user, letters = self._sort_out(polled.lines)
        keys = [key_bytes(user) for user in by_user]
        rest = [*map(to_put, letters), Put(POSITIONS, self._name, msgspec.json.encode(polled.position))]
        read = self._states(keys)
        written = self._advanced(by_user, read)

        def change(states: list[bytes | None]) -> Sequence[Put]:
            # Computed above, outside the store's lock, unless somebody (a `forget`) changed a state since.
            return [*(written if states == read else self._advanced(by_user, states)), *rest]

        self._store.update_many([(STATES, key) for key in keys], change)
        self._dead_letters += len(letters)
        self._records += len(polled.lines) - len(letters)
        self._newest_append = max((line.appended for line in polled.lines), default=self._newest_append)
        return len(polled.lines)

    def run(self, stop: threading.Event, *, poll_seconds: float = 0.02, retry_seconds: float = 1.0) -> None:
        """Take in batches until `stop` is set. A store that is away or full is logged, counted and tried again."""
        while not stop.is_set():
            try:
                if not self.run_once():
                    stop.wait(poll_seconds)
            except (StoreError, OSError) as error:
                self._failures += 1
                logger.error("the batch is tried again in %g s: %s", retry_seconds, error)
                stop.wait(retry_seconds)

    def status(self) -> Status:
        """What was done since the start."""
        lag = max(self._clock() - self._newest_append, 0.0) if self._pending_bytes and self._newest_append else 0.0
        return Status(self._records, self._dead_letters, self._pending_bytes, lag, self._torn_states, self._failures)

    def _position(self) -> Position:
        (raw,) = self._store.get_many(POSITIONS, [self._name])
        return {} if raw is None else msgspec.json.decode(raw, type=dict[str, int])

    def _sort_out(self, lines: list[Line]) -> tuple[dict[int, list[Record]], list[DeadLetter]]:
        by_user: dict[int, list[Record]] = {}
        letters: list[DeadLetter] = []
        for line in lines:
            try:
                record = self._read(line)
            except SchemaError as error:
                letters.append(DeadLetter.of(line, str(error)))
                logger.warning("%s, byte %d: refused: %s", line.part, line.offset, error)
            else:
                by_user.setdefault(record.user, []).append(record)
        return by_user, letters

    def _read(self, line: Line) -> Record:
        if line.length > MAX_LINE:
            raise SchemaError(f"the line has {line.length} bytes; at most {MAX_LINE} are read")
        record = decode_line(line.raw, appended=line.appended)
        if isinstance(record, Visit) and self._policy.queues(record) and not self._policy.truncation(record.scenario):
            raise SchemaError(
                f"unknown scenario {record.scenario!r}; the policy names {', '.join(sorted(self._policy.truncate))}: "
                "add it to `truncate`, or set `truncate_other` above 0"
            )
        return record

    def _states(self, keys: list[bytes]) -> list[bytes | None]:
        try:
            return self._store.get_many(STATES, keys)
        except TornValue:
            return [self._state(key) for key in keys]

    def _state(self, key: bytes) -> bytes | None:
        try:
            return self._store.get_many(STATES, [key])[0]
        except TornValue as error:
            # One user's queue begins anew; the stream and all other users go on.
            self._torn_states += 1
            logger.error("state lost: %s", error)
            self._store.delete_many(STATES, [key])
            return None

    def _advanced(self, by_user: dict[int, list[Record]], states: list[bytes | None]) -> list[Put]:
        puts: list[Put] = []
        for (user, records), state in zip(by_user.items(), states, strict=True):
            key = key_bytes(user)
            after = operator.apply_all(state, records, self._policy)
            found = candidates.encode(operator.candidates(after, self._policy))
            puts += [Put(STATES, key, after), Put(CANDIDATES, key, found, ttl=self._policy.max_age_seconds)]
        return puts


def forget(store: Store, user_key: int, *, at: int) -> None:
    """Remove a user's queues and candidates, and never take in a record up to time `at`, Unix seconds, again.

    What stays is the key with that time, so that a replayed log does not bring the user back. Safe
    beside a running stream.
    """
    key = key_bytes(user_key)
    try:
        store.update(STATES, key, lambda state: operator.forget(state, at))
    except TornValue:  # nothing of it can be read, so nothing of it can be kept
        store.put_many([Put(STATES, key, operator.forget(None, at))])
    # After the state: a batch of the stream that read the old one is computed again, from the forgotten one.
    store.delete_many(CANDIDATES, [key])
