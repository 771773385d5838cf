"""The operator's semantics, said again in the plainest Python over the whole set of records, to compare with."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from headwater.nearline.policy import Policy
from headwater.nearline.ranklog import Record, UserEvent, Visit
from headwater.nearline.state import NO_CATEGORY, QueuedVisit


class Found(NamedTuple):
    item: int
    scenario: str
    request_id: str
    rank: int
    time_index: int
    score: float


def distinct(visit: Visit, policy: Policy) -> list[tuple[int, int | None]]:
    """(item, category) without repeated items, then truncated."""
    seen: dict[int, int | None] = {}
    for row in visit.items:
        if row.item not in seen:
            seen[row.item] = row.category
    return list(seen.items())[: policy.truncation(visit.scenario)]


def content_hash(visit: Visit, policy: Policy) -> int:
    kept = distinct(visit, policy)
    categories = [NO_CATEGORY if category is None else category for _, category in kept]
    items = np.array([item for item, _ in kept], np.int64)
    return QueuedVisit.of(0, "", items, np.array(categories, np.int64)).content_hash


def reference(records: Iterable[Record], policy: Policy) -> list[Found]:
    """The candidates of one user's records, in whatever order they stand."""
    records = list(records)
    if not records:
        return []
    oldest = max(record.timestamp for record in records) - policy.max_age_seconds

    acts: dict[int, int] = {}
    for record in records:
        if isinstance(record, UserEvent) and record.behaviour in ("click", "cart", "purchase"):
            acts[record.item] = max(record.timestamp, acts.get(record.item, 0))
    living = sorted((time, item) for item, time in acts.items() if time >= oldest)
    acted = {item for _, item in living[-policy.acted_items :]}

    versions: dict[tuple[str, str], Visit] = {}
    for record in records:
        if isinstance(record, Visit) and record.scenario != policy.target:
            name = record.scenario, record.request_id
            old = versions.get(name)
            if old is None or (record.timestamp, content_hash(record, policy)) > (
                old.timestamp,
                content_hash(old, policy),
            ):
                versions[name] = record
    visits: list[Visit] = []
    for scenario in {scenario for scenario, _ in versions}:
        queue = [visit for visit in versions.values() if visit.scenario == scenario]
        queue.sort(key=lambda visit: (visit.timestamp, visit.request_id), reverse=True)
        visits += queue[: policy.visits]
    visits = [visit for visit in visits if visit.timestamp >= oldest]
    visits.sort(key=lambda visit: (visit.timestamp, visit.request_id, visit.scenario), reverse=True)
    visits = visits[: policy.visits_in_all]

    entries = []
    for time_index, visit in enumerate(visits):
        for rank, (item, category) in enumerate(distinct(visit, policy)):
            product = (policy.alpha + rank) * (policy.beta + time_index)
            entries.append((product, time_index, rank, item, category, visit))
    entries.sort(key=lambda entry: entry[:4])

    taken: list[Found] = []
    seen: set[int] = set()
    of_category: dict[int, int] = {}
    for product, time_index, rank, item, category, visit in entries:
        if item in seen:
            continue
        seen.add(item)
        if item in acted:
            continue
        if category is not None:
            if of_category.get(category, 0) == policy.category_cap:
                continue
            of_category[category] = of_category.get(category, 0) + 1
        score = policy.alpha * policy.beta / product
        taken.append(Found(item, visit.scenario, visit.request_id, rank, time_index, score))
    return taken[: policy.k]
