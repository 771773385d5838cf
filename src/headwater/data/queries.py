"""What retrieval is asked: histories, scenario and time of each request, columnar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Queries:
    """n requests. Histories are CSR: row r owns `items[offsets[r]:offsets[r + 1]]`, oldest first.

    Retrieval is inductive: a channel scores the history given here, so a user never seen in training,
    or one who clicked a second ago, is served without refitting.

    Attributes
    ----------
    users : (n,) int32
        User codes; -1 for a user outside the vocabulary.
    user_keys : (n,) int64
        The users' 64-bit keys, which stores of online state are addressed by.
    offsets : (n + 1,) int64
    items : (events,) int32
        Item codes, all inside the vocabulary.
    times : (events,) int64
        Unix seconds, or positions where the data set has no clock.
    behaviours : (events,) int8
        `Behaviour` values.
    request_times : (n,) int64
        The time of each request, in the unit of `times`.
    scenarios : tuple of n str
        The surface that each request came from.
    ratings : (events,) float32, or None
        Ratings of the history's events, nan where there is none; None where no event has one.
    """

    users: NDArray[np.int32]
    user_keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    times: NDArray[np.int64]
    behaviours: NDArray[np.int8]
    request_times: NDArray[np.int64]
    scenarios: tuple[str, ...]
    ratings: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) how many events each history has."""
        return np.diff(self.offsets)

    def rows(self) -> NDArray[np.int64]:
        """(events,) the query row of every history event."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def slice(self, start: int, stop: int) -> Queries:
        """Rows start..stop as a `Queries` of their own (arrays are views)."""
        begin, end = self.offsets[start], self.offsets[stop]
        return Queries(
            users=self.users[start:stop],
            user_keys=self.user_keys[start:stop],
            offsets=self.offsets[start : stop + 1] - begin,
            items=self.items[begin:end],
            times=self.times[begin:end],
            behaviours=self.behaviours[begin:end],
            request_times=self.request_times[start:stop],
            scenarios=self.scenarios[start:stop],
            ratings=None if self.ratings is None else self.ratings[begin:end],
        )

    def take(self, rows: NDArray[np.integer]) -> Queries:
        """The requests at `rows`, in that order, as a `Queries` of their own."""
        return self._cut(rows.astype(np.int64), self.lengths[rows])

    def latest(self, n: int) -> Queries:
        """The same requests with the latest `n` events of each history. Raises `ValueError` where n is negative."""
        if n < 0:
            raise ValueError(f"a history has at least 0 events, not {n}")
        return self._cut(np.arange(len(self)), np.minimum(self.lengths, n))

    def _cut(self, rows: NDArray[np.int64], kept: NDArray[np.int64]) -> Queries:
        """Requests `rows` with the latest `kept` events of each."""
        offsets = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        shift: NDArray[np.int64] = self.offsets[1:][rows] - offsets[1:]
        at: NDArray[np.int64] = np.arange(int(offsets[-1])) + np.repeat(shift, kept)
        return Queries(
            users=self.users[rows],
            user_keys=self.user_keys[rows],
            offsets=offsets,
            items=self.items[at],
            times=self.times[at],
            behaviours=self.behaviours[at],
            request_times=self.request_times[rows],
            scenarios=tuple(self.scenarios[int(row)] for row in rows),
            ratings=None if self.ratings is None else self.ratings[at],
        )

    def batches(self, size: int) -> Iterator[tuple[int, Queries]]:
        """(first row, queries) of successive slices of at most `size` rows."""
        for start in range(0, len(self), size):
            yield start, self.slice(start, min(start + size, len(self)))
