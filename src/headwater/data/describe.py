"""What a data set is like, in figures that decide what can be learned from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headwater.data.dataset import Dataset
from headwater.data.schema import Behaviour, TimeUnit

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures of one data set.

    Attributes
    ----------
    users, items, interactions : int
    density : float
        Interactions per user and item pair; above 1 only where interactions repeat.
    time_unit : "seconds" or "position"
    first_time, last_time : int
        In `time_unit`.
    behaviours : dict of str to int
        Interactions of each behaviour that occurs.
    history_lengths : tuple of int
        At `QUANTILES`: shortest, quarter, median, three quarters, 95%, longest.
    one_item_users : int
        Users with a single interaction.
    repeats : float
        Share of interactions with an item that the user had before.
    ties : float
        Share of a user's successive interactions that have one time; what their order rests on, `TIE_RULE`.
    gini : float
        Inequality of item popularity: 0 is equal, towards 1 one item has all.
    top_share : float
        Share of interactions that fall on the most popular 1% of items.
    categories : int
        Distinct categories; 0 where items have none.
    asked : int
        Users whom leave-one-out would validate and test: those with 3 interactions or more.
    cold_targets : float
        Share of leave-one-out test items that nobody interacts with in its training part.
    """

    users: int
    items: int
    interactions: int
    density: float
    time_unit: TimeUnit
    first_time: int
    last_time: int
    behaviours: dict[str, int]
    history_lengths: tuple[int, ...]
    one_item_users: int
    repeats: float
    ties: float
    gini: float
    top_share: float
    categories: int
    asked: int
    cold_targets: float


def describe(dataset: Dataset) -> Statistics:
    """The figures of `dataset`. Shares are 0 where there is nothing to take a share of."""
    users, items, events = len(dataset.users), len(dataset.items), len(dataset)
    lengths = dataset.lengths
    popularity = np.sort(dataset.item_counts)[::-1]
    head = max(1, round(items * 0.01))
    pairs = dataset.event_users.astype(np.int64) * max(items, 1) + dataset.event_items
    asked = np.flatnonzero(lengths >= 3)
    last = dataset.offsets[1:][asked] - 1
    in_train = np.ones(events, bool)
    in_train[last] = in_train[last - 1] = False
    trained = np.bincount(dataset.event_items[in_train], minlength=items) > 0
    codes, names = dataset.categories
    return Statistics(
        users=users,
        items=items,
        interactions=events,
        density=_share(events, users * items),
        time_unit=dataset.time_unit,
        first_time=int(dataset.event_times.min(initial=np.iinfo(np.int64).max)) if events else 0,
        last_time=int(dataset.event_times.max(initial=0)),
        behaviours={
            behaviour.name.lower(): count
            for behaviour in Behaviour
            if (count := int((dataset.event_behaviours == behaviour).sum()))
        },
        history_lengths=tuple(int(value) for value in np.quantile(lengths, QUANTILES, method="nearest"))
        if users
        else (),
        one_item_users=int((lengths == 1).sum()),
        repeats=_share(events - len(np.unique(pairs)), events),
        ties=tie_share(dataset),
        gini=gini(popularity),
        top_share=_share(int(popularity[:head].sum()), events),
        categories=len(np.unique(codes)) if names != [""] else 0,
        asked=len(asked),
        cold_targets=_share(int((~trained[dataset.event_items[last]]).sum()), len(asked)),
    )


def tie_share(dataset: Dataset) -> float:
    """Share of pairs of successive interactions of one user that have the same time."""
    users = dataset.event_users
    same_user = users[1:] == users[:-1]
    same_time = dataset.event_times[1:] == dataset.event_times[:-1]
    return _share(int((same_user & same_time).sum()), int(same_user.sum()))


def gini(counts: NDArray[np.int64]) -> float:
    """Gini coefficient of non-negative counts: half the relative mean absolute difference, 0 to 1 - 1/n."""
    ascending = np.sort(counts).astype(np.float64)
    if not ascending.sum():
        return 0.0
    n = len(ascending)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ascending / (n * ascending.sum()))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
