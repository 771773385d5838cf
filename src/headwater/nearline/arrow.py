"""The rank log's record as Arrow: a row for each visit or event, its items as list columns.

What JSON Lines say in text, batches of this schema say in columns that are used as they lie in memory. A log of them
is a folder of Arrow IPC stream files, `*.arrows`; `ArrowRankLog` writes one, `to_batch` and `to_records` convert.
"""

# pyright: basic
from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import numpy as np
import pyarrow as pa

from headwater.data.schema import BEHAVIOURS, LATEST_TIME
from headwater.errors import SchemaError, StoreError
from headwater.nearline.columns import NO_SCENARIO, VISIT, Decoded, RecordColumns
from headwater.nearline.records import (
    MAX_AHEAD,
    MAX_ITEMS,
    RankedItem,
    Record,
    UserEvent,
    Visit,
    decode_line,
    encode_line,
    too_far_ahead,
)
from headwater.nearline.state import NO_CATEGORY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headwater.nearline.sources.base import Block

_NAME = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        pa.field("user", pa.int64(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=False),
        pa.field("behaviour", _NAME),
        pa.field("scenario", _NAME),
        pa.field("request_id", pa.string()),
        pa.field("items", pa.list_(pa.int64()), nullable=False),
        pa.field("scores", pa.list_(pa.float64())),
        pa.field("categories", pa.list_(pa.int64())),
        pa.field("channels", pa.list_(pa.list_(pa.string()))),
        pa.field("exposed", pa.list_(pa.bool_())),
        pa.field("positions", pa.list_(pa.int32())),
        pa.field("release", _NAME),
        pa.field("arm", _NAME),
        pa.field("appended", pa.float64()),
    ]
)
"""`behaviour` is null for a visit, and for an event one of impression, click, cart, purchase. An event has one item
and no scores. `categories`, `channels`, `exposed` and `positions` may be null; the others mean what `Visit` says."""

_READ = ("user", "timestamp", "behaviour", "scenario", "request_id", "items", "scores", "categories", "appended")


def decode_batch(batch: pa.RecordBatch, *, appended: float) -> Decoded:
    """Read a batch of `SCHEMA`; items are not copied.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
        May lack the columns that the stream does not need, and have others.
    appended : float
        Unix seconds at which the source took the batch in, for a row that does not say so itself.

    Raises
    ------
    SchemaError
        A column is missing or of another type: no row of the batch can be read. The message names it.
    """
    _check_schema(batch.schema)
    n = batch.num_rows
    users, timestamps = _numbers(batch, "user"), _numbers(batch, "timestamp")
    behaviour_codes, behaviour_names = _names(batch, "behaviour")
    known = np.array([BEHAVIOURS.index(name) if name in BEHAVIOURS else -2 for name in behaviour_names], np.int8)
    behaviours = np.append(known, np.int8(VISIT))[behaviour_codes]  # a null's code is -1, the last place
    scenarios, scenario_names = _names(batch, "scenario")
    request_ids: list[str | None] = batch.column("request_id").to_pylist()
    offsets, items = _lists(batch, "items", 0)
    score_offsets, scores = _lists(batch, "scores", float("nan"))
    category_offsets, categories = _lists(batch, "categories", NO_CATEGORY)
    taken = batch.column("appended").fill_null(appended).to_numpy(zero_copy_only=False)

    lengths, is_visit = np.diff(offsets), behaviours == VISIT
    bad_scores = np.zeros(n, np.bool_)
    with np.errstate(over="ignore", invalid="ignore"):
        all_finite = np.isfinite(scores.sum())  # if not, then one of them is not, or the sum is too large
    if not all_finite:
        bad_before = np.concatenate([[0], np.cumsum(~np.isfinite(scores))])
        bad_scores = np.diff(bad_before[score_offsets]) > 0
    n_categories = np.diff(category_offsets)
    id_lengths = np.array([-1 if name is None else len(name) for name in request_ids], np.int64)
    name_lengths = np.append(np.array([len(name) for name in scenario_names], np.int64), -1)[scenarios]
    nulls = _have_null_items(batch, offsets)
    checks: list[tuple[NDArray[np.bool_], str]] = [
        (behaviours < VISIT, f"behaviour is none of {', '.join(BEHAVIOURS)}"),
        (is_visit & (scenarios == NO_SCENARIO), "a visit needs a scenario"),
        ((name_lengths == 0) | (name_lengths > 64), "scenario must have 1 to 64 characters"),
        (is_visit & (id_lengths < 0), "a visit needs a request_id"),
        ((id_lengths == 0) | (id_lengths > 128), "request_id must have 1 to 128 characters"),
        ((timestamps < 0) | (timestamps > LATEST_TIME), f"timestamp must be 0 to {LATEST_TIME} Unix seconds"),
        (lengths == 0, "items is empty"),
        (lengths > MAX_ITEMS, f"items has more than {MAX_ITEMS} entries"),
        (~is_visit & (lengths != 1), "an event needs exactly one item"),
        (nulls, "items has a null"),
        (is_visit & (np.diff(score_offsets) != lengths), "scores must have one entry for each item"),
        (is_visit & bad_scores, "a score is null or not finite"),
        (
            is_visit & (n_categories != lengths) & (n_categories != 0),
            "categories must be null or have one entry for each item",
        ),
        (timestamps > taken + MAX_AHEAD, ""),
    ]
    reasons: dict[int, str] = {}
    for is_refused, reason in checks:
        for row in np.flatnonzero(is_refused).tolist():
            reasons.setdefault(row, reason or too_far_ahead(int(timestamps[row]), float(taken[row])))
    rows = np.array([row for row in range(n) if row not in reasons], np.int64) if reasons else np.arange(n)
    columns = RecordColumns(
        users=users,
        timestamps=timestamps,
        behaviours=behaviours,
        scenarios=scenarios,
        scenario_names=scenario_names,
        request_ids=[name or "" for name in request_ids],
        offsets=offsets,
        items=items,
        categories=_aligned(offsets, category_offsets, categories),
    )
    return Decoded(columns.take(rows), rows, sorted(reasons.items()))


def decode_block(block: Block) -> Decoded:
    """Read a batch as a source gave it, see `decode_batch`."""
    return decode_batch(block.rows, appended=block.appended)


def row_as_json(block: Block, row: int | None) -> bytes:
    """What a dead letter keeps of a row; of a whole batch, its schema."""
    if row is None:
        return str(block.rows.schema).encode()
    return msgspec.json.encode(block.rows.slice(row, 1).to_pylist()[0])


def to_batch(records: Sequence[Record]) -> pa.RecordBatch:
    """Records that were checked already as one batch of `SCHEMA`."""
    return pa.RecordBatch.from_pylist([_row(record) for record in records], SCHEMA)


def to_records(batch: pa.RecordBatch) -> list[Record]:
    """The records of a batch of `SCHEMA`. Raises `SchemaError` where a row does not fit, with its number."""
    _check_schema(batch.schema)
    records: list[Record] = []
    for at, row in enumerate(batch.to_pylist()):
        try:
            record = _record(row)
            records.append(decode_line(encode_line(record), appended=record.timestamp))
        except (SchemaError, TypeError, ValueError) as error:
            raise SchemaError(f"row {at}: {error}") from error
    return records


class ArrowRankLog:
    """The writer of a log of Arrow IPC stream files: one file per process, in a folder that a source reads.

    Each call appends one record batch, so a producer should pass hundreds of records at once; `RankLog` suits one at
    a time. A batch whose `append_many` returned survives kill -9, and with `fsync` a power cut.

    Parameters
    ----------
    folder : Path or str
        Made where there is none.
    rotate_bytes : int
        A new file is begun after a batch that makes the current one longer than this.
    fsync : bool
        Wait for the disk on each call.
    clock : callable
        Unix seconds, stamped on every row as `appended`.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        rotate_bytes: int = 256 << 20,
        fsync: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = Path(folder)
        self._rotate_bytes = rotate_bytes
        self._fsync = fsync
        self._clock = clock
        self._turn = threading.Lock()
        self._file: BinaryIO | None = None
        self._writer: Any = None

    def append_many(self, records: Sequence[Record]) -> None:
        """Write several records as one batch. Raises `SchemaError` and `StoreError` as `RankLog.append` does."""
        now = round(float(self._clock()), 3)
        for record in records:
            decode_line(encode_line(record), appended=now)
        self.append_batch(to_batch(records))

    def append_batch(self, batch: pa.RecordBatch) -> None:
        """Write a batch of `SCHEMA` as it is, but for `appended`. Raises as `append_many` does."""
        now = round(float(self._clock()), 3)
        stamped = batch.set_column(
            SCHEMA.get_field_index("appended"), SCHEMA.field("appended"), pa.array(np.full(batch.num_rows, now))
        ).cast(SCHEMA)
        refused = decode_batch(stamped, appended=now).refused
        if refused:
            raise SchemaError(f"row {refused[0][0]}: {refused[0][1]}; nothing of the batch was written")
        with self._turn:
            try:
                self._write(stamped)
            except OSError as error:
                # What follows a torn batch could not be read: the next call begins a new file.
                self._leave_file(finish=False)
                raise StoreError(f"{self._folder}: cannot append to the rank log: {error}") from error

    def close(self) -> None:
        """Finish the current file; a later call begins a new one."""
        with self._turn:
            self._leave_file(finish=True)

    def _write(self, batch: pa.RecordBatch) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.arrows"
            self._file = open(path, "xb", buffering=0)  # noqa: SIM115 - it stays open between calls
            options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
            self._writer = pa.ipc.new_stream(self._file, SCHEMA, options=options)
        self._writer.write_batch(batch)
        if self._fsync:
            os.fsync(self._file.fileno())
        if self._file.tell() > self._rotate_bytes:
            self._leave_file(finish=True)

    def _leave_file(self, *, finish: bool) -> None:
        if self._file is not None:
            if finish:
                self._writer.close()
            self._file.close()
        self._file = self._writer = None


# -- columns


def _check_schema(schema: pa.Schema) -> None:
    for name in _READ:
        at = schema.get_field_index(name)
        if at < 0:
            raise SchemaError(f"the Arrow batch has no column {name!r} (or two): see headwater.nearline.arrow.SCHEMA")
        if schema.field(at).type != SCHEMA.field(name).type:
            raise SchemaError(
                f"the Arrow column {name!r} has type {schema.field(at).type}, and the rank log's is "
                f"{SCHEMA.field(name).type}"
            )


def _numbers(batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    column = batch.column(name)
    if column.null_count:
        raise SchemaError(f"the Arrow column {name!r} has {column.null_count} nulls; it must have none")
    return column.to_numpy()


def _names(batch: pa.RecordBatch, name: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """(n,) places in the names, -1 for null, and the names."""
    column = batch.column(name)
    codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return codes, tuple(column.dictionary.to_pylist())


def _lists(batch: pa.RecordBatch, name: str, null: float) -> tuple[NDArray[np.int64], Any]:
    """(n + 1,) offsets and the values of a list column; a null list is empty, a null value is `null`."""
    column = batch.column(name)
    if column.null_count:  # the range of a null list is not always empty
        column = column.fill_null([])
    offsets = column.offsets.to_numpy().astype(np.int64)
    values = column.values.slice(offsets[0], offsets[-1] - offsets[0])
    if values.null_count:
        values = values.fill_null(null)
    return offsets - offsets[0], values.to_numpy(zero_copy_only=False)


def _have_null_items(batch: pa.RecordBatch, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    values = batch.column("items").flatten()
    if not values.null_count:
        return np.zeros(batch.num_rows, np.bool_)
    nulls_before = np.concatenate([[0], np.cumsum(values.is_null().to_numpy(zero_copy_only=False))])
    return np.diff(nulls_before[offsets]) > 0


def _aligned(
    offsets: NDArray[np.int64], category_offsets: NDArray[np.int64], categories: NDArray[np.int64]
) -> NDArray[np.int64]:
    """One category for each item, `NO_CATEGORY` where a row has no categories."""
    if np.array_equal(offsets, category_offsets):
        return categories
    aligned = np.full(int(offsets[-1]), NO_CATEGORY, np.int64)
    for row in np.flatnonzero(np.diff(offsets) == np.diff(category_offsets)).tolist():
        aligned[offsets[row] : offsets[row + 1]] = categories[category_offsets[row] : category_offsets[row + 1]]
    return aligned


# -- rows


def _row(record: Record) -> dict[str, Any]:
    shared = {"user": record.user, "timestamp": record.timestamp, "appended": record.appended}
    names = {"scenario": record.scenario, "request_id": record.request_id}
    if isinstance(record, UserEvent):
        return {**shared, **names, "behaviour": record.behaviour, "items": [record.item]}
    rows = record.items
    return {
        **shared,
        **names,
        "items": [row.item for row in rows],
        "scores": [row.score for row in rows],
        "categories": [row.category for row in rows],
        "channels": [row.channels for row in rows],
        "exposed": [row.exposed for row in rows],
        "positions": [row.position for row in rows],
        "release": record.release,
        "arm": record.arm,
    }


def _record(row: dict[str, Any]) -> Record:
    shared = {name: row[name] for name in ("user", "timestamp", "scenario", "request_id", "appended")}
    if row["behaviour"] is not None:
        (item,) = row["items"]
        return UserEvent(**shared, behaviour=row["behaviour"], item=item)
    n = len(row["items"])
    columns = (
        row["items"],
        row["scores"],
        row["categories"] or [None] * n,
        row.get("channels") or [[]] * n,
        row.get("exposed") or [False] * n,
        row.get("positions") or [None] * n,
    )
    items = [RankedItem(*values) for values in zip(*columns, strict=True)]
    return Visit(**shared, items=items, release=row.get("release") or "", arm=row.get("arm") or "")
