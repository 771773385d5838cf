"""How states and candidates lie in a store, so that a visit writes itself and what follows from it, and nothing else.

=================== ============================================= =================================================
namespace           key                                           value
=================== ============================================= =================================================
nearline            user key, scenario                            its candidates (`candidates.decode`)
nearline            user key, 0xff, xxh3 of scenario, request id  the content of a queued visit
nearline-state      user key                                      the state without contents (`state.decode`)
nearline-scenario   `scenarios.NEWEST`                            the scenarios that readers ask for
nearline-position   name of a stream                              how far it has read
nearline-mark       see `FORGOTTEN`                               changed where states were changed beside the stream
=================== ============================================= =================================================

A user's candidates and contents are neighbours, for a store writes whole pages: what a visit changes of them stands on
one or two.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import xxhash

from headwater.errors import TornValue
from headwater.nearline import operator
from headwater.nearline.policy import Policy
from headwater.nearline.state import QueuedVisit, UserState, decode, encode
from headwater.store.base import Put, Store, key_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

CANDIDATES = VISITS = "nearline"
STATES = "nearline-state"
POSITIONS = "nearline-position"
MARKS = "nearline-mark"

FORGOTTEN = b"forgotten"
"""The mark that `forget` changes. A stream that finds it changed lets go of the states that it has in memory."""

CONTENT = b"\xff"
"""Stands before the name of a content, where a scenario would begin: it is in no UTF-8."""


def candidates_key(user_key: int, scenario: str) -> bytes:
    """Key of one scenario's candidates of one user in `CANDIDATES`."""
    return key_bytes(user_key) + scenario.encode()


def visit_key(user_key: int, scenario: str, request_id: str) -> bytes:
    """Key of a queued visit's content in `VISITS`."""
    return key_bytes(user_key) + CONTENT + visit_digest(scenario, request_id)


def visit_digest(scenario: str, request_id: str) -> bytes:
    """8 bytes that tell a queued visit from the user's others."""
    return xxhash.xxh3_64_digest(f"{scenario}\0{request_id}".encode())


def is_content(key: bytes) -> bool:
    """Whether a key of `VISITS` is a content's, and not that of candidates."""
    return key[8:9] == CONTENT


class Reader:
    """Reads users' states from the store, with what was torn counted and left out.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.torn = 0
        """Stored values that failed their checksum, or did not fit their state, and were left out."""

    def read(self, users: Iterable[int]) -> tuple[dict[int, UserState], dict[int, UserState]]:
        """Users' states, to be changed, and what the store has of each, to compare them with afterwards.

        Both are equal, but for a state of an older version, and for one of which something is lost.
        """
        states: dict[int, UserState] = {}
        stored: dict[int, UserState] = {}
        if found := list(users):
            self._read(found, states, stored)
        return states, stored

    def _read(self, users: Sequence[int], states: dict[int, UserState], stored: dict[int, UserState]) -> None:
        raws = self._values(STATES, [key_bytes(user) for user in users])
        wanted: list[tuple[list[QueuedVisit], int]] = []
        keys: list[bytes] = []
        for user, raw in zip(users, raws, strict=True):
            state = UserState() if raw is None else decode(raw)
            states[user] = state
            for scenario, queue in state.queues.items():
                for place, visit in enumerate(queue):
                    if not visit.content:
                        wanted.append((queue, place))
                        keys.append(visit_key(user, scenario, visit.request_id))
            # A state of version 1 has its contents with it: the store has none of them by themselves.
            is_whole = raw is not None and raw[2] == 1
            stored[user] = UserState(-1, -1) if is_whole else state.copy()
        for (queue, place), content in zip(wanted, self._values(VISITS, keys), strict=True):
            if content is None or xxhash.xxh3_64_intdigest(content) != queue[place].content_hash:
                self._count_torn(f"the content of visit {queue[place].request_id!r} is not there or is another's")
            else:
                queue[place] = msgspec.structs.replace(queue[place], content=content)
        for user in users:
            for scenario, queue in states[user].queues.items():
                queue[:] = [visit for visit in queue if visit.content]
                if scenario in stored[user].queues:
                    # Those with content are the same objects on both sides, which makes comparing them cheap.
                    by_id = {visit.request_id: visit for visit in queue}
                    old = stored[user].queues[scenario]
                    old[:] = [by_id.get(visit.request_id, visit) for visit in old]
            operator.drop_empty_queues(states[user])

    def _values(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        try:
            return self._store.get_many(namespace, keys)
        except TornValue:
            return [self._value(namespace, key) for key in keys]

    def _value(self, namespace: str, key: bytes) -> bytes | None:
        try:
            return self._store.get_many(namespace, [key])[0]
        except TornValue as error:
            if namespace == VISITS:  # counted where its visit is found to have none
                logger.error("%s", error)
            else:
                self._count_torn(str(error))
            return None

    def _count_torn(self, what: str) -> None:
        # It costs one user a visit, or the queues; the stream and all other users go on.
        self.torn += 1
        logger.error("a part of a state is lost: %s", what)


def writes(stored: Mapping[int, UserState], states: Mapping[int, UserState], policy: Policy) -> list[Put]:
    """What makes a store that holds the states `stored` hold `states`, and the candidates that follow from them.

    Nothing where nothing changed: the writes are a function of the states alone, so that any batches of one log end
    in the same store.
    """
    ranked: list[bytes] = []
    queues: list[tuple[str, Sequence[QueuedVisit], NDArray[np.int64]]] = []
    heads: list[Put] = []
    contents: list[Put] = []
    gone: list[Put] = []
    for user in sorted(states):
        old, new = stored[user], states[user]
        key = key_bytes(user)
        acts_differ = _differ(old.acted_items, new.acted_items)
        is_changed = acts_differ or _differ(old.acted_times, new.acted_times)
        is_changed = is_changed or old.newest != new.newest or old.forgotten_at != new.forgotten_at
        for scenario, queue in new.queues.items():
            old_queue = old.queues.get(scenario, [])
            if queue != old_queue:
                is_changed = True
                contents += _content_writes(key, scenario, old_queue, queue)
            elif not acts_differ:
                continue
            ranked.append(key + scenario.encode())
            queues.append((scenario, queue, new.acted_items))
        for scenario in old.queues.keys() - new.queues.keys():
            is_changed = True
            contents += _content_writes(key, scenario, old.queues[scenario], [])
            gone.append(Put(CANDIDATES, key + scenario.encode(), None))
        if is_changed:
            heads.append(Put(STATES, key, encode(new, with_contents=False)))
    ttl = policy.max_age_seconds
    found = operator.stored_candidates(queues, policy)
    answers = [Put(CANDIDATES, key, value, ttl) for key, value in zip(ranked, found, strict=True)]
    return [*answers, *gone, *heads, *contents]


def forget_writes(user_key: int, state: UserState | None, at: int) -> list[Put]:
    """What takes a user's records up to time `at` out of a store that holds `state`, contents apart."""
    kept = UserState() if state is None else state.copy()
    operator.forget_until(kept, at)
    key = key_bytes(user_key)
    puts = [Put(STATES, key, encode(kept, with_contents=False))]
    if state is None:
        return puts
    for scenario, queue in state.queues.items():
        puts += _content_writes(key, scenario, queue, kept.queues.get(scenario, []))
        puts.append(Put(CANDIDATES, key + scenario.encode(), None))
    return puts


def _content_writes(key: bytes, scenario: str, old: Sequence[QueuedVisit], new: Sequence[QueuedVisit]) -> list[Put]:
    fresh, lost = new[:1], old[max(len(new) - 1, 0) :]
    if new[1:] != old[: max(len(new) - 1, 0)] or len(lost) > 1 or _is_other_version(lost, new):
        # More has happened than that a newest visit came, and perhaps pushed the oldest out.
        before = {visit.request_id: visit for visit in old}
        after = {visit.request_id: visit for visit in new}
        fresh = [visit for name, visit in after.items() if name not in before or before[name] != visit]
        lost = [visit for name, visit in before.items() if name not in after]
    puts = [Put(VISITS, key + CONTENT + visit_digest(scenario, visit.request_id), visit.content) for visit in fresh]
    puts += [Put(VISITS, key + CONTENT + visit_digest(scenario, visit.request_id), None) for visit in lost]
    return puts


def _is_other_version(lost: Sequence[QueuedVisit], new: Sequence[QueuedVisit]) -> bool:
    return bool(lost and new) and lost[0].request_id == new[0].request_id


def _differ(old: NDArray[np.int64], new: NDArray[np.int64]) -> bool:
    return old is not new and not np.array_equal(old, new)
