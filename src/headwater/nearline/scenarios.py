"""Which scenarios a store has candidates of: one small value, so that a reader knows what to ask for.

Names come in from outside, and readers ask for each of them. So the list is bounded: those that the policy names, and
of the others those with the newest visits. It depends on the records alone, not on their order, and it is written
only where a scenario is new in it or has its first visit of a day.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from headwater.errors import TornValue
from headwater.nearline.columns import VISIT, RecordColumns
from headwater.store.base import Put, Store

if TYPE_CHECKING:
    from headwater.nearline.policy import Policy
    from headwater.nearline.state import UserState

logger = logging.getLogger(__name__)

SCENARIOS = "nearline-scenario"
NEWEST = b"newest"
"""The one key of `SCENARIOS`; its value is JSON, name -> day of the newest visit."""

MAX_SCENARIOS = 64
"""Scenarios in the list. Only a policy that names more of them makes it longer."""

_DAY = 86_400


def seen_scenarios(store: Store) -> list[str]:
    """The scenarios that candidates may be of, newest visits first; none where the list is torn."""
    days = read(store)
    return sorted(days, key=lambda name: (-days[name], name))


def read(store: Store, *, mends: bool = False) -> dict[str, int]:
    """The stored list: name -> day of the newest visit, days since 1970.

    A torn one is logged, and empty; `mends`: it is removed too, so that it can be written again.
    """
    try:
        (raw,) = store.get_many(SCENARIOS, [NEWEST])
    except TornValue as error:
        logger.error("the list of scenarios is lost, and begins anew with the next visits: %s", error)
        if mends:
            store.delete_many(SCENARIOS, [NEWEST])
        return {}
    return decode(raw)


def decode(raw: bytes | None) -> dict[str, int]:
    """What `put` wrote."""
    return {} if raw is None else msgspec.json.decode(raw, type=dict[str, int])


def put(raw: bytes | None, days: Mapping[str, int], policy: Policy) -> list[Put]:
    """The write that takes `days` into the stored list `raw`; none where it says so already."""
    old = decode(raw)
    new = dict(old)
    for name, day in days.items():
        new[name] = max(day, new.get(name, 0))
    named = {*policy.truncate, *(policy.sources or ())}
    order = sorted(new, key=lambda name: (name in named, new[name], name), reverse=True)
    room = max(MAX_SCENARIOS, len(named & new.keys()))
    kept = {name: new[name] for name in order[:room]}
    return [] if kept == old else [Put(SCENARIOS, NEWEST, msgspec.json.encode(kept, order="sorted"))]


def days_of_records(columns: RecordColumns, policy: Policy) -> dict[str, int]:
    """Day of the newest visit of each scenario that the policy queues."""
    days: dict[str, int] = {}
    is_visit = columns.behaviours == VISIT
    for code, name in enumerate(columns.scenario_names):
        if policy.is_source(name) and policy.truncation(name):
            times = columns.timestamps[is_visit & (columns.scenarios == code)]
            if len(times):
                days[name] = int(np.max(times)) // _DAY
    return days


def days_of_states(states: Iterable[UserState]) -> dict[str, int]:
    """Day of the newest queued visit of each scenario."""
    days: dict[str, int] = {}
    for state in states:
        for name, queue in state.queues.items():
            days[name] = max(queue[0].timestamp // _DAY, days.get(name, 0))
    return days
