"""Hit rate by how long ago the last event was: what a channel owes to bursts of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_HISTORY = -1
"""The gap of a query without a history."""

GAPS = {
    "no history": NO_HISTORY,
    "same second": 0,
    "under 1 minute": 1,
    "under 1 hour": 60,
    "under 1 day": 3_600,
    "1 day or more": 86_400,
}
"""Bucket -> its shortest gap, in seconds; it ends where the next one begins."""


@dataclass(frozen=True, slots=True)
class GapBucket:
    """Queries whose last event lies about equally far back, and the share of them that is hit."""

    gap: str
    n_queries: int
    hit_rate: float


def hit_rate_by_gap(
    gaps: NDArray[np.integer], ranks: NDArray[np.integer], target_offsets: NDArray[np.integer], k: int
) -> list[GapBucket]:
    """HR@k of the queries of each bucket of `GAPS`, shortest gap first; buckets without a query are left out.

    Parameters
    ----------
    gaps : (queries,)
        Seconds from the last event of the history to the request, `NO_HISTORY` where there is none.
    ranks : (targets,)
        The place of each target in its query's list, from 0; -1 where it was not found.
    target_offsets : (queries + 1,)
        CSR over the queries; each has at least one target.

    Raises
    ------
    ValueError
        A gap is negative: the history reaches beyond the request.
    """
    if len(gaps) and gaps.min() < NO_HISTORY:
        raise ValueError(f"a history ends {-int(gaps.min())} s after its request")
    found = np.concatenate([[0], np.cumsum((ranks >= 0) & (ranks < k))])
    is_hit = np.diff(found[target_offsets]) > 0
    buckets = np.searchsorted(list(GAPS.values()), gaps, side="right") - 1
    counts = np.bincount(buckets, minlength=len(GAPS))
    hits = np.bincount(buckets[is_hit], minlength=len(GAPS))
    return [
        GapBucket(name, int(count), float(hit / count))
        for name, count, hit in zip(GAPS, counts, hits, strict=True)
        if count
    ]


def gain_by_gap(base: Sequence[GapBucket], better: Sequence[GapBucket]) -> list[float] | None:
    """The share of `better`'s gain in HR over `base` that each bucket carries; they sum to 1.

    Both are of the same queries. None where there is no gain. A bucket in which `better` is worse has a negative
    share, and others then more than 1 together.
    """
    gains = [after.n_queries * (after.hit_rate - before.hit_rate) for before, after in zip(base, better, strict=True)]
    total = sum(gains)
    return [gain / total for gain in gains] if total > 0 else None
