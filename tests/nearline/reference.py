"""The operator's semantics, said again in the plainest Python over the whole set of records, to compare with."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from headwater.nearline.policy import Policy
from headwater.nearline.records import Record, UserEvent, Visit
from headwater.nearline.state import NO_CATEGORY, QueuedVisit, pack_content


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
    return QueuedVisit.of(0, "", pack_content(items, np.array(categories, np.int64))).content_hash


def hashed(value: int) -> int:
    """fmix64 of MurmurHash3."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = ((value ^ (value >> 33)) * factor) % 2**64
    return value ^ (value >> 33)


def reference(records: Iterable[Record], policy: Policy, only: str | None = None) -> list[Found]:
    """The candidates of one user's records, in whatever order they stand; of all scenarios, or of one alone."""
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
        if isinstance(record, Visit) and policy.is_source(record.scenario):
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
    if only is not None:
        visits = [visit for visit in visits if visit.scenario == only]

    entries = []
    for time_index, visit in enumerate(visits):
        for rank, (item, category) in enumerate(distinct(visit, policy)):
            product = (policy.alpha + rank) * (policy.beta + time_index)
            salt = hashed(content_hash(visit if policy.strategy == "fifo" else visits[0], policy))
            key = {
                "score": (product, time_index, rank),
                "fifo": (time_index, hashed(item % 2**64 ^ salt), rank),
                "random": (hashed(item % 2**64 ^ salt), time_index, rank),
            }[policy.strategy]
            entries.append((key, time_index, rank, item, category, visit, product))
    entries.sort(key=lambda entry: entry[0])

    taken: list[Found] = []
    seen: set[int] = set()
    of_category: dict[int, int] = {}
    for key, time_index, rank, item, category, visit, product in entries:
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
        if policy.strategy == "fifo":
            score = policy.beta / (policy.beta + time_index + (key[1] >> 11) / 2**53)
        if policy.strategy == "random":
            score = 1.0 - (key[0] >> 11) / 2**53
        taken.append(Found(item, visit.scenario, visit.request_id, rank, time_index, score))
    return taken[: policy.k]
