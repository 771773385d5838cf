"""Impressions: what users were shown, and what they did with it, as columns in time order for the ranking stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Self

import numpy as np
import xxhash

from headwater.data.vocabulary import UNKNOWN, Vocabulary
from headwater.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from headwater.data.dataset import Dataset

TASKS = ("click", "cart", "conversion")
"""The labels that a log may have, in the order of the funnel. Cart and conversion are asked of clicks."""

DAY = 86_400
UNSEEN = 0
"""The level of a context value that was not known when the levels were made; its name is empty."""


@dataclass(frozen=True, slots=True)
class Impressions:
    """n impressions in time order; ties keep the order of the input. `of_columns` sorts, and numbers the days.

    Attributes
    ----------
    name : str
    users, items : Vocabulary
    user_attributes, item_attributes : pyarrow.Table
        Row c describes code c, as in `Dataset`; nulls are allowed, NaN and infinite numbers are not.
    user_codes, item_codes : (n,) int32
        -1 where the id is outside the vocabulary, which then is a level of its own and has no history.
    times : (n,) int64
        Unix seconds, ascending.
    days : (n,) int32
        Days since `day_zero`, ascending; days that are joined have the number of their first one.
    labels : {task: (n,) int8}
        0 or 1, for at least one of `TASKS`. No cart or conversion is without its click, where clicks are known.
    context : {name: (n,) int32}
        Level of each feature of the request, such as scenario, position, hour; it indexes `context_levels[name]`.
    context_levels : {name: levels}
        Names of the levels. Level 0, with the empty name, is what no level was made for (`UNSEEN`).
    sub_domains : (n,) int32, or None
        It indexes `sub_domain_names`: scenarios, departments or genres that are trained and judged by themselves.
    sub_domain_names : tuple of str
    history_offsets : (users + 1,) int64
        User u's positive interactions are the slice offsets[u]:offsets[u + 1] of the next three, oldest first.
    history_items : (events,) int32
    history_times : (events,) int64
    history_behaviours : (events,) int8
        `Behaviour` values.
    day_zero : int
        Unix second at which day 0 begins: midnight in the log's time zone.
    sampled : str
        How negatives were drawn, in words, where they are not impressions that happened; else empty.

    Raises
    ------
    SchemaError
        At construction, where any of this does not hold; the message names the column and the first bad row.
    """

    name: str
    users: Vocabulary
    items: Vocabulary
    user_attributes: pa.Table
    item_attributes: pa.Table
    user_codes: NDArray[np.int32]
    item_codes: NDArray[np.int32]
    times: NDArray[np.int64]
    days: NDArray[np.int32]
    labels: dict[str, NDArray[np.int8]]
    history_offsets: NDArray[np.int64]
    history_items: NDArray[np.int32]
    history_times: NDArray[np.int64]
    history_behaviours: NDArray[np.int8]
    context: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    context_levels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sub_domains: NDArray[np.int32] | None = None
    sub_domain_names: tuple[str, ...] = ()
    day_zero: int = 0
    sampled: str = ""

    def __post_init__(self) -> None:
        n = len(self.user_codes)
        columns = {"item_codes": self.item_codes, "times": self.times, "days": self.days, **self.labels, **self.context}
        if self.sub_domains is not None:
            columns["sub_domains"] = self.sub_domains
        for name, column in columns.items():
            if column.shape != (n,):
                raise SchemaError(f"{self.name}: column {name!r} has shape {column.shape}, and there are {n:,} rows")
        self._require_codes("user_codes", self.user_codes, UNKNOWN, len(self.users))
        self._require_codes("item_codes", self.item_codes, UNKNOWN, len(self.items))
        self._require_order()
        self._require_labels()
        if self.context.keys() != self.context_levels.keys():
            raise SchemaError(
                f"{self.name}: context {sorted(self.context)} and context_levels {sorted(self.context_levels)} differ"
            )
        for name, codes in self.context.items():
            if self.context_levels[name][:1] != ("",):
                raise SchemaError(f"{self.name}: level 0 of context {name!r} must be '', the level of unseen values")
            self._require_codes(f"context {name!r}", codes, 0, len(self.context_levels[name]))
        if self.sub_domains is not None:
            self._require_codes("sub_domains", self.sub_domains, 0, len(self.sub_domain_names))
        for side, table, vocabulary in (
            ("user", self.user_attributes, self.users),
            ("item", self.item_attributes, self.items),
        ):
            if table.num_rows != len(vocabulary):
                raise SchemaError(f"{self.name}: {side}_attributes must have one row for each {side} code")
            _require_finite(table, f"{self.name}: {side} attribute")
        self._require_histories()

    @classmethod
    def of_columns(
        cls,
        name: str,
        users: Vocabulary,
        items: Vocabulary,
        *,
        user_codes: NDArray[np.int32],
        item_codes: NDArray[np.int32],
        times: NDArray[np.int64],
        labels: Mapping[str, NDArray[np.int8]],
        histories: Dataset,
        context: Mapping[str, NDArray[np.int32]] | None = None,
        context_levels: Mapping[str, Sequence[str]] | None = None,
        sub_domains: NDArray[np.int32] | None = None,
        sub_domain_names: Sequence[str] = (),
        user_attributes: pa.Table | None = None,
        item_attributes: pa.Table | None = None,
        utc_offset: int = 0,
        day_zero: int | None = None,
        sampled: str = "",
    ) -> Self:
        """Sort columns in input order by time, stably, and number the days.

        Parameters
        ----------
        histories : Dataset
            The users' positive interactions, on the same two vocabularies.
        utc_offset : int
            Seconds by which the log's clock is ahead of UTC: days change at its midnight (28,800 for China).
        day_zero : int, optional
            Unix second at which day 0 begins, to go on with the days of an earlier log; the first midnight at or
            before the first impression without.
        """
        import pyarrow as pa

        if histories.users.fingerprint() != users.fingerprint() or histories.items.fingerprint() != items.fingerprint():
            raise SchemaError(f"{name}: the histories are of other vocabularies ({histories.name}); encode both alike")
        order = np.argsort(times, kind="stable")
        times = np.ascontiguousarray(times[order], np.int64)
        if day_zero is None:
            day_zero = int((times[0] + utc_offset) // DAY * DAY - utc_offset) if len(times) else 0
        return cls(
            name=name,
            users=users,
            items=items,
            user_attributes=pa.table({"id": pa.array(users.ids)}) if user_attributes is None else user_attributes,
            item_attributes=pa.table({"id": pa.array(items.ids)}) if item_attributes is None else item_attributes,
            user_codes=user_codes[order].astype(np.int32),
            item_codes=item_codes[order].astype(np.int32),
            times=times,
            days=((times - day_zero) // DAY).astype(np.int32),
            labels={task: values[order] for task, values in labels.items()},
            history_offsets=histories.offsets,
            history_items=histories.event_items,
            history_times=histories.event_times,
            history_behaviours=histories.event_behaviours,
            context={key: values[order] for key, values in (context or {}).items()},
            context_levels={key: tuple(levels) for key, levels in (context_levels or {}).items()},
            sub_domains=None if sub_domains is None else sub_domains[order].astype(np.int32),
            sub_domain_names=tuple(sub_domain_names),
            day_zero=day_zero,
            sampled=sampled,
        )

    def __len__(self) -> int:
        return len(self.user_codes)

    # -- parts

    @property
    def tasks(self) -> tuple[str, ...]:
        """The labels that are there, in the order of the funnel."""
        return tuple(task for task in TASKS if task in self.labels)

    def samples(self, task: str) -> NDArray[np.bool_]:
        """(n,) the rows that `task` is asked of: all for a click, the clicked ones for what follows a click."""
        if task not in self.labels:
            raise SchemaError(f"{self.name} has no label {task!r}; it has {', '.join(self.tasks)}")
        if task == "click" or "click" not in self.labels:
            return np.ones(len(self), bool)
        return self.labels["click"] == 1

    def select(self, rows: NDArray[np.bool_]) -> Self:
        """Only the marked impressions; vocabularies, attributes and histories stay whole."""
        return replace(
            self,
            user_codes=self.user_codes[rows],
            item_codes=self.item_codes[rows],
            times=self.times[rows],
            days=self.days[rows],
            labels={task: values[rows] for task, values in self.labels.items()},
            context={name: values[rows] for name, values in self.context.items()},
            sub_domains=None if self.sub_domains is None else self.sub_domains[rows],
        )

    def day_slices(self) -> list[tuple[int, slice]]:
        """(day, its rows) of every day that has impressions, in time order."""
        days, starts = np.unique(self.days, return_index=True)
        stops = [*starts[1:].tolist(), len(self)]
        return [(int(day), slice(int(start), int(stop))) for day, start, stop in zip(days, starts, stops, strict=True)]

    def split_days(self, train_until: int, test_day: int, test_until: int | None = None) -> tuple[Self, Self]:
        """Impressions through day `train_until`, and those of day `test_day` (through `test_until`), which is later.

        Raises
        ------
        SchemaError
            `test_day` is not after `train_until`, or one of the two parts is empty.
        """
        last = test_day if test_until is None else test_until
        if test_day <= train_until or last < test_day:
            raise SchemaError(
                f"{self.name}: days {test_day} to {last} cannot test what is trained through {train_until}"
            )
        train, test = self.days <= train_until, (self.days >= test_day) & (self.days <= last)
        for part, what in ((train, f"through day {train_until}"), (test, f"on days {test_day} to {last}")):
            if not part.any():
                span = f"{self.days[0]} to {self.days[-1]}" if len(self) else "none"
                raise SchemaError(f"{self.name} has no impression {what}; its days are {span}")
        return self.select(train), self.select(test)

    def sub_domain(self, name: str) -> Self:
        """Only the impressions of one sub-domain. Raises `SchemaError`, with the nearest name, where there is none."""
        if self.sub_domains is None or name not in self.sub_domain_names:
            near = get_close_matches(name, self.sub_domain_names, 1, 0.0)
            hint = f"; did you mean {near[0]!r}?" if near else ": it has none"
            raise SchemaError(f"{self.name} has no sub-domain {name!r}{hint}")
        return self.select(self.sub_domains == self.sub_domain_names.index(name))

    def days_without_positives(self, task: str = "click") -> list[int]:
        """Days from the first to the last on which nothing is labelled 1, those without any impression included.

        Such a day can be trained on (or skipped), and teaches only what the base rate is; it cannot be tested on.
        """
        if not len(self):
            return []
        first, last = int(self.days[0]), int(self.days[-1])
        positives = np.bincount(self.days - first, weights=self.labels[task], minlength=last - first + 1)
        return (np.flatnonzero(positives == 0) + first).tolist()

    # -- histories

    def history_slices(
        self, length: int | None = None, rows: NDArray[np.integer] | slice | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the behaviour sequence of each impression stands: the latest events *strictly before* its time.

        An event in the second of the impression is not in it: it may be the very click that is to be predicted.

        Parameters
        ----------
        length : int, optional
            At most so many events, the latest; all without.
        rows : (m,) integers or slice, optional
            Impressions that are asked for; all without. One call for many rows costs far less than many calls.

        Returns
        -------
        start, stop : (m,) int64
            Row r's events are `history_items[start[r]:stop[r]]`, oldest first; empty for an unknown user.
        """
        users = self.user_codes if rows is None else self.user_codes[rows]
        times = self.times if rows is None else self.times[rows]
        if length is not None and length < 0:
            raise ValueError(f"a history has at least 0 events, not {length}")
        if not len(self.history_times):
            return np.zeros(len(users), np.int64), np.zeros(len(users), np.int64)
        # One ascending key of (user, time) finds all rows at once; two more than the span, for before and after.
        first = int(self.history_times.min())
        span = int(self.history_times.max()) - first + 2
        if span * (len(self.users) + 1) >= 1 << 63:
            raise SchemaError(
                f"{self.name}: history times span {span:,} seconds, too many for {len(self.users):,} users"
            )
        owners = np.repeat(np.arange(len(self.users), dtype=np.int64), np.diff(self.history_offsets))
        keys = owners * span + (self.history_times - first)
        known = np.maximum(users, 0).astype(np.int64)
        start = self.history_offsets[known]
        stop = np.searchsorted(keys, known * span + np.clip(times - first, 0, span - 1)).astype(np.int64)
        stop = np.where(users < 0, start, stop)
        return (start if length is None else np.maximum(start, stop - length)), stop

    # -- identity

    def checksum(self) -> str:
        """xxh3-128 of vocabularies, impressions and histories (attributes apart)."""
        digest = xxhash.xxh3_128()
        words = [self.users.fingerprint(), self.items.fingerprint(), str(self.day_zero), self.sampled]
        words += [f"{name}={levels}" for name, levels in sorted(self.context_levels.items())]
        words += [*self.tasks, *self.sub_domain_names]
        for word in words:
            digest.update(word.encode() + b"\0")
        columns = [self.user_codes, self.item_codes, self.times, self.days]
        columns += [self.labels[task] for task in self.tasks]
        columns += [self.context[name] for name in sorted(self.context)]
        columns += [] if self.sub_domains is None else [self.sub_domains]
        columns += [self.history_offsets, self.history_items, self.history_times, self.history_behaviours]
        for column in columns:
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    # -- what construction demands

    def _require_codes(self, what: str, codes: NDArray[np.int32], low: int, stop: int) -> None:
        bad = np.flatnonzero((codes < low) | (codes >= stop))
        if len(bad):
            raise SchemaError(
                f"{self.name}: {what}, row {bad[0]}: code {codes[bad[0]]} lies outside {low}..{stop - 1} "
                f"({len(bad):,} such rows)"
            )

    def _require_order(self) -> None:
        for what, column in (("times", self.times), ("days", self.days)):
            back = np.flatnonzero(np.diff(column) < 0)
            if len(back):
                raise SchemaError(
                    f"{self.name}: {what} must ascend, and row {back[0] + 1} goes back; use Impressions.of_columns"
                )
        calendar = (self.times - self.day_zero) // DAY
        if (self.days > calendar).any() or np.diff(self.days)[np.diff(calendar) == 0].any():
            raise SchemaError(
                f"{self.name}: days must count {DAY:,} seconds each from day_zero ({self.day_zero}), or join whole days"
            )

    def _require_labels(self) -> None:
        strange = sorted(self.labels.keys() - set(TASKS))
        if strange or not self.labels:
            what = f"unknown label {strange[0]!r}" if strange else "no label"
            raise SchemaError(f"{self.name}: {what}; impressions are labelled by {', '.join(TASKS)}")
        for task, values in self.labels.items():
            bad = np.flatnonzero((values != 0) & (values != 1))
            if len(bad):
                raise SchemaError(
                    f"{self.name}: label {task!r}, row {bad[0]}: {values[bad[0]]} is neither 0 nor 1 "
                    f"({len(bad):,} such rows)"
                )
        for task in self.tasks:
            bad = np.flatnonzero((self.labels[task] == 1) & ~self.samples(task))
            if len(bad):
                raise SchemaError(
                    f"{self.name}: row {bad[0]} has a {task} without a click ({len(bad):,} such rows). What follows "
                    f"a click is asked of clicked impressions: label the click too, or leave the click label out"
                )

    def _require_histories(self) -> None:
        offsets, n = self.history_offsets, len(self.history_items)
        if (
            offsets.shape != (len(self.users) + 1,)
            or offsets[0] != 0
            or offsets[-1] != n
            or (np.diff(offsets) < 0).any()
        ):
            raise SchemaError(
                f"{self.name}: history_offsets must ascend from 0 to {n:,} in {len(self.users) + 1:,} steps"
            )
        if self.history_times.shape != (n,) or self.history_behaviours.shape != (n,):
            raise SchemaError(f"{self.name}: histories need an item, a time and a behaviour for each of {n:,} events")
        self._require_codes("history_items", self.history_items, 0, len(self.items))
        back = np.diff(self.history_times) < 0
        inner = offsets[1:-1]
        back[inner[(inner > 0) & (inner < n)] - 1] = False  # from one user to the next
        if back.any():
            raise SchemaError(
                f"{self.name}: history_times must ascend within a user, and event {back.argmax() + 1} does not"
            )


def _require_finite(table: pa.Table, what: str) -> None:
    import pyarrow as pa

    for name in table.column_names:
        if pa.types.is_floating(table.schema.field(name).type):
            values = table.column(name).to_numpy()
            nulls = table.column(name).is_null(nan_is_null=False).to_numpy()
            bad = np.flatnonzero(~np.isfinite(values) & ~nulls)
            if len(bad):
                raise SchemaError(
                    f"{what} {name!r}, code {bad[0]}: {values[bad[0]]} is no finite number ({len(bad):,} such). "
                    f"Leave unknown values empty (null)"
                )
