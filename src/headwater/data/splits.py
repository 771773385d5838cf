"""Train, validation and test: leave-one-out by time, and global-time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.queries import Queries
from headwater.errors import SchemaError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is asked and what the right answers are.

    `queries` has n rows; row r's relevant items are `targets[offsets[r]:offsets[r + 1]]`, at least one.
    """

    queries: Queries
    offsets: NDArray[np.int64]
    targets: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.queries)

    def sampled(self, n: int) -> HeldOut:
        """At most n of the requests, in their order; parts of as many requests have the same rows drawn."""
        if n >= len(self):
            return self
        rows = np.sort(np.random.default_rng(0).choice(len(self), n, replace=False))
        sizes = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        at = np.repeat(self.offsets[rows] - offsets[:-1], sizes) + np.arange(int(offsets[-1]))
        return HeldOut(self.queries.take(rows), offsets, self.targets[at])


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint parts of one data set. Vocabularies are shared and hold every item.

    `before_test` is training and validation part together: all that is known when the test requests are made.
    """

    name: str
    train: Dataset
    validation: HeldOut
    before_test: Dataset
    test: HeldOut


def leave_one_out(dataset: Dataset) -> Split:
    """Each user's last interaction is tested, the last but one validated, the rest trained on.

    Test histories include the validation item. Users with fewer than three interactions stay in training
    whole and are never asked. Ties in time were settled when the data set was built: by input order.

    Raises
    ------
    SchemaError
        No user has three interactions, so there is nothing to test.
    """
    asked = np.flatnonzero(dataset.lengths >= 3).astype(np.int32)
    if not len(asked):
        raise SchemaError(
            f"{dataset.name}: leave-one-out needs a user with at least 3 interactions; "
            f"the longest history has {int(dataset.lengths.max(initial=0))}"
        )
    last = dataset.offsets[1:][asked] - 1
    in_train = np.ones(len(dataset), bool)
    in_train[last] = in_train[last - 1] = False
    is_before_test = np.ones(len(dataset), bool)
    is_before_test[last] = False
    train, before_test = dataset.keep(in_train), dataset.keep(is_before_test)
    return Split(
        name="leave-one-out",
        train=train,
        validation=_held_out_one(dataset, train, asked, last - 1),
        before_test=before_test,
        test=_held_out_one(dataset, before_test, asked, last),
    )


def _held_out_one(dataset: Dataset, known: Dataset, asked: NDArray[np.int32], target: NDArray[np.int64]) -> HeldOut:
    return HeldOut(
        queries=known.queries(asked, request_times=dataset.event_times[target]),
        offsets=np.arange(len(asked) + 1, dtype=np.int64),
        targets=dataset.event_items[target],
    )


def global_time(dataset: Dataset, *, validation: float = 0.1, test: float = 0.1) -> Split:
    """Cut all users at two moments: the last `test` share of interactions is tested, the share before
    it validated. A request is made at the cut; its targets are the items new to the user in that window.

    Users with nothing before the cut are asked with an empty history; users with no new item are not.

    Raises
    ------
    SchemaError
        The data set has positions instead of times, the shares leave no training part, or a window is empty.
    """
    if dataset.time_unit != "seconds":
        raise SchemaError(f"{dataset.name} has positions, not times: a global-time split has no meaning there")
    if min(validation, test) <= 0 or validation + test >= 1:
        raise SchemaError(f"shares must be positive and leave a training part: {validation=}, {test=}")
    times = np.sort(dataset.event_times)
    first = int(times[int(len(times) * (1 - validation - test))]) if len(times) else 0
    second = int(times[int(len(times) * (1 - test))]) if len(times) else 0
    end = np.iinfo(np.int64).max
    return Split(
        name=f"global-time {first}/{second}",
        train=dataset.keep(dataset.event_times < first),
        validation=_held_out_window(dataset, first, second),
        before_test=dataset.keep(dataset.event_times < second),
        test=_held_out_window(dataset, second, end),
    )


def _held_out_window(dataset: Dataset, start: int, stop: int) -> HeldOut:
    known = dataset.keep(dataset.event_times < start)
    inside = (dataset.event_times >= start) & (dataset.event_times < stop)
    n_items = len(dataset.items)
    seen = known.event_users.astype(np.int64) * n_items + known.event_items
    wanted = np.unique(dataset.event_users[inside].astype(np.int64) * n_items + dataset.event_items[inside])
    wanted = np.setdiff1d(wanted, seen, assume_unique=False)
    if not len(wanted):
        raise SchemaError(f"{dataset.name}: no user has a new item between {start} and {stop}; widen the share")
    users, counts = np.unique(wanted // n_items, return_counts=True)
    asked = users.astype(np.int32)
    return HeldOut(
        queries=known.queries(asked, request_times=np.full(len(asked), start, np.int64)),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        targets=(wanted % n_items).astype(np.int32),
    )
