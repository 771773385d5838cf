"""What lists are made of beside hits: how much of the catalogue, how many categories, how popular."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def catalogue_coverage(items: NDArray[np.integer], ranks: NDArray[np.integer], k: int, *, n_items: int) -> float:
    """The share of `n_items` that stands among the first k of anybody's list (ranks from 0)."""
    return len(np.unique(items[ranks < k])) / n_items


def category_coverage(
    rows: NDArray[np.integer],
    items: NDArray[np.integer],
    ranks: NDArray[np.integer],
    k: int,
    *,
    n_queries: int,
    categories: NDArray[np.integer],
) -> float:
    """Distinct categories among the first k, over the most that k items could show, averaged over the queries.

    Parameters
    ----------
    rows, items, ranks : (m,)
        Ranked lists; ranks from 0.
    categories : (items,)
        Category code of each item; the most that one list can show is min(k, distinct codes).

    Returns
    -------
    float
        In 0..1; a query without candidates counts as 0.
    """
    inside = ranks < k
    width = int(categories.max(initial=0)) + 1
    shown = np.unique(rows[inside].astype(np.int64) * width + categories[items[inside]])
    return len(shown) / (n_queries * min(k, len(np.unique(categories))))


def average_popularity(
    rows: NDArray[np.integer],
    items: NDArray[np.integer],
    ranks: NDArray[np.integer],
    k: int,
    *,
    popularity: NDArray[np.number],
) -> float:
    """Average recommendation popularity (ARP) of the first k.

    ARP = mean over lists L_u of (Σ φ(i) for i in L_u) / |L_u|, φ the training interactions of an item (Yin, Cui,
    Li, Yao and Chen, "Challenging the long tail recommendation", PVLDB 5(9), 2012). Queries without candidates
    are left out; nan where all are.
    """
    inside = ranks < k
    if not inside.any():
        return float("nan")
    owners = rows[inside]
    lengths = np.bincount(owners)
    totals = np.bincount(owners, weights=popularity[items[inside]].astype(np.float64))
    return float((totals[lengths > 0] / lengths[lengths > 0]).mean())


def popularity_ratio(
    rows: NDArray[np.integer],
    items: NDArray[np.integer],
    ranks: NDArray[np.integer],
    k: int,
    *,
    popularity: NDArray[np.number],
    target_rows: NDArray[np.integer],
    targets: NDArray[np.integer],
) -> float:
    """Popularity bias: ARP@k over the same average of what the users went on to choose.

    1 says that lists are as popular as the targets, 5 that they are five times as popular. nan where the
    targets were never seen in training.
    """
    chosen = average_popularity(target_rows, targets, np.zeros(len(targets), np.int64), 1, popularity=popularity)
    shown = average_popularity(rows, items, ranks, k, popularity=popularity)
    return shown / chosen if chosen > 0 else float("nan")
