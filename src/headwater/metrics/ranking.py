"""Hit rate, recall, NDCG and reciprocal rank of lists whose relevant items are known, for all queries at once.

Relevance is binary and a query may have any number of targets. Every metric returns one float64 per query,
so that the caller can average it, compare two systems query by query, or draw a confidence interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Hits:
    """Where the targets of n queries stand in their lists.

    Attributes
    ----------
    rows : (h,) int64
        Query row of each target that was found, ascending.
    ranks : (h,) int64
        Its place in the list, from 0; ascending within a row.
    n_targets : (n,) int64
        Targets that each query has, found or not; at least one.
    target_ranks : (targets,) int32
        The same places in the order of the targets, -1 where one was not found.
    n_tied : int
        Queries in which a target shares its score with another candidate, so that its place is a convention.
    """

    rows: NDArray[np.int64]
    ranks: NDArray[np.int64]
    n_targets: NDArray[np.int64]
    target_ranks: NDArray[np.int32]
    n_tied: int = 0

    def __post_init__(self) -> None:
        if len(self.n_targets) and self.n_targets.min() < 1:
            raise ValueError("every query needs at least one target; leave the others out before measuring")

    @classmethod
    def locate(
        cls,
        rows: NDArray[np.integer],
        items: NDArray[np.integer],
        scores: NDArray[np.floating],
        target_offsets: NDArray[np.integer],
        targets: NDArray[np.integer],
        *,
        limit: int | None = None,
    ) -> Hits:
        """Find targets in ranked lists, and settle ties against them.

        Among candidates of one query with equal scores the targets are counted last, so that a channel that
        gives all items one score gains nothing from the order that they happen to be listed in.

        Parameters
        ----------
        rows, items, scores : (m,)
            Ranked lists, sorted by query row, best first within it; an item stands once in a row.
        target_offsets : (n + 1,)
            CSR over the queries.
        targets : (targets,)
            Relevant items; distinct within a query.
        limit : int, optional
            The length at which lists were cut. A list that is this long may go on with equal scores, so targets
            that tie with its last candidate count as not found. Ask for one candidate more than the largest k
            that is measured: then no figure depends on what lies beyond the cut.

        Raises
        ------
        ValueError
            A query has no target, or rows are not ascending.
        """
        n = len(target_offsets) - 1
        if len(rows) and (np.diff(rows) < 0).any():
            raise ValueError("ranked lists must be sorted by query row")
        rows = np.asarray(rows, np.int64)
        n_targets = np.diff(target_offsets).astype(np.int64)
        width = int(max(items.max(initial=0), targets.max(initial=0))) + 1
        wanted = np.repeat(np.arange(n, dtype=np.int64), n_targets) * width + targets
        is_target = np.isin(rows * width + items, wanted)

        starts = np.searchsorted(rows, np.arange(n + 1))
        new_group = np.ones(len(rows), bool)
        new_group[1:] = (rows[1:] != rows[:-1]) | (scores[1:] != scores[:-1])
        group = np.cumsum(new_group) - 1
        size = np.bincount(group, minlength=1)
        tied = is_target & (size[group] > 1) if len(rows) else is_target
        # Stable: within a group of equal scores the targets go last, everything else keeps its place.
        order = np.lexsort((is_target, group))
        place = np.empty(len(rows), np.int64)
        place[order] = np.arange(len(rows))
        ranks = place - starts[rows]

        found = is_target.copy()
        if limit is not None and len(rows):
            is_cut = np.diff(starts) >= limit
            last_group = np.full(n, -1)
            last_group[is_cut] = group[starts[1:][is_cut] - 1]
            found &= group != last_group[rows]
        at = np.flatnonzero(found)
        at = at[np.lexsort((ranks[at], rows[at]))]
        target_ranks = np.full(len(wanted), -1, np.int32)
        order = np.argsort(wanted)
        target_ranks[order[np.searchsorted(wanted, rows[at] * width + items[at], sorter=order)]] = ranks[at]
        return cls(rows[at], ranks[at], n_targets, target_ranks, n_tied=len(np.unique(rows[tied])))


def hit_rate(hits: Hits, k: int) -> NDArray[np.float64]:
    """(n,) 1 where at least one target is among the first k, else 0 (HR@k; with one target also recall@k)."""
    return (_found_within(hits, k) > 0).astype(np.float64)


def recall(hits: Hits, k: int) -> NDArray[np.float64]:
    """(n,) the share of a query's targets that is among the first k. The divisor is all targets, even above k."""
    return _found_within(hits, k) / hits.n_targets


def ndcg(hits: Hits, k: int) -> NDArray[np.float64]:
    """(n,) discounted cumulative gain of the first k over that of the best possible list.

    DCG = Σ 1 / log2(rank + 2) over targets at rank < k, rank from 0 (Järvelin and Kekäläinen, 2002, binary gains
    and base 2); the ideal list holds min(k, targets) targets first.
    """
    _positive(k)
    inside = hits.ranks < k
    gains = 1.0 / np.log2(hits.ranks[inside] + 2.0)
    dcg = np.bincount(hits.rows[inside], weights=gains, minlength=len(hits.n_targets))
    longest = int(min(k, hits.n_targets.max(initial=1)))
    ideal = np.cumsum(1.0 / np.log2(np.arange(longest) + 2.0))
    return dcg / ideal[np.minimum(hits.n_targets, longest) - 1]


def reciprocal_rank(hits: Hits, k: int) -> NDArray[np.float64]:
    """(n,) 1 / (rank + 1) of the best target among the first k, 0 where there is none; its mean is MRR@k."""
    _positive(k)
    inside = hits.ranks < k
    best = np.zeros(len(hits.n_targets))
    np.maximum.at(best, hits.rows[inside], 1.0 / (hits.ranks[inside] + 1.0))
    return best


def _found_within(hits: Hits, k: int) -> NDArray[np.int64]:
    _positive(k)
    return np.bincount(hits.rows[hits.ranks < k], minlength=len(hits.n_targets))


def _positive(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
