"""The stream process on one machine: reads a source, applies the operator, writes the store."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import msgspec
import numpy as np

from headwater.errors import StoreError, TornValue
from headwater.nearline import scenarios
from headwater.nearline.columns import RecordColumns
from headwater.nearline.deadletter import to_put
from headwater.nearline.intake import sort_out
from headwater.nearline.policy import Policy, PolicyFile
from headwater.nearline.resident import Residents
from headwater.nearline.sources.base import Source
from headwater.nearline.state import UserState, decode, encode
from headwater.nearline.stored import (
    CANDIDATES,
    FORGOTTEN,
    MARKS,
    POSITIONS,
    STATES,
    forget_writes,
)
from headwater.store.base import Put, Store, key_bytes

logger = logging.getLogger(__name__)


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
        States, or visits of states, that failed their checksum and were begun anew.
    failures : int
        Batches that the store refused and that were tried again.
    users, memory_bytes : int
        Whose states are held in memory, and about how much they take there.
    policy_fault : str
        Why a changed policy file is not used; empty where nothing is wrong.
    """

    records: int = 0
    dead_letters: int = 0
    pending_bytes: int = 0
    lag_seconds: float = 0.0
    torn_states: int = 0
    failures: int = 0
    users: int = 0
    memory_bytes: int = 0
    policy_fault: str = ""


@dataclass(frozen=True, slots=True)
class _Done:
    """What counts when a poll's records are durable."""

    position: dict[str, int]
    value: bytes
    records: int
    dead_letters: int
    newest_append: float


class Stream:
    """Moves rank logs into candidates, a batch at a time.

    States, candidates, dead letters and the new position of a batch are one atomic write. A crash at any
    instant repeats the batch or does not; both end in the same bytes, for the operator takes a repeated record
    as none. States are held in memory as well, so that a visit costs the store no reading; where another process
    changed them (`forget`, a second stream), the write is not made, and the batch begins again from the store.
    While `run` has more to read, it works the next batch out during a write; the writes stay one after another.

    Parameters
    ----------
    source : Source
    store : Store
    policy : Policy or PolicyFile
        A file is looked at before each batch. Candidates follow a changed policy as their users' next records come.
    name : str
        Under which the position is kept. Another name reads the source from its beginning.
    batch : int
        Records of one write at most. There are never more than two batches in memory, one that is being written and
        the next, which is worked out meanwhile: a source that is faster than the store waits.
    partition : (int, int)
        ``(i, n)``: take in the records of the i-th of n parts of the users only. n processes with i = 0..n - 1 share
        the work; each reads the whole log. Another n begins the log anew, which changes nothing but takes time.
    memory_bytes : int
        About how much of the states may be held in memory; beyond it they are read from the store again.
    clock : callable
        Unix seconds; for the status only.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        policy: Policy | PolicyFile,
        *,
        name: str = "stream",
        batch: int = 8_000,
        partition: tuple[int, int] = (0, 1),
        memory_bytes: int = 4 << 30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        index, n = partition
        if not 0 <= index < n:
            raise ValueError(f"partition must be (i, n) with 0 <= i < n, not {partition}")
        self._source = source
        self._store = store
        self._policy = policy
        self._batch = batch
        self._partition = partition
        self._clock = clock
        self._name = name.encode() if n == 1 else f"{name}.{index}of{n}".encode()
        self._writer = f"writer.{index}of{n}".encode()
        self._token = os.urandom(8)
        self._states = Residents(store, memory_bytes)
        self._days: dict[str, int] = {}
        self._expected: list[bytes | None] | None = None
        self._position: dict[str, int] = {}
        self._writer_thread = ThreadPoolExecutor(1, f"{name} writes")
        self._writing: tuple[Future[bool], _Done | None] | None = None
        self._records = self._dead_letters = self._pending_bytes = self._failures = 0
        self._newest_append = 0.0

    def run_once(self) -> int:
        """Take in what one poll gives; returns how many records it gave, 0 where there was nothing new.

        Raises
        ------
        StoreError
            The store is away or full. Nothing of a batch was written; calling again repeats it.
        ArtefactError
            A state was written by another version of Headwater.
        """
        return self._guarded(self._settle)

    def run(self, stop: threading.Event, *, poll_seconds: float = 0.02, retry_seconds: float = 1.0) -> None:
        """Take in batches until `stop` is set. A store that is away or full is logged, counted and tried again."""
        while not stop.is_set():
            try:
                if not self._guarded(self._settle_unless_more_waits):
                    stop.wait(poll_seconds)
            except (StoreError, OSError) as error:
                self._failures += 1
                logger.error("the batch is tried again in %g s: %s", retry_seconds, error)
                stop.wait(retry_seconds)
        try:
            self._settle()
        except (StoreError, OSError):  # what was not written comes again
            self._let_go()

    def status(self) -> Status:
        """What was done since the start."""
        lag = max(self._clock() - self._newest_append, 0.0) if self._pending_bytes and self._newest_append else 0.0
        return Status(
            records=self._records,
            dead_letters=self._dead_letters,
            pending_bytes=self._pending_bytes,
            lag_seconds=lag,
            torn_states=self._states.torn,
            failures=self._failures,
            users=len(self._states),
            memory_bytes=self._states.size,
            policy_fault=self._policy.fault if isinstance(self._policy, PolicyFile) else "",
        )

    # -- a batch

    def _guarded(self, settle: Callable[[], object]) -> int:
        """A step, and what is to be waited for after it; returns what the step does."""
        try:
            with _no_collection():
                records = self._step()
                settle()
                return records
        except BaseException:
            # The states in memory are ahead of the store.
            self._let_go()
            raise

    def _step(self) -> int:
        """Work one poll's records out, and begin to write them."""
        policy = self._policy.current() if isinstance(self._policy, PolicyFile) else self._policy
        if self._expected is None:
            self._begin()
        polled = self._source.poll(self._position, self._batch)
        self._pending_bytes = polled.pending_bytes
        if polled.position == self._position:
            return 0
        parts, letters = sort_out(polled, policy, self._partition)
        # A source may give far more than was asked for, in one Arrow batch. All writes but the last leave the
        # position, so that a crash between them repeats all of it, which changes nothing.
        chunks = [part.take(np.arange(at, min(at + self._batch, len(part)))) for part in parts
                  for at in range(0, len(part), self._batch)]  # fmt: skip
        appended = [row.appended for row in (*polled.lines, *polled.blocks)]
        done = _Done(
            polled.position,
            msgspec.json.encode(polled.position),
            sum(map(len, parts)),
            len(letters),
            max(appended, default=self._newest_append),
        )
        groups = _grouped(chunks, self._batch)
        for group in groups[:-1]:
            if not self._take_in(group, policy, [], None):
                return 1
        rest = [*map(to_put, letters), Put(POSITIONS, self._name, done.value)]
        if self._take_in(groups[-1], policy, rest, done):
            self._position = polled.position
        return max(polled.records, 1)

    def _take_in(self, parts: Sequence[RecordColumns], policy: Policy, rest: Sequence[Put], done: _Done | None) -> bool:
        """Work one batch out while the one before is written, and begin to write it when that is done.

        False where the store was changed by somebody else, and nothing of this or the one before was written.
        """
        puts = self._states.take_in(parts, policy)
        days: dict[str, int] = {}
        for columns in parts:
            for name, day in scenarios.days_of_records(columns, policy).items():
                if day > max(self._days.get(name, -1), days.get(name, -1)):
                    days[name] = day
        if not self._settle():
            return False
        self._days.update(days)
        expected = self._expected
        keys = [(POSITIONS, self._name), (MARKS, self._writer), (MARKS, FORGOTTEN)]
        if days:  # another partition may have changed the list: it is read and written in the same step
            keys.append((scenarios.SCENARIOS, scenarios.NEWEST))
        is_foreign = False

        def change(found: list[bytes | None]) -> Sequence[Put]:
            nonlocal is_foreign
            is_foreign = found[:3] != expected
            if is_foreign:
                return []
            return [*puts, *rest, *(scenarios.put(found[3], days, policy) if days else ())]

        def write() -> bool:
            self._store.update_many(keys, change)
            return not is_foreign

        self._writing = self._writer_thread.submit(write), done
        if self._states.is_full:  # what is let go of must be in the store
            if not self._settle():
                return False
            self._states.trim()
        return True

    def _settle(self) -> bool:
        """Wait until what is being written is durable; False where it was not written, and all begins again."""
        if self._writing is None:
            return True
        (future, done), self._writing = self._writing, None
        if not future.result():
            logger.info("states were changed beside the stream: they are read again")
            self._let_go()
            return False
        if done is not None:
            self._count(done)
            self._source.commit(done.position)
        return True

    def _settle_unless_more_waits(self) -> None:
        if not self._pending_bytes:
            self._settle()

    def _count(self, done: _Done) -> None:
        if self._expected is not None:
            self._expected[0] = done.value
        self._dead_letters += done.dead_letters
        self._records += done.records
        self._newest_append = done.newest_append

    # -- what the store has

    def _begin(self) -> None:
        """Become the one writer of these users' states; whoever was it before finds out at its next write."""
        self._store.put_many([Put(MARKS, self._writer, self._token)])
        (position,) = self._store.get_many(POSITIONS, [self._name])
        self._days = scenarios.read(self._store, mends=True)
        self._expected = [position, *self._store.get_many(MARKS, [self._writer, FORGOTTEN])]
        self._position = {} if position is None else msgspec.json.decode(position, type=dict[str, int])

    def _let_go(self) -> None:
        if self._writing is not None:
            (future, done), self._writing = self._writing, None
            with suppress(StoreError, OSError):
                if future.result() and done is not None:
                    self._count(done)
        self._states.drop()
        self._expected = None


def _grouped(parts: Sequence[RecordColumns], limit: int) -> list[list[RecordColumns]]:
    """The parts in order, in groups of at most `limit` records, or of one part; one group at least."""
    groups: list[list[RecordColumns]] = [[]]
    room = limit
    for part in parts:
        if groups[-1] and len(part) > room:
            groups.append([])
            room = limit
        groups[-1].append(part)
        room -= len(part)
    return groups


@contextmanager
def _no_collection() -> Generator[None]:
    """Keep the collector of cycles still: a batch makes none, and a collection walks the states of all users."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def forget(store: Store, user_key: int, *, at: int) -> None:
    """Remove a user's queues and candidates, and never take in a record up to time `at`, Unix seconds, again.

    What stays is the key with that time, so that a replayed log does not bring the user back. Safe beside running
    streams: one that has the state in memory notices before its next write. Visits later than `at` stay queued;
    their candidates come back with the next visit of that scenario.
    """
    key = key_bytes(user_key)

    def change(found: list[bytes | None]) -> list[Put]:
        state = None if found[0] is None else decode(found[0])
        count = int.from_bytes(found[1] or b"", "big") + 1
        return [*forget_writes(user_key, state, at), Put(MARKS, FORGOTTEN, count.to_bytes(8, "big"))]

    keys = [(STATES, key), (MARKS, FORGOTTEN)]
    try:
        store.update_many(keys, change)
    except TornValue:
        # Nothing of it can be read, so nothing of it can be kept, and what belongs to it must be looked for.
        store.delete_many(CANDIDATES, [other for other, _ in store.scan(CANDIDATES, key)])
        nobody = encode(UserState(forgotten_at=at), with_contents=False)
        store.put_many([Put(STATES, key, nobody), Put(MARKS, FORGOTTEN, os.urandom(8))])
