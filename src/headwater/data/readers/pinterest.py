"""Pinterest-20: pins of users with 20 or more, as published with NCF (He et al., WWW 2017, section 4.1).

Three text files: `train.rating` and `test.rating` hold user, item, rating and, where there is one, a time, in tabs; the
test file has one line a user, what they pinned last. `test.negative` has that pair and 99 items to rank it among.
"""

from __future__ import annotations

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.readers.files import Files
from headwater.data.vocabulary import Vocabulary
from headwater.errors import DatasetUnavailable

STEM = "pinterest-20"
TRAIN, TEST, NEGATIVES = (f"{STEM}.{kind}" for kind in ("train.rating", "test.rating", "test.negative"))


def read_pinterest(files: Files) -> Dataset:
    """Histories with positions for times: a user's training lines by time, ties as they stand, then the test line.

    The published negatives of a user stand in the user attribute `negatives` (item ids), where that file is there.

    Raises `DatasetUnavailable` where files are missing, not in the published layout, or do not belong together.
    """
    import pyarrow as pa

    files.which([(TRAIN, TEST)])
    train, test = _ratings(files, TRAIN), _ratings(files, TEST)
    if len(np.unique(test[0])) != len(test[0]):
        raise DatasetUnavailable(f"{files.path}: {TEST} has several lines of one user where one is published")
    users = Vocabulary(_in_order_of_appearance(np.concatenate([train[0], test[0]])))
    items = Vocabulary(_in_order_of_appearance(np.concatenate([train[1], test[1]])))
    event_users = users.encode(np.concatenate([train[0], test[0]]))
    event_items = items.encode(np.concatenate([train[1], test[1]]))
    is_test = np.repeat([False, True], [len(train[0]), len(test[0])])
    order = np.lexsort((np.concatenate([train[2], test[2]]), is_test, event_users))
    lengths = np.bincount(event_users, minlength=len(users))
    positions = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    attributes = {"id": pa.array(users.ids)}
    if NEGATIVES in files:
        attributes["negatives"] = pa.array(_negatives(files, users, test), pa.list_(pa.int64()))
    return Dataset.from_events(
        STEM,
        users,
        items,
        event_users=event_users[order],
        event_items=event_items[order],
        event_times=positions,
        user_attributes=pa.table(attributes),
        time_unit="position",
    )


def _ratings(files: Files, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and times, int64; times are 0 where a line has none."""
    rows = [line.split("\t") for line in files.lines(name, "ascii")]
    for at, row in enumerate(rows, 1):
        if len(row) not in (3, 4):
            raise DatasetUnavailable(
                f"{files.path}: {name}, line {at} has {len(row)} fields where 3 or 4 are published"
            )
    try:
        # Times are written as decimals in some copies.
        columns = [(int(row[0]), int(row[1]), int(float(row[3])) if len(row) > 3 else 0) for row in rows]
    except ValueError as error:
        raise DatasetUnavailable(f"{files.path}: {name} is not in the published layout: {error}") from error
    users, items, times = np.array(columns, np.int64).reshape(-1, 3).T
    return users, items, times


def _negatives(
    files: Files, users: Vocabulary, test: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> list[list[int] | None]:
    """Of each user code the published negatives."""
    target_of = dict(zip(test[0].tolist(), test[1].tolist(), strict=True))
    listed: list[list[int] | None] = [None] * len(users)
    for at, line in enumerate(files.lines(NEGATIVES, "ascii"), 1):
        pair, *negatives = line.split("\t")
        try:
            user, item = (int(part) for part in pair.strip("()").split(","))
            values = [int(value) for value in negatives]
        except ValueError as error:
            raise DatasetUnavailable(
                f"{files.path}: {NEGATIVES}, line {at} is not in the published layout: {error}"
            ) from error
        if target_of.get(user) != item:
            raise DatasetUnavailable(
                f"{files.path}: {NEGATIVES}, line {at} speaks of user {user} and item {item}, which {TEST} does not "
                "pair; the files do not belong together"
            )
        listed[users.code(user)] = values
    return listed


def _in_order_of_appearance(ids: np.ndarray) -> np.ndarray:
    distinct, first = np.unique(ids, return_index=True)
    return distinct[np.argsort(first)]
