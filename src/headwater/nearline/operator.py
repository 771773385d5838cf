"""The nearline operator: (state, record, policy) → state → candidates. Pure: no files, no servers, no clock.

Implements sections 2.1-2.2 of Ma et al., "Simple but Efficient: A Multi-Scenario Nearline Retrieval Framework for
Recommendation on Taobao" (MNR). The state is a function of the *set* of records taken in, to the byte: neither
the order in which they arrive nor how often each one comes changes it. That holds because every part of it keeps
the greatest of a total order: the newest time, the newest act on each item, the N newest visits of a queue.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from headwater.nearline.candidates import NearlineCandidates
from headwater.nearline.policy import Policy
from headwater.nearline.ranklog import Record, UserEvent, Visit
from headwater.nearline.state import NEVER, NO_CATEGORY, QueuedVisit, UserState, decode, encode, unpack_content

if TYPE_CHECKING:
    from numpy.typing import NDArray

_item_of = attrgetter("item")


def apply(state: bytes | None, record: Record, policy: Policy) -> bytes:
    """The user's state after one record; `state` is None for a user without one.

    Raises `ArtefactError` where `state` is not what an operator of this version returned.
    """
    return apply_all(state, [record], policy)


def apply_all(state: bytes | None, records: Iterable[Record], policy: Policy) -> bytes:
    """The user's state after several records of that user, decoded and encoded once."""
    current = UserState() if state is None else decode(state)
    for record in records:
        if record.timestamp <= current.forgotten_at:
            continue
        # Every record, an impression and a visit of the target too, tells what time it is for the user.
        current.newest = max(current.newest, record.timestamp)
        if isinstance(record, UserEvent):
            if record.is_act:
                _act(current, record)
        elif policy.queues(record):
            _queue(current, record, policy)
    _bound(current, policy)
    return encode(current)


def forget(state: bytes | None, at: int) -> bytes:
    """The state without any record up to time `at`, Unix seconds, and taking none in from now on."""
    current = UserState() if state is None else decode(state)
    current.forgotten_at = at = max(current.forgotten_at, at)
    if current.newest <= at:
        current.newest = NEVER
    _drop_until(current, at)
    return encode(current)


def candidates(state: bytes | None, policy: Policy) -> NearlineCandidates:
    """The k best of everything queued (eq. 3), by finalScore (eq. 6).

    Ordered by (α + rank_index)·(β + time_index) ascending, in integers, then by time index, then rank. An item
    on several lists has its best place. Items acted on are left out, then at most `category_cap` of each category
    are taken, then k; ranks still count what was left out.
    """
    current = UserState() if state is None else decode(state)
    visits = _newest_first(current)
    items, ranks, times, categories = _columns(visits)
    # (product, time index, rank) in one integer: 34 + 8 + 16 bits, by the bounds of Policy and MAX_ITEMS. No two
    # entries share time index and rank, so the order is total without the item id.
    places = (policy.alpha + ranks) * (policy.beta + times) << 24 | times << 16 | ranks
    # The k best stand among the first few k places, unless many of those are repeated, acted on or over the cap.
    n_first = 4 * policy.k
    order = _best(places, n_first, items, categories, current, policy)
    while len(order) < policy.k and n_first < len(places):
        n_first *= 4
        order = _best(places, n_first, items, categories, current, policy)
    used, rows = np.unique(times[order], return_inverse=True)
    shown = [visits[int(at)] for at in used]
    return NearlineCandidates(
        alpha=policy.alpha,
        beta=policy.beta,
        newest=current.newest,
        items=items[order],
        visits=rows.astype(np.int64),
        ranks=ranks[order],
        scenarios=tuple(scenario for scenario, _ in shown),
        request_ids=tuple(visit.request_id for _, visit in shown),
        timestamps=np.array([visit.timestamp for _, visit in shown], np.int64),
        time_indices=used,
    )


# -- taking records in


def _act(state: UserState, event: UserEvent) -> None:
    at = int(np.searchsorted(state.acted_items, event.item))
    if at < len(state.acted_items) and state.acted_items[at] == event.item:
        times = state.acted_times.copy()
        times[at] = max(int(times[at]), event.timestamp)
        state.acted_times = times
    else:
        state.acted_items = np.insert(state.acted_items, at, event.item)
        state.acted_times = np.insert(state.acted_times, at, event.timestamp)


def _queue(state: UserState, visit: Visit, policy: Policy) -> None:
    queue = state.queues.setdefault(visit.scenario, [])
    if len(queue) >= policy.visits and (visit.timestamp, visit.request_id) < queue[policy.visits - 1].order[:2]:
        return  # older than all that are kept, and not another version of one of them
    queued = _queued(visit, policy.truncation(visit.scenario))
    same = next((other for other in queue if other.request_id == visit.request_id), None)
    if same is not None:
        if queued.order <= same.order:
            return
        queue.remove(same)
    queue.append(queued)
    queue.sort(key=lambda kept: kept.order, reverse=True)
    del queue[policy.visits :]


def _queued(visit: Visit, truncation: int) -> QueuedVisit:
    """Eq. 4. Repeated items go first, so that a list is cut at `truncation` different ones."""
    items = np.fromiter(map(_item_of, visit.items), np.int64, len(visit.items))
    categories = np.array([NO_CATEGORY if row.category is None else row.category for row in visit.items], np.int64)
    kept = np.sort(np.unique(items, return_index=True)[1])[:truncation]
    return QueuedVisit.of(visit.timestamp, visit.request_id, items[kept], categories[kept])


# -- keeping the state bounded


def _bound(state: UserState, policy: Policy) -> None:
    _drop_until(state, state.newest - policy.max_age_seconds - 1)
    excess = len(state.acted_items) - policy.acted_items
    if excess > 0:
        newest = np.lexsort((state.acted_items, state.acted_times))[excess:]
        _keep_acts(state, np.sort(newest))
    for scenario, visit in _newest_first(state)[policy.visits_in_all :]:
        state.queues[scenario].remove(visit)
    _drop_empty_queues(state)


def _drop_until(state: UserState, time: int) -> None:
    """Remove visits and acts up to `time`."""
    if (state.acted_times <= time).any():
        _keep_acts(state, np.flatnonzero(state.acted_times > time))
    for scenario, queue in state.queues.items():
        state.queues[scenario] = [visit for visit in queue if visit.timestamp > time]
    _drop_empty_queues(state)


def _keep_acts(state: UserState, kept: NDArray[np.intp]) -> None:
    state.acted_items, state.acted_times = state.acted_items[kept], state.acted_times[kept]


def _drop_empty_queues(state: UserState) -> None:
    state.queues = {scenario: queue for scenario, queue in state.queues.items() if queue}


# -- scoring


def _newest_first(state: UserState) -> list[tuple[str, QueuedVisit]]:
    """(scenario, visit) of all queues; the place in this list is the time index."""
    visits = [(scenario, visit) for scenario, queue in state.queues.items() for visit in queue]
    visits.sort(key=lambda pair: (pair[1].timestamp, pair[1].request_id, pair[0]), reverse=True)
    return visits


def _columns(
    visits: list[tuple[str, QueuedVisit]],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Items, ranks, time indices and categories of all that is queued, one entry per item of each visit."""
    contents = [unpack_content(visit.content) for _, visit in visits]
    if not contents:
        none = np.zeros(0, np.int64)
        return none, none, none, none
    lengths = np.array([len(items) for items, _ in contents], np.int64)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return (
        np.concatenate([items for items, _ in contents]),
        np.arange(int(lengths.sum()), dtype=np.int64) - starts,
        np.repeat(np.arange(len(contents), dtype=np.int64), lengths),
        np.concatenate([categories for _, categories in contents]),
    )


def _best(
    places: NDArray[np.int64],
    n_first: int,
    items: NDArray[np.int64],
    categories: NDArray[np.int64],
    state: UserState,
    policy: Policy,
) -> NDArray[np.intp]:
    """The candidates among the `n_first` entries of lowest place, best first: a beginning of all candidates."""
    if n_first < len(places):
        order = np.argpartition(places, n_first)[:n_first]
        order = order[np.argsort(places[order])]
    else:
        order = np.argsort(places)
    first = np.unique(items[order], return_index=True)[1]
    order = order[np.sort(first)]
    order = order[~np.isin(items[order], state.acted_items)]
    return order[_within_cap(categories[order], policy.category_cap)][: policy.k]


def _within_cap(categories: NDArray[np.int64], cap: int) -> NDArray[np.bool_]:
    """Whether each entry is among the first `cap` of its category; always, without one."""
    by_category = np.argsort(categories, kind="stable")
    ordered = categories[by_category]
    place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    within = np.empty(len(categories), bool)
    within[by_category] = place < cap
    return within | (categories == NO_CATEGORY)
