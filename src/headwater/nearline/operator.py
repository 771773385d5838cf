"""The nearline operator: (state, record, policy) → state → candidates. Pure: no files, no servers, no clock.

Implements sections 2.1-2.2 of Ma et al., "Simple but Efficient: A Multi-Scenario Nearline Retrieval Framework for
Recommendation on Taobao" (MNR). The state is a function of the *set* of records taken in, to the byte: neither
the order in which they arrive nor how often each one comes changes it. That holds because every part of it keeps
the greatest of a total order: the newest time, the newest act on each item, the N newest visits of a queue.

`apply` and `candidates` work on the bytes of one user's state, as a runtime needs that keeps them for the operator.
`take_in` and `rank` do the same for many users whose states are decoded, without a Python step for each item.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from headwater.data.schema import Behaviour
from headwater.nearline import kernels
from headwater.nearline.candidates import FIFO, RANDOM, SCORE, NearlineCandidates
from headwater.nearline.candidates import encode as encode_candidates
from headwater.nearline.columns import VISIT, RecordColumns
from headwater.nearline.policy import Policy
from headwater.nearline.records import Record
from headwater.nearline.state import NEVER, NO_CATEGORY, QueuedVisit, UserState, decode, encode, pack_contents

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRATEGIES = {"score": SCORE, "fifo": FIFO, "random": RANDOM}
"""`Policy.strategy` as the number that kernels and stored candidates have."""

_QUEUES_AT_ONCE = 32
"""Queues of one kernel call: their contents, about 30 KB each, together stay in a core's cache."""


# -- on bytes


def apply(state: bytes | None, record: Record, policy: Policy) -> bytes:
    """The user's state after one record; `state` is None for a user without one.

    Raises `ArtefactError` where `state` is not what an operator of this or an older version returned.
    """
    return apply_all(state, [record], policy)


def apply_all(state: bytes | None, records: Iterable[Record], policy: Policy) -> bytes:
    """The user's state after several records of that user, decoded and encoded once."""
    current = UserState() if state is None else decode(state)
    columns = RecordColumns.of(records)
    take_in(dict.fromkeys(columns.users.tolist(), current), columns, policy)
    bound(current, policy)  # also where there was no record, for the policy may have changed
    return encode(current)


def forget(state: bytes | None, at: int) -> bytes:
    """The state without any record up to time `at`, Unix seconds, and taking none in from now on."""
    current = UserState() if state is None else decode(state)
    forget_until(current, at)
    return encode(current)


def candidates(state: bytes | None, policy: Policy, scenario: str | None = None) -> NearlineCandidates:
    """The k best of one scenario's queue (eq. 3), by finalScore (eq. 6); or of all queues together.

    Ordered by (α + rank_index)·(β + time_index) ascending, in integers, then by time index, then rank. An item
    on several lists has its best place. Items acted on are left out, then at most `category_cap` of each category
    are taken, then k; ranks still count what was left out. Over all queues the time index counts the visits of
    all scenarios: what `candidates.combine` approximates from the stored k of each.
    """
    current = UserState() if state is None else decode(state)
    pairs = [(name, visit) for name, visit in current.visits() if scenario in (None, name)]
    pairs.sort(key=lambda pair: (pair[1].timestamp, pair[1].request_id, pair[0]), reverse=True)
    queue = [visit for _, visit in pairs]
    (ranked,) = rank([(queue, current.acted_items)], policy)
    return NearlineCandidates(
        strategy=STRATEGIES[policy.strategy],
        alpha=policy.alpha,
        beta=policy.beta,
        items=ranked.items,
        visits=ranked.times,
        ranks=ranked.ranks,
        scenarios=tuple(name for name, _ in pairs),
        request_ids=tuple(visit.request_id for visit in queue),
        timestamps=np.array([visit.timestamp for visit in queue], np.int64),
        content_hashes=np.array([visit.content_hash for visit in queue], np.uint64),
        time_indices=np.arange(len(queue)),
    )


# -- on states


def take_in(states: Mapping[int, UserState], columns: RecordColumns, policy: Policy) -> None:
    """Take records of any users into their states, which are changed.

    Parameters
    ----------
    states : dict of user key to UserState
        Of every user in `columns`.
    columns : RecordColumns
    policy : Policy
    """
    truncations = [policy.truncation(name) if policy.is_source(name) else 0 for name in columns.scenario_names]
    cuts = np.array([*truncations, 0], np.int64)[columns.scenarios]
    queued = np.flatnonzero((columns.behaviours == VISIT) & (cuts > 0))
    starts, stops = columns.offsets[:-1][queued], columns.offsets[1:][queued]
    contents: list[bytes | None] = [None] * len(columns)
    for row, content in zip(
        queued.tolist(), pack_contents(columns.items, columns.categories, starts, stops, cuts[queued]), strict=True
    ):
        contents[row] = content
    names = dict(enumerate(columns.scenario_names))
    acts: dict[int, list[tuple[int, int]]] = {}
    users: list[int] = columns.users.tolist()
    for user, timestamp, behaviour, scenario, request_id, start, content in zip(
        users,
        columns.timestamps.tolist(),
        columns.behaviours.tolist(),
        columns.scenarios.tolist(),
        columns.request_ids,
        columns.offsets.tolist(),
        contents,
        strict=False,  # there is one offset more than records
    ):
        state = states[user]
        if timestamp <= state.forgotten_at:
            continue
        # Every record, an impression and a visit of the target too, tells what time it is for the user.
        if timestamp > state.newest:
            state.newest = timestamp
        if content is not None:
            queue = state.queues.setdefault(names[scenario], [])
            _queue(queue, timestamp, request_id, content, policy.visits)
        elif behaviour > Behaviour.IMPRESSION:
            acts.setdefault(user, []).append((int(columns.items[start]), timestamp))
    for user, of_user in acts.items():
        _act(states[user], np.array(of_user, np.int64))
    for user in set(users):
        bound(states[user], policy)


def as_of(parts: Iterable[RecordColumns], at: int, policy: Policy) -> dict[int, UserState]:
    """Users' states after all records up to time `at`, Unix seconds, in whatever parts and order they come.

    What the paper's batch mode (table 2) has: with `at` the last midnight, it serves yesterday's rankings all day. Also
    what a backfill begins with. `stored.writes` turns the states into what a store holds.
    """
    states: dict[int, UserState] = {}
    for part in parts:
        kept = part.take(np.flatnonzero(part.timestamps <= at))
        users: set[int] = set(kept.users.tolist())
        for user in users:
            states.setdefault(user, UserState())
        take_in(states, kept, policy)
    return states


def bound(state: UserState, policy: Policy) -> None:
    """Drop what is too old or too much."""
    if _is_bounded(state, policy):
        return
    _drop_until(state, state.newest - policy.max_age_seconds - 1)
    excess = len(state.acted_items) - policy.acted_items
    if excess > 0:
        newest = np.lexsort((state.acted_items, state.acted_times))[excess:]
        _keep_acts(state, np.sort(newest))
    for queue in state.queues.values():
        del queue[policy.visits :]
    if sum(map(len, state.queues.values())) > policy.visits_in_all:
        pairs = list(state.visits())
        pairs.sort(key=lambda pair: (pair[1].timestamp, pair[1].request_id, pair[0]))
        for scenario, visit in pairs[: len(pairs) - policy.visits_in_all]:
            state.queues[scenario].remove(visit)
    drop_empty_queues(state)


def _is_bounded(state: UserState, policy: Policy) -> bool:
    """Whether there is nothing to drop, told by a look at each queue's end; of a state with acts it is not told."""
    if len(state.acted_items):
        return False
    total, oldest, most = 0, state.newest - policy.max_age_seconds, policy.visits
    for queue in state.queues.values():
        if not 0 < len(queue) <= most or queue[-1].timestamp < oldest:
            return False
        total += len(queue)
    return total <= policy.visits_in_all


def forget_until(state: UserState, at: int) -> None:
    """Drop every record up to time `at`, Unix seconds, and take none of them in again."""
    state.forgotten_at = at = max(state.forgotten_at, at)
    if state.newest <= at:
        state.newest = NEVER
    _drop_until(state, at)


def drop_empty_queues(state: UserState) -> None:
    """Leave out queues that lost their last visit."""
    if not all(state.queues.values()):
        state.queues = {scenario: queue for scenario, queue in state.queues.items() if queue}


class Ranked(NamedTuple):
    """m candidates of a queue, best first: (m,) int64 item keys, time indices (rows of the queue) and ranks."""

    items: NDArray[np.int64]
    times: NDArray[np.int64]
    ranks: NDArray[np.int64]


def rank(queues: Sequence[tuple[Sequence[QueuedVisit], NDArray[np.int64]]], policy: Policy) -> list[Ranked]:
    """The candidates of each queue, a list of visits newest first, without the user's acted items (ascending)."""
    ranked: list[Ranked] = []
    for at in range(0, len(queues), _QUEUES_AT_ONCE):
        items, times, ranks, sizes = _rank(queues[at : at + _QUEUES_AT_ONCE], policy)
        ranked += [Ranked(items[n, :size], times[n, :size], ranks[n, :size]) for n, size in enumerate(sizes.tolist())]
    return ranked


def stored_candidates(
    queues: Sequence[tuple[str, Sequence[QueuedVisit], NDArray[np.int64]]], policy: Policy
) -> list[bytes]:
    """The bytes to store for each (scenario, its queue, the user's acted items), see `candidates.decode`."""
    strategy, alpha, beta = STRATEGIES[policy.strategy], policy.alpha, policy.beta
    found: list[bytes] = []
    for at in range(0, len(queues), _QUEUES_AT_ONCE):
        chunk = queues[at : at + _QUEUES_AT_ONCE]
        items, times, ranks, sizes = _rank([(queue, acted) for _, queue, acted in chunk], policy)
        is_wide: list[bool] = np.any((items < 0) | (items >= 1 << 32), axis=1).tolist()
        narrow, times, ranks = items.astype("<u4"), times.astype("u1"), ranks.astype("<u2")
        for n, ((scenario, queue, _), size) in enumerate(zip(chunk, sizes.tolist(), strict=True)):
            own = items[n, :size] if is_wide[n] else narrow[n, :size]
            found.append(
                encode_candidates(strategy, alpha, beta, scenario, queue, own, times[n, :size], ranks[n, :size])
            )
    return found


# -- taking records in


def _queue(queue: list[QueuedVisit], timestamp: int, request_id: str, content: bytes, limit: int) -> None:
    if len(queue) >= limit and (timestamp, request_id) < queue[limit - 1].order[:2]:
        return  # older than all that are kept, and not another version of one of them
    queued = QueuedVisit.of(timestamp, request_id, content)
    order = queued.order
    for at, other in enumerate(queue):
        if other.request_id == request_id:
            if order <= other.order:
                return
            del queue[at]
            break
    at = 0
    while at < len(queue) and queue[at].order > order:
        at += 1
    queue.insert(at, queued)
    del queue[limit:]


def _act(state: UserState, acts: NDArray[np.int64]) -> None:
    """Remember (n, 2) items and times; of several acts on one item the newest counts."""
    items = np.concatenate([state.acted_items, acts[:, 0]])
    times = np.concatenate([state.acted_times, acts[:, 1]])
    order = np.lexsort((times, items))
    items, times = items[order], times[order]
    is_last = np.append(items[1:] != items[:-1], True)
    state.acted_items, state.acted_times = items[is_last], times[is_last]


def _drop_until(state: UserState, time: int) -> None:
    """Remove visits and acts up to `time`."""
    if len(state.acted_times) and state.acted_times.min() <= time:
        _keep_acts(state, np.flatnonzero(state.acted_times > time))
    for queue in state.queues.values():
        while queue and queue[-1].timestamp <= time:
            del queue[-1]
    drop_empty_queues(state)


def _keep_acts(state: UserState, kept: NDArray[np.intp]) -> None:
    state.acted_items, state.acted_times = state.acted_items[kept], state.acted_times[kept]


# -- scoring


def _rank(
    queues: Sequence[tuple[Sequence[QueuedVisit], NDArray[np.int64]]], policy: Policy
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(q, k) items, time indices and ranks, 0 beyond the (q,) sizes."""
    visits = [visit for queue, _ in queues for visit in queue]
    contents = [visit.content for visit in visits]
    strategy = STRATEGIES[policy.strategy]
    hashes = np.zeros(len(visits), np.uint64)
    if strategy != SCORE:
        hashes[:] = [visit.content_hash for visit in visits]
    items = np.zeros((len(queues), policy.k), np.int64)
    times, ranks, sizes = np.zeros_like(items), np.zeros_like(items), np.zeros(len(queues), np.int64)
    kernels.best(
        np.frombuffer(bytearray().join(contents), np.uint8) if visits else np.zeros(0, np.uint8),
        np.array([0, *accumulate(map(len, contents))], np.int64)[:-1].copy(),
        hashes,
        np.array([0, *accumulate(len(queue) for queue, _ in queues)], np.int64),
        np.concatenate([np.zeros(0, np.int64), *(acted for _, acted in queues)]),
        np.array([0, *accumulate(len(acted) for _, acted in queues)], np.int64),
        strategy,
        policy.alpha,
        policy.beta,
        policy.category_cap,
        NO_CATEGORY,
        items,
        times,
        ranks,
        sizes,
    )
    return items, times, ranks, sizes
