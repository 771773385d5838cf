"""How an item fits its user's history: how many events share its value, and how long ago the last one was."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from headwater.data.impressions import Impressions

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Windows(NamedTuple):
    """(n,) each: where the history of an impression stands, and where its recent part begins."""

    start: NDArray[np.int64]
    recent: NDArray[np.int64]
    stop: NDArray[np.int64]

    @classmethod
    def of(cls, impressions: Impressions, length: int) -> Windows:
        """Events strictly before each impression; the latest `length` of them are recent."""
        start, stop = impressions.history_slices()
        return cls(start, np.maximum(start, stop - length), stop)


class Matches(NamedTuple):
    """(n,) each, over the impressions.

    Attributes
    ----------
    whole, recent : float64
        Events of the history, and of its recent part, that share a value with the item; of an item with several
        values the mean over them.
    last : int64
        Where the latest such event stands; -1 where there is none.
    """

    whole: NDArray[np.float64]
    recent: NDArray[np.float64]
    last: NDArray[np.int64]


def matches(impressions: Impressions, windows: Windows, values: NDArray[np.int32]) -> Matches:
    """Count the events that share a value of the impression's item, for all impressions at once.

    Parameters
    ----------
    values : (items + 1, w) int32
        Codes of each item's values from 1, 0 where there is none. The last row is for unknown items.
    """
    n, n_events = len(impressions), len(impressions.history_items)
    codes = values.astype(np.int64)
    of_events = codes[impressions.history_items]
    positions, slots = np.nonzero(of_events)
    # Ascending (value, position): the events of one value within a slice of positions are a slice here.
    keys = np.sort(of_events[positions, slots] * (n_events + 1) + positions)
    of_rows = codes[impressions.item_codes]
    whole, recent, last = np.zeros(n), np.zeros(n), np.full(n, -1)
    for slot in range(codes.shape[1]):
        rows = np.flatnonzero(of_rows[:, slot])
        base = of_rows[rows, slot] * (n_events + 1)
        start, middle, stop = (np.searchsorted(keys, base + window[rows]) for window in windows)
        whole[rows] += stop - start
        recent[rows] += stop - middle
        some = stop > start
        last[rows[some]] = np.maximum(last[rows[some]], keys[stop[some] - 1] - base[some])
    n_values = np.maximum((of_rows > 0).sum(1), 1)
    return Matches(whole / n_values, recent / n_values, last)


def mean_before(impressions: Impressions, windows: Windows, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) mean over the whole history of a number that items have; NaN where no event has one.

    `numbers` is (items,), NaN where an item has none.
    """
    of_events = numbers[impressions.history_items]
    is_known = np.isfinite(of_events)
    sums = np.concatenate([[0.0], np.cumsum(np.where(is_known, of_events, 0.0))])
    counts = np.concatenate([[0], np.cumsum(is_known)])
    total, count = (part[windows.stop] - part[windows.start] for part in (sums, counts))
    return np.divide(total, count, out=np.full(len(impressions), np.nan), where=count > 0)


def seconds_since(impressions: Impressions, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) log(1 + seconds) from the event at each position to the impression; NaN where the position is -1."""
    since = np.full(len(impressions), np.nan)
    some = positions >= 0
    since[some] = np.log1p(impressions.times[some] - impressions.history_times[positions[some]])
    return since
