"""Records by columns: what every decoder gives and the stream takes, without a Python object for each item.

The seam between sources and the operator. `decode_lines` makes it from JSON lines, `headwater.nearline.arrow` from
Arrow batches; both say of every input row either where its record stands or why it was refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from headwater.data.schema import Behaviour
from headwater.errors import SchemaError
from headwater.nearline.records import MAX_ITEMS, Key, Name, Record, RequestId, Timestamp, UserEvent, Visit, parse_line
from headwater.nearline.state import NO_CATEGORY

if TYPE_CHECKING:
    from numpy.typing import NDArray

VISIT = -1
"""Stands among `behaviours` for a visit, which is none."""

NO_SCENARIO = -1
"""Stands among `scenarios` for a record without one."""

_item_of, _category_of = attrgetter("item"), attrgetter("category")


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """n records, visits and events in the order of their log, with m items in all.

    Attributes
    ----------
    users, timestamps : (n,) int64
        User keys; Unix seconds.
    behaviours : (n,) int8
        `VISIT`, or the `Behaviour` of an event.
    scenarios : (n,) int32
        Place in `scenario_names`, or `NO_SCENARIO`.
    scenario_names : tuple of str
    request_ids : list of n str
        Empty where an event has none.
    offsets : (n + 1,) int64
        Record r has the items ``offsets[r]:offsets[r + 1]``: a visit its list, best first; an event its one item.
    items, categories : (m,) int64
        Keys; `NO_CATEGORY` for an item without a category.
    """

    users: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    behaviours: NDArray[np.int8]
    scenarios: NDArray[np.int32]
    scenario_names: tuple[str, ...]
    request_ids: list[str]
    offsets: NDArray[np.int64]
    items: NDArray[np.int64]
    categories: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def of(cls, records: Iterable[Record]) -> RecordColumns:
        """The columns of records that were checked already."""
        built = _Building()
        for record in records:
            built.add(record)
        return built.columns()

    def take(self, rows: NDArray[np.int64]) -> RecordColumns:
        """The records at `rows`, in that order; itself where those are all."""
        if len(rows) == len(self) and (rows == np.arange(len(self))).all():
            return self
        lengths = np.diff(self.offsets)[rows]
        ends = np.cumsum(lengths)
        places = np.repeat(self.offsets[:-1][rows] - (ends - lengths), lengths) + np.arange(int(lengths.sum()))
        return RecordColumns(
            users=self.users[rows],
            timestamps=self.timestamps[rows],
            behaviours=self.behaviours[rows],
            scenarios=self.scenarios[rows],
            scenario_names=self.scenario_names,
            request_ids=[self.request_ids[row] for row in rows.tolist()],
            offsets=np.concatenate([np.zeros(1, np.int64), ends]),
            items=self.items[places],
            categories=self.categories[places],
        )


@dataclass(frozen=True, slots=True)
class Decoded:
    """What decoding n input rows gave.

    Attributes
    ----------
    columns : RecordColumns
        The records that fit.
    rows : (len(columns),) int64
        The input row of each, ascending.
    refused : list of (int, str)
        The other input rows, ascending, each with the reason.
    """

    columns: RecordColumns
    rows: NDArray[np.int64]
    refused: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def decode_lines(lines: Sequence[bytes], appended: Sequence[float]) -> Decoded:
    """Read JSON lines.

    Parameters
    ----------
    lines : sequence of n bytes
    appended : sequence of n float
        Unix seconds at which the source took each line in, for a line that does not say so itself.
    """
    built = _Building()
    rows: list[int] = []
    refused: list[tuple[int, str]] = []
    for row, (line, taken) in enumerate(zip(lines, appended, strict=True)):
        try:
            built.add(parse_line(line, _DECODER, appended=taken))
            rows.append(row)
        except SchemaError as error:
            refused.append((row, str(error)))
    return Decoded(built.columns(), np.array(rows, np.int64), refused)


def partition_of(users: NDArray[np.int64], partitions: int) -> NDArray[np.int64]:
    """(n,) in [0, partitions): which of several stream processes takes a user's records.

    The last step of MurmurHash3 (fmix64) spreads keys that follow each other; it is part of the stored layout, for a
    user must stay with the process that has the user's state in memory.
    """
    mixed = users.astype(np.uint64)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(33))) % np.uint64(partitions)).astype(np.int64)


class _VisitColumns(msgspec.Struct, tag_field="type", tag="columns", gc=False):
    """`VisitColumns` without what the operator does not look at: what is not named is not built."""

    request_id: RequestId
    scenario: Name
    user: Key
    timestamp: Timestamp
    items: Annotated[list[int], Meta(min_length=1, max_length=MAX_ITEMS)]
    scores: list[float]
    categories: list[int | None] | None = None
    appended: float | None = None


_DECODER: msgspec.json.Decoder[Record | _VisitColumns] = msgspec.json.Decoder(Record | _VisitColumns)


class _Building:
    """Columns that grow by a record. Each record's lists are let go at once: thousands of them, held together,
    cost the allocator and the garbage collector several times what decoding does."""

    def __init__(self) -> None:
        self._heads: list[tuple[int, int, int, int]] = []
        self._names: dict[str, int] = {}
        self._request_ids: list[str] = []
        self._items: list[NDArray[np.int64]] = []
        self._categories: list[NDArray[np.int64]] = []

    def add(self, record: Record | _VisitColumns) -> None:
        """Raises `SchemaError` where the columns of a visit do not fit each other; nothing of it is added then."""
        behaviour = VISIT
        if isinstance(record, UserEvent):
            behaviour = int(Behaviour[record.behaviour.upper()])
            items, categories = np.array([record.item], np.int64), np.array([NO_CATEGORY], np.int64)
        elif isinstance(record, Visit):
            items = np.fromiter(map(_item_of, record.items), np.int64, len(record.items))
            categories = _keys(list(map(_category_of, record.items)), "categories")
        else:
            items, categories = _checked(record)
        scenario = record.scenario
        code = NO_SCENARIO if scenario is None else self._names.setdefault(scenario, len(self._names))
        self._heads.append((record.user, record.timestamp, behaviour, code))
        self._request_ids.append(record.request_id or "")
        self._items.append(items)
        self._categories.append(categories)

    def columns(self) -> RecordColumns:
        """All that was added."""
        none = np.zeros(0, np.int64)
        heads = np.array(self._heads, np.int64).reshape(-1, 4)
        return RecordColumns(
            users=heads[:, 0].copy(),
            timestamps=heads[:, 1].copy(),
            behaviours=heads[:, 2].astype(np.int8),
            scenarios=heads[:, 3].astype(np.int32),
            scenario_names=tuple(self._names),
            request_ids=self._request_ids,
            offsets=np.cumsum([0, *map(len, self._items)], dtype=np.int64),
            items=np.concatenate([none, *self._items]),
            categories=np.concatenate([none, *self._categories]),
        )


def _checked(record: _VisitColumns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The items and categories of a visit, after the checks of `VisitColumns.check`."""
    n = len(record.items)
    for name, column in (("scores", record.scores), ("categories", record.categories)):
        if column is not None and len(column) != n:
            raise SchemaError(f"{n} items have {len(column)} entries in $.{name}: every column needs one for each")
    # One that is not finite makes the sum so; the sum alone may be too large.
    if not isfinite(sum(record.scores)) and not all(map(isfinite, record.scores)):
        raise SchemaError("a score is not finite - at `$.scores`")
    items = _keys(record.items, "items")
    if record.categories is None:
        return items, np.full(n, NO_CATEGORY, np.int64)
    return items, _keys(record.categories, "categories")


def _keys(keys: Sequence[int | None], name: str) -> NDArray[np.int64]:
    try:
        return np.fromiter(keys, np.int64, len(keys))  # type: ignore[arg-type]
    except TypeError:  # some item has no category
        return _keys([NO_CATEGORY if key is None else key for key in keys], name)
    except OverflowError:
        raise SchemaError(f"a key is beyond 64 bits - at `$.{name}`") from None
