"""Nearline without a stream: all users' candidates as of a time, computed from the log in one go.

The paper's ablations are this with one policy or another: *batch mode* (table 2) is run once a day with the last
midnight as its time; *Glare* (table 1) is the same with `Policy.glare`, which has the target's own log alone. A
backfill, after a store was lost or to look at the past, is this too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from headwater.errors import SchemaError, StoreError, TornValue
from headwater.nearline import operator, scenarios
from headwater.nearline.candidates import NearlineCandidates, decode
from headwater.nearline.columns import Decoded, RecordColumns, decode_lines
from headwater.nearline.deadletter import DeadLetter
from headwater.nearline.policy import Policy
from headwater.nearline.records import MAX_LINE
from headwater.nearline.sources.base import Batch, Position, Source
from headwater.nearline.state import NEVER, UserState
from headwater.nearline.stored import CANDIDATES, FORGOTTEN, MARKS, POSITIONS, STATES, Reader, candidates_key, writes
from headwater.store.base import Put, Store, key_bytes

DAY = 86_400

_POLL_RECORDS = 2_000
_USERS_AT_ONCE = 200
_KEPT_LETTERS = 100


def last_midnight(now: float) -> int:
    """The second before the day of `now` began, Unix time (UTC): what a daily batch knows until the next one."""
    return int(now) // DAY * DAY - 1


@dataclass(slots=True)
class Backfill:
    """What a log says of all users as of a time.

    Attributes
    ----------
    states : dict of user key to UserState
    records : int
        Taken in.
    outside : int
        Records later than that time, or before the beginning that was asked for.
    refused : int
        Records, or stretches of the log, that could not be read.
    letters : list of DeadLetter
        The first 100 of those, each with place and reason.
    """

    states: dict[int, UserState] = field(default_factory=dict[int, UserState])
    records: int = 0
    outside: int = 0
    refused: int = 0
    letters: list[DeadLetter] = field(default_factory=list[DeadLetter])


def backfill(
    source: Source,
    policy: Policy,
    *,
    until: int,
    since: int = 0,
    told: Callable[[Backfill, int], None] | None = None,
) -> Backfill:
    """Read a whole log and apply the operator to the records from `since` to `until`, both included, by their times.

    All states are in memory together: about 33 KB for each user and scenario with a full queue of 500 items.

    Parameters
    ----------
    source : Source
        Read from its beginning to where it ends now.
    policy : Policy
    until, since : int
        Unix seconds.
    told : callable, optional
        Called with what there is so far, and the bytes that wait.

    Raises
    ------
    StoreError, OSError
        The log cannot be reached.
    """
    done = Backfill()

    def parts() -> Iterator[RecordColumns]:
        position: Position = {}
        while (polled := source.poll(position, _POLL_RECORDS)).position != position:
            position = polled.position
            for columns in _decoded(polled, done):
                rows = np.flatnonzero((columns.timestamps >= since) & (columns.timestamps <= until))
                done.records += len(rows)
                done.outside += len(columns) - len(rows)
                yield columns.take(rows)
            if told is not None:
                told(done, polled.pending_bytes)

    done.states = operator.as_of(parts(), until, policy)
    return done


def write_store(states: Mapping[int, UserState], store: Store, policy: Policy, *, overwrite: bool = False) -> int:
    """Make a store hold these users and no others; returns how many have candidates.

    A user is replaced in one step, so that a service may read meanwhile. Users who were forgotten stay forgotten.

    Parameters
    ----------
    states : dict of user key to UserState
    store : Store
    policy : Policy
    overwrite : bool
        Also where a stream keeps its state in the store. The stream's position goes with it: with its next record, or
        when it is started, it takes in its log from the beginning, and is at the present again.

    Raises
    ------
    StoreError
        A stream keeps its state there and `overwrite` is not set, or the store is away or full.
    """
    streams = live_streams(store, overwrite=overwrite)
    present = {int.from_bytes(key, "big") - (1 << 63) for key, _ in _scanned(store)}
    # A stream that runs lets go of what it has in memory when it finds the mark changed.
    store.put_many([*(Put(POSITIONS, key, None) for key in streams), Put(MARKS, FORGOTTEN, os.urandom(8))])
    users = sorted(present | states.keys())
    n_served = 0
    for at in range(0, len(users), _USERS_AT_ONCE):
        n_served += _replace(users[at : at + _USERS_AT_ONCE], states, store, policy)
    listed = scenarios.put(None, scenarios.days_of_states(states.values()), policy)
    store.put_many([*listed, Put(MARKS, FORGOTTEN, os.urandom(8))])
    return n_served


def live_streams(store: Store, *, overwrite: bool = False) -> list[bytes]:
    """The keys under which streams keep their positions in a store.

    Raises `StoreError` where there are any and `overwrite` is not set: ask before a long log is read for nothing.
    """
    streams = [key for key, _ in store.scan(POSITIONS)]
    if streams and not overwrite:
        names = ", ".join(repr(key.decode(errors="replace")) for key in streams)
        raise StoreError(
            f"the store holds the state of a live stream ({names}); write to another store or to a file, or say "
            "--overwrite (overwrite=True) to lose what the stream knows until it has read its log again"
        )
    return streams


def write_file(states: Mapping[int, UserState], path: Path, policy: Policy, *, until: int) -> int:
    """Write the candidates as JSON Lines, one for each user and scenario; returns how many lines.

    Each has `user`, `scenario`, `as_of`, and by columns, best first: `items`, `scores`, `ranks`, `times` and
    `request_ids` of the visits. The file is there whole or not at all.

    Raises `StoreError` where it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    lines = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            for user in sorted(states):
                for scenario, found in stored_of(states[user], policy).items():
                    file.write(msgspec.json.encode(_line(user, scenario, until, found)) + b"\n")
                    lines += 1
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StoreError(f"{path}: the candidates cannot be written: {error}") from error
    return lines


def stored_of(state: UserState, policy: Policy) -> dict[str, NearlineCandidates]:
    """The candidates of each scenario of one user, by scenario."""
    names = sorted(state.queues)
    values = operator.stored_candidates([(name, state.queues[name], state.acted_items) for name in names], policy)
    return {name: decode(value) for name, value in zip(names, values, strict=True)}


def _decoded(polled: Batch, done: Backfill) -> Iterator[RecordColumns]:
    """What a poll gave, by columns; what cannot be read is counted."""
    letters: list[DeadLetter] = []
    whole = [line for line in polled.lines if not line.fault and line.length <= MAX_LINE]
    letters += [
        DeadLetter.of(line, line.fault or f"the line has {line.length} bytes; at most {MAX_LINE} are read")
        for line in polled.lines
        if line.fault or line.length > MAX_LINE
    ]
    found: list[Decoded] = []
    if whole:
        decoded = decode_lines([line.raw for line in whole], [line.appended for line in whole])
        letters += [DeadLetter.of(whole[row], reason) for row, reason in decoded.refused]
        found.append(decoded)
    for block in polled.blocks:
        from headwater.nearline.arrow import decode_block  # pyarrow, which a log of JSON does not need

        try:
            decoded = decode_block(block)
        except SchemaError as error:
            letters.append(DeadLetter.of_row(block, None, str(error)))
            continue
        letters += [DeadLetter.of_row(block, row, reason) for row, reason in decoded.refused]
        found.append(decoded)
    done.refused += len(letters)
    letters.sort(key=lambda letter: (letter.part, letter.offset, letter.row or 0))
    done.letters += letters[: _KEPT_LETTERS - len(done.letters)]
    yield from (decoded.columns for decoded in found)


def _scanned(store: Store) -> Iterator[tuple[bytes, bytes]]:
    try:
        yield from store.scan(STATES)
    except TornValue as error:
        raise StoreError(f"the store cannot be replaced user by user: {error} Write to another store.") from error


def _replace(users: list[int], states: Mapping[int, UserState], store: Store, policy: Policy) -> int:
    keys = [(STATES, key_bytes(user)) for user in users]
    while True:
        before = store.get_many(STATES, [key for _, key in keys])
        _, stored = Reader(store).read(users)
        new: dict[int, UserState] = {}
        for user in users:
            new[user] = states[user].copy() if user in states else UserState()
            if stored[user].forgotten_at != NEVER:
                operator.forget_until(new[user], stored[user].forgotten_at)
        puts = [_unless_nothing(put, new) for put in writes(stored, new, policy)]
        # The policy may be another one than the stored candidates were made by, although the state is the same.
        queues = [(user, name, queue) for user in users for name, queue in new[user].queues.items()]
        values = operator.stored_candidates(
            [(name, queue, new[user].acted_items) for user, name, queue in queues], policy
        )
        puts += [
            Put(CANDIDATES, candidates_key(user, name), value, policy.max_age_seconds)
            for (user, name, _), value in zip(queues, values, strict=True)
        ]
        is_changed = False

        def change(found: list[bytes | None], before: list[bytes | None] = before, puts: list[Put] = puts) -> list[Put]:
            nonlocal is_changed
            is_changed = found != before
            return [] if is_changed else [*puts, Put(MARKS, FORGOTTEN, os.urandom(8))]

        store.update_many(keys, change)
        if not is_changed:
            return sum(bool(state.queues) for state in new.values())


def _unless_nothing(put: Put, states: Mapping[int, UserState]) -> Put:
    """The write, or the removal of a state that says nothing."""
    if put.namespace == STATES:
        state = states[int.from_bytes(put.key, "big") - (1 << 63)]
        if state.newest == NEVER and state.forgotten_at == NEVER:
            return Put(STATES, put.key, None)
    return put


def _line(user: int, scenario: str, until: int, found: NearlineCandidates) -> dict[str, object]:
    return {
        "user": user,
        "scenario": scenario,
        "as_of": until,
        "items": found.items.tolist(),
        "scores": found.scores.tolist(),
        "ranks": found.ranks.tolist(),
        "times": found.timestamps[found.visits].tolist(),
        "request_ids": [found.request_ids[visit] for visit in found.visits.tolist()],
    }
