"""How often an id was shown and chosen: running counts, of which an impression sees only earlier days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Counts(NamedTuple):
    """(n,) each: how often the row's id had been shown, and how often the label had been 1."""

    shown: NDArray[np.float64]
    positive: NDArray[np.float64]

    def rate(self, prior: NDArray[np.float64] | float, smoothing: float) -> NDArray[np.float64]:
        """(n,) the share of positives, drawn to `prior` as by `smoothing` impressions that show it."""
        return (self.positive + smoothing * prior) / (self.shown + smoothing)


@dataclass(frozen=True, slots=True)
class PastCounts:
    """Counts of each id at the end of the training days.

    Attributes
    ----------
    keys : (k,) int64
        Ids, ascending.
    shown, positive : (k,) float64
    """

    keys: NDArray[np.int64]
    shown: NDArray[np.float64]
    positive: NDArray[np.float64]

    @classmethod
    def learn(
        cls, keys: NDArray[np.int64], days: NDArray[np.integer], labels: NDArray[np.integer]
    ) -> tuple[Self, Counts]:
        """Count impressions, and say what each of them could have known: its id's counts before its own day.

        A label of the same day is not counted, not even an earlier one: it would not be known when the day is
        predicted, and with few impressions an id it would all but give the row's own label away.

        Parameters
        ----------
        keys : (n,) int64
        days : (n,) integers, ascending
        labels : (n,) of 0 and 1
        """
        n = len(keys)
        if not n:
            empty = np.zeros(0)
            return cls(keys, empty, empty), Counts(empty, empty)
        order = np.argsort(keys, kind="stable")
        key, day, label = keys[order], days[order], labels[order].astype(np.float64)
        new_key = np.ones(n, bool)
        new_key[1:] = key[1:] != key[:-1]
        new_day = new_key.copy()
        new_day[1:] |= day[1:] != day[:-1]
        earlier = np.concatenate([[0.0], np.cumsum(label)])
        key_starts = np.flatnonzero(new_key)
        key_start = key_starts[np.cumsum(new_key) - 1]
        day_start = np.flatnonzero(new_day)[np.cumsum(new_day) - 1]
        shown, positive = np.empty(n), np.empty(n)
        shown[order] = day_start - key_start
        positive[order] = earlier[day_start] - earlier[key_start]
        stops = np.append(key_starts[1:], n)
        whole = cls(key[key_starts], (stops - key_starts).astype(np.float64), earlier[stops] - earlier[key_starts])
        return whole, Counts(shown, positive)

    def look_up(self, keys: NDArray[np.int64]) -> Counts:
        """What is known of each key; nothing, 0 of 0, of one that never was shown."""
        if not len(self.keys):
            return Counts(np.zeros(len(keys)), np.zeros(len(keys)))
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        is_known = self.keys[at] == keys
        return Counts(np.where(is_known, self.shown[at], 0.0), np.where(is_known, self.positive[at], 0.0))
