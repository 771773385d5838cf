"""A data set in memory: two vocabularies, interactions as CSR histories, item and user attributes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from headwater.data.queries import Queries
from headwater.data.schema import Behaviour, TimeUnit
from headwater.data.vocabulary import Vocabulary
from headwater.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa
    import scipy.sparse as sp
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Dataset:
    """Interactions of users with items, sorted by user, then time; ties keep the order of the input.

    Attributes
    ----------
    name : str
    users, items : Vocabulary
        Every code below indexes one of these two.
    offsets : (users + 1,) int64
        User u's history is the slice offsets[u]:offsets[u + 1] of the event columns, oldest first.
    event_items : (events,) int32
    event_times : (events,) int64
        In `time_unit`.
    event_behaviours : (events,) int8
        `Behaviour` values; interactions only, never impressions.
    event_ratings : (events,) float32, or None
    item_attributes, user_attributes : pyarrow.Table
        Row c describes code c. Columns are free; `title` and `category` (strings) are used where present.
    time_unit : "seconds" or "position"
    """

    name: str
    users: Vocabulary
    items: Vocabulary
    offsets: NDArray[np.int64]
    event_items: NDArray[np.int32]
    event_times: NDArray[np.int64]
    event_behaviours: NDArray[np.int8]
    event_ratings: NDArray[np.float32] | None
    item_attributes: pa.Table
    user_attributes: pa.Table
    time_unit: TimeUnit = "seconds"

    def __post_init__(self) -> None:
        if len(self.offsets) != len(self.users) + 1:
            raise SchemaError(f"offsets must have {len(self.users) + 1} entries, not {len(self.offsets)}")
        if self.item_attributes.num_rows != len(self.items):
            raise SchemaError("item_attributes must have one row for each item code")
        if self.user_attributes.num_rows != len(self.users):
            raise SchemaError("user_attributes must have one row for each user code")

    @classmethod
    def from_events(
        cls,
        name: str,
        users: Vocabulary,
        items: Vocabulary,
        *,
        event_users: NDArray[np.int32],
        event_items: NDArray[np.int32],
        event_times: NDArray[np.int64],
        event_behaviours: NDArray[np.int8] | None = None,
        event_ratings: NDArray[np.float32] | None = None,
        item_attributes: pa.Table | None = None,
        user_attributes: pa.Table | None = None,
        time_unit: TimeUnit = "seconds",
    ) -> Dataset:
        """Sort event columns (all of one length, in input order) into histories, stably."""
        import pyarrow as pa

        if event_behaviours is None:
            event_behaviours = np.full(len(event_users), Behaviour.CLICK, np.int8)
        order = np.lexsort((event_times, event_users))
        counts = np.bincount(event_users, minlength=len(users))
        return cls(
            name=name,
            users=users,
            items=items,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            event_items=np.ascontiguousarray(event_items[order], dtype=np.int32),
            event_times=np.ascontiguousarray(event_times[order], dtype=np.int64),
            event_behaviours=np.ascontiguousarray(event_behaviours[order], dtype=np.int8),
            event_ratings=None if event_ratings is None else event_ratings[order].astype(np.float32),
            item_attributes=pa.table({"id": pa.array(items.ids)}) if item_attributes is None else item_attributes,
            user_attributes=pa.table({"id": pa.array(users.ids)}) if user_attributes is None else user_attributes,
            time_unit=time_unit,
        )

    def __len__(self) -> int:
        """How many interactions there are."""
        return len(self.event_items)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(users,) how many interactions each user has."""
        return np.diff(self.offsets)

    @property
    def event_users(self) -> NDArray[np.int32]:
        """(events,) the user code of every interaction."""
        return np.repeat(np.arange(len(self.users), dtype=np.int32), self.lengths)

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """(items,) how many interactions each item has."""
        return np.bincount(self.event_items, minlength=len(self.items))

    @cached_property
    def titles(self) -> list[str]:
        """(items,) the `title` attribute, or the id as text where there is none."""
        if "title" in self.item_attributes.column_names:
            column = self.item_attributes.column("title").to_pylist()
            return [str(value) if title is None else title for title, value in zip(column, self.items.ids, strict=True)]
        return [str(value) for value in self.items.ids]

    @cached_property
    def categories(self) -> tuple[NDArray[np.int32], list[str]]:
        """(items,) category codes and the categories' names; one category named "" where there is none."""
        if "category" not in self.item_attributes.column_names:
            return np.zeros(len(self.items), np.int32), [""]
        column = self.item_attributes.column("category").to_pylist()
        names = sorted({value or "" for value in column})
        code = {value: at for at, value in enumerate(names)}
        return np.array([code[value or ""] for value in column], np.int32), names

    def matrix(self) -> sp.csr_array:
        """users × items, float32, 1 where the user has an interaction with the item."""
        import scipy.sparse as sp

        shape = (len(self.users), len(self.items))
        ones = np.ones(len(self), np.float32)
        # A copy: sum_duplicates sorts in place, and would reorder these histories.
        matrix = sp.csr_array((ones, self.event_items, self.offsets), shape=shape, copy=True)
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix

    def keep(self, events: NDArray[np.bool_]) -> Dataset:
        """The same vocabularies with only the marked interactions."""
        counts = np.bincount(self.event_users[events], minlength=len(self.users))
        return replace(
            self,
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            event_items=self.event_items[events],
            event_times=self.event_times[events],
            event_behaviours=self.event_behaviours[events],
            event_ratings=None if self.event_ratings is None else self.event_ratings[events],
        )

    def with_frequent_items(self, min_interactions: int) -> Dataset:
        """Only items with at least `min_interactions` interactions, renumbered in their old order; users are kept.

        One pass: users whose items all went stay, with an empty history, and what remains of an item is not
        counted again. Codes change, so this is another vocabulary, whose artefacts are refused here and back. The
        name says so: `ml-1m (items >= 5)`.

        Raises
        ------
        SchemaError
            No item is that frequent.
        """
        is_kept = self.item_counts >= min_interactions
        if not is_kept.any():
            raise SchemaError(
                f"{self.name}: no item has {min_interactions:,} interactions; "
                f"the most frequent one has {int(self.item_counts.max(initial=0)):,}"
            )
        kept = np.flatnonzero(is_kept)
        code = np.full(len(self.items), -1, np.int32)
        code[kept] = np.arange(len(kept), dtype=np.int32)
        ids = self.items.ids
        frequent = self.keep(is_kept[self.event_items])
        return replace(
            frequent,
            name=f"{self.name} (items >= {min_interactions})",
            items=Vocabulary(ids[kept] if isinstance(ids, np.ndarray) else [ids[at] for at in kept.tolist()]),
            event_items=code[frequent.event_items],
            item_attributes=self.item_attributes.take(kept),
        )

    def with_active_users(self, min_interactions: int) -> Dataset:
        """Only users with at least `min_interactions` interactions, renumbered in their old order; items are kept.

        The same data set where that is everybody; else the name says so: `books (users >= 20)`.

        Raises
        ------
        SchemaError
            No user has that many.
        """
        is_kept = self.lengths >= min_interactions
        if is_kept.all():
            return self
        if not is_kept.any():
            raise SchemaError(
                f"{self.name}: no user has {min_interactions:,} interactions; "
                f"the most active one has {int(self.lengths.max(initial=0)):,}"
            )
        kept = np.flatnonzero(is_kept)
        ids = self.users.ids
        active = self.keep(is_kept[self.event_users])
        return replace(
            active,
            name=f"{self.name} (users >= {min_interactions})",
            users=Vocabulary(ids[kept] if isinstance(ids, np.ndarray) else [ids[at] for at in kept.tolist()]),
            offsets=np.concatenate([[0], np.cumsum(active.lengths[kept])]).astype(np.int64),
            user_attributes=self.user_attributes.take(kept),
        )

    def queries(
        self,
        users: NDArray[np.int32],
        *,
        request_times: NDArray[np.int64] | None = None,
        scenario: str = "homepage",
    ) -> Queries:
        """The whole histories of `users` as requests; by default one unit of time after their last event."""
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[users] - offsets[:-1], lengths)
        times = self.event_times[at]
        if request_times is None:
            request_times = np.zeros(len(users), np.int64)
            some = lengths > 0
            request_times[some] = times[offsets[1:][some] - 1] + 1
        return Queries(
            users=users.astype(np.int32),
            user_keys=self.users.keys[users],
            offsets=offsets,
            items=self.event_items[at],
            times=times,
            behaviours=self.event_behaviours[at],
            request_times=request_times,
            scenarios=(scenario,) * len(users),
            ratings=None if self.event_ratings is None else self.event_ratings[at],
        )

    def checksum(self) -> str:
        """xxh3-128 of vocabularies and interactions (attributes apart): two sources of one set agree in it."""
        digest = xxhash.xxh3_128()
        for part in (self.users.fingerprint(), self.items.fingerprint(), self.time_unit):
            digest.update(part.encode())
        for column in (self.offsets, self.event_items, self.event_times, self.event_behaviours):
            digest.update(np.ascontiguousarray(column).tobytes())
        if self.event_ratings is not None:
            digest.update(self.event_ratings.tobytes())
        return digest.hexdigest()
